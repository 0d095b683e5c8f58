"""Sessions that are cancelled, by a connection and by the command, and the sessions that a connection lists."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing

import pytest

from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.server import requests
from headless.server.home import Home
from headless.server.journal import CANCELLED, Cancellation, Journal, Selection
from headless.server.queue import SessionQueue
from support.homes import fails, prints
from support.job_server import journal, states
from support.journals import Record, end, new_session, over
from support.process import current_user
from support.raw_client import RawClient, connect, py_code
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


def cancel(server, session: str, user: str = "R41") -> str:
    """Returns what the session was before."""
    with connect(server).log_in(user) as client:
        client.send(f'<cancel session="{session}"/>')
        state = client.expect("cancelled").attrib["state"]
        client.expect_end()
        return state


def sessions(server, user: str = "R41") -> list[dict[str, str]]:
    with connect(server).log_in(user) as client:
        client.send("<sessions/>")
        listed = []
        while (element := client.element()).tag == "listed":
            listed.append({**element.attrib, "title": element.text or ""})
        assert (element.tag, element.attrib) == ("ended", {"status": "ok"})
        client.expect_end()
        return listed


def is_requested(server, session: str) -> bool:
    """Returns whether the journal has a request to cancel it."""
    return server.query(f"SELECT count(*) FROM cancellations WHERE session_id = '{session}'") == (1,)


def test_a_session_that_runs_is_ended_once_and_the_journal_says_by_whom(server, gate):
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), py_code("2"))
        client.expect("started")
        assert [cancel(server, client.session) for _ in range(2)] == ["running", "over"]
        report = client.report()
    assert (report.ended, report.finished) == ("failed", [("failed", "cancelled by the account R41"), ("skipped", "")])
    entries = journal(server, client.session)
    found = [(entry["state"], entry["signal"]) for entry in entries]
    assert found == [("cancelled", signal.SIGTERM), ("skipped", None)]
    assert entries[0]["message"] == "cancelled by the account R41"
    wait_until(lambda: not is_requested(server, client.session))


def test_a_session_that_waits_is_taken_back(own_server, gate, tmp_path):
    server = own_server
    with connect(server).log_in() as running, connect(server).log_in() as waiting:
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(py_code(f"open({str(tmp_path / 'ran')!r}, 'w')"))
        assert cancel(server, waiting.session) == "queued"
        assert waiting.element().attrib == {"job": "1", "status": "skipped"}  # and it was never started
        assert waiting.report().ended == "failed"
        (entry,) = journal(server, waiting.session)
        assert (entry["state"], entry["started"]) == ("cancelled", None)
        with connect(server).log_in() as late:
            late.attach(waiting.session, 1, 0, 0)
            assert late.element().text == "cancelled by the account R41"
        gate.open()
        assert running.report().ended == "ok"
    assert not (tmp_path / "ran").exists()


def test_who_cancels_may_leave_before_the_answer(server, gate):
    with connect(server).log_in() as client:
        client.submit(py_code(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print()\n{gate.code}"))
        client.expect("started")
        client.expect("output")
        with connect(server).log_in() as canceller:
            canceller.send(f'<cancel session="{client.session}"/>')
            wait_until(lambda: is_requested(server, client.session))
        assert client.report().finished == [("failed", "cancelled by the account R41")]


def test_a_session_that_is_over_stays_as_it_is(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"))
        client.report()
    assert cancel(server, client.session) == "over"
    assert states(server, client.session) == ["ok"]


def test_a_session_that_was_cancelled_while_it_waited_does_not_start_whatever_is_read_of_requests(
    tmp_path, gate, monkeypatch
):
    """The list of requests may be one that was read before."""
    apply = SessionQueue._apply

    async def apply_and_forget(queue, request):
        await apply(queue, request)
        queue._requests = []

    monkeypatch.setattr(SessionQueue, "_apply", apply_and_forget)
    mark = tmp_path / "mark"
    with (
        ServerHere(tmp_path / "home", workers=1) as server,
        RawClient(server.address).log_in() as first,
        RawClient(server.address).log_in() as second,
    ):
        first.submit(py_code(gate.code))
        first.expect("started")
        second.submit(py_code(f"open({str(mark)!r}, 'w')"))
        with RawClient(server.address).log_in() as client:
            client.send(f'<cancel session="{second.session}"/>')
            assert client.expect("cancelled").attrib["state"] == "queued"
        gate.open()
        first.report()
    assert not mark.exists()


# The list of a connection


def test_a_user_lists_sessions_with_state_job_and_title(own_server, gate):
    server, over = own_server, []
    for jobs in (("1", "print(2)"), ("1", "raise SystemExit('why')")):
        with connect(server).log_in() as client:
            client.submit(*map(py_code, jobs))
            client.report()
            over.append(client.session)
    with connect(server).log_in() as running, connect(server).log_in() as waiting:
        running.submit(py_code("1"), py_code(f"# a gate\n{gate.code}"))
        while running.expect("started").attrib["job"] != "2":
            running.expect("finished")
        waiting.submit(py_code("print(3)"))
        listed = sessions(server)
        gate.open()
        running.report()
        waiting.report()
    assert [each["session"] for each in listed] == [*over, running.session, waiting.session]
    shown = [(each["state"], each["job"], each["jobs"], each["title"]) for each in listed]
    assert shown == [
        ("ok", "2", "2", "print(2)"),
        ("failed", "2", "2", "raise SystemExit('why')"),
        ("running", "2", "2", "# a gate"),
        ("queued", "1", "1", "print(3)"),
    ]
    accepted = {entry["session"]: entry["accepted"] for entry in journal(server)}
    assert {each["session"]: each["accepted"] for each in listed}.items() <= accepted.items()


def test_an_account_lists_no_sessions_of_others_and_any_title(server):
    with connect(server).log_in() as client:
        client.submit(py_code("'\ud7ff'"))  # which XML cannot carry
        client.report()
    assert sessions(server, "R43") == []
    assert [each["title"] for each in sessions(server) if each["session"] == client.session] == ["'\ud7ff'"]


def test_each_session_is_listed_once_however_few_are_read_at_a_time(home, record, monkeypatch):
    """Of those that are over the last twenty. No more is held for a client that does not read."""
    pieces: list[int] = []
    sessions_of = Journal.sessions_of

    def count(*arguments):
        found = sessions_of(*arguments)
        pieces.append(len(found))
        return found

    monkeypatch.setattr(Journal, "sessions_of", count)
    with ServerHere(home.folder, workers=1) as server:
        assert sessions(server) == []
        record.execute("BEGIN")
        record.accept(new_session("the oldest waits"))
        for number in range(25):
            over(record, f"{number}", jobs=2)
        over(record, "failed", FAILED)
        record.accept(new_session("runs", jobs=3))
        record.begin("runs")
        record.execute("COMMIT")
        expected = [("the oldest waits", QUEUED, "1", "1")]
        expected += [(f"{number}", OK, "2", "2") for number in range(6, 25)]
        expected += [("failed", FAILED, "1", "1"), ("runs", RUNNING, "1", "3")]
        for at_once, lengths in ((1, [1] * 22 + [0]), (11, [11, 11, 0]), (15, [15, 7, 0]), (200, [22, 0])):
            monkeypatch.setattr(requests, "_LISTED_AT_ONCE", at_once)
            pieces.clear()
            listed = [(each["session"], each["state"], each["job"], each["jobs"]) for each in sessions(server)]
            assert (listed, pieces) == (expected, lengths), at_once


# The command


def cancelled(home: Home, *argv: str) -> str:
    """Returns the line that is printed."""
    (line,) = prints("jobs", "cancel", *argv, "--home", str(home.folder))
    return line


@pytest.fixture
def _looks_often(monkeypatch):
    monkeypatch.setattr("headless.server.commands.cancel._POLL_SECONDS", 0.01)


class Canceller:
    """A server that handles one request, by this function, and holds the lock meanwhile."""

    def __init__(self, home: Home, handle) -> None:
        self._home = home
        self._handle = handle
        self._thread = threading.Thread(target=self._run)
        self.seen: list[Cancellation] = []

    def __enter__(self) -> Canceller:
        self._lock = self._home.lock()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._lock.close()

    def _run(self) -> None:
        with closing(self._home.database()) as database:
            record = Record(database)
            wait_until(record.cancellations)
            self.seen = record.cancellations()
            time.sleep(0.05)  # the command has looked once
            with database:
                self._handle(record, self.seen[0])
                record.drop_cancellation(*self.seen[0][:2])


def end_running(record: Record, request: Cancellation) -> None:
    (running,) = record.page(Selection(request.session_id, state="running"))
    record.finish(running.session_id, running.job, end(CANCELLED, f"cancelled by {request.requester}"))


def end_well(record: Record, request: Cancellation) -> None:
    for job in range(2, 6):
        record.finish(request.session_id, job, end(OK))


@pytest.mark.usefixtures("_looks_often")
@pytest.mark.parametrize(
    ("job", "handle", "printed"),
    [
        (0, end_running, "cancelled: 2; ok: 1; skipped: 3-5"),
        (2, end_running, "cancelled: 2"),
        (0, end_well, "had already ended: ok: 1-5"),
        (0, lambda *_: None, "not cancelled: ok: 1; queued: 3-5; running: 2"),
    ],
    ids=["session", "job", "ended meanwhile", "dropped"],
)
def test_a_cancellation_says_how_the_jobs_ended(home, record, job, handle, printed):
    record.accept(new_session("a", jobs=5))
    record.begin("a")
    record.finish("a", 1, end(OK))
    with Canceller(home, handle) as server:
        assert cancelled(home, "a", *([str(job)] if job else [])) == printed
    assert server.seen == [Cancellation("a", job, current_user())]
    if handle is end_running:
        (entry,) = record.page(Selection("a", state=CANCELLED))
        assert entry.message == f"cancelled by {current_user()}"


@pytest.mark.parametrize("job", [(), ("2",)])
def test_what_is_over_is_not_requested(home, record, job):
    over(record, "a", FAILED, jobs=2)
    assert cancelled(home, "a", *job) == f"had already ended: failed: 2{'' if job else '; ok: 1'}"
    assert record.cancellations() == []


def test_without_a_server_it_is_requested_at_once_and_stays_so(home, record, monkeypatch):
    record.accept(new_session("a", jobs=2))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("nothing is waited for"))
    assert cancelled(home, "a", "2") == "requested: no server runs; it takes effect when one does"
    assert record.cancellations() == [Cancellation("a", 2, current_user())]


def test_a_server_that_does_not_answer_is_waited_for_ten_seconds(home, record, monkeypatch):
    now = time.monotonic()
    record.accept(new_session("a"))

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    start = now
    with home.lock():
        assert cancelled(home, "a") == "requested: the server has not answered yet; queued: 1"
    assert 10 <= now - start < 10.5
    assert len(record.cancellations()) == 1


@pytest.mark.parametrize("argv", [("b",), ("a", "3")])
def test_what_is_not_in_the_journal_cannot_be_cancelled(home, record, argv):
    record.accept(new_session("a", jobs=2))
    fails(f"no session {argv[0]!r}", "jobs", "cancel", *argv, "--home", str(home.folder))
    assert record.cancellations() == []
    assert [entry.state for entry in record.page(Selection())] == ["queued"] * 2
