"""Output that grows: nothing is lost or reported twice, and a line is reported in one piece if it can be. No job and no
other follower waits for those who follow, and a fault of one is no fault of the others."""

from __future__ import annotations

import asyncio
import errno
import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.dialects.vocabulary import OK, Offset
from headless.server import output
from headless.server.home import Home
from headless.server.output import FollowedOutput, Tail
from headless.server.session import Session
from support.hypothesis_settings import examples
from support.job_code import Gate
from support.job_server import states
from support.process import PATIENCE
from support.raw_client import RawClient, Report, connect, py_code
from support.scripted_server import Disconnected
from support.server_here import ServerHere
from support.waiting import in_loop, until, wait_until

pytestmark = pytest.mark.slow


# A file that grows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.stdout"


def add(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def read(tail: Tail, is_over: bool = False) -> str:
    return tail.take(tail.read(), is_over)


def read_all(tail: Tail) -> str:
    """Returns the rest of a file to which nothing is added."""
    shown = read(tail, is_over=True)
    while tail.has_more:
        shown += read(tail, is_over=True)
    return shown


def test_what_is_no_line_yet_waits_for_one_read_and_not_for_ever(path):
    tail, shown = Tail(path), []
    for piece in (b"one\ntwo", b" words\nthree", b".", b".", b".", b"."):
        add(path, piece)
        shown.append(read(tail))
    assert shown == ["one\n", "two words\n", "three.", "", "..", ""]
    assert [read(tail, is_over=True), read(tail, is_over=True)] == [".", ""]


def test_a_line_without_end_is_reported_in_pieces_that_fit_a_message(path):
    tail = Tail(path)
    add(path, b"x" * 1_000_000)
    pieces = [read(tail) for _ in range(18)]
    assert "".join(pieces) == "x" * 1_000_000
    assert max(map(len, pieces)) <= 65536


def test_a_file_that_is_shorter_than_it_was_or_gone_has_an_end(path):
    """A session may be pruned while a client still reads its output."""
    tail = Tail(path)
    add(path, b"one\ntwo\n")
    assert read(tail) == "one\ntwo\n"
    for change in (lambda: path.write_bytes(b"one"), path.unlink):
        change()
        assert read_all(tail) == ""


BYTES = st.lists(st.sampled_from([b"a", b"\n", "ü".encode(), "€".encode(), "😀".encode(), b"\xe2", b"\x9f", b"\xff"]))


@examples
@given(
    pieces=st.lists(BYTES.map(b"".join), max_size=8),
    reads=st.integers(1, 4),
    read_bytes=st.integers(4, 12),
    skipped=st.integers(0, 40),
)
def test_whatever_the_pieces_all_behind_the_offset_is_reported_once_and_in_order(
    tmp_path_factory, pieces, reads, read_bytes, skipped
):
    path = tmp_path_factory.mktemp("tail") / "1.stdout"
    tail, shown = Tail(path, skipped), ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_READ_BYTES", read_bytes)
        for piece in pieces:
            add(path, piece)
            shown += "".join(read(tail) for _ in range(reads))
        shown += read_all(tail)
    assert shown == b"".join(pieces).decode(errors="replace")[skipped:]


# A follower


@pytest.fixture
def session(tmp_path):
    """One whose job runs."""
    (tmp_path / "output" / "s").mkdir(parents=True)
    session = Session("s", 1, "R41", 1)
    session.job, session.state, session.started = 1, "running", 1.0
    return session


async def texts_of(files: FollowedOutput, session: Session) -> list[tuple[str, str]]:
    with files.follow(session, Offset(1)) as texts:
        return [each async for each in texts]


@in_loop
async def test_the_beginning_of_a_line_waits_for_the_next_look_and_the_end_of_the_job_wakes_its_followers(
    tmp_path, session, monkeypatch
):
    monkeypatch.setattr(output, "POLL_SECONDS", 10 * PATIENCE)
    path, looks = tmp_path / "output" / "s" / "1.stdout", []
    read_tails = output._read

    def look(*args):
        try:
            return read_tails(*args)
        finally:
            looks.append(args)

    monkeypatch.setattr(output, "_read", look)
    add(path, b"one ")
    following = asyncio.ensure_future(texts_of(FollowedOutput(Home(str(tmp_path)), PATIENCE), session))
    await until(lambda: looks)
    await asyncio.sleep(0.05)  # in which it must not look again
    add(path, b"line\n")
    session.end(1, OK, "")
    assert await following == [("stdout", "one line\n")]


@in_loop
async def test_a_shortage_delays_output_and_loses_none(tmp_path, session, monkeypatch):
    shortages = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN]
    tail_read = Tail.read

    def read_later(tail):
        if tail._path.suffix == ".stderr" and shortages:  # after stdout was read
            raise OSError(shortages.pop(), "why")
        return tail_read(tail)

    monkeypatch.setattr(Tail, "read", read_later)
    for stream in ("stdout", "stderr"):
        add(tmp_path / "output" / "s" / f"1.{stream}", b"42\n")
    session.end(1, OK, "")
    files = FollowedOutput(Home(str(tmp_path)), PATIENCE)
    assert await texts_of(files, session) == [("stdout", "42\n"), ("stderr", "42\n")]
    assert shortages == []


@in_loop
async def test_all_characters_that_there_are_so_far_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "_READ_BYTES", 4)
    (tmp_path / "output" / "s").mkdir(parents=True)
    add(tmp_path / "output" / "s" / "1.stdout", "12€\n€ü456\n78".encode())
    assert await FollowedOutput(Home(str(tmp_path)), PATIENCE).count("s", 1) == [12, 0]


# Many followers


FOLLOWERS = 8  # more than there are threads


@pytest.fixture
def hangs():
    """Is set in the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def attached(stack: ExitStack, address: str, session: str, *offset: int) -> RawClient:
    client = stack.enter_context(RawClient(address).log_in())
    client.attach(session, *offset)
    return client


def test_a_disk_that_hangs_for_followers_keeps_no_other_from_running_jobs(tmp_path, monkeypatch, hangs):
    tail_read = Tail.read
    monkeypatch.setattr(Tail, "read", lambda tail: hangs.wait() and tail_read(tail))

    with ServerHere(tmp_path / "home", workers=4) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server).log_in()) for _ in range(FOLLOWERS)]
        for number, client in enumerate(clients):
            client.submit(py_code(f"print({number})"))
        with connect(server).log_in() as other:
            other.submit(py_code("1"))
            wait_until(lambda: states(server, other.session) == ["ok"])
        hangs.set()
        outputs = [client.report().output for client in clients]
        assert outputs == [{(1, "stdout"): f"{number}\n"} for number in range(FOLLOWERS)]


def test_an_output_that_cannot_be_read_is_the_concern_of_its_followers_alone(tmp_path, monkeypatch):
    gates = [Gate(tmp_path / name) for name in ("a", "b")]
    tail_read, broken = Tail.read, []

    def read_or_fail(tail):
        if tail._path.parent.name in broken:
            raise OSError(errno.EIO, "Input/output error")
        return tail_read(tail)

    monkeypatch.setattr(Tail, "read", read_or_fail)

    with ServerHere(tmp_path / "home", workers=2) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server).log_in()) for _ in gates]
        for client, gate in zip(clients, gates):
            client.submit(py_code(gate.code + "print(1)"))
            client.expect("started")
        broken.append(clients[0].session)
        clients[0].expect_end()  # nothing is said of its job
        for gate in gates:
            gate.open()
        assert clients[1].report() == Report({(1, "stdout"): "1\n"}, [("ok", "")], "ok")
        broken.clear()
        again = attached(stack, server.address, clients[0].session, 1, 0, 0)
        assert again.report() == Report({(1, "stdout"): "1\n"}, [("ok", "")], "ok")


def test_a_disk_that_does_not_answer_ends_the_connection_in_time(tmp_path, monkeypatch, hangs):
    monkeypatch.setattr(Tail, "read", lambda _: hangs.wait())

    with ServerHere(tmp_path / "home", heartbeat=1) as server, connect(server).log_in() as client:
        client.submit(py_code("print(1)"))
        client.expect("started")
        with pytest.raises((Disconnected, ConnectionError)):
            while client.receive() == "<alive/>":
                pass
