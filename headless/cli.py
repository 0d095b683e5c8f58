"""Runs planta_headless.py and the tools beside it, `headless COMMAND`: from the arguments to the end of the process."""

from __future__ import annotations

# The built-in part of `signal`, which wraps its numbers into enums: that costs each call half a millisecond.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, ParameterError, explain
from headless.options import (
    PACKAGE,
    PROGRAM,
    REHEARSAL,
    Answer,
    WaitOptions,
    check_no_hash,
    parse,
    parse_command,
    patience,
    refuse_in_rehearsal,
)
from headless.terminal import is_closed_pipe, print_answer, print_error, print_warning, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from headless.client.receipt import Receipt

    Run = Callable[[Sequence[str]], int]  # the arguments after COMMAND -> the exit status


def run() -> NoReturn:
    """Runs the command line of this process, and ends it: the script of pip, planta_headless."""
    _run_process(main)


def run_tools() -> NoReturn:
    """Runs the command line of this process, and ends it: the script of pip, headless."""
    _run_process(tools_main)


def _run_process(command: Run) -> NoReturn:
    restore_interrupt()
    receive_signals_as_first_process()
    end_process(command(sys.argv[1:]))


def restore_interrupt() -> None:
    """Lets Ctrl-C end the process by the signal: an exception in the middle of an import could be a traceback, or be
    lost in a module that takes every exception for the absence of another one."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


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
    """Returns the code for a command line without the program's name: 0 to 3, or the negative number of the signal that
    the process has to end by."""
    if REHEARSAL in os.environ:
        return _rehearse(argv)
    receipt = _receipt()
    try:
        options = parse(argv, os.environ).replace(patience=_patience())
    except Answer as answer:
        print_answer(str(answer))
        return OK
    except ParameterError as error:
        print_error(PROGRAM, f"{error} (see {PROGRAM} --help)")
        return PARAMETER_ERROR if receipt is None else receipt.end_without_call(PARAMETER_ERROR, str(error))
    try:
        from headless.client import call  # --help and mistakes in the options need none of it

        return call.run(options, _dialect_name(), receipt)
    except BaseException as error:  # a client that cannot be loaded; a dialect's error that ends what shows it
        code, text = explain(error)
        if code == PARAMETER_ERROR:
            print_error(PROGRAM, text)
        return code if receipt is None else receipt.end_without_call(code, text)


def _rehearse(argv: Sequence[str]) -> int:
    """Does the same inside of a rehearsal, which reaches no server but its own."""
    try:
        from headless.rehearsal import command
    except Exception as error:
        return report(PROGRAM, error)
    return command.main(argv, is_inside=True)


def run_command(command: str, argv: Sequence[str]) -> int:
    """Does the same for a command that talks to a server. Raises HeadlessError or ProtocolError."""
    try:
        options = parse_command(command, argv, os.environ)
    except Answer as answer:
        print_answer(str(answer))
        return OK
    refuse_in_rehearsal(f"{PACKAGE} {command}")
    try:
        if isinstance(options, WaitOptions):
            from headless.client import call

            return call.run(options.replace(patience=_patience()), _dialect_name())
        from headless.client import query

        query.run(options, _dialect_name())
    except (SystemExit, GeneratorExit) as error:  # a dialect must not choose the exit status
        raise RuntimeError(f"the dialect raised {type(error).__name__}") from None
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


def tools_main(argv: Sequence[str]) -> int:
    """Returns the exit status of `headless COMMAND`, or the negative number of the signal that the process has to end
    by. Raises SystemExit where argparse ends the command."""
    name = argv[0] if argv else ""
    program = f"{PACKAGE} {name}" if name in COMMANDS else PACKAGE
    try:
        if name in ("-h", "--help"):
            print_answer(_help(PACKAGE))
            return OK
        if name == "--version":
            from headless.admin.about import about

            print_answer(about(_dialect_name()))
            return OK
        if name not in COMMANDS:
            what = f"there is no command {name[:80]!r}" if name else "the COMMAND is missing"
            raise ParameterError(f"{what} (see {PACKAGE} --help)")
        return COMMANDS[name][1](argv[1:])
    except KeyboardInterrupt:
        return -int(signal.SIGINT)
    except Exception as error:  # a library that is missing, say
        return CONNECTION_ERROR if is_closed_pipe(error) else report(program, error)


def _help(program: str) -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {purpose}" for name, (purpose, _) in COMMANDS.items()]
    return "\n".join(
        [
            f"Usage: {program} COMMAND [options]",
            "",
            "Tools for planta_headless.py.",
            "",
            "Commands:",
            *lines,
            "",
            f"{program} COMMAND --help shows the options of a command, {program} --version what runs here.",
            "",
        ]
    )


def _run_rehearsal(argv: Sequence[str]) -> int:
    from headless.rehearsal import command

    return command.main(argv)


def _check(argv: Sequence[str]) -> int:
    from headless.admin import check

    return check.main(argv)


def _monitor(argv: Sequence[str]) -> int:
    from headless.admin import monitor

    return monitor.main(argv)


def _night(argv: Sequence[str]) -> int:
    from headless.admin import night

    return night.main(argv)


def _protocol(argv: Sequence[str]) -> int:
    from headless.protocol_tools import command

    return command.main(argv)


def _talk_to_server(name: str) -> Run:
    return lambda argv: run_command(name, argv)


def _sessions(argv: Sequence[str]) -> int:
    receipts = os.environ.get("PLANTA_RECEIPT", "")
    if argv or receipts in ("", os.devnull):
        return run_command("sessions", argv)
    from headless.admin import night

    return night.show_sessions(receipts)


def _manage_server(name: str) -> Run:
    def run_it(argv: Sequence[str]) -> int:
        from headless.server.commands import cancel, jobs, serve, status, user
        from headless.server.commands.arguments import run

        if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, exit_by_signal):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # these commands handle the exception
        return run((each.add for each in (serve, user, jobs, cancel, status)), [name, *argv])

    return run_it


# By name: the purpose, and what runs the command.
COMMANDS: dict[str, tuple[str, Run]] = {
    "rehearse": ("run a command line of planta_headless.py on a server of its own", _run_rehearsal),
    "wait": ("wait for the end of a session's jobs", _talk_to_server("wait")),
    "cancel": ("end the jobs of a session, or do not let them start", _talk_to_server("cancel")),
    "sessions": ("list the sessions of a user; without options, those of the receipts", _sessions),
    "password-file": ("make the password file of a user", _talk_to_server("password-file")),
    "check": ("read crontabs, units and tasks, and say what would go wrong at night", _check),
    "monitor": ("did a job end well lately? A plugin for Nagios", _monitor),
    "night": ("what happened to the calls since yesterday evening: a page, or text for a mail", _night),
    "protocol": ("find out how an old client and its server talk, and check a dialect", _protocol),
    "serve": ("run a job server", _manage_server("serve")),
    "user": ("the accounts of a job server", _manage_server("user")),
    "jobs": ("the journal of a job server; `jobs cancel` ends jobs", _manage_server("jobs")),
    "status": ("what a job server does, and how it has been", _manage_server("status")),
}


def end_process(code: int) -> NoReturn:
    """Ends the process with exactly this code, or by this signal if it is negative.

    Nothing that sys.exit does first may come between: it flushes stdout and ends with 120 if that fails, and a thread
    that still waits for the resolver has to be left behind.
    """
    if code >= 0:
        os._exit(code)
    from headless.client.waiting import end_process_by

    end_process_by(-code)
