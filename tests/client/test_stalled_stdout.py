"""What -v prints while nobody reads: what the deadline has cut off is not taken for written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest.mock import patch

import pytest

from headless.client.output import Console, open_stdout
from headless.client.waiting import Waiter

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a thread writes")


@contextmanager
def full_stdout() -> Iterator[int]:
    """The first end of a pipe whose second one, standard output, is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(writer, "w", encoding="utf-8") as stdout, patch.object(sys, "stdout", stdout):
        for piece in (b"x" * 4096, b"x"):
            with suppress(BlockingIOError):
                while True:
                    os.write(writer, piece)
        yield reader
    os.close(reader)


def drain(reader):
    return os.read(reader, 1 << 20).lstrip(b"x")


def test_nothing_is_written_once_the_deadline_has_passed():
    with full_stdout() as reader, Waiter() as waiter:
        output = open_stdout(waiter)
        assert output is not None
        waiter.set_deadline(0.0)
        assert output.write(b"one\n") == 0
        assert drain(reader) == b""
        waiter.set_deadline(None)
        assert output.write(b"two\n") == 4
        assert drain(reader) == b"two\n"


def test_a_line_that_did_not_get_out_leaves_the_next_one_whole():
    with full_stdout() as reader, Waiter() as waiter:
        console = Console(1, waiter)
        waiter.set_deadline(0.0)
        console.info("one")
        drain(reader)
        waiter.set_deadline(None)
        console.info("two")
        assert drain(reader).split(maxsplit=2)[2] == b"info two\n"
