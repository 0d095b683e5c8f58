"""Every row of the table of return codes, by several causes each: the client in this process against a server that
sends exactly these bytes. What `-v` reports of the jobs is checked with the code."""

from __future__ import annotations

import os
import socket
from unittest.mock import Mock

import pytest

from headless.client import preparation
from headless.dialects.base import Accepted
from headless.server.accounts import Account
from support.clock import StillClock
from support.conversations import KEYS
from support.credentials import HASH
from support.dialogues import (
    ACCEPTED,
    DONE,
    ENDED,
    ENDED_FAILED,
    FAILED,
    FINISHED,
    STARTED,
    WELCOME,
    answering_jobs,
    answering_login,
    challenging,
    serving,
)
from support.frames import frame
from support.job_server import QuickServer
from support.process import PATIENCE, current_user
from support.scripted_server import ScriptedServer
from support.sockets import reset

NOT_SUBMITTED, SUBMITTED, UNKNOWN = "jobs: not submitted", "jobs: submitted", "jobs: unknown"


def run(here, server, *argv, wait=True):
    return here("-s", server.address, "-v", *(["-t", "-1"] if wait else []), "-c", "pass", *argv)


def challenge(here):
    return ("-u", "R41", "-p", here.secret_file())


def assert_failed(done, code, submission, case=None):
    last = done.stdout.splitlines()[-1]
    found = done.returncode, last.rpartition("; ")[2], " info " in last, done.stderr.count("\n")
    assert found == (code, submission, True, int(code == 2)), case


# 0: ended well, or accepted without -t


def byte_by_byte(peer):
    """A script."""
    peer.receive()
    for byte in frame(WELCOME):
        peer.sock.sendall(bytes([byte]))
    peer.receive()
    for byte in b"".join(map(frame, (ACCEPTED, "<alive/>", *DONE))):
        peer.sock.sendall(bytes([byte]))
    peer.wait_for_disconnect()


SECOND = ('<started job="2"/>', '<output job="2" stream="stderr">x</output>', '<finished job="2" status="ok"/>')


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        pytest.param(serving(*DONE), ("-t", "-1"), id="ended well"),
        pytest.param(serving(*DONE), ("-t", "60"), id="ended within the time out"),
        pytest.param(serving(), (), id="accepted, and no wait"),
        pytest.param(serving(), ("-t", "0"), id="accepted, and no wait by -t 0"),
        pytest.param(byte_by_byte, ("-t", "-1"), id="byte by byte"),
        pytest.param(serving(STARTED, FINISHED, *SECOND, ENDED), ("-t", "-1", "-m", "009ABC"), id="two jobs"),
    ],
)
def test_0_when_every_job_ended_well_or_was_accepted_without_t(here, scripted, script, argv):
    assert run(here, scripted(script), *argv, wait=False).returncode == 0


def test_0_for_a_challenge_login_that_both_sides_prove_and_nothing_of_the_hash_is_sent(here, scripted):
    server = scripted(challenging(*DONE))
    assert run(here, server, *challenge(here)).returncode == 0
    assert HASH[29:] not in "".join(server.peers[0].received)


def test_0_over_ipv6(here):
    try:
        server = ScriptedServer(serving(*DONE), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    done = here("-s", f"[::1]:{server.port}", "-t", "-1", "-c", "pass")
    server.close()
    assert done.returncode == 0


def test_the_name_of_an_osuser_login_does_not_come_from_the_environment(here, scripted):
    server = scripted(serving())
    environment = {**os.environ, "LOGNAME": "mallory", "USER": "mallory"}
    assert here("-s", server.address, "-c", "pass", env=environment).returncode == 0
    assert f'os_user="{current_user()}"' in server.peers[0].received[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for the name itself")
@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ({"return_value": None}, 2, "has no name here"),
        ({"side_effect": OSError(11, "why")}, 1, "cannot be had now: why"),
    ],
    ids=["no name", "no answer"],
)
def test_a_user_without_a_name_is_a_2_and_a_name_service_that_does_not_answer_a_1(
    here, monkeypatch, answer, code, text
):
    monkeypatch.setattr(preparation, "user_by_number", Mock(**answer))
    done = here("-s", "127.0.0.1:1", "-v", "-c", "pass")
    assert_failed(done, code, NOT_SUBMITTED)
    assert text in done.stdout


# 1: the session could not be had, or did not end as it should; 2: something must be corrected


def refused(reason):
    return f'<refused reason="{reason}">not you</refused>'


def closing_after(*documents, resets=False):
    """A script: answers the login and the jobs with the first two documents, goes on with the rest, and closes. With
    less than two it closes after the next message."""

    def script(peer):
        for document in documents[:2]:
            peer.receive()
            peer.send(document)
        peer.send(*documents[2:])
        if len(documents) < 2:
            peer.receive()
        if resets:
            reset(peer.sock)

    return script


def speaking_http(peer):
    peer.receive()
    peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    peer.wait_for_disconnect()


FAILURES = [
    *((f"{reason} refused", answering_login(refused(reason)), 1, NOT_SUBMITTED, "not you")
      for reason in ("busy", "protocol", "version")),
    *((f"{answer[:50]!r} as the answer to the login", answering_login(answer), 1, NOT_SUBMITTED, "")
      for answer in ("no xml", "<hello/>", ACCEPTED, '<welcome session="s1" signature="x"/>')),
    ("HTTP", speaking_http, 1, NOT_SUBMITTED, "like HTTP"),
    ("an answer before its question", answering_login(WELCOME, ACCEPTED, *DONE), 1, NOT_SUBMITTED, ""),
    *((f"jobs refused as {reason}", answering_jobs(refused(reason)), 1, NOT_SUBMITTED, "not you")
      for reason in ("busy", "protocol")),
    *((f"{reason} refused after accepted", serving(refused(reason)), 1, SUBMITTED, "")
      for reason in ("busy", "jobs", "login")),
    ("closed after the login", closing_after(), 1, NOT_SUBMITTED, "closed"),
    ("closed after the jobs", closing_after(WELCOME), 1, UNKNOWN, "closed"),
    *((f"closed after {count} messages", closing_after(*(WELCOME, ACCEPTED, *DONE)[:count]), 1, SUBMITTED, "closed")
      for count in (2, 3, 4)),
    ("reset after the login", closing_after(resets=True), 1, NOT_SUBMITTED, ""),
    ("reset after the jobs", closing_after(WELCOME, resets=True), 1, UNKNOWN, ""),
    ("something after the end", answering_jobs(ACCEPTED, *DONE, "<alive/>"), 1, SUBMITTED, "follows the last message"),
    ("job failed", serving(STARTED, FAILED, ENDED_FAILED), 1, SUBMITTED, "job 1 failed: no such table"),
    ("closed after a job failed", closing_after(WELCOME, ACCEPTED, STARTED, FAILED), 1, SUBMITTED, ""),
    ("session failed", closing_after(WELCOME, ACCEPTED, ENDED_FAILED), 1, SUBMITTED, ""),
    ("login refused", answering_login(refused("login")), 2, NOT_SUBMITTED, "not you"),
    ("jobs refused", answering_jobs(refused("jobs")), 2, NOT_SUBMITTED, "not you"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "code", "submission", "reason"), [row[1:] for row in FAILURES],
                         ids=[row[0] for row in FAILURES])  # fmt: skip
def test_1_when_the_session_failed_and_2_when_something_must_be_corrected(  # noqa: PLR0917
    here, scripted, script, code, submission, reason
):
    done = run(here, scripted(script))
    assert_failed(done, code, submission)
    assert reason in done.stdout.splitlines()[-1]
    assert code == 1 or reason in done.stderr


def test_1_when_there_is_no_connection(here):
    done = here("-s", "no-such-host.invalid:20000", "-v", "-c", "pass")
    assert_failed(done, 1, NOT_SUBMITTED)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        done = here("-s", f"127.0.0.1:{bound.getsockname()[1]}", "-v", "-c", "pass")
    assert_failed(done, 1, NOT_SUBMITTED)
    assert "refused" in done.stdout


OUT_OF_ORDER = [  # instead of a good report of one job, after its acceptance
    (ENDED,),
    (STARTED, ENDED),
    (STARTED, FINISHED, FINISHED, ENDED),
    (STARTED, STARTED, FINISHED, ENDED),
    (FINISHED, ENDED),
    (STARTED, FAILED, ENDED),
    (STARTED, '<finished job="1" status="skipped"/>', ENDED),
    (ACCEPTED, *DONE),
    (WELCOME, *DONE),
    ('<started job="2"/>', '<finished job="2" status="ok"/>', ENDED),
    (STARTED, '<output job="2" stream="stdout">x</output>', FINISHED, ENDED),
    (STARTED, FINISHED, '<started job="2"/>', '<finished job="2" status="ok"/>', ENDED),
    (STARTED, FINISHED, '<output job="1" stream="stdout">x</output>', ENDED),
    (STARTED, FINISHED, '<ended status="ok" more="1"/>'),
    (STARTED, FINISHED, "<ended/>"),
    (STARTED, FINISHED, '<ended status="OK"/>'),
    (STARTED, FINISHED, '<ended status="ok">all well</ended>'),
]


def test_1_when_the_report_of_the_jobs_is_not_in_order(here, scripted):
    for documents in OUT_OF_ORDER:
        assert_failed(run(here, scripted(serving(*documents))), 1, SUBMITTED, documents)


def test_1_when_the_server_cannot_prove_that_it_knows_the_password(here, scripted):
    login = challenge(here)
    for signature in ("A" * 44, "nonsense", "ü"):
        server = scripted(challenging(*DONE, signature=signature))
        assert_failed(run(here, server, *login), 1, NOT_SUBMITTED)
        assert not any("<jobs" in received for received in server.peers[0].received)


def test_2_when_the_password_was_changed(here, scripted):
    done = run(here, scripted(challenging(salt="$2b$10$zbcdefghijklmnopqrstuu")), *challenge(here))
    assert_failed(done, 2, NOT_SUBMITTED)
    assert "changed" in done.stderr


def test_2_is_one_line_on_stderr_even_without_v(here, scripted):
    server = scripted(answering_login('<refused reason="login">line one\nline two\x85</refused>'))
    done = here("-s", server.address, "-c", "pass")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("planta_headless.py: error: ")
    assert len(done.stderr.splitlines()) == 1


# 3: the time out, and only after the jobs were accepted


def sending_without_end(peer):
    peer.receive()
    peer.send(WELCOME)
    peer.receive()
    peer.send(ACCEPTED)
    while True:
        peer.send("<alive/>")


@pytest.mark.parametrize("script", [serving(STARTED), sending_without_end])
def test_3_when_the_time_out_ran_out_after_acceptance_whatever_the_server_sends(here, scripted, script):
    line = ("-s", scripted(script).address, "-v", "-c", "pass")
    assert_failed(here.by_clock(StillClock(start_at=Accepted), 0.05, *line), 3, SUBMITTED)


@pytest.mark.slow
@pytest.mark.version("asyncio, sqlite3 and lxml: both ends at work")
def test_the_real_server_and_the_real_command_agree_on_every_code(command, tmp_path):
    secret = command.secret_file()
    lines = {
        ("-t", "-1", "-c", "print(1)", "-c", "print(2)"): 0,
        ("-u", "R42", "-p", secret, "-t", "-1", "-c", "print(1)"): 0,
        ("-c", "print(1)"): 0,
        ("-t", "-1", "-c", "raise SystemExit(3)"): 1,
        ("-m", "009XXX"): 2,
        ("-u", "nobody", "-c", "print(1)"): 2,
        ("-u", "R41", "-p", secret, "-c", "print(1)"): 2,
    }
    with QuickServer(tmp_path / "home", "--workers", "8", accounts=(Account("R42", None, KEYS),)) as server:
        processes = [command.start("-s", server.address, *argv) for argv in lines]
        for process in processes:
            process.communicate(timeout=PATIENCE)
        # Alone: its jobs have to be accepted within this time.
        late = command("-s", server.address, "-t", "2", "-c", "import time; time.sleep(60)")
    assert [process.returncode for process in processes] == [*lines.values()]
    assert late.returncode == 3
