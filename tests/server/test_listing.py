"""`headless jobs`: what it prints of each job, as lines and as JSON."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import tracemalloc
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from headless.cli import tools_main as main
from headless.dialects.vocabulary import FAILED, OK, Job
from headless.server.journal import INTERRUPTED, JobEnd, Selection
from headless.server.listing import Listing
from headless.server.processes import JobProcesses
from headless.server.session import NewSession
from support.credentials import HASH
from support.fork_server import start
from support.homes import fails, prints, prints_jobs
from support.journals import end, new_session, over, running, silent, write
from support.process import PATIENCE, ROOT

KEYS = [
    "session", "job", "user", "kind", "title", "state", "accepted", "started", "ended", "seconds", "exit_status",
    "signal", "message", "pid", "key", "host",
]  # fmt: skip
FAILED_SESSION = "5f0c" * 4


def lines_of(home, *argv: str) -> list[str]:
    return prints_jobs(*argv, "--home", str(home.folder))


def objects(home, *argv: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in prints("jobs", *argv, "--json", "--home", str(home.folder))]


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
    accepted, started, ended = (datetime.fromisoformat(entries[0][key]) for key in ("accepted", "started", "ended"))
    now = datetime.now(timezone.utc)
    assert now - timedelta(seconds=PATIENCE) < accepted <= started <= ended <= now
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
    running(record, jobs=3)
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
    head, *lines = prints("jobs", "--home", str(home.folder))
    assert len(lines) == 11
    cells = {
        "accepted": "20",
        "started": "20",
        "user": "R41",
        "kind": "py_code",
        "title": "1",
        "reason": "no such table",
    }
    assert [lines[0][head.index(name) :][: len(cell)] for name, cell in cells.items()] == list(cells.values())
    assert len({line.index(kind) for line in lines for kind in ("py_code", "module") if kind in line}) == 1
    assert lines[0].endswith("py_code  1       no such table")
    assert lines[9].split()[1:3] == ["10", "skipped"]
    assert "a much longer name\\n" in lines[10]


DURATIONS = [  # when it ended, in seconds after its start by a clock that may have been set back; the duration measured
    (7, 0.0, "0:00:00.0"), (7, 0.25, "0:00:00.2"), (7, 61.5, "0:01:01.5"), (3599.99, None, "0:59:59.9"),
    (90061.0, None, "25:01:01.0"), (-3600, None, "0:00:00.0"), (-3600, 2.5, "0:00:02.5"),
]  # fmt: skip


def test_a_duration_is_what_was_measured_or_that_from_start_to_end(home, record, monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    for number, (ended, measured, _) in enumerate(DURATIONS):
        running(record, f"s{number}")
        record.finish(f"s{number}", 1, JobEnd(OK, "", now + ended, measured, 0))
    assert [line.split()[7] for line in lines_of(home)] == [text for _, _, text in DURATIONS]
    seconds = [max(0, ended) if measured is None else measured for ended, measured, _ in DURATIONS]
    assert [entry["seconds"] for entry in objects(home)] == seconds


# What only seems to run


@pytest.fixture
def started(record):
    """A job that has been running for an hour, as the journal says, and one that waits for it."""
    running(record, jobs=2)
    record.make_older("started", 3600)


def shown(home) -> tuple[list[str], dict[str, Any]]:
    """Returns the words of the first line, and what it is in JSON."""
    return lines_of(home)[0].split(), objects(home)[0]


@pytest.mark.usefixtures("started")
def test_a_job_whose_shim_lives_runs_and_its_duration_grows(home, monkeypatch):
    pids = {("s", 1): 4711}
    monkeypatch.setattr(JobProcesses, "running_pid", lambda _, *job: pids[job])
    line, entry = shown(home)
    assert line[2] == "running" and line[7].startswith("1:00:")
    assert (entry["state"], entry["pid"], entry["ended"]) == ("running", 4711, None)
    assert entry["seconds"] >= 3600
    waiting = lines_of(home)[1].split()
    assert (waiting[2], waiting[5:7]) == ("queued", ["-", "-"])


@pytest.mark.usefixtures("started")
def test_a_job_whose_shim_is_gone_has_no_growing_duration_and_says_so_after_a_while(home, record):
    def seen(state: str) -> str:
        line, entry = shown(home)
        assert (line[2], line[7]) == (state, "-")
        assert (entry["state"], entry["seconds"], entry["pid"], entry["ended"]) == (state, None, None, None)
        return str(entry["message"])

    assert seen("unknown") == "no server runs; the next one records how it ended"
    with home.lock():
        assert "no process of it runs: the server is about to start it, or to record" in seen("running")
        record.execute("UPDATE jobs SET started = ?", time.time())
        assert seen("running") == ""


@pytest.mark.usefixtures("started")
def test_an_end_that_was_not_seen_has_no_time(home, record):
    record.finish("s", 1, JobEnd(INTERRUPTED, "the machine was switched off"))
    line, entry = shown(home)
    assert (line[2], line[7]) == ("interrupted", "-")
    assert (entry["ended"], entry["seconds"]) == (None, None)


# Much output


@pytest.fixture
def output(home, record):
    """The path of the output of a job that has ended."""
    over(record, "s")
    silent(home, "s")
    return home.output("s", 1, "stdout")


def test_a_long_line_of_output_is_shown_in_pieces(home, output):
    output.write_bytes(b"x" * 100_000 + b"\r\n\nend")
    shown = lines_of(home, "s")[1:]
    assert [line.removeprefix("  1 stdout: ") for line in shown] == ["x" * 65536, "x" * 34464, "", "end"]


def test_output_larger_than_what_is_read_at_a_time_is_the_same_in_json(home, output):
    text = "a" + '\U0001f642é"\\\r\n\0' * 30_000
    output.write_bytes(text.encode() + b"\xff")
    (line,) = prints("jobs", "s", "--json", "--home", str(home.folder))
    entry = json.loads(line)
    assert (entry["stdout"], entry["stderr"]) == (text + "�", "")


def test_output_in_json_takes_no_memory_of_its_size(home, record, output, monkeypatch):
    with open(output, "wb") as file:
        file.truncate(32 * 2**20)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        Listing(home, record, Selection("s"), as_json=True).show(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * 2**20  # 0.9 MiB


# What is printed


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
