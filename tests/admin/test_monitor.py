"""headless monitor: the line and the exit status of a plugin, from the home of a server and from receipts."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing

import pytest

from headless.server.journal import JobEnd
from support import journals
from support.command_here import headless
from support.job_server import QuickServer
from support.journals import end, new_session
from support.process import ROOT, manage

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


def of(home, job="1", within="26h", *more):
    return monitor("--home", str(home.folder), "--job", job, "--within", within, *more)


def test_a_job_from_before_its_start_to_its_failure(home, record):
    assert of(home)[0] == 2  # never started
    record.accept(new_session("S1"))
    assert of(home)[0] == 1
    assert of(home)[1].startswith("1 waits, since ")
    record.begin("S1")
    assert of(home)[0] == 2  # no server runs
    assert "result not known" in of(home)[1]
    record._database.execute("UPDATE jobs SET started = started - 60")
    with home.lock():  # a server runs, and no process of the job
        status, text = of(home)
    assert (status, ": no process of it runs: " in text) == (1, True)
    record.finish("S1", 1, end("ok"))
    status, text = of(home)
    assert status == 0
    assert re.match(r"1 ended well \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s ago\), after 0 s \| age=\d+s;;93600;0 ", text)
    record.accept(new_session("S2"))
    record.begin("S2")
    record.finish("S2", 1, end("failed", "no | such\ntable", 3.0))
    status, text = of(home)
    assert (status, "no / such\\ntable" in text) == (2, True)
    assert of(home, "009ABC")[0] == 2


def test_a_lost_job_counts_from_when_that_was_known_and_is_not_hidden_by_a_good_one_beside_it(home, record):
    for session in ("S1", "S2"):  # at the same time
        record.accept(new_session(session))
        record.begin(session)
    record._database.execute("UPDATE jobs SET started = started - 7200")
    record.finish("S2", 1, end("ok"))
    status, text = of(home)
    assert (status, "result not known" in text) == (2, True), text  # of S1
    record._database.execute("UPDATE jobs SET ended = ended - 3600")
    record.finish("S1", 1, JobEnd("interrupted", "lost"))
    status, text = of(home, "1", "1h")
    assert (status, re.search(r"1 interrupted \S+ \S+ \(\d+ s ago\): lost", text) is not None) == (2, True), text


@pytest.mark.parametrize("shift", [-99_999_999, 0, 99_999_999])
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
        ([receipt(6, 0, None, proof="ended, no result told")], 0, "ended well"),
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


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file of receipts in the current folder, which was changed last so many seconds ago."""
    monkeypatch.chdir(tmp_path)

    def write(name, text, seconds_ago=0.0):
        (tmp_path / name).write_text(text)
        os.utime(name, times=(time.time() - seconds_ago,) * 2)

    return write


def of_files(*names, job="009ABC", more=()):
    return monitor(*(f"--receipts={name}" for name in names), "--job", job, "--within", "26h", *more)


def test_receipts_show_as_much_as_the_command_knew(write):
    for lines, status, part in receipts():
        write("receipts", "".join(lines))
        answer = of_files("receipts")
        assert (answer[0], part in answer[1]) == (status, True), (lines, answer)


def compress(path):
    """As logrotate does."""
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as compressed:
        shutil.copyfileobj(plain, compressed)
    shutil.copystat(path, f"{path}.gz")
    os.remove(path)


def test_a_rotated_file_is_read_compressed_or_not_whatever_it_is_called(write):
    write("receipts", "")
    write("receipts.1", receipt(6, 1, "failed"))
    assert of_files("receipts", "receipts.1", "receipts.2")[0] == 2
    compress("receipts.1")
    write("receipts", receipt(5, job="other"))
    for names in (("receipts.1.gz",), ("receipts.1",), ("receipts", "receipts.1")):
        assert of_files(*names)[0] == 2
        assert " failed " in of_files(*names)[1]
    os.rename("receipts.1.gz", "receipts")
    assert " failed " in of_files("receipts")[1]


def test_the_file_that_was_written_to_last_is_the_last_one_however_they_are_given(write):
    for hours_ago in (-9999, 5, 30):
        write("new", receipt(9, 1, "failed"))
        write("old", receipt(hours_ago), 50)
        assert of_files("new", "old")[0] == of_files("old", "new")[0] == 2
    write("old", receipt(30), -50)  # restored from a backup, say: then the dates are asked
    assert of_files("new", "old")[0] == 2


def test_a_failure_that_a_clock_has_dated_ahead_is_not_hidden_by_a_good_run_in_another_file(write):
    write("a", receipt(-1, 1, "failed"), 2 * 3600)
    write("b", receipt(3) + receipt(1, job="b"), 3600)
    assert of_files("a", "b")[0] == 2
    write("b", receipt(1), 3600)
    assert of_files("a", "b")[0] == 0


@pytest.mark.version("the errors of gzip")
def test_a_compressed_file_that_is_not_whole_is_unknown(write, tmp_path):
    write("r", "".join(receipt(6, message=str(number) * 99) for number in range(99)))
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


# The first line of a call


def begun(hours_ago, key="K", **more):
    """The first line of a call, of a process that is not there."""
    line = json.loads(receipt(hours_ago))
    fields = {name: line[name] for name in ("when", "user", "server", "jobs")}
    return (
        json.dumps({**fields, "event": "start", "key": key, "host": socket.gethostname(), "pid": GONE, **more}) + "\n"
    )


GONE = 2**22 + 1  # above what Linux gives: proc(5), pid_max


@pytest.mark.skipif(os.name == "nt", reason="there it is not known which processes are there")
def test_a_call_without_a_second_line_still_runs_or_was_killed(write, running_call):
    for lines, status, part in (
        ([begun(6, pid=running_call)], 1, "still runs"),
        ([begun(6)], 2, "result not known, "),
        ([begun(6)], 2, "there is no second line of its call, and no process"),
        ([begun(6, pid=1)], 2, "result not known, "),  # another program has the number by now
        ([begun(6, host="another")], 1, ": or was killed;"),
        ([begun(6), receipt(6)], 0, "ended well"),
        ([receipt(6), begun(6)], 0, "ended well"),  # a disk was slow
        # Where one is in the order counts.
        ([begun(9, "A"), begun(6), receipt(6)], 0, "ended well"),
        ([receipt(9, key="A"), begun(6)], 2, "result not known, "),
        ([begun(9, "A", host="another"), receipt(6)], 0, "after 0 s |"),  # nothing is said of what is long past
        ([receipt(9, key="A"), begun(6, host="another")], 0, "another one still runs"),
        ([begun(6, job="other", jobs=[]), receipt(5, key="A")], 0, "ended well"),
        ([begun(6), begun(5, "B", pid=running_call)], 2, "result not known, "),
        ([begun(6)[:80], "\n", receipt(5)], 0, "ended well"),
        ([begun(5, jobs=[])], 2, "has not ended within"),
    ):
        write("receipts", "".join(lines))
        answer = of_files("receipts")
        assert (answer[0], part in answer[1]) == (status, True), (lines, answer)


@pytest.mark.skipif(os.name == "nt", reason="there it is not known which processes are there")
def test_a_call_whose_second_line_is_in_another_file_or_comes_while_it_is_read_has_ended(
    write, tmp_path, monkeypatch, running_call
):
    write("receipts.1", begun(6), 50)
    write("receipts", receipt(6))
    assert of_files("receipts", "receipts.1")[0] == 0
    assert of_files("receipts.1")[0] == 2
    write("receipts.1", begun(6, pid=running_call), 50)
    assert "still runs" not in of_files("receipts", "receipts.1")[1]
    write("receipts.1", begun(6), 50)

    def kill(_pid, _signum):
        with open(tmp_path / "receipts.1", "a") as file:
            file.write(receipt(6))
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    assert of_files("receipts.1")[0] == 0


# A folder


def test_a_folder_is_all_files_of_its_users(write, tmp_path):
    (tmp_path / "d").mkdir()
    assert of_files("d") == (3, "there are no receipts 'd': is PLANTA_RECEIPT set where the job is?\n")
    write("d/a.jsonl", receipt(6, job="A", os_user="a"))
    write("d/b.jsonl", "")
    write("d/b.jsonl.1", receipt(6, 1, "failed", job="B", os_user="b"))
    compress("d/b.jsonl.1")
    write("d/other", receipt(6, job="C"))
    assert [of_files("d", job=job)[0] for job in "ABC"] == [0, 2, 2]
    assert "failed" in of_files("d", job="B")[1]


@pytest.mark.skipif(os.name == "nt", reason="there it is not known which processes are there")
def test_in_a_folder_no_user_ends_the_call_of_another_one(write, tmp_path):
    (tmp_path / "d").mkdir()
    write("d/a.jsonl", receipt(5, os_user="a", user="A"))
    write("d/b.jsonl", begun(6, os_user="b"))
    status, text = of_files("d", more=("--user", "R41"))
    assert (status, "there is no second line of its call" in text) == (2, True), text


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file to somebody else"
)
def test_in_a_folder_nobody_can_write_receipts_of_somebody_else(write, tmp_path):
    (tmp_path / "d").mkdir()
    good, bad = receipt(6, os_user="daemon"), receipt(7, 1, "failed", os_user="root")
    for name, owner, text, status in (
        ("daemon.jsonl", "daemon", good, 0),
        ("daemon.jsonl", "root", good, 0),  # as a backup or logrotate may have made it
        ("root.jsonl", "daemon", bad + good, 3),
        ("daemon.jsonl", "daemon", bad + good.replace('"daemon"', '"root"'), 2),
        ("nobody-has-this-name.jsonl", "daemon", good, 3),
    ):
        write(f"d/{name}", text)
        shutil.chown(tmp_path / "d" / name, owner)
        assert of_files("d")[0] == status, (name, owner)
        os.remove(tmp_path / "d" / name)
    write("real", good)
    (tmp_path / "d" / "daemon.jsonl").symlink_to(tmp_path / "real")
    assert of_files("d")[0] == 3
    os.mkfifo(tmp_path / "d" / "fifo.jsonl")
    write("d/root.jsonl", receipt(6, os_user="root"))
    assert of_files("d")[0] == 0  # nor does what is put there keep the others from being read


def test_the_worst_of_several_jobs_counts_and_each_one_is_named(write):
    write("r", receipt(6, 1, "failed", "A") + receipt(5, job="B") + receipt(4, job="x y"))
    argv = ("--receipts", "r", "--within", "26h", "--job")
    for jobs in (("A", "B"), ("B", "A"), ("A", "B", "A")):
        status, text = monitor(*argv, jobs[0], *(f"--job={job}" for job in jobs[1:]))
        assert (status, text.startswith("A failed ")) == (2, True)
        assert "; B ended well " in text
        assert re.search(r" B_age=18\d{3}s;;93600;0 B_runtime=0.000s;;;0", text)
    status, text = monitor(*argv, "x y", "--job", "x?y", "--job", "B")
    assert (status, text.count("has not ended"), " x_y_age=1440" in text) == (2, 1, True)
    assert monitor(*argv, "B", "--job", "x y")[0] == 0
    many = monitor(*argv, *" --job ".join(f"J{number}" for number in range(30)).split())[1]
    assert all(f"J{number} " in many for number in range(30))


def test_a_good_run_at_another_server_or_of_another_user_hides_no_failure(write):
    for other in ({"server": "test:20000"}, {"user": "R42"}):
        write("r", receipt(7, 1, "failed") + receipt(6, **other))
        status, text = of_files("r")
        assert (status, text.startswith("009ABC of R41 at planta:20000 failed ")) == (2, True)
    assert [of_files("r", more=("--user", user))[0] for user in ("R41", "R42", "R43")] == [2, 0, 2]


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
    for path in (tmp_path / "fifo", "/dev/zero"):
        status, text = of_files(path)
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
        assert of_files(path)[0] == 0
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# What cannot be found out


CANNOT_BE_FOUND_OUT = [
    ((), "one of the arguments --job --crontab --system is required"),
    (("--job", "x", "--receipts", "x"), "--job needs --within"),
    (("--job", "x", "--within", "1h", "--receipts", "x", "--prometheus", "x"), "--prometheus"),
    (("--crontab", "x", "--within", "1h", "--receipts", "x"), "--within and --user belong to --job"),
    (("--crontab", "nowhere", "--receipts", "x"), "'nowhere' cannot be read"),
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


@pytest.mark.slow
def test_one_job_is_monitored_without_the_extra_admin(tmp_path):
    """In a folder that was copied by hand there are bcrypt and lxml alone."""
    (tmp_path / "receipts").write_text(receipt(6))
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['croniter', 'tree_sitter', 'mslex', 'jinja2'])); "
        "from headless.cli import run_tools; run_tools()"
    )
    argv = ["monitor", "--job", "009ABC", "--within", "26h", "--receipts", tmp_path / "receipts"]
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:10]) == (0, "PLANTA OK:")
    argv[1:5] = ["--system"]
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n"), "install it with" in done.stdout) == (3, 1, True)


def test_what_cannot_be_found_out_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argv, part in CANNOT_BE_FOUND_OUT:
        status, text = monitor(*argv)
        assert (status, part in text) == (3, True), (argv, text)


def test_a_journal_that_cannot_be_read_is_unknown_and_the_line_names_the_home(home):
    with closing(home.database()) as database:
        database.execute("ALTER TABLE jobs RENAME TO lost")
    status, text = of(home)
    assert (status, text.startswith(f"the home {str(home.folder)!r} cannot be read: no such table: ")) == (3, True)
    (home.folder / "planta.sqlite").write_bytes(b"x" * 4096)
    assert of(home)[0] == 3
