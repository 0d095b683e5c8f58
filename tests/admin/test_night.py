"""headless night: what is said about each call, and the exit status."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pytest

from headless.admin.known import Known
from headless.admin.night_runs import night_of, without_run
from headless.admin.plan import Start, read_plan
from headless.admin.runs import Outcome
from support import journals, nights
from support.command_here import headless
from support.homes import by_root, give_away
from support.journals import end
from support.nights import DAY, call
from support.process import ROOT

HOUR = 3600.0


@pytest.fixture
def now():
    """A minute ago, at a full minute: so long has nothing happened."""
    return time.time() // 60 * 60 - 60


@pytest.fixture
def night(tmp_path):
    """Runs the command on these calls, with these lines of a crontab, and returns its exit status and its text."""

    def run(calls, lines=(), *argv):
        receipts = nights.write(tmp_path / "receipts", calls)
        given = ["--receipts", str(receipts), "--since", "12h", *argv]
        if lines:
            given += ["--crontab", str(nights.crontab(tmp_path / "crontab", *lines))]
        done = headless("night", *given)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def sentence(text):
    return text.splitlines()[2]


def at(moment):
    """The fields of a crontab for this time of each day."""
    here = datetime.fromtimestamp(moment)
    return f"{here.minute} {here.hour} * * *"


def test_a_night_in_which_all_calls_are_well_is_0(night, now):
    assert night([call(now - HOUR), call(now - 2 * HOUR)])[0] == 0
    status, text = night([])
    assert (status, sentence(text)) == (0, "2 well.")


def test_each_call_is_counted_once_by_what_is_known_of_it(night, now, running_call):
    status, text = night(
        [
            call(now - 5 * HOUR, ["A"]),
            call(now - 4 * HOUR, ["B"], code=1),
            call(now - 3 * HOUR, ["C"], proof="accepted"),
            call(now - 3 * HOUR, ["D"], code=3),
            call(now - 2 * HOUR, ["E"], code=None),
            call(now - HOUR, ["F"], None),
            call(now - HOUR, ["G"], None, pid=running_call),
        ]
    )
    runs = ", 1 still runs" if sys.platform == "linux" else ""
    assert (status, sentence(text)) == (1, f"1 well, 2 failed, {3 if runs else 4} not known{runs}.")
    assert "code: 143: a signal (15) has ended the call" in text
    assert "code: 1: the connection, the session or a job failed" in text


def test_what_is_not_known_is_a_3(night, now):
    assert night([call(now - HOUR), call(now - HOUR, ["B"], code=3)])[0] == 3
    assert "-t was over" in night([])[1]


@pytest.mark.skipif(sys.platform != "linux", reason="there it is not known which processes are there")
def test_of_several_calls_with_the_same_number_of_a_process_only_the_last_one_can_run(night, now, running_call):
    calls = [call(now - hours * HOUR, [f"{hours}"], None, pid=running_call) for hours in (3, 1)]
    assert sentence(night(calls)[1]) == "1 not known, 1 still runs."
    assert sentence(night([call(now - HOUR / 2, ["A"], None, pid=1)])[1]) == "2 not known, 1 still runs."


def test_of_another_machine_no_process_is_looked_for(night, now):
    status, text = night([call(now - HOUR, seconds=None, pid=os.getpid(), host="elsewhere")])
    assert (status, sentence(text)) == (3, "1 not known.")
    assert "the call still runs, or it was killed" in text


@pytest.mark.parametrize("state", ["not submitted", "submitted", "unknown"])
def test_a_call_that_failed_says_as_its_last_line_whether_the_server_has_the_jobs(night, now, state):
    session = None if state != "submitted" else "5e551"
    text = night([call(now - HOUR, code=1, submission=state, session=session, server="planta:20000")])[1]
    assert f"why: job 1 failed: exit status 7; jobs: {state}" in text
    next_one = {"submitted": "wait -v 5e551", "unknown": "sessions"}.get(state, "")
    commands = [f"headless {next_one} -s planta:20000 -u R41 [-p FILE]"] if next_one else []
    assert re.findall("next: (.*)", text) == commands


def test_of_a_call_that_was_killed_the_sessions_of_its_server_lead_on(night, now):
    text = night([call(now - HOUR, seconds=None, server="planta:20000")])[1]
    assert re.findall("next: (.*)", text) == ["headless sessions -s planta:20000 -u R41 [-p FILE]"]


def test_a_call_that_is_dated_in_the_future_is_said_and_all_is_not_well(night, now):
    assert night([call(now - HOUR), call(now + 120, ["B"])])[0] == 0  # as clocks differ
    status, text = night([call(now + HOUR, ["C"])])
    assert (status, sentence(text)) == (3, "3 well.")
    assert "1 call is dated in the future: a clock was wrong" in text


# What was planned


def test_a_planned_start_without_a_receipt_is_missing_and_no_more_is_said(night, now):
    before = [call(now - 3 * DAY, ["A"]), call(now - HOUR, ["A"])]
    status, text = night(before, [(at(now - HOUR), "A"), (at(now - 2 * HOUR), "B")])
    assert (status, sentence(text)) == (1, "1 well, 1 missing.")
    assert "no receipt: never started, skipped by a lock, or killed before its first line" in text
    assert "journalctl -t CRON" in text
    assert "crontab:2)" in text


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"os_user": "somebody"}, {"user": "R42"}, {"server": "x:1"}])
def test_a_run_of_another_host_user_login_or_server_is_none_of_the_planned_call(night, now, other):
    calls = [call(now - 3 * DAY), call(now - HOUR, **other)]
    assert sentence(night(calls, [(at(now - HOUR), "009ABC")])[1]) == "1 well, 1 missing."


def test_nothing_is_missing_before_the_first_receipt(night, now):
    status, text = night([call(now - HOUR, ["A"])], [(at(now - HOUR), "A"), (at(now - 2 * HOUR), "B")])
    assert (status, sentence(text)) == (3, "1 well.")
    assert "is not looked for: the receipts begin then" in text


def test_without_any_receipt_of_this_machine_nothing_can_be_said(night, now):
    status, text = night([], [(at(now - HOUR), "A")])
    assert (status, sentence(text)) == (3, "No call is known.")
    assert "is PLANTA_RECEIPT set where the jobs are?" in text
    status, text = night([call(now - HOUR, ["A"], host="elsewhere")], [(at(now - HOUR), "A")])
    assert (status, sentence(text)) == (3, "1 well.")


def test_nothing_at_all_is_a_3(night):
    assert night([])[0] == 3


def test_lines_with_the_same_call_have_their_starts_together(night, now):
    calls = [call(now - 3 * DAY), call(now - 2 * HOUR), call(now - HOUR)]
    lines = [(at(now - 2 * HOUR), "009ABC"), (at(now - HOUR), "009ABC"), (at(now - 3 * HOUR), "009ABC")]
    assert sentence(night(calls, lines)[1]) == "2 well, 1 missing."


def test_what_a_crontab_starts_and_is_not_understood_is_said_and_all_is_not_well(night, now, tmp_path):
    other = tmp_path / "other"
    other.write_text(
        "0 2 * * * python3 planta_headless.py -s h:1 -t -1 -m $JOB\n0 3 * * * ssh x planta_headless.py -m 1\n"
    )
    status, text = night([call(now - HOUR)], (), "--crontab", str(other))
    assert status == 3
    assert f"{other}:1: what it starts is not known" in text
    assert f"{other}:2: what it starts is not understood" in text


def test_a_file_that_plans_no_call_is_said_and_all_is_not_well(night, now, tmp_path):
    other = tmp_path / "other"
    other.write_text("0 2 * * * true\n")
    status, text = night([call(now - HOUR)], (), "--crontab", str(other))
    assert (status, sentence(text)) == (3, "1 well.")
    assert "no call of planta_headless.py is planned there: nothing is known to be missing" in text


STARTS = [
    ([0, 300, 600], [1, 301, 601], []),
    ([0, 300, 600], [1, 601], [300]),
    ([0, 300, 600], [1, 599, 601], []),  # a lock has kept it
    ([0, 300, 600], [-30, 290, 601], []),  # a clock was early
    ([0, 300, 600], [], [0, 300, 600]),
    ([0, 86400], [5, 40000, 86401], []),  # once more by hand
    ([0, 86400], [40000, 86401], []),  # by hand instead
    ([0, 300, 600, 900, 9000], [1, 301, 901, 9001, 9002], [600]),  # by hand, much later
    ([0], [-90], [0]),
]


@pytest.mark.parametrize(("starts", "begun", "missing"), STARTS)
def test_a_start_is_missing_if_no_run_belongs_to_it(starts, begun, missing):
    assert [start.at for start in without_run([Start(each, each - 60) for each in starts], begun)] == missing


def test_a_start_of_the_last_minute_is_not_missing_yet(tmp_path, now):
    known = Known(now - DAY)
    known.read_receipts([str(nights.write(tmp_path / "receipts", [call(now - HOUR, ["A"])]))])
    plan = read_plan([str(nights.crontab(tmp_path / "crontab", (at(now), "B")))], None, [])
    missing = [night_of(known, plan, now - 2 * HOUR, now + late).count(Outcome.MISSING) for late in (30, 59, 61)]
    assert missing == [0, 0, 1]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set")
def test_a_start_in_the_hour_that_summer_time_leaves_out_is_met_by_cron_s_run_after_it(monkeypatch):
    from headless.admin.plan import PlannedCall
    from headless.admin.schedule import Schedule

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        day = datetime(2026, 3, 29).timestamp()
        planned = PlannedCall("x:1", (), "", "", "", "", Schedule("", ("30 2 * * *",)))
        (start,) = planned.starts(day, day + DAY / 2)
        at_three = datetime(2026, 3, 29, 3, 0, 1).timestamp()
        assert without_run([start], [at_three]) == []
        assert without_run([start], [at_three - 7200]) == [start]
    finally:
        monkeypatch.undo()
        time.tzset()


SPRING = [  # of the night in which 02:00 to 03:00 is left out: what is planned, and what cron starts until 06:00
    (("*/10 * * * *",), [(hour, minute) for hour in (0, 1, 3, 4, 5) for minute in range(0, 60, 10)]),
    (("0 * * * *",), [(hour, 0) for hour in (0, 1, 3, 4, 5)]),
    (("*/10 2 * * *",), []),
    (("0,30 2 * * *",), [(3, 0), (3, 0)]),
    (("50 1 * * *", "30 2 * * *"), [(1, 50), (3, 0)]),
]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set")
@pytest.mark.parametrize(("expressions", "begun"), SPRING)
def test_in_the_hour_that_summer_time_leaves_out_nothing_is_missing_that_cron_does_not_start(
    monkeypatch, expressions, begun
):
    from headless.admin.plan import PlannedCall
    from headless.admin.schedule import Schedule

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        begin, end = (datetime(2026, 3, 29, hour).timestamp() - 30 for hour in (0, 6))
        starts = PlannedCall("x:1", (), "", "", "", "", Schedule("", expressions)).starts(begin, end)
        runs = [datetime(2026, 3, 29, hour, minute, 1).timestamp() for hour, minute in begun]
        assert (len(starts), without_run(starts, runs)) == (len(runs), [])
    finally:
        monkeypatch.undo()
        time.tzset()


# What is odd


def test_more_than_twice_the_median_of_14_nights_is_odd(night, now):
    before = [call(now - HOUR - number * DAY, seconds=60.0 + number) for number in range(1, 15)]
    assert " Odd" not in night([*before, call(now - 2 * HOUR, seconds=130)])[1]
    text = night([call(now - HOUR, seconds=140)])[1]
    assert "note: took 2:20 min, the median is 1:08 min" in text
    assert text.count("note:") == 1


def test_nights_before_the_14th_and_failed_runs_are_no_part_of_the_median(night, now):
    before = [
        call(now - 20 * DAY, seconds=900),
        call(now - 2 * DAY, seconds=900, code=1),
        call(now - 3 * DAY, seconds=10),
    ]
    assert "note: took 30.0 s, the median is 10.0 s" in night([*before, call(now - HOUR, seconds=30)])[1]


def test_runs_of_one_call_at_the_same_time_are_odd(night, now):
    calls = [call(now - 3 * HOUR, seconds=5000), call(now - 2 * HOUR, seconds=10), call(now - HOUR)]
    text = night([*calls, call(now - 2 * HOUR, ["B"]), call(now - 1.9 * HOUR)])[1]
    begun = datetime.fromtimestamp(now - 3 * HOUR)
    assert text.count(f"note: began while the run of {begun:%H:%M:%S} went on") == text.count("note:") == 2


# Receipts as they are found


def test_a_run_from_before_that_went_on_is_one_of_the_night(night, now):
    assert sentence(night([call(now - 13 * HOUR, ["A"], 2 * HOUR), call(now - 13 * HOUR, ["B"])])[1]) == "1 well."


def test_rotated_and_compressed_files_and_folders_are_read(night, now, tmp_path):
    nights.write(tmp_path / "receipts.1", [call(now - 2 * HOUR, ["B"])])
    nights.write(tmp_path / "plain", [call(now - 3 * HOUR, ["C"])])
    (tmp_path / "receipts.2.gz").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    nights.write(tmp_path / "receipts-20261201", [call(now - 4 * HOUR, ["D"])])
    nights.write(tmp_path / "receipts.other", [call(now - 5 * HOUR, ["E"])])
    folder = tmp_path / "folder"
    folder.mkdir()
    nights.write(folder / "a.jsonl", [call(now - 6 * HOUR, ["F"], os_user="a")])
    nights.write(folder / "b.jsonl", [call(now - 6 * HOUR, ["F"], os_user="b")])
    assert sentence(night([call(now - HOUR, ["A"])], (), "--receipts", str(folder))[1]) == "6 well."


@pytest.mark.skipif(os.name == "nt", reason="who may make a link there?")
def test_a_link_in_a_folder_is_not_followed(tmp_path, now):
    nights.write(tmp_path / "secret", [call(now - HOUR)])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(tmp_path / "secret")
    assert sentence(headless("night", "--receipts", str(folder)).stdout) == "No call is known."


@by_root
def test_the_file_of_a_stranger_beside_the_one_that_is_named_does_not_count(night, now, tmp_path):
    nights.write(tmp_path / "receipts.1", [call(now - HOUR, ["A"])])
    give_away(tmp_path / "receipts.1")
    nights.write(tmp_path / "secret", [call(now - HOUR, ["A"])])
    (tmp_path / "receipts.2").symlink_to(tmp_path / "secret")
    assert sentence(night([call(now - HOUR)])[1]) == "1 well."


@by_root
def test_between_a_rotation_and_the_next_call_root_reads_what_was_rotated_of_the_owner_of_the_folder(tmp_path, now):
    log = tmp_path / "log"
    log.mkdir()
    give_away(log)
    give_away(nights.write(log / "receipts.1", [call(now - HOUR)]))
    nights.write(log / "receipts.2", [call(now - HOUR, ["A"])])
    shutil.chown(log / "receipts.2", "nobody")
    assert sentence(headless("night", "--receipts", str(log / "receipts"), "--since", "12h").stdout) == "1 well."


@by_root
def test_in_a_folder_a_user_says_nothing_of_others(tmp_path, now):
    folder = tmp_path / "folder"
    folder.mkdir()
    nights.write(folder / "nobody.jsonl", [call(now - HOUR, os_user="nobody"), call(now - HOUR, os_user="root")])
    nights.write(folder / "root.jsonl", [call(now - 2 * HOUR, os_user="root")])
    give_away(folder / "root.jsonl")
    shutil.chown(folder / "nobody.jsonl", "nobody")
    assert sentence(headless("night", "--receipts", str(folder), "--since", "12h").stdout) == "1 well."


@by_root
@pytest.mark.parametrize("forged", [{}, {"os_user": None}, {"os_user": 7}])
def test_in_a_folder_a_user_meets_no_planned_start_of_another_one(tmp_path, now, forged):
    folder = tmp_path / "folder"
    folder.mkdir()
    nights.write(folder / "root.jsonl", [call(now - 3 * DAY, os_user="root")])
    lines = [{**{name: line[name] for name in line if name != "os_user"}, **forged} for line in call(now - HOUR)]
    nights.write(folder / "nobody.jsonl", [lines])
    shutil.chown(folder / "nobody.jsonl", "nobody")
    crontab = nights.crontab(tmp_path / "crontab", (at(now - HOUR), "009ABC"))
    text = headless("night", "--receipts", str(folder), "--since", "12h", "--crontab", str(crontab)).stdout
    assert sentence(text) == "1 missing."


@by_root
def test_in_a_folder_a_user_does_not_end_the_call_of_another_one(tmp_path, now):
    folder = tmp_path / "folder"
    folder.mkdir()
    nights.write(folder / "daemon.jsonl", [call(now - HOUR, code=1, key="K", os_user="daemon")])
    nights.write(folder / "nobody.jsonl", [call(now - HOUR, key="K", os_user="nobody")])
    for user in ("daemon", "nobody"):
        shutil.chown(folder / f"{user}.jsonl", user)
    assert sentence(headless("night", "--receipts", str(folder), "--since", "12h").stdout) == "1 well, 1 failed."


@by_root
@pytest.mark.parametrize("name", ["stranger.jsonl", "daemon.jsonl.1", "nobody.jsonl"])
def test_in_a_folder_a_file_that_cannot_be_read_hides_no_other_one(now, name):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        nights.write(Path(folder, "daemon.jsonl"), [call(now - HOUR, os_user="daemon")]).chmod(0o644)
        closed = nights.write(Path(folder, name), [])
        closed.chmod(0)
        shutil.chown(closed, "nobody")
        shutil.chown(folder, "daemon")
        known = Known(now - DAY)
        os.seteuid(os.stat(folder).st_uid)
        try:
            known.read_receipts([folder])
        finally:
            os.seteuid(0)
    assert len(known.runs()) == 1
    is_named = name == "nobody.jsonl"  # the others are no files of their users
    assert [str(closed) in problem for problem in known.problems] == [True] * is_named


def test_the_lines_of_one_call_may_be_in_two_files_and_twice(night, now, tmp_path):
    start, last = call(now - HOUR)
    (tmp_path / "receipts.1").write_text(json.dumps(start) + "\n")
    (tmp_path / "copy").write_text(json.dumps(last) + "\n" + json.dumps(start) + "\n")
    assert sentence(night([[last]], (), "--receipts", str(tmp_path / "copy"))[1]) == "1 well."


def test_a_receipt_of_before_has_one_line(night, now, tmp_path):
    _, last = call(now - HOUR)
    for new in ("event", "local", "os_user", "pid", "timeout", "waited", "exit_status"):
        del last[new]
    last["jobs"] = [{"kind": "module", "name": "009ABC", "status": "ok"}]
    receipts = tmp_path / "old"
    receipts.write_text(json.dumps(last) + "\n")
    status, text = night([call(now - 3 * DAY)], [(at(now - HOUR), "009ABC")], "--receipts", str(receipts))
    assert (status, sentence(text)) == (0, "1 well.")


BROKEN = [
    b"",
    b"nonsense\n",
    b'{"when": "2026',
    b'{"when": "9999-99-99T00:00:00.000Z", "host": 7}\n',
    b'{"when": "9026-12-01T03:00:00.000Z", "event": "end", "jobs": [{}]}\n',
    b'{"when": "9026-12-01T03:00:00.000Z", "event": "end", "jobs": 7}\n',
    b'{"when": "9026-12-01T03:00:00.000Z", "event": "end", "code": 1e999}\n',
    b'{"when": "9' + b"[" * 100_000 + b"\n",
    b"\x1f\x8b\x08",
    b"\xff\xfe\x00\n",
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_said_and_hides_nothing(night, now, tmp_path, content):
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    status, text = night([call(now - HOUR)], (), "--receipts", str(broken))
    assert (status, sentence(text)) == (3 if content else 0, "1 well.")
    assert (str(broken) in text) == bool(content)


def test_a_last_line_that_is_cut_off_is_not_known(night, now, tmp_path):
    start, last = call(now - HOUR)
    line = json.dumps(last)
    cut = tmp_path / "cut"
    cut.write_text(
        json.dumps(start) + "\n" + line[: line.index('"code"')] + json.dumps(call(now - 60, ["B"])[1]) + "\n"
    )
    assert sentence(night([], (), "--receipts", str(cut))[1]) == "1 well, 1 not known."


def test_a_file_that_is_not_there_is_said(night, now, tmp_path):
    status, text = night([call(now - HOUR)], (), "--receipts", str(tmp_path / "nowhere"))
    assert (status, "No such file" in text) == (3, True)


# With a journal


def test_a_call_whose_session_the_journal_knows_is_one_run_and_the_journal_has_the_last_word(night, now, home, record):
    calls = []
    for session, job, state in (("S1", "A", "ok"), ("S2", "B", "failed"), ("S3", "C", "ok"), ("S4", "D", "")):
        record.accept(journals.new_session(session, kind="module", text=job))
        record.begin(session)
        if state:
            record.finish(session, 1, end(state, "exit status 7" if state == "failed" else ""))
        more = {"proof": "accepted"} if session != "S3" else {"code": 1, "message": "the connection was lost"}
        calls.append(call(now - HOUR, [job], key=session, session=session, **more))
    journals.write(home, "S2", 1, "stderr", b"Traceback\nno such \x1b[31mtable\n\n")
    with home.lock():
        status, text = night(calls, (), "--home", str(home.folder))
    assert (status, sentence(text)) == (1, "2 well, 1 failed, 1 still runs.")
    assert "why: B: failed: exit status 7" in text
    assert "stderr: no such \\x1b[31mtable" in text
    assert f"next: headless jobs S2 --home {home.folder}" in text
    assert re.findall("note: (.*)", text) == ["the call itself ended with 1: the connection was lost; jobs: submitted"]


def test_of_a_call_that_was_killed_both_is_said_that_and_what_the_journal_knows(night, now, home, record):
    for session, job in (("S1", "A"), ("S2", "B")):
        record.accept(journals.new_session(session, kind="module", text=job)._replace(key=session))
        record.begin(session)
    record.finish("S1", 1, end("ok"))
    with home.lock():
        calls = [call(now - HOUR, [job], None, key=key) for job, key in (("A", "S1"), ("B", "S2"))]
        status, text = night(calls, (), "--home", str(home.folder))
    assert (status, sentence(text)) == (3, "1 well, 1 still runs.")
    assert text.count("of the call itself there is no last line, and no process") == 2


def test_a_session_without_a_receipt_is_a_run_too(night, home, record):
    journals.over(record, "S1")
    status, text = night([], (), "--home", str(home.folder))
    assert (status, sentence(text)) == (0, "1 well.")


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_job_that_has_put_a_link_in_the_place_of_its_output_shows_nothing_of_others(night, home, record, tmp_path):
    journals.over(record, "S1", "failed")
    (tmp_path / "secret").write_text("root:hash\n")
    path = home.output("S1", 1, "stderr")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / "secret")
    assert "root:hash" not in night([], (), "--home", str(home.folder))[1]


def test_a_home_that_cannot_be_read_is_said(night, now, home):
    (home.folder / "planta.sqlite").write_bytes(b"x" * 4096)
    status, text = night([call(now - HOUR)], (), "--home", str(home.folder))
    assert (status, sentence(text)) == (3, "1 well.")
    assert "cannot be read" in text


# The command line


WRONG = [
    ((), "--receipts FILE or --home DIR is missing"),
    (("--receipts", "x", "--as", "root"), "--as needs a --crontab"),
    (("--receipts", "x", "--since", "soon"), "'soon' is not YYYY-MM-DD"),
    (("--receipts", "x", "--since", "9000-01-01"), "--since is not in the past"),
    (("--receipts", "x", "--crontab", "nowhere"), "'nowhere' cannot be read"),
    (("--home", "nowhere"), "no server has lived in 'nowhere'"),
]


@pytest.mark.parametrize(("argv", "part"), WRONG)
def test_a_mistake_in_the_command_line_is_one_line(argv, part, tmp_path):
    done = headless("night", *argv, folder=tmp_path, env={})
    assert done.returncode == (3 if "--home" in argv else 2)
    assert part in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full")
def test_a_text_that_cannot_be_written_is_a_3_and_a_reader_that_has_read_enough_changes_nothing(tmp_path, now):
    receipts = nights.write(tmp_path / "receipts", [call(now - HOUR)])
    argv = [sys.executable, "-m", "headless", "night", "--receipts", str(receipts), "--since", "12h"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    message = "headless night: error: the text cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (3, message)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        done = subprocess.run(argv, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_receipts_of_the_environment_are_the_default_and_an_option_beats_them(tmp_path, now):
    receipts = nights.write(tmp_path / "receipts", [call(now - HOUR)])
    env = {"PLANTA_RECEIPT": str(receipts)}
    assert sentence(headless("night", "--since", "12h", env=env).stdout) == "1 well."
    other = nights.write(tmp_path / "other", [call(now - HOUR, ["A"]), call(now - HOUR, ["B"])])
    assert sentence(headless("night", "--since", "12h", "--receipts", str(other), env=env).stdout) == "2 well."


@pytest.mark.slow
def test_a_call_of_the_command_is_one_run_of_the_night(tmp_path, command, job_server):
    receipts = tmp_path / "receipts"
    done = command(
        "-s", job_server.address, "-t", "-1", "-c", "print(1)", env={**os.environ, "PLANTA_RECEIPT": str(receipts)}
    )
    assert done.returncode == 0
    found = headless("night", "--receipts", str(receipts), "--since", "1h")
    assert (found.returncode, sentence(found.stdout)) == (0, "1 well.")
