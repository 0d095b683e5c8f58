"""The tail of a file that grows: nothing is lost or told twice, and a line is told in one piece if it can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.server.tail import Tail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.stdout"


def add(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def test_a_line_that_is_written_in_pieces_is_told_in_one(path):
    tail = Tail(path)
    add(path, b"one\ntwo")
    assert tail.read(is_complete=False) == "one\n"
    add(path, b" words\nthree")
    assert tail.read(is_complete=False) == "two words\n"
    assert tail.read(is_complete=True) == "three"
    assert tail.read(is_complete=True) == ""


def test_what_is_no_line_yet_waits_for_one_read_and_not_for_ever(path):
    tail = Tail(path)
    told = []
    for _ in range(6):
        add(path, b".")
        told.append(tail.read(is_complete=False))
    assert told == ["", "..", "", "..", "", ".."]


def test_a_line_without_end_is_told_in_pieces_that_fit_a_message(path):
    tail = Tail(path)
    add(path, b"x" * 1_000_000)
    pieces = [tail.read(is_complete=False) for _ in range(16)] + [tail.read(is_complete=True) for _ in range(2)]
    assert "".join(pieces) == "x" * 1_000_000
    assert max(map(len, pieces)) <= 2 * 65536


@given(pieces=st.lists(st.text("ab\n\u00fc", max_size=5)), ends=st.integers(1, 4))
def test_whatever_the_pieces_everything_is_told_once_and_in_order(tmp_path_factory, pieces, ends):
    path = tmp_path_factory.mktemp("tail") / "1.stdout"
    tail, told = Tail(path), ""
    for piece in pieces:
        add(path, piece.encode())
        told += tail.read(is_complete=False)
    for _ in range(ends):
        told += tail.read(is_complete=True)
    assert told == "".join(pieces)
