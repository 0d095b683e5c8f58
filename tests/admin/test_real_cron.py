"""What is read in a crontab is what the cron of Debian really starts: a cron of the test's own, in a mount namespace of
its own, runs hostile crontabs, and a recorder in the place of the shell writes down what it was given.

The package is downloaded (apt-get download cron), or PLANTA_TEST_CRON names a cron or its package.
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
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from headless.admin.crontab import read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cron is on Linux"),
]

RECORDER = r"""#!/bin/sh
folder=$(/usr/bin/mktemp -d {records}/XXXXXXXX)
for each; do printf '%s\0' "$each"; done > "$folder/arguments"
/bin/cat > "$folder/stdin"
/bin/cat /proc/$$/environ > "$folder/environment"
/bin/readlink /proc/$$/cwd > "$folder/folder"
> "$folder/done"
"""
PAM = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session"))
# CASE comes first, so that a line that follows a byte order mark is not SHELL.
HEAD = "SHELL={shell}\nCASE={case}\n"


class Run(NamedTuple):
    """A job that cron has started, or that it should start."""

    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: str
    stdin: str


@pytest.fixture(scope="module")
def cron(tmp_path_factory) -> Path:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a mount namespace needs root")
    if subprocess.run(["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this machine allows no mount namespace")
    given = os.environ.get("PLANTA_TEST_CRON", "")
    if given and not given.endswith(".deb"):
        return Path(given)
    folder = tmp_path_factory.mktemp("cron")
    package = Path(given) if given else _download(folder)
    subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return folder / "usr/sbin/cron"


def _download(folder: Path) -> Path:
    if shutil.which("apt-get") is None:
        pytest.skip("there is no apt-get to download cron")
    command = ["apt-get", "-o", "Acquire::Retries=1", "download", "cron"]
    subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=60)
    packages = list(folder.glob("cron_*.deb"))
    if not packages:
        pytest.skip("the package cron cannot be downloaded; PLANTA_TEST_CRON can name one")
    return packages[0]


class Machine:
    """What cron sees of a machine: folders that take the place of /etc, /run and /var/spool/cron."""

    def __init__(self, base: Path) -> None:
        self.base, self.records, self.shell = base, base / "records", base / "recorder"
        self.cron_d, self.crontabs = base / "etc/cron.d", base / "spool/crontabs"
        subprocess.run(["cp", "-a", "/etc", str(base / "etc")], check=True)
        shutil.rmtree(self.cron_d, ignore_errors=True)
        for folder in (self.records, self.cron_d, self.crontabs, base / "run"):
            folder.mkdir(parents=True)
        self.records.chmod(0o1777)
        (base / "etc/crontab").unlink(missing_ok=True)
        (base / "etc/pam.d").mkdir(exist_ok=True)
        (base / "etc/pam.d/cron").write_text(PAM)
        self.shell.write_text(RECORDER.replace("{records}", str(self.records)))
        self.shell.chmod(0o755)

    def write(self, path: Path, content: str, case: int) -> str:
        content = content.replace("HEAD\n", HEAD.format(shell=self.shell, case=case))
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        path.chmod(0o600 if path.parent == self.crontabs else 0o644)
        return content

    def runs(self, cron: Path, expected: int, seconds: float) -> dict[int, list[Run]]:
        """By their CASE. Waits for so many, but no longer than that."""
        places = (("etc", "/etc"), ("spool", "/var/spool/cron"), ("run", "/run"))
        mounts = " && ".join(f"mount --bind {self.base / ours} {theirs}" for ours, theirs in places)
        command = ["unshare", "-m", "sh", "-c", f"mkdir -p /var/spool/cron && {mounts} && exec {cron} -f"]
        daemon = subprocess.Popen(command, start_new_session=True)
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end and len(list(self.records.glob("*/done"))) < expected:
                time.sleep(0.1)
            time.sleep(1)  # for those that must not come
        finally:
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        return self._recorded()

    def _recorded(self) -> dict[int, list[Run]]:
        found: dict[int, list[Run]] = {}
        for folder in sorted(each.parent for each in self.records.glob("*/done")):
            values = dict(each.partition("=")[::2] for each in _strings(folder / "environment"))
            run = Run(
                tuple(_strings(folder / "arguments")),
                tuple(sorted(values.items())),
                (folder / "folder").read_text().rstrip("\n"),
                (folder / "stdin").read_bytes().decode("utf-8", "surrogateescape"),
            )
            found.setdefault(int(values["CASE"]), []).append(run)
        return found


def _strings(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


@contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="planta-cron-", dir="/tmp") as base:
        Path(base).chmod(0o755)
        yield Machine(Path(base))


def predicted(content: str, path: str, has_user_column: bool, shell: Path, is_started) -> list[Run]:
    user = None if has_user_column else "root"
    entries, findings = read(content, path, has_user_column, user)
    if any("none of its jobs run" in each.consequence for each in findings):
        return []
    return [
        Run(
            ("-c", entry.command.text),
            tuple(sorted(entry.environment.items())),
            entry.folder or "",
            entry.stdin,
        )
        for entry in entries
        if entry.shell == str(shell) and is_started(entry.schedule)
    ]


def is_at_reboot(schedule) -> bool:
    return schedule.text == "@reboot"


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
    """Lines that nobody has thought of; the same ones each time."""
    chance = random.Random(20261128)
    return ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(count)]


def test_cron_starts_what_is_read(cron):
    lines = [*LINES, *(f"{fields} root x" for fields in FIELDS), *of_pieces(400)]
    files = {f"line-{number}": f"HEAD\n{line}\n@reboot root last\n" for number, line in enumerate(lines)} | FILES
    with machine() as own:
        contents, expected = {}, {}
        for case, (name, content) in enumerate(files.items()):
            contents[case] = own.write(own.cron_d / name, content, case)
            expected[case] = predicted(contents[case], f"/etc/cron.d/{name}", True, own.shell, is_at_reboot)
        case = len(files)
        of_root = [line.replace(" root", "") for line in LINES if re.match(r"@reboot root .{1,400}$", line)]
        contents[case] = own.write(own.crontabs / "root", "HEAD\n" + "\n".join(of_root) + "\n", case)
        expected[case] = predicted(contents[case], str(own.crontabs / "root"), False, own.shell, is_at_reboot)
        assert len(expected[case]) > 10
        runs = own.runs(cron, sum(map(len, expected.values())), 30)
    wrong = [
        f"{contents[case]!r}\n  read {sorted(expected[case])}\n  cron {sorted(runs.get(case, []))}"
        for case in contents
        if sorted(runs.get(case, [])) != sorted(expected[case])
    ]
    assert not wrong, "\n".join(wrong)


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


def test_cron_starts_when_it_is_read(cron):
    now = datetime.now()
    if now.second > 50:  # so that all files are there before the minute is over
        time.sleep(61 - now.second)
        now = datetime.now()
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    weekday = minute.strftime("%a").lower()
    fields = [
        "* * * * *", f"* * 1 * {weekday}", f"* * */31 * {weekday}", f"* * {minute.day} * *", f"* * * * {weekday}",
        f"* * *,1 * {weekday}", "* * 1,* * 9-8", "*/1/7 * * * *", "*-5 * * * *", "* * * * 7", "* * * * 0",
        "* * * * 5-7",
        *of_chance(300, minute),
    ]  # fmt: skip

    def is_started(schedule) -> bool:
        return schedule.starts(minute - timedelta(seconds=1), 1) == [minute]

    with machine() as own:
        contents, expected = {}, {}
        for case, each in enumerate(fields):
            contents[case] = own.write(own.cron_d / f"fields-{case}", f"HEAD\n{each} root x\n", case)
            expected[case] = predicted(contents[case], f"/etc/cron.d/fields-{case}", True, own.shell, is_started)
        assert sum(map(len, expected.values())) > 50
        runs = own.runs(cron, sum(map(len, expected.values())), 75)
    wrong = [each for case, each in enumerate(fields) if len(runs.get(case, [])) != len(expected[case])]
    assert not wrong, f"at {minute}: {wrong}"
