"""A client that closes before the kernel is asked who owns the connection does not become another user."""

from __future__ import annotations

import sys

import pytest

from headless.server.accounts import Account
from support.impostor import impose
from support.job_server import QuickServer, journal
from support.process import current_user, other_user
from support.raw_client import connect, osuser_login

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux knows who owns a connection"),
]


QUIET = ("--log-level", "error")


@pytest.fixture(scope="module", params=[(), ("--trust-osuser",)], ids=["", "with --trust-osuser"])
def server(request, tmp_path_factory):
    """A server with an account for another user."""
    victim = Account("R50", other_user(), None)
    with QuickServer(tmp_path_factory.mktemp("server") / "home", *request.param, *QUIET, accounts=(victim,)) as server:
        yield server


def test_who_is_not_that_user_is_not_let_in_by_closing_early(server, tmp_path):
    answers = impose(server.address, other_user(), f"open({str(tmp_path / 'trace')!r}, 'w')")
    assert [answer for answer in answers if b"<welcome" in answer or b"<accepted" in answer] == []
    assert any(b'<refused reason="login"' in answer for answer in answers)
    assert journal(server) == []
    assert not (tmp_path / "trace").exists()


def test_who_stays_is_let_in_as_the_user_that_the_kernel_names_and_as_no_other(server):
    with connect(server) as client:
        assert client.ask(osuser_login(current_user())).tag == "welcome"
    with connect(server) as client:
        client.send(osuser_login(other_user()))
        assert other_user() in client.expect_refusal("login")
