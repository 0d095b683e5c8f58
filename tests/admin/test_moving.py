"""MOVING.md: its examples are what `check` finds nothing in, and its transcript is what `check` says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from support.command_here import headless
from support.credentials import HASH
from support.process import PATIENCE, ROOT, manage

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
    [
        ("crontab", 0, "crontab"),
        ("crontab", 1, "crontab"),
        ("ini", 0, "planta-009ABC.service"),
        ("xml", 0, "009ABC.xml"),
    ],
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


# Looking after it


def typed(planta, commands, folder):
    """Types an indented block of the page, and returns what is printed. The first command that fails ends it."""
    text = f'set -e\nheadless() {{ {sys.executable} {planta}/planta/jobs/headless/headless "$@"; }}\n'
    text += textwrap.dedent(commands).replace("/planta/", f"{planta}/planta/")
    done = subprocess.run(["sh", "-c", text], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_an_upgrade_and_the_way_back_can_be_typed_again_and_again(planta):
    upgrade, back = re.findall(r"(?:^    .+\n)+", PAGE.partition("### Upgrade")[2], re.MULTILINE)[:2]
    new, installed = planta / "new", planta / "planta" / "jobs" / "headless"
    for folder in (new, installed):
        for name in ("headless", "planta_headless.py"):
            (folder / name).unlink(missing_ok=True)
        shutil.copytree(ROOT / "headless", folder / "headless", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "planta_headless.py", folder)
    (new / "headless" / "new.py").touch()
    (new / "planta_headless.py").write_text("# new\n")
    for _ in range(2):
        files = typed(planta, "headless --version", planta)
        assert typed(planta, upgrade, new) != files
        assert (installed / "planta_headless.py").read_text() == "# new\n"
        assert typed(planta, back, planta) == ""
        assert typed(planta, "headless --version", planta) == files
        assert (installed / "planta_headless.py").read_bytes() == (ROOT / "planta_headless.py").read_bytes()
        typed(planta, upgrade, new)  # after which the next round finds what this one has left
        typed(planta, back, planta)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("logrotate") is None, reason="there is no logrotate here")
@pytest.mark.skipif(os.name != "nt" and os.geteuid() != 0, reason="only root can become another user")
def test_logrotate_takes_its_settings_and_the_receipts_that_it_moves_are_read(planta):
    (settings,) = re.findall(r"```\n(/planta/jobs/log/.*?)```", PAGE, re.DOTALL)
    path = planta / "logrotate"
    path.write_text(settings.replace("/planta/", f"{planta}/planta/").replace("su planta planta", "su root root"))
    path.chmod(0o644)
    log = planta / "planta" / "jobs" / "log"
    log.chmod(0o755)
    receipts = log / "receipts"
    for number in range(3):
        call = ["-s", "127.0.0.1:1", "-c", f"print({number})"]
        subprocess.run(
            [sys.executable, ROOT / "planta_headless.py", *call],
            env={**os.environ, "PLANTA_RECEIPT": str(receipts)}, check=False, timeout=PATIENCE,
        )  # fmt: skip
        subprocess.run(["logrotate", "--force", "--state", planta / "state", path], check=True, timeout=PATIENCE)
    found = sorted(each.name for each in log.iterdir())
    assert found == ["receipts.1", "receipts.2.gz", "receipts.3.gz"]
    for number, name in enumerate(reversed(found)):
        done = headless("monitor", "--receipts", str(log / name), "--job", f"print({number})", "--within", "1h")
        assert done.stdout.startswith(f"PLANTA CRITICAL: print({number}) failed"), done.stdout
