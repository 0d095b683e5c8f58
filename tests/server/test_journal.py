"""`headless jobs`: what it prints of the journal, as lines and as JSON. Which jobs it shows, columns and
following are in test_listing.py."""

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
from headless.server.accounts import Account
from headless.server.journal import INTERRUPTED, JobEnd
from headless.server.processes import JobProcesses
from headless.server.session import NewSession
from support.command_here import headless
from support.fork_server import start
from support.homes import fails, make_home, prints
from support.journals import end, new_session, over, write
from support.process import PATIENCE, ROOT, manage

KEYS = [
    "session", "job", "user", "kind", "title", "state", "accepted", "started", "ended", "seconds", "exit_status",
    "signal", "message", "pid", "key",
]  # fmt: skip
FAILED_SESSION = "5f0c" * 4


@pytest.fixture
def failed(place, record):
    """A session that has failed: its first job was ok and has printed something."""
    jobs = (Job("module", "009ABC"), Job("py_file", "nightly/close.py"), Job("py_code", "\n  import os\nprint(1)"))
    record.accept(NewSession(FAILED_SESSION, 1, "R41", jobs))
    record.begin(FAILED_SESSION)
    record.finish(FAILED_SESSION, 1, JobEnd(OK, "", time.time(), 1.25, 0))
    record.finish(FAILED_SESSION, 2, JobEnd(FAILED, "no such table", time.time(), 0.5, None, 9))
    write(place, FAILED_SESSION, 1, "stdout", b"one\ntwo\n")
    write(place, FAILED_SESSION, 1, "stderr", b"three\n")
    return FAILED_SESSION


def objects(home, *argv: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in prints("jobs", *argv, "--json", "--home", str(home.folder))]


@pytest.mark.usefixtures("failed")
def test_json_is_one_object_a_job(place):
    entries = objects(place)
    assert [list(entry) for entry in entries] == [KEYS] * 3
    fixed = [
        [entry[key] for key in ("job", "user", "kind", "title", "state", "seconds", "exit_status", "signal", "message")]
        for entry in entries
    ]
    assert fixed == [
        [1, "R41", "module", "009ABC", "ok", 1.25, 0, None, ""],
        [2, "R41", "py_file", "nightly/close.py", "failed", 0.5, None, 9, "no such table"],
        [3, "R41", "py_code", "import os", "skipped", None, None, None, ""],
    ]
    assert {entry["pid"] for entry in entries} == {None}


def test_times_are_those_of_the_clock_with_their_time_zone(place, record):
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)  # the journal shows no more
    over(record, "s")
    (entry,) = objects(place)
    accepted, started, ended = (datetime.fromisoformat(entry[key]) for key in ("accepted", "started", "ended"))
    assert before <= accepted <= started <= ended <= datetime.now(timezone.utc)


def test_without_json_it_is_one_line_a_job_that_says_which_job_it_is(place, failed):
    lines, entries = prints("jobs", "--home", str(place.folder)), objects(place)
    assert len(lines) == 3
    for line, entry in zip(lines, entries):
        day, clock = f"{datetime.fromisoformat(entry['accepted']).astimezone():%Y-%m-%d %H:%M:%S}".split()
        assert line.split()[:5] == [failed, str(entry["job"]), entry["state"], day, clock]
        user, kind, *title = line.split()[8 if entry["started"] else 7 :]
        assert (user, kind) == (entry["user"], entry["kind"])
        assert " ".join(title) == f"{entry['title']} {entry['message']}".strip()


def test_of_code_no_more_than_60_characters_of_its_first_line_are_shown(place, record):
    record.accept(new_session("s", text="\n\n" + "x" * 100 + "\nsecret = 1"))
    (line,) = prints("jobs", "--home", str(place.folder))
    assert line.endswith(" " + "x" * 60)
    assert objects(place)[0]["title"] == "x" * 60


def test_a_title_cannot_move_the_cursor(place, record):
    record.accept(new_session("s", kind="py_file", text="a\x1b[2J\u202eb.py"))
    (line,) = prints("jobs", "--home", str(place.folder))
    assert line.endswith("py_file  a\\x1b[2J\\u202eb.py")


def test_a_session_is_shown_alone_and_with_its_output(place, record, failed):
    over(record, "another")
    lines = prints("jobs", failed, "--home", str(place.folder))
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [
        [failed, "1"],
        [failed, "2"],
        [failed, "3"],
    ]
    assert lines[1:4] == ["  1 stdout: one", "  1 stdout: two", "  1 stderr: three"]
    first = objects(place, failed)[0]
    assert list(first) == [*KEYS, "stdout", "stderr"]
    assert (first["stdout"], first["stderr"]) == ("one\ntwo\n", "three\n")


def test_the_stored_output_is_what_the_job_wrote(place, record):
    over(record, "s")
    write(place, "s", 1, "stdout", b"10%\r20%\r\n\xff")
    assert objects(place, "s")[0]["stdout"] == "10%\r20%\r\n\ufffd"


def test_output_that_somebody_has_compressed_is_said_not_to_be_there(place, record):
    record.accept(new_session("s", jobs=3))
    record.begin("s")
    write(place, "s", 1, "stdout", b"one\n")
    write(place, "s", 1, "stderr", b"")
    record.finish("s", 1, end(OK))
    path = place.output("s", 1, "stdout")
    path.rename(f"{path}.gz")
    lines = prints("jobs", "s", "--home", str(place.folder))
    assert [line for line in lines if line.startswith(" ")] == [f"  1 stdout is not there: {path}"]
    assert [(each["stdout"], each["stderr"]) for each in objects(place, "s")] == [(None, ""), ("", ""), ("", "")]


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_session_that_is_not_there_is_a_1(home, json):
    fails("5f0c", "jobs", "5f0c", *json, "--home", home)


def test_an_empty_journal_is_no_error(home):
    assert prints("jobs", "--home", home) == prints("jobs", "--json", "--home", home) == []


def test_the_newest_job_is_last(place, record):
    over(record, "b", FAILED, jobs=2)
    over(record, "a")
    record.accept(new_session("c"))
    assert [(entry["session"], entry["job"]) for entry in objects(place)] == [("b", 1), ("b", 2), ("a", 1), ("c", 1)]


# What only seems to run


@pytest.fixture
def running(record):
    """The journal says of this job, which began an hour ago, that it runs."""
    record.accept(new_session("s"))
    record.begin("s")
    record._database.execute("UPDATE jobs SET started = started - 3600")


def shown(home) -> tuple[str, dict[str, Any]]:
    (line,) = prints("jobs", "--home", str(home.folder))
    return line, objects(home)[0]


@pytest.mark.usefixtures("running")
def test_a_job_whose_shim_lives_runs_and_its_duration_grows(place, monkeypatch):
    pids = {("s", 1): 4711}
    monkeypatch.setattr(JobProcesses, "running_pid", lambda _, *job: pids[job])
    line, entry = shown(place)
    assert " running " in line and "  1:00:0" in line
    assert (entry["state"], entry["pid"], entry["ended"]) == ("running", 4711, None)
    assert 3600 <= entry["seconds"] < 3660


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("is_served", "state"), [(True, "running"), (False, "unknown")])
def test_a_job_whose_shim_is_gone_has_no_growing_duration(place, is_served, state):
    lock = place.lock() if is_served else None
    line, entry = shown(place)
    if lock:
        lock.close()
    assert line.split()[2] == entry["state"] == state
    assert line.split()[7] == "-"
    assert (entry["seconds"], entry["pid"], entry["ended"]) == (None, None, None)
    assert ("no server runs" in line) == ("no server runs" in entry["message"]) == (not is_served)


@pytest.mark.usefixtures("running")
def test_a_job_whose_shim_has_been_gone_for_long_is_not_said_to_run_without_a_word(place, record):
    with place.lock():
        assert "no process of it runs: the server is about to start it, or to record" in shown(place)[1]["message"]
        record._database.execute("UPDATE jobs SET started = ?", (time.time(),))
        assert shown(place)[1]["message"] == ""


@pytest.mark.usefixtures("running")
def test_an_end_that_was_not_seen_has_no_time(place, record):
    record.finish("s", 1, JobEnd(INTERRUPTED, "the machine was switched off"))
    line, entry = shown(place)
    assert line.split()[2] == "interrupted" and line.split()[7] == "-"
    assert (entry["ended"], entry["seconds"]) == (None, None)


@pytest.mark.parametrize(("seconds", "shown_as"), [(None, "0:00:00.0"), (2.5, "0:00:02.5")])
def test_a_clock_that_was_set_back_makes_no_negative_duration(place, record, seconds, shown_as):
    record.accept(new_session("s"))
    record.begin("s")
    record.finish("s", 1, JobEnd(OK, "", time.time() - 3600, seconds, 0))
    line, entry = shown(place)
    assert line.split()[7] == shown_as
    assert entry["seconds"] == (seconds or 0)


# What is printed


@pytest.mark.version("the streams of an interpreter")
@pytest.mark.slow
@pytest.mark.usefixtures("failed")
def test_everything_printed_reaches_a_pipe(place):
    """Of a new interpreter, whose buffers are its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = ("jobs", "--home", str(place.folder))
    assert manage(*command, env=plain).stdout == headless(*command).stdout != ""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_what_cannot_be_printed_is_an_error(home):
    with open("/dev/full", "w") as full:
        command = ["-m", "headless", "user", "list", "--home", home]
        with start(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True) as process:
            stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert " error: " in stderr
    assert "Traceback" not in stderr


def in_ascii(monkeypatch, *argv: str) -> str:
    """What a command prints that succeeds, where standard output knows no other characters."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert main(argv) == 0
    stdout.flush()
    return stdout.buffer.getvalue().decode("ascii")


def test_a_character_that_stdout_does_not_know_is_no_error(tmp_path, monkeypatch):
    home = str(make_home(tmp_path / "home", Account("Jürgen", "jdoe", None), Account("R41", "jdoe", None)).folder)
    lines = in_ascii(monkeypatch, "user", "list", "--home", home).splitlines()
    assert lines[1] == "R41 osuser=jdoe"
    assert lines[0].endswith("rgen osuser=jdoe")


def test_output_that_stdout_does_not_know_is_no_error(place, record, monkeypatch):
    record.accept(new_session("s", text="'für Zürich'"))
    record.begin("s")
    record.finish("s", 1, end(FAILED, "keine Tabelle für Zürich"))
    write(place, "s", 1, "stderr", "keine Tabelle für Zürich\n".encode())
    assert in_ascii(monkeypatch, "jobs", "s", "--home", str(place.folder)).count("keine Tabelle") == 2
