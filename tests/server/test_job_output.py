"""Output that grows: nothing is lost or reported twice, and a line is reported in one piece if it can be. What many
followers want is read once, in threads that no job needs, and a fault of one is no fault of the others."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.server import output
from headless.server.output import Marks, Tail, read_piece
from support.hypothesis_settings import examples
from support.job_code import Gate
from support.job_server import states
from support.process import PATIENCE
from support.raw_client import RawClient, Report, connect, py_code
from support.scripted_server import Disconnected
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.stdout"


def add(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def read(tail: Tail, path, is_complete: bool) -> str:
    """Returns what a follower receives now; "" if nothing is to be read."""
    size = os.stat(path).st_size if path.exists() else 0
    if not tail.is_due(size, is_complete):
        return ""
    return tail.take(read_piece(path, *tail.range(size, is_complete)), size, is_complete)


def read_all(tail: Tail, path) -> str:
    """Returns the rest of a file that is complete."""
    shown = ""
    while tail.is_due(os.stat(path).st_size, True):
        shown += read(tail, path, is_complete=True)
    return shown


def test_what_is_no_line_yet_waits_for_one_read_and_not_for_ever(path):
    tail, shown = Tail(), []
    for piece in (b"one\ntwo", b" words\nthree", b".", b".", b".", b"."):
        add(path, piece)
        shown.append(read(tail, path, is_complete=False))
    assert shown == ["one\n", "two words\n", "three.", "", "..", ""]
    assert read(tail, path, is_complete=True) == "."
    assert read(tail, path, is_complete=True) == ""


def test_a_line_without_end_is_reported_in_pieces_that_fit_a_message(path):
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
    """A session may be pruned while a client still reads its output."""
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
def test_whatever_the_pieces_everything_is_reported_once_and_in_order(tmp_path_factory, pieces, ends, read_bytes):
    path = tmp_path_factory.mktemp("tail") / "1.stdout"
    tail, shown = Tail(), ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_READ_BYTES", read_bytes)
        for piece in pieces:
            add(path, piece)
            shown += "".join(read(tail, path, is_complete=False) for _ in range(ends))
        if pieces:
            shown += read_all(tail, path)
    assert shown == b"".join(pieces).decode(errors="replace")


@examples
@given(
    data=BYTES.map(b"".join), counts=st.lists(st.integers(0, 40), min_size=1, max_size=5), mark_bytes=st.integers(4, 9)
)
def test_a_follower_resumes_at_every_offset(tmp_path_factory, data, counts, mark_bytes):
    path = tmp_path_factory.mktemp("tail") / "1.stdout"
    add(path, data)
    marks, text = Marks(), data.decode(errors="replace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_MARK_BYTES", mark_bytes)
        for count in counts:
            characters, position = marks.before(path, count)
            assert characters <= count
            assert read_all(Tail(position, count - characters), path) == text[count:]


def test_what_was_counted_once_is_not_counted_again(path):
    add(path, b"x" * 10_000_000)
    marks = Marks()
    assert marks.before(path, float("inf")) == (10_000_000, 10_000_000)
    path.unlink()  # a second read finds nothing
    characters, position = marks.before(path, 9_000_000)
    assert characters == position > 8_500_000


# Many followers


FOLLOWERS = 8  # more than there are threads
LINES = 10
PRINTING = "import time\nfor line in range({}):\n    print(line, 'x' * 60, flush=True)\n    time.sleep(0.03)\n"


@pytest.fixture
def hangs():
    """Is set in the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def counted(monkeypatch, name: str) -> list[tuple[object, ...]]:
    """Returns a list that grows: the arguments of each call of this function."""
    calls: list[tuple[object, ...]] = []
    function = getattr(output, name)

    def call(*arguments):
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(output, name, call)
    return calls


def attached(stack: ExitStack, address: str, session: str, *offset: int) -> RawClient:
    client = stack.enter_context(RawClient(address).log_in())
    client.attach(session, *offset)
    return client


def can_run_a_job(server: ServerHere) -> bool:
    """Beside the others, without a look at its output."""
    with connect(server).log_in() as client:
        client.submit(py_code("1"))
        wait_until(lambda: states(server, client.session) == ["ok"])
    return True


def test_what_many_follow_is_read_once_and_each_receives_all_of_it(tmp_path, gate, monkeypatch):
    reads, looks = counted(monkeypatch, "read_piece"), counted(monkeypatch, "_sizes")

    with ServerHere(tmp_path / "home") as server, ExitStack() as stack:
        first = stack.enter_context(connect(server).log_in())
        first.submit(py_code(f"print(1, flush=True)\n{gate.code}{PRINTING.format(LINES)}"), py_code("print(2)"))
        followers = [attached(stack, server.address, first.session, 1, 0, 0) for _ in range(FOLLOWERS)]
        late = [attached(stack, server.address, first.session) for _ in range(2)]
        gate.open()
        reports = [client.report() for client in (first, *followers)]
        assert reports == [reports[0]] * (FOLLOWERS + 1)
        assert reports[0].output[1, "stdout"].count("\n") == LINES + 1
        assert [client.report().output[2, "stdout"] for client in late] == ["2\n"] * 2
    assert len(reads) < 3 * LINES  # 6 to 12; 50 if each reads for himself
    assert len(looks) < 200  # 17 to 19


def test_a_disk_that_hangs_for_followers_keeps_no_other_from_running_jobs(tmp_path, monkeypatch, hangs):
    monkeypatch.setattr(output, "read_piece", lambda *piece: hangs.wait() and read_piece(*piece))

    with ServerHere(tmp_path / "home", workers=4) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server).log_in()) for _ in range(FOLLOWERS)]
        for number, client in enumerate(clients):
            client.submit(py_code(f"print({number})"))
        assert can_run_a_job(server)
        hangs.set()
        outputs = [client.report().output for client in clients]
        assert outputs == [{(1, "stdout"): f"{number}\n"} for number in range(FOLLOWERS)]


def test_counting_up_to_a_far_offset_keeps_no_other_follower_from_its_output(tmp_path, monkeypatch, hangs):
    before = Marks.before
    monkeypatch.setattr(Marks, "before", lambda *offset: hangs.wait() and before(*offset))

    with ServerHere(tmp_path / "home") as server, ExitStack() as stack:
        first = stack.enter_context(connect(server).log_in())
        first.submit(py_code("print('x' * 1000)"))
        first.report()
        far = [attached(stack, server.address, first.session, 1, 990, 0) for _ in range(FOLLOWERS)]
        near = attached(stack, server.address, first.session, 1, 0, 0)
        assert near.report().output == {(1, "stdout"): "x" * 1000 + "\n"}
        hangs.set()
        assert [client.report().output for client in far] == [{(1, "stdout"): "x" * 10 + "\n"}] * FOLLOWERS


def test_an_output_that_cannot_be_looked_at_is_the_concern_of_its_followers_alone(tmp_path, monkeypatch):
    gates = [Gate(tmp_path / name) for name in ("a", "b")]
    size, broken = output._size, []

    def size_of(path):
        if path.parent.name in broken:
            raise OSError(errno.EIO, "Input/output error")
        return size(path)

    monkeypatch.setattr(output, "_size", size_of)

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
    monkeypatch.setattr(output, "_sizes", lambda _: hangs.wait())

    with ServerHere(tmp_path / "home", heartbeat=1) as server, connect(server).log_in() as client:
        client.submit(py_code("print(1)"))
        client.expect("started")
        with pytest.raises((Disconnected, ConnectionError)):
            while client.receive() == "<alive/>":
                pass


def test_the_beginning_of_a_line_waits_for_the_next_look_however_late_that_is(tmp_path, gate, monkeypatch):
    """And not for the next turn of a follower, which would report it without what has come meanwhile."""
    monkeypatch.setattr(output, "POLL_SECONDS", 0.01)
    sizes, is_seen = output._sizes, threading.Event()
    code = f"import sys\nsys.stdout.write('one ')\n{gate.code}sys.stdout.write('line\\n')"

    def look(jobs):
        if is_seen.is_set():  # the next look, which is late
            wait_until(lambda: printed(tmp_path / "home") == b"one line\n")
        found = sizes(jobs)
        if found == [[len("one "), 0]]:
            is_seen.set()
        return found

    monkeypatch.setattr(output, "_sizes", look)

    with ServerHere(tmp_path / "home") as server, connect(server).log_in() as client:
        client.submit(py_code(code))
        assert is_seen.wait(PATIENCE)
        time.sleep(0.1)  # some turns of the follower
        gate.open()
        texts = []
        while (element := client.element()).tag != "ended":
            texts += [element.text] if element.tag == "output" else []
        assert texts == ["one line\n"]


def printed(home: Path) -> bytes:
    (path,) = (home / "output").glob("*/1.stdout")
    return path.read_bytes()
