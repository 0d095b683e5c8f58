"""headless COMMAND: which module does what. `python FOLDER/headless COMMAND` comes here, and the console script.

Only the module of the command at hand is imported. What a command does, and its options, stand with it.
"""

from __future__ import annotations

# Built in: `signal` itself is read from files, and Ctrl-C may come meanwhile.
import _signal as signal  # type: ignore[import-not-found]
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    Run = Callable[[Sequence[str]], int]  # the arguments after COMMAND -> the exit status


def run() -> NoReturn:
    """Runs the command line of this process, and ends it."""
    # While the imports run, Ctrl-C ends the process by the signal, and not by an exception: that would be a traceback,
    # or be lost in a module that takes every exception for the absence of another one.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from headless.cli import end_process, receive_signals_as_first_process

    receive_signals_as_first_process()
    end_process(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """The exit status of the command, or the negative number of the signal that the process has to end by. Raises
    SystemExit with it where argparse ends the command."""
    from headless.errors import CONNECTION_ERROR, OK, ParameterError
    from headless.options import PACKAGE, VERSION
    from headless.terminal import is_closed_pipe, print_answer, report

    name = argv[0] if argv else ""
    program = f"{PACKAGE} {name}" if name in COMMANDS else PACKAGE
    try:
        if name in ("-h", "--help", "--version"):
            print_answer(f"{VERSION}\n" if name == "--version" else _help(PACKAGE))
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
            "What belongs to planta_headless.py.",
            "",
            "Commands:",
            *lines,
            "",
            f"{program} COMMAND --help shows the options of a command.",
            "",
        ]
    )


def _rehearse(argv: Sequence[str]) -> int:
    from headless.rehearsal import command

    return command.main(argv)


def _check(argv: Sequence[str]) -> int:
    from headless.admin import check

    return check.main(argv)


def _monitor(argv: Sequence[str]) -> int:
    from headless import monitor

    return monitor.main(argv)


def _talk_to_server(name: str) -> Run:
    def run_it(argv: Sequence[str]) -> int:
        from headless.cli import run_command

        return run_command(name, argv)

    return run_it


def _manage_server(name: str) -> Run:
    def run_it(argv: Sequence[str]) -> int:
        from headless.cli import exit_by_signal
        from headless.server.commands import main as server

        if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, exit_by_signal):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # these commands handle the exception
        return server.main([name, *argv])

    return run_it


# By name: the purpose, and what runs the command.
COMMANDS: dict[str, tuple[str, Run]] = {
    "rehearse": ("run a command line of planta_headless.py on a server of its own", _rehearse),
    "wait": ("wait for the end of a session's jobs", _talk_to_server("wait")),
    "cancel": ("end the jobs of a session, or do not let them start", _talk_to_server("cancel")),
    "sessions": ("list the sessions of a user", _talk_to_server("sessions")),
    "password-file": ("make the password file of a user", _talk_to_server("password-file")),
    "check": ("read crontabs, units and tasks, and say what would go wrong at night", _check),
    "monitor": ("did a job end well lately? A plugin for Nagios and its kin", _monitor),
    "serve": ("run a job server", _manage_server("serve")),
    "user": ("the accounts of a job server", _manage_server("user")),
    "jobs": ("the journal of a job server; `jobs cancel` ends jobs", _manage_server("jobs")),
    "status": ("what a job server does, and how it has been", _manage_server("status")),
}
