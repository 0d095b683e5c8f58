"""python -m headless COMMAND, or python FOLDER/headless COMMAND. Which module does what; nothing else."""

from __future__ import annotations

# Built in: `signal` itself is read from files, and Ctrl-C may come meanwhile.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys
from collections.abc import Sequence

# While the imports run, Ctrl-C ends the process by the signal, and not by an exception: that would be a traceback, or
# be lost in a module that takes every exception for the absence of another one.
_IS_HELD = __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _IS_HELD:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if not __package__:  # it was named by its folder, which stands where the folder above it should
    sys.path[0] = os.path.dirname(os.path.abspath(sys.path[0]))

from headless.cli import end_process, run_command  # noqa: E402
from headless.options import PACKAGE, PURPOSES  # noqa: E402
from headless.report import report  # noqa: E402


def main(argv: Sequence[str]) -> int:
    """The exit status of the command, or the negative number of the signal that the process has to end by."""
    try:
        if argv[:1] == ["rehearse"]:
            from headless import rehearsal

            return rehearsal.main(argv[1:])
        if argv and argv[0] in PURPOSES:
            return _talk_to_server(argv[0], argv[1:])
        from headless.server.commands import main as commands

        if _IS_HELD:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return commands.main(argv)
    except KeyboardInterrupt:
        return -int(signal.SIGINT)
    except Exception as error:  # a library that is missing, say
        return report(PACKAGE, error)


def _talk_to_server(command: str, argv: Sequence[str]) -> int:
    try:
        return run_command(command, argv)
    except BrokenPipeError:  # whoever read has seen enough
        return 1
    except Exception as error:
        return report(f"{PACKAGE} {command}", error)


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
