"""A journal of a million jobs: what is asked of it is answered at once, and nothing takes memory of its size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing

import pytest

from headless.protocol.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.server.journal import Journal, KnownBatch, Selection
from headless.server.listing import Listing
from support.homes import R41, make_home
from support.in_process import run_here
from support.journals import Record, batch, end, over
from support.management import prints
from support.process import PATIENCE, ROOT

JOBS = 1_000_000
PER_BATCH = 4
FIRST = 1_700_000_000  # when the first batch was accepted; the others follow a second after each other
MIB = 2**20


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A million jobs of fifty users. A job of every thousandth batch has failed, and the last batch waits."""
    home = make_home(tmp_path_factory.mktemp("large") / "home")
    with closing(home.database()) as database, database:
        database.execute(
            "INSERT INTO batches (session, account, user, accepted, over, digest)"
            " WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
            " SELECT printf('%016x', (n * 40503) % 65536 * 4294967296 + n), n % 50 + 1,"
            " 'R' || (n % 50), ? + n, ? + n, x'00' FROM n",
            (JOBS // PER_BATCH, FIRST, FIRST + 10),
        )
        database.execute(
            "INSERT INTO jobs (session, job, kind, text, title, state, started, ended)"
            " WITH RECURSIVE j (job) AS (SELECT 1 UNION ALL SELECT job + 1 FROM j WHERE job < ?)"
            " SELECT session, job, 'module', '009ABC', '009ABC', iif(number % 1000 = 0 AND job = 4, 'failed', 'ok'),"
            " accepted, accepted + 1 FROM batches CROSS JOIN j ORDER BY number, job",
            (PER_BATCH,),
        )
        database.execute("UPDATE batches SET over = NULL WHERE number = ?", (JOBS // PER_BATCH,))
        database.execute("UPDATE jobs SET state = 'queued', started = NULL, ended = NULL WHERE rowid > ?", (JOBS - 4,))
    return home


@pytest.fixture
def record(home):
    with closing(home.database()) as database:
        yield Journal(database)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("", 20),
        ("--last 500", 500),
        ("--state failed", 20),
        ("--state failed --user R1", 0),
        ("--state failed --user R0 --last 7", 7),
        ("--state queued", 4),
        ("--state skipped", 0),
        ("--state ok --user R7", 20),
        ("--user R7", 20),
        ("--user nobody", 0),
        ("--since 2023-11-16 --last 20", 20),
        ("--since 2100-01-01", 0),
        ("--since 2100-01-01 --state failed", 0),
        ("--since 2023-11-16 --user R7 --last 20", 20),
    ],
)
def test_a_question_is_answered_at_once(home, options, count):
    seconds = []
    for _ in range(3):  # the quickest counts: another process may be busy
        start = time.perf_counter()
        assert len(prints("jobs", *options.split(), "--home", str(home.folder))) == count
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1  # 0.02 to 0.12


def test_one_session_and_the_figures_are_shown_at_once(home, record):
    (newest,) = record.entries(Selection(), 1)
    start = time.perf_counter()
    assert len(prints("jobs", newest.session, "--home", str(home.folder))) == 4
    done = run_here("status", "--since", "2023-01-01", "--home", str(home.folder))
    assert " queued=4 running=0 failed=249 " in done.stdout
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("selection", [Selection(), Selection(state="ok"), Selection(since=FIRST)], ids=str)
def test_the_last_page_of_a_list_is_read_as_quickly_as_the_first(record, selection):
    start = record.start(selection, 5)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        record.page(selection, start, 500)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.01  # 0.0001


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell how much memory a process needed")
@pytest.mark.parametrize("options", [(), ("--json",), ("--state", "ok"), ("--last", "900000")], ids=" ".join)
def test_the_whole_journal_is_shown_in_the_memory_that_one_job_needs(home, options):
    command = [sys.executable, "-m", "headless", "jobs", "--home", str(home.folder)]
    small = most_memory([*command, "--last", "1"], 1)[0]
    large, seconds = most_memory(
        [*command, "--all", *options] if "--last" not in options else [*command, *options], 50_000
    )
    assert large - small < 8 * MIB  # 2.5
    assert seconds < PATIENCE / 4  # until the first line: 0.2, with 900,000 0.8


def most_memory(command: list[str], line_count: int) -> tuple[int, float]:
    """What a process has needed that was left after so many lines, and after how many seconds the first one came."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        seconds = time.perf_counter() - start
        for _ in range(line_count - 1):
            assert process.stdout.readline()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), seconds


def test_all_jobs_are_shown_each_once_and_in_their_order(home, record, monkeypatch):
    shown = []
    monkeypatch.setattr(Listing, "_show_entry", lambda _, entry: shown.append(entry[:2]))
    Listing(home, record, Selection(since=FIRST + 200_000.5), as_json=True).show(None)
    assert len(shown) == 200_000
    rows = record._database.execute("SELECT session, job FROM jobs ORDER BY rowid DESC LIMIT 200000").fetchall()
    assert shown == rows[::-1]


def test_a_follower_keeps_nothing_of_what_is_over(home, record, monkeypatch):
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        listing = Listing(home, record, Selection(), as_json=False)
        tracemalloc.start()
        try:
            listing.show(30_000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(listing._unfinished) == 4
    assert peak < 2 * MIB  # 0.7


def test_who_reads_slowly_does_not_keep_the_database_from_being_tidied_up(home):
    command = [sys.executable, "-m", "headless", "jobs", "--all", "--json", "--home", str(home.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["job"] == 1
        time.sleep(0.5)  # by now it waits for this reader
        with closing(home.database()) as database:
            Journal(database).set_fact("test", "written")
            database.commit()
            assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        process.kill()


def steps_of(database, query, *arguments: str) -> int:
    """What a query takes, in steps of SQLite's virtual machine, whatever else the machine does."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 10

    database.set_progress_handler(count, 10)
    query(*arguments)
    database.set_progress_handler(None, 0)
    return steps


def test_what_an_earlier_server_has_left_is_found_without_looking_at_each_job(tmp_path):
    """Nor is a session: a server that has to take up thousands of large batches starts at once."""
    with closing(make_home(tmp_path / "home").database()) as database:
        record, taken = Journal(database), []
        for jobs in (1, 10_000):
            session = f"s{jobs}"
            record.accept(batch(session, jobs=jobs))
            assert [each.job_count for each in record.unfinished()] == [jobs]
            taken.append(steps_of(database, record.unfinished) + steps_of(database, record.known, session))
            record.withdraw(session)
    assert taken[1] < taken[0] + 100  # 130 and 130; 230,000 if it looked at each


def test_the_job_that_tells_of_its_batch_is_the_first_that_has_not_ended_well_or_the_last(tmp_path):
    with closing(make_home(tmp_path / "home", R41).database()) as database:
        record = Record(database)
        over(record, "well", jobs=3)
        over(record, "badly", FAILED, jobs=2)
        record.accept(batch("waits", jobs=3))
        record.accept(batch("runs", jobs=3))
        record.begin("runs")
        record.finish("runs", 1, end(OK))
        assert [record.known(session) for session in ("well", "badly", "waits", "runs", "none")] == [
            KnownBatch("well", 1, "R41", True, 3, 3, OK, "", True),
            KnownBatch("badly", 1, "R41", True, 2, 2, FAILED, "", True),
            KnownBatch("waits", 1, "R41", False, 3, 1, QUEUED, "", False),
            KnownBatch("runs", 1, "R41", False, 3, 2, RUNNING, "", True),
            None,
        ]
        assert [(each.session, each.running) for each in record.unfinished()] == [("waits", 0), ("runs", 2)]
