"""The one table from an error to a return code, and to the sentence for the administrator."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headless import libraries
from headless.errors import (
    Busy,
    CommandFailed,
    ConnectionLost,
    HeadlessError,
    HomeError,
    HomeReplaced,
    Interrupted,
    JobFailed,
    LocalProtocolError,
    OptionMissing,
    ParameterError,
    ProtocolError,
    Refusal,
    RemoteProtocolError,
    SessionError,
    TimedOut,
    UnsupportedCall,
    explain,
    fault_of_file,
)
from headless.libraries import how_to_install
from headless.password_file import Missing, NotPrivate, PasswordFileError, Taken
from headless.server.peer import NotConnected, OwnerUnknown
from headless.system import is_final
from support.process import PATIENCE, SCRIPT

OUR_FAULT = "why (this is a fault of the client or its dialect, not of the server)"
CODES = [
    (SessionError("why"), 1, "why"),
    (JobFailed("why"), 1, "why"),
    (RemoteProtocolError("why"), 1, "why"),
    (CommandFailed("why"), 1, "why"),
    (HomeError("why"), 1, "why"),
    (HomeReplaced("why"), 1, "why"),
    (Busy("why"), 1, "why"),
    (Refusal("busy", "why"), 1, "why"),
    (OSError(errno.EIO, "why", "file"), 1, f"[Errno {errno.EIO}] why: 'file'"),
    (sqlite3.OperationalError("why"), 1, "why"),
    (OwnerUnknown("why"), 1, "why"),
    (NotConnected("why"), 1, "why"),
    (LocalProtocolError("why"), 1, OUR_FAULT),
    (ParameterError("why"), 2, "why"),
    (Missing("why"), 2, "why"),
    (PasswordFileError("why", "how"), 2, "why: how"),
    (NotPrivate("why", ("chmod", "go=", "f")), 2, "why: other users who need it make one first; then: chmod go= f"),
    (Taken("f"), 2, "the password file 'f' was made by somebody else meanwhile, and left as it is"),
    (OptionMissing("why", "-s"), 2, "why"),
    (UnsupportedCall("why"), 2, "why"),
    (TimedOut("why"), 3, "why"),
    (ConnectionLost("why"), 1, "why"),
    (ValueError("why"), 1, "unforeseen: ValueError('why')"),
    (MemoryError(), 1, "unforeseen: MemoryError()"),
    (ImportError("why"), 1, "unforeseen: ImportError('why')"),
    (ImportError("x.so: cannot open shared object file: Too many open files", name="etree"), 1,
     "etree cannot be loaded now (x.so: cannot open shared object file: Too many open files)"),
    (ModuleNotFoundError("why", name="json"), 1, "json cannot be loaded now (why)"),
    (ImportError("x.so: No such file or directory", name="etree", path=os.path.join("lib", "lxml", "etree.so")), 2,
     "the library lxml cannot be loaded (x.so: No such file or directory); install it with: "
     f"{how_to_install('lxml')}"),
    (ModuleNotFoundError("why", name="_no_sqlite3"), 2,
     "this Python has no module _no_sqlite3 (why): use one that has it"),
    (ImportError("why", name="lxml.etree"), 2,
     f"the library lxml cannot be loaded (why); install it with: {how_to_install('lxml')}"),
    (ImportError("why", name="bcrypt"), 2,
     f"the library bcrypt cannot be loaded (why); install it with: {how_to_install('bcrypt')}"),
    (ModuleNotFoundError("why", name="headless.client.no_such"), 2,
     "the folder 'headless', which must stand beside the script, is not whole (why)"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "text"), CODES, ids=lambda value: value if isinstance(value, int) else None)
def test_every_error_has_a_code_and_a_sentence(error: Exception, code: int, text: str) -> None:
    assert explain(error) == (code, text)


@pytest.mark.version("importlib")
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT])
@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("why", name="_no_sqlite3"), ImportError("cannot import name 'no' from 'x'", name="os")],
)
def test_a_module_that_cannot_be_looked_at_now_may_be_there(
    monkeypatch: pytest.MonkeyPatch, error: ImportError, number: int
) -> None:
    """importlib takes each error of stat(2) for a file that is not there."""
    stat = os.stat

    def failing(path: str, **options: Any) -> os.stat_result:
        if os.path.basename(os.fspath(path)).partition(".")[0] in ("_no_sqlite3", "no"):
            raise OSError(number, os.strerror(number), path)
        return stat(path, **options)

    monkeypatch.setattr(os, "__path__", ["folder"], raising=False)
    monkeypatch.setattr(os, "stat", failing)
    code = explain(error)[0]
    monkeypatch.undo()
    assert code == (2 if number == errno.ENOENT else 1)


def test_only_what_is_not_there_or_not_allowed_is_for_a_person() -> None:
    final_ones = {
        errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
        *([errno.EINVAL] if os.name == "nt" else []),
    }  # fmt: skip
    assert {number for number in errno.errorcode if is_final(OSError(number, "why"))} == final_ones
    for number in errno.errorcode:
        code = 2 if number in final_ones or number == errno.EISDIR else 1
        assert explain(fault_of_file("the file", OSError(number, "why"))) == (code, "the file: why"), number


def test_a_signal_has_its_own_number() -> None:
    assert explain(Interrupted(15)) == (-15, "ended by signal 15")


def test_every_error_of_the_table_of_codes_is_in_this_one() -> None:
    def classes(kind: type) -> set[type]:
        return {kind}.union(*map(classes, kind.__subclasses__()))

    ours = {kind for kind in classes(HeadlessError) if kind.__module__ == "headless.errors"}
    assert ours - {HeadlessError, ProtocolError} == {type(error) for error, _, _ in CODES} & ours | {Interrupted}


# What the line of a missing library says to type, for each kind of Python

VENV = (
    "/usr/bin/python3 -m venv .venv && .venv/bin/python -m pip install {} (and start this with .venv/bin/python from "
    "now on)"
)
ADMIN = "bcrypt lxml croniter mslex tree-sitter tree-sitter-bash jinja2"


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
def test_the_line_says_what_works_for_this_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, module: str, expected: str
) -> None:
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
def test_a_line_for_debians_own_python_names_apt(tmp_path: Path) -> None:
    (tmp_path / "lxml.py").write_text("raise ImportError('no lxml here', name='lxml')")
    done = subprocess.run(
        [DEBIANS_OWN, SCRIPT, "-s", "127.0.0.1:1", "-c", "pass"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("install it with: apt install python3-lxml\n")
