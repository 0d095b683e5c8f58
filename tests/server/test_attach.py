"""Attaching to a session, and the keys of sessions: nothing is lost, reported twice or run twice."""

from __future__ import annotations

import asyncio
import os
import threading
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from headless.server.processes import JobProcesses
from support.homes import R41, make_home
from support.job_server import QuickServer, journal, states
from support.journals import Record, new_session
from support.raw_client import RawClient, Report, attach, connect, in_jobs, osuser_login, py_code, run
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


# What two jobs print: more than is read at a time, characters of several bytes, and some that XML cannot carry.
PRINTED = {
    (1, "stdout"): "one\r\n\x00\ud7ff\u20ac\U0001f600" + "x" * 70_000 + "\u00fc" * 70_000 + "\nlast",
    (1, "stderr"): "\u00e9\n\n",
    (2, "stdout"): "two\n",
}

REPORTED = {key: text.replace("\x00", "\ufffd") for key, text in PRINTED.items()}

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
def over(server):
    """A session that has ended well."""
    if os.name == "nt":
        pytest.skip("on Windows the client of the tests takes two characters at the end of a line for one")
    with connect(server).log_in() as client:
        client.submit(*JOBS)
        assert client.report() == Report(REPORTED, [("ok", ""), ("ok", "")], "ok")
        return client.session


def follow(server, session: str, *offset: int) -> tuple[tuple[int, ...], Report]:
    """Returns the answer to `attach` and the rest of the report."""
    with connect(server).log_in() as client:
        return client.attach(session, *offset), client.report()


def rest_of_output(job: int, stdout: int, stderr: int) -> dict[tuple[int, str], str]:
    """Returns what is still to be reported of REPORTED."""
    rest = {}
    for (number, stream), text in REPORTED.items():
        left = text[{"stdout": stdout, "stderr": stderr}[stream] if number == job else 0 :]
        if number >= job and left:
            rest[number, stream] = left
    return rest


OFFSETS = (
    (1, 0, 0), (1, 1, 0), (1, 5, 1), (1, 6, 2), (1, 7, 3), (1, 8, 0), (1, 65_536, 3), (1, 70_009, 3), (1, 100_000, 1),
    (1, 140_013, 3), (2, 0, 0), (2, 3, 0), (2, 4, 0), (3, 0, 0),
)  # fmt: skip


def test_a_client_resumes_at_every_offset(server, over):
    for offset in OFFSETS:
        attached, report = follow(server, over, *offset)
        assert attached == (2, *offset)
        assert report == Report(rest_of_output(*offset), [("ok", "")] * (3 - offset[0]), "ok"), offset
    _, report = follow(server, over, 2, 1000, 10**14)  # of a machine that has lost what it had reported
    assert report == Report({}, [("ok", "")], "ok")


def test_without_an_offset_only_what_is_new_is_reported(server, gate):
    with connect(server).log_in() as first:
        first.submit(py_code("print(1)"), py_code(f"print('\u20acb', flush=True)\n{gate.code}print('c')"))
        while first.element().text != "\u20acb\n":
            pass
        with connect(server).log_in() as client:
            assert client.attach(first.session) == (2, 2, len(f"\u20acb{os.linesep}"), 0)
            gate.open()
            assert client.report() == Report({(2, "stdout"): "c\n"}, [("ok", "")], "ok")


def test_without_an_offset_a_session_that_waits_or_is_over_reports_its_rest(server, own_server, over, gate):
    assert follow(server, over) == ((2, 3, 0, 0), Report({}, [], "ok"))
    with connect(own_server).log_in() as running, connect(own_server).log_in() as waiting:
        running.submit(py_code(gate.code))
        waiting.submit(py_code("print(1)"))
        with connect(own_server).log_in() as client:
            assert client.attach(waiting.session) == (1, 1, 0, 0)
            gate.open()
            assert client.report() == Report({(1, "stdout"): "1\n"}, [("ok", "")], "ok")


def test_a_failed_session_reports_why_from_now_on_and_from_every_job(server):
    finished = [("ok", ""), ("failed", "no such table"), ("skipped", "")]
    with connect(server).log_in() as client:
        client.submit(py_code("1"), py_code("print(22); raise SystemExit('no such table')"), py_code("3"))
        client.report()
    attached, report = follow(server, client.session)
    assert attached == (3, 2, len(f"22{os.linesep}"), len(f"no such table{os.linesep}"))
    assert report == Report({}, finished[1:], "failed")
    for job in range(1, 5):
        _, report = follow(server, client.session, job, 0, 0)
        assert (report.finished, report.ended) == (finished[job - 1 :], "failed")


@pytest.mark.parametrize("end", ["", "crash", "stop"], ids=["the same", "after a crash", "after a stop"])
def test_a_job_that_runs_is_resumed_with_this_server_or_the_next(tmp_path, gate, end):
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        with connect(server).log_in() as client:
            client.submit(py_code(f"print('abc', flush=True)\n{gate.code}print('def')"), py_code("print(2)"))
            client.expect("started")
            assert client.expect("output").text == "abc\n"
        if end:
            getattr(server, end)()
            server.start()
        with connect(server).log_in() as again:
            assert again.attach(client.session, 1, BEHIND_ABC, 0) == (2, 1, BEHIND_ABC, 0)
            gate.open()
            expected = {(1, "stdout"): "def\n", (2, "stdout"): "2\n"}
            assert again.report() == Report(expected, [("ok", ""), ("ok", "")], "ok")


def test_a_job_that_turns_out_not_to_have_started_is_reported_when_it_has_run(tmp_path, monkeypatch):
    """The server was killed between its word in the journal and the start."""
    home = make_home(tmp_path / "home", R41)
    with ServerHere(home.folder):
        pass  # so that the next one is not the first since the machine was started
    with closing(home.database()) as database, database:
        record = Record(database)
        record.accept(new_session("s", text="print(1)"))
        record.begin("s")
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
    with connect(server).log_in("R43") as without_jobs:
        for what in (attach("{}"), attach("{}", 1, 0, 0), '<cancel session="{}"/>'):
            for session in (over, "0" * 16, "x", over.upper(), f" {over}", without_jobs.session):
                refused = refusal(server, what.format(session), user="R43")
                assert refused.attrib == {"reason": "session"}
                assert refused.text == f"the account R43 has no session {session!r} on this server"


NO_REQUESTS = (attach("{}", 4, 0, 0), attach("{}", 999_999_999, 0, 0), attach("{}", 1), '<sessions session="{}"/>')


def test_what_cannot_be_asked_for_or_comes_before_the_login_is_a_protocol_error(server, over):
    for document in NO_REQUESTS:
        assert refusal(server, document.format(over)).attrib == {"reason": "protocol"}, document
    for document in (attach(over, 1, 0, 0), "<sessions/>", f'<cancel session="{over}"/>'):
        with connect(server) as client:
            client.send(document)
            client.expect_refusal("protocol")


def test_no_offset_is_behind_a_job_that_is_not_over(server, gate):
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), py_code("2"))
        client.expect("started")
        for offset in ((2, 0, 0), (3, 0, 0), (2, 1, 0)):
            refused = refusal(server, attach(client.session, *offset))
            assert refused.attrib == {"reason": "protocol"}
            assert refused.text == f"the jobs before job {offset[0]} are not over"
        gate.open()
        assert client.report().ended == "ok"


def test_a_job_that_has_not_started_has_printed_nothing(server):
    with connect(server).log_in() as client:
        client.submit(py_code("raise SystemExit(3)"), py_code("2"))
        assert client.report().ended == "failed"
    for job, *counts in ((2, 1, 0), (2, 0, 1), (3, 1, 0), (3, 0, 1)):
        refused = refusal(server, attach(client.session, job, *counts))
        assert (refused.attrib, refused.text) == ({"reason": "protocol"}, f"job {job} has printed nothing")


def test_welcome_names_the_journal_which_keeps_its_name(tmp_path):
    def name_of_journal(server):
        with connect(server) as client:
            return client.ask(osuser_login(user="R41")).attrib["journal"]

    with QuickServer(tmp_path / "home") as own_server:
        name = name_of_journal(own_server)
        own_server.crash()
        own_server.start()
        assert name_of_journal(own_server) == name
    with QuickServer(tmp_path / "another") as another:
        assert name_of_journal(another) != name


# The keys of sessions

KEY, OTHER_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 4


@pytest.fixture
def job(tmp_path):
    """A job that notes each time that it runs."""
    return py_code(f"open({str(tmp_path / 'ran')!r}, 'a').write('x'); print(42)")


def times_run(tmp_path) -> int:
    return len((tmp_path / "ran").read_text())


@pytest.fixture
def key():
    """One that no other test has."""
    return os.urandom(16).hex()


def submit(server, *jobs: str, key: str, user: str = "R41"):
    """Returns the session and its report."""
    with connect(server).log_in(user) as client:
        return client.submit(*jobs, key=key), client.report()


def test_the_same_key_is_the_same_session_however_often_and_at_once(server, job, key, tmp_path):
    with connect(server).log_in() as client:
        assert client.submit(job, key=key) == client.session  # that of the first connection
        first = client.session, client.report()
    assert first[1] == ({(1, "stdout"): "42\n"}, [("ok", "")], "ok")
    assert submit(server, job, key=key) == first
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: submit(server, job, key=OTHER_KEY), range(8)))
    assert len({session for session, _ in done}) == 1
    assert {report.ended for _, report in done} == {"ok"}
    assert times_run(tmp_path) == 2


def test_the_same_key_with_other_jobs_is_refused(server, key):
    jobs = (py_code("A"), py_code("B"))
    session, _ = submit(server, *jobs, key=key)
    for others in ((py_code("A"),), (py_code("AB"),), (*jobs, py_code("B")), ("<module>A</module>",)):
        with connect(server).log_in() as client:
            client.send(in_jobs(*others, key=key))
            assert client.expect_refusal("jobs") == "the key of these jobs belongs to other jobs"
    assert states(server, session) == ["failed", "skipped"]
    assert {entry["session"] for entry in journal(server) if entry["key"] == key} == {session}


def test_another_account_another_key_and_none_are_other_sessions(server, job, key, tmp_path):
    reported = [submit(server, job, key=key, user=user)[0] for user in ("R41", "R43")]
    reported.append(submit(server, job, key=os.urandom(32).hex())[0])
    run(server, job)
    run(server, job)
    assert (len(set(reported)), times_run(tmp_path)) == (3, 5)
    assert [entry["key"] for entry in journal(server)][-2:] == [None, None]


def test_a_session_that_is_known_by_its_key_is_not_checked_again(server, key):
    """Its file may be gone by then."""
    script = server.home / "py" / f"{key}.py"
    script.write_text("print(1)")
    job = f"<py_file>{key}.py</py_file>"
    first = submit(server, job, key=key)
    script.unlink()
    assert submit(server, job, key=key) == first


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_the_next_server_knows_the_key_of_a_session_that_runs_or_waits(tmp_path, gate, end):
    jobs = {key: py_code(f"{gate.code}open({str(tmp_path / key)!r}, 'a').write('x')") for key in (KEY, OTHER_KEY)}
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        sessions = {}
        for key, job in jobs.items():
            with connect(server).log_in() as client:
                sessions[key] = client.submit(job, key=key)
        wait_until(lambda: states(server, sessions[KEY]) == ["running"])
        getattr(server, end)()
        server.start()
        for key, job in jobs.items():
            with connect(server).log_in() as client:
                assert client.submit(job, key=key) == sessions[key]
                gate.open()
                assert client.report().ended == "ok"
            assert (tmp_path / key).read_text() == "x"
        assert {entry["key"] for entry in journal(server)} == {KEY, OTHER_KEY}
