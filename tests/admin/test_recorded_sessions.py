"""headless sessions without options: the sessions of the receipts."""

from __future__ import annotations

import os

import pytest

from support.command_here import headless
from support.dialogues import DONE, ENDED_FAILED, STARTED, serving


@pytest.fixture
def call(here, scripted, tmp_path):
    """Runs a call at a server of its own, with these receipts."""

    def run(*argv, documents=DONE, session="s1", receipts=tmp_path / "receipts"):
        server = scripted(serving(*documents, welcome=f'<welcome session="{session}"/>'))
        env = {**os.environ, "PLANTA_RECEIPT": str(receipts)}
        done = here("-s", server.address, *argv, env=env)
        return done.returncode, server.address

    return run


def sessions(path, *argv, **more):
    done = headless("sessions", *argv, env={**os.environ, "PLANTA_RECEIPT": str(path), **more})
    return done, [line.split() for line in done.stdout.splitlines()]


def test_the_sessions_of_all_servers_and_users_are_listed_with_what_is_known_of_them(call, tmp_path):
    failed = STARTED, '<finished job="1" status="failed">no</finished>', ENDED_FAILED
    code, first = call("-t", "-1", "-u", "R41", "-m", "009ABC")
    assert code == 0
    code, second = call("-t", "-1", "-u", "R42", "-m", "009DEF", documents=failed, session="s2")
    assert code == 1
    assert call("-m", "009GHI", "-u", "R41", documents=(), session="s3")[0] == 0
    done, (head, *rows) = sessions(tmp_path / "receipts")
    assert (done.returncode, done.stderr) == (0, "")
    assert head == ["session", "state", "begun", "user", "server", "jobs"]
    assert [[row[0], *row[1:-5], *row[-3:]] for row in rows[:2]] == [
        ["s1", "well", "R41", first, "009ABC"],
        ["s2", "failed", "R42", second, "009DEF"],
    ]
    assert rows[2][:3] == ["s3", "not", "known"]


def test_a_call_that_the_server_did_not_accept_has_no_session(here, tmp_path):
    env = {**os.environ, "PLANTA_RECEIPT": str(tmp_path / "receipts")}
    assert here("-s", "127.0.0.1:1", "-m", "009ABC", env=env).returncode == 1
    done, rows = sessions(tmp_path / "receipts")
    assert (done.returncode, rows, done.stderr) == (0, [], "")


def test_receipts_that_cannot_be_read_are_a_1_that_says_why(tmp_path):
    done, rows = sessions(tmp_path / "none")
    assert (done.returncode, rows, done.stderr.count("\n")) == (1, [], 1)
    assert done.stderr.startswith("headless sessions: warning: the receipts ")


def test_with_an_option_or_without_receipts_the_server_is_asked(tmp_path):
    for argv, more in ((("-s", "127.0.0.1:1"), {}), (("-v",), {"PLANTA_SERVICE": "127.0.0.1:1"})):
        done, _ = sessions(tmp_path / "receipts", *argv, **more)
        assert "no connection" in done.stderr
    for path in ("", os.devnull):
        assert "-s HOST:PORT is missing" in sessions(path)[0].stderr
