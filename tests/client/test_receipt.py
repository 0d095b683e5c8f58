"""PLANTA_RECEIPT: a line of JSON when a call begins and one when it ends, whole, that say what is known of it; and
nothing that fails there changes a return code."""

from __future__ import annotations

import _thread
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any
from unittest.mock import Mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headless import cli
from headless.client import preparation
from headless.client import receipt as receipt_module
from headless.client.receipt import Receipt
from headless.dialects.base import Accepted, Attached, JobFinished, JobStarted
from headless.dialects.vocabulary import Offset
from headless.errors import ParameterError
from headless.options import parse
from support.dialogues import (
    ACCEPTED,
    ENDED,
    FAILED,
    FINISHED,
    STARTED,
    WELCOME,
    answering_jobs,
    answering_login,
    serving,
)
from support.fork_server import start
from support.hypothesis_settings import examples
from support.job_server import QuickServer, journal
from support.process import ENDING_SIGNALS, PATIENCE, ROOT, current_user
from support.stalls import stalls
from support.unreliable_relay import Ends, UnreliableRelay
from support.waiting import wait_until

OF_BOTH = ["when", "local", "event", "key", "host", "pid", "os_user", "user", "server", "timeout"]
OF_THE_START = [*OF_BOTH, "jobs"]
FIELDS = [
    *OF_BOTH, "session", "jobs", "accepted", "waited", "ended", "returned", "code", "signal", "exit_status", "attached",
    "proof", "submission", "message",
]  # fmt: skip
CODE = "print('\u00e4')"
JOBS = ("-m", "009ABC", "-f", "nightly/close.py", "-c", CODE)
GOOD = [
    document.format(job)
    for job in (1, 2, 3)
    for document in (
        '<started job="{}"/>',
        '<output job="{}" stream="stdout">x</output>',
        '<finished job="{}" status="ok"/>',
    )
]


@pytest.fixture
def call(here, tmp_path):
    """Calls the command with a receipt, and returns what it did and what its line says."""

    def call(*argv, **options):
        file = tmp_path / "receipts"
        done = here(*argv, env={**os.environ, "PLANTA_RECEIPT": str(file)}, **options)
        return done, lines_of(file)[-1]

    return call


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]


def moment(text: str) -> datetime:
    """The time of a receipt, to the millisecond and with its offset."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)", text)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_a_call_that_ended_well(call, scripted):
    server = scripted(serving(*GOOD, ENDED))
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    done, said = call("-s", server.address, "-u", "R41", "-t", "-1", *JOBS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(said) == FIELDS
    jobs = said.pop("jobs")
    times = [moment(said.pop(name)) for name in ("when", "accepted")]
    times += [moment(job.pop(name)) for job in jobs for name in ("started", "ended")]
    times += [moment(said.pop(name)) for name in ("ended", "returned")]
    moments = [before, *times, datetime.now(timezone.utc)]
    assert moments == sorted(moments)
    assert moment(said.pop("local")) == times[0]
    assert len(bytes.fromhex(said.pop("key"))) == 16
    assert 0 <= said.pop("waited") < PATIENCE
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert jobs == [
        {"kind": "module", "name": "009ABC", "title": "009ABC", "status": "ok"},
        {"kind": "py_file", "name": "nightly/close.py", "title": "nightly/close.py", "status": "ok"},
        {"kind": "py_code", "sha256": digest, "title": f"py_code {digest[:8]}", "status": "ok"},
    ]
    assert said == {
        "event": "end", "host": socket.gethostname(), "pid": os.getpid(), "os_user": current_user(), "user": "R41",
        "server": server.address, "timeout": -1, "session": "s1", "code": 0, "signal": None, "exit_status": 0,
        "attached": 0, "proof": "ended", "submission": "submitted", "message": "",
    }  # fmt: skip


def test_the_start_of_a_call_is_there_before_its_connection_and_joined_by_the_key(call, scripted, tmp_path):
    """So a call that was killed, or still runs, is seen."""
    begun = []

    def script(peer):
        begun.extend(lines_of(tmp_path / "receipts"))
        serving(*GOOD, ENDED)(peer)

    _, said = call("-s", scripted(script).address, "-u", "R41", "-t", "9", *JOBS)
    (start,) = begun
    assert list(start) == OF_THE_START
    assert (start["event"], start["timeout"]) == ("start", 9)
    for name in set(OF_BOTH) - {"event"}:
        assert start[name] == said[name], name
    known = ("kind", "name", "sha256", "title")
    assert start["jobs"] == [{name: job[name] for name in known if name in job} for job in said["jobs"]]
    assert [line["event"] for line in lines_of(tmp_path / "receipts")] == ["start", "end"]
    assert (tmp_path / "receipts").read_text().count('\n{"when": "') == 1
    assert CODE not in (tmp_path / "receipts").read_text()


@pytest.mark.parametrize("zone", ["UTC0", "XXX-5:45", "XXX+3:30"])
@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has no tzset")
def test_local_time_is_said_with_its_offset(call, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        _, said = call()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert said["local"][-6:] == {"UTC0": "+00:00", "XXX-5:45": "+05:45", "XXX+3:30": "-03:30"}[zone]
    assert moment(said["local"]) == moment(said["when"])


def test_what_was_not_heard_of_a_job_is_null(call, scripted):
    failed, skipped = '<finished job="1" status="failed"/>', '<finished job="2" status="skipped"/>'
    server = scripted(serving('<started job="1"/>', failed, skipped, '<ended status="failed"/>'))
    _, said = call("-s", server.address, "-t", "-1", "-c", "1", "-c", "2")
    assert [(job["status"], job["started"] is None) for job in said["jobs"]] == [("failed", False), ("skipped", True)]
    _, said = call("-s", scripted(serving()).address, "-c", "1")
    assert (said["waited"], said["jobs"][0]["started"], said["jobs"][0]["ended"]) == (None, None, None)


def test_a_call_without_t_is_proved_by_the_acceptance(call, scripted, tmp_path):
    done, said = call("-s", scripted(serving()).address, "-c", "1")
    assert done.returncode == 0
    assert (said["code"], said["proof"], said["ended"], said["user"]) == (0, "accepted", None, current_user())
    assert [job["status"] for job in said["jobs"]] == [None]
    assert os.name == "nt" or (tmp_path / "receipts").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "argv"),
    [("", ["-c", "1"]), (os.devnull, ["-c", "1"]), ("receipts", ["--help"]), ("receipts", ["--version"])],
)
def test_without_a_file_and_for_a_question_there_is_none(here, scripted, tmp_path, name, argv):
    done = here("-s", scripted(serving()).address, *argv, env={**os.environ, "PLANTA_RECEIPT": name})
    assert (done.returncode, done.stderr, list(tmp_path.glob("receipts"))) == (0, "", [])


@pytest.mark.parametrize(
    ("script", "argv", "expected"),
    [
        (serving(STARTED, FAILED, '<ended status="failed"/>'), ("-c", "1", "-t", "-1"),
         (1, "submitted", "job 1 failed: no such table", ["failed"])),
        (answering_jobs('<refused reason="jobs">there is no module</refused>'), ("-m", "A"),
         (2, "not submitted", "the server refused the jobs: there is no module", [None])),
        (answering_login('<refused reason="login">who</refused>'), ("-m", "A"),
         (2, "not submitted", "the server refused the login: who", [None])),
        (answering_jobs("<alive/>"), ("-c", "1"),
         (1, "unknown", "the server has not accepted the jobs in time", [None])),
        (answering_jobs(ACCEPTED, STARTED, FINISHED), ("-t", "1", "-c", "1", "-c", "1"),
         (3, "submitted", "the jobs have not ended within 0.1 s, and go on", ["ok", None])),
    ],
    ids=["a job failed", "no module", "no login", "no answer", "not in time"],
)  # fmt: skip
def test_a_call_that_did_not_end_well(call, scripted, script, argv, expected, request):  # noqa: PLR0917
    if expected[0] == 3:
        request.getfixturevalue("time_out")(0.1)
    elif expected[1] == "unknown":
        request.getfixturevalue("short_acceptance")
    done, said = call("-s", scripted(script).address, *argv)
    code, submission, message, statuses = expected
    assert done.returncode == said["code"] == code
    assert (said["proof"], said["submission"], said["message"]) == (None, submission, message)
    assert [job["status"] for job in said["jobs"]] == statuses
    assert said["session"] == (None if submission == "not submitted" else "s1")


@pytest.mark.parametrize(
    "argv", [("-s", "x:1"), ("--no-such-option",), ("-s", "x:1", "-t", "soon", "-c", "1")], ids=str
)
def test_a_mistake_in_the_options_has_a_line_of_its_own(call, argv):
    """A typing error in a crontab is a failure of the night like any other."""
    done, said = call(*argv)
    assert done.returncode == said["code"] == 2
    assert list(said) == FIELDS
    assert said["message"] in done.stderr
    assert (said["server"], said["jobs"]) == (None, [])


@pytest.mark.slow
def test_calls_that_end_together_have_whole_lines(command, scripted, tmp_path):
    file = tmp_path / "receipts"
    env = {**os.environ, "PLANTA_RECEIPT": str(file)}
    file.write_text('{"earlier": 1}\n')
    together = threading.Barrier(4, timeout=PATIENCE)

    def script(peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        together.wait()
        peer.send(ACCEPTED)
        peer.wait_for_disconnect()

    server = scripted(script)
    calls = [
        command.start("-s", server.address, "-u", f"R{number}", "-m", "A" * 50_000, env=env) for number in range(4)
    ]
    for each in calls:
        each.communicate(timeout=PATIENCE)
    assert [each.returncode for each in calls] == [0] * 4
    first, *lines = lines_of(file)
    assert first == {"earlier": 1}
    assert sorted((line["event"], line["user"]) for line in lines) == [
        (event, f"R{number}") for event in ("end", "start") for number in range(4)
    ]


@pytest.mark.parametrize("name", ["nowhere/receipts", "nowhere/", "fifo", "/proc/version", "x" * 5000])
def test_a_receipt_that_cannot_be_written_changes_no_code_and_is_one_line(here, scripted, tmp_path, name):
    if name == "fifo":
        if os.name == "nt":
            pytest.skip("Windows has no such files")
        os.mkfifo(tmp_path / "fifo")
    server = scripted(serving())
    for argv, code in ((("-c", "1"), 0), ((), 2)):
        done = here("-s", server.address, *argv, env={**os.environ, "PLANTA_RECEIPT": name})
        assert (done.returncode, done.stdout) == (code, "")
        lines = done.stderr.splitlines()
        assert len(lines) == (1 if code == 0 else 2)
        assert lines[-1].startswith(f"planta_headless.py: warning: PLANTA_RECEIPT: {name!r} cannot be written: ")


def end(file, message="why", code=2):
    """Writes the line of a call that has ended so, and goes on as if it had not. Returns its code."""
    handlers = {signum: signal.getsignal(signum) for signum in ENDING_SIGNALS}
    try:
        return Receipt(str(file)).end_without_call(code, message)
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def error_of(capfd):
    """What was written to stderr, with the ends of lines that a text has."""
    return capfd.readouterr().err.replace(os.linesep, "\n")


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path, monkeypatch, capfd):
    """What others have written stays readable."""
    file = tmp_path / "receipts"
    file.write_text('{"earlier": 1}\n')
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
    end(file)
    monkeypatch.undo()
    assert file.read_text() == '{"earlier": 1}\n'
    assert error_of(capfd).endswith("cannot be written: the disk is full\n")


def test_a_line_begins_where_the_one_before_it_has_not_ended(tmp_path):
    """Somebody has edited the file."""
    file = tmp_path / "receipts"
    file.write_text("no end")
    for _ in range(2):
        end(file)
    first, *lines = file.read_text().splitlines()
    assert (first, [json.loads(line)["code"] for line in lines]) == ("no end", [2, 2])


def messages_in(file):
    return [json.loads(line)["message"] for line in file.read_text().splitlines()]


@contextmanager
def locked_receipts(file: Path) -> Iterator[IO[str]]:
    """Inside it another call seems to write a receipt to this file (flock)."""
    import fcntl  # which Windows does not have

    with open(file, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield other


@pytest.mark.slow
def test_a_file_that_another_call_has_locked_is_waited_for_but_not_for_ever(tmp_path, monkeypatch, capfd):
    if os.name == "nt":
        pytest.skip("the lock of this test is flock")
    file = tmp_path / "receipts"
    monkeypatch.setattr(receipt_module, "_SECONDS", 0.1)
    with locked_receipts(file):
        assert end(file) == 2
    assert "another process has locked it, or its disk" in capfd.readouterr().err
    monkeypatch.setattr(receipt_module, "_SECONDS", PATIENCE)
    with locked_receipts(file) as other:
        threading.Timer(0.1, other.close).start()
        assert end(file, "in time") == 2
    assert messages_in(file) == ["in time"]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["open_regular", "try_lock", "_write"])
def test_a_disk_that_does_not_answer_holds_no_one_up(tmp_path, monkeypatch, capfd, step):
    is_over = threading.Event()
    monkeypatch.setattr(receipt_module, "_SECONDS", 0.1)
    monkeypatch.setattr(receipt_module, step, lambda *_: is_over.wait(10))
    assert end(tmp_path / "receipts") == 2
    is_over.set()
    assert error_of(capfd).endswith("or its disk does not answer\n")
    # Nor does a machine that has no room for another thread.
    monkeypatch.setattr(_thread, "start_new_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    assert end(tmp_path / "receipts", code=0) == 0
    assert error_of(capfd).endswith("cannot be written: can't start new thread\n")


def test_a_user_without_a_name_ends_the_call_as_without_a_receipt(tmp_path, monkeypatch, capfd):
    for module in (receipt_module, preparation):
        monkeypatch.setattr(module, "effective_user", Mock(side_effect=ParameterError("nameless")))
    monkeypatch.setenv("PLANTA_RECEIPT", str(tmp_path / "receipts"))
    assert cli.main(["-s", "127.0.0.1:1", "-c", "1"]) == 2
    said = lines_of(tmp_path / "receipts")[-1]
    assert (said["code"], said["user"], said["message"]) == (2, None, "nameless")
    assert os.name == "nt" or said["os_user"] == str(os.geteuid())
    assert error_of(capfd) == "planta_headless.py: error: nameless\n"


def test_a_receipt_that_cannot_be_made_is_one_line(monkeypatch, scripted, capfd):
    monkeypatch.setitem(sys.modules, "headless.client.receipt", None)
    monkeypatch.setenv("PLANTA_RECEIPT", "receipts")
    assert cli.main(["-s", scripted(serving()).address, "-c", "1"]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("planta_headless.py: warning: PLANTA_RECEIPT: there is none of this call: ")


def test_the_start_of_a_job_and_the_wait_for_it_are_those_that_were_heard_of_first(monkeypatch):
    """A server says again after an attachment that a job has started."""
    now = 1_000_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    observed = Receipt("receipts")
    observed.begin(parse(["-s", "x:1", "-t", "-1", "-m", "A", "-m", "B"]), "key")
    events = [Accepted(), JobStarted(1), Attached(2, Offset(1)), JobStarted(1), JobFinished(1, "ok"), JobStarted(2)]
    for event in events:
        observed.observe(event)
        now += 2.5
    fields: dict[str, Any] = observed._fields
    assert (fields["accepted"], fields["waited"]) == ("2001-09-09T01:46:40.000Z", 2.5)
    assert [job["started"][-7:] for job in fields["jobs"]] == ["42.500Z", "52.500Z"]
    assert fields["jobs"][0]["ended"][-7:] == "50.000Z"


@pytest.mark.slow
def test_how_often_a_call_had_to_attach(call, tmp_path):
    with QuickServer(tmp_path / "home") as server:
        ends = [Ends(server=450), Ends(server=450)]
        with UnreliableRelay(lambda: server.address, lambda n: ends[n] if n < 2 else Ends()) as line:
            done, said = call("-s", line.address, "-t", "-1", "-c", "print('x' * 300)")
        assert (done.returncode, said["code"], said["attached"]) == (0, 0, 2)
        assert [(said["session"], said["key"])] == [(entry["session"], entry["key"]) for entry in journal(server)]


# Signals: a receipt never says another end than the shell sees


@pytest.fixture
def struck(command, tmp_path):
    """Runs a call until -v has said this, then sends the signal. Returns how it ended, and its stderr."""

    def struck(argv, said, signum):
        env = {**os.environ, "PLANTA_RECEIPT": str(tmp_path / "receipts")}
        with command.start(*argv, "-v", env=env) as process:
            while said not in process.stdout.readline():
                pass
            with stalls() as late:
                sent = time.monotonic()
                process.send_signal(signum)
                _, stderr = process.communicate(timeout=PATIENCE)
                took = time.monotonic() - sent
            assert took < 1 + late()
        return process.returncode, stderr

    return struck


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("signum", "said", "problem"),
    [(signum, "session ended", f"a signal ({signum:d}) came before that") for signum in ENDING_SIGNALS]
    + [(signal.SIGTERM, "started", "for too long another process has locked it, or its disk does not answer")],
)
def test_a_signal_wins_over_a_receipt_that_waits_for_a_locked_file(  # noqa: PLR0917
    scripted, tmp_path, struck, signum, said, problem
):
    """Also one that ends the call, before there is a receipt: then it is not waited for long."""
    server = scripted(serving(STARTED, *([FINISHED, ENDED] if said == "session ended" else [])))
    with locked_receipts(file := tmp_path / "receipts"):
        code, stderr = struck(("-s", server.address, "-t", "-1", "-c", "1"), said, signum)
    assert (code, file.read_text()) == (-signum, "")
    assert stderr == f"planta_headless.py: warning: PLANTA_RECEIPT: {str(file)!r} cannot be written: {problem}\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_that_ends_the_call_is_noted(scripted, tmp_path, struck):
    server = scripted(serving(STARTED))
    assert struck(("-s", server.address, "-t", "-1", "-c", "1"), "started", signal.SIGTERM) == (-signal.SIGTERM, "")
    said = lines_of(tmp_path / "receipts")[-1]
    names = ("code", "signal", "exit_status", "proof", "submission")
    assert [said[name] for name in names] == [None, 15, 143, None, "submitted"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the lock of this test is flock, and Windows has no such signals")
def test_a_signal_ends_a_call_whose_first_line_waits_for_a_locked_file(command, tmp_path, scripted):
    file = tmp_path / "receipts"
    line = ("-s", scripted(serving(STARTED)).address, "-t", "-1", "-c", "1")
    with locked_receipts(file), command.start(*line, env={**os.environ, "PLANTA_RECEIPT": str(file)}) as process:
        time.sleep(0.5)
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
    assert file.read_text() == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the lock of this test is flock")
def test_a_call_waits_a_second_for_its_first_line_and_then_goes_on_without_it(here, scripted, tmp_path):
    file = tmp_path / "receipts"
    begun = time.monotonic()

    with stalls() as late, ExitStack() as stack:
        stack.enter_context(locked_receipts(file))

        def script(peer):
            begun_after.append(time.monotonic() - begun)
            stack.close()
            serving()(peer)

        begun_after: list[float] = []
        done = here("-s", scripted(script).address, "-c", "1", env={**os.environ, "PLANTA_RECEIPT": str(file)})
    assert (done.returncode, done.stderr) == (0, "")
    assert begun_after[0] < 1.5 + late()
    assert [line["event"] for line in lines_of(file)] == ["end"]


def test_a_name_service_that_does_not_answer_holds_no_one_up(here, scripted, tmp_path, monkeypatch):
    is_over = threading.Event()
    for name in ("_SECONDS_BEFORE", "_SECONDS_OF_NAME"):
        monkeypatch.setattr(receipt_module, name, 0.1)
    monkeypatch.setattr(receipt_module, "effective_user", lambda: is_over.wait(10) and "late")
    server = scripted(serving())
    folder = tmp_path / "receipts"
    folder.mkdir()
    number = str(os.geteuid()) if hasattr(os, "geteuid") else None
    done = here("-s", server.address, "-u", "R41", "-c", "1", env={**os.environ, "PLANTA_RECEIPT": str(folder)})
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = lines_of(folder / f"{number or 'unknown'}.jsonl")
    is_over.set()
    assert (line["event"], line["os_user"], line["user"]) == ("end", number, "R41")
    wait_until(lambda: (folder / "late.jsonl").exists() and lines_of(folder / "late.jsonl"))
    assert lines_of(folder / "late.jsonl")[0]["key"] == line["key"]


MOMENT = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from headless import cli
from headless.client import receipt
step = receipt.{step}
def strike(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep({pause})
def struck(*arguments):
    results = [each(*arguments) for each in ({order})]
    return results[0] or results[1]
receipt.{step} = struck
receipt.Receipt.write_start = lambda *_: None
receipt._SECONDS = 3600  # which the signal makes short
cli.end_process(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("step", "order", "pause"),
    [
        ("try_lock", "step, strike", 0),
        ("_write", "strike, step", 0),
        ("_write", "step, strike", 0),
        ("_write", "step, strike", 60),
    ],
    ids=["locked", "nearly written", "written", "written, and the disk does not answer"],
)
def test_a_signal_around_the_moment_of_writing(scripted, tmp_path, step, order, pause):
    file = tmp_path / "receipts"
    code = -signal.SIGTERM if step == "try_lock" else 0
    program = tmp_path / "moment.py"
    program.write_text(MOMENT.format(root=str(ROOT), step=step, order=order, pause=pause))
    line = [program, "-s", scripted(serving()).address, "-c", "1"]
    env = {**os.environ, "PLANTA_RECEIPT": str(file)}
    with start(line, env=env, stderr=subprocess.PIPE, text=True) as done:
        _, stderr = done.communicate(timeout=PATIENCE)
    assert done.returncode == code
    assert [json.loads(line)["code"] for line in file.read_text().splitlines()] == ([0] if code == 0 else [])
    assert stderr.count("\n") == (code != 0 or pause > 0)


@pytest.mark.slow
@examples
@given(st.text(st.characters(exclude_categories=())))
@example('\ud800\x00\x7f\u2028"\\')
def test_a_line_is_what_json_makes_of_it(text):
    value = {"a": text, text: [None, 1, -1, 0.125, {}, [], [{"b": text}]]}
    assert receipt_module._as_json(value) == json.dumps(value)


# A folder with a file for each user


def own_file(folder: Path) -> Path:
    return folder / f"{current_user()}.jsonl"


def test_in_a_folder_each_user_has_a_file(here, tmp_path):
    (tmp_path / "receipts").mkdir()
    assert here(env={**os.environ, "PLANTA_RECEIPT": str(tmp_path / "receipts")}).returncode == 2
    (line,) = lines_of(own_file(tmp_path / "receipts"))
    assert (line["os_user"], line["event"]) == (current_user(), "end")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("mode", "expected"), [(0o3770, 0o640), (0o1770, 0o640), (0o3730, 0o600), (0o700, 0o600)])
def test_the_group_of_a_folder_can_read_the_files_if_it_can_read_the_folder(tmp_path, mode, expected):
    (tmp_path / "receipts").mkdir()
    (tmp_path / "receipts").chmod(mode)
    before = os.umask(0o077)
    try:
        end(tmp_path / "receipts")
    finally:
        os.umask(before)
    status = own_file(tmp_path / "receipts").stat()
    assert (status.st_mode & 0o777, status.st_gid) == (expected, (tmp_path / "receipts").stat().st_gid)
    own_file(tmp_path / "receipts").chmod(0o600)  # which an administrator has decided
    end(tmp_path / "receipts")
    assert own_file(tmp_path / "receipts").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there, and owners are not checked")
@pytest.mark.parametrize("what", ["link", "hard link", "file of somebody else"])
def test_what_somebody_else_has_put_in_the_place_of_the_file_is_not_written_to(tmp_path, capfd, what):
    folder, other = tmp_path / "receipts", tmp_path / "other"
    folder.mkdir()
    other.write_text("private\n")
    if what == "link":
        own_file(folder).symlink_to(other)
    elif what == "hard link":
        os.link(other, own_file(folder))
    elif os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    else:
        own_file(folder).write_text("private\n")
        os.chown(own_file(folder), 12345, -1)
    assert end(folder) == 2
    assert (other.read_text(), own_file(folder).read_text()) == ("private\n", "private\n")
    (line,) = error_of(capfd).splitlines()
    reason = {"link": "it is a symbolic link", "hard link": "it is a hard link", "file of somebody else": "it belongs"}
    assert f"PLANTA_RECEIPT: {str(own_file(folder))!r} cannot be written: {reason[what]}" in line
