"""How long a call tries to resume its session, on a clock in the test's hand; and PLANTA_PATIENCE."""

from __future__ import annotations

import os
import socket
import time

import pytest

from headless import cli
from headless.client import session
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import DeadlinePassed, Waiter
from headless.errors import ConnectionLost, ParameterError
from headless.options import parse, patience
from support.arbitrary_dialects import options_of
from support.command_here import headless
from support.dialogues import ACCEPTED, DONE, WELCOME, answering_login, serving
from support.job_server import QuickServer
from support.process import PATIENCE
from support.scripted_server import ScriptedServer
from support.sockets import reset

SECONDS_OF_AN_ATTEMPT = 20.0


class Outages(Session):
    """A session whose connection is lost again and again. Each outage lasts so many seconds of the clock `now`."""

    def __init__(self, waiter: Waiter, *seconds: float) -> None:
        super().__init__(options_of(1, "-t", "-1"), None, lambda: pytest.fail("no dialect"), Console(0, waiter), waiter)
        self.can_attach = True
        self.now = 0.0
        self._rest = list(seconds)
        self._end = self._rest.pop(0)

    def _next_pause(self) -> float:
        return 0.0

    def _begin(self) -> None:
        self.now += min(SECONDS_OF_AN_ATTEMPT, self._end - self.now)
        self._waiter.check()
        if self.now < self._end:
            raise ConnectionLost("there is no server")

    def _follow(self) -> None:
        if self._rest:
            self._end = self.now + self._rest.pop(0)
            raise ConnectionLost("there was one")


def seconds_until_it_gives_up(*outages: float, timeout: float | None = None) -> float | None:
    """None: it does not, and follows the session to its end."""
    with Waiter(lambda: call.now) as waiter:
        call = Outages(waiter, *outages)
        waiter.set_deadline(timeout)
        try:
            call._run()
        except DeadlinePassed:
            return call.now
    return None


@pytest.mark.parametrize(
    ("outages", "timeout", "at"),
    [
        ((599.0,), None, None),
        ((599.0, 599.0, 599.0), None, None),
        ((1.0,) * 1000, None, None),
        ((601.0,), None, 600.0),
        ((3600.0,), None, 600.0),
        ((599.0, 601.0), None, 1199.0),
        ((10_000.0,), 100.0, 100.0),
        ((10_000.0,), 3600.0, 3600.0),
    ],
)
def test_an_outage_may_last_ten_minutes_in_a_row_or_as_long_as_the_time_out(outages, timeout, at):
    given_up = seconds_until_it_gives_up(*outages, timeout=timeout)
    assert given_up is None if at is None else at <= given_up <= at + SECONDS_OF_AN_ATTEMPT


# PLANTA_PATIENCE: a server that is not there yet is waited for, before anything was submitted and never after it

LONG = {**os.environ, "PLANTA_PATIENCE": str(PATIENCE)}
BUSY = '<refused reason="busy">too many connections</refused>'


@pytest.fixture
def short_pauses(monkeypatch):
    """Between the connections of `here`."""
    monkeypatch.setattr(session, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def tenths(monkeypatch):
    """The seconds of -t and of PLANTA_PATIENCE are tenths of seconds for `here`."""

    def parse_tenths(*argv):
        options = parse(*argv)
        return options.replace(timeout=options.timeout / 10 if options.timeout > 0 else options.timeout)

    monkeypatch.setattr(cli, "parse", parse_tenths)
    monkeypatch.setattr(cli, "patience", lambda value: patience(value) / 10)


@pytest.fixture
def closed_port():
    """A port that refuses connections, and that is reserved."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved


def address_of(sock):
    return "{}:{}".format(*sock.getsockname())


@pytest.fixture
def begin_at_pause(monkeypatch, closed_port):
    """Begins a server at the closed port when `here` waits before it tries that again."""
    servers: list[ScriptedServer] = []

    def prepare(script):
        def begin(_session):
            if not servers:
                servers.append(ScriptedServer(script, bound=closed_port))
            return 0.01

        monkeypatch.setattr(Session, "_next_pause", begin)
        return servers

    yield prepare
    for server in servers:
        server.close()


def after(misfortune, times, script):
    """A script by which the first connections end with a misfortune."""
    peers = []

    def run(peer):
        peers.append(peer)
        (misfortune if len(peers) <= times else script)(peer)

    return run


def busy(peer):
    peer.receive()
    peer.send(BUSY)
    peer.wait_for_disconnect()


def lost_at_the_login(peer):
    peer.receive()
    reset(peer.sock)


@pytest.mark.slow
def test_the_real_server_that_is_down_is_waited_for_and_the_job_runs_once(command, closed_port, tmp_path):
    address, trace = address_of(closed_port), tmp_path / "trace"
    code = f"print('ran', file=open({str(trace)!r}, 'a'))"
    with command.start("-s", address, "-v", "-t", "-1", "-c", code, env=LONG) as process:
        assert process.stdout is not None
        while "connecting again in" not in process.stdout.readline():
            pass
        closed_port.close()
        with QuickServer(tmp_path / "home", "--listen", address):
            assert process.wait(PATIENCE) == 0
    assert trace.read_text() == "ran\n"


@pytest.mark.parametrize("timeout", [("-t", "-1"), ("-t", "15"), ()], ids=" ".join)
def test_a_server_that_is_down_is_waited_for_and_nothing_is_submitted_twice(here, closed_port, begin_at_pause, timeout):
    servers = begin_at_pause(serving(*DONE))
    assert here("-s", address_of(closed_port), *timeout, "-c", "pass", env=LONG).returncode == 0
    servers[0].close()
    received = [document for peer in servers[0].peers for document in peer.received]
    assert sum(document.startswith("<jobs") for document in received) == 1


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("misfortune", [busy, lost_at_the_login, lambda peer: reset(peer.sock)],
                         ids=["busy", "lost at the login", "lost at once"])  # fmt: skip
def test_what_goes_wrong_before_the_login_is_tried_again_but_a_refusal_is_a_2_at_once(here, scripted, misfortune):
    for script, code in ((serving(*DONE), 0), (answering_login('<refused reason="login">no such user</refused>'), 2)):
        server = scripted(after(misfortune, 2, script))
        done = here("-s", server.address, "-v", "-t", "-1", "-c", "pass", env=LONG)
        server.close()
        assert (done.returncode, len(server.peers)) == (code, 3), done.stdout
        assert done.stdout.count("connecting again in") == 2


@pytest.mark.parametrize(
    ("documents", "submission"),
    [((WELCOME,), "unknown"), ((WELCOME, ACCEPTED), "submitted"), ((WELCOME, BUSY), "not submitted")],
    ids=["jobs", "acceptance", "refusal of the jobs"],
)
def test_what_goes_wrong_after_the_login_is_not_tried_again(here, scripted, documents, submission):
    def script(peer):
        for document in documents:
            peer.receive()
            peer.send(document)
        if len(documents) == 1:
            peer.receive()
        reset(peer.sock)

    server = scripted(script)
    done = here("-s", server.address, "-v", "-t", "-1", "-c", "pass", env=LONG)
    server.close()
    assert (done.returncode, len(server.peers)) == (1, 1), done.stdout
    assert done.stdout.endswith(f"jobs: {submission}\n")


@pytest.mark.usefixtures("tenths", "short_pauses")
@pytest.mark.parametrize(
    ("timeout", "patience"), [("-1", "1"), ("0", "1"), ("600", "1"), ("1", "1000"), ("-1", ""), ("-1", None)]
)
def test_when_patience_or_t_is_over_the_last_line_says_why_the_server_was_not_there(
    here, closed_port, timeout, patience
):
    environment = {**os.environ, "PLANTA_PATIENCE": patience or ""}
    if patience is None:
        del environment["PLANTA_PATIENCE"]
    begin = time.monotonic()
    done = here("-s", address_of(closed_port), "-v", "-t", timeout, "-c", "pass", env=environment)
    assert done.returncode == 1
    assert ("connecting again" in done.stdout) == bool(patience)
    assert not patience or time.monotonic() >= begin + 0.1
    last = done.stdout.splitlines()[-1]
    assert "no connection to 127.0.0.1 port" in last
    assert ("the server has not accepted the jobs in time (" in last) == bool(patience)
    assert last.endswith("; jobs: not submitted")


def test_wait_has_the_same_patience(closed_port, begin_at_pause):
    def script(peer):
        peer.receive()
        peer.send('<welcome session="s2" journal="9ae1"/>')
        assert peer.receive() == '<attach session="s1" job="1" stdout="0" stderr="0"/>'
        peer.send('<attached jobs="1" job="1" stdout="0" stderr="0"/>', *DONE)
        peer.wait_for_disconnect()

    begin_at_pause(script)
    done = headless("wait", "s1", "-v", "-s", address_of(closed_port), env=LONG)
    assert (done.returncode, "job 1 ok" in done.stdout) == (0, True), done.stdout


def test_a_value_that_cannot_be_used_names_the_variable(here):
    for value in ("0", "-1", "1.5", "ten", " 5", "5s", "1" * 10, "\udcff"):
        with pytest.raises(ParameterError, match=r"^PLANTA_PATIENCE "):
            patience(value)
    done = here("-s", "127.0.0.1:1", "-c", "pass", env={**os.environ, "PLANTA_PATIENCE": "0"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("planta_headless.py: error: PLANTA_PATIENCE ")
