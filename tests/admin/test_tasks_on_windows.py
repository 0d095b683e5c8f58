"""On Windows `check` looks at the files that a batch script names."""

from __future__ import annotations

import os
import sys

import pytest

from support import checks
from support.credentials import HASH
from support.process import ROOT

if os.name != "nt":
    pytest.skip("files of Windows; elsewhere see test_check.py", allow_module_level=True)

SCRIPT = str(ROOT / "planta_headless.py")


def rules(tmp_path, *changes: tuple[str, str]) -> list[str]:
    """Which rules a batch script breaks in which this was changed."""
    secret = tmp_path / "secret"
    secret.write_text(HASH)
    line = f'"{sys.executable}" "{SCRIPT}" -s planta:20000 -u R41 -p "{secret}" -t -1 -m 009ABC'
    for old, new in changes:
        assert old in line
        line = line.replace(old, new)
    (tmp_path / "nightly.cmd").write_text(f"@echo off\n{line}\nexit /b %errorlevel%\n")
    return checks.rules(checks.check(tmp_path / "nightly.cmd")[1])


def test_a_call_whose_files_are_there_has_no_finding(tmp_path):
    assert rules(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (sys.executable, r"C:\nothing\python.exe", "no-program"),
        (f'"{sys.executable}"', "python3.99", "no-program"),
        (SCRIPT, r"C:\nothing\planta_headless.py", "no-script"),
        ("secret", "missing", "password-file"),
    ],
)
def test_what_is_not_there_is_found(tmp_path, old, new, rule):
    assert rules(tmp_path, (old, new)) == [rule]


@pytest.mark.parametrize(("libraries", "expected"), [(("lxml", "bcrypt"), []), (("lxml",), ["no-library"])])
def test_libraries_are_looked_for_where_a_venv_has_them(tmp_path, libraries, expected):
    venv = tmp_path / "venv"
    for folder in ("Scripts", *(f"Lib/site-packages/{library}" for library in libraries)):
        (venv / folder).mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    python = venv / "Scripts" / "python.exe"
    python.touch()
    assert rules(tmp_path, (sys.executable, str(python))) == expected
