"""The task of MOVING.md can be imported as it is. Wine's Task Scheduler can confirm that; the one of Windows would ask
for a password."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from support.process import PATIENCE, ROOT

if os.name != "nt":
    pytest.skip("there is no schtasks", allow_module_level=True)
import ctypes

if not hasattr(ctypes.WinDLL("ntdll"), "wine_get_version"):  # type: ignore[attr-defined]
    pytest.skip(
        "NOT TESTED: the Task Scheduler of Windows would ask for the password of the user", allow_module_level=True
    )


def test_the_task_of_the_document_is_imported_unchanged(tmp_path):
    text = (ROOT / "headless" / "admin" / "MOVING.md").read_text(encoding="utf-8")
    (task,) = re.findall(r"```xml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "009ABC.xml"
    path.write_text(task, encoding="utf-16")
    name = f"planta-headless-{os.getpid()}"
    argv = ["schtasks", "/create", "/tn", name, "/xml", str(path)]
    done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=False)
    subprocess.run(["schtasks", "/delete", "/tn", name, "/f"], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done
