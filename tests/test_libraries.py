"""What a missing library's line says to type, for each kind of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headless import libraries
from support.process import PATIENCE, SCRIPT

VENV = (
    "/usr/bin/python3 -m venv .venv && .venv/bin/python -m pip install {} (and start this with .venv/bin/python from "
    "now on)"
)
ADMIN = "bcrypt lxml croniter mslex tree-sitter tree-sitter-bash"


@pytest.mark.skipif(os.name == "nt", reason="the names of files in a venv")
@pytest.mark.parametrize(
    ("kind", "module", "expected"),
    [
        ("own", "lxml", "/usr/bin/python3 -m pip install --force-reinstall bcrypt lxml"),
        ("own, as root", "lxml", VENV.format("bcrypt lxml")),
        ("venv, as root", "lxml", "/usr/bin/python3 -m pip install --force-reinstall bcrypt lxml"),
        ("own, as root, on Debian", "lxml", VENV.format("bcrypt lxml")),
        ("Debian's, as root, not managed", "lxml", "apt install python3-lxml"),
        ("own, in a folder with spaces", "croniter", f'"/opt/Python 3" -m pip install --force-reinstall {ADMIN}'),
        ("own, without pip", "lxml", VENV.format("bcrypt lxml")),
        ("venv of a managed one", "bcrypt", "/usr/bin/python3 -m pip install --force-reinstall bcrypt lxml"),
        ("managed", "lxml", VENV.format("bcrypt lxml")),
        ("Debian's, managed", "lxml", "apt install python3-lxml"),
        ("Debian's, managed", "tree_sitter", VENV.format(ADMIN)),
    ],
)
def test_the_line_says_what_works_for_this_python(monkeypatch, tmp_path, kind, module, expected):
    monkeypatch.setattr(sys, "executable", "/opt/Python 3" if "spaces" in kind else "/usr/bin/python3")
    monkeypatch.setattr(sys, "prefix", "/usr" if "Debian's" in kind else "/opt/python")
    monkeypatch.setattr(sys, "base_prefix", "/usr" if kind.startswith("venv") else sys.prefix)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if "as root" in kind else 1000)
    monkeypatch.setattr(libraries, "_is_managed", lambda: "managed" in kind and "not managed" not in kind)
    monkeypatch.setattr(libraries, "_has_pip", lambda: "without pip" not in kind)
    monkeypatch.setattr(libraries, "_DEBIAN", "/" if "Debian" in kind else str(tmp_path / "nothing"))
    assert libraries.how_to_install(module) == expected


DEBIANS_OWN = Path("/usr/bin/python3")


@pytest.mark.slow
@pytest.mark.skipif(
    os.name == "nt"  # also where Wine shows the files of a Debian
    or not (os.path.exists("/etc/debian_version") and list(Path("/usr/lib").glob("python3*/EXTERNALLY-MANAGED"))),
    reason="this is no Debian that keeps its Python to itself",
)
def test_a_line_for_debians_own_python_names_apt(tmp_path):
    (tmp_path / "lxml.py").write_text("raise ImportError('no lxml here', name='lxml')")
    done = subprocess.run(
        [DEBIANS_OWN, SCRIPT, "-s", "127.0.0.1:1", "-c", "pass"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("install it with: apt install python3-lxml\n")
