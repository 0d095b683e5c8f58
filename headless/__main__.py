"""python -m headless COMMAND: the server's commands and the rehearsal. Which module does what; nothing else."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from headless.cli import end_process
from headless.console import complain
from headless.outcome import PARAMETER_ERROR


def main(argv: Sequence[str]) -> int:
    """The exit status of the command, or the negative number of the signal that the process has to end by."""
    try:
        if argv[:1] == ["rehearse"]:
            from headless import rehearsal

            return rehearsal.main(argv[1:])
        from headless.server import commands

        return commands.main(argv)
    except KeyboardInterrupt:
        return -signal.SIGINT
    except ImportError as error:
        complain(f"{error}; install what is missing with: {sys.executable} -m pip install {error.name}")
        return PARAMETER_ERROR


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
