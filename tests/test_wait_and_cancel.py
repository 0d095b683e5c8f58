"""wait, cancel and sessions of `headless`, and the last line of a call that says how to resume. Most of it in this
process; as processes where the streams, signals or a shell are the point."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from headless.client.call import wait_command
from headless.dialects.base import Accepted, Attached
from headless.options import parse, parse_command
from headless.server.accounts import Account
from support import fork_server
from support.clock import StillClock
from support.command_here import Ended, by_clock, headless
from support.conversations import KEYS
from support.dialogues import STARTED, serving
from support.job_server import QuickServer, states
from support.process import PATIENCE, ROOT
from support.raw_client import connect, py_code
from support.waiting import wait_until

TENTH = 0.1  # of a second, in the place of -t 1
PYTHON = (sys.executable, "-m", "headless")
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\d "
in_shell = subprocess.list2cmdline if os.name == "nt" else shlex.join
WAIT = in_shell([sys.executable, str(ROOT / "headless"), "wait"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    accounts = (Account("R42", None, KEYS),)
    with QuickServer(tmp_path_factory.mktemp("wait") / "home", "--workers", "4", accounts=accounts) as server:
        yield server


def at(server, *argv: str) -> Ended:
    return headless(*argv, "-s", server.address)


def start(server, *argv: str, **options: Any) -> subprocess.Popen[str]:
    """As a process."""
    return fork_server.start(["-m", "headless", *argv, "-s", server.address], cwd=ROOT, text=True, **options)


def submit(server, *codes: str) -> str:
    """The session of jobs without a client that waits, when the first one runs."""
    with connect(server).log_in() as client:
        client.submit(*map(py_code, codes))
        client.expect("started")
        return client.session


def resume(line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line that was pasted into a shell, in another folder."""
    return subprocess.run(line, shell=True, cwd="/", capture_output=True, text=True, check=False, timeout=PATIENCE)


def shown(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on stdout, without time and level."""
    return [re.sub(f"^{TIME}info ", "", line) for line in done.stdout.splitlines()]


# wait


@pytest.mark.slow
def test_wait_has_the_output_and_the_code_of_the_jobs_and_says_nothing_without_v(server):
    session = submit(server, "print(42)", "print('\\u00e4')")
    done = at(server, "wait", session)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = at(server, "wait", session, "-v")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown(done)[3:] == [
        f"attached to session {session}, from job 1 on",
        "job 1 started",
        "job 1 stdout: 42",
        "job 1 ok",
        "job 2 started",
        "job 2 stdout: \u00e4",
        "job 2 ok",
        "session ended: ok",
    ]
    done = at(server, "wait", submit(server, "raise SystemExit('no such table')"), "-v")
    assert done.returncode == 1
    assert shown(done)[-1] == "job 1 failed: no such table; jobs: submitted"


@pytest.mark.slow
def test_wait_ends_with_3_when_its_time_is_over(server, gate):
    session = submit(server, gate.code)
    clock = StillClock(start_at=Attached)
    done = by_clock(clock, TENTH, parse_command("wait", [session, "-s", server.address, "-v", "-t", "1"]))
    assert (done.returncode, clock.seconds() >= TENTH) == (3, True)
    assert shown(done)[-1].endswith(f"; to resume: {WAIT} {session} -s {server.address} -v; jobs: submitted")


@pytest.mark.slow
def test_wait_has_no_limit_of_its_own(server, gate):
    session = submit(server, gate.code)
    processes = [start(server, "wait", session, *argv) for argv in ((), ("-t", "0"), ("-t", "-1"))]
    time.sleep(0.5)  # in which they are to do nothing
    assert [process.poll() for process in processes] == [None, None, None]
    gate.open()
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]


@pytest.mark.slow
def test_wait_new_leaves_out_what_has_been(server, gate):
    with connect(server).log_in() as client:
        client.submit(py_code("print('before')"), py_code(f"print('old', flush=True)\n{gate.code}print('new')"))
        while client.element().text != "old\n":
            pass
    with start(server, "wait", "--new", client.session, "-v", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        gate.open()
        rest = process.stdout.read()
    assert lines[-1].endswith(f"attached to session {client.session}, from job 2 on\n")
    assert ("old" in rest, "before" in rest, "job 2 stdout: new\n" in rest) == (False, False, True)
    assert process.returncode == 0


@pytest.mark.slow
def test_wait_logs_in_with_a_password_file(server, here, gate):
    line = ("-s", server.address, "-u", "R42", "-p", here.secret_file(), "-v", "-c", gate.code)
    done = here.by_clock(StillClock(start_at=Accepted), TENTH, *line)
    way_on = re.search("to resume: (.*); jobs: submitted\n$", done.stdout)
    assert way_on
    gate.open()
    done = resume(way_on[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("session ended: ok\n")


MISTAKES = [
    *((argv, "-s HOST:PORT is missing") for argv in (("wait", "a"), ("cancel", "a"), ("sessions",))),
    (("wait",), "wait needs one SESSION"),
    (("wait", "a", "b"), "wait needs one SESSION"),
    (("cancel",), "cancel needs one SESSION"),
    (("sessions", "a"), "sessions needs no argument"),
    (("wait", ""), "'' is not the name of a session"),
    (("wait", "x" * 257), f"{'x' * 80!r} is not the name of a session"),
    (("wait", "a\x01"), "'a\\x01' is not the name of a session"),
    (("wait", "a", "-u", ""), "-u has an empty value"),
    (("wait", "a", "-t", "soon"), "-t 'soon' is not a whole number of seconds, nor -1 for no time out"),
    (("wait", "a", "-c", "1"), "no such option: -c"),
    (("sessions", "--new"), "no such option: --new"),
]


@pytest.mark.version("how optparse words it")
def test_what_must_be_corrected_is_a_2_in_one_line():
    for argv, text in MISTAKES:
        done = headless(*argv, *(() if "-s" in text else ("-s", "127.0.0.1:1")))
        said = f"headless {argv[0]}: error: {text}\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said), argv


EACH = pytest.mark.parametrize("argv", [("wait", "a"), ("cancel", "a"), ("sessions",)], ids=str)


@EACH
def test_a_server_that_cannot_attach_is_a_2_that_says_so(scripted, argv):
    done = at(scripted(serving()), *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"headless {argv[0]}: error: this server ")


@EACH
def test_a_server_that_is_not_there_is_a_1(argv):
    """`wait` is as silent as the command; a person reads the answer of the others."""
    done = headless(*argv, "-s", "127.0.0.1:1")
    assert (done.returncode, done.stderr == "") == (1, argv[0] == "wait")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("5f0c",), 2, "the server refused the session: the account R41 has no session '5f0c' on this server"),
        (("5f0c", "-s", "127.0.0.1:1"), 1, "no connection to 127.0.0.1 port 1 (127.0.0.1: Connection refused)"),
        (("5f0c", "-u", "R42", "-p", "/nowhere"), 2, "the password file '/nowhere' does not exist"),
    ],
)
def test_wait_knows_nothing_of_jobs_before_it_has_found_them(server, argv, code, text):
    if code == 2:  # the mistake is shown without -v, too, and by cancel
        for name in ("wait", "cancel"):
            done = headless(name, "-s", server.address, *argv)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"headless {name}: error: {text}")
    done = headless("wait", "-v", "-s", server.address, *argv)
    assert done.returncode == code
    last = shown(done)[-1]
    assert last.startswith(text)
    assert last.endswith("; jobs: unknown")


def test_wait_at_a_server_that_does_not_answer_is_a_1_in_time(scripted):
    clock = StillClock()

    def script(peer):
        clock.start()
        peer.wait_for_disconnect()

    options = parse_command("wait", ["5f0c", "-s", scripted(script).address, "-v", "-t", "1"])
    done = by_clock(clock, TENTH, options)
    assert (done.returncode, TENTH <= clock.seconds() < 10) == (1, True)
    assert shown(done)[-1] == "the server has not answered in time; jobs: unknown"


@pytest.mark.parametrize("name", ["wait", "cancel", "sessions"])
def test_help_names_the_options_and_no_job(name):
    done = headless(name, "--help")
    assert done.stdout.startswith(f"Usage: headless {name} [options]")
    assert "--service" in done.stdout
    assert "--py_code" not in done.stdout
    assert name in headless("--help").stdout


# cancel and sessions


@pytest.mark.slow
def test_cancel_says_what_it_has_met_with(server, gate):
    session = submit(server, gate.code)
    done = at(server, "cancel", session)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"session {session}: cancelled: it was running, and has been ended\n"
    done = at(server, "cancel", session)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"headless cancel: error: session {session}: it was over already\n"
    assert states(server, session) == ["cancelled"]


@pytest.mark.slow
def test_sessions_are_listed_one_a_line(server):
    session = submit(server, "print(1)", "print(2)")
    wait_until(lambda: states(server, session) == ["ok", "ok"])
    done = at(server, "sessions")
    assert (done.returncode, done.stderr) == (0, "")
    pattern = rf"{session}  ok           \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  job 2 of 2  print\(2\)"
    assert re.fullmatch(pattern, done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="cmd has other redirections")
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_list_that_cannot_be_written_is_a_1(server, redirection):
    submit(server, "1")
    line = shlex.join([*PYTHON, "sessions", "-s", server.address])
    done = subprocess.run(
        f"{line} {redirection}", shell=True, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 1
    assert done.stderr.startswith("headless sessions: error: the list cannot be written: ")


@pytest.mark.slow
def test_a_reader_who_closes_the_list_early_sees_no_error(server):
    submit(server, "1")
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stdout, start(server, "sessions", stdout=stdout, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=PATIENCE)[1] == ""
    assert process.returncode == 1


# The last line of a call


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_call_that_is_ended_says_how_to_resume(server, command, gate):
    with command.start("-s", server.address, "-v", "-t", "-1", "-c", gate.code) as process:
        for line in process.stdout:
            if "started" in line:
                break
        process.send_signal(signal.SIGTERM)
        last = process.communicate(timeout=10)[0].splitlines()[-1]
    assert process.returncode == -signal.SIGTERM
    match = re.fullmatch(rf"{TIME}info ended by signal 15; to resume: (.*); jobs: submitted", last)
    assert match
    gate.open()
    assert resume(match[1]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [("-c", "raise SystemExit(3)", "-t", "-1"), ("-m", "NOT_THERE"), ("-t", "soon", "-c", "1")],
    ids=str,
)
def test_what_is_over_or_was_never_begun_is_not_to_be_resumed(server, here, argv):
    done = here("-s", server.address, "-v", *argv)
    assert done.returncode in (1, 2)
    assert "to resume" not in done.stdout


def test_a_session_of_a_server_that_cannot_attach_is_not_to_be_resumed(here, scripted):
    line = ("-s", scripted(serving(STARTED)).address, "-v", "-c", "1")
    done = here.by_clock(StillClock(start_at=Accepted), TENTH, *line)
    assert done.returncode == 3
    assert done.stdout.endswith("go on; jobs: submitted\n")


RESUMING = [
    ((), "-s planta:20000 -v"),
    (("-s", "tls://[::1]:1"), f"-s {in_shell(['tls://[::1]:1'])} -v"),
    (("-u", "R 41"), f"-s planta:20000 -u {in_shell(['R 41'])} -v"),
    (("-u", "R41", "-p", "/a b/c"), f"-s planta:20000 -u R41 -p {in_shell([os.path.abspath('/a b/c')])} -v"),
    (("-u", "R41", "-p", "c"), f"-s planta:20000 -u R41 -p {in_shell([os.path.abspath('c')])} -v"),
    (("-u", "R41", "-p", "c", "-a", "osuser"), "-s planta:20000 -u R41 -v"),
]


def test_the_command_line_that_resumes_is_one_for_a_shell():
    for argv, expected in RESUMING:
        options = parse(["-s", "planta:20000", "-c", "1", *argv])
        assert wait_command(options, "5f0c") == f"{WAIT} 5f0c {expected}"
