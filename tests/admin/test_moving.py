"""MOVING.md: its examples are what `check` finds nothing in, and its transcript is what `check` says."""

from __future__ import annotations

import os
import re
import sys

import pytest

from support.command_here import headless
from support.credentials import HASH
from support.process import ROOT, manage

pytestmark = pytest.mark.skipif(os.name == "nt", reason="crontabs")
PAGE = (ROOT / "headless" / "admin" / "MOVING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (?:\d+\. )?(.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def block(section, kind="", number=0):
    blocks = re.findall(rf"^```{kind}\n(.*?)^```$", SECTIONS[section], re.DOTALL | re.MULTILINE)
    return blocks[number]


@pytest.fixture
def planta(tmp_path):
    """What the page calls /planta, and how a text of the page is changed to mean it."""
    jobs = tmp_path / "planta" / "jobs"
    (jobs / "headless" / ".venv" / "bin").mkdir(parents=True)
    (jobs / "log").mkdir()
    venv = jobs / "headless" / ".venv"
    (venv / "pyvenv.cfg").touch()
    (venv / "lib").symlink_to(os.path.join(sys.prefix, "lib"))
    (venv / "bin" / "python").symlink_to(sys.executable)
    (jobs / "headless" / "planta_headless.py").symlink_to(ROOT / "planta_headless.py")
    (jobs / "headless" / "headless").symlink_to(ROOT / "headless")
    (jobs / "r41.secret").write_text(HASH + "\n")
    return tmp_path


def write(planta, name, text):
    path = planta / name
    path.write_text(text.replace("/planta/", f"{planta}/planta/"))
    path.chmod(0o755)
    return str(path)


def old(planta):
    (planta / "planta" / "jobs" / "r41.secret").chmod(0o644)
    write(planta, "planta/jobs/import.sh", block("Keep what you have", "sh"))
    return write(planta, "old.crontab", block("Keep what you have", "crontab"))


def new(planta):
    (planta / "planta" / "jobs" / "r41.secret").chmod(0o400)
    write(planta, "planta/jobs/import.sh", block("Correct", "sh"))
    return write(planta, "new.crontab", f"PATH={os.environ['PATH']}\n" + block("Correct", "crontab"))


def test_the_transcript_of_the_check_is_what_it_says(planta, monkeypatch):
    old(planta)
    monkeypatch.chdir(planta)
    said = headless("check", "old.crontab").stdout.replace(f"{planta}/planta/", "/planta/")
    # What sh gets of a line is as long as the paths allow; and some machines still have that Python 2.
    said = re.sub(r"is Python 2\.\d+;", "is Python 2;", said)
    said, shown = (re.sub(r"sh gets only: .*", "sh gets", text) for text in (said, block("Check")))
    assert said.splitlines() == shown.splitlines()


def test_the_new_crontab_has_no_finding(planta):
    done = headless("check", new(planta))
    assert (done.returncode, done.stdout) == (0, "3 calls of planta_headless.py in 2 files: 0 errors, 0 warnings\n")


def test_fix_writes_what_the_page_copies(planta):
    crontab = old(planta)
    headless("check", "--fix", str(planta / "fixed"), crontab)
    fixed = (planta / "fixed").joinpath(*(planta / "old.crontab").parts[1:]).read_text()
    wanted = block("Correct", "crontab").replace("/planta/", f"{planta}/planta/").splitlines()
    assert [line for line in fixed.splitlines() if "planta_headless" in line] == wanted[3:5]


@pytest.mark.slow
def test_the_rehearsal_has_the_table_of_the_page(planta):
    done = manage("rehearse", "--accept-modules", "--crontab", new(planta), check=False)
    table = done.stdout[done.stdout.index("line  schedule") :].replace(f"{planta}/planta/", "/planta/")

    def cells(text):
        """Without the numbers of the lines, since PATH precedes them here, and the seconds."""
        lines = [re.split(r"  +", line.strip()) for line in text.splitlines()[1:4]]
        return [[*line[1:3], *line[4:]] for line in lines]

    assert cells(table) == cells(block("Rehearse"))
    assert table.splitlines()[-1] == block("Rehearse").splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "number", "name"),
    [("crontab", 0, "crontab"), ("ini", 0, "planta-009ABC.service"), ("xml", 0, "009ABC.xml")],
)
def test_the_entries_that_should_look_so_have_no_finding(planta, kind, number, name):
    new(planta)
    text = block("How an entry should look", kind, number).replace("User=planta", "User=root")
    path = write(planta, name, f"PATH={os.environ['PATH']}\n{text}" if kind == "crontab" else text)
    files = [path]
    if kind == "ini":
        files.append(write(planta, "planta-009ABC.timer", block("How an entry should look", "ini", 1)))
    done = headless("check", *files)
    assert (done.returncode, done.stdout.rpartition(": ")[2]) == (0, "0 errors, 0 warnings\n")
