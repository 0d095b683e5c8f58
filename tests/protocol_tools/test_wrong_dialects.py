"""`headless protocol check` finds each mistake of a table, and what is none it lets pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protocol_tools.wrong_dialects import ENDLESS, MISTAKES, NO_MISTAKES, Mistake
from support.checked import check, recorded, secret_in
from support.credentials import HASH
from support.process import ROOT
from support.sampling import one_of


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The recordings that a mistake needs; those of the same labels are made once."""
    folders: dict[tuple[str, tuple[str, ...]], Path] = {}

    def make(mistake: Mistake) -> Path:
        key = (mistake.base, mistake.labels)
        if key not in folders:
            folders[key] = recorded(mistake.base, tmp_path_factory.mktemp("talk") / "talk", mistake.labels)
        return folders[key]

    return make


def test_there_are_at_least_forty():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 40


@pytest.mark.parametrize("mistake", one_of(3, MISTAKES), ids=lambda mistake: mistake.name)
def test_the_mistake_is_found(mistake, folder_of, tmp_path, capsys):
    (tmp_path / "site.py").write_text(mistake.text)
    status = check(tmp_path / "site.py", folder_of(mistake), secret_in(tmp_path))
    shown = capsys.readouterr()
    found = [line for line in shown.out.splitlines() if not line.startswith("remark: ")][:-1]
    assert (status, shown.err) == (1, "")
    assert any(mistake.finding in line for line in found), shown.out
    assert HASH[29:] not in shown.out
    assert "Traceback" not in shown.out


@pytest.mark.parametrize("mistake", one_of(2, NO_MISTAKES), ids=lambda mistake: mistake.name)
def test_what_is_no_mistake_is_not_found(mistake, folder_of, tmp_path, capsys):
    (tmp_path / "site.py").write_text(mistake.text)
    status = check(tmp_path / "site.py", folder_of(mistake), secret_in(tmp_path))
    assert status == 0, capsys.readouterr().out


@pytest.mark.slow
def test_a_loop_that_never_ends_is_ended_and_named(folder_of, tmp_path):
    (tmp_path / "site.py").write_text(ENDLESS.text)
    code = (
        "import sys; from headless.protocol_tools import command, player; player._TICK_SECONDS = 0.05;"
        f"command.main(['check', {str(tmp_path / 'site.py')!r}, {str(folder_of(ENDLESS))!r}])"
    )
    environment = {"PYTHONPATH": f"{ROOT}{':' if sys.platform != 'win32' else ';'}{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, timeout=50
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert '001-1 "osuser", byte by byte: the dialect never ends' in done.stdout
