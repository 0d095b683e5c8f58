"""headless monitor: the line and the exit status of a plugin, from the home of a server, from receipts, and by the
verdict on what is known of a job."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import time
import tracemalloc
from contextlib import closing
from dataclasses import replace

import pytest

from headless.admin.monitor import Level, duration, judge
from headless.admin.receipts import Execution, Stage
from headless.server.journal import JobEnd
from support import journals
from support.command_here import headless
from support.homes import R41, make_home
from support.job_server import QuickServer
from support.journals import Record, end, new_session
from support.process import manage

# Monitoring Plugins Development Guidelines, section "Performance data".
LINE = re.compile(r"PLANTA (OK|WARNING|CRITICAL|UNKNOWN): [^|\n]+( \|( [\w./:-]+=[\d.]+s(;[\d.]*){1,3})+)?\n")


def monitor(*argv):
    """The exit status and the text of the line."""
    done = headless("monitor", *argv)
    assert done.stderr == ""
    assert LINE.fullmatch(done.stdout), done.stdout
    word, _, text = done.stdout.removeprefix("PLANTA ").partition(": ")
    assert word == ("OK", "WARNING", "CRITICAL", "UNKNOWN")[done.returncode]
    return done.returncode, text


# The home of a server


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home", R41)


@pytest.fixture
def record(home):
    """The journal. Each change is on disk at once, as another process has to see it."""
    with closing(home.database()) as database:
        database.isolation_level = None
        yield Record(database)


def of(home, job="1", within="26h", *more):
    return monitor("--home", str(home.folder), "--job", job, "--within", within, *more)


def test_a_job_that_ended_well_is_ok(home, record):
    journals.over(record, "S1")
    status, text = of(home)
    assert status == 0
    assert re.match(r"1 ended well \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(0 s ago\), after 0 s \| age=\d+s;;93600;0 ", text)


def test_a_job_that_failed_since_is_critical_and_the_line_says_why(home, record):
    journals.over(record, "S1")
    record.accept(new_session("S2"))
    record.begin("S2")
    record.finish("S2", 1, end("failed", "no | such\ntable", 3.0))
    status, text = of(home)
    assert (status, "no / such\\ntable" in text) == (2, True)


def test_a_job_that_never_started_is_critical(home, record):
    journals.over(record, "S1")
    assert of(home, "009ABC")[0] == 2


def test_a_job_that_waits_or_runs_is_a_warning(home, record):
    record.accept(new_session("S1"))
    status, text = of(home)
    assert (status, text.startswith("1 waits, since ")) == (1, True)


def test_a_job_whose_server_is_gone_is_critical(home, record):
    record.accept(new_session("S1"))
    record.begin("S1")
    status, text = of(home)
    assert (status, "result not known" in text) == (2, True)


def test_a_job_whose_process_has_gone_is_not_said_to_go_on_without_a_word(home, record):
    record.accept(new_session("S1"))
    record.begin("S1")
    record._database.execute("UPDATE jobs SET started = started - 60")
    with home.lock():
        status, text = of(home)
    assert (status, ": no process of it runs: " in text) == (1, True)


def test_a_lost_job_counts_from_when_that_was_known_and_not_from_its_start(home, record):
    for session in ("S1", "S2"):  # at the same time
        record.accept(new_session(session))
        record.begin(session)
        record._database.execute("UPDATE jobs SET started = started - 7200, ended = started - 3600")
    record.finish("S2", 1, end("ok"))
    record._database.execute("UPDATE jobs SET ended = ended - 3600")
    assert of(home)[0] == 0
    record.finish("S1", 1, JobEnd("interrupted", "lost"))
    status, text = of(home, "1", "1h")
    assert (status, re.search(r"1 interrupted \S+ \S+ \(\d s ago\): lost", text) is not None) == (2, True), text


def test_a_lost_job_that_is_not_recorded_yet_is_not_hidden_by_a_good_one_beside_it(home, record):
    for session in ("S1", "S2"):
        record.accept(new_session(session))
        record.begin(session)
    record._database.execute("UPDATE jobs SET started = started - 7200")
    record.finish("S2", 1, end("ok"))
    status, text = of(home)
    assert (status, "result not known" in text) == (2, True), text


@pytest.mark.parametrize("shift", [-99_999_999, -7200, 0, 7200, 99_999_999])
def test_the_order_of_the_journal_counts_and_no_clock(home, record, shift):
    def dated(session, state):
        journals.over(record, session, state)
        record._database.execute("UPDATE sessions SET accepted = accepted + ?, over = over + ? WHERE session_id = ?",
                                 (shift, shift, session))  # fmt: skip
        record._database.execute("UPDATE jobs SET started = started + ?, ended = ended + ? WHERE session_id = ?",
                                 (shift, shift, session))  # fmt: skip

    journals.over(record, "S1")
    dated("S2", "failed")
    assert of(home)[0] == 2
    journals.over(record, "S3")
    assert of(home)[0] == 0
    dated("S4", "ok")
    journals.over(record, "S5", "failed")
    assert of(home)[0] == 2


def test_only_the_jobs_of_one_user_count_if_a_user_is_given(home, record):
    journals.over(record, "S1", user="R41")
    assert of(home, "1", "26h", "--user", "R41")[0] == 0
    assert of(home, "1", "26h", "--user", "R42")[0] == 2


def test_a_job_is_named_by_its_module_by_its_file_or_by_its_code_or_title(home, record):
    long = "x = 1  # " * 20
    for session, kind, text in (("S1", "module", "009ABC"), ("S2", "py_file", "nightly/close.py"),
                                ("S3", "py_code", "a\nb"), ("S4", "py_code", long)):  # fmt: skip
        record.accept(new_session(session, kind=kind, text=text))
        record.begin(session)
        record.finish(session, 1, end("ok"))
    ended_well = ("009ABC", "nightly/close.py", "a", "a\nb", long, long[:60].rstrip())
    assert [of(home, name)[0] for name in ended_well] == [0] * 6
    assert [of(home, name)[0] for name in ("b", "a\nc", long + "x", "nightly/close.py\nb")] == [2] * 4


# Receipts


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def receipt(hours_ago, code=0, status="ok", job="009ABC", **more):
    at = iso(time.time() - hours_ago * 3600)
    jobs = [{"kind": "module", "name": job, "status": status}]
    fields = {"when": at, "host": "h", "user": "R41", "server": "planta:20000", "session": "S", "key": "K",
              "jobs": jobs, "accepted": at, "ended": at, "returned": at, "code": code,
              "proof": None if code else "ended", "submission": "submitted", "message": "why"}  # fmt: skip
    return json.dumps({**fields, **more}) + "\n"


def receipts():
    """Lines of a file, the exit status, and a part of the text."""
    return [
        ([receipt(6)], 0, "ended well"),
        ([receipt(30)], 2, "it last ended well"),
        ([receipt(24 * 60)], 2, "it last ended well"),
        ([receipt(7), receipt(6, 1, "failed")], 2, "failed"),
        ([receipt(6, 1, "skipped")], 2, "skipped"),
        ([receipt(6, 0, None)], 0, "ended well"),  # of a dialect that reports no jobs
        ([receipt(6, 0, None, proof="accepted", ended=None)], 1, "the call did not wait for its end (-t -1)"),
        ([receipt(6, 3, None, ended=None)], 1, "was accepted"),
        ([receipt(6, 1, None, ended=None)], 2, "result not known, "),
        ([receipt(6, 1, None, ended=None, submission="not submitted")], 2, "failed"),
        ([receipt(6, 2, None, accepted=None, ended=None, submission="not submitted")], 2, ": why"),
        ([receipt(6, None, None, ended=None, signal=15)], 2, "result not known"),
        ([receipt(6, job="009ABD")], 2, "has not ended within 26 h"),
        ([], 2, "has not ended within 26 h"),
        (["\0" * 50, "{\n", "[]\n", '{"jobs": "009ABC"}\n', '"x"\n', receipt(6)[:90], "\n", receipt(6)], 0, "well"),
        ([receipt(6, job="a"), receipt(6, 1, None, jobs=[])], 2, "has not ended"),
        # A wrong date does not change the order of the lines.
        ([receipt(-9999), receipt(7, 1, "failed")], 2, "failed"),
        ([receipt(7), receipt(999_999, 1, "failed")], 2, "failed"),
        ([receipt(7), receipt(-9999)], 3, "how long ago that was is not known"),
        ([receipt(-9999, 1, "failed"), receipt(7)], 0, "ended well"),
        # A call whose line is cut off has ended, and the line was its end.
        ([receipt(7), receipt(6, 1, "failed")[:-60]], 2, "result not known, "),
        ([receipt(7), receipt(6, 1, "failed")[:-60], "\n", receipt(5)], 0, "ended well"),
        ([receipt(7), receipt(6, 1, "failed")[:60]], 0, "ended well"),
        # What is cut off without the end of its line is no receipt, and what follows it is one.
        ([receipt(7), receipt(6.5)[:60], receipt(6, 1, "failed")], 2, "failed"),
        ([receipt(7), "\0" * 50, receipt(6, 1, "failed")], 2, "failed"),
        ([receipt(7), receipt(6, 1, "failed")[:-60], receipt(5, job="b")], 2, "result not known, "),
        ([receipt(7), receipt(6, 1, "failed", "b")[:-60], receipt(5)], 0, "ended well"),
        # Lines of an editor of Windows, and a hole that a crash has left.
        (["\ufeff", receipt(6)[:-1], "\r\n", "\0" * 5000], 0, "ended well"),
        # No receipts at all.
        (["0 2 * * * root true\n"], 3, "no line in it is a receipt"),
        (["\0" * 5000], 3, "no line in it is a receipt"),
        (['{"kind": "module", "name": "009ABC"}\n'], 3, "no line in it is a receipt"),
    ]


def test_receipts_show_as_much_as_the_command_knew(tmp_path):
    for lines, status, part in receipts():
        (tmp_path / "receipts").write_text("".join(lines))
        answer = monitor("--receipts", str(tmp_path / "receipts"), "--job", "009ABC", "--within", "26h")
        assert (answer[0], part in answer[1]) == (status, True), (lines, answer)


def test_a_rotated_file_of_receipts_is_read_as_well(tmp_path):
    (tmp_path / "receipts").write_text("")
    (tmp_path / "receipts.1").write_text(receipt(6))
    files = [f"--receipts={tmp_path / name}" for name in ("receipts", "receipts.1", "receipts.2")]
    assert monitor(*files, "--job", "009ABC", "--within", "26h")[0] == 0


def compress(path):
    """As logrotate does."""
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as compressed:
        shutil.copyfileobj(plain, compressed)
    shutil.copystat(path, f"{path}.gz")
    os.remove(path)


def of_files(*names, job="009ABC"):
    return monitor(*(f"--receipts={name}" for name in names), "--job", job, "--within", "26h")


def test_the_file_that_was_written_to_last_is_the_last_one_however_they_are_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for hours_ago in (-9999, 5, 30):
        for name, text, age in (("new", receipt(9, 1, "failed"), 0), ("old", receipt(hours_ago), 50)):
            (tmp_path / name).write_text(text)
            os.utime(name, times=(time.time() - age,) * 2)
        assert of_files("new", "old")[0] == of_files("old", "new")[0] == 2
    os.utime("old", times=(time.time() + 50,) * 2)  # restored from a backup, say: then the dates are asked
    assert of_files("new", "old")[0] == 2


def test_a_failure_that_a_clock_has_dated_ahead_is_not_hidden_by_a_good_run_in_another_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = time.time()
    for name, text, hours_ago in (("a", receipt(-1, 1, "failed"), 2), ("b", receipt(3) + receipt(1, job="b"), 1)):
        (tmp_path / name).write_text(text)
        os.utime(name, (now, now - hours_ago * 3600))
    assert of_files("a", "b")[0] == 2
    (tmp_path / "b").write_text(receipt(1))
    os.utime("b", (now, now - 3600))
    assert of_files("a", "b")[0] == 0


def test_a_compressed_file_of_receipts_is_read_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "receipts.1").write_text(receipt(6, 1, "failed"))
    compress("receipts.1")
    assert of_files("receipts.1.gz")[0] == 2
    assert of_files("receipts.1")[0] == 2
    (tmp_path / "receipts").write_text(receipt(5, job="other"))
    assert of_files("receipts", "receipts.1")[0] == 2
    os.rename("receipts.1.gz", "receipts")
    assert of_files("receipts")[0] == 2


@pytest.mark.version("the errors of gzip")
def test_a_compressed_file_that_is_not_whole_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").write_text("".join(receipt(6, message=str(number) * 99) for number in range(99)))
    compress("r")
    whole = (tmp_path / "r.gz").read_bytes()
    for content in (*(whole[:length] for length in range(2, len(whole), 37)), whole + b"x", whole[:-8] + b"x" * 8):
        (tmp_path / "r.gz").write_bytes(content)
        status, text = of_files("r.gz")
        assert (status, "the receipts 'r.gz' cannot be read: " in text) == (3, True), text


def test_a_compressed_file_of_no_end_fills_neither_memory_nor_time(tmp_path, monkeypatch):
    monkeypatch.setattr("headless.admin.receipts._MAX_UNPACKED", 8 << 20)
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(1 << 20)) * 16)
    status, text = of_files(tmp_path / "bomb")
    assert (status, "it is compressed, and has more than" in text) == (3, True)


def test_the_worst_of_several_jobs_counts_and_each_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").write_text(receipt(6, 1, "failed", "A") + receipt(5, job="B") + receipt(4, job="x y"))
    argv = ("--receipts", "r", "--within", "26h", "--job")
    for jobs in (("A", "B"), ("B", "A"), ("A", "B", "A")):
        status, text = monitor(*argv, jobs[0], *(f"--job={job}" for job in jobs[1:]))
        assert (status, text.startswith("A failed ")) == (2, True)
        assert "; B ended well " in text
        assert re.search(r" B_age=1800\ds;;93600;0 B_runtime=0.000s;;;0", text)
    status, text = monitor(*argv, "x y", "--job", "x?y", "--job", "B")
    assert (status, text.count("has not ended"), " x_y_age=1440" in text) == (2, 1, True)
    assert monitor(*argv, "B", "--job", "x y")[0] == 0
    assert all(f"J{number} " in monitor(*argv, *" --job ".join(f"J{n}" for n in range(30)).split())[1]
               for number in range(30))  # fmt: skip


def test_a_good_run_at_another_server_or_of_another_user_hides_no_failure(tmp_path):
    bad = receipt(7, 1, "failed")
    for other in ({"server": "test:20000"}, {"user": "R42"}):
        (tmp_path / "receipts").write_text(bad + receipt(6, **other))
        status, text = of_files(tmp_path / "receipts")
        assert (status, text.startswith("009ABC of R41 at planta:20000 failed ")) == (2, True)


def test_the_jobs_of_another_user_do_not_count(tmp_path):
    (tmp_path / "receipts").write_text(receipt(6))
    argv = (f"--receipts={tmp_path / 'receipts'}", "--job", "009ABC", "--within", "26h", "--user")
    assert [monitor(*argv, user)[0] for user in ("R41", "R42")] == [0, 2]


@pytest.mark.slow
def test_the_monitor_agrees_with_a_real_server_and_with_the_receipts_of_calls(command, tmp_path):
    path = tmp_path / "receipts"
    environment = {**os.environ, "PLANTA_RECEIPT": str(path)}
    with QuickServer(tmp_path / "home") as server:
        for code, timeout, status in (("print(1)", "-1", 0), ("1/0", "-1", 2), ("pass", "0", 1)):
            command("-s", server.address, "-t", timeout, "-c", code, env=environment)
            if timeout == "-1":
                argv = ("--home", str(server.home), "--job", code, "--within", "1h")
                assert manage("monitor", *argv, check=False).returncode == status
            sha256 = json.loads(path.read_text().splitlines()[-1])["jobs"][0]["sha256"]
            for name in (sha256, code):
                assert monitor("--receipts", str(path), "--job", name, "--within", "1h")[0] == status


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
def test_what_is_no_file_of_receipts_is_unknown_and_nothing_hangs_or_fills_the_memory(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        status, text = monitor("--receipts", str(path), "--job", "009ABC", "--within", "26h")
        assert (status, f"the receipts {str(path)!r} cannot be read: " in text) == (3, True), text


def test_a_line_without_an_end_takes_no_memory_for_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("headless.admin.receipts._MAX_LINE", 1 << 20)
    path = tmp_path / "receipts"
    with open(path, "wb") as file:
        file.truncate(16 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + receipt(6).encode())
    tracemalloc.start()
    try:
        assert monitor("--receipts", str(path), "--job", "009ABC", "--within", "26h")[0] == 0
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# What cannot be found out


CANNOT_BE_FOUND_OUT = [
    ((), "the following arguments are required: --job, --within"),
    (("--job", "x", "--within", "26"), "'26' is not a time such as 90m, 26h or 8d"),
    (("--job", "x", "--within", "0h"), "is not a time"),
    (("--job", "", "--within", "1h", "--receipts", "x"), "--job: it is empty"),
    (("--job", "x", "--within", "1h", "--receipts", "x", "--user", ""), "--user has an empty value"),
    (("--job", "x", "--within", "1h"), "one of the arguments --home --receipts is required"),
    (("--job", "x", "--within", "1h", "--home", "nowhere"), "no server has lived in 'nowhere'"),
    (("--job", "x", "--within", "1h", "--receipts", "nowhere"), "there are no receipts 'nowhere'"),
    (("--job", "x", "--within", "1h", "--receipts", "\0"), "null"),
    (("--job", "x", "--within", "1h", "--receipts", "x", "--home", "x"), "not allowed with argument"),
]


def test_what_cannot_be_found_out_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argv, part in CANNOT_BE_FOUND_OUT:
        status, text = monitor(*argv)
        assert (status, part in text) == (3, True), (argv, text)


def test_a_journal_that_is_none_is_unknown(home):
    (home.folder / "planta.sqlite").write_bytes(b"x" * 4096)
    assert of(home)[0] == 3


def test_a_journal_that_cannot_be_read_is_unknown_and_the_line_names_the_home(home, record):
    journals.over(record, "S1")
    with closing(home.database()) as database:
        database.execute("ALTER TABLE jobs RENAME TO lost")
    status, text = of(home)
    assert (status, text.startswith(f"the home {str(home.folder)!r} cannot be read: no such table: ")) == (3, True)


# The verdict

NOW = 1_764_000_000.0
HOUR = 3600.0
WITHIN = 26 * HOUR


def over(hours_ago, state="ok", message="", seconds=7.0):
    return Execution(Stage.OVER, NOW - hours_ago * HOUR, state, message, seconds)


def going_on(hours_ago):
    return Execution(Stage.STILL_RUNS, NOW - hours_ago * HOUR)


def waiting(hours_ago):
    return Execution(Stage.STILL_RUNS, NOW - hours_ago * HOUR, "queued")


def accepted(hours_ago):
    return Execution(Stage.NOT_FOLLOWED, NOW - hours_ago * HOUR)


@pytest.mark.parametrize(
    ("executions", "level", "text"),
    [
        ([over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([over(25.9)], Level.OK, "J ended well DATE (26 h ago), after 7 s"),
        ([over(30, "failed"), over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([over(7, "failed"), over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([over(6), going_on(1)], Level.OK,
         "J ended well DATE (6 h ago), after 7 s; another one still runs, since DATE (60 min ago)"),
        ([over(6), accepted(1)], Level.OK, "J ended well DATE (6 h ago), after 7 s; another one was accepted DATE "
         "(60 min ago), and the call did not wait for its end (-t -1)"),
        ([accepted(7), over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([], Level.CRITICAL, "J has not ended within 26 h; it is not known to have ended well"),
        ([over(27)], Level.CRITICAL, "J has not ended within 26 h; it last ended well DATE (27 h ago)"),
        ([over(7), over(6, "failed", "no such table")], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: no such table"),
        ([over(6, "skipped")], Level.CRITICAL, "J skipped DATE (6 h ago), after 7 s"),
        ([over(6, "unknown", "lost", None)], Level.CRITICAL, "J ended, result not known, DATE (6 h ago): lost"),
        ([over(50), over(27, "failed", "no such table")], Level.CRITICAL,
         "J failed DATE (27 h ago), after 7 s: no such table"),
        ([over(6, "failed", "x"), going_on(1)], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: x; another one still runs, since DATE (60 min ago)"),
        ([over(27), going_on(3)], Level.WARNING,
         "J still runs, since DATE (3 h ago); it last ended well DATE (27 h ago)"),
        ([going_on(25)], Level.WARNING, "J still runs, since DATE (25 h ago); it is not known to have ended well"),
        ([going_on(50)], Level.CRITICAL, "J still runs, since DATE (2 d ago); it is not known to have ended well"),
        ([waiting(3)], Level.WARNING, "J waits, since DATE (3 h ago); it is not known to have ended well"),
        ([going_on(50), going_on(1)], Level.CRITICAL,
         "J still runs, since DATE (2 d ago); it is not known to have ended well"),
        ([over(27), accepted(3)], Level.WARNING,
         "J was accepted DATE (3 h ago), and the call did not wait for its end (-t -1); it last ended well DATE "
         "(27 h ago)"),
        ([accepted(30)], Level.CRITICAL, "J has not ended within 26 h; it is not known to have ended well"),
    ],
)  # fmt: skip
def test_the_last_job_that_is_over_counts(executions, level, text):
    assert judged(executions) == (level, text)


def judged(executions):
    report = judge("J", executions, WITHIN, NOW)
    return report.level, re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", report.text)


@pytest.mark.parametrize("hours_ago", [-99_999, -25, -1, 5, 30, 999_999])
def test_the_given_order_counts_and_no_clock(hours_ago):
    assert judged([over(6), over(hours_ago, "failed")])[0] is Level.CRITICAL
    assert judged([over(hours_ago), over(6, "failed")])[0] is Level.CRITICAL
    assert judged([over(hours_ago, "failed"), over(6)])[0] is Level.OK


def test_how_long_ago_a_job_ended_is_not_known_if_its_clock_was_ahead():
    text = "J ended well DATE (in the future), after 7 s; a clock is wrong, and how long ago that was is not known"
    for hours_ago in (-99_999, -25, -0.1):
        assert judged([over(6), over(hours_ago)]) == (Level.UNKNOWN, text)
        assert judge("J", [over(hours_ago)], WITHIN, NOW).age is None
    assert judged([over(-99_999, "failed", "x")]) == (Level.CRITICAL, "J failed DATE (in the future), after 7 s: x")
    assert judged([over(-99_999), over(6)])[0] is Level.OK


def test_between_two_sources_a_failure_is_the_later_one_if_its_date_says_so():
    bad, good = over(5, "failed"), over(6)
    assert judged([replace(bad, source="a"), replace(good, source="b")])[0] is Level.CRITICAL
    assert judged([replace(bad, source="a"), replace(over(5.5), source="a"), replace(good, source="b")])[0] is Level.OK
    assert judged([replace(over(7, "failed"), source="a"), replace(good, source="b")])[0] is Level.OK
    assert judged([replace(over(-99, "failed"), source="a"), replace(good, source="b")])[0] is Level.OK


def test_each_owner_has_a_last_job_and_the_worst_one_counts():
    def of(owner, run):
        return replace(run, owner=owner)

    bad, good, old = over(7, "failed"), over(6), over(50)
    assert judged([of("R41", bad), of("R42", good)]) == (Level.CRITICAL, "J of R41 failed DATE (7 h ago), after 7 s")
    assert judged([of("R41", bad), of("R41", good)])[0] is Level.OK
    assert judged([of("R41", old), of("R42", good)]) == (Level.OK, "J of R42 ended well DATE (6 h ago), after 7 s")
    assert judged([of("R41", over(50, "failed")), of("R42", old)])[0] is Level.CRITICAL


def test_of_two_levels_the_worse_one_is_that_of_the_monitoring_plugins():
    assert sorted(Level, key=lambda level: level.severity) == [
        Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL,
    ]  # fmt: skip


def test_the_figures_are_the_age_of_the_last_good_end_and_the_runtime():
    report = judge("J", [over(27, seconds=5.0), over(6, "failed", seconds=7.5)], WITHIN, NOW)
    assert (report.age, report.runtime) == (27 * HOUR, 7.5)
    assert judge("J", [], WITHIN, NOW).age is None


def test_a_clock_that_was_set_back_makes_no_negative_age():
    report = judge("J", [over(-0.05)], WITHIN, NOW)
    assert (report.level, report.age) == (Level.OK, 0.0)
    assert "(0 s ago)" in report.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_duration_is_written_in_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text
