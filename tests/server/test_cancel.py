"""cancel and sessions by a connection: what is ended and what is listed, and whose it may be."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing
from typing import Any
from weakref import WeakValueDictionary

import pytest

from headless.dialects.base import Ended, Listed
from headless.dialects.own.messages import Sessions
from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.server import requests
from headless.server.accounts import Account
from headless.server.queue import SessionQueue
from headless.server.requests import Client
from support.homes import R41, make_home
from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.journals import Record, new_session, over, silent
from support.process import current_user
from support.raw_client import RawClient, connect, py_code
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    accounts = (Account("R43", current_user(), None),)
    with QuickServer(tmp_path_factory.mktemp("cancel") / "home", "--workers", "4", accounts=accounts) as server:
        yield server


def cancel(server, session: str, user: str = "R41") -> str:
    """What the session was before."""
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
    """Whether the journal has a request to cancel it, which goes once it was done."""
    return server.query(f"SELECT count(*) FROM cancellations WHERE session_id = '{session}'") == (1,)


def test_a_session_that_runs_is_ended_and_the_journal_says_by_whom(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), py_code("2"))
        client.expect("started")
        assert cancel(server, client.session) == "running"
        report = client.report()
    assert (report.ended, report.finished) == ("failed", [("failed", "cancelled by the account R41"), ("skipped", "")])
    entries = journal(server, client.session)
    assert [(entry["state"], entry["signal"]) for entry in entries] == [
        ("cancelled", signal.SIGTERM),
        ("skipped", None),
    ]
    assert entries[0]["message"] == "cancelled by the account R41"


def test_a_session_that_waits_is_taken_back(own_server, tmp_path):
    server, gate = own_server, Gate(tmp_path / "gate")
    with connect(server).log_in() as running, connect(server).log_in() as waiting:
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(py_code(f"open({str(tmp_path / 'ran')!r}, 'w')"))
        assert cancel(server, waiting.session) == "queued"
        assert waiting.element().attrib == {"job": "1", "status": "skipped"}  # and it was never started
        assert waiting.report().ended == "failed"
        assert [(entry["state"], entry["started"]) for entry in journal(server, waiting.session)] == [
            ("cancelled", None)
        ]
        with connect(server).log_in() as late:
            late.attach(waiting.session, 1, 0, 0)
            assert late.element().text == "cancelled by the account R41"
        gate.open()
        assert running.report().ended == "ok"
    assert not (tmp_path / "ran").exists()


def test_a_session_that_is_over_stays_as_it_is(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"))
        client.report()
    assert cancel(server, client.session) == "over"
    assert states(server, client.session) == ["ok"]


def test_a_session_that_runs_is_cancelled_once(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code))
        client.expect("started")
    assert [cancel(server, client.session) for _ in range(2)] == ["running", "over"]
    wait_until(lambda: not is_requested(server, client.session))


def test_who_cancels_may_leave_before_the_answer(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as client:
        client.submit(py_code(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print()\n{gate.code}"))
        client.expect("started")
        client.expect("output")
        with connect(server).log_in() as canceller:
            canceller.send(f'<cancel session="{client.session}"/>')
            wait_until(lambda: is_requested(server, client.session))
        assert client.report().finished == [("failed", "cancelled by the account R41")]


@pytest.fixture
def earlier(tmp_path):
    """The server's home, with twenty sessions that are over."""
    home = make_home(tmp_path / "home", R41)
    sessions = [f"{number:032x}" for number in range(20)]
    with closing(home.database()) as database, database:
        for session in sessions:
            over(Record(database), session)
            silent(home, session)
    return sessions


def test_a_user_lists_all_sessions_that_are_not_over_and_the_last_ones_that_are(earlier, own_server, tmp_path):
    server, gate = own_server, Gate(tmp_path / "gate")
    over = list(earlier)
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
    assert [each["session"] for each in listed] == [*over[2:], running.session, waiting.session]
    shown = [(each["state"], each["job"], each["jobs"], each["title"]) for each in listed]
    assert shown[18:] == [
        ("ok", "2", "2", "print(2)"),
        ("failed", "2", "2", "raise SystemExit('why')"),
        ("running", "2", "2", "# a gate"),
        ("queued", "1", "1", "print(3)"),
    ]
    accepted = {entry["session"]: entry["accepted"] for entry in journal(server)}
    assert {each["session"]: each["accepted"] for each in listed}.items() <= accepted.items()


def test_an_account_lists_no_sessions_of_others(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"))
        client.report()
    assert sessions(server, "R43") == []
    assert client.session in [each["session"] for each in sessions(server)]


def test_a_title_that_xml_cannot_carry_is_listed_all_the_same(server):
    with connect(server).log_in() as client:
        client.submit(py_code("'\ud7ff'"))
        client.report()
    assert [each["title"] for each in sessions(server) if each["session"] == client.session] == ["'\ud7ff'"]


def test_a_session_that_was_cancelled_while_it_waited_does_not_start_whatever_is_read_of_requests(
    tmp_path, monkeypatch
):
    """The list of requests may be one that was read before."""
    apply = SessionQueue._apply

    async def apply_and_forget(queue, request):
        await apply(queue, request)
        queue._requests = []

    monkeypatch.setattr(SessionQueue, "_apply", apply_and_forget)
    gate, mark = Gate(tmp_path / "gate"), tmp_path / "mark"

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


# The list, in however many pieces it is read


class Connection:
    """A connection that only notes what is sent."""

    def __init__(self):
        self.sent = []

    async def work(self, work):
        return await work

    async def send(self, message):
        self.sent.append(message)


class Parts:
    """Of a server, what a list needs."""

    def __init__(self, record):
        self.store, self._record = self, record
        self.pieces: list[int] = []
        self.locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def sessions_of(self, account, *arguments):
        found = self._record.sessions_of(account.number, *arguments)
        self.pieces.append(len(found))
        return found


def listed(record, pieces=None):
    connection: Any = Connection()
    parts: Any = Parts(record)
    asyncio.run(Client(connection, parts).answer(R41, "s", Sessions()))
    assert connection.sent[-1] == Ended(OK)
    assert all(isinstance(message, Listed) for message in connection.sent[:-1])
    assert pieces in (None, parts.pieces)
    return [(message.session, message.state, message.job, message.jobs) for message in connection.sent[:-1]]


def test_an_account_without_a_session_has_an_empty_list(record):
    assert listed(record) == []


def test_each_session_is_listed_once_from_the_first_one_of_the_journal_on(record, monkeypatch):
    over(record, "first", jobs=2)
    over(record, "failed", FAILED)
    record.accept(new_session("runs", jobs=3))
    record.begin("runs")
    record.accept(new_session("waits"))
    expected = [("first", OK, 2, 2), ("failed", FAILED, 1, 1), ("runs", RUNNING, 1, 3), ("waits", QUEUED, 1, 1)]
    # More is not held for a client that does not read.
    for at_once, pieces in ((1, [1, 1, 1, 1, 0]), (2, [2, 2, 0]), (3, [3, 1, 0]), (4, [4, 0]), (200, [4, 0])):
        monkeypatch.setattr(requests, "_LISTED_AT_ONCE", at_once)
        assert listed(record, pieces) == expected, at_once


def test_of_those_that_are_over_the_last_twenty_are_listed_and_of_the_others_all(record):
    record.accept(new_session("the oldest waits"))
    for number in range(25):
        over(record, f"{number}")
    sessions = [session for session, *_ in listed(record)]
    assert sessions == ["the oldest waits", *map(str, range(5, 25))]
