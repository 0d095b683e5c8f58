"""headless monitor --crontab: all calls in one check, and the metrics for Prometheus."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import closing
from datetime import datetime

import pytest

from support import journals, nights
from support.command_here import headless
from support.homes import R41, make_home
from support.journals import Record
from support.nights import DAY, call

HOUR = 3600.0
# Prometheus, "Exposition formats", section "Text-based format".
METRIC = re.compile(r'planta_headless_last_\w+\{(\w+="(?:[^"\\\n]|\\["\\n])*",?)+\} -?\d+(\.\d+)?')


@pytest.fixture
def now():
    return time.time()


@pytest.fixture
def monitor(tmp_path):
    """Runs the check of these calls and these lines of a crontab; returns its exit status and its text."""

    def run(calls, lines, *argv):
        receipts = nights.write(tmp_path / "receipts", calls)
        crontab = nights.crontab(tmp_path / "crontab", *lines)
        done = headless("monitor", "--crontab", str(crontab), "--receipts", str(receipts), *argv)
        assert (done.stderr, done.stdout.count("\n"), "|" in done.stdout) == ("", 1, False)
        return done.returncode, done.stdout

    return run


def daily(moment):
    here = datetime.fromtimestamp(moment)
    return f"{here.minute} {here.hour} * * *"


def test_all_calls_as_planned_are_0(monitor, now):
    calls = [call(now - 30 * HOUR, ["A"]), call(now - 6 * HOUR, ["A"]), call(now - HOUR, ["B"])]
    status, text = monitor(calls, [(daily(now - 6 * HOUR), "A"), ("0 * * * *", "B")])
    assert (status, text) == (0, "PLANTA OK: 2 of 2 calls are as planned\n")


def test_the_worst_counts_and_the_text_names_it_and_no_other(monitor, now):
    calls = [call(now - HOUR, [name], code=name == "C") for name in "ABC"]
    status, text = monitor(calls, [(daily(now - HOUR), name) for name in "ABC"])
    assert status == 2
    assert text.startswith("PLANTA CRITICAL: C failed ")
    assert text.endswith("; 2 of 3 calls are as planned\n")


@pytest.mark.parametrize(("hours", "status"), [(24.5, 0), (25.9, 0), (26.5, 2)])
def test_a_call_has_the_longest_gap_of_its_schedule_and_twice_its_median(monitor, now, hours, status):
    calls = [call(now - hours * HOUR - 3600, seconds=3600), call(now - hours * HOUR - DAY - 3600, seconds=3600)]
    assert monitor(calls, [(daily(now - hours * HOUR), "009ABC")])[0] == status


def test_each_line_has_its_own_time(monitor, now):
    calls = [call(now - 5 * HOUR, ["A"]), call(now - 5 * HOUR, ["B"])]
    status, text = monitor(calls, [(daily(now - 5 * HOUR), "A"), ("* * * * *", "B")])
    assert (status, "B has not ended within" in text, " A has" in text) == (2, True, False)


def test_a_call_that_was_not_due_since_the_receipts_begin_is_no_alarm(monitor, now):
    lines = [(daily(now - HOUR), "A"), (daily(now - 3 * HOUR), "B")]
    assert monitor([call(now - HOUR, ["A"])], lines)[0] == 0
    assert monitor([call(now - 4 * HOUR, ["A"])], lines)[0] == 2  # B was


def test_a_call_that_does_not_wait_is_a_1_and_one_that_was_killed_a_2(monitor, now):
    assert monitor([call(now - HOUR, proof="accepted")], [(daily(now - HOUR), "009ABC")])[0] == 1
    assert monitor([call(now - HOUR / 2, seconds=None)], [(daily(now - HOUR), "009ABC")])[0] == 2


def test_a_run_of_another_user_does_not_count(monitor, now):
    calls = [call(now - 25 * HOUR, ["A"]), call(now - HOUR, user="R42")]
    assert monitor(calls, [(daily(now - HOUR), "009ABC")])[0] == 2


def test_what_cannot_be_found_out_is_unknown(monitor, now, tmp_path):
    status, text = monitor([], [(daily(now), "A")])
    assert (status, "nothing is known of a call on this machine" in text) == (3, True)
    other = tmp_path / "other"
    other.write_text("0 2 * * * python3 planta_headless.py -s h:1 -t -1 -m $JOB\n")
    status, text = monitor([call(now - HOUR, ["A"])], [(daily(now - HOUR), "A")], "--crontab", str(other))
    assert (status, f"{other}:1: what it starts is not known; 1 of 2" in text) == (3, True)
    (tmp_path / "crontab").write_text("0 2 * * * true\n")
    done = headless("monitor", "--crontab", str(tmp_path / "crontab"), "--receipts", str(tmp_path / "receipts"))
    assert (done.returncode, "no call of planta_headless.py is planned there" in done.stdout) == (3, True)


def test_a_home_is_asked_as_well(tmp_path):
    home = make_home(tmp_path / "home", R41)
    crontab = nights.crontab(tmp_path / "crontab", ("* * * * *", "009ABC"))

    def status():
        return headless("monitor", "--crontab", str(crontab), "--home", str(home.folder)).returncode

    with closing(home.database()) as database:
        database.isolation_level = None
        record = Record(database)
        assert status() == 3
        for state in ("ok", "failed"):
            record.accept(journals.new_session(state, kind="module", text="009ABC"))
            record.begin(state)
            record.finish(state, 1, journals.end(state))
            assert status() == {"ok": 0, "failed": 2}[state]
    (home.folder / "planta.sqlite").write_bytes(b"x" * 4096)
    assert status() == 3


# Prometheus


def test_the_metrics_say_start_end_success_runtime_and_code_of_each_call(monitor, now, tmp_path):
    now = float(int(now))
    calls = [call(now - 2 * HOUR, ["A"], 60), call(now - HOUR, ["A"], 30, code=1), call(now - HOUR, ["B"], None)]
    monitor(calls, [("0 * * * *", name) for name in "ABC"], "--prometheus", str(tmp_path / "x.prom"))
    lines = (tmp_path / "x.prom").read_text().splitlines()
    of_a = {line.partition("{")[0][21:]: float(line.rpartition(" ")[2]) for line in lines if 'call="A"' in line}
    assert of_a == {
        "start_time_seconds": now - HOUR,
        "end_time_seconds": now - HOUR + 30.1,
        "success_time_seconds": now - 2 * HOUR + 60.1,
        "duration_seconds": 30,
        "return_code": 1,
    }
    assert [line.partition("{")[0] for line in lines if 'call="B"' in line] == [
        "planta_headless_last_start_time_seconds"
    ]
    assert not [line for line in lines if 'call="C"' in line]
    assert len([line for line in lines if line.startswith("# TYPE")]) == 5


def test_a_hostile_name_is_one_label_and_each_series_is_there_once(monitor, now, tmp_path):
    name = 'a"} 1 \\ x{y="'
    crontab = tmp_path / "hostile"
    crontab.write_text(
        f"* * * * * python3 planta_headless.py -s {nights.SERVER} -u R41 -p x -t -1 -m 'a\"}} 1 \\ x{{y=\"'\n"
        f"* * * * * sudo python3 planta_headless.py -s {nights.SERVER} -u R41 -p x -t -1 -m A\n"
    )
    calls = [call(now - 30, [name]), call(now - 30, ["A"])]
    monitor(calls, [("* * * * *", "A")], "--crontab", str(crontab), "--prometheus", str(tmp_path / "x.prom"))
    lines = [line for line in (tmp_path / "x.prom").read_text().splitlines() if not line.startswith("#")]
    assert len([line for line in lines if "x{y=" in line]) == 5
    assert [line for line in lines if not METRIC.fullmatch(line)] == []
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(series) == len(set(series)) == 15


def test_the_file_is_replaced_whole_and_can_be_read_by_others(monitor, now, tmp_path):
    folder = tmp_path / "textfile"
    folder.mkdir()
    before = os.umask(0o022)
    try:
        monitor([call(now - 30)], [("* * * * *", "009ABC")], "--prometheus", str(folder / "x.prom"))
    finally:
        os.umask(before)
    assert os.listdir(folder) == ["x.prom"]
    if os.name != "nt":
        assert stat.S_IMODE((folder / "x.prom").stat().st_mode) == 0o644


def test_a_file_that_cannot_be_written_is_unknown_and_hides_no_failure(monitor, now, tmp_path):
    target = str(tmp_path / "no" / "x.prom")
    status, text = monitor([call(now - 30)], [("* * * * *", "009ABC")], "--prometheus", target)
    assert (status, "x.prom' cannot be written: No such file or directory" in text) == (3, True)
    assert monitor([call(now - 20, code=1)], [("* * * * *", "009ABC")], "--prometheus", target)[0] == 2
