"""What servers leave about themselves: when they ran, which logins they refused, and where clients came from."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import pytest

from headless.server import history as history_module
from headless.server import server as server_module
from headless.server.accounts import Account, keys_from_hash
from headless.server.history import RefusedLogin, RefusedLogins, ServerRun, times_without_server
from headless.server.home import VERSION, open_database
from support.command_here import headless
from support.credentials import SALT, hash_of
from support.homes import R41, make_home
from support.job_server import QuickServer, journal
from support.journals import Record, over
from support.raw_client import connect, osuser_login, py_code, right_answer, run
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def quickly(monkeypatch):
    """What is recorded now and then is recorded at once."""
    monkeypatch.setattr(server_module, "_HISTORY_SECONDS", 0.02)
    monkeypatch.setattr(server_module, "_SEEN_SECONDS", 0.02)


def record_of(server):
    """A journal for one question: each is asked of what is on disk then."""
    return closing(open_database(server.home / "planta.sqlite"))


def servers(server):
    with record_of(server) as database:
        return Record(database).servers(0.0)


def refusals(server):
    with record_of(server) as database:
        return Record(database).refusals(0.0)


def lines(home, *options):
    done = headless("status", "--history", *options, "--home", str(home))
    assert done.stderr == ""
    return done.stdout.splitlines()


# When servers ran


@pytest.mark.usefixtures("quickly")
def test_a_server_records_its_start_that_it_is_there_and_its_stop(tmp_path):
    before = time.time()
    with ServerHere(tmp_path / "home") as server:
        wait_until(lambda: servers(server))
        (first,) = servers(server)
        wait_until(lambda: servers(server)[0].last_seen > first.last_seen)
        assert first.stopped is None
    (run_,) = servers(server)
    assert before <= run_.started == first.started < run_.stopped == run_.last_seen <= time.time()


def test_a_server_that_was_killed_has_no_stop_and_the_next_one_changes_nothing_of_it(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        run(server, py_code("1"))
        (running,) = servers(server)
        server.crash()
        server.start()
        run(server, py_code("1"))
        killed, second = servers(server)
        assert killed == running
        assert killed.last_seen <= second.started
        server.stop()
    shown = [json.loads(line) for line in lines(server.home, "--json")]
    assert [(each["event"], each["stopped"] is None) for each in shown] == [("server", True), ("server", False)]
    assert [line.rpartition("  ")[2] for line in lines(server.home)] == ["killed, or the machine failed", "stopped"]


def test_the_times_without_a_server_are_between_those_that_are_known():
    stopped, killed, last = ServerRun(10, 20, 20), ServerRun(30, 40, None), ServerRun(50, 60, None)
    for runs, since, until, is_served, expected in (
        ([], 0, 100, False, []),  # nothing is known
        ([stopped], 0, 100, False, [(20, 100)]),
        ([stopped, killed], 0, 100, True, [(20, 30)]),
        ([stopped, killed, last], 0, 100, True, [(20, 30), (40, 50)]),
        ([stopped, killed, last], 0, 100, False, [(20, 30), (40, 50), (60, 100)]),
        ([stopped, killed, last], 25, 45, True, [(25, 30), (40, 45)]),
        ([stopped, killed, last], 70, 100, False, [(70, 100)]),
        ([stopped, ServerRun(15, 40, 40), last], 0, 100, True, [(40, 50)]),  # a clock was set back
    ):
        assert times_without_server(runs, since, until, is_served) == expected


def test_of_the_servers_before_a_time_the_last_one_is_known(record):
    for _ in range(3):
        record.begin_server()
        record.end_server()
    first, second, third = record.servers(0.0)
    assert record.servers(third.started) == [second, third]
    assert record.servers(first.started) == [first, second, third]
    assert record.servers(time.time() + 1) == [third]


def test_only_so_many_servers_are_kept(record, monkeypatch):
    monkeypatch.setattr(history_module, "_SERVERS_MAX", 3)
    for _ in range(5):
        record.begin_server()
    assert len(record.servers(0.0)) == 3


# Refused logins


@pytest.mark.usefixtures("quickly")
def test_a_refused_login_is_recorded_with_user_address_and_reason(tmp_path):
    with ServerHere(tmp_path / "home") as server:
        for _ in range(2):
            with connect(server) as client:
                client.send(osuser_login(user="R99"))
                reason = client.expect_refusal("login")
        wait_until(lambda: sum(each.times for each in refusals(server)) == 2)
        (refused,) = refusals(server)
        assert refused[:3] == ("R99", "127.0.0.1", reason)
        assert 0 < time.time() - refused.last <= time.time() - refused.first < 60
        (line,) = [line for line in lines(server.home) if line.startswith("refused")]
        assert line.endswith(f"  2x  R99  127.0.0.1  {reason}")
        (shown,) = [each for each in map(json.loads, lines(server.home, "--json")) if each["event"] != "server"]
        assert (shown["user"], shown["times"], shown["reason"]) == ("R99", 2, reason)
        done = headless("status", "--home", str(server.home))
        assert done.stdout.endswith(" refused_logins=2\n")


def test_a_login_that_was_refused_just_before_the_server_stopped_is_recorded(tmp_path):
    with ServerHere(tmp_path / "home") as server, connect(server) as client:
        client.send(osuser_login(user="R99"))
        client.expect_refusal("login")
    assert [each.user for each in refusals(server)] == ["R99"]


def refused(user, reason="why", host="h", at=None, times=1):
    at = time.time() if at is None else at
    return RefusedLogin(user, host, reason, at, at, times)


def test_strangers_can_fill_neither_memory_nor_journal_and_push_out_no_refusal_of_an_account(record, monkeypatch):
    held = RefusedLogins()
    for number in range(10_000):
        held.add(f"{number}" * 1000, "h", "x" * 10_000)
    some = held.take()
    assert (len(some), sum(each.times for each in some)) == (101, 10_000)
    assert some[-1][:3] == ("", "", "more refused logins than are recorded one by one")
    assert max(len(text) for each in some for text in each[:3]) == 300
    assert held.take() == []
    monkeypatch.setattr(history_module, "_REFUSALS_MAX", 10)
    record.add_refusals([(refused("R41"), True)])
    for each in some:
        record.add_refusals([(each, False)])
    kept = record.refusals(0.0)
    assert len(kept) == 10
    assert "R41" in {each.user for each in kept}
    assert some[-1].reason in {each.reason for each in kept}  # the newest ones


def test_the_same_refusal_within_an_hour_is_one_row(record):
    now = time.time()
    for seconds_ago in (5000, 4000, 1000, 0):
        record.add_refusals([(refused("R41", at=now - seconds_ago, times=2), True)])
    record.add_refusals([(refused("R41", "another", at=now), True), (refused("R41", host="i", at=now), True)])
    found = [(each.reason, each.host, round(now - each.first), round(now - each.last), each.times)
             for each in record.refusals(0.0)]  # fmt: skip
    assert sorted(found) == [("another", "h", 0, 0, 1), ("why", "h", 1000, 0, 4), ("why", "h", 5000, 4000, 4),
                             ("why", "i", 0, 0, 1)]  # fmt: skip
    assert len(record.refusals(now - 2000)) == 3


def test_what_a_stranger_has_named_himself_moves_no_cursor(home, record):
    record.add_refusals([(refused("\x1b[2J\nR41", "no \u202e such"), False)])
    (line,) = lines(home.folder)
    assert line.endswith("  1x  \\x1b[2J\\nR41  h  no \\u202e such")


@pytest.mark.usefixtures("quickly")
def test_a_wrong_password_is_recorded_for_the_account(tmp_path):
    account = Account("R42", None, keys_from_hash(hash_of("another", SALT)))
    with ServerHere(tmp_path / "home", accounts=(account,)) as server:
        with connect(server) as client:
            client.send(right_answer(client, "R42"))
            reason = client.expect_refusal("login")
        wait_until(lambda: refusals(server))
        assert [each[:3] for each in refusals(server)] == [("R42", "127.0.0.1", reason)]
        with record_of(server) as database:
            assert Record(database).execute("SELECT has_account FROM refusals").fetchall() == [(1,)]


# Both are pruned


def test_what_is_old_is_pruned_but_for_the_newest_server(record):
    record.add_refusals([(refused("R41", at=1000.0), True), (refused("R42"), True)])
    for _ in range(2):
        record.begin_server()
        record.execute("UPDATE servers SET started = 1000, last_seen = 1000")
    record.prune_history(2000.0)
    assert [each.user for each in record.refusals(0.0)] == ["R42"]
    assert len(record.servers(0.0)) == 1


# The client's host


def test_a_session_has_the_address_of_its_client(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        run(server, py_code("1"))
        assert [entry["host"] for entry in journal(server)] == ["127.0.0.1"]


# A home of an earlier program


def without_history(path):
    """Makes the database one of a program that records none of this."""
    with closing(sqlite3.connect(path)) as database, database:
        for table in ("servers", "refusals"):
            database.execute(f"DROP TABLE {table}")
        database.execute("ALTER TABLE sessions DROP COLUMN host")


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="this SQLite drops no columns")
def test_a_home_of_an_earlier_program_is_used_and_that_program_can_use_it_again(tmp_path):
    home = make_home(tmp_path / "home", R41)
    path = home.folder / "planta.sqlite"
    with closing(home.database()) as database:
        database.isolation_level = None
        over(Record(database), "old")
    without_history(path)
    with QuickServer(home.folder) as server:
        run(server, py_code("1"))
        old, new = journal(server)
        assert (old["session"], old["host"], new["host"]) == ("old", None, "127.0.0.1")
        assert len(servers(server)) == 1
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,) == (1,)
        # What the earlier program writes names its columns.
        database.execute(
            "INSERT INTO sessions (session_id, account, user, job_count, accepted, key, digest)"
            " VALUES ('x', 1, 'R41', 1, 0, NULL, x'00')"
        )
