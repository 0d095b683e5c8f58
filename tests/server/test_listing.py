"""Which jobs `headless jobs` shows: the last ones, filters, following, much output; and its columns. What it
says of one job is in test_journal.py, how it does on a long journal in test_large_journal.py."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from headless.protocol.vocabulary import FAILED, OK
from headless.server import appearance
from headless.server.accounts import Account
from headless.server.home import Home
from headless.server.journal import CANCELLED, JobEnd, Journal, Selection
from headless.server.listing import Listing
from headless.server.stored_output import NewLines
from support.homes import R41, make_home
from support.in_process import run_here
from support.journals import batch, end, over, silent, write
from support.process import PATIENCE, ROOT

DAY = 86400.0


@pytest.fixture
def place(tmp_path):
    return make_home(tmp_path / "home", R41, Account("R42", "jdoe", None))


def listed(place, *options: str) -> list[str]:
    done = run_here("jobs", "--home", str(place.folder), *options)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


def sessions(place, *options: str) -> list[str]:
    return [line.split()[0] for line in listed(place, *options)]


def test_columns_stand_under_each_other(place, record):
    record.accept(batch("a" * 16, "R41", 10))
    record.accept(batch("b" * 16, "a much longer name\n", kind="module", text="009ABC"))
    record.begin("a" * 16)
    record.finish("a" * 16, 1, end(FAILED, "no such table"))
    lines = listed(place)
    assert len(lines) == 11
    assert len({line.index(kind) for line in lines for kind in ("py_code", "module") if kind in line}) == 1
    assert lines[0].endswith("py_code  1       no such table")
    assert lines[9].split()[1:3] == ["10", "skipped"]
    assert "a much longer name\\n" in lines[10]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0:00:00.0"), (0.25, "0:00:00.2"), (61.5, "0:01:01.5"), (3599.99, "0:59:59.9"), (90061.0, "25:01:01.0")],
)
def test_a_duration_is_what_was_measured_or_that_from_start_to_end(place, record, monkeypatch, seconds, shown):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    for session in "measured", "not":
        record.accept(batch(session))
        record.begin(session)
    record.finish("measured", 1, JobEnd(OK, "", now + 7, seconds, 0))
    record.finish("not", 1, JobEnd(OK, "", now + seconds, None, 0))
    assert all(f" {shown}  " in line for line in listed(place))


def test_what_runs_is_shown_with_what_it_has_taken_so_far_and_what_waits_without(place, record, monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(appearance, "running_pid", lambda _: 4711)
    record.accept(batch("s", jobs=2))
    record.begin("s")
    now += 5.0
    running, queued = listed(place)
    assert "running" in running and " 0:00:05.0  " in running
    assert "queued" in queued and queued.split()[5:7] == ["-", "-"]


# Which jobs


def test_the_last_20_jobs_are_shown_unless_others_are_asked_for(place, record):
    for number in range(1, 31):
        over(record, f"s{number}")
    names = [f"s{number}" for number in range(1, 31)]
    assert sessions(place) == names[10:]
    assert sessions(place, "--last", "3") == names[27:]
    assert sessions(place, "--last", "29") == names[1:]
    for options in (("--last", "0"), ("--all",), ("--last", "30"), ("--last", "1000"), ("--since", "1h")):
        assert sessions(place, *options) == names
    assert sessions(place, "--since", "1h", "--last", "2") == names[28:]


def test_a_session_is_shown_whole(place, record):
    over(record, "s", jobs=25)
    silent(place, "s", 25)
    assert len(listed(place, "s")) == 25
    assert [line.split()[1] for line in listed(place, "s", "--last", "2")] == ["24", "25"]


def test_the_last_jobs_may_begin_in_the_middle_of_a_batch(place, record):
    over(record, "a", jobs=3)
    over(record, "b", jobs=2)
    assert [line.split()[:2] for line in listed(place, "--last", "4")] == [
        ["a", "2"],
        ["a", "3"],
        ["b", "1"],
        ["b", "2"],
    ]


@pytest.fixture
def mixed(record):
    """One session for each state and user, and the oldest a week old."""
    over(record, "old", FAILED, jobs=2)
    record._database.execute("UPDATE batches SET accepted = accepted - ?", (7 * DAY,))
    over(record, "ok")
    over(record, "failed", FAILED, user="R42", jobs=2)
    over(record, "cancelled", CANCELLED)
    record.accept(batch("queued", "R42"))


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--state ok", ["old", "ok", "failed"]),
        ("--state ok --last 2", ["ok", "failed"]),
        ("--state failed", ["old", "failed"]),
        ("--state failed --last 1", ["failed"]),
        ("--state failed --user R41", ["old"]),
        ("--state ok --user R41", ["old", "ok"]),
        ("--state failed --since 1d", ["failed"]),
        ("--state running", []),
        ("--state queued --user R42 --since 1d", ["queued"]),
        ("--user R42", ["failed", "failed", "queued"]),
        ("--user R42 --last 2", ["failed", "queued"]),
        ("--user R43", []),
        ("--since 8d --last 3", ["failed", "cancelled", "queued"]),
        ("--since 6d", ["ok", "failed", "failed", "cancelled", "queued"]),
        ("--since 0m", []),
        ("--since 0m --state failed --last 3", []),
        ("old --state failed", ["old"]),
        ("old --since 1d", []),
    ],
)
def test_only_what_is_asked_for_is_shown(place, record, options, expected):
    silent(place, "old", 2)
    if "0m" in options:
        record._database.execute("UPDATE batches SET accepted = accepted - 1")
    assert sessions(place, *options.split()) == expected


def test_a_clock_that_was_set_back_hides_nothing_that_was_asked_for(place, record):
    for name, age in (("a", 1), ("b", 5), ("c", 1), ("d", 5)):
        over(record, name)
        record._database.execute("UPDATE batches SET accepted = accepted - ? WHERE session = ?", (age * DAY, name))
    assert sessions(place, "--since", "2d") == ["a", "c"]
    assert sessions(place, "--since", "2d", "--last", "1") == ["c"]


@pytest.mark.parametrize(
    ("text", "age"),
    [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("7d", timedelta(days=7))],
)
def test_since_takes_a_duration(place, record, text, age):
    for name, seconds in (("before", -30), ("after", 30)):
        over(record, name)
        at = time.time() - age.total_seconds() + seconds
        record._database.execute("UPDATE batches SET accepted = ? WHERE session = ?", (at, name))
    assert sessions(place, "--since", text) == ["after"]


@pytest.mark.parametrize("text", ["2026-11-24", "2026-11-24 18:38", "today", "yesterday"])
def test_since_takes_a_day_and_a_time_of_this_machines_time_zone(place, record, text, monkeypatch):
    now = datetime(2026, 11, 24, 20, 15)
    monkeypatch.setattr(time, "time", now.timestamp)
    at = {"2026-11-24 18:38": datetime(2026, 11, 24, 18, 38), "yesterday": datetime(2026, 11, 23)}.get(
        text, datetime(2026, 11, 24)
    )
    for name, seconds in (("before", -1), ("at", 0)):
        over(record, name)
        record._database.execute("UPDATE batches SET accepted = ? WHERE session = ?", (at.timestamp() + seconds, name))
    assert sessions(place, "--since", text) == ["at"]


@pytest.mark.parametrize(
    ("argv", "right"),
    [
        (("--since", "tomorrow"), "YYYY-MM-DD"),
        (("--since", "24.11.2026"), "YYYY-MM-DD"),
        (("--since", "2026-13-01"), "YYYY-MM-DD"),
        (("--since", "0001-01-01 25:00"), "YYYY-MM-DD"),
        (("--since", "9999-99"), "90m, 12h or 7d"),
        (("--since", "-5m"), "expected one argument"),
        (("--since", ""), "90m, 12h or 7d"),
        (("--since", "d"), "90m, 12h or 7d"),
        (("--since", "²d"), "90m, 12h or 7d"),
        (("--last", "-1"), "a number from 0"),
        (("--last", "many"), "a number from 0"),
        (("--state", "unknown"), "'interrupted'"),
        (("--last", "3", "--all"), "not allowed with"),
    ],
)
def test_what_must_be_corrected_is_a_2_that_says_what_is_right(place, argv, right):
    done = run_here("jobs", *argv, "--home", str(place.folder))
    assert (done.status, done.stdout) == (2, "")
    assert right in done.stderr.splitlines()[-1]


# Following


class Follower:
    """`headless jobs --follow` as a process, and its lines as they come."""

    def __init__(self, place: Home, *argv: str) -> None:
        command = [sys.executable, "-m", "headless", "jobs", *argv, "--follow", "--home", str(place.folder)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def states(self, count: int) -> list[list[str]]:
        """Session, job and state of so many lines."""
        return [self.line().split()[:3] for _ in range(count)]


def test_a_session_is_followed_with_its_output_until_it_is_over(place, record):
    record.accept(batch("s", jobs=2))
    record.begin("s")
    silent(place, "s", 2)
    write(place, "s", 1, "stdout", b"first\nhalf")
    with place.lock(), Follower(place, "s") as follower:
        assert follower.states(1) == [["s", "1", "running"]]
        assert follower.line() == "  1 stdout: first"
        assert follower.states(1) == [["s", "2", "queued"]]
        write(place, "s", 1, "stdout", b" a line\n")
        assert follower.line() == "  1 stdout: half a line"
        write(place, "s", 1, "stdout", b"last")
        record.finish("s", 1, end(OK))
        assert follower.states(1) == [["s", "1", "ok"]]
        assert follower.line() == "  1 stdout: last"
        assert follower.states(1) == [["s", "2", "running"]]
        write(place, "s", 2, "stderr", b"other\n")
        assert follower.line() == "  2 stderr: other"
        record.finish("s", 2, end(FAILED, "no"))
        rest, errors = follower.process.communicate(timeout=PATIENCE)
        assert (follower.process.returncode, errors) == (0, "")
    (line,) = rest.splitlines()
    assert line.split()[:3] == ["s", "2", "failed"]


def test_the_journal_is_followed_and_nothing_is_shown_twice(place, record):
    over(record, "a")
    record.accept(batch("b", jobs=2))
    with place.lock(), Follower(place) as follower:
        assert follower.states(3) == [["a", "1", "ok"], ["b", "1", "queued"], ["b", "2", "queued"]]
        record.begin("b")
        assert follower.states(1) == [["b", "1", "running"]]
        with record._database:
            record._database.execute("BEGIN")
            record.finish("b", 1, end(FAILED))
            over(record, "c", jobs=2)
            record.accept(batch("d"))
        assert follower.states(5) == [
            ["b", "1", "failed"], ["b", "2", "skipped"], ["c", "1", "ok"], ["c", "2", "ok"], ["d", "1", "queued"],
        ]  # fmt: skip
        over(record, "e")
        lines = follower.states(1)
        while lines[-1][2] != "ok":  # what it was before, if that was seen
            lines += follower.states(1)
        assert {line[0] for line in lines} == {"e"}


def test_what_happens_while_it_looks_is_shown_in_its_order(place, record, monkeypatch, capsys):
    record.accept(batch("a"))
    listing = Listing(place, record, Selection(), as_json=False)
    listing.show(None)
    look = record.unfinished_jobs

    def look_and_see_it_happen(selection):
        monkeypatch.setattr(record, "unfinished_jobs", look)
        found = look(selection)
        record.begin("a")
        over(record, "b")
        return found

    monkeypatch.setattr(record, "unfinished_jobs", look_and_see_it_happen)
    with place.lock():
        listing._show_changes()
        listing._show_changes()
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["a", "1", "queued"], ["a", "1", "running"], ["b", "1", "ok"]]


def test_only_what_is_asked_for_is_followed(place, record):
    record.accept(batch("older"))
    record.accept(batch("other"))
    with Follower(place, "--state", "failed", "--user", "R41", "--json", "--last", "1") as follower:
        over(record, "first", FAILED)
        assert json.loads(follower.line())["session"] == "first"  # from now on it follows
        record.begin("older")
        record.finish("older", 1, end(FAILED))
        assert json.loads(follower.line())["session"] == "older"
        over(record, "of another", FAILED, user="R42")
        over(record, "well")
        over(record, "last", FAILED)
        assert json.loads(follower.line())["session"] == "last"


def test_a_journal_that_was_pruned_empty_is_followed_on(place, record):
    over(record, "a")
    record.accept(batch("b"))
    with Follower(place) as follower:
        follower.states(2)
        record._database.executescript("BEGIN; DELETE FROM jobs; DELETE FROM batches; COMMIT")
        record.accept(batch("c"))
        assert follower.states(1) == [["c", "1", "queued"]]


def test_following_goes_on_after_the_database_was_locked(place, record, monkeypatch, capsys):
    record.accept(batch("s"))
    locked = sqlite3.OperationalError("database is locked")
    answers: Iterator[object] = iter([0, locked, 1, locked, 2])

    def version(_: Journal) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            record.finish("s", 1, end(OK))
            raise answer
        return answer

    monkeypatch.setattr(Journal, "version", version)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    listing = Listing(place, record, Selection("s"), as_json=False)
    listing.show(None)
    listing.follow()
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["queued", "ok"]


@pytest.mark.parametrize("session", ["", "s"])
def test_following_asks_for_one_number_while_nothing_happens(place, record, monkeypatch, session):
    over(record, "old")
    record.accept(batch("s"))
    record.begin("s")
    write(place, "s", 1, "stdout", b"half a line")
    asked: list[str] = []
    polls = iter(range(100))

    def sleep(_: float) -> None:
        if next(polls, None) is None:
            raise KeyboardInterrupt

    with closing(place.database()) as other:
        listing = Listing(place, Journal(other), Selection(session), as_json=False)
        listing.show(None)
        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(NewLines, "of", None)  # no output is read
        other.set_trace_callback(asked.append)
        with pytest.raises(KeyboardInterrupt):
            listing.follow()
    assert asked == ["PRAGMA data_version"] * 100


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_following_ends_by_ctrl_c_and_prints_nothing(place, record):
    over(record, "s")
    with Follower(place) as follower:
        follower.line()
        follower.process.send_signal(2)
        assert follower.process.communicate(timeout=PATIENCE) == ("", "")
        assert follower.process.returncode == -2


# Much output


def ended_job(place, record):
    """Where the output is of the one job of the session s, which is over."""
    over(record, "s")
    silent(place, "s")
    return place.output("s", 1, "stdout")


def test_a_long_line_of_output_is_shown_in_pieces(place, record, capsys):
    ended_job(place, record).write_bytes(b"x" * 100_000 + b"\r\n\nend")
    Listing(place, record, Selection("s"), as_json=False).show(None)
    shown = capsys.readouterr().out.splitlines()[1:]
    assert [line.removeprefix("  1 stdout: ") for line in shown] == ["x" * 65536, "x" * 34464, "", "end"]


def test_output_larger_than_what_is_read_at_a_time_is_the_same_in_json(place, record, capsys):
    text = "a" + '\U0001f642é"\\\r\n\0' * 30_000
    ended_job(place, record).write_bytes(text.encode() + b"\xff")
    Listing(place, record, Selection("s"), as_json=True).show(None)
    (line,) = capsys.readouterr().out.splitlines()
    entry = json.loads(line)
    assert entry["stdout"] == text + "�"
    assert entry["stderr"] == ""


def test_output_in_json_takes_no_memory_of_its_size(place, record, monkeypatch):
    with open(ended_job(place, record), "wb") as file:
        file.truncate(32 * 2**20)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        try:
            Listing(place, record, Selection("s"), as_json=True).show(None)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * 2**20  # 0.9 MiB
