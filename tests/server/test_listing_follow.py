"""`headless jobs --follow`: what happens is shown as it comes, once, in its order, and the disk is left alone while
nothing happens. Which jobs are shown is in test_listing.py."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace

import pytest

from headless.cli import tools_main as main
from headless.dialects.vocabulary import FAILED, OK
from headless.server import listing
from headless.server.accounts import Account
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.listing import Listing
from headless.server.output import NewLines
from support.fork_server import start
from support.homes import R41, make_home
from support.journals import Record, end, new_session, over, silent, write
from support.process import PATIENCE, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    return make_home(tmp_path / "home", R41, Account("R42", "jdoe", None))


class Follower:
    """`headless jobs --follow` in a thread, which looks often, and its lines as they come."""

    def __init__(self, place: Home, monkeypatch, *argv: str) -> None:
        reading, writing = os.pipe()
        self._stdout = os.fdopen(reading, encoding="utf-8")
        self._has_to_end = False
        monkeypatch.setattr(
            sys, "stdout", os.fdopen(writing, "w", encoding="utf-8")
        )  # what is not flushed is not there
        monkeypatch.setattr(listing, "time", SimpleNamespace(sleep=self._pause, time=time.time))
        self._thread = threading.Thread(target=self._run, args=["jobs", *argv, "--follow", "--home", str(place.folder)])
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
        return self._stdout.readline().rstrip("\n")

    def states(self, count: int) -> list[list[str]]:
        """Session, job and state of so many lines."""
        return [self.line().split()[:3] for _ in range(count)]

    def rest(self) -> tuple[str, int]:
        """What is still shown, and the exit status."""
        rest = self._stdout.read()
        self._thread.join(PATIENCE)
        return rest, self._status


@contextmanager
def at_once(record: Record) -> Iterator[None]:
    """One change, as the server makes them."""
    with record._database:
        record._database.execute("BEGIN")
        yield


@pytest.fixture
def follower_of(monkeypatch):
    return lambda place, *argv: Follower(place, monkeypatch, *argv)


def test_a_session_is_followed_with_its_output_until_it_is_over(place, record, follower_of):
    record.accept(new_session("s", jobs=2))
    record.begin("s")
    silent(place, "s", 2)
    write(place, "s", 1, "stdout", b"first\nhalf")
    with place.lock(), follower_of(place, "s") as follower:
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
        assert follower.states(1) == [["s", "2", "failed"]]
        assert follower.rest() == ("", 0)


def test_the_journal_is_followed_and_nothing_is_shown_twice(place, record, follower_of):
    over(record, "a")
    record.accept(new_session("b", jobs=2))
    with place.lock(), follower_of(place) as follower:
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


def test_what_happens_while_it_looks_is_shown_in_its_order(place, record, monkeypatch, capsys):
    record.accept(new_session("a"))
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


def test_only_what_is_asked_for_is_followed(place, record, follower_of):
    record.accept(new_session("older"))
    record.accept(new_session("other"))
    with follower_of(place, "--state", "failed", "--user", "R41", "--json", "--last", "1") as follower:
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


def test_a_journal_that_was_pruned_empty_is_followed_on(place, record, follower_of):
    over(record, "a")
    record.accept(new_session("b"))
    with follower_of(place) as follower:
        follower.states(2)
        with at_once(record):
            record._database.execute("DELETE FROM jobs")
            record._database.execute("DELETE FROM sessions")
        with at_once(record):
            record.accept(new_session("c"))
        assert follower.states(1) == [["c", "1", "queued"]]


def test_following_goes_on_after_the_database_was_locked(place, record, monkeypatch, capsys):
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
    listing = Listing(place, record, Selection("s"), as_json=False)
    listing.show(None)
    listing.follow()
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["queued", "ok"]


@pytest.mark.parametrize("session", ["", "s"])
def test_following_asks_for_one_number_while_nothing_happens(place, record, monkeypatch, session):
    over(record, "old")
    record.accept(new_session("s"))
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
    command = ["-m", "headless", "jobs", "--follow", "--home", str(place.folder)]
    with start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "s"
        process.send_signal(2)
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == -2
