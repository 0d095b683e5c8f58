"""cancel and sessions by a connection: what is ended and what is listed, and whose it may be."""

from __future__ import annotations

import signal
from contextlib import closing

import pytest

from headless.server.accounts import Account
from headless.server.queue import SessionQueue
from support.homes import R41, make_home
from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.journals import Record, over, silent
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
