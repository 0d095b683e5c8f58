"""`python -m headless jobs`: what it prints of the journal, as lines and as JSON. Columns, following and forgetting are
in test_listing.py."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest

from headless.server.accounts import Account
from support.homes import make_home
from support.in_process import run_here
from support.job_code import Gate
from support.job_server import QuickServer, journal
from support.management import fails, prints
from support.process import ROOT, manage
from support.raw_client import connect, py_code, run

KEYS = ["session", "job", "user", "kind", "state", "accepted", "started", "ended", "message"]


@pytest.fixture(scope="module")
def failed(server):
    """A session that has failed: its first job was ok and has printed something."""
    (server.home / "modules" / "OK.py").write_text("import sys; print('one\\ntwo'); print('three', file=sys.stderr)")
    with connect(server).log_in() as client:
        client.submit("<module>OK</module>", py_code("raise SystemExit('no such table')"), py_code("1"))
        assert client.report().ended == "failed"
    return client.session


def test_json_is_one_object_a_job(server, failed):
    entries = [entry for entry in journal(server) if entry["session"] == failed]
    assert [list(entry) for entry in entries] == [KEYS] * 3
    fixed = [[entry[key] for key in ("job", "user", "kind", "state", "message")] for entry in entries]
    assert fixed == [
        [1, "R41", "module", "ok", ""],
        [2, "R41", "py_code", "failed", "no such table"],
        [3, "R41", "py_code", "skipped", ""],
    ]


def test_times_are_those_of_the_clock_with_their_time_zone(server):
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)  # the journal shows no more
    run(server, py_code("1"))
    entry = journal(server)[-1]
    accepted, started, ended = (datetime.fromisoformat(entry[key]) for key in ("accepted", "started", "ended"))
    assert before <= accepted <= started <= ended <= datetime.now(timezone.utc)


def test_without_json_it_is_one_line_a_job(server, failed):
    lines = [line for line in prints("jobs", "--home", str(server.home)) if line.startswith(failed)]
    entries = [entry for entry in journal(server) if entry["session"] == failed]
    assert len(lines) == 3
    for line, entry in zip(lines, entries):
        day, time = f"{datetime.fromisoformat(entry['accepted']).astimezone():%Y-%m-%d %H:%M:%S}".split()
        columns = line.split()
        assert columns[:5] == [failed, str(entry["job"]), entry["state"], day, time]
        assert {entry["user"], entry["kind"]} <= set(columns)
        assert line.endswith(entry["message"] or entry["kind"])


def test_a_session_is_shown_alone_and_with_its_output(server, failed):
    run(server, py_code("print('another session')"))
    lines = prints("jobs", failed, "--home", str(server.home))
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [
        [failed, "1"],
        [failed, "2"],
        [failed, "3"],
    ]
    assert lines[1:4] == ["  1 stdout: one", "  1 stdout: two", "  1 stderr: three"]
    first = journal(server, failed)[0]
    assert list(first) == [*KEYS, "stdout", "stderr"]
    assert (first["stdout"], first["stderr"]) == ("one\ntwo\n", "three\n")


def test_the_stored_output_is_what_the_job_wrote(server):
    with connect(server).log_in() as client:
        client.submit(py_code("import os; os.write(1, b'10%\\r20%\\r\\n\\xff')"))
        client.report()
    assert journal(server, client.session)[0]["stdout"] == "10%\r20%\r\n\ufffd"


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_session_that_is_not_there_is_a_1(server, json):
    fails("5f0c", "jobs", "5f0c", *json, "--home", str(server.home))


def test_an_empty_journal_is_no_error(home):
    assert prints("jobs", "--home", home) == prints("jobs", "--json", "--home", home) == []


def test_the_journal_survives_and_the_newest_job_is_last(tmp_path):
    gate = Gate(tmp_path / "gate")
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        run(server, py_code("raise SystemExit(1)"), py_code("2"))
        with connect(server).log_in() as running, connect(server).log_in() as waiting:
            running.submit(py_code(gate.code))
            waiting.submit(py_code("1"))
            running.expect("started")
            before = journal(server)
            gate.open()
            waiting.report()
        server.stop()
        server.start()
        run(server, py_code("1"))
        after = journal(server)
    assert [entry["state"] for entry in before] == ["failed", "skipped", "running", "queued"]
    assert [entry["state"] for entry in after] == ["failed", "skipped", "ok", "ok", "ok"]
    assert [entry["session"] for entry in after[:4]] == [entry["session"] for entry in before]
    assert before[:2] == after[:2]
    assert (before[2]["ended"], before[3]["started"], before[3]["ended"]) == (None, None, None)


# What is printed


PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("argv", [("jobs",), ("user", "list")], ids=" ".join)
def test_everything_printed_reaches_a_pipe(server, argv):
    expected = run_here(*argv, "--home", str(server.home)).stdout
    assert server.manage(*argv, env=PLAIN).stdout == expected != ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_what_cannot_be_printed_is_an_error(home):
    command = [sys.executable, "-m", "headless", "user", "list", "--home", home]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, env=PLAIN, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert " error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_character_that_stdout_does_not_know_is_no_error(tmp_path):
    home = str(make_home(tmp_path / "home", Account("Jürgen", "jdoe", None), Account("R41", "jdoe", None)).folder)
    lines = manage("user", "list", "--home", home, env={**PLAIN, "PYTHONIOENCODING": "ascii"}).stdout.splitlines()
    assert lines[1] == "R41 osuser=jdoe"
    assert lines[0].endswith("rgen osuser=jdoe")


def test_output_that_stdout_does_not_know_is_no_error(server):
    with connect(server).log_in() as client:
        client.submit(py_code("raise SystemExit('keine Tabelle für Zürich')"))
        client.report()
    shown = server.manage("jobs", client.session, env={**PLAIN, "PYTHONIOENCODING": "ascii"}).stdout
    assert shown.count("keine Tabelle") == 2
