"""What an administrator types, run in the process of the tests, and what has to come of it."""

from __future__ import annotations

from support.in_process import run_here


def prints(*argv: str, stdin: bytes = b"") -> list[str]:
    """The lines on stdout of a command that succeeds."""
    done = run_here(*argv, stdin=stdin)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fails(word: str, *argv: str, stdin: bytes = b"") -> None:
    """The command ends with 1, prints nothing on stdout, and one line with this word on stderr."""
    done = run_here(*argv, stdin=stdin)
    assert (done.status, done.stdout) == (1, "")
    (complaint,) = done.stderr.splitlines()
    assert " error: " in complaint
    assert word in complaint
