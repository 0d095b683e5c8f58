"""`headless jobs`: which jobs it shows, and what --follow shows as it comes."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from headless.cli import tools_main as main
from headless.dialects.vocabulary import FAILED, OK
from headless.server import listing
from headless.server.accounts import Account
from headless.server.home import Home
from headless.server.journal import CANCELLED, Journal, Selection
from headless.server.listing import Listing
from headless.server.output import NewLines
from support.command_here import headless
from support.fork_server import start
from support.homes import HEAD, R41, make_home, prints_jobs
from support.journals import Record, end, new_session, over, running, silent, write
from support.process import PATIENCE, ROOT

pytestmark = pytest.mark.slow


DAY = 86400.0


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home", R41, Account("R42", "jdoe", None))


# Which jobs


def jobs(home, *options: str) -> list[str]:
    """Returns session/job of each line."""
    lines = prints_jobs("--home", str(home.folder), *options)
    return ["/".join(line.split()[:2]) for line in lines if not line.startswith(" ")]


def sessions(home, *options: str) -> list[str]:
    return [job.split("/")[0] for job in jobs(home, *options)]


def test_the_last_20_jobs_are_shown_unless_others_are_asked_for(home, record):
    for number in range(1, 31):
        over(record, f"s{number}")
    names = [f"s{number}" for number in range(1, 31)]
    assert sessions(home) == names[10:]
    assert sessions(home, "--last", "3") == names[27:]
    assert sessions(home, "--last", "29") == names[1:]
    for options in (("--last", "0"), ("--all",), ("--last", "30"), ("--last", "1000"), ("--since", "1h")):
        assert sessions(home, *options) == names
    assert sessions(home, "--since", "1h", "--last", "2") == names[28:]


def test_the_newest_job_is_last_and_a_session_that_is_asked_for_is_shown_whole(home, record):
    over(record, "b", FAILED, jobs=25)
    over(record, "a")
    record.accept(new_session("c", jobs=2))
    silent(home, "b", 25)
    assert jobs(home, "--last", "5") == ["b/24", "b/25", "a/1", "c/1", "c/2"]
    assert jobs(home, "b") == [f"b/{number}" for number in range(1, 26)]
    assert jobs(home, "b", "--last", "2") == ["b/24", "b/25"]


@pytest.fixture
def mixed(record):
    """One session for each state and user, and the oldest a week old."""
    over(record, "old", FAILED, jobs=2)
    record.make_older("accepted", 7 * DAY)
    over(record, "ok")
    over(record, "failed", FAILED, user="R42", jobs=2)
    over(record, "cancelled", CANCELLED)
    record.accept(new_session("queued", "R42"))
    record.make_older("accepted", 120)


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
    "--since 1m": [],
    "--since 1m --state failed --last 3": [],
    "old --state failed": ["old"],
    "old --since 1d": [],
}


@pytest.mark.usefixtures("mixed")
def test_only_what_is_asked_for_is_shown(home):
    silent(home, "old", 2)
    assert {options: sessions(home, *options.split()) for options in SHOWN} == SHOWN


def test_a_clock_that_was_set_back_hides_nothing_that_was_asked_for(home, record):
    for name, age in (("a", 1), ("b", 5), ("c", 1), ("d", 5)):
        over(record, name)
        record.make_older("accepted", age * DAY, name)
    assert sessions(home, "--since", "2d") == ["a", "c"]
    assert sessions(home, "--since", "2d", "--last", "1") == ["c"]


NOW = datetime(2026, 11, 24, 20, 15)


SINCE = {
    "90m": NOW - timedelta(minutes=90),
    "12h": NOW - timedelta(hours=12),
    "7d": NOW - timedelta(days=7),
    "2026-11-24": datetime(2026, 11, 24),
    "2026-11-24 18:38": datetime(2026, 11, 24, 18, 38),
    "today": datetime(2026, 11, 24),
    "yesterday": datetime(2026, 11, 23),
}


def test_since_takes_a_duration_and_a_day_and_a_time_of_this_machines_time_zone(home, record, monkeypatch):
    monkeypatch.setattr(time, "time", NOW.timestamp)
    for name in ("before", "at"):
        over(record, name)
    for text, begin in SINCE.items():
        for name, seconds in (("before", -1), ("at", 0)):
            accepted = begin.timestamp() + seconds
            record.execute("UPDATE sessions SET accepted = ? WHERE session_id = ?", accepted, name)
        assert sessions(home, "--since", text) == ["at"], text


WRONG = {
    "--since tomorrow": "YYYY-MM-DD",
    "--since 24.11.2026": "YYYY-MM-DD",
    "--since 2026-13-01": "YYYY-MM-DD",
    "--since '0001-01-01 25:00'": "YYYY-MM-DD",
    "--since 9999-99": "90m, 12h or 7d",
    "--since -5m": "expected one argument",
    "--since ''": "90m, 12h or 7d",
    "--since d": "90m, 12h or 7d",
    "--since ²d": "90m, 12h or 7d",
    "--last -1": "a number from 0",
    "--last many": "a number from 0",
    "--state unknown": "'interrupted'",
    "--last 3 --all": "not allowed with",
}


@pytest.mark.version("how argparse words it")
def test_what_must_be_corrected_is_a_2_that_says_what_is_right(home):
    for options, right in WRONG.items():
        done = headless("jobs", *shlex.split(options), "--home", str(home.folder))
        assert (done.returncode, done.stdout) == (2, ""), options
        assert right in done.stderr.splitlines()[-1], options


# Following


class Follower:
    """`headless jobs --follow` in a thread, which looks often."""

    def __init__(self, home: Home, monkeypatch, *argv: str) -> None:
        read_end, write_end = os.pipe()
        self._stdout = os.fdopen(read_end, encoding="utf-8")
        self._has_to_end = self._has_head = False
        monkeypatch.setattr(sys, "stdout", os.fdopen(write_end, "w", encoding="utf-8"))
        monkeypatch.setattr(listing, "time", SimpleNamespace(sleep=self._pause, time=time.time))
        self._thread = threading.Thread(target=self._run, args=["jobs", *argv, "--follow", "--home", str(home.folder)])
        self._thread.start()

    def _run(self, *argv: str) -> None:
        with closing(sys.stdout), suppress(KeyboardInterrupt):
            self._status = main(argv)

    def _pause(self, _seconds: float) -> None:
        if self._has_to_end:
            raise KeyboardInterrupt
        time.sleep(0.005)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._has_to_end = True
        self._thread.join(PATIENCE)
        self._stdout.close()

    def line(self) -> str:
        line = self._stdout.readline().rstrip("\n")
        if self._has_head or line.startswith("{"):
            return line
        self._has_head = True
        assert line.split() == HEAD.split()
        return self.line()

    def states(self, count: int) -> list[list[str]]:
        """Returns session, job and state of so many lines."""
        return [self.line().split()[:3] for _ in range(count)]

    def rest(self) -> tuple[str, int]:
        """Returns what is still shown, and the exit status."""
        rest = self._stdout.read()
        self._thread.join(PATIENCE)
        return rest, self._status


@contextmanager
def at_once(record: Record) -> Iterator[None]:
    """Makes one change of several."""
    record.execute("BEGIN")
    yield
    record.execute("COMMIT")


def follow(listing: Listing, monkeypatch, looks: int) -> None:
    """Lets it look so many times."""
    left = iter(range(looks))

    def sleep(_: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        listing.follow()


@pytest.fixture
def follower_of(monkeypatch):
    return lambda home, *argv: Follower(home, monkeypatch, *argv)


def test_a_session_is_followed_with_its_output_until_it_is_over(home, record, follower_of):
    running(record, jobs=2)
    silent(home, "s", 2)
    write(home, "s", 1, "stdout", b"first\nhalf")
    with home.lock(), follower_of(home, "s") as follower:
        assert follower.states(1) == [["s", "1", "running"]]
        assert follower.line() == "  1 stdout: first"
        assert follower.states(1) == [["s", "2", "queued"]]
        write(home, "s", 1, "stdout", b" a line\n")
        assert follower.line() == "  1 stdout: half a line"
        write(home, "s", 1, "stdout", b"last")
        record.finish("s", 1, end(OK))
        assert follower.states(1) == [["s", "1", "ok"]]
        assert follower.line() == "  1 stdout: last"
        assert follower.states(1) == [["s", "2", "running"]]
        write(home, "s", 2, "stderr", b"other\n")
        assert follower.line() == "  2 stderr: other"
        record.finish("s", 2, end(FAILED, "no"))
        assert follower.states(1) == [["s", "2", "failed"]]
        assert follower.rest() == ("", 0)


def test_the_journal_is_followed_and_nothing_is_shown_twice(home, record, follower_of):
    over(record, "a")
    record.accept(new_session("b", jobs=2))
    with home.lock(), follower_of(home) as follower:
        assert follower.states(3) == [["a", "1", "ok"], ["b", "1", "queued"], ["b", "2", "queued"]]
        record.begin("b")
        assert follower.states(1) == [["b", "1", "running"]]
        with at_once(record):
            record.finish("b", 1, end(FAILED))
            over(record, "c", jobs=2)
            record.accept(new_session("d"))
        assert follower.states(5) == [
            ["b", "1", "failed"], ["b", "2", "skipped"], ["c", "1", "ok"], ["c", "2", "ok"], ["d", "1", "queued"],
        ]  # fmt: skip
        with at_once(record):
            over(record, "e")
        assert follower.states(1) == [["e", "1", "ok"]]


def test_what_happens_while_it_looks_is_shown_in_its_order(home, record, monkeypatch, capsys):
    record.accept(new_session("a"))

    def look_and_see_it_happen(selection):
        monkeypatch.setattr(journal, "unfinished_jobs", look)
        found = look(selection)
        record.begin("a")
        over(record, "b")
        return found

    with home.lock(), closing(home.database()) as database:
        journal = Journal(database)
        look = journal.unfinished_jobs
        listing = Listing(home, journal, Selection(), as_json=False)
        listing.show(None)
        monkeypatch.setattr(journal, "unfinished_jobs", look_and_see_it_happen)
        record.set_fact("changed", "")
        follow(listing, monkeypatch, 3)
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [["a", "1", "queued"], ["a", "1", "running"], ["b", "1", "ok"]]


def test_only_what_is_asked_for_is_followed(home, record, follower_of):
    record.accept(new_session("older"))
    record.accept(new_session("other"))
    with follower_of(home, "--state", "failed", "--user", "R41", "--json", "--last", "1") as follower:
        with at_once(record):
            over(record, "first", FAILED)
        assert json.loads(follower.line())["session"] == "first"  # from now on it follows
        with at_once(record):
            record.begin("older")
            record.finish("older", 1, end(FAILED))
        assert json.loads(follower.line())["session"] == "older"
        with at_once(record):
            over(record, "of another", FAILED, user="R42")
            over(record, "well")
            over(record, "last", FAILED)
        assert json.loads(follower.line())["session"] == "last"


def test_a_journal_that_was_pruned_empty_is_followed_on(home, record, follower_of):
    over(record, "a")
    record.accept(new_session("b"))
    with follower_of(home) as follower:
        follower.states(2)
        with at_once(record):
            record.execute("DELETE FROM jobs")
            record.execute("DELETE FROM sessions")
        with at_once(record):
            record.accept(new_session("c"))
        assert follower.states(1) == [["c", "1", "queued"]]


def test_following_goes_on_after_the_database_was_locked(home, record, monkeypatch, capsys):
    record.accept(new_session("s"))
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
    listing = Listing(home, record, Selection("s"), as_json=False)
    listing.show(None)
    listing.follow()
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["state", "queued", "ok"]


@pytest.mark.parametrize("session", ["", "s"])
def test_following_asks_for_one_number_while_nothing_happens(home, record, monkeypatch, session):
    over(record, "old")
    running(record)
    write(home, "s", 1, "stdout", b"half a line")
    asked: list[str] = []
    with closing(home.database()) as other:
        listing = Listing(home, Journal(other), Selection(session), as_json=False)
        listing.show(None)
        monkeypatch.setattr(NewLines, "of", None)  # no output is read
        other.set_trace_callback(asked.append)
        follow(listing, monkeypatch, 100)
    assert asked == ["PRAGMA data_version"] * 100


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_following_ends_by_ctrl_c_and_prints_nothing(home, record):
    over(record, "s")
    command = ["-m", "headless", "jobs", "--follow", "--home", str(home.folder)]
    with start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().split()[0] for _ in range(2)] == ["session", "s"]
        process.send_signal(2)
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == -2
