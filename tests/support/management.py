"""What an administrator types, run in the process of the tests, and what has to come of it."""

from __future__ import annotations

from support.command_here import headless


def prints(*argv: str, stdin: bytes = b"") -> list[str]:
    """The lines on stdout of a command that succeeds."""
    done = headless(*argv, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fails(word: str, *argv: str, stdin: bytes = b"") -> None:
    """The command ends with 1, prints nothing on stdout, and one line with this word on stderr."""
    done = headless(*argv, stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    (complaint,) = done.stderr.splitlines()
    assert " error: " in complaint
    assert word in complaint
