"""Shows texts to people, and keeps them from harming a terminal.

A stream that is closed, full or broken changes no exit status, but for `write`.
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
    from collections.abc import Callable, Sequence
    from typing import TextIO


def escape_control_chars(text: str) -> str:
    """Returns the text with everything escaped that could end a line, move a cursor, or hide or reorder what is
    shown."""
    return text if text.isprintable() else re.sub("[^\x20-\x7e]+", _escape, text)


def _escape(run: re.Match[str]) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in run[0])


def shorten(text: str, limit: int = 1000) -> str:
    """Returns the text, or its first `limit` characters and how long it is."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a line for each row, with the cells below each other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def print_answer(text: str) -> None:
    """Writes the answer to --help or --version to stdout."""
    _try_to_write(sys.stdout, text)


def print_error(program: str, text: str) -> None:
    """Writes one line to stderr that says what is wrong."""
    _try_to_write(sys.stderr, f"{program}: error: {_plain(text)}\n")


def print_warning(program: str, text: str) -> None:
    """Writes one line to stderr about what is done, and may not be meant so."""
    _try_to_write(sys.stderr, f"{program}: warning: {_plain(text)}\n")


def print_note(program: str, text: str) -> None:
    """Writes one line to stderr that is worth to know."""
    _try_to_write(sys.stderr, f"{program}: {_plain(text)}\n")


def _plain(text: str) -> str:
    """Returns one line without any bcrypt hash: a value of the environment could hold one."""
    text = escape_control_chars(text)
    return re.sub(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]+", "(a hash)", text) if "$2" in text else text


def descriptor_of(stream: TextIO | None) -> int | None:
    """Returns the stream's descriptor; None if it is closed, for its number may belong to something else by now."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def is_at_terminal() -> bool:
    """Returns whether standard input is a terminal at which a question can be answered."""
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
    """Returns whether the error says that the output is not read any more. Windows says EINVAL then, without the name
    of a file."""
    is_of_windows = os.name == "nt" and isinstance(error, OSError) and error.errno == errno.EINVAL
    return isinstance(error, BrokenPipeError) or (is_of_windows and getattr(error, "filename", None) is None)


def raw_writer(stream: TextIO, descriptor: int) -> Callable[[bytes], int]:
    """Returns what writes bytes to the stream, past all buffers, and returns how many. A console of Windows takes bytes
    as text of its own code page: Python's raw stream for one makes Unicode of them."""
    buffer = getattr(stream, "buffer", None) if os.name == "nt" else None
    raw = getattr(buffer, "raw", buffer)  # with -u there is nothing between
    return (lambda data: os.write(descriptor, data)) if raw is None else raw.write


def _try_to_write(stream: TextIO | None, text: str) -> None:
    with suppress(OSError, ValueError):
        write(stream, text)


def report(program: str, error: Exception) -> int:
    """Writes what the error means, and returns its code. A signal, whose code is negative, needs no line."""
    code, text = explain(error)
    if code >= 0:
        print_error(program, text)
    return code
