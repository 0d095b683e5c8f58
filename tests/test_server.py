"""Connections and sessions as a stranger to our client sees them: literal XML, by the design's description of the wire,
against the real server in a process of its own. Then what only shows inside: time limits, throttle, peers' owners.
What becomes of jobs is in test_jobs.py."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import io
import os
import pwd
import re
import signal
import socket
import sqlite3
import struct
import sys
import time
from contextlib import closing

import bcrypt
import pytest
from raw_client import (
    NONCE,
    Gate,
    QuickServer,
    RawClient,
    challenge_login,
    connect,
    in_jobs,
    is_free,
    osuser_login,
    py_code,
    run,
    serve_here,
    states,
    tell,
    wait_until,
)
from support import HASH, PASSWORD, Hangup, JobServer, frame, own_user

from headless.server import peer
from headless.server.accounts import Account, keys_from_hash
from headless.server.settings import LOGIN_SECONDS
from headless.server.throttle import Throttle

STRANGER = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != os.geteuid())
ODD_USER = "a=b,ü"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests that leave it as it is. Accounts: R41 and R43 of whoever runs the tests, R42 and one
    with an odd name by password, R50 of somebody else."""
    home = tmp_path_factory.mktemp("server") / "home"
    accounts = (
        Account("R43", own_user(), None),
        Account("R50", STRANGER, None),
        Account(ODD_USER, None, keys_from_hash(HASH.encode())),
    )
    with QuickServer(home, "--workers", "8", accounts=accounts) as server:
        tell("user", "add", "R42", "--password-stdin", "--home", str(home), stdin=PASSWORD.encode())
        yield server


@pytest.fixture
def own_server(tmp_path):
    """A server for one test, which may end it."""
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        yield server


# osuser


def test_the_user_who_owns_the_connection_may_log_in(own_server):
    with connect(own_server) as client:
        welcome = client.ask(osuser_login())
    assert welcome.tag == "welcome"
    assert set(welcome.attrib) == {"session", "heartbeat"}
    assert welcome.attrib["heartbeat"] == "30"


@pytest.mark.parametrize(
    ("login", "word"),
    [
        pytest.param(osuser_login(STRANGER), STRANGER, id="a user who is not the owner of the connection"),
        pytest.param(osuser_login(STRANGER, "R50"), STRANGER, id="the same, with the right account"),
        pytest.param(osuser_login(STRANGER, "R41"), STRANGER, id="the same, with the account of the owner"),
        pytest.param(osuser_login("nobody-has-this-name"), "nobody-has-this-name", id="a user that does not exist"),
        pytest.param(osuser_login(user="R42"), "R42", id="an account that has a password"),
        pytest.param(osuser_login(user="R50"), "R50", id="an account of another user"),
        pytest.param(osuser_login(user="R99"), "R99", id="an account that does not exist"),
        pytest.param(osuser_login(), "several", id="no account where there are several"),
    ],
)
def test_an_osuser_login_is_refused_for(server, login, word):
    with connect(server) as client:
        client.say(login)
        assert word in client.expect_refusal("login")


@pytest.mark.parametrize("user", ["R41", "R43"])
def test_of_several_accounts_the_login_says_which(server, user):
    with connect(server) as client:
        client.session = client.ask(osuser_login(user=user)).attrib["session"]
        client.submit(py_code("import os; print(os.environ['PLANTA_USER'])"))
        assert client.story().output == {(1, "stdout"): f"{user}\n"}


@pytest.mark.parametrize(
    ("owner", "trust", "answer"),
    [(None, False, "refused"), (None, True, "welcome"), (os.geteuid() + 1, True, "refused")],
)
def test_trust_is_for_connections_whose_owner_cannot_be_known(tmp_path, monkeypatch, owner, trust, answer):
    def owner_of(*_):
        if owner is None:
            raise peer.OwnerUnknown("this platform keeps it to itself")
        return owner

    def talk(address):
        with RawClient(address) as client:
            assert client.ask(osuser_login()).tag == answer

    monkeypatch.setattr(peer, "owner_uid", owner_of)
    serve_here(tmp_path / "home", talk, trust_osuser=trust)


def test_osuser_is_for_clients_on_the_same_machine(tmp_path, monkeypatch):
    def talk(address):
        with RawClient(address) as client:
            client.say(osuser_login())
            client.expect_refusal("login")

    monkeypatch.setattr(peer, "is_loopback", lambda _host: False)
    serve_here(tmp_path / "home", talk, trust_osuser=True)


# challenge: SCRAM once more, from RFC 5802 and the design


def sign(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


@functools.cache
def hash_of(password: str, salt: str) -> bytes:
    return bcrypt.hashpw(password.encode(), salt.encode())


def auth_message(user: str, nonce: str, salt: str) -> bytes:
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n={name},r={NONCE},r={nonce},f={salt},c=biws,r={nonce}".encode()


def proof_of(secret: bytes, message: bytes) -> str:
    client_key = sign(secret, b"Client Key")
    signature = sign(hashlib.sha256(client_key).digest(), message)
    return base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()


def challenged(client: RawClient, user: str) -> tuple[str, str]:
    """Nonce and salt of the server's challenge to this user."""
    challenge = client.ask(challenge_login(user))
    assert challenge.tag == "challenge"
    return challenge.attrib["nonce"], challenge.attrib["salt"]


def response(nonce: str, proof: str) -> str:
    return f'<response nonce="{nonce}" proof="{proof}"/>'


@pytest.mark.parametrize("user", ["R42", ODD_USER])
def test_who_proves_the_password_is_let_in_and_gets_proof_of_the_server(server, user):
    with connect(server) as client:
        nonce, salt = challenged(client, user)
        secret, message = hash_of(PASSWORD, salt), auth_message(user, nonce, salt)
        welcome = client.ask(response(nonce, proof_of(secret, message)))
    assert welcome.tag == "welcome"
    assert base64.b64decode(welcome.attrib["signature"]) == sign(sign(secret, b"Server Key"), message)


def test_the_servers_nonce_continues_the_clients_and_is_new_each_time(server):
    with connect(server) as one, connect(server) as other:
        nonces = {challenged(one, "R42")[0], challenged(other, "R42")[0]}
    assert len(nonces) == 2
    assert all(re.fullmatch(re.escape(NONCE) + r"[!-+\--~]{24,}", nonce) for nonce in nonces)


WRONG = base64.b64encode(bytes(32)).decode()


def proof_for(nonce: str, salt: str, user: str = "R42") -> str:
    return proof_of(hash_of(PASSWORD, salt), auth_message(user, nonce, salt))


def other(nonce: str) -> str:
    return nonce[:-1] + ("x" if nonce[-1] != "x" else "y")


WRONG_RESPONSES = {
    "no proof": lambda nonce, _: response(nonce, WRONG),
    "an empty proof": lambda nonce, _: response(nonce, ""),
    "a proof that is not base64": lambda nonce, _: response(nonce, "ü"),
    "another hash": lambda nonce, salt: response(nonce, proof_of(b"x" * 60, auth_message("R42", nonce, salt))),
    "another user": lambda nonce, salt: response(nonce, proof_for(nonce, salt, user="R41")),
    "another nonce": lambda nonce, salt: response(other(nonce), proof_for(nonce, salt)),
    "another nonce and its proof": lambda nonce, salt: response(other(nonce), proof_for(other(nonce), salt)),
}


@pytest.mark.parametrize("make_response", WRONG_RESPONSES.values(), ids=WRONG_RESPONSES)
def test_a_challenge_login_is_refused_for(server, make_response):
    with connect(server) as client:
        client.say(make_response(*challenged(client, "R42")))
        client.expect_refusal("login")
    with connect(server) as client:  # which also makes the server forget the failure
        nonce, salt = challenged(client, "R42")
        assert client.ask(response(nonce, proof_for(nonce, salt))).tag == "welcome"


def test_an_unknown_user_looks_like_one_with_a_wrong_password(server):
    def attempt(user: str) -> tuple[int, str]:
        with connect(server) as client:
            nonce, salt = challenged(client, user)
            assert re.fullmatch(r"\$2b\$12\$[./A-Za-z0-9]{21}[.Oeu]", salt)
            client.say(response(nonce, WRONG))
            client.expect_refusal("login")
            return len(client.heard[0]), client.heard[1]

    assert attempt("R42") == attempt("R99") == attempt("R41")


def test_the_made_up_salt_of_a_user_stays_and_is_nobody_elses(own_server):
    def salt_of(user: str) -> str:
        with connect(own_server) as client:
            return challenged(client, user)[1]

    before = [salt_of(user) for user in ("R97", "R98", "R99", "R41")]
    assert len(set(before)) == 4
    own_server.stop()
    own_server.start()
    assert [salt_of(user) for user in ("R97", "R98", "R99", "R41")] == before


def test_a_connection_is_for_one_login(server):
    with connect(server) as client:
        nonce, _ = challenged(client, "R99")
        client.say(response(nonce, WRONG), osuser_login(user="R41"), in_jobs(py_code("1")))
        refused = client.expect("refused")
        client.expect_end()
    assert refused.attrib["reason"] in ("login", "protocol")


def test_repeated_failures_are_answered_ever_later(own_server):
    before = time.monotonic()
    for _ in range(3):
        with connect(own_server) as client:
            nonce, _ = challenged(client, "R96")
            client.say(response(nonce, WRONG))
            client.expect_refusal("login")
    assert time.monotonic() - before > 0.2


# What is no conversation


@pytest.mark.parametrize("version", ["2", "11", "0"])
def test_another_version_is_refused_as_that(server, version):
    with connect(server) as client:
        client.say(f'<login version="{version}" client="test" auth_type="new" token="1"/>')
        client.expect_refusal("version")


NOT_SPOKEN = {
    "an empty frame": frame(b""),
    "a frame beyond 4096 bytes": struct.pack(">I", 4097),
    "a length beyond every limit": b"\xff\xff\xff\xff",
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "no XML": frame("hello"),
    "broken XML": frame("<login"),
    "not UTF-8": frame(b'<login version="1" client="\xff" auth_type="osuser" os_user="x"/>'),
    "a document type": frame("<!DOCTYPE login><login/>"),
    "an unknown word": frame("<shutdown/>"),
    "a word of the server": frame('<welcome session="1"/>'),
    "jobs before the login": frame(in_jobs(py_code("1"))),
    "a response without a challenge": frame(response(NONCE, WRONG)),
    "an unknown attribute": frame(osuser_login().replace("<login", '<login admin="yes"')),
    "no os_user": frame('<login version="1" client="test" auth_type="osuser"/>'),
    "a nonce that is too short": frame(challenge_login("R42").replace(NONCE, NONCE[:-1])),
    "a nonce with a comma": frame(challenge_login("R42").replace(NONCE, NONCE + ",")),
    "a nonce for osuser": frame(osuser_login().replace("/>", f' nonce="{NONCE}"/>')),
}


@pytest.mark.parametrize("data", NOT_SPOKEN.values(), ids=NOT_SPOKEN)
def test_a_connection_is_refused_that_begins_with(server, data):
    with connect(server) as client:
        client.sock.sendall(data)
        client.expect_refusal("protocol")


NOT_AFTER_WELCOME = {
    "a second login": frame(osuser_login(user="R41")),
    "no jobs in a batch": frame("<jobs/>"),
    "an empty job": frame("<jobs><py_code/></jobs>"),
    "an unknown kind of job": frame("<jobs><shell>rm</shell></jobs>"),
    "a frame beyond 16 MiB": struct.pack(">I", 16 * 1024 * 1024 + 1),
    "an empty frame": frame(b""),
}


@pytest.mark.parametrize("data", NOT_AFTER_WELCOME.values(), ids=NOT_AFTER_WELCOME)
def test_a_session_is_refused_that_goes_on_with(server, data):
    with connect(server).log_in() as client:
        client.sock.sendall(data)
        client.expect_refusal("protocol")


def test_a_second_batch_is_refused_and_does_not_run(server, tmp_path):
    gate, marker = Gate(tmp_path / "gate"), tmp_path / "marker"
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code))
        client.expect("started")
        client.say(in_jobs(py_code(f"open({str(marker)!r}, 'w')")))
        client.expect_refusal("protocol")
        gate.open()
        wait_until(lambda: states(server, client.session) == ["ok"])
    assert not marker.exists()


def test_a_message_may_come_byte_by_byte(server):
    with connect(server) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(osuser_login(user="R41")):
            client.sock.send(bytes([byte]))
        client.expect("welcome")


# Batches that are refused


@pytest.mark.parametrize(
    "job",
    [
        "<module>009ABC</module>",
        "<module>../outside</module>",
        "<module>..</module>",
        "<py_file>absent.py</py_file>",
        "<py_file>../outside.py</py_file>",
        "<py_file>folder/../../outside.py</py_file>",
        "<py_file>{outside}</py_file>",
        "<py_file>link.py</py_file>",
        "<py_file>linked/outside.py</py_file>",
        "<py_file>circle</py_file>",
        "<py_file>folder</py_file>",
        "<py_file>.</py_file>",
    ],
)
def test_a_batch_with_a_job_that_cannot_be_is_refused_as_a_whole(server, tmp_path, files_outside, job):
    marker = tmp_path / "marker"
    with connect(server).log_in() as client:
        first = py_code(f"open({str(marker)!r}, 'w')")
        client.say(in_jobs(first, job.format(outside=files_outside)))
        client.expect_refusal("jobs")
    assert run(server, py_code("1")).ended == "ok"
    assert not marker.exists()
    assert states(server, client.session) == []
    assert not list(server.home.glob(f"output/{client.session}*"))


@pytest.fixture(scope="module")
def files_outside(server):
    """A file that exists outside of py/, and the ways to it."""
    outside = server.home / "outside.py"
    outside.write_text("print('outside')")
    (server.home / "py" / "folder").mkdir()
    (server.home / "py" / "link.py").symlink_to(outside)
    (server.home / "py" / "linked").symlink_to(server.home)
    (server.home / "py" / "circle").symlink_to("circle")
    return outside


def test_a_link_to_another_file_below_py_is_a_file_like_others(server):
    (server.home / "py" / "real.py").write_text("print('real')")
    (server.home / "py" / "alias.py").symlink_to("real.py")
    assert run(server, "<py_file>alias.py</py_file>").output == {(1, "stdout"): "real\n"}


def test_a_file_name_that_no_file_can_have_is_the_callers_to_correct(tmp_path):
    def talk(address):
        with RawClient(address).log_in() as client:
            client.say(in_jobs(f"<py_file>{'x' * 300}</py_file>"))
            client.expect_refusal("jobs")

    serve_here(tmp_path / "home", talk)


# Batches that are accepted


def test_accepted_is_said_when_the_batch_is_in_the_journal(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"), py_code("2"))
        with closing(sqlite3.connect(server.home / "planta.sqlite")) as database:
            rows = database.execute("SELECT job FROM jobs WHERE session = ? ORDER BY job", (client.session,)).fetchall()
    assert rows == [(1,), (2,)]


def test_a_batch_that_cannot_be_recorded_is_not_accepted_and_does_not_run(tmp_path):
    marker = tmp_path / "marker"

    def talk(address):
        with closing(sqlite3.connect(tmp_path / "home" / "planta.sqlite")) as database:
            database.execute("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'full'); END")
            with RawClient(address).log_in() as client:
                client.say(in_jobs(py_code(f"open({str(marker)!r}, 'w')")))
                client.expect_refusal("busy")
            database.execute("DROP TRIGGER full")
        with RawClient(address).log_in() as client:
            client.submit(py_code("1"))
            assert client.story().ended == "ok"

    serve_here(tmp_path / "home", talk, workers=1)
    assert not marker.exists()


def close(client: RawClient) -> None:
    client.sock.close()


def log_out(client: RawClient) -> None:
    client.say("<logout/>")


def break_off(client: RawClient) -> None:
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


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
        client.say("<logout/>")
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
        assert client.story().output == {(1, "stdout"): "after\n"}


def test_a_client_that_does_not_read_holds_up_neither_its_jobs_nor_others(server):
    with connect(server).log_in() as lazy:
        lazy.submit(py_code("print('x' * 20_000_000)"), py_code("1"))
        wait_until(lambda: states(server, lazy.session) == ["ok", "ok"])
        assert run(server, py_code("1")).ended == "ok"


# Time limits, inside a server whose times are short


def test_a_session_lasts_and_says_so_whenever_there_is_nothing_else_to_say(tmp_path):
    gate = Gate(tmp_path / "gate")

    def talk(address):
        with RawClient(address).log_in() as running, RawClient(address).log_in() as waiting:
            assert running.hear() == "<alive/>"
            running.submit(py_code(gate.code))
            running.expect("started")
            waiting.submit(py_code("1"))
            heard = running.hear(), waiting.hear()
            gate.open()
            assert heard == ("<alive/>", "<alive/>")
            assert running.story().ended == waiting.story().ended == "ok"

    # The time to log in is over when the second `alive` comes.
    serve_here(tmp_path / "home", talk, heartbeat=1, workers=1, login_timeout=1.5)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(frame(osuser_login())[:-1], id="half a login"),
        pytest.param(frame(challenge_login("R42")), id="no answer to the challenge"),
    ],
)
def test_a_connection_is_closed_that_says(tmp_path, said):
    def talk(address):
        with RawClient(address) as client:
            client.sock.sendall(said)
            with pytest.raises((Hangup, ConnectionError)):  # not the socket's time-out
                client.expect("challenge")
                client.hear()

    serve_here(tmp_path / "home", talk, login_timeout=0.1)


# The end of a server


def test_sigterm_interrupts_what_outlives_the_grace(own_server, tmp_path):
    with connect(own_server).log_in() as client:
        client.submit(py_code(Gate(tmp_path / "never").code), py_code("2"))
        client.expect("started")
        own_server.process.terminate()
        story = client.story()
    assert own_server.wait() == 0
    assert [status for status, _ in story.finished] == ["failed", "skipped"]
    assert story.ended == "failed"
    assert states(own_server, client.session) == ["interrupted", "skipped"]


def test_sigterm_ends_what_the_jobs_have_started(own_server, tmp_path):
    lock = tmp_path / "lock"
    child = (
        "import fcntl, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"file = open({str(lock)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); "
        "time.sleep(60)"
    )
    with connect(own_server).log_in() as client:
        client.submit(py_code(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"))
        client.expect("started")
        assert client.expect("output").text == "locked\n"
    assert own_server.stop() == 0
    wait_until(lambda: is_free(lock))


def is_refused_as_busy(server: JobServer) -> bool:
    """Whether a new login is. Anything but that or a welcome is an error."""
    with connect(server) as client:
        answer = client.ask(osuser_login())
        assert answer.tag == "welcome" or answer.attrib == {"reason": "busy"}
        return answer.tag == "refused"


@pytest.fixture
def patient_server(tmp_path):
    """A server whose SIGTERM waits for ten minutes, and a batch that it runs."""
    with QuickServer(tmp_path / "home", "--grace", "600", "--workers", "1") as server, connect(server) as client:
        client.log_in().submit(py_code(Gate(tmp_path / "gate").code))
        client.expect("started")
        yield server, client
        server.process.kill()


def test_during_the_grace_jobs_go_on_and_nothing_new_begins(patient_server, tmp_path):
    server, client = patient_server
    with connect(server).log_in() as late, connect(server).log_in() as waiting:
        waiting.submit(py_code("1"))
        server.process.terminate()
        wait_until(lambda: is_refused_as_busy(server))
        late.say(in_jobs(py_code("1")))
        late.expect_refusal("busy")
        Gate(tmp_path / "gate").open()
        assert client.story().ended == "ok"
        waiting.expect_refusal("busy")
    assert server.wait() == 0
    assert [states(server, who.session) for who in (client, late, waiting)] == [["ok"], [], ["queued"]]


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_does_not_wait_for_the_grace(patient_server, first, second):
    server, client = patient_server
    server.process.send_signal(first)
    wait_until(lambda: is_refused_as_busy(server))
    server.process.send_signal(second)
    assert client.story().ended == "failed"
    assert server.wait() == 0
    assert states(server, client.session) == ["interrupted"]


def test_a_server_that_runs_nothing_ends_at_once_whatever_the_grace(tmp_path):
    with QuickServer(tmp_path / "home", "--grace", "600") as server, connect(server).log_in() as client:
        server.process.terminate()
        client.expect_refusal("busy")
        assert server.wait() == 0


# The home


def test_a_home_is_its_owners_alone_whatever_the_umask(tmp_path):
    server = JobServer(tmp_path / "home")
    server.manage("user", "add", "R41", "--os-user", own_user(), umask=0)
    assert server.home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in server.home.iterdir() if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in server.home.glob("planta.sqlite*")} == {0o600}


def test_neither_password_nor_hash_is_in_the_home(server):
    with connect(server) as client:
        _, salt = challenged(client, "R42")
    secret = hash_of(PASSWORD, salt)
    contents = b"".join(path.read_bytes() for path in server.home.rglob("*") if path.is_file())
    assert salt.encode() in contents
    assert PASSWORD.encode() not in contents
    assert secret[29:] not in contents


# throttle.py, with a clock in the test's hand


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fail(throttle: Throttle, times: int, address: str = "192.0.2.1", user: str = "R42") -> list[float]:
    return [throttle.failed(address, user) for _ in range(times)]


def test_a_first_mistake_costs_nothing_and_each_further_one_more_up_to_a_limit(clock):
    delays = fail(Throttle(clock), 50)
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert 0 < delays[4] < delays[5]
    assert delays[-2] == delays[-1] < LOGIN_SECONDS


def test_failures_from_one_address_slow_down_no_other(clock):
    throttle = Throttle(clock)
    fail(throttle, 20)
    assert throttle.failed("192.0.2.2", "R42") == 0


def test_failures_of_one_user_slow_down_no_other(clock):
    throttle = Throttle(clock)
    fail(throttle, 20)
    assert throttle.failed("192.0.2.1", "R43") == 0


def test_a_login_makes_earlier_failures_forgotten(clock):
    throttle = Throttle(clock)
    fail(throttle, 20)
    throttle.succeeded("192.0.2.1", "R42")
    assert fail(throttle, 1) == [0]


@pytest.mark.parametrize(("seconds", "is_forgotten"), [(299, False), (301, True)])
def test_failures_are_forgotten_after_five_minutes(clock, seconds, is_forgotten):
    throttle = Throttle(clock)
    fail(throttle, 20)
    clock.now += seconds
    assert (fail(throttle, 1) == [0]) == is_forgotten


def test_the_memory_for_failures_is_bounded(clock):
    throttle = Throttle(clock)
    for number in range(20_000):
        throttle.failed(f"2001:db8::{number:x}", "R42")
    assert len(throttle._failures) <= 10_000
    assert throttle.failed("2001:db8::4e1f", "R42") >= 0


# peer.py


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("0.0.0.0", False),
        ("2001:db8::1", False),
        ("fe80::1%lo", False),
    ],
)
def test_loopback_is_this_machine_alone(host, is_loopback):
    assert peer.is_loopback(host) == is_loopback


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who owns a connection")


@on_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_knows_the_owner_as_long_as_the_connection_is_there(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"there is no {host} here")
    with listening, socket.create_connection(listening.getsockname()[:2]) as client:
        theirs, ours = client.getsockname()[:2], client.getpeername()[:2]
        assert peer.owner_uid(theirs, ours) == os.geteuid()
        client.close()
        with pytest.raises(peer.OwnerUnknown):
            peer.owner_uid(theirs, ours)


# /proc/net/tcp: 20000 listens; a connection from 40000, with its other end; one from 40001 that is being closed.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 100 1 0 100 0 0 10 0
   1: 0100007F:4E20 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     7        0 101 1 0 20 4 30 10 -1
   2: 0100007F:9C40 0200007F:4E20 01 00000000:00000000 00:00000000 00000000     8        0 102 1 0 20 4 30 10 -1
   3: 0100007F:9C40 0100007F:4E20 01 00000000:00000000 00:00000000 00000000  1001        9 103 1 0 20 4 30 10 -1
   4: 0100007F:9C41 0100007F:4E20 06 00000000:00000000 03:000017A4 00000000     0        0 0 3 0
"""


@on_linux
@pytest.mark.skipif(sys.byteorder != "little", reason="the table above was written by a little-endian machine")
def test_the_owner_is_that_of_the_peers_end_of_an_open_connection(monkeypatch):
    monkeypatch.setattr(peer, "open", lambda *_, **__: io.StringIO(TABLE), raising=False)
    assert peer.owner_uid(("127.0.0.1", 40000), ("127.0.0.1", 20000)) == 1001
    with pytest.raises(peer.OwnerUnknown):
        peer.owner_uid(("127.0.0.1", 40001), ("127.0.0.1", 20000))


def test_elsewhere_the_owner_is_unknown(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(peer.OwnerUnknown):
        peer.owner_uid(("127.0.0.1", 1), ("127.0.0.1", 2))


def test_a_number_belongs_to_the_user_of_that_name_alone():
    assert peer.is_user(os.geteuid(), own_user())
    assert not peer.is_user(os.geteuid(), STRANGER)
    assert not peer.is_user(os.geteuid(), "nobody-has-this-name")
