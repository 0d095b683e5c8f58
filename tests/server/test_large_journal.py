"""A journal of very many jobs: what is asked of it is answered at once, and nothing takes memory of its size.

Time is counted in steps of SQLite's virtual machine, which are the same on every machine."""

from __future__ import annotations

import json
import sqlite3
import sys
import tracemalloc
from contextlib import closing
from types import SimpleNamespace

import pytest

from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.server import listing as listing_module
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.listing import Listing
from support.command_here import headless
from support.homes import R41, make_home, prints_jobs
from support.journals import FIRST, PER_SESSION, Record, end, fill, new_session, over, running

pytestmark = pytest.mark.slow


JOBS = 8_000  # enough to see what looks at each


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = make_home(tmp_path_factory.mktemp("large") / "home")
    fill(home, JOBS)
    return home


class Steps:
    """Counts steps of SQLite's virtual machine."""

    def __init__(self) -> None:
        self.count = 0

    def step(self) -> None:
        self.count += 10

    def of(self, query, *arguments) -> int:
        """Returns the steps of a query."""
        self.count = 0
        query(*arguments)
        return self.count


@pytest.fixture
def steps(monkeypatch):
    """The steps of all databases that are opened."""
    steps, open_database = Steps(), Home.database

    def opened(home: Home) -> sqlite3.Connection:
        database = open_database(home)
        database.set_progress_handler(steps.step, 10)
        return database

    monkeypatch.setattr(Home, "database", opened)
    return steps


# Options of the command, how many jobs it shows, and how many steps each job of the journal may cost.
QUESTIONS = [
    ("", 20, 0),
    ("--last 500", 500, 0),
    ("--state failed --last 15", 15, 0),
    ("--state failed --user R1", 0, 0),
    ("--state failed --user R0 --last 7", 7, 0),
    ("--state queued", 4, 0),
    ("--state skipped", 0, 10),
    ("--state ok", 20, 0),
    ("--state ok --user R7", 20, 0),
    ("--user R7", 20, 0),
    ("--user R99", 0, 0),
    ("--since 2023-11-14 --last 20", 20, 0),
    ("--since 2100-01-01", 0, 2),
    ("--since 2100-01-01 --state failed", 0, 2),
    ("--since 2023-11-14 --user R7 --last 20", 20, 0),
]


@pytest.mark.version("sqlite3 plans its queries")
def test_a_question_is_answered_without_looking_at_each_job(home, steps):
    for options, count, each in QUESTIONS:
        steps.count = 0
        assert len(prints_jobs(*options.split(), "--home", str(home.folder))) == count, options
        assert steps.count <= 100 * count + 2000 + JOBS * each, options  # 40 for each that is shown, and at most 900


def test_one_session_and_the_figures_are_shown_without_looking_at_each_job(home, steps, record):
    (newest,) = record.page(Selection(), record.start(Selection(), 1))
    steps.count = 0
    assert len(prints_jobs(newest.session_id, "--home", str(home.folder))) == 4
    done = headless("status", "--since", "2023-01-01", "--home", str(home.folder))
    assert f" queued=4 running=0 failed={JOBS // PER_SESSION // 100 - 1} " in done.stdout
    assert steps.count < 2000


@pytest.mark.version("sqlite3 plans its queries")
def test_what_a_server_asks_is_answered_without_looking_at_each_session(steps, record):
    (newest,) = record.page(Selection(), record.start(Selection(), 1))
    for query, *arguments in [
        (record.unfinished,),
        (record.prune, FIRST, 100),
        (record.sessions_of, 7, 20, 0, 200),
        (record.of_key, new_session("s")._replace(key="0" * 32)),
        (record.unfinished_like, new_session("s")),
        (record.unfinished_count, 7),
        (record.session, newest.session_id),
        (record.last_acceptance,),
        (record.has_session, newest.session_id),
    ]:
        assert steps.of(query, *arguments) < 4000, query  # 3000 to list 20
    for selection in (Selection(), Selection(state="ok"), Selection(since=FIRST)):
        last_page = record.start(selection, 5)
        assert steps.of(record.page, selection, last_page, 500) < 1000, selection  # 250


def test_a_listing_keeps_nothing_of_what_it_has_shown(home, record, monkeypatch):
    monkeypatch.setattr(listing_module, "_PAGE_LENGTH", 50)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=lambda _: None, flush=lambda: None))
    since = FIRST + (JOBS - 600) // PER_SESSION
    for selection, as_json, last in [
        (Selection(since=since), False, None),
        (Selection(since=since), True, None),
        (Selection(since=since, state="ok"), False, None),
        (Selection(), False, 600),
    ]:
        listing = Listing(home, record, selection, as_json)
        tracemalloc.start()
        listing.show(last)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 250 * 1024, selection  # 350 if it kept all


def test_all_jobs_are_shown_each_once_and_in_their_order(home, record, capsys):
    Listing(home, record, Selection(since=FIRST + 600.5), as_json=True).show(None)
    entries = map(json.loads, capsys.readouterr().out.splitlines())
    shown = [(entry["session"], entry["job"]) for entry in entries]
    assert len(shown) == JOBS - 600 * PER_SESSION
    rows = record.execute("SELECT session_id, job FROM jobs ORDER BY rowid DESC LIMIT ?", len(shown))
    assert shown == rows.fetchall()[::-1]


def test_who_reads_slowly_does_not_keep_the_database_from_being_tidied_up(home, record, monkeypatch):
    lines = 0

    def tidy_up(text: str) -> None:
        nonlocal lines
        for _ in range(text.count("\n")):
            lines += 1
            if lines % 300 == 0:
                with closing(home.database()) as database:
                    Journal(database).set_fact("test", f"written {lines}")
                    database.commit()
                    assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=tidy_up, flush=lambda: None))
    Listing(home, record, Selection(), as_json=True).show(600)
    assert lines == 600


def test_what_an_earlier_server_has_left_is_found_without_looking_at_each_job(tmp_path, steps):
    """A server that has to resume thousands of large sessions starts at once."""
    with closing(make_home(tmp_path / "home").database()) as database:
        record, taken = Record(database), []
        for jobs in (1, 10_000):
            record.accept(new_session("s", jobs=jobs))
            assert [each.job_count for each in record.unfinished()] == [jobs]
            taken.append(steps.of(record.unfinished) + steps.of(record.session, "s"))
            record.withdraw("s")
    assert taken[1] < taken[0] + 100  # 130 and 130; 230,000 if it looked at each


def test_the_job_at_hand_of_a_session_is_the_first_that_has_not_ended_well_or_the_last(tmp_path):
    with closing(make_home(tmp_path / "home", R41).database()) as database:
        record = Record(database)
        over(record, "well", jobs=3)
        over(record, "badly", FAILED, jobs=2)
        record.accept(new_session("waits", jobs=3))
        running(record, "runs", jobs=3)
        record.finish("runs", 1, end(OK))
        found = [record.session(session) for session in ("well", "badly", "waits", "runs", "none")]
        assert [
            each and (each.job_count, each.job, each.state, each.has_run(each.job), each.is_over) for each in found
        ] == [
            (3, 3, OK, True, True),
            (2, 2, FAILED, True, True),
            (3, 1, QUEUED, False, False),
            (3, 2, RUNNING, True, False),
            None,
        ]
        unfinished = [(each.id, each.job, each.state) for each in record.unfinished()]
        assert unfinished == [("waits", 1, QUEUED), ("runs", 2, RUNNING)]
