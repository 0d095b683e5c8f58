"""No login without a proof, and nothing secret is shown: the login with its bytes tampered with, and a scan of all
that a full run prints and stores.

Each byte is changed once, and a third of them in other ways; with PLANTA_EXHAUSTIVE=1 all. PLANTA_SEED=N takes the same
third.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

import pytest

from headless import cli
from headless.dialects import bcrypt_hash
from headless.dialects.own import scram
from headless.dialects.own.codec import decode
from headless.dialects.own.connection import ClientConnection
from headless.dialects.own.frames import FrameReader
from headless.dialects.own.messages import Challenge, Login, Response, Welcome
from headless.dialects.own.server_connection import ServerConnection
from headless.errors import ParameterError, RemoteProtocolError
from headless.password_file import KnownSecret
from headless.server import accounts
from support.command_here import headless
from support.conversations import KEYS
from support.credentials import HASH, PASSWORD
from support.homes import R41, make_home
from support.job_server import QuickServer
from support.sampling import EXHAUSTIVE, REPEAT, draws

SECRET = KnownSecret("file", HASH.encode(), "")
SALT = HASH[:29]
CLIENT_NONCE, SERVER_NONCE = "c" * 24, "s" * 24
MESSAGES = ["login", "challenge", "response", "welcome"]


class Exchange:
    """A challenge login in memory, step by step as the two ends make it; `tamper` changes one message on its way."""

    def __init__(self, number=None, tamper=lambda data: data) -> None:
        self._number = number
        self._tamper = tamper
        self.sent: list[bytes] = []
        self.proof_left = self.let_in = self.is_complete = False
        with suppress(ParameterError, RemoteProtocolError):
            self._run(ClientConnection("client"), ServerConnection())

    def _run(self, client, server):
        if not self._pass(client.send(client.challenge_login("R41", CLIENT_NONCE)), server, Login):
            return
        challenge = self._pass(server.send_challenge(SALT, SERVER_NONCE), client, Challenge)
        if not challenge:
            return
        response = client.send(client.response(SECRET.hash_for(challenge.salt)))
        self.proof_left = True
        if not self._pass(response, server, Response):
            return
        signature = server.signature(KEYS)
        if signature is None:
            return
        self.let_in = True
        if self._pass(server.send(Welcome("s1", 30, signature)), client, Welcome):
            self.is_complete = True

    def _pass(self, data, receiver, kind):
        arriving = self._tamper(data) if len(self.sent) == self._number else data
        self.sent.append(data)
        if arriving:  # nothing would be the end of the stream
            receiver.receive(arriving)
        received = list(iter(receiver.next_message, None))
        return received[0] if len(received) == 1 and isinstance(received[0], kind) else None


def meaning(data):
    """What these bytes contain of what is to be proved; None if they are not one message, and at most the beginning of
    another one, which has not been received yet."""
    reader = FrameReader()
    reader.receive(data)
    with suppress(RemoteProtocolError):
        payload = reader.next_payload(4096)
        if payload is None or reader.next_payload(4096) is not None:
            return None
        message = decode(payload)
        if isinstance(message, Login):
            return message.replace(client="")
        return message.replace(session="", heartbeat=None) if isinstance(message, Welcome) else message
    return None


TAMPERING = {
    "one bit changed": lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    "another bit changed": lambda data, at: data[:at] + bytes([data[at] ^ 32]) + data[at + 1 :],
    "a quote put in": lambda data, at: data[:at] + b'"' + data[at + 1 :],
    "removed": lambda data, at: data[:at] + data[at + 1 :],
    "repeated": lambda data, at: data[: at + 1] + data[at:],
    "cut": lambda data, at: data[:at],
    "begun again": lambda data, at: data + data[: at + 1],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4), ids=MESSAGES)
def test_a_login_is_complete_only_if_all_that_is_proved_arrived_as_it_was_sent(number):
    untouched = Exchange()
    assert untouched.is_complete
    original = untouched.sent[number]
    as_sent = meaning(original)
    chance = draws(number)
    for name, tamper in TAMPERING.items():
        every = range(len(original))
        is_sample = name != "one bit changed" and not EXHAUSTIVE
        for at in sorted({*every[:5], *every[chance.randrange(3) :: 3], *every[-2:]}) if is_sample else every:
            tampered = tamper(original, at)
            exchange = Exchange(number, lambda _, tampered=tampered: tampered)
            case = REPEAT, name, tampered
            is_unchanged = meaning(tampered) == as_sent
            assert is_unchanged or not exchange.is_complete, case
            assert is_unchanged or number == 3 or not exchange.let_in, case
            if number == 1 and exchange.proof_left:  # the client knows its own part of the nonce, and its salt
                assert meaning(tampered).nonce.startswith(CLIENT_NONCE), case
                assert meaning(tampered).salt == SALT, case


# Only the processes of this test: another one may have a password on its command line.
SHOW_PS = """import glob
for name in glob.glob('/proc/[0-9]*/cmdline'):
    try: line = open(name, errors='replace').read()
    except OSError: continue
    if {!r} in line: print(line.replace(chr(0), ' '))
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with R41, and R42 by the command, at the lowest cost that a client takes."""
    monkeypatch.setattr(accounts, "COST", bcrypt_hash.MIN_COST)
    home = tmp_path / "home"
    make_home(home, R41)
    done = headless("user", "add", "R42", "--password-stdin", "--home", str(home), stdin=f"{PASSWORD}\n".encode())
    assert done.returncode == 0
    return home


class MadeServer(QuickServer):
    """One whose home is there."""

    def __enter__(self):
        self.start()
        return self


@pytest.mark.slow
def test_nothing_secret_is_printed_stored_or_shown_to_ps(command, home):
    with MadeServer(home, "--log-level", "debug") as server:
        secret = server.hash_of_password()
        path = command.secret_file(secret)
        line = ("-s", server.address, "-vvv", "-t", "-1", "-u", "R42", "-p", path)
        right = command(*line, "-c", SHOW_PS.format(str(home.parent)), "-c", "print(2)", executed=True)
        wrong = command(*line[:-1], command.secret_file(secret[:-2] + "..", name="wrong"), "-c", "print(1)")
        refused = command(*line, "-m", "009XXX")
        listed = "".join(headless(*words, "--home", str(home)).stdout for words in (["jobs"], ["user", "list"]))
        server.stop()
    assert "R42" in listed
    assert (right.returncode, wrong.returncode, refused.returncode) == (0, 2, 2)
    of_ps = "".join(line for line in right.stdout.splitlines() if "job 1 stdout: " in line)
    assert not os.path.isdir("/proc/self") or path in of_ps
    printed = "".join(done.stdout + done.stderr for done in (right, wrong, refused)) + listed + server.log
    stored = b"".join(file.read_bytes() for file in server.home.rglob("*") if file.is_file())
    assert b"R42" in stored
    for text in (PASSWORD, secret, secret[29:]):
        assert text not in printed
        assert text.encode() not in stored
    ours = "\n".join(line for line in printed.splitlines() if " stdout: " not in line)  # ps shows how they are called
    values = re.findall(r'(?:proof|signature)="([^"]*)"', ours)
    assert values
    assert set(values) == {"(not shown)"}


def test_what_the_server_stores_is_not_enough_to_log_in(home):
    server = MadeServer(home)  # which is not started
    secret = server.hash_of_password().encode()
    salt, stored_key, server_key = server.query("SELECT salt, stored_key, server_key FROM accounts WHERE user = 'R42'")
    assert (stored_key, server_key) == scram.keys_from(secret)
    message = scram.auth_message("R42", CLIENT_NONCE, CLIENT_NONCE + SERVER_NONCE, salt)
    for key in (stored_key, server_key):
        assert not scram.proof_is_right(stored_key, message, scram.client_proof(key, message))


LINES = [
    "jobs --since {}",
    "jobs {} --home h",
    "jobs cancel {}",
    "user add {}",
    "user add R41 --os-user {}",
    "user add R41 --secret-file {}",
    "user limit R41 --module {}",
    "status --home {}",
    "serve --listen {}",
    "serve --log-level={}",
    "check x{}",
    "check --fix {}",
    "monitor --job x --within {}",
    "monitor --job x --within 1h --receipts {}",
    "rehearse --modules-from {}",
    "rehearse --line x{}",
]


@pytest.mark.version("how argparse words it")
def test_a_hash_in_the_place_of_another_value_is_refused_and_not_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANTA_REHEARSAL", f"/tmp/{HASH}")
    assert cli.tools_main(["rehearse", "-c", "1"]) == 2
    assert HASH[7:20] not in capfd.readouterr().err
    monkeypatch.delenv("PLANTA_REHEARSAL")
    for line in LINES:
        try:
            code: object = cli.tools_main(line.format(HASH).split())
        except SystemExit as end:
            code = end.code
        assert code == (3 if line.startswith("monitor") else 2), line
        shown = "".join(capfd.readouterr())
        assert shown, line
        assert HASH[7:20] not in shown, line
        assert not list(tmp_path.iterdir()), line
