"""rehearse at a console of Windows: Ctrl-C comes to every process there, and must reach the command alone."""

from __future__ import annotations

import os

import pytest

from support.process import ROOT

pytest.importorskip("msvcrt", reason="only Windows has such consoles; elsewhere see test_rehearsal.py")
from support.windows_console import WindowsConsole

pytestmark = pytest.mark.slow

STATUS_CONTROL_C_EXIT = 0xC000013A


@pytest.fixture
def rehearsal(tmp_path):
    """Starts one of this code; what it leaves in the folder for temporary files fails the test."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def start(code):
        return WindowsConsole(
            tmp_path,
            *("-v", "-t", "-1", "-c", code),
            program=(str(ROOT / "headless"), "rehearse"),
            env={**os.environ, "TEMP": str(temporary), "TMP": str(temporary)},
        )

    yield start
    assert list(temporary.iterdir()) == []


def test_a_rehearsal_runs_its_job_and_leaves_nothing(rehearsal):
    with rehearsal("print(6 * 7)") as console:
        assert console.end() == 0
    assert "job 1 stdout: 42" in console.shown


def test_ctrl_c_ends_a_rehearsal_with_its_jobs_and_leaves_nothing(rehearsal):
    with rehearsal("import time; print('runs', flush=True); time.sleep(600)") as console:
        console.wait_for("job 1 stdout: runs")
        console.press_ctrl_c()
        assert console.end() % 2**32 == STATUS_CONTROL_C_EXIT
    assert console.shown.endswith("ended by signal 2; jobs: submitted")
