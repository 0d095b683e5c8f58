"""main(argv) -> return code, for the command line of planta_headless.py; the same for the commands of `headless`
that talk to a server; and how a process ends with exactly that code."""

from __future__ import annotations

# The built-in part of `signal`, which wraps its numbers into enums: that costs each call half a millisecond.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

from headless.errors import OK, PARAMETER_ERROR, ParameterError, explain
from headless.options import (
    PACKAGE,
    PROGRAM,
    REHEARSAL,
    WAIT,
    Answer,
    check_no_hash,
    parse,
    parse_command,
    patience,
    refuse_in_rehearsal,
)
from headless.terminal import print_answer, print_error, print_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from headless.client.receipt import Receipt


def run() -> NoReturn:
    """Runs the command line of this process, and ends it: the script of pip, planta_headless."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process by the signal, not by a traceback
    receive_signals_as_first_process()
    end_process(main(sys.argv[1:]))


def receive_signals_as_first_process() -> None:
    """Lets signals end the first process of a container from now on, with 128 + their number: the kernel drops a signal
    that has its default action there (pid_namespaces(7)). What handles them later takes the place of this."""
    if os.name == "nt" or os.getpid() != 1:
        return
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, exit_by_signal)


def exit_by_signal(signum: int, _frame: object) -> NoReturn:
    """Ends the process as a shell reports that a signal has ended one."""
    os._exit(128 + signum)


def main(argv: Sequence[str]) -> int:
    """The return code for a command line without the program's name: 0 to 3, or the negative number of the signal that
    the process has to end by."""
    if REHEARSAL in os.environ:
        return _rehearse(argv)
    receipt = _receipt()
    try:
        options = parse(argv).replace(patience=_patience())
    except Answer as answer:
        print_answer(str(answer))
        return OK
    except ParameterError as error:
        print_error(PROGRAM, f"{error} (see {PROGRAM} --help)")
        return PARAMETER_ERROR if receipt is None else receipt.end_without_call(PARAMETER_ERROR, str(error))
    try:
        from headless.client import call  # --help and mistakes in the options need none of it

        return call.run(options, _dialect_name(), receipt)
    except Exception as error:  # a client that cannot be loaded
        code, text = explain(error)
        if code == PARAMETER_ERROR:
            print_error(PROGRAM, text)
        return code if receipt is None else receipt.end_without_call(code, text)


def _rehearse(argv: Sequence[str]) -> int:
    """The same inside of a rehearsal, which reaches no server but its own."""
    try:
        from headless.rehearsal import command
    except Exception as error:
        code, text = explain(error)
        print_error(PROGRAM, text)
        return code
    return command.main_inside(argv)


def run_command(command: str, argv: Sequence[str]) -> int:
    """The same for a command that talks to a server. Raises HeadlessError or ProtocolError."""
    try:
        options = parse_command(command, argv)
    except Answer as answer:
        print_answer(str(answer))
        return OK
    refuse_in_rehearsal(f"{PACKAGE} {command}")
    if command == WAIT:
        from headless.client import call

        return call.run(options.replace(patience=_patience()), _dialect_name())
    from headless.client import enquiry

    enquiry.run(options, _dialect_name())
    return OK


def _dialect_name() -> str:
    """Raises ParameterError."""
    name = os.environ.get("PLANTA_PROTOCOL", "")
    check_no_hash("PLANTA_PROTOCOL", name)
    return name


def _patience() -> int:
    """Raises ParameterError."""
    return patience(os.environ.get("PLANTA_PATIENCE", ""))


def _receipt() -> Receipt | None:
    path = os.environ.get("PLANTA_RECEIPT", "")
    if path in ("", os.devnull):
        return None
    try:
        check_no_hash("PLANTA_RECEIPT", path)
        from headless.client.receipt import Receipt

        return Receipt(path)
    except Exception as error:  # a library that is missing, say: the call needs no receipt
        print_warning(PROGRAM, f"PLANTA_RECEIPT: there is none of this call: {error}")
        return None


def end_process(code: int) -> NoReturn:
    """Ends the process with exactly this code, or by this signal if it is negative.

    Nothing that sys.exit does first may come between: it flushes stdout and ends with 120 if that fails, and a thread
    that still waits for the resolver has to be left behind.
    """
    if code >= 0:
        os._exit(code)
    from headless.client.signals import end_process_by

    end_process_by(-code)
