"""A journal of very many jobs: what is asked of it is answered at once, and nothing takes memory of its size.

Time is counted in steps of SQLite's virtual machine, which are the same on every machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest

from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.server import listing as listing_module
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from headless.server.listing import Listing
from support.command_here import headless
from support.homes import R41, make_home, prints
from support.journals import FIRST, PER_SESSION, Record, end, fill, new_session, over
from support.process import ROOT

pytestmark = pytest.mark.slow


JOBS = 8_000  # enough to see what looks at each
MILLION = 1_000_000
KIB = 2**10


def large_home(tmp_path_factory, jobs: int) -> Home:
    home = make_home(tmp_path_factory.mktemp("large") / "home")
    fill(home, jobs)
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return large_home(tmp_path_factory, JOBS)


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    return large_home(tmp_path_factory, MILLION)


@pytest.fixture
def record(home):
    with closing(home.database()) as database:
        yield Journal(database)


class Steps:
    """Counts steps of SQLite's virtual machine."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self, database) -> None:
        database.set_progress_handler(self._step, 10)

    def _step(self) -> None:
        self.count += 10


@pytest.fixture
def steps(monkeypatch):
    """The steps of all databases that are opened."""
    steps, open_database = Steps(), Home.database

    def opened(home):
        database = open_database(home)
        steps.watch(database)
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
        assert len(prints("jobs", *options.split(), "--home", str(home.folder))) == count, options
        assert steps.count <= 100 * count + 2000 + JOBS * each, options  # 40 for each that is shown, and at most 900


def test_one_session_and_the_figures_are_shown_without_looking_at_each_job(home, record, steps):
    (newest,) = record.entries(Selection(), 1)
    assert len(prints("jobs", newest.session_id, "--home", str(home.folder))) == 4
    done = headless("status", "--since", "2023-01-01", "--home", str(home.folder))
    assert f" queued=4 running=0 failed={JOBS // PER_SESSION // 100 - 1} " in done.stdout
    assert steps.count < 2000


def steps_of(database, query, *arguments) -> int:
    """Returns the steps of a query."""
    steps = Steps()
    steps.watch(database)
    query(*arguments)
    database.set_progress_handler(None, 0)
    return steps.count


@pytest.mark.version("sqlite3 plans its queries")
def test_what_a_server_asks_is_answered_without_looking_at_each_session(record):
    (newest,) = record.entries(Selection(), 1)
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
        assert steps_of(record._database, query, *arguments) < 4000, query  # 3000 to list 20


def test_the_last_page_of_a_list_is_read_as_quickly_as_the_first(record):
    for selection in (Selection(), Selection(state="ok"), Selection(since=FIRST)):
        start = record.start(selection, 5)
        assert steps_of(record._database, record.page, selection, start, 500) < 1000, selection  # 250


@contextmanager
def written_nowhere(monkeypatch) -> Iterator[None]:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", nowhere)
        yield


def most_memory_here(home, record, selection: Selection, as_json: bool, last: int | None) -> int:
    """Returns how many bytes a listing has needed at a time."""
    listing = Listing(home, record, selection, as_json)
    tracemalloc.start()
    try:
        listing.show(last)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_listing_keeps_nothing_of_what_it_has_shown(home, record, monkeypatch):
    monkeypatch.setattr(listing_module, "_PAGE_LENGTH", 50)
    since = FIRST + (JOBS - 600) // PER_SESSION
    with written_nowhere(monkeypatch):
        for selection, as_json, last in [
            (Selection(since=since), False, None),
            (Selection(since=since), True, None),
            (Selection(since=since, state="ok"), False, None),
            (Selection(), False, 600),
        ]:
            assert most_memory_here(home, record, selection, as_json, last) < 250 * KIB, selection  # 350 if it kept all


def test_all_jobs_are_shown_each_once_and_in_their_order(home, record, capsys):
    Listing(home, record, Selection(since=FIRST + 600.5), as_json=True).show(None)
    entries = map(json.loads, capsys.readouterr().out.splitlines())
    shown = [(entry["session"], entry["job"]) for entry in entries]
    assert len(shown) == JOBS - 600 * PER_SESSION
    rows = record._database.execute("SELECT session_id, job FROM jobs ORDER BY rowid DESC LIMIT ?", (len(shown),))
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


def test_what_an_earlier_server_has_left_is_found_without_looking_at_each_job(tmp_path):
    """A server that has to resume thousands of large sessions starts at once."""
    with closing(make_home(tmp_path / "home").database()) as database:
        record, taken = Journal(database), []
        for jobs in (1, 10_000):
            session = f"s{jobs}"
            record.accept(new_session(session, jobs=jobs))
            assert [each.job_count for each in record.unfinished()] == [jobs]
            taken.append(steps_of(database, record.unfinished) + steps_of(database, record.session, session))
            record.withdraw(session)
    assert taken[1] < taken[0] + 100  # 130 and 130; 230,000 if it looked at each


@pytest.mark.large
@pytest.mark.timeout(600)  # to make a million jobs takes ten seconds of a processor that is not busy
@pytest.mark.parametrize("options", [options for options, _, _ in QUESTIONS])
def test_of_a_million_jobs_a_question_is_answered_at_once(million, options):
    seconds = []
    for _ in range(3):
        start = time.process_time()
        prints("jobs", *options.split(), "--home", str(million.folder))
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1  # of the processor: 0.02 to 0.12


@pytest.mark.large
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.name == "nt", reason="Windows does not say how much memory a process needed")
@pytest.mark.parametrize("options", [(), ("--json",), ("--state", "ok"), ("--last", "900000")], ids=" ".join)
def test_a_million_jobs_are_shown_in_the_memory_that_one_job_needs(million, options):
    command = [sys.executable, "-m", "headless", "jobs", "--home", str(million.folder)]
    asked = [*command, *options] if "--last" in options else [*command, "--all", *options]
    one_job, _ = needed([*command, "--last", "1"], 1)
    many_jobs, _ = needed(asked, 50_000)
    assert many_jobs - one_job < 8 * KIB * KIB  # 2.5
    _, until_the_first_line = needed(asked, 1)
    assert until_the_first_line < 3  # of the processor: 0.2, with 900,000 0.8


def needed(command: list[str], line_count: int) -> tuple[int, float]:
    """Returns the bytes and the seconds of the processor that a process has needed for so many lines."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(line_count):
            assert process.stdout.readline()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), usage.ru_utime + usage.ru_stime


def test_the_job_at_hand_of_a_session_is_the_first_that_has_not_ended_well_or_the_last(tmp_path):
    with closing(make_home(tmp_path / "home", R41).database()) as database:
        record = Record(database)
        over(record, "well", jobs=3)
        over(record, "badly", FAILED, jobs=2)
        record.accept(new_session("waits", jobs=3))
        record.accept(new_session("runs", jobs=3))
        record.begin("runs")
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
