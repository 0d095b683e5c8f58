"""Which jobs `headless jobs` shows: the last ones, filters, following, much output; and its columns. What it
says of one job is in test_journal.py, how it follows in test_listing_follow.py, and how it does on a long journal in
test_large_journal.py."""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc
from datetime import datetime, timedelta

import pytest

from headless.dialects.vocabulary import FAILED, OK
from headless.server.accounts import Account
from headless.server.journal import CANCELLED, JobEnd, Selection
from headless.server.listing import Listing
from headless.server.processes import JobProcesses
from support.command_here import headless
from support.homes import R41, make_home
from support.journals import end, new_session, over, silent

pytestmark = pytest.mark.slow

DAY = 86400.0


@pytest.fixture
def place(tmp_path):
    return make_home(tmp_path / "home", R41, Account("R42", "jdoe", None))


def listed(place, *options: str) -> list[str]:
    done = headless("jobs", "--home", str(place.folder), *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def sessions(place, *options: str) -> list[str]:
    return [line.split()[0] for line in listed(place, *options)]


def test_columns_are_aligned(place, record):
    record.accept(new_session("a" * 16, "R41", 10))
    record.accept(new_session("b" * 16, "a much longer name\n", kind="module", text="009ABC"))
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
        record.accept(new_session(session))
        record.begin(session)
    record.finish("measured", 1, JobEnd(OK, "", now + 7, seconds, 0))
    record.finish("not", 1, JobEnd(OK, "", now + seconds, None, 0))
    assert all(f" {shown}  " in line for line in listed(place))


def test_what_runs_is_shown_with_what_it_has_taken_so_far_and_what_waits_without(place, record, monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(JobProcesses, "running_pid", lambda *_: 4711)
    record.accept(new_session("s", jobs=2))
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


def test_the_last_jobs_may_begin_in_the_middle_of_a_session(place, record):
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
    record._database.execute("UPDATE sessions SET accepted = accepted - ?", (7 * DAY,))
    over(record, "ok")
    over(record, "failed", FAILED, user="R42", jobs=2)
    over(record, "cancelled", CANCELLED)
    record.accept(new_session("queued", "R42"))


SHOWN = {
    "--state ok": ["old", "ok", "failed"],
    "--state ok --last 2": ["ok", "failed"],
    "--state failed": ["old", "failed"],
    "--state failed --last 1": ["failed"],
    "--state failed --user R41": ["old"],
    "--state ok --user R41": ["old", "ok"],
    "--state failed --since 1d": ["failed"],
    "--state running": [],
    "--state queued --user R42 --since 1d": ["queued"],
    "--user R42": ["failed", "failed", "queued"],
    "--user R42 --last 2": ["failed", "queued"],
    "--user R43": [],
    "--since 8d --last 3": ["failed", "cancelled", "queued"],
    "--since 6d": ["ok", "failed", "failed", "cancelled", "queued"],
    "old --state failed": ["old"],
    "old --since 1d": [],
}


@pytest.mark.usefixtures("mixed")
def test_only_what_is_asked_for_is_shown(place):
    silent(place, "old", 2)
    assert {options: sessions(place, *options.split()) for options in SHOWN} == SHOWN


@pytest.mark.usefixtures("mixed")
def test_what_came_before_is_not_shown(place, record):
    record._database.execute("UPDATE sessions SET accepted = accepted - 120")
    assert (
        sessions(place, "--since", "1m")
        == sessions(place, *["--since", "1m", "--state", "failed", "--last", "3"])
        == []
    )


def test_a_clock_that_was_set_back_hides_nothing_that_was_asked_for(place, record):
    for name, age in (("a", 1), ("b", 5), ("c", 1), ("d", 5)):
        over(record, name)
        record._database.execute("UPDATE sessions SET accepted = accepted - ? WHERE session_id = ?", (age * DAY, name))
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
        record._database.execute("UPDATE sessions SET accepted = ? WHERE session_id = ?", (at, name))
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
        record._database.execute(
            "UPDATE sessions SET accepted = ? WHERE session_id = ?", (at.timestamp() + seconds, name)
        )
    assert sessions(place, "--since", text) == ["at"]


WRONG = (
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
)


@pytest.mark.version("how argparse words it")
def test_what_must_be_corrected_is_a_2_that_says_what_is_right(place):
    for argv, right in WRONG:
        done = headless("jobs", *argv, "--home", str(place.folder))
        assert (done.returncode, done.stdout) == (2, ""), argv
        assert right in done.stderr.splitlines()[-1], argv


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
