"""What an administrator sees of jobs: columns, durations, following, what --keep leaves, and the log. Other promises of
`jobs` are in test_journal.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing

import pytest

from headless.protocol.vocabulary import FAILED, OK, Job
from headless.server.journal import AcceptedBatch, Journal
from headless.server.listing import Listing
from support.homes import make_home
from support.in_process import run_here
from support.job_code import Gate
from support.job_server import QuickServer, journal
from support.process import PATIENCE, ROOT
from support.raw_client import connect, py_code, run
from support.waiting import wait_until

DAY = 86400.0


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


@pytest.fixture
def record(home):
    with closing(home.database()) as database:
        yield Journal(database)


def batch(session: str, user: str = "R41", jobs: int = 1) -> AcceptedBatch:
    return AcceptedBatch(session, user, (Job("py_code", "1"),) * jobs)


def listed(home, *options: str) -> list[str]:
    done = run_here("jobs", "--home", str(home.folder), *options)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_columns_stand_under_each_other(home, record):
    record.accept(batch("a" * 16, "R41", 10))
    record.accept(batch("b" * 16, "a much longer name\n"))
    record.begin("a" * 16)
    record.finish("a" * 16, 1, FAILED, "no such table")
    lines = listed(home)
    assert len(lines) == 11
    assert len({line.index("py_code") for line in lines}) == 1
    assert lines[0].endswith("py_code  no such table")
    assert lines[9].split()[1:3] == ["10", "skipped"]
    assert "a much longer name\\n" in lines[10]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0:00:00.0"), (0.25, "0:00:00.2"), (61.5, "0:01:01.5"), (3599.99, "0:59:59.9"), (90061.0, "25:01:01.0")],
)
def test_a_duration_is_that_from_start_to_end(home, record, monkeypatch, seconds, shown):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    record.accept(batch("s"))
    record.begin("s")
    now += seconds
    record.finish("s", 1, OK, "")
    assert f" {shown}  " in listed(home)[0]


def test_what_runs_is_shown_with_what_it_has_taken_so_far_and_what_waits_without(home, record, monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    record.accept(batch("s", jobs=2))
    record.begin("s")
    now += 5.0
    running, queued = listed(home)
    assert "running" in running and " 0:00:05.0  " in running
    assert "queued" in queued and queued.split()[5:7] == ["-", "-"]


# Following


class Follower:
    """`python -m headless jobs --follow` as a process, and its lines as they come."""

    def __init__(self, server: QuickServer, *argv: str) -> None:
        command = [sys.executable, "-m", "headless", "jobs", *argv, "--follow", "--home", str(server.home)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


def test_a_session_is_followed_with_its_output_until_it_is_over(tmp_path):
    gate = Gate(tmp_path / "gate")
    with QuickServer(tmp_path / "home") as server, connect(server).log_in() as client:
        client.submit(py_code(f"print('first')\n{gate.code}print('last', end='')"), py_code("print('other')"))
        client.expect("started")
        with Follower(server, client.session) as follower:
            assert follower.line().split()[1:3] == ["1", "running"]
            assert follower.line() == "  1 stdout: first"
            assert follower.line().split()[1:3] == ["2", "queued"]
            gate.open()
            rest, errors = follower.process.communicate(timeout=PATIENCE)
            assert (follower.process.returncode, errors) == (0, "")
    lines = rest.splitlines()
    assert lines.count("  1 stdout: last") == lines.count("  2 stdout: other") == 1
    states = [line.split()[1:3] for line in lines if not line.startswith(" ")]
    assert ["1", "ok"] in states
    assert states[-1] == ["2", "ok"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_journal_is_followed_and_nothing_is_shown_twice(tmp_path, options):
    with QuickServer(tmp_path / "home") as server:
        run(server, py_code("1"))
        with Follower(server, *options) as follower:
            assert '"ok"' in follower.line() if options else "ok" in follower.line()
            run(server, py_code("raise SystemExit(1)"))
            session = journal(server)[-1]["session"]
            line = follower.line()
            while "failed" not in line:  # what it was before, if that was seen
                assert session in line
                line = follower.line()
            assert session in line


def test_following_ends_by_ctrl_c_and_prints_nothing(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        run(server, py_code("1"))
        with Follower(server) as follower:
            follower.line()
            follower.process.send_signal(2)
            assert follower.process.communicate(timeout=PATIENCE) == ("", "")
            assert follower.process.returncode == -2


# Retention


def age(home, session: str, seconds: float) -> None:
    """Makes a session that is over so old."""
    with closing(home.database()) as database, database:
        database.execute("UPDATE jobs SET ended = ended - ? WHERE session = ?", (seconds, session))


def test_what_is_pruned_is_what_was_over_before_that_time(home, record):
    for session in ("old", "young", "running", "queued"):
        record.accept(batch(session, jobs=2))
        if session != "queued":
            record.begin(session)
    for session in ("old", "young"):
        record.finish(session, 1, FAILED, "")
        age(home, session, 2 * DAY if session == "old" else 0)
    record.finish("running", 1, OK, "")
    age(home, "running", 2 * DAY)
    assert record.prune(time.time() - DAY) == ["old"]
    assert record.sessions() == {"young", "running", "queued"}
    assert [entry.session for entry in record.entries()] == ["young", "young", "running", "running", "queued", "queued"]


def test_a_server_prunes_old_sessions_and_their_output_and_keeps_the_others(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        for _ in range(2):
            run(server, py_code("print(1)"))
        old, young = (entry["session"] for entry in journal(server))
        server.stop()
        age(make_home(server.home), old, 4 * DAY)
        output = server.home / "output"
        (output / "of no session").mkdir()
        server.options = ("--keep", "3")
        server.start()
        wait_until(lambda: [path.name for path in output.iterdir()] == [young])
        assert [entry["session"] for entry in journal(server)] == [young]
        assert journal(server, young)[0]["stdout"] == "1\n"
        server.stop()
        assert f"session {old}: pruned" in server.log


def test_without_keep_nothing_is_pruned(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        run(server, py_code("1"))
        session = journal(server)[0]["session"]
        server.stop()
        age(make_home(server.home), session, 10_000 * DAY)
        server.start()
        run(server, py_code("1"))
        assert journal(server)[0]["session"] == session


# The log


def test_every_event_of_a_session_is_one_line_with_its_name(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        with connect(server).log_in() as client:
            client.submit(py_code("1"), py_code("raise SystemExit('no\\nsuch table')"), py_code("1"))
            client.report()
        with connect(server).log_in() as nonsense:
            nonsense.send("<nonsense/>")
            nonsense.expect_refusal("protocol")
        server.stop()
    lines = server.log.splitlines()
    events = [line.partition(f"session {client.session}: ")[2] for line in lines if client.session in line]
    assert events[0].startswith("R41 logged in from 127.0.0.1 port ")
    assert events[1:] == [
        "accepted 3 jobs of R41", "job 1 started", "job 1 ok", "job 2 started", "job 2 failed: such table",
        "the client was told the end",
    ]  # fmt: skip
    assert any(f"session {nonsense.session}: refused (protocol): " in line for line in lines)
    of_the_server = [line.partition(" INFO ")[2] for line in lines if "session" not in line and "port" not in line]
    assert of_the_server == [f"listening on {server.address}", "stopping: running batches get 0 s", "stopped"]


# Much output


def ended_job(home, record):
    """Where the output is of the one job of the session s, which is over."""
    record.accept(batch("s"))
    record.begin("s")
    record.finish("s", 1, OK, "")
    stdout = home.output("s", 1, "stdout")
    stdout.parent.mkdir()
    return stdout


def test_a_long_line_of_output_is_shown_in_pieces(home, record, capsys):
    ended_job(home, record).write_bytes(b"x" * 100_000 + b"\r\n\nend")
    assert Listing(home, record, "s", as_json=False).show()
    shown = capsys.readouterr().out.splitlines()[1:]
    assert [line.removeprefix("  1 stdout: ") for line in shown] == ["x" * 65536, "x" * 34464, "", "end"]


def test_output_larger_than_what_is_read_at_a_time_is_the_same_in_json(home, record, capsys):
    text = "a" + '\U0001f642é"\\\r\n\0' * 30_000
    ended_job(home, record).write_bytes(text.encode() + b"\xff")
    assert Listing(home, record, "s", as_json=True).show()
    (line,) = capsys.readouterr().out.splitlines()
    entry = json.loads(line)
    assert entry["stdout"] == text + "�"
    assert entry["stderr"] == ""


def test_output_in_json_takes_no_memory_of_its_size(home, record, monkeypatch):
    with open(ended_job(home, record), "wb") as file:
        file.truncate(32 * 2**20)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        try:
            assert Listing(home, record, "s", as_json=True).show()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * 2**20  # 0.9 MiB
