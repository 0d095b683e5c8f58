"""`headless jobs`: what it prints of each job, as lines and as JSON."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from headless.cli import tools_main as main
from headless.dialects.vocabulary import FAILED, OK, Job
from headless.server.journal import INTERRUPTED, JobEnd
from headless.server.processes import JobProcesses
from headless.server.session import NewSession
from support.command_here import headless
from support.credentials import HASH
from support.fork_server import start
from support.homes import fails, prints
from support.journals import end, new_session, over, write
from support.process import PATIENCE, ROOT, manage

KEYS = [
    "session", "job", "user", "kind", "title", "state", "accepted", "started", "ended", "seconds", "exit_status",
    "signal", "message", "pid", "key",
]  # fmt: skip
FAILED_SESSION = "5f0c" * 4


def lines_of(home, *argv: str) -> list[str]:
    return prints("jobs", *argv, "--home", str(home.folder))


def objects(home, *argv: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(home, *argv, "--json")]


@pytest.fixture
def failed(home, record):
    """A session that has failed. Its first job was ok and has printed something."""
    jobs = (Job("module", "009ABC"), Job("py_file", "nightly/close.py"), Job("py_code", "\n  import os\nprint(1)"))
    record.accept(NewSession(FAILED_SESSION, 1, "R41", jobs))
    record.begin(FAILED_SESSION)
    record.finish(FAILED_SESSION, 1, JobEnd(OK, "", time.time(), 1.25, 0))
    record.finish(FAILED_SESSION, 2, JobEnd(FAILED, "no such table", time.time(), 0.5, None, 9))
    write(home, FAILED_SESSION, 1, "stdout", b"one\ntwo\n")
    write(home, FAILED_SESSION, 1, "stderr", b"three\n")
    return FAILED_SESSION


def test_each_job_is_one_object_or_one_line(home, failed):
    entries, lines = objects(home), lines_of(home)
    assert [list(entry) for entry in entries] == [KEYS] * 3
    keys = ("session", "job", "user", "kind", "title", "state", "seconds", "exit_status", "signal", "message", "pid")
    assert [[entry[key] for key in keys] for entry in entries] == [
        [failed, 1, "R41", "module", "009ABC", "ok", 1.25, 0, None, "", None],
        [failed, 2, "R41", "py_file", "nightly/close.py", "failed", 0.5, None, 9, "no such table", None],
        [failed, 3, "R41", "py_code", "import os", "skipped", None, None, None, "", None],
    ]
    assert len(lines) == 3
    for line, entry in zip(lines, entries):
        day, clock = f"{datetime.fromisoformat(entry['accepted']).astimezone():%Y-%m-%d %H:%M:%S}".split()
        assert line.split()[:5] == [failed, str(entry["job"]), entry["state"], day, clock]
        user, kind, *title = line.split()[8 if entry["started"] else 7 :]
        assert (user, kind) == (entry["user"], entry["kind"])
        assert " ".join(title) == f"{entry['title']} {entry['message']}".strip()


def test_times_are_those_of_the_clock_with_their_time_zone(home, record):
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)  # the journal shows no more
    over(record, "s")
    (entry,) = objects(home)
    accepted, started, ended = (datetime.fromisoformat(entry[key]) for key in ("accepted", "started", "ended"))
    assert before <= accepted <= started <= ended <= datetime.now(timezone.utc)


def test_a_title_is_short_and_cannot_move_the_cursor(home, record):
    record.accept(new_session("s", text="\n\n" + "x" * 100 + "\nsecret = 1"))
    record.accept(new_session("t", kind="py_file", text="a\x1b[2J\u202eb.py"))
    code, file = lines_of(home)
    assert code.endswith("py_code  " + "x" * 60)
    assert objects(home)[0]["title"] == "x" * 60
    assert file.endswith("py_file  a\\x1b[2J\\u202eb.py")


def test_a_session_is_shown_alone_and_with_its_output_as_the_job_wrote_it(home, record, failed):
    over(record, "another")
    write(home, "another", 1, "stdout", b"10%\r20%\r\n\xff")
    lines = lines_of(home, failed)
    sessions_and_jobs = [line.split()[:2] for line in lines if not line.startswith(" ")]
    assert sessions_and_jobs == [[failed, "1"], [failed, "2"], [failed, "3"]]
    assert lines[1:4] == ["  1 stdout: one", "  1 stdout: two", "  1 stderr: three"]
    first = objects(home, failed)[0]
    assert list(first) == [*KEYS, "stdout", "stderr"]
    assert (first["stdout"], first["stderr"]) == ("one\ntwo\n", "three\n")
    assert objects(home, "another")[0]["stdout"] == "10%\r20%\r\n\ufffd"


def test_output_that_somebody_has_compressed_is_said_not_to_be_there(home, record):
    record.accept(new_session("s", jobs=3))
    record.begin("s")
    write(home, "s", 1, "stdout", b"one\n")
    write(home, "s", 1, "stderr", b"")
    record.finish("s", 1, end(OK))
    path = home.output("s", 1, "stdout")
    path.rename(f"{path}.gz")
    lines = lines_of(home, "s")
    assert [line for line in lines if line.startswith(" ")] == [f"  1 stdout is not there: {path}"]
    assert [(each["stdout"], each["stderr"]) for each in objects(home, "s")] == [(None, ""), ("", ""), ("", "")]


def test_a_session_that_is_not_there_is_a_1_and_an_empty_journal_is_not(home_path):
    for json_option in ((), ("--json",)):
        fails("5f0c", "jobs", "5f0c", *json_option, "--home", home_path)
        assert prints("jobs", *json_option, "--home", home_path) == []


def test_columns_are_aligned(home, record):
    record.accept(new_session("a" * 16, "R41", 10))
    record.accept(new_session("b" * 16, "a much longer name\n", kind="module", text="009ABC"))
    record.begin("a" * 16)
    record.finish("a" * 16, 1, end(FAILED, "no such table"))
    lines = lines_of(home)
    assert len(lines) == 11
    assert len({line.index(kind) for line in lines for kind in ("py_code", "module") if kind in line}) == 1
    assert lines[0].endswith("py_code  1       no such table")
    assert lines[9].split()[1:3] == ["10", "skipped"]
    assert "a much longer name\\n" in lines[10]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0:00:00.0"), (0.25, "0:00:00.2"), (61.5, "0:01:01.5"), (3599.99, "0:59:59.9"), (90061.0, "25:01:01.0")],
)
def test_a_duration_is_what_was_measured_or_that_from_start_to_end(home, record, monkeypatch, seconds, shown):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    for session in "measured", "not":
        record.accept(new_session(session))
        record.begin(session)
    record.finish("measured", 1, JobEnd(OK, "", now + 7, seconds, 0))
    record.finish("not", 1, JobEnd(OK, "", now + seconds, None, 0))
    assert all(f" {shown}  " in line for line in lines_of(home))


def test_what_runs_is_shown_with_what_it_has_taken_so_far_and_what_waits_without(home, record, monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(JobProcesses, "running_pid", lambda *_: 4711)
    record.accept(new_session("s", jobs=2))
    record.begin("s")
    now += 5.0
    running, queued = lines_of(home)
    assert "running" in running and " 0:00:05.0  " in running
    assert "queued" in queued and queued.split()[5:7] == ["-", "-"]


# What only seems to run


@pytest.fixture
def running(record):
    """A job that has been running for an hour, as the journal says."""
    record.accept(new_session("s"))
    record.begin("s")
    record._database.execute("UPDATE jobs SET started = started - 3600")


def shown(home) -> tuple[str, dict[str, Any]]:
    (line,) = lines_of(home)
    return line, objects(home)[0]


@pytest.mark.usefixtures("running")
def test_a_job_whose_shim_lives_runs_and_its_duration_grows(home, monkeypatch):
    pids = {("s", 1): 4711}
    monkeypatch.setattr(JobProcesses, "running_pid", lambda _, *job: pids[job])
    line, entry = shown(home)
    assert " running " in line and "  1:00:0" in line
    assert (entry["state"], entry["pid"], entry["ended"]) == ("running", 4711, None)
    assert 3600 <= entry["seconds"] < 3660


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("is_served", "state"), [(True, "running"), (False, "unknown")])
def test_a_job_whose_shim_is_gone_has_no_growing_duration(home, is_served, state):
    lock = home.lock() if is_served else None
    line, entry = shown(home)
    if lock:
        lock.close()
    assert line.split()[2] == entry["state"] == state
    assert line.split()[7] == "-"
    assert (entry["seconds"], entry["pid"], entry["ended"]) == (None, None, None)
    assert ("no server runs" in line) == ("no server runs" in entry["message"]) == (not is_served)


@pytest.mark.usefixtures("running")
def test_a_job_whose_shim_has_been_gone_for_long_is_not_said_to_run_without_a_word(home, record):
    with home.lock():
        assert "no process of it runs: the server is about to start it, or to record" in shown(home)[1]["message"]
        record._database.execute("UPDATE jobs SET started = ?", (time.time(),))
        assert shown(home)[1]["message"] == ""


@pytest.mark.usefixtures("running")
def test_an_end_that_was_not_seen_has_no_time(home, record):
    record.finish("s", 1, JobEnd(INTERRUPTED, "the machine was switched off"))
    line, entry = shown(home)
    assert line.split()[2] == "interrupted" and line.split()[7] == "-"
    assert (entry["ended"], entry["seconds"]) == (None, None)


@pytest.mark.parametrize(("seconds", "shown_as"), [(None, "0:00:00.0"), (2.5, "0:00:02.5")])
def test_a_clock_that_was_set_back_makes_no_negative_duration(home, record, seconds, shown_as):
    record.accept(new_session("s"))
    record.begin("s")
    record.finish("s", 1, JobEnd(OK, "", time.time() - 3600, seconds, 0))
    line, entry = shown(home)
    assert line.split()[7] == shown_as
    assert entry["seconds"] == (seconds or 0)


# What is printed


@pytest.mark.version("the streams of an interpreter")
@pytest.mark.slow
@pytest.mark.usefixtures("failed")
def test_everything_printed_reaches_a_pipe(home):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = ("jobs", "--home", str(home.folder))
    assert manage(*command, env=plain).stdout == headless(*command).stdout != ""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_what_cannot_be_printed_is_an_error(home_path):
    with open("/dev/full", "w") as full:
        command = ["-m", "headless", "user", "list", "--home", home_path]
        with start(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True) as process:
            stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert " error: " in stderr
    assert "Traceback" not in stderr


def in_ascii(monkeypatch, *argv: str) -> str:
    """Returns what a command prints to a standard output that knows ASCII alone."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert main(argv) == 0
    stdout.flush()
    return stdout.buffer.getvalue().decode("ascii")


def test_a_character_that_stdout_does_not_know_is_no_error(home, record, monkeypatch):
    of_home = ("--home", str(home.folder))
    prints("user", "add", "Jürgen", "--secret-file", "-", *of_home, stdin=HASH.encode())
    record.accept(new_session("s", text="'für Zürich'"))
    record.begin("s")
    record.finish("s", 1, end(FAILED, "keine Tabelle für Zürich"))
    write(home, "s", 1, "stderr", "keine Tabelle für Zürich\n".encode())
    assert in_ascii(monkeypatch, "jobs", "s", *of_home).count("keine Tabelle") == 2
    assert in_ascii(monkeypatch, "user", "list", *of_home).splitlines()[0].endswith("rgen challenge")
