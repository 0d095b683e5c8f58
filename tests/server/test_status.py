"""What monitoring and an administrator's hand need: `status`, `jobs cancel`, and whether a server runs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest

from headless.dialects.vocabulary import FAILED, OK
from headless.server.home import Home
from headless.server.journal import BEGINNING, CANCELLED, INTERRUPTED, Cancellation, JobEnd, JobStart, Selection
from headless.server.processes import JobProcesses
from headless.server.server import Server
from headless.server.settings import Settings
from headless.system import try_lock
from support.command_here import Ended, headless
from support.homes import fails, prints
from support.journals import Record, end, new_session, over
from support.process import PATIENCE, current_user
from support.waiting import until, wait_until

pytestmark = pytest.mark.slow

HOUR = 3600.0


def status(home: Home, *options: str) -> Ended:
    done = headless("status", *options, "--home", str(home.folder))
    assert done.stderr == ""
    return done


def figures(home: Home, *options: str) -> dict[str, Any]:
    return json.loads(status(home, "--json", *options).stdout)


def leave_figures(record: Record, text: str = '{"sessions": 3, "dropped_log_lines": 7, "time": 1.0}') -> None:
    """What a server leaves in the journal."""
    record.set_fact("status", text)


# Figures


def test_the_figures_are_one_line_and_the_status_0_while_a_server_runs(place, record, monkeypatch):
    gib = 2**30
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(20 * gib, 0, int(12.34 * gib)))
    leave_figures(record)
    over(record, "a", FAILED)
    with place.lock():
        done = status(place)
    line = "server=up sessions=3 queued=0 running=0 failed=1 oldest_queued=- disk_free=12.3GiB log_dropped=7\n"
    assert (done.returncode, done.stdout) == (0, line)


def test_without_a_server_the_status_is_1_and_what_only_a_server_knows_is_not_shown(place, record):
    leave_figures(record)
    record.accept(new_session("a"))
    done = status(place)
    assert done.returncode == 1
    shown = dict(figure.split("=") for figure in done.stdout.split())
    assert (shown["server"], shown["sessions"], shown["queued"], shown["log_dropped"]) == ("down", "-", "1", "-")
    assert re.fullmatch(r"\d+\.\dGiB", shown["disk_free"])


def test_json_has_the_same_figures(place, record, monkeypatch):
    leave_figures(record)
    monkeypatch.setattr(JobProcesses, "running_pid", lambda *job: 4711 if job[-1] == 1 else None)
    for session in ("a", "b", "c", "d"):
        record.accept(new_session(session))
    record.begin("a")
    over(record, "e", INTERRUPTED)
    with place.lock():
        shown = figures(place)
    assert list(shown) == [
        "server", "sessions", "queued", "running", "failed", "since", "oldest_queued", "disk_free", "log_dropped",
    ]  # fmt: skip
    assert [shown[key] for key in list(shown)[:5]] == [True, 3, 3, 1, 1]
    assert shown["log_dropped"] == 7
    assert abs(datetime.fromisoformat(shown["since"]).timestamp() - (time.time() - 24 * HOUR)) < 60
    assert shown["disk_free"] > 0


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"sessions": "many"}', None])
def test_a_server_that_has_left_no_figures_yet_is_up(place, record, text):
    if text is not None:
        leave_figures(record, text)
    with place.lock():
        done = status(place)
    assert done.returncode == 0
    assert "server=up sessions=- " in done.stdout and done.stdout.endswith("log_dropped=-\n")


def test_the_figures_of_an_earlier_server_are_not_shown_while_the_next_one_begins(place, record, monkeypatch):
    leave_figures(record)

    async def recover() -> None:
        await until(lambda: figures(place)["sessions"] == 0)

    async def begin() -> None:
        server = Server(place, Settings(port=0))
        await server.open()
        monkeypatch.setattr(server._queue, "recover", recover)
        await server.begin()
        stop_at_once = asyncio.Event()
        stop_at_once.set()
        await server.stop(stop_at_once)

    with place.lock():
        asyncio.run(begin())


def test_what_waits_longest_is_shown_with_its_age(place, record):
    for session, age in (("a", 50), ("b", 90), ("c", 1000)):
        record.accept(new_session(session, jobs=2))
        record._database.execute("UPDATE sessions SET accepted = accepted - ? WHERE session_id = ?", (age, session))
    record.begin("c")  # its second job waits for the first one alone
    assert 90 <= figures(place)["oldest_queued"] < 90 + PATIENCE
    assert re.search(r" oldest_queued=9\ds | oldest_queued=1\d\ds ", status(place).stdout)


def test_only_jobs_that_really_run_are_counted_as_running(place, record):
    record.accept(new_session("a"))
    record.begin("a")
    assert figures(place)["running"] == 0
    with place.lock():
        assert figures(place)["running"] == 1


@pytest.mark.parametrize(("since", "count"), [((), 2), (("--since", "30m"), 1), (("--since", "3d"), 3)])
def test_what_failed_counts_from_when_that_was_known(place, record, since, count):
    for session, age in (("a", 48 * HOUR), ("b", HOUR), ("c", 0)):
        over(record, session, FAILED)
        record._database.execute("UPDATE sessions SET over = over - ? WHERE session_id = ?", (age, session))
    assert figures(place, *since)["failed"] == count


def test_a_job_counts_as_failed_although_its_end_or_start_was_not_seen(place, record):
    record.accept(new_session("a"))
    record.begin("a")
    record._database.execute("UPDATE jobs SET started = started - ?", (48 * HOUR,))
    record.finish("a", 1, JobEnd(INTERRUPTED))
    record.accept(new_session("b", user="gone"))
    assert record.begin("b", 1, JobStart(lambda *_: "the account has been removed", set()))
    assert figures(place)["failed"] == 2


def test_a_home_that_is_none_is_a_1(tmp_path):
    fails("absent", "status", "--home", str(tmp_path / "absent"))


def test_what_must_be_corrected_is_a_2(place):
    done = headless("status", "--since", "soon", "--home", str(place.folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert "90m, 12h or 7d" in done.stderr.splitlines()[-1]


# Whether a server runs


def test_a_server_is_seen_as_long_as_it_holds_its_lock(place):
    assert not place.is_served  # there is no such file yet
    with place.lock():
        assert place.is_served
        assert place.is_served
    assert not place.is_served


def test_to_ask_makes_no_server_fail_that_starts_meanwhile(place):
    place.lock().close()
    stop = threading.Event()
    asked = []

    def ask() -> None:
        while not stop.is_set():
            asked.append(place.is_served)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            place.lock().close()  # raises HomeError after three seconds
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(asked) > 30


def test_those_who_ask_do_not_take_each_other_for_a_server(place):
    place.lock().close()
    with open(place.folder / "lock", "rb") as file:
        assert try_lock(file.fileno(), shared=True)
        assert not place.is_served


# Cancelling


def cancel(home: Home, *argv: str) -> str:
    """The one line that is printed."""
    (line,) = prints("jobs", "cancel", *argv, "--home", str(home.folder))
    return line


@pytest.fixture
def _looks_often(monkeypatch):
    monkeypatch.setattr("headless.server.commands.cancel._POLL_SECONDS", 0.01)


class Canceller:
    """A server that does nothing but handle the next request, by this function, and hold the lock meanwhile."""

    def __init__(self, home: Home, see_to) -> None:
        self._home = home
        self._see_to = see_to
        self._thread = threading.Thread(target=self._run)
        self.seen: list[Cancellation] = []

    def __enter__(self) -> Canceller:
        self._lock = self._home.lock()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._lock.close()

    def _run(self) -> None:
        with closing(self._home.database()) as database:
            record = Record(database)
            wait_until(record.cancellations)
            self.seen = record.cancellations()
            time.sleep(0.05)  # who asks for it has looked
            with database:
                self._see_to(record, self.seen[0])
                record.drop_cancellation(*self.seen[0][:2])


def end_running(record: Record, request: Cancellation) -> None:
    (running,) = record.entries(Selection(request.session_id, state="running"))
    record.finish(running.session_id, running.job, end(CANCELLED, f"cancelled by {request.requester}"))


@pytest.mark.usefixtures("_looks_often")
def test_a_session_is_cancelled_and_what_became_of_its_jobs_is_said(place, record):
    record.accept(new_session("a", jobs=5))
    record.begin("a")
    record.finish("a", 1, end(OK))
    with Canceller(place, end_running) as server:
        assert cancel(place, "a") == "cancelled: 2; ok: 1; skipped: 3-5"
    assert server.seen == [Cancellation("a", 0, current_user())]
    (entry,) = record.entries(Selection("a", state=CANCELLED))
    assert entry.message == f"cancelled by {current_user()}"


@pytest.mark.usefixtures("_looks_often")
def test_one_job_alone_is_cancelled(place, record):
    record.accept(new_session("a", jobs=2))
    record.begin("a")
    with Canceller(place, end_running) as server:
        assert cancel(place, "a", "1") == "cancelled: 1"
    assert server.seen == [Cancellation("a", 1, current_user())]


@pytest.mark.usefixtures("_looks_often")
def test_a_job_that_ends_meanwhile_had_ended(place, record):
    record.accept(new_session("a"))
    record.begin("a")
    with Canceller(place, lambda record, request: record.finish(request.session_id, 1, end(OK))):
        assert cancel(place, "a") == "had already ended: ok: 1"


@pytest.mark.usefixtures("_looks_often")
def test_a_request_that_the_server_drops_is_not_called_a_success(place, record):
    record.accept(new_session("a"))
    with Canceller(place, lambda *_: None):
        assert cancel(place, "a") == "not cancelled: queued: 1"


@pytest.mark.parametrize("job", [(), ("2",)])
def test_what_is_over_is_not_requested(place, record, job):
    over(record, "a", FAILED, jobs=2)
    assert cancel(place, "a", *job) == f"had already ended: failed: 2{'' if job else '; ok: 1'}"
    assert record.cancellations() == []


def test_without_a_server_it_is_requested_at_once_and_stays_so(place, record):
    record.accept(new_session("a", jobs=2))
    start = time.monotonic()
    assert cancel(place, "a", "2") == "requested: no server runs; it takes effect when one does"
    assert time.monotonic() - start < 5
    assert record.cancellations() == [Cancellation("a", 2, current_user())]


def test_a_server_that_does_not_answer_is_waited_for_ten_seconds(place, record, monkeypatch):
    now = time.monotonic()
    record.accept(new_session("a"))

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    start = now
    with place.lock():
        assert cancel(place, "a") == "requested: the server has not answered yet; queued: 1"
    assert 10 <= now - start < 10.5
    assert len(record.cancellations()) == 1


@pytest.mark.parametrize("argv", [("b",), ("a", "3")])
def test_what_is_not_in_the_journal_cannot_be_cancelled(place, record, argv):
    record.accept(new_session("a", jobs=2))
    fails(f"no session {argv[0]!r}", "jobs", "cancel", *argv, "--home", str(place.folder))
    assert record.cancellations() == []
    assert [entry.state for entry in record.page(Selection(), BEGINNING, 10)] == ["queued"] * 2


@pytest.mark.parametrize("argv", [(), ("a", "0"), ("a", "one"), ("a", "1", "2"), ("a", "--json")])
def test_a_cancellation_that_must_be_corrected_is_a_2(place, argv):
    done = headless("jobs", "cancel", *argv, "--home", str(place.folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert " error: " in done.stderr.splitlines()[-1]
