"""Attaching to a session over another connection: the rest of what is to be reported, without a gap or a repetition."""

from __future__ import annotations

import asyncio
import os
import threading
import xml.etree.ElementTree as ET
from contextlib import closing

import pytest

from headless.server import queue
from headless.server.accounts import Account
from headless.server.processes import JobProcesses
from support.homes import R41, make_home
from support.job_code import Gate
from support.job_server import QuickServer, states
from support.journals import Record, new_session
from support.process import current_user
from support.raw_client import RawClient, Report, attach, connect, osuser_login, py_code, run
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow

# What two jobs print: more than is read at a time, characters of several bytes, and some that XML cannot carry.
PRINTED = {
    (1, "stdout"): "one\r\n\x00\ud7ff\u20ac\U0001f600" + "x" * 70_000 + "\u00fc" * 70_000 + "\nlast",
    (1, "stderr"): "\u00e9\n\n",
    (2, "stdout"): "two\n",
}
REPORTED = {place: text.replace("\x00", "\ufffd") for place, text in PRINTED.items()}
JOBS = tuple(
    py_code(
        "import sys\n"
        + "".join(
            f"sys.{stream}.buffer.write({text.encode()!r})\n"
            for (job, stream), text in PRINTED.items()
            if job == number
        )
    )
    for number in (1, 2)
)


BEHIND_ABC = len(f"abc{os.linesep}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    accounts = (Account("R43", current_user(), None),)
    with QuickServer(tmp_path_factory.mktemp("attach") / "home", "--workers", "4", accounts=accounts) as server:
        yield server


@pytest.fixture(scope="module")
def over(server):
    """A session that has ended well."""
    if os.name == "nt":
        pytest.skip("on Windows the client of the tests takes two characters at the end of a line for one")
    with connect(server).log_in() as client:
        client.submit(*JOBS)
        assert client.report() == Report(REPORTED, [("ok", ""), ("ok", "")], "ok")
        return client.session


def follow(server, session: str, *offset: int) -> tuple[tuple[int, ...], Report]:
    """The answer to `attach`, and what follows it."""
    with connect(server).log_in() as client:
        return client.attach(session, *offset), client.report()


def rest_of_output(job: int, stdout: int, stderr: int) -> dict[tuple[int, str], str]:
    """What is still to be reported of REPORTED."""
    rest = {}
    for (number, stream), text in REPORTED.items():
        left = text[{"stdout": stdout, "stderr": stderr}[stream] if number == job else 0 :]
        if number >= job and left:
            rest[number, stream] = left
    return rest


PLACES = (
    (1, 0, 0), (1, 1, 0), (1, 5, 1), (1, 6, 2), (1, 7, 3), (1, 8, 0), (1, 65_536, 3), (1, 70_009, 3), (1, 100_000, 1),
    (1, 140_013, 3), (2, 0, 0), (2, 3, 0), (2, 4, 0), (3, 0, 0),
)  # fmt: skip


def test_the_server_goes_on_at_every_place(server, over):
    for place in PLACES:
        attached, report = follow(server, over, *place)
        assert attached == (2, *place)
        assert report == Report(rest_of_output(*place), [("ok", "")] * (3 - place[0]), "ok"), place


def test_a_place_behind_the_output_reports_no_more_of_it(server, over):
    """A machine that was switched off may have lost what it had reported."""
    _, report = follow(server, over, 2, 1000, 10**14)
    assert report == Report({}, [("ok", "")], "ok")


def test_what_a_job_prints_after_that_place(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as first:
        first.submit(py_code(f"print('abc', flush=True)\n{gate.code}print('def')"))
        first.expect("started")
        assert first.expect("output").text == "abc\n"
    with connect(server).log_in() as client:
        assert client.attach(first.session, 1, BEHIND_ABC, 0) == (1, 1, BEHIND_ABC, 0)
        client.expect("started")
        gate.open()
        assert client.report() == Report({(1, "stdout"): "def\n"}, [("ok", "")], "ok")


def test_from_now_on_is_from_the_job_that_runs_without_what_it_has_printed(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as first:
        first.submit(py_code("print(1)"), py_code(f"print('\u20acb', flush=True)\n{gate.code}print('c')"))
        while first.element().text != "\u20acb\n":
            pass
        with connect(server).log_in() as client:
            assert client.attach(first.session) == (2, 2, len(f"\u20acb{os.linesep}"), 0)
            gate.open()
            assert client.report() == Report({(2, "stdout"): "c\n"}, [("ok", "")], "ok")


def test_from_now_on_of_a_session_that_waits_or_is_over(server, own_server, over, tmp_path):
    assert follow(server, over) == ((2, 3, 0, 0), Report({}, [], "ok"))
    gate = Gate(tmp_path / "gate")
    with connect(own_server).log_in() as running, connect(own_server).log_in() as waiting:
        running.submit(py_code(gate.code))
        waiting.submit(py_code("print(1)"))
        with connect(own_server).log_in() as client:
            assert client.attach(waiting.session) == (1, 1, 0, 0)
            gate.open()
            assert client.report() == Report({(1, "stdout"): "1\n"}, [("ok", "")], "ok")


def test_from_now_on_of_a_session_that_has_failed_reports_why(server):
    with connect(server).log_in() as client:
        client.submit(py_code("print(1)"), py_code("print(22); raise SystemExit('no such table')"), py_code("3"))
        client.report()
    attached, report = follow(server, client.session)
    assert attached == (3, 2, len(f"22{os.linesep}"), len(f"no such table{os.linesep}"))
    assert report == Report({}, [("failed", "no such table"), ("skipped", "")], "failed")


def test_a_failed_session_ends_as_failed_wherever_the_client_goes_on(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"), py_code("raise SystemExit(3)"), py_code("3"))
        client.report()
    for job in range(1, 5):
        _, report = follow(server, client.session, job, 0, 0)
        assert report.ended == "failed"
        assert report.finished == [("ok", ""), ("failed", "exit status 3"), ("skipped", "")][job - 1 :]


def test_a_session_that_ended_while_no_client_was_there_reports_its_whole_end(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as first:
        first.submit(py_code(f"{gate.code}print(1)"), py_code("print(2)"))
        first.expect("started")
    gate.open()
    wait_until(lambda: states(server, first.session) == ["ok", "ok"])
    _, report = follow(server, first.session, 1, 0, 0)
    assert report == Report({(1, "stdout"): "1\n", (2, "stdout"): "2\n"}, [("ok", ""), ("ok", "")], "ok")


def test_several_connections_follow_one_session(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as first, connect(server).log_in() as second, connect(server).log_in() as third:
        first.submit(py_code(f"{gate.code}print(1)"))
        for client in (second, third):
            client.attach(first.session, 1, 0, 0)
        gate.open()
        assert first.report() == second.report() == third.report() == Report({(1, "stdout"): "1\n"}, [("ok", "")], "ok")


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_the_next_server_goes_on(tmp_path, end):
    gate = Gate(tmp_path / "gate")
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        with connect(server).log_in() as client:
            client.submit(py_code(f"print('abc', flush=True)\n{gate.code}print('def')"), py_code("print(2)"))
            client.expect("started")
            assert client.expect("output").text == "abc\n"
        getattr(server, end)()
        server.start()
        with connect(server).log_in() as again:
            again.attach(client.session, 1, BEHIND_ABC, 0)
            gate.open()
            expected = {(1, "stdout"): "def\n", (2, "stdout"): "2\n"}
            assert again.report() == Report(expected, [("ok", ""), ("ok", "")], "ok")


def test_a_job_that_turns_out_not_to_have_started_is_reported_when_it_has_run(tmp_path, monkeypatch):
    """The journal said that it runs: the server was killed before it could start it."""
    home = make_home(tmp_path / "home", R41)
    with closing(home.database()) as database, database:
        record = Record(database)
        record.accept(new_session("s", text="print(1)"))
        record.begin("s")
        record.set_fact("boot", f"{queue._boot_id()} {home.identity}")
    is_attached, find = threading.Event(), JobProcesses.find

    async def find_later(*job):
        while not is_attached.is_set():
            await asyncio.sleep(0.01)
        return await find(*job)

    monkeypatch.setattr(JobProcesses, "find", find_later)
    with ServerHere(home.folder) as server, RawClient(server.address).log_in() as client:
        client.attach("s", 1, 0, 0)
        client.expect("started")
        is_attached.set()
        assert client.report() == Report({(1, "stdout"): f"1{os.linesep}"}, [("ok", "")], "ok")


# Who may not


def refusal(server, *documents: str, user: str = "R41") -> ET.Element:
    with connect(server).log_in(user) as client:
        refused = client.ask(*documents)
        assert refused.tag == "refused"
        client.expect_end()
        return refused


def test_the_session_of_another_account_is_as_unknown_as_one_that_does_not_exist(server, over):
    for what in (attach("{}"), attach("{}", 1, 0, 0), '<cancel session="{}"/>'):
        for session in (over, "0" * 16, "x", over.upper(), f" {over}"):
            refused = refusal(server, what.format(session), user="R43")
            assert refused.attrib == {"reason": "session"}
            assert refused.text == f"the account R43 has no session {session!r} on this server"


def test_a_session_without_jobs_is_unknown(server):
    with connect(server).log_in() as client, connect(server).log_in() as other:
        other.send(attach(client.session, 1, 0, 0))
        other.expect_refusal("session")


NOT_TO_BE_ASKED_FOR = (
    attach("{}", 4, 0, 0), attach("{}", 999_999_999, 0, 0), attach("{}", 1), attach("{}", 1, 0), attach("{}", 0, 0, 0),
    attach("{}", 1, -1, 0), attach("{}", 1, 10**15, 0), "<attach/>", "<cancel/>", '<sessions session="{}"/>',
)  # fmt: skip


def test_what_cannot_be_asked_for_is_a_protocol_error(server, over):
    for document in NOT_TO_BE_ASKED_FOR:
        assert refusal(server, document.format(over)).attrib == {"reason": "protocol"}, document


def test_no_offset_is_behind_a_job_that_is_not_over(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), py_code("2"))
        client.expect("started")
        for place in ((2, 0, 0), (3, 0, 0), (2, 1, 0)):
            refused = refusal(server, attach(client.session, *place))
            assert (refused.attrib, refused.text) == (
                {"reason": "protocol"},
                f"the jobs before job {place[0]} are not over",
            )
        gate.open()
        assert client.report().ended == "ok"


def test_a_job_that_has_not_started_has_printed_nothing(server):
    with connect(server).log_in() as client:
        client.submit(py_code("raise SystemExit(3)"), py_code("2"))
        assert client.report().ended == "failed"
    for job, *counts in ((2, 1, 0), (2, 0, 1), (3, 1, 0), (3, 0, 1)):
        refused = refusal(server, attach(client.session, job, *counts))
        assert (refused.attrib, refused.text) == ({"reason": "protocol"}, f"job {job} has printed nothing")


def test_no_request_comes_before_the_login(server):
    for document in (attach("x", 1, 0, 0), "<sessions/>", '<cancel session="x"/>'):
        with connect(server) as client:
            client.send(document)
            client.expect_refusal("protocol")


def journal_of(server):
    with connect(server) as client:
        return client.ask(osuser_login(user="R41")).attrib["journal"]


def test_a_client_that_does_not_want_to_attach_is_served_as_ever(server):
    """Its `accepted` has no session, which it would not know."""
    assert run(server, py_code("print(42)")) == Report({(1, "stdout"): "42\n"}, [("ok", "")], "ok")


def test_welcome_names_the_journal_which_keeps_its_name_as_long_as_there_is_one(tmp_path):
    with QuickServer(tmp_path / "home") as own_server:
        name = journal_of(own_server)
        own_server.crash()
        own_server.start()
        assert journal_of(own_server) == name
    with QuickServer(tmp_path / "another") as another:
        assert journal_of(another) != name
