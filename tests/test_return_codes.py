"""Every row of the table of return codes, by several causes each: the client against a server that sends exactly what
the test gives it, here in this process. What `-v` reports of the jobs (submitted or not) is checked with the code. That
the process ends with the code is at the end of this file.
"""

from __future__ import annotations

import os
import socket

import pytest

from headless.dialects.base import Accepted
from headless.server.accounts import Account
from support.clock import StillClock
from support.conversations import KEYS
from support.credentials import HASH, SALT
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
    attribute,
    challenging,
    serving,
)
from support.frames import frame
from support.job_server import QuickServer
from support.nonsense import NONSENSE, OUT_OF_ORDER, WRONG_CHALLENGES
from support.process import PATIENCE, current_user
from support.scripted_server import ScriptedServer
from support.sockets import reset

NOT_SUBMITTED = "jobs: not submitted"
SUBMITTED = "jobs: submitted"
UNKNOWN = "jobs: unknown"


def run(here, server, *argv, wait=True, **options):
    return here(
        "-s",
        server.address,
        "-v",
        *(["-t", "-1"] if wait else []),
        "-c",
        "pass",
        *argv,
        **options,
    )


def assert_failed(done, code, submission, case=None):
    last = done.stdout.splitlines()[-1]
    found = (
        done.returncode,
        last.rpartition("; ")[2],
        " info " in last,
        done.stderr != "",
    )
    assert found == (code, submission, True, code == 2), case


# 0: ended well, or accepted without -t


def test_0_when_every_job_ended_well(here, scripted):
    assert run(here, scripted(serving(*DONE))).returncode == 0


def test_0_when_the_jobs_were_accepted_and_nobody_waits(here, scripted):
    assert run(here, scripted(serving()), wait=False).returncode == 0
    assert run(here, scripted(serving()), "-t", "0", wait=False).returncode == 0


def test_0_when_the_end_comes_within_the_time_out(here, scripted):
    assert run(here, scripted(serving(*DONE)), "-t", "60", wait=False).returncode == 0


def test_0_whatever_the_size_of_the_pieces_in_which_it_comes(here, scripted):
    def script(peer):
        peer.receive()
        for byte in frame(WELCOME):
            peer.sock.sendall(bytes([byte]))
        peer.receive()
        for byte in b"".join(map(frame, (ACCEPTED, "<alive/>", *DONE))):
            peer.sock.sendall(bytes([byte]))
        peer.wait_for_disconnect()

    assert run(here, scripted(script)).returncode == 0


def test_0_for_several_jobs_in_turn(here, scripted):
    second = (
        '<started job="2"/>',
        '<output job="2" stream="stderr">x</output>',
        '<finished job="2" status="ok"/>',
    )
    server = scripted(serving(STARTED, FINISHED, *second, ENDED))
    assert run(here, server, "-m", "009ABC").returncode == 0


def test_0_for_a_challenge_login_that_both_sides_prove(here, scripted):
    server = scripted(challenging(*DONE))
    assert run(here, server, "-u", "R41", "-p", here.secret_file()).returncode == 0


def test_0_over_ipv6(here):
    try:
        server = ScriptedServer(serving(*DONE), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    done = here("-s", f"[::1]:{server.port}", "-t", "-1", "-c", "pass")
    server.close()
    assert done.returncode == 0


# 1: the session could not be had


def test_1_when_the_name_is_not_resolved(here):
    done = here("-s", "no-such-host.invalid:20000", "-v", "-c", "pass")
    assert_failed(done, 1, NOT_SUBMITTED)


def test_1_when_the_connection_is_refused(here):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        done = here("-s", f"127.0.0.1:{bound.getsockname()[1]}", "-v", "-c", "pass")
    assert_failed(done, 1, NOT_SUBMITTED)
    assert "refused" in done.stdout


@pytest.mark.parametrize("reason", ["busy", "protocol", "version"])
def test_1_when_the_server_refuses_for_reasons_of_its_own(here, scripted, reason):
    done = run(
        here,
        scripted(answering_login(f'<refused reason="{reason}">come later</refused>')),
    )
    assert_failed(done, 1, NOT_SUBMITTED)
    assert "come later" in done.stdout


@pytest.mark.parametrize("reason", ["busy", "protocol"])
def test_1_when_the_server_refuses_the_session_for_reasons_of_its_own(here, scripted, reason):
    done = run(here, scripted(answering_jobs(f'<refused reason="{reason}"/>')))
    assert_failed(done, 1, NOT_SUBMITTED)


def test_1_when_the_server_refuses_what_it_has_accepted(here, scripted):
    for reason in ("busy", "jobs", "login"):
        assert_failed(
            run(here, scripted(serving(f'<refused reason="{reason}"/>'))),
            1,
            SUBMITTED,
        )


@pytest.mark.parametrize(
    ("sent", "submission"),
    [(0, NOT_SUBMITTED), (1, UNKNOWN), (2, SUBMITTED), (3, SUBMITTED), (4, SUBMITTED)],
)
def test_1_when_the_connection_ends_early(here, scripted, sent, submission):
    def script(peer):
        for document in [WELCOME, ACCEPTED, STARTED, FINISHED][:sent]:
            if document in (WELCOME, ACCEPTED):
                peer.receive()
            peer.send(document)
        if sent < 2:
            peer.receive()

    assert_failed(run(here, scripted(script)), 1, submission)


@pytest.mark.parametrize("answer", [(), (WELCOME,)])
def test_1_when_the_connection_is_reset(here, scripted, answer):
    def script(peer):
        peer.receive()
        peer.send(*answer)
        if answer:
            peer.receive()
        reset(peer.sock)

    assert_failed(
        run(here, scripted(script), wait=False),
        1,
        UNKNOWN if answer else NOT_SUBMITTED,
    )


def test_1_when_the_answer_to_the_login_is_nonsense(here, scripted):
    for nonsense in NONSENSE:

        def script(peer, nonsense=nonsense):
            peer.receive()
            peer.sock.sendall(nonsense)
            peer.wait_for_disconnect()

        server = scripted(script)
        assert_failed(run(here, server), 1, NOT_SUBMITTED, nonsense)
        assert not any("<jobs" in received for received in server.peers[0].received), nonsense


@pytest.mark.parametrize(
    "documents",
    [
        (WELCOME, ACCEPTED),
        (WELCOME, ACCEPTED, *DONE),
        (WELCOME, WELCOME),
    ],
)
def test_1_when_an_answer_comes_before_its_question(here, scripted, documents):
    server = scripted(answering_login(*documents))
    assert_failed(run(here, server, wait=False), 1, NOT_SUBMITTED)


def test_1_when_the_report_of_the_jobs_is_not_in_order(here, scripted):
    for documents in OUT_OF_ORDER:
        assert_failed(run(here, scripted(serving(*documents))), 1, SUBMITTED, documents)


def test_1_when_something_follows_the_end(here, scripted):
    done = run(here, scripted(answering_jobs(ACCEPTED, *DONE, "<alive/>")))
    assert_failed(done, 1, SUBMITTED)


@pytest.mark.parametrize("documents", [(STARTED, FAILED, ENDED_FAILED), (STARTED, FAILED), (ENDED_FAILED,)])
def test_1_when_a_job_failed(here, scripted, documents):
    def script(peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED, *documents)

    assert_failed(run(here, scripted(script)), 1, SUBMITTED)


def test_1_names_the_job_that_failed_and_why(here, scripted):
    done = run(here, scripted(serving(STARTED, FAILED, ENDED_FAILED)))
    assert "job 1 failed: no such table" in done.stdout.splitlines()[-1]


def test_1_when_the_server_cannot_prove_that_it_knows_the_password(here, scripted):
    for signature in ("A" * 44, "nonsense", "ü"):
        server = scripted(challenging(*DONE, signature=signature))
        done = run(
            here,
            server,
            "-u",
            "R41",
            "-p",
            here.secret_file(name=f"secret-{len(signature)}"),
        )
        assert_failed(done, 1, NOT_SUBMITTED)
        assert not any("<jobs" in received for received in server.peers[0].received)


def test_no_proof_leaves_for_a_challenge_that_is_not_right(here, scripted):
    secret = here.secret_file()
    for documents in WRONG_CHALLENGES:

        def script(peer, documents=documents):
            nonce = attribute(peer.receive(), "nonce")
            peer.send(*(document.format(nonce=nonce, salt=SALT) for document in documents))
            peer.wait_for_disconnect()

        server = scripted(script)
        assert_failed(run(here, server, "-u", "R41", "-p", secret), 1, NOT_SUBMITTED, documents)
        assert not any("proof" in received for received in server.peers[0].received), documents


# 2: something must be corrected


@pytest.mark.parametrize("reason", ["login", "jobs"])
def test_2_when_the_server_refuses_what_the_caller_asks_for(here, scripted, reason):
    refused = f'<refused reason="{reason}">not you</refused>'
    server = scripted(answering_login(refused) if reason == "login" else answering_jobs(refused))
    done = run(here, server, wait=False)
    assert_failed(done, 2, NOT_SUBMITTED)
    assert "not you" in done.stderr
    assert done.stderr.count("\n") == 1


def test_2_when_the_password_was_changed(here, scripted):
    server = scripted(challenging(salt="$2b$10$zbcdefghijklmnopqrstuu"))
    done = run(here, server, "-u", "R41", "-p", here.secret_file())
    assert_failed(done, 2, NOT_SUBMITTED)
    assert "changed" in done.stderr


def test_2_is_one_line_on_stderr_even_without_v(here, scripted):
    server = scripted(answering_login('<refused reason="login">line one\nline two\x85</refused>'))
    done = here("-s", server.address, "-c", "pass")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("planta_headless.py: error: ")
    assert len(done.stderr.splitlines()) == 1


# 3: the time out, and only after the jobs were accepted


def test_3_when_the_time_out_ran_out_after_acceptance(here, scripted):
    server = scripted(serving(STARTED))
    done = here.by_clock(StillClock(start_at=Accepted), 0.05, "-s", server.address, "-v", "-c", "pass")
    assert_failed(done, 3, SUBMITTED)


def test_3_whatever_else_the_server_goes_on_sending(here, scripted):
    def script(peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED)
        while True:
            peer.send("<alive/>")

    server = scripted(script)
    assert here.by_clock(StillClock(start_at=Accepted), 0.05, "-s", server.address, "-c", "pass").returncode == 3


def test_the_name_of_an_osuser_login_does_not_come_from_the_environment(here, scripted):
    server = scripted(serving())
    assert (
        here(
            "-s",
            server.address,
            "-c",
            "pass",
            env={**os.environ, "LOGNAME": "mallory", "USER": "mallory"},
        ).returncode
        == 0
    )
    assert f'os_user="{current_user()}"' in server.peers[0].received[0]


def test_nothing_of_the_hash_is_sent(here, scripted):
    server = scripted(challenging(*DONE))
    assert run(here, server, "-u", "R41", "-p", here.secret_file()).returncode == 0
    assert HASH[29:] not in "".join(server.peers[0].received)


# With the real server, as processes


@pytest.mark.slow
@pytest.mark.version("asyncio, sqlite3 and lxml: both ends at work")
def test_the_real_server_and_the_real_command_agree_on_every_code(command, tmp_path):
    secret = command.secret_file()
    challenge = ("-u", "R42", "-p", secret)
    lines = {
        ("-t", "-1", "-c", "print(1)", "-c", "print(2)"): 0,
        (*challenge, "-t", "-1", "-c", "print(1)"): 0,
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
