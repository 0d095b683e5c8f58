"""Who may log in at the server, by osuser and by challenge, and what the server answers to all others."""

from __future__ import annotations

import os
import re
import sys

import pytest

from headless.server import peer
from headless.server.accounts import Account
from support import scram
from support.credentials import PASSWORD, hash_of
from support.impostor import impose
from support.job_server import R42, QuickServer, journal
from support.process import current_user, other_user
from support.raw_client import RAW_NONCE, RawClient, challenge_login, connect, in_jobs, osuser_login, py_code, response
from support.scram import WRONG_PROOF
from support.server_here import ServerHere

pytestmark = pytest.mark.slow


ODD_USER = "a=b,ü"
owner_is_known = pytest.mark.skipif(not peer.knows_owners(), reason="only Linux knows who owns a connection")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with R41 and R43 of the user of the tests, R42 and ODD_USER by password, R50 of another user."""
    home = tmp_path_factory.mktemp("server") / "home"
    accounts = (
        R42,
        Account("R43", current_user(), None),
        Account("R50", other_user(), None),
        R42._replace(user=ODD_USER),
    )
    with QuickServer(home, "--workers", "8", accounts=accounts) as server:
        yield server


OSUSER_REFUSED = {
    "the account of the owner, by another user": (osuser_login(other_user(), "R41"), other_user()),
    "a user that does not exist": (osuser_login("no-such-user"), "no-such-user"),
    "an account that has a password": (osuser_login(user="R42"), "R42"),
    "an account of another user": (osuser_login(user="R50"), "R50"),
    "an account that does not exist": (osuser_login(user="R99"), "R99"),
    "no account where there are several": (osuser_login(), "several"),
}


def test_an_osuser_login_is_refused_for(server):
    for case, (login, word) in OSUSER_REFUSED.items():
        with connect(server) as client:
            client.send(login)
            assert word in client.expect_refusal("login"), case


@owner_is_known
@pytest.mark.parametrize("os_user", [other_user(), "no-such-user"])
def test_who_does_not_own_the_connection_does_not_learn_which_accounts_there_are(server, os_user):
    def text(user: str) -> str:
        with connect(server) as client:
            client.send(osuser_login(os_user, user))
            return client.expect_refusal("login")

    assert {text(user) for user in ("", "R41", "R42", "R50", "R99")} == {
        f"this connection is not one of the operating system's user {os_user!r}"
    }


@pytest.mark.parametrize("user", ["R41", "R43"])
def test_the_user_who_owns_the_connection_may_log_in_and_names_one_of_several_accounts(server, user):
    with connect(server) as client:
        welcome = client.ask(osuser_login(user=user))
        assert set(welcome.attrib) == {"session", "heartbeat", "journal"}
        assert welcome.attrib["heartbeat"] == "30"
        client.session = welcome.attrib["session"]
        client.submit(py_code("import os; print(os.environ['PLANTA_USER'])"))
        assert client.report().output == {(1, "stdout"): f"{user}\n"}


def challenged(client: RawClient, user: str) -> tuple[str, str]:
    """Returns nonce and salt of the server's challenge."""
    challenge = client.ask(challenge_login(user))
    assert challenge.tag == "challenge"
    return challenge.attrib["nonce"], challenge.attrib["salt"]


@pytest.mark.parametrize("user", ["R42", ODD_USER])
def test_who_proves_the_password_is_let_in_and_gets_proof_of_the_server(server, user):
    with connect(server) as client:
        nonce, salt = challenged(client, user)
        secret, message = hash_of(PASSWORD, salt), scram.auth_message(user, RAW_NONCE, nonce, salt)
        welcome = client.ask(response(nonce, scram.proof(secret, message)))
    assert welcome.tag == "welcome"
    assert welcome.attrib["signature"] == scram.signature(secret, message)


def test_an_unknown_user_looks_like_one_with_a_wrong_password(server):
    def attempt(user: str) -> tuple[int, str]:
        with connect(server) as client:
            nonce, salt = challenged(client, user)
            assert re.fullmatch(r"\$2b\$1[02]\$[./A-Za-z0-9]{21}[.Oeu]", salt)
            client.send(response(nonce, WRONG_PROOF))
            client.expect_refusal("login")
            return len(client.received[0]), client.received[1]

    assert attempt("R42") == attempt("R99") == attempt("R41")


NOT_US = (0 if os.name == "nt" else os.geteuid()) + 1


@pytest.mark.parametrize(
    ("owner", "trust", "is_loopback"),
    [(None, False, True), (None, True, True), (NOT_US, True, True), (None, True, False)],
)
def test_trust_is_for_local_connections_whose_owner_cannot_be_known(tmp_path, monkeypatch, owner, trust, is_loopback):
    answer = "welcome" if (owner, trust, is_loopback) == (None, True, True) else "refused"

    def owner_of(*_):
        if owner is None:
            raise peer.OwnerUnknown("this platform keeps it to itself")
        return owner

    monkeypatch.setattr(peer, "owner_uid", owner_of)
    monkeypatch.setattr(peer, "is_loopback", lambda _host: is_loopback)
    with ServerHere(tmp_path / "home", trust_osuser=trust) as server, RawClient(server.address) as client:
        reply = client.ask(osuser_login())
        assert reply.tag == answer
        assert answer == "welcome" or reply.attrib["reason"] == "login"


def test_the_servers_nonce_continues_the_clients_and_is_new_each_time(server):
    with connect(server) as one, connect(server) as another:
        nonces = {challenged(one, "R42")[0], challenged(another, "R42")[0]}
    assert len(nonces) == 2
    assert all(re.fullmatch(re.escape(RAW_NONCE) + r"[!-+\--~]{24,}", nonce) for nonce in nonces)


def test_a_connection_is_for_one_login(server):
    with connect(server) as client:
        nonce, _ = challenged(client, "R99")
        client.send(response(nonce, WRONG_PROOF), osuser_login(user="R41"), in_jobs(py_code("1")))
        refused = client.expect("refused")
        client.expect_end()
    assert refused.attrib["reason"] in ("login", "protocol")


# A client that closes before the kernel is asked who owns the connection


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux knows who owns a connection")


@on_linux
@pytest.mark.parametrize("options", [(), ("--trust-osuser",)], ids=["", "with --trust-osuser"])
def test_no_client_becomes_another_user_by_closing_early_and_one_that_stays_is_its_own(tmp_path, options):
    victim = Account("R50", other_user(), None)
    with QuickServer(tmp_path / "home", "--log-level", "error", *options, accounts=(victim,)) as server:
        answers = impose(server.address, other_user(), f"open({str(tmp_path / 'trace')!r}, 'w')")
        assert [answer for answer in answers if b"<welcome" in answer or b"<accepted" in answer] == []
        assert any(b'<refused reason="login"' in answer for answer in answers)
        assert journal(server) == []
        assert not (tmp_path / "trace").exists()
        with connect(server) as client:
            assert client.ask(osuser_login(current_user())).tag == "welcome"
        with connect(server) as client:
            client.send(osuser_login(other_user()))
            assert other_user() in client.expect_refusal("login")
