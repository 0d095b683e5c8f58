"""NIGHT.md: each of its commands is typed, in the situation that it is for, and prints what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from headless.server.accounts import Account
from headless.server.home import Home
from headless.server.journal import Journal, Selection
from support.conversations import KEYS
from support.credentials import HASH, PASSWORD
from support.homes import make_home
from support.process import PATIENCE, ROOT, SCRIPT, current_user
from support.shims_of import end_shims
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="a shell, and a server whose jobs go on")]
PAGE = (ROOT / "headless" / "admin" / "NIGHT.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
FAILED, RUNNING = "7a750915a2eedc75", "d3286b447f6d8d32"  # the sessions of the page

# In the place of systemctl: starts the server in its way.
SYSTEMCTL = """#!/bin/sh
[ "$*" = "start planta" ] || exit 64
{python} {package} serve --home {home} --listen {address} --workers 1 --grace 0 > {log} 2>&1 &
echo $! > {pid}
"""
MODULES = {
    "009ABC": "print('closing 2026-11', flush=True)\nraise SystemExit('no such table: T42')\n",
    "009DEF": "import os, time\nprint('1 of 300', flush=True)\nwhile not os.path.exists({gate!r}): time.sleep(0.01)\n",
}


def blocks(section, kind=""):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", SECTIONS[section], re.DOTALL | re.MULTILINE)
    return [text for each, text in found if each == kind]


def transcripts(section):
    """Yields each command of the section's blocks, and what the page says that it prints."""
    for block in blocks(section):
        for part in block.split("$ ", 1)[1].split("\n$ "):
            command, _, shown = part.partition("\n")
            yield command, shown.splitlines()


class Planta:
    """What the page calls /planta, /var/lib/planta and /srv, with a server there."""

    def __init__(self, folder, home):
        self.folder, self.home = folder, home
        self.jobs = folder / "planta" / "jobs"
        self.gate, self.log, self._pid = folder / "gate", folder / "server.log", folder / "pid"
        for each in (self.jobs / "log", self.jobs / "headless", folder / "srv", folder / "bin"):
            each.mkdir(parents=True)
        (self.jobs / "headless" / ".venv").symlink_to(sys.prefix)
        (self.jobs / "headless" / "headless").symlink_to(ROOT / "headless")
        make_home(home, Account("R41", current_user(), KEYS, number=1))
        for name, code in MODULES.items():
            (home / "modules" / f"{name}.py").write_text(code.format(gate=str(self.gate)) if name == "009DEF" else code)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        names = {"python": sys.executable, "package": ROOT / "headless", "home": home, "address": self.address,
                 "log": self.log, "pid": self._pid}  # fmt: skip
        (folder / "bin" / "systemctl").write_text(SYSTEMCTL.format(**names))
        (folder / "bin" / "systemctl").chmod(0o755)
        self.make_password_file()
        self.sessions: dict[str, str] = {}  # by their names on the page
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PLANTA_RECEIPT": str(self.jobs / "log" / "receipts")}

    def make_password_file(self):
        path = self.jobs / "r41.secret"
        path.unlink(missing_ok=True)
        path.write_text(f"{HASH}\n")
        path.chmod(0o400)

    def start(self):
        self.type("systemctl start planta")
        wait_until(lambda: "listening" in self.log.read_text())

    def stop(self):
        pid = int(self._pid.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Home(str(self.home)).is_served)

    def text(self, page):
        """What a text of the page means here."""
        for name, path in (
            ("/var/lib/planta", self.home),
            ("/planta/jobs", self.jobs),
            ("/srv/", f"{self.folder}/srv/"),
        ):
            page = page.replace(name, str(path))
        for name, session in self.sessions.items():
            page = page.replace(name, session)
        return page.replace("planta:20000", self.address)

    def type(self, command):
        """Returns what the command prints, behind what the page says to type first."""
        (first,) = blocks("First", "sh")
        done = subprocess.run(
            ["sh", "-c", self.text(first + command)], capture_output=True, text=True, check=False, timeout=PATIENCE,
            env=self.environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return (done.stdout + done.stderr).splitlines()

    def call(self, module, *options):
        """Runs a line of the crontab, with its log. Returns the return code."""
        line = shlex.join([sys.executable, str(SCRIPT), "-t", "-1", "-v", "-m", module, *options])
        return self.type(f"{line} > log/009ABC.log 2>&1; echo $?")

    def newest(self):
        with closing(Home(str(self.home)).database()) as database:
            return Journal(database).page(Selection())[-1].session_id

    def assert_section(self, section):
        for command, expected in transcripts(section):
            assert plain(self.type(command)) == plain(map(self.text, expected)), command


def plain(lines):
    """The lines, without what is another one each time."""
    text = "\n".join(lines)
    for pattern, name in (
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?", "TIME"),
        (r"\d+:\d\d:\d\d\.\d", "DURATION"),
        (r"sessions=\d+", "sessions=N"),
        (r"started=\S+", "started=TIME"),
        (r"disk_free=\S+", "disk_free=SIZE"),
        (r"(?m)^\d+\s+(?=/)", "KIB "),
        (r"(?:planta|127\.0\.0\.1) port \d+", "SERVER"),
        (r" +", " "),
    ):
        text = re.sub(pattern, name, text)
    return text.splitlines()


@pytest.fixture
def planta(tmp_path):
    """A night: a job that has failed, and one that still runs."""
    planta = Planta(tmp_path, tmp_path / "var" / "lib" / "planta")
    planta.start()
    try:
        assert planta.call("009ABC") == ["1"]
        planta.sessions[FAILED] = planta.newest()
        yield planta
    finally:
        planta.stop()
        end_shims(planta.home)


def begin(planta):
    """Starts the job that runs until the gate is opened."""
    planta.type(f"{sys.executable} {SCRIPT} -m 009DEF")
    planta.sessions[RUNNING] = planta.newest()
    output = planta.home / "output" / planta.sessions[RUNNING] / "1.stdout"
    wait_until(lambda: output.exists() and output.read_text() == "1 of 300\n")


def test_the_first_look_and_a_call_that_hangs(planta):
    begin(planta)
    planta.assert_section("First")
    planta.assert_section("A call hangs")


def test_a_1(planta):
    planta.assert_section("A 1")


def test_a_3(planta):
    begin(planta)
    planta.gate.touch()
    planta.assert_section("A 3")


def test_a_job_is_stopped(planta):
    begin(planta)
    planta.assert_section("A job must be stopped")
    (line,) = re.findall("`(headless cancel .*)`", SECTIONS["A job must be stopped"])
    assert planta.type(line) == [f"headless cancel: error: session {planta.sessions[RUNNING]}: it was over already"]


def test_the_server_is_started_again_and_its_jobs_went_on(planta):
    begin(planta)
    planta.stop()
    assert planta.type("headless status --home /var/lib/planta")[0].startswith("server=down")
    assert planta.call("009ABC") == ["1"]
    assert (planta.jobs / "log" / "009ABC.log").read_text().endswith("jobs: not submitted\n")
    planta.log.unlink()
    planta.assert_section("The server is down")
    wait_until(lambda: planta.log.exists() and "listening" in planta.log.read_text())
    assert planta.type("headless status --home /var/lib/planta")[0].startswith(
        "server=up sessions=0 queued=0 running=1"
    )


def test_a_password_that_was_changed(planta):
    pytest.importorskip("pty")
    from support.terminal import Terminal

    changed = planta.type(f"echo {PASSWORD}2 | headless user passwd R41 --password-stdin --home /var/lib/planta")
    assert changed == []
    assert planta.call("009ABC") == ["2"]
    assert "the password of R41 was changed since" in (planta.jobs / "log" / "009ABC.log").read_text()
    (move, _), (make, shown) = transcripts("A password was changed")
    assert planta.type(move) == []
    environment = dict(line.split("=", 1) for line in planta.type("env") if line.startswith("PLANTA_"))
    name, *argv = shlex.split(make)
    with Terminal(planta.jobs, *argv, program=(str(ROOT / name),), env={**os.environ, **environment}) as terminal:
        terminal.answer(f"{PASSWORD}2\n", shown[0])
        assert terminal.end() == 0
    assert terminal.shown.split("\n")[-2].strip() == planta.text(shown[1])
    assert planta.call("009ABC") == ["1"]
    assert "no such table" in (planta.jobs / "log" / "009ABC.log").read_text()


@pytest.fixture
def small(tmp_path):
    """The same with a home on a disk of 64 MiB, which only root can make."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can make a small disk, and on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "none", str(disk)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    planta = Planta(tmp_path, disk / "planta")
    try:
        planta.start()
        yield planta
        planta.stop()
    finally:
        end_shims(planta.home)
        subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=PATIENCE)


def test_a_full_disk(small):
    module = small.home / "modules" / "009ABC.py"
    module.write_text(f"print('x' * (20 << 20))\n{MODULES['009ABC']}")
    assert small.call("009ABC") == ["1"]
    small.sessions[FAILED] = small.newest()
    begin(small)
    small.gate.touch()
    filling = small.home.parent / "filling"
    free = os.statvfs(filling.parent)
    with open(filling, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - (6 << 20))
    assert small.call("009ABC") == ["1"]
    small.assert_section("The disk is full")
    module.write_text(MODULES["009ABC"])  # what is free now is about what the other one prints
    assert small.call("009ABC") == ["1"]
    assert (small.jobs / "log" / "009ABC.log").read_text().endswith("no such table: T42; jobs: submitted\n")
