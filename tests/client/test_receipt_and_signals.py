"""PLANTA_RECEIPT and signals: a receipt never says another end than the one that the shell sees, and a signal does not
wait for a file that somebody else has locked, or for a disk that does not answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from headless.client import receipt as receipt_module
from support.dialogues import ENDED, FINISHED, STARTED, serving
from support.fork_server import start
from support.locks import locked_receipts
from support.process import ENDING_SIGNALS, PATIENCE, ROOT
from support.timed_call import stalls

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")]


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


@pytest.mark.parametrize("signum", ENDING_SIGNALS)
def test_a_signal_wins_over_a_receipt_that_waits_for_a_locked_file(scripted, tmp_path, struck, signum):
    server = scripted(serving(STARTED, FINISHED, ENDED))
    with locked_receipts(file := tmp_path / "receipts"):
        code, stderr = struck(("-s", server.address, "-t", "-1", "-c", "1"), "session ended", signum)
    assert (code, file.read_text()) == (-signum, "")
    assert stderr == (
        f"planta_headless.py: warning: PLANTA_RECEIPT: {str(file)!r} cannot be written: a signal ({signum:d}) came "
        "before that\n"
    )


def test_a_call_that_a_signal_ends_does_not_wait_long_for_a_locked_file(scripted, tmp_path, struck):
    server = scripted(serving(STARTED))
    with locked_receipts(file := tmp_path / "receipts"):
        code, stderr = struck(("-s", server.address, "-t", "-1", "-c", "1"), "started", signal.SIGTERM)
    assert (code, file.read_text()) == (-signal.SIGTERM, "")
    assert stderr.endswith("another process has locked it, or its disk does not answer\n")


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
cli.end_process(cli.main(sys.argv[1:]))
"""


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
    begun = time.monotonic()
    env = {**os.environ, "PLANTA_RECEIPT": str(file)}
    with start(line, env=env, stderr=subprocess.PIPE, text=True) as done:
        _, stderr = done.communicate(timeout=PATIENCE)
    assert done.returncode == code
    assert time.monotonic() - begun < receipt_module._SECONDS
    assert [json.loads(line)["code"] for line in file.read_text().splitlines()] == ([0] if code == 0 else [])
    assert stderr.count("\n") == (code != 0 or pause > 0)


def test_a_signal_at_a_mistake_in_the_options_wins_too(command, tmp_path):
    env = {**os.environ, "PLANTA_RECEIPT": str(tmp_path / "receipts")}
    with locked_receipts(file := tmp_path / "receipts"), command.start("--no-such-option", env=env) as process:
        said = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert "no such option" in said
    assert (process.returncode, file.read_text()) == (-signal.SIGTERM, "")
