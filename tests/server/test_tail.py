"""The tail of a file that grows: nothing is lost or told twice, and a line is told in one piece if it can be."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.server import output as output_module
from headless.server.output import Marks, Tail, read_piece
from support.hypothesis_settings import examples

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.stdout"


def add(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def read(tail: Tail, path, is_complete: bool) -> str:
    """What a follower gets who looks at the file now; "" if there is nothing to read."""
    size = os.stat(path).st_size if path.exists() else 0
    if not tail.is_due(size, is_complete):
        return ""
    return tail.take(read_piece(path, *tail.range(size, is_complete)), size, is_complete)


def read_all(tail: Tail, path) -> str:
    """All that is left of a file that is complete."""
    told = ""
    while tail.is_due(os.stat(path).st_size, True):
        told += read(tail, path, is_complete=True)
    return told


def test_a_line_that_is_written_in_pieces_is_told_in_one(path):
    tail = Tail()
    add(path, b"one\ntwo")
    assert read(tail, path, is_complete=False) == "one\n"
    add(path, b" words\nthree")
    assert read(tail, path, is_complete=False) == "two words\n"
    assert read(tail, path, is_complete=True) == "three"
    assert read(tail, path, is_complete=True) == ""


def test_what_is_no_line_yet_waits_for_one_read_and_not_for_ever(path):
    tail = Tail()
    told = []
    for _ in range(6):
        add(path, b".")
        told.append(read(tail, path, is_complete=False))
    assert told == ["", "..", "", "..", "", ".."]


def test_a_line_without_end_is_told_in_pieces_that_fit_a_message(path):
    tail = Tail()
    add(path, b"x" * 1_000_000)
    pieces = [read(tail, path, is_complete=False) for _ in range(16)]
    pieces += [read(tail, path, is_complete=True) for _ in range(2)]
    assert "".join(pieces) == "x" * 1_000_000
    assert max(map(len, pieces)) <= 2 * 65536


def test_a_character_that_is_not_whole_waits_for_its_rest_and_is_not_read_again_before(path):
    tail = Tail()
    add(path, "€\n€".encode()[:-1])
    assert read(tail, path, is_complete=False) == "€\n"
    assert not tail.is_due(os.stat(path).st_size, is_complete=False)
    add(path, "€".encode()[-1:])
    assert read(tail, path, is_complete=False) + read(tail, path, is_complete=False) == "€"


def test_a_file_that_is_shorter_than_it_was_has_an_end(path):
    """A session may be pruned while somebody reads its output slowly."""
    tail = Tail()
    for left in (b"\xe2", b""):
        path.write_bytes(left)
        assert tail.take(read_piece(path, *tail.range(100, True)), 100, True) == left.decode(errors="replace")
        path.unlink()
        assert tail.take(read_piece(path, *tail.range(100, True)), 100, True) == ""
        assert not tail.is_due(100, is_complete=True)
        tail = Tail()


BYTES = st.lists(st.sampled_from([b"a", b"\n", "ü".encode(), "€".encode(), "😀".encode(), b"\xe2", b"\x9f", b"\xff"]))


@examples
@given(pieces=st.lists(BYTES.map(b"".join), max_size=8), ends=st.integers(1, 4), read_bytes=st.integers(4, 12))
def test_whatever_the_pieces_everything_is_told_once_and_in_order(tmp_path_factory, pieces, ends, read_bytes):
    path = tmp_path_factory.mktemp("tail") / "1.stdout"
    tail, told = Tail(), ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_module, "_READ_BYTES", read_bytes)
        for piece in pieces:
            add(path, piece)
            told += "".join(read(tail, path, is_complete=False) for _ in range(ends))
        if pieces:
            told += read_all(tail, path)
    assert told == b"".join(pieces).decode(errors="replace")


@examples
@given(
    data=BYTES.map(b"".join), counts=st.lists(st.integers(0, 40), min_size=1, max_size=5), mark_bytes=st.integers(4, 9)
)
def test_whatever_the_place_a_follower_goes_on_there(tmp_path_factory, data, counts, mark_bytes):
    path = tmp_path_factory.mktemp("tail") / "1.stdout"
    add(path, data)
    marks, text = Marks(), data.decode(errors="replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_module, "_MARK_BYTES", mark_bytes)
        for count in counts:
            characters, position = marks.before(path, count)
            assert characters <= count
            assert read_all(Tail(position, count - characters), path) == text[count:]


def test_what_was_counted_once_is_not_counted_again(path):
    add(path, b"x" * 10_000_000)
    marks = Marks()
    assert marks.before(path, float("inf")) == (10_000_000, 10_000_000)
    path.unlink()  # whoever would read it now finds nothing
    characters, position = marks.before(path, 9_000_000)
    assert characters == position > 8_500_000
