"""headless monitor: the line and the exit status of a plugin, from the home of a server and from receipts."""

from __future__ import annotations

import json
import os
import re
import time
import tracemalloc
from contextlib import closing

import pytest

from headless.server.journal import Journal
from support.homes import R41, make_home
from support.in_process import run_here
from support.job_server import QuickServer
from support.journals import batch, end, over
from support.process import manage

# Monitoring Plugins Development Guidelines, section "Performance data".
LINE = re.compile(
    r"PLANTA (OK|WARNING|CRITICAL|UNKNOWN): [^|\n]+( \| \w+=[\d.]+s(;[\d.]*){1,3}( \w+=[\d.]+s(;[\d.]*){1,3})*)?\n"
)


def monitor(*argv):
    """The exit status and the text of the line."""
    done = run_here("monitor", *argv)
    assert done.stderr == ""
    assert LINE.fullmatch(done.stdout), done.stdout
    word, _, text = done.stdout.removeprefix("PLANTA ").partition(": ")
    assert word == ("OK", "WARNING", "CRITICAL", "UNKNOWN")[done.status]
    return done.status, text


# The home of a server


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home", R41)


@pytest.fixture
def record(home):
    """The journal. Each change is on disk at once, as another process has to see it."""
    with closing(home.database()) as database:
        database.isolation_level = None
        yield Journal(database)


def of(home, job="1", within="26h", *more):
    return monitor("--home", str(home.folder), "--job", job, "--within", within, *more)


def test_a_job_that_ended_well_is_ok(home, record):
    over(record, "S1")
    status, text = of(home)
    assert status == 0
    assert re.match(r"1 ended well \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(0 s ago\), after 0 s \| age=\d+s;;93600;0 ", text)


def test_a_job_that_failed_since_is_critical_and_the_line_says_why(home, record):
    over(record, "S1")
    record.accept(batch("S2"))
    record.begin("S2")
    record.finish("S2", 1, end("failed", "no | such\ntable", 3.0))
    status, text = of(home)
    assert (status, "no / such\\ntable" in text) == (2, True)


def test_a_job_that_never_started_is_critical(home, record):
    over(record, "S1")
    assert of(home, "009ABC")[0] == 2


def test_a_job_that_waits_or_runs_is_a_warning(home, record):
    record.accept(batch("S1"))
    status, text = of(home)
    assert (status, text.startswith("1 waits since ")) == (1, True)


def test_a_job_that_no_server_sees_to_any_more_is_critical(home, record):
    record.accept(batch("S1"))
    record.begin("S1")
    status, text = of(home)
    assert (status, "nobody knows how" in text) == (2, True)


def test_the_runs_of_one_user_alone_count_if_that_is_said(home, record):
    over(record, "S1", user="R41")
    assert of(home, "1", "26h", "--user", "R41")[0] == 0
    assert of(home, "1", "26h", "--user", "R42")[0] == 2


def test_a_job_is_named_by_its_module_by_its_file_or_by_its_code_or_title(home, record):
    long = "x = 1  # " * 20
    for session, kind, text in (
        ("S1", "module", "009ABC"),
        ("S2", "py_file", "nightly/close.py"),
        ("S3", "py_code", "a\nb"),
        ("S4", "py_code", long),
    ):
        record.accept(batch(session, kind=kind, text=text))
        record.begin(session)
        record.finish(session, 1, end("ok"))
    ended_well = ("009ABC", "nightly/close.py", "a", "a\nb", long, long[:60].rstrip())
    assert [of(home, name)[0] for name in ended_well] == [0] * 6
    assert [of(home, name)[0] for name in ("b", "a\nc", long + "x", "nightly/close.py\nb")] == [2] * 4


@pytest.mark.slow
def test_the_monitor_agrees_with_a_real_server(command, tmp_path):
    with QuickServer(tmp_path / "home") as server:
        for code, status in (("print(1)", 0), ("1/0", 2)):
            command("-s", server.address, "-t", "-1", "-c", code)
            done = manage("monitor", "--home", str(server.home), "--job", code, "--within", "1h", check=False)
            assert done.returncode == status, done.stdout


# Receipts


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def receipt(hours_ago, code=0, status="ok", job="009ABC", **more):
    at = iso(time.time() - hours_ago * 3600)
    fields = {"when": at, "user": "R41", "accepted": at, "ended": at, "returned": at, "code": code, "message": "why",
              "proof": "ended" if code == 0 else None, "submission": "submitted",
              "jobs": [{"kind": "module", "name": job, "status": status}]}  # fmt: skip
    return json.dumps({**fields, **more}) + "\n"


@pytest.mark.parametrize(
    ("lines", "status", "part"),
    [
        ([receipt(6)], 0, "ended well"),
        ([receipt(30)], 2, "it last ended well"),
        ([receipt(24 * 60)], 2, "no run that ended well is known"),  # further back nobody looks
        ([receipt(7), receipt(6, 1, "failed")], 2, "failed"),
        ([receipt(6, 1, "skipped")], 2, "skipped"),
        ([receipt(6, 0, None)], 0, "ended well"),  # of a wire that does not tell of jobs
        ([receipt(6, 0, None, proof="accepted", ended=None)], 1, "nobody has waited for its end (-t -1)"),
        ([receipt(6, 3, None, ended=None)], 1, "was accepted"),
        ([receipt(6, 1, None, ended=None)], 2, "nobody knows how, "),
        ([receipt(6, 1, None, ended=None, submission="not submitted")], 2, "failed"),
        ([receipt(6, 2, None, accepted=None, ended=None, submission="not submitted")], 2, ": why"),
        ([receipt(6, None, None, ended=None, signal=15)], 2, "nobody knows how"),
        ([receipt(6, job="009ABD")], 2, "has not ended within 26 h"),
        ([], 2, "has not ended within 26 h"),
        (
            ["\0" * 50, "{\n", "[]\n", '{"jobs": "009ABC"}\n', '"009ABC"\n', receipt(6)[:90], "\n", receipt(6)],
            0,
            "well",
        ),
        ([receipt(6, job="a"), receipt(6, 1, None, jobs=[])], 2, "has not ended"),
    ],
)
def test_receipts_tell_as_much_as_the_command_has_learnt(tmp_path, lines, status, part):
    (tmp_path / "receipts").write_text("".join(lines))
    told = monitor("--receipts", str(tmp_path / "receipts"), "--job", "009ABC", "--within", "26h")
    assert (told[0], part in told[1]) == (status, True), told


def test_a_rotated_file_of_receipts_is_read_as_well(tmp_path):
    (tmp_path / "receipts").write_text("")
    (tmp_path / "receipts.1").write_text(receipt(6))
    files = [f"--receipts={tmp_path / name}" for name in ("receipts", "receipts.1", "receipts.2")]
    assert monitor(*files, "--job", "009ABC", "--within", "26h")[0] == 0


def test_the_runs_of_another_user_do_not_count(tmp_path):
    (tmp_path / "receipts").write_text(receipt(6))
    argv = (f"--receipts={tmp_path / 'receipts'}", "--job", "009ABC", "--within", "26h", "--user")
    assert [monitor(*argv, user)[0] for user in ("R41", "R42")] == [0, 2]


@pytest.mark.slow
def test_the_monitor_reads_what_the_command_writes(command, tmp_path):
    path = tmp_path / "receipts"
    environment = {**os.environ, "PLANTA_RECEIPT": str(path)}
    with QuickServer(tmp_path / "home") as server:
        for code, timeout, status in (("print(1)", "-1", 0), ("1/0", "-1", 2), ("pass", "0", 1)):
            command("-s", server.address, "-t", timeout, "-c", code, env=environment)
            sha256 = json.loads(path.read_text().splitlines()[-1])["jobs"][0]["sha256"]
            for name in (sha256, code):
                assert monitor("--receipts", str(path), "--job", name, "--within", "1h")[0] == status


@pytest.mark.skipif(os.name == "nt", reason="there are no such files on Windows")
def test_what_is_no_file_of_receipts_is_unknown_and_nothing_hangs_or_fills_the_memory(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        status, text = monitor("--receipts", str(path), "--job", "009ABC", "--within", "26h")
        assert (status, f"the receipts {str(path)!r} cannot be read: " in text) == (3, True), text


def test_a_line_without_an_end_takes_no_memory_for_all_of_it(tmp_path):
    path = tmp_path / "receipts"
    with open(path, "wb") as file:
        file.truncate(300 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + receipt(6).encode())
    tracemalloc.start()
    try:
        assert monitor("--receipts", str(path), "--job", "009ABC", "--within", "26h")[0] == 0
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


# What cannot be said


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ((), "the following arguments are required: --job, --within"),
        (("--job", "x", "--within", "26"), "'26' is not a time such as 90m, 26h or 8d"),
        (("--job", "x", "--within", "0h"), "is not a time"),
        (("--job", "", "--within", "1h", "--receipts", "x"), "--job: it is empty"),
        (("--job", "x", "--within", "1h", "--receipts", "x", "--user", ""), "--user: it is empty"),
        (("--job", "x", "--within", "1h"), "one of the arguments --home --receipts is required"),
        (("--job", "x", "--within", "1h", "--home", "nowhere"), "no server has lived in 'nowhere'"),
        (("--job", "x", "--within", "1h", "--receipts", "nowhere"), "there are no receipts 'nowhere'"),
        (("--job", "x", "--within", "1h", "--receipts", "\0"), "null"),
        (("--job", "x", "--within", "1h", "--receipts", "x", "--home", "x"), "not allowed with argument"),
    ],
)
def test_what_cannot_be_said_is_unknown(argv, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = monitor(*argv)
    assert (status, part in text) == (3, True), text


def test_a_journal_that_is_none_is_unknown(home):
    (home.folder / "planta.sqlite").write_bytes(b"x" * 4096)
    assert of(home)[0] == 3


def test_a_journal_that_cannot_be_read_is_unknown_and_the_line_names_the_home(home, record):
    over(record, "S1")
    with closing(home.database()) as database:
        database.execute("ALTER TABLE jobs RENAME TO lost")
    status, text = of(home)
    assert (status, text.startswith(f"the home {str(home.folder)!r} cannot be read: no such table: ")) == (3, True)
