"""An account is removed or limited while its sessions wait and run, and while its clients are logged in."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing

import pytest

from headless.server.accounts import Account
from headless.server.home import Home
from support.command_here import headless
from support.credentials import HASH
from support.job_code import Gate
from support.job_server import R42, QuickServer, journal, states
from support.journals import Record, new_session
from support.process import current_user
from support.raw_client import attach, connect, in_jobs, osuser_login, py_code, right_answer, run
from support.waiting import wait_until

pytestmark = pytest.mark.slow


ACCOUNTS = (
    R42,
    Account("R43", current_user(), None),
    Account("R44", current_user(), None),
)


KEY = "0123456789abcdef" * 2
REMOVED = "not started: the account has been removed"
LIMIT = ["--no-code", "--module", "00B*", "--folder", "nightly"]
FORBIDDEN = {
    py_code("1"): "run code",
    "<module>009ABC</module>": "run the module '009ABC'",
    "<py_file>weekly/a.py</py_file>": "run files outside of 'nightly'",
}
ALLOWED = "<py_file>nightly/a.py</py_file>"


@pytest.fixture
def server(tmp_path):
    with QuickServer(tmp_path / "home", "--workers", "1", accounts=ACCOUNTS, ends_jobs=False) as server:
        yield server


@pytest.fixture
def _files(server):
    """A module, and files in two folders."""
    (server.home / "modules" / "009ABC.py").touch()
    for folder in ("nightly", "weekly"):
        (server.home / "py" / folder).mkdir()
        (server.home / "py" / folder / "a.py").touch()


def user(server: QuickServer, *argv: str) -> list[str]:
    done = headless("user", *argv, "--home", str(server.home), stdin=HASH.encode())
    assert done.returncode == 0
    return done.stdout.splitlines()


def replace(server: QuickServer, name: str = "R41") -> None:
    user(server, "remove", name)
    user(server, "add", name, "--os-user", current_user())


def accept(server: QuickServer, *jobs: str, name: str = "R41", key: str = "") -> str:
    with connect(server).log_in(name) as client:
        return client.submit(*jobs, key=key)


def occupy(server: QuickServer, gate: Gate) -> None:
    """Makes all further sessions wait."""
    session = accept(server, py_code(gate.code), name="R43")
    wait_until(lambda: states(server, session) == ["running"])


def ends(server: QuickServer, session: str) -> list[tuple[str, str]]:
    """Returns state and reason of each job, when the session is over."""
    wait_until(lambda: not {"queued", "running"} & set(states(server, session)))
    return [(entry["state"], entry["message"]) for entry in journal(server, session)]


def trace(tmp_path) -> str:
    """Returns a job that leaves a file if it runs."""
    return py_code(f"open({str(tmp_path / 'trace')!r}, 'a').write('x'); print(42)")


REQUESTS = {
    "jobs": lambda _: in_jobs(py_code("1")),
    "jobs with a key that is known": lambda _: in_jobs(py_code("1"), key=KEY),
    "attach": attach,
    "cancel": lambda session: f'<cancel session="{session}"/>',
    "sessions": lambda _: "<sessions/>",
}
CHANGES: dict[str, Callable[[QuickServer], object]] = {
    "with another password": lambda server: user(server, "passwd", "R41", "--secret-file", "-"),
    "limited": lambda server: user(server, "limit", "R41", "--no-modules"),
    "replaced": replace,
    "removed": lambda server: user(server, "remove", "R41"),
}


@pytest.mark.parametrize("change", [replace, lambda server: user(server, "remove", "R41")], ids=["again", "removed"])
def test_what_waits_of_a_removed_account_does_not_start_although_its_name_is_used_again(server, gate, tmp_path, change):
    occupy(server, gate)
    with connect(server).log_in() as client:
        session = client.submit(trace(tmp_path), trace(tmp_path))
        change(server)
        gate.open()
        assert client.report().finished == [("skipped", REMOVED), ("skipped", "")]
    assert ends(server, session) == [("failed", REMOVED), ("skipped", "")]
    assert not (tmp_path / "trace").exists()


def test_a_running_job_of_a_removed_account_ends_as_it_does_and_no_further_one_starts(server, gate, tmp_path):
    with connect(server).log_in() as client:
        session = client.submit(py_code(gate.code), trace(tmp_path), trace(tmp_path))
        client.expect("started")
        replace(server)
        gate.open()
        report = client.report()
    assert (report.finished, report.ended) == ([("ok", ""), ("skipped", REMOVED), ("skipped", "")], "failed")
    assert ends(server, session) == [("ok", ""), ("failed", REMOVED), ("skipped", "")]
    assert not (tmp_path / "trace").exists()


def test_an_account_knows_nothing_of_an_earlier_one_of_its_name_and_the_administrator_all(server, tmp_path):
    session = accept(server, trace(tmp_path), key=KEY)
    assert ends(server, session) == [("ok", "")]
    replace(server)
    assert [entry["user"] for entry in journal(server, "--user", "R41")] == ["R41"]  # for the administrator
    assert [entry["stdout"] for entry in journal(server, session)] == [f"42{os.linesep}"]
    for request in (attach(session), attach(session, 1, 0, 0), f'<cancel session="{session}"/>'):
        with connect(server).log_in() as client:
            client.send(request)
            assert client.expect_refusal("session") == f"the account R41 has no session {session!r} on this server"
    with connect(server).log_in() as client:
        assert client.ask("<sessions/>").tag == "ended"
    again = accept(server, trace(tmp_path), key=KEY)  # which is a key of its own
    assert again != session
    assert ends(server, again) == [("ok", "")]
    assert (tmp_path / "trace").read_text() == "xx"


def test_the_removal_of_an_account_says_what_happens_to_its_sessions(server, gate):
    occupy(server, gate)
    for _ in range(2):
        accept(server, py_code("1"))
    assert user(server, "remove", "R41") == [
        "2 sessions of this account are not over: running jobs go on, and no further job of it starts"
    ]
    assert user(server, "remove", "R42") == []


def test_a_connection_is_refused_whatever_it_asks_for_if_the_account_has_changed_since_the_login(server):
    session = accept(server, py_code("1"), key=KEY)
    ends(server, session)
    for name, change in CHANGES.items():
        clients = [connect(server).log_in() for _ in REQUESTS]
        change(server)
        for client, request in zip(clients, REQUESTS.values()):
            with client:
                client.send(request(session))
                refusal = client.expect_refusal("busy")
                assert refusal == "the account has been changed or removed since the login", name
        assert len(journal(server)) == 1
    with connect(server) as client:
        client.send(osuser_login(user="R41"))
        client.expect_refusal("login")


def test_a_proof_of_the_password_of_an_earlier_account_is_none_for_the_next_one(server):
    with connect(server) as client:
        answer = right_answer(client, "R42")
        replace(server, "R42")
        client.send(answer)
        client.expect_refusal("login")


@pytest.mark.usefixtures("_files")
def test_what_a_later_limit_forbids_does_not_start_and_what_it_no_longer_forbids_does(server, gate):
    occupy(server, gate)
    sessions = {job: [accept(server, job, ALLOWED), accept(server, ALLOWED, job, job)] for job in FORBIDDEN}
    at_last_unlimited = accept(server, py_code("1"), name="R44")
    user(server, "limit", "R44", "--no-code")
    user(server, "limit", "R44", "--none")
    user(server, "limit", "R41", *LIMIT)
    gate.open()
    assert ends(server, at_last_unlimited) == [("ok", "")]
    for job, forbidden in FORBIDDEN.items():
        refusal = ("failed", f"not started: the account R41 may not {forbidden}")
        assert ends(server, sessions[job][0]) == [refusal, ("skipped", "")]
        assert ends(server, sessions[job][1]) == [("ok", ""), refusal, ("skipped", "")]


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
@pytest.mark.usefixtures("_files")
def test_a_file_is_judged_by_where_its_links_lead_when_it_is_to_start(server, gate):
    user(server, "limit", "R41", "--folder", "nightly")
    occupy(server, gate)
    sessions = {}
    for name in ("nightly", "weekly", "root"):
        (server.home / "py" / f"{name}.py").symlink_to("nightly/a.py")
        sessions[name] = accept(server, f"<py_file>{name}.py</py_file>")
    for name, target in (("nightly", "./nightly/a.py"), ("weekly", "weekly/a.py"), ("root", "/a.py")):
        (server.home / "py" / f"{name}.py").unlink()
        (server.home / "py" / f"{name}.py").symlink_to(target)
    gate.open()
    found = {name: ends(server, session)[0][0] for name, session in sessions.items()}
    assert found == {"nightly": "ok", "weekly": "failed", "root": "failed"}


def test_a_job_that_runs_is_not_judged_by_the_next_server(server, gate):
    session = accept(server, py_code("print('here', flush=True)\n" + gate.code), py_code("1"))
    printed = server.home / "output" / session / "1.stdout"
    wait_until(lambda: printed.exists() and printed.read_bytes())
    server.crash()
    user(server, "limit", "R41", "--no-code")
    server.start()
    gate.open()
    assert ends(server, session) == [("ok", ""), ("failed", "not started: the account R41 may not run code")]


def test_one_at_a_time_counts_nothing_of_an_earlier_account_of_the_name(server, gate):
    session = accept(server, py_code(gate.code))
    wait_until(lambda: states(server, session) == ["running"])
    replace(server)
    user(server, "limit", "R41", "--one-at-a-time")
    accept(server, py_code(gate.code))


@pytest.mark.skipif(os.name == "nt", reason="such a job does not run there")
@pytest.mark.parametrize("is_limited", [False, True])
def test_a_job_that_a_killed_server_had_not_started_yet_is_judged_again(server, is_limited):
    run(server, py_code("1"))  # so that the server knows this boot
    server.stop()
    with closing(Home(str(server.home)).database()) as database, database:
        record = Record(database)
        record.accept(new_session("5e55", jobs=2))
        record.begin("5e55")
    if is_limited:
        user(server, "limit", "R41", "--no-code")
    server.start()
    refused = [("failed", "not started: the account R41 may not run code"), ("skipped", "")]
    assert ends(server, "5e55") == (refused if is_limited else [("ok", "")] * 2)
    assert (journal(server, "5e55")[0]["started"] is None) == is_limited
