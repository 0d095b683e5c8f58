"""Sessions from the accepted session to their end, and their time limits."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing

import pytest

from headless.server import output
from headless.server.output import Piece, read_piece
from support.frames import frame
from support.job_code import Gate
from support.job_server import states
from support.raw_client import RawClient, challenge_login, connect, in_jobs, osuser_login, py_code, run
from support.scripted_server import Disconnected
from support.server_here import ServerHere
from support.sockets import reset
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.version("asyncio")]

# Sessions that are accepted


def test_accepted_is_sent_when_the_session_is_in_the_journal(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"), py_code("2"))
        with closing(sqlite3.connect(server.home / "planta.sqlite")) as database:
            rows = database.execute(
                "SELECT job FROM jobs WHERE session_id = ? ORDER BY job", (client.session,)
            ).fetchall()
    assert rows == [(1,), (2,)]


def test_a_session_that_cannot_be_recorded_is_not_accepted_and_does_not_run(tmp_path):
    marker = tmp_path / "marker"

    with ServerHere(tmp_path / "home", logs_traceback=True, workers=1) as server:
        with closing(sqlite3.connect(tmp_path / "home" / "planta.sqlite")) as database:
            database.execute("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'full'); END")
            with RawClient(server.address).log_in() as client:
                client.send(in_jobs(py_code(f"open({str(marker)!r}, 'w')")))
                client.expect_refusal("busy")
            database.execute("DROP TRIGGER full")
        with RawClient(server.address).log_in() as client:
            client.submit(py_code("1"))
            assert client.report().ended == "ok"
    assert not marker.exists()


def close(client: RawClient) -> None:
    client.sock.close()


def log_out(client: RawClient) -> None:
    client.send("<logout/>")


def break_off(client: RawClient) -> None:
    reset(client.sock)


@pytest.mark.parametrize("leave", [close, log_out, break_off])
def test_the_jobs_of_a_client_that_leaves_run_to_their_end(server, tmp_path, leave):
    gate, marker = Gate(tmp_path / "gate"), tmp_path / "marker"
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), py_code(f"open({str(marker)!r}, 'w')"))
        leave(client)
    gate.open()
    wait_until(lambda: states(server, client.session) == ["ok", "ok"])
    assert marker.exists()


def test_who_logs_out_without_jobs_leaves_no_trace(server):
    with connect(server).log_in() as client:
        client.send("<logout/>")
        client.expect_end()
    assert states(server, client.session) == []


def test_output_arrives_while_the_job_runs(server, tmp_path):
    gate = Gate(tmp_path / "gate")
    with connect(server).log_in() as client:
        client.submit(py_code(f"print('before', end='', flush=True)\n{gate.code}print('after')"))
        assert client.expect("started").attrib == {"job": "1"}
        output = client.expect("output")
        assert (output.attrib, output.text) == ({"job": "1", "stream": "stdout"}, "before")
        gate.open()
        assert client.report().output == {(1, "stdout"): "after\n"}


def test_a_client_that_does_not_read_holds_up_neither_its_jobs_nor_others(server):
    with connect(server).log_in() as lazy:
        lazy.submit(py_code("print('x' * 10_000_000)"), py_code("1"))
        wait_until(lambda: states(server, lazy.session) == ["ok", "ok"])
        assert run(server, py_code("1")).ended == "ok"


# Time limits, inside a server whose times are short


def test_a_session_lasts_and_shows_it_whenever_there_is_nothing_else_to_send(tmp_path):
    gate = Gate(tmp_path / "gate")

    # The time to log in is over when the second `alive` comes.
    with (
        ServerHere(tmp_path / "home", heartbeat=0.6, workers=1, login_timeout=1.1) as server,
        RawClient(server.address).log_in() as running,
        RawClient(server.address).log_in() as waiting,
    ):
        assert running.receive() == "<alive/>"
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(py_code("1"))
        received = running.receive(), waiting.receive()
        gate.open()
        assert received == ("<alive/>", "<alive/>")
        assert running.report().ended == waiting.report().ended == "ok"


BEGINNINGS = {
    "nothing": b"",
    "half a login": frame(osuser_login())[:-1],
    "no answer to the challenge": frame(challenge_login("R42")),
}


def test_a_connection_is_closed_that_sends(tmp_path):
    with ServerHere(tmp_path / "home", login_timeout=0.1) as server:
        for data in BEGINNINGS.values():
            with RawClient(server.address) as client:
                client.sock.sendall(data)
                with pytest.raises((Disconnected, ConnectionError)):  # not the socket's time-out
                    client.expect("challenge")
                    client.receive()


def test_output_is_reported_whole_when_there_is_no_descriptor_to_read_it_with_for_a_while(tmp_path, monkeypatch):
    left = 5

    def read_later(*arguments) -> Piece:
        nonlocal left
        left -= 1
        if left > 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return read_piece(*arguments)

    monkeypatch.setattr(output, "read_piece", read_later)

    with ServerHere(tmp_path / "home") as server, RawClient(server.address).log_in() as client:
        client.submit(py_code("print(42)"))
        assert client.report() == ({(1, "stdout"): "42\n"}, [("ok", "")], "ok")
    assert left <= 0
