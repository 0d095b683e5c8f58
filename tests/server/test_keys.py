"""The keys of sessions: the same key is the same session, however often and whenever it comes, and nothing runs
twice."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from headless.server.accounts import Account
from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.process import current_user
from support.raw_client import connect, in_jobs, py_code, run
from support.waiting import wait_until

pytestmark = pytest.mark.slow

KEY, OTHER_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 4


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    accounts = (Account("R43", current_user(), None),)
    with QuickServer(tmp_path_factory.mktemp("keys") / "home", "--workers", "4", accounts=accounts) as server:
        yield server


@pytest.fixture
def key():
    """One that no other test has."""
    return os.urandom(16).hex()


def once(tmp_path) -> str:
    """A job that notes each time that it runs."""
    return py_code(f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); print(42)")


def runs(tmp_path) -> int:
    return len((tmp_path / "runs").read_text())


def submit(server, *jobs: str, key: str, user: str = "R41"):
    """Session and report of the session."""
    with connect(server).log_in(user) as client:
        return client.submit(*jobs, key=key), client.report()


def test_the_same_key_is_the_same_session_and_is_reported_from_its_beginning(server, tmp_path, key):
    first = submit(server, once(tmp_path), key=key)
    again = submit(server, once(tmp_path), key=key)
    assert first == again
    assert first[1] == ({(1, "stdout"): "42\n"}, [("ok", "")], "ok")
    assert runs(tmp_path) == 1


def test_the_session_is_that_of_the_first_connection(server, key):
    with connect(server).log_in() as client:
        assert client.submit(py_code("1"), key=key) == client.session
        first = client.session
        client.report()
    with connect(server).log_in() as client:
        assert client.submit(py_code("1"), key=key) == first != client.session


def test_the_same_key_with_other_jobs_is_refused(server, key):
    session, _ = submit(server, py_code("1"), key=key)
    for others in ((py_code("2"),), (py_code("1"), py_code("1")), ("<module>A</module>",)):
        with connect(server).log_in() as client:
            client.send(in_jobs(*others, key=key))
            assert client.expect_refusal("jobs") == "the key of these jobs belongs to other jobs"
    assert states(server, session) == ["ok"]
    assert len([entry for entry in journal(server) if entry["key"] == key]) == 1


def test_jobs_that_look_alike_when_put_together_are_other_jobs(server, key):
    submit(server, "<module>A</module>".replace("module", "py_code"), py_code("B"), key=key)
    with connect(server).log_in() as client:
        client.send(in_jobs(py_code("AB"), key=key))
        client.expect_refusal("jobs")


def test_another_account_has_keys_of_its_own(server, tmp_path, key):
    mine, _ = submit(server, once(tmp_path), key=key)
    other, _ = submit(server, once(tmp_path), key=key, user="R43")
    assert mine != other
    assert runs(tmp_path) == 2


def test_the_same_jobs_with_another_key_or_without_one_are_another_session(server, tmp_path, key):
    sessions = {submit(server, once(tmp_path), key=each)[0] for each in (key, OTHER_KEY)}
    run(server, once(tmp_path))
    run(server, once(tmp_path))
    assert (len(sessions), runs(tmp_path)) == (2, 4)


def test_the_same_key_many_times_at_once_is_one_session(server, tmp_path, key):
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: submit(server, once(tmp_path), key=key), range(8)))
    assert len({session for session, _ in done}) == 1
    assert {report.ended for _, report in done} == {"ok"}
    assert runs(tmp_path) == 1


def test_a_session_that_is_known_by_its_key_is_not_checked_again(server, key):
    """Its file may have gone since; the session has been accepted all the same."""
    script = server.home / "py" / f"{key}.py"
    script.write_text("print(1)")
    job = f"<py_file>{key}.py</py_file>"
    first = submit(server, job, key=key)
    script.unlink()
    assert submit(server, job, key=key) == first


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_a_key_is_known_to_the_next_server(tmp_path, end):
    gate = Gate(tmp_path / "gate")
    jobs = {key: py_code(f"{gate.code}open({str(tmp_path / key)!r}, 'a').write('x')") for key in (KEY, OTHER_KEY)}
    with QuickServer(tmp_path / "home", "--workers", "1", ends_jobs=False) as server:
        sessions = {}
        for key, job in jobs.items():  # one runs, one waits
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


def test_the_journal_shows_keys(server, key):
    session, _ = submit(server, py_code("1"), key=key)
    assert [entry["key"] for entry in journal(server, session)] == [key]
    with connect(server).log_in() as client:
        client.submit(py_code("1"))
        client.report()
        assert [entry["key"] for entry in journal(server, client.session)] == [None]


def test_what_is_no_key_is_a_protocol_error(server):
    for bad in ("", "0" * 31, "0" * 65, "A" * 32, "g" * 32, "0" * 31 + " "):
        with connect(server).log_in() as client:
            client.send(in_jobs(py_code("1")).replace("<jobs", f'<jobs key="{bad}"'))
            client.expect_refusal("protocol")
