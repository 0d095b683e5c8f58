"""A program that the tests have forked is like one that was executed: all that this suite sees of it is the same."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest

from support.fork_server import start
from support.process import PATIENCE, SCRIPT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="forks only on Linux")]

PIPES: dict[str, Any] = {
    "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
}  # fmt: skip
SHOWS_ITSELF = """
import os, signal, sys
print(sys.argv, os.getcwd(), sorted(os.environ), sys.path[0], __name__, sys.stdin.read())
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.encoding, stream.errors, stream.line_buffering, stream.write_through)
print([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)], os.getpgrp())
print(sorted(os.listdir("/proc/self/fd"))[:-1], os.umask(0), file=sys.stderr)
sys.exit(7)
"""


def test_a_program_sees_the_same(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SHOWS_ITSELF)
    seen = []
    for executed in (False, True):
        environment = {**os.environ, "ODD": "1"}
        with start([program, "ä", "-x"], executed, cwd=tmp_path, env=environment, **PIPES) as process:
            seen.append((process.communicate("input", timeout=PATIENCE), process.returncode))
    for forked, executed in zip(*(each[0] for each in seen)):
        assert forked.splitlines() == executed.splitlines()
    assert seen[0][1] == 7


def test_its_end_is_reported():
    for option, status in (("--version", 0), ("--no-such-option", 2)):
        with start([SCRIPT, option], **PIPES) as process:
            assert process.wait(PATIENCE) == status


def test_a_signal_ends_it(tmp_path):
    program = tmp_path / "waits.py"
    program.write_text("print(flush=True)\ninput()")
    with start([program], **PIPES) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert process.poll() == -signal.SIGTERM
