"""What is read in a crontab is what the cron of Debian really starts, and when: a cron of the test's own, in a mount
namespace of its own, runs hostile crontabs, and a recorder in the place of the shell writes down what it was given.

Its package is downloaded (apt-get download), and that of libfaketime: the clock of that cron is stopped until it has
nothing to do, and then goes on by a minute.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headless.admin import crontab
from headless.admin.files import File, Kind
from support.sampling import EXHAUSTIVE, REPEAT, draws

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cron is on Linux"),
]

PATIENCE = 40  # seconds, until all of a minute is started
# A cron starts hundreds of these: the only process of its own is the one that copies.
RECORDER = r"""#!/bin/sh
{ printf '%s\0' $# "$@"; pwd -P; /bin/cat /proc/$$/environ {mark} -; } > {records}/$$
> {records}/$$.done
"""
MARK = "\0the end of the environment\0"
PAM = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))
# CASE comes first, so that a line that follows a byte order mark is not SHELL.
HEAD = "SHELL={shell}\nCASE={case}\n"


class Run(NamedTuple):
    """A job that cron has started, or that it should start."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: str
    stdin: str


class Packages(NamedTuple):
    cron: Path
    clock: Path  # libfaketime


@pytest.fixture
def packages(tmp_path, pytestconfig) -> Packages:
    if (
        os.geteuid() != 0
        or subprocess.run(["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode
    ):
        pytest.skip("a mount namespace needs root, and a machine that allows it")
    cache = pytestconfig.cache.mkdir("packages") if hasattr(pytestconfig, "cache") else tmp_path  # for the next run
    for name in ("cron", "libfaketime"):
        if not list(cache.glob(f"{name}_*.deb")):
            command = ["apt-get", "-o", "Acquire::Retries=1", "download", name]
            subprocess.run(command, cwd=cache, check=False, capture_output=True, timeout=60)
        for package in list(cache.glob(f"{name}_*.deb"))[:1]:
            subprocess.run(["dpkg", "-x", str(package), str(tmp_path)], check=True)
    found = [*tmp_path.glob("usr/sbin/cron"), *tmp_path.rglob("libfaketime.so.1")]
    if len(found) != 2:
        pytest.skip("the packages cron and libfaketime cannot be downloaded")
    return Packages(*found)


class Machine:
    """What cron sees of a machine: folders that take the place of /etc, /run and /var/spool/cron."""

    def __init__(self, base: Path) -> None:
        self.base, self.records, self.shell = base, base / "records", base / "recorder"
        self.cron_d, self.crontabs, self.clock = base / "etc/cron.d", base / "spool/crontabs", base / "clock"
        subprocess.run(["cp", "-a", "/etc", str(base / "etc")], check=True)
        shutil.rmtree(self.cron_d, ignore_errors=True)
        for folder in (self.records, self.cron_d, self.crontabs, base / "run"):
            folder.mkdir(parents=True)
        self.records.chmod(0o1777)
        (base / "etc/crontab").unlink(missing_ok=True)
        (base / "etc/pam.d").mkdir(exist_ok=True)
        (base / "etc/pam.d/cron").write_text(PAM)
        (base / "mark").write_text(MARK)
        recorder = RECORDER.replace("{records}", str(self.records)).replace("{mark}", str(base / "mark"))
        self.shell.write_text(recorder)
        self.shell.chmod(0o755)

    def write(self, path: Path, content: str, case: int) -> str:
        content = content.replace("HEAD\n", HEAD.format(shell=self.shell, case=case))
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        path.chmod(0o600 if path.parent == self.crontabs else 0o644)
        return content

    def set_clock(self, now: datetime) -> None:
        new = self.clock.with_suffix(".new")
        new.write_text(now.strftime("%Y-%m-%d %H:%M:%S\n"))
        new.rename(self.clock)

    def runs(self, packages: Packages, minute: datetime, at_reboot: int, in_all: int) -> dict[int, list[Run]]:
        """What was started at first and in this minute, by its CASE. Waits for so many, but not for ever."""
        folders = (("etc", "/etc"), ("spool", "/var/spool/cron"), ("run", "/run"))
        mounts = " && ".join(f"mount --bind {self.base / ours} {theirs}" for ours, theirs in folders)
        clock = (
            f"env LD_PRELOAD={packages.clock} FAKETIME_TIMESTAMP_FILE={self.clock} FAKETIME_NO_CACHE=1 NO_FAKE_STAT=1"
        )
        command = f"mkdir -p /var/spool/cron && {mounts} && exec {clock} {packages.cron} -f"
        self.set_clock(minute - timedelta(seconds=1))
        with subprocess.Popen(["unshare", "-m", "sh", "-c", command], start_new_session=True) as daemon:
            try:
                self._wait(daemon.pid, at_reboot)
                self.set_clock(minute)
                daemon.send_signal(signal.SIGHUP)  # which ends its sleep
                self._wait(daemon.pid, in_all)
            finally:
                daemon.kill()
        return self._recorded()

    def _wait(self, cron: int, expected: int) -> None:
        """Until so many are done, and cron sleeps and has no children: it starts all of a minute in one go."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (len(list(self.records.glob("*.done"))) < expected or not _is_idle(cron)):
            time.sleep(0.05)

    def _recorded(self) -> dict[int, list[Run]]:
        found: dict[int, list[Run]] = {}
        for done in self.records.glob("*.done"):
            text = done.with_suffix("").read_bytes().decode("utf-8", "surrogateescape")
            count, _, text = text.partition("\0")
            *arguments, text = text.split("\0", int(count))
            folder, _, text = text.partition("\n")
            environment, _, stdin = text.partition(MARK)
            values = dict(each.partition("=")[::2] for each in environment.split("\0")[:-1])
            run = Run(tuple(arguments), tuple(sorted(values.items())), folder, stdin)
            found.setdefault(int(values["CASE"]), []).append(run)
        return found


def _is_idle(process: int) -> bool:
    parents = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
        except OSError:  # it has just gone
            continue
        if path.parent.name == str(process) and state != "S":
            return False
        parents.append(int(parent))
    return process not in parents


@contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="planta-cron-", dir="/tmp") as base:
        Path(base).chmod(0o755)
        yield Machine(Path(base))


def predicted(
    content: str, path: str, has_user_column: bool, shell: Path, is_started: Callable[[Any], bool]
) -> list[Run]:
    user = None if has_user_column else "root"
    parsed = crontab.read(File(path, content, Kind.CRONTAB, user, has_user_column))
    if any("none of its jobs run" in each.consequence for each in parsed.findings):
        return []
    return [
        Run(("-c", entry.command.text), tuple(sorted(entry.environment.items())), entry.folder or "", entry.stdin)
        for entry in parsed.entries
        if entry.shell == str(shell) and is_started(entry.schedule)
    ]


# Each is a file of cron.d, in which the last line is fine.
LINES = [
    "", "\t", "# x", " # x\r", "\r", "\f", "\v# x", "!x", "A", "A B", "[x]", "\0",
    "A=", "A= ", 'A=""', "A=''", 'A="b"', 'A="b"  ', 'A="b" # c', "A=b # c", 'A="b"c', 'A=b"c', "A='b\"", "A='a\"b'",
    "  A  =\tb c  ", "A\t= 'b '", '"A B" = c', "A B=c", '"A=b"=c', '"A', "'A\"=b", "=x", "A==b", "A=b=c", "A-B=c",
    "$A=b", "A=$PATH:/x", "A=%x\\%y", "A=\u00fc\u20ac", "A=b\\", "A=b\r", 'A="b"\r', "export A=b", "a.b=c", "1=b",
    "LOGNAME=fred", "USER=fred", "HOME=/usr", 'PATH=""', "PATH=/x", "CASE",
    *(f"A={'b' * count}" for count in (995, 996, 997, 998, 1100)), f"A=\"{'b' * 994}\"", f"A=\"{'b' * 995}\"",
    f"{'A' * 300}=" + "\u00fc" * 400, "x" * 1100 + "=y",
    *(f"@reboot root {'y' * count}" for count in (995, 998, 999, 3000)), "@reboot root y%" + "z" * 996,
    "@reboot root y%" + "z" * 997, "@reboot root " + "\u00fc" * 499, "@reboot root " + "\u00fc" * 500,
    "@reboot root a%b%c \\% d", "@reboot root a \\\\% b \\\\\\% c", "@reboot root \\\\ \\\\n \\n \\", "@reboot root %",
    "@reboot root %\\", "@reboot root a%%", "@reboot root a%b\\\\%c\\\\\\%d\\", "@reboot root # x % y",
    "  @reboot\troot\ttab\tx \t", "@reboot   root   lead", "@reboot root 'a \"b' $X `c` \u00fc \u20ac",
    "@reboot root #x", "@reboot root a\rb", "@reboot root x\r", "@reboot root a=b", "@reboot root=b c",
    "@reboot root", "@reboot root ", "@reboot", "@reboot ",
    "@reboot nosuchuser x", "@reboot /usr/bin/python3 x", "@Reboot root x", "@every 5m root x", "@daily root x",
    "@hourly root x", "@midnight root x", "@yearly root x", "@annually root x", "@weekly root x", "@monthly root x",
    "@daily", "-@daily root x", "0 2 * * * x", "0 2 * * * /usr/bin/python3 x", "0 2 * * root x", "0 2 * * * root",
    "0 2 * * * root ", "0 2 * *", "0  2\t* * *\troot   x", "0 2 * * * -root x", "0 2 * * * *", "1 2 3 4 5 6 x",
]  # fmt: skip
FIELDS = [
    "60 2 * * *", "5/15 2 30 2 *", "*/0 2 30 2 *", "5-1 2 30 2 *", "1,,2 2 30 2 *", "mon 2 30 2 *", "0 2 * * mon",
    "0 2 * * MON-fri", "0 2 * * mon,tue", "0 2 * jan *", "0 2 0 * *", "0 2 * * 8", "0 2 * * sun-tue", "0 2 * * 6-7",
    "0 2 * * 5-0", "0 24 * * *", "0 2 * january *", "~ 2 * * *", "1~5 2 * * *", "H 2 * * *", "*/5,7 2 30 2 *",
    "1-5/99 2 30 2 *", "*/99 2 30 2 *", "-0 2 * * *", "0 2 L * *", "? 2 * * *", "00 02 01 01 00", "*,1 2 30 2 *",
    "**/2 2 30 2 *", "0x1 2 * * *", "1- 2 * * *", "0,1, 2 * * *", "*2 3 * * *", "*-5 3 * * *", "*/5/2 2 30 2 *",
    "0 2 * * 1-5,7/2", "0 2 * * Mon-Fri/2", "100000000000 2 * * *", "0 2 * * +1", "22-2 2 * * *", "0 2 * * tues",
    "0 2 * * mo", "0 2 * 1-dec *", "0 2 ,1 * *", "1 ,2 * * *", "0 2 30 2 *", "\u0661 2 * * *", "1-2-3 2 30 2 *",
    "1-5/2/2 2 30 2 *", "1/1 2 30 2 *", "mon-3 2 * * *", "0 2 * * 1-tue", "*/x 2 30 2 *", "1-5/ 2 30 2 *", "0 2 * * *-",
    "5* 2 30 2 *", "5. 2 30 2 *", "*x,99 2 30 2 *", "1-2x 2 30 2 *", "1-2*,99 2 30 2 *", "1,* 2 30 2 *",
    "1-2,x 2 30 2 *",
]  # fmt: skip
FILES = {
    "name.with.dots": "HEAD\n@reboot root x\n", "tilde~": "HEAD\n@reboot root x\n",
    "UPPER_lower-1": "HEAD\n@reboot root x\n",
    "no-newline": "HEAD\n@reboot root x", "no-newline-setting": "HEAD\n@reboot root x\nA=b",
    "no-newline-comment": "HEAD\n@reboot root x\n# y", "no-newline-blank": "HEAD\n@reboot root x\n \t",
    "no-newline-cr": "HEAD\n@reboot root x\n\r", "mark": "\ufeffA=b\nHEAD\n@reboot root x\n",
    "mark-comment": "\ufeff# A\nHEAD\n@reboot root x\n", "mark-blank": "\ufeff\nHEAD\n@reboot root x\n",
    "crlf": "A=b\r\nHEAD\nB='c'\r\n# x\r\n@reboot root x y\r\n",
    "order": "A=1\nHEAD\n@reboot root x\nA=2\n@reboot root y\n",
}  # fmt: skip
PIECES = [
    "@reboot root", "@reboot", "root", "A", "B", "=", "=", " ", " ", "\t", '"', "'", "#", "%", "\\", "\\%", "x", "$A",
    "\r", "\u00fc", "* * 30 2 *", "*", "0", "5", "/", ",", "-", "~", "mon", "@daily",
]  # fmt: skip


def of_pieces(count: int) -> list[str]:
    """Lines by chance, the same ones each time."""
    chance = random.Random(20261128)
    return ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(count)]


def of_chance(count: int, now: datetime) -> list[str]:
    """Fields that match this minute more often than not."""
    chance = random.Random(20261128)
    values = (now.minute, now.hour, now.day, now.month, now.isoweekday() % 7)
    lowest, highest = (0, 0, 1, 1, 0), (59, 23, 31, 12, 7)
    made = []
    for _ in range(count):
        fields = []
        for value, low, high in zip(values, lowest, highest):
            first, last, step = chance.randint(low, high), chance.randint(low, high), chance.randint(1, 4)
            around = f"{chance.randint(low, value)}-{chance.randint(value, high)}"
            fields.append(chance.choice(
                ["*", "*", "*", str(value), f"{first}-{last}", f"*/{step}", around, f"{around}/{step}",
                 f"{first},{value}",
                 f"*,{first}", f"{first},*"]))  # fmt: skip
        made.append(" ".join(fields))
    return made


def of_this_minute(minute: datetime) -> list[str]:
    """Fields that match it, or nearly do."""
    weekday = minute.strftime("%a").lower()
    return [
        "* * * * *", f"* * 1 * {weekday}", f"* * */31 * {weekday}", f"* * {minute.day} * *", f"* * * * {weekday}",
        f"* * *,1 * {weekday}", "* * 1,* * 9-8", "*/1/7 * * * *", "*-5 * * * *", "* * * * 7", "* * * * 0",
        "* * * * 5-7",
    ]  # fmt: skip


def a_minute() -> datetime:
    """Of a day on which no clock is put forward or back."""
    chance = draws()
    print(REPEAT)
    hour, minute = chance.choice([(2, 0), (0, 0), (chance.randrange(24), chance.randrange(60))])
    return datetime(2027, chance.choice([1, 6, 7, 12]), chance.randint(1, 30), hour, minute)


def test_cron_starts_what_is_read_when_it_is_read(packages):
    minute = a_minute()

    def is_started(schedule) -> bool:
        return is_at_reboot(schedule) or schedule.starts(minute - timedelta(seconds=1), 1) == [minute]

    lines = [*LINES, *(f"{fields} root x" for fields in FIELDS), *of_pieces(400 if EXHAUSTIVE else 100)]
    fields = [*of_this_minute(minute), *of_chance(300 if EXHAUSTIVE else 100, minute)]
    files = {f"line-{number}": f"HEAD\n{line}\n@reboot root last\n" for number, line in enumerate(lines)} | FILES
    files |= {f"fields-{number}": f"HEAD\n{each} root x\n" for number, each in enumerate(fields)}
    with machine() as own:
        contents: dict[int, str] = {}
        at_reboot: dict[int, list[Run]] = {}
        expected: dict[int, list[Run]] = {}

        def add(path: Path, read_as: str, content: str, names_users: bool) -> None:
            case = len(contents)
            contents[case] = content = own.write(path, content, case)
            at_reboot[case] = predicted(content, read_as, names_users, own.shell, is_at_reboot)
            expected[case] = predicted(content, read_as, names_users, own.shell, is_started)

        for name, content in files.items():
            add(own.cron_d / name, f"/etc/cron.d/{name}", content, True)
        assert sum(map(len, expected.values())) - sum(map(len, at_reboot.values())) > 30
        of_root = [line.replace(" root", "") for line in LINES if re.match(r"@reboot root .{1,400}$", line)]
        add(own.crontabs / "root", str(own.crontabs / "root"), "HEAD\n" + "\n".join(of_root) + "\n", False)
        assert len(at_reboot[len(contents) - 1]) > 10
        runs = own.runs(packages, minute, sum(map(len, at_reboot.values())), sum(map(len, expected.values())))
    wrong = [
        f"{contents[case]!r}\n  read {sorted(expected[case])}\n  cron {sorted(runs.get(case, []))}"
        for case in contents
        if sorted(runs.get(case, [])) != sorted(expected[case])
    ]
    assert not wrong, f"{len(wrong)} at {minute}:\n" + "\n".join(wrong[:9])


def is_at_reboot(schedule) -> bool:
    return schedule.text == "@reboot"
