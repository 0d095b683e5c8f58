"""What people are shown, and what it must not do to their terminal. Client and server have it in common.

Nothing that fails here changes how a process ends, but for `write`: a closed, full or broken stream is written to no
more.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress

from headless.errors import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO


def escape_control_chars(text: str) -> str:
    """The text with everything escaped that could end a line, move a cursor, or hide or reorder what is shown."""
    return text if text.isprintable() else re.sub("[^\x20-\x7e]+", _escape, text)


def _escape(run: re.Match[str]) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in run[0])


def shorten(text: str, limit: int = 1000) -> str:
    """The text, or its first `limit` characters and how long it is: for a sentence that quotes the other side."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def print_answer(text: str) -> None:
    """Writes the answer to --help or --version to stdout."""
    _try_to_write(sys.stdout, text)


def print_error(program: str, text: str) -> None:
    """Writes one line to stderr that says what is wrong."""
    _try_to_write(sys.stderr, f"{program}: error: {_plain(text)}\n")


def print_warning(program: str, text: str) -> None:
    """Writes one line to stderr that says what may not be meant so, though it is done."""
    _try_to_write(sys.stderr, f"{program}: warning: {_plain(text)}\n")


def print_note(program: str, text: str) -> None:
    """Writes one line to stderr that says what somebody should know."""
    _try_to_write(sys.stderr, f"{program}: {_plain(text)}\n")


def _plain(text: str) -> str:
    """One line that shows no bcrypt hash: a value of the environment, say, that was meant for a password file."""
    text = escape_control_chars(text)
    return re.sub(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]+", "(a hash)", text) if "$2" in text else text


def descriptor_of(stream: TextIO | None) -> int | None:
    """The stream's descriptor; None where there is none: a closed one may by now belong to something else."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def is_at_terminal() -> bool:
    """Whether standard input is one, at which somebody can answer a question."""
    try:
        if sys.stdin is None or not sys.stdin.isatty():
            return False
    except ValueError:  # closed
        return False
    if sys.platform == "win32":
        from headless.windows import can_be_answered

        return can_be_answered(sys.stdin.fileno())
    return True


def write(stream: TextIO | None, text: str) -> None:
    """Writes the whole text at once. Raises OSError, ValueError."""
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    descriptor = descriptor_of(stream)
    if descriptor is None:  # closed, or not a file at all
        stream.write(text)
        return
    data = text.replace("\n", os.linesep).encode(stream.encoding or "utf-8", "backslashreplace")
    write_some = raw_writer(stream, descriptor)
    while data:
        data = data[write_some(data) :]


def is_closed_pipe(error: Exception) -> bool:
    """Whether the error says that whoever has read the output reads no more. Windows has no word of its own for that:
    it is EINVAL there, without the name of a file."""
    is_of_windows = os.name == "nt" and isinstance(error, OSError) and error.errno == errno.EINVAL
    return isinstance(error, BrokenPipeError) or (is_of_windows and getattr(error, "filename", None) is None)


def raw_writer(stream: TextIO, descriptor: int) -> Callable[[bytes], int]:
    """What writes bytes to the stream, past all that buffers them, and returns how many. A console of Windows would
    take bytes as text of its own code page: Python's raw stream for one makes Unicode of them."""
    buffer = getattr(stream, "buffer", None) if os.name == "nt" else None
    raw = getattr(buffer, "raw", buffer)  # with -u there is nothing between
    return (lambda data: os.write(descriptor, data)) if raw is None else raw.write


def _try_to_write(stream: TextIO | None, text: str) -> None:
    with suppress(OSError, ValueError):
        write(stream, text)


def report(program: str, error: Exception) -> int:
    """Writes what the error means, and returns its code. A signal, whose code is negative, needs no word."""
    code, text = explain(error)
    if code >= 0:
        print_error(program, text)
    return code
