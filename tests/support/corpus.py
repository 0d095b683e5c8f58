"""The corpus of crontabs, `tests/admin/corpus/lines.tsv`: what really happens when each is run, and what `check` says.

Run as a program, it writes the last two columns anew; look at the difference before it is kept.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from headless.admin import crontab, files
from headless.admin.calls import Entry
from headless.admin.rules import NOTHING_RUNS
from support import checks
from support.credentials import HASH
from support.process import PATIENCE, SCRIPT

PATH = Path(__file__).parent.parent / "admin" / "corpus" / "lines.tsv"
CODES = (0, 1, 2, 3, 75)
CALL = "PYTHON SCRIPT -s planta:20000 -u R41 -p DIR/secret -t -1 -v -m 009ABC"
# It takes the place of Python and of the script: writes that it was called, prints with -v, returns the code of a file.
STUB = """#!/bin/sh
case "$*" in *planta_headless*) ;; *) case "$0" in *planta_headless.py) ;; *) exec /bin/sh "$@" ;; esac ;; esac
echo "$*" >> DIR/called
case " $* " in *" -v "*) echo "it ends with $(cat DIR/code)" ;; esac
exit "$(cat DIR/code)"
"""
REPORTER = '#!/bin/sh\necho "$0 $*" >> DIR/reported\n'  # in the place of mail, logger, curl


class Row(NamedTuple):
    """`kind` and `source` say what it is an example of, and whose habit. `crontab` and `script`, DIR/job.sh, have \\n
    for a newline. `happens` has CALLS/CODE/HEARD for each of CODES: how often the command was started, what the line
    has returned, and whether that is reported. `found` are the rules."""

    kind: str
    source: str
    crontab: str
    script: str
    happens: str
    found: str

    @property
    def outcomes(self) -> list[tuple[int, str, bool]]:
        parts = [each.split("/") for each in self.happens.split()]
        return [(int(calls), code, heard == "+") for calls, code, heard in parts]


def rows() -> list[Row]:
    with open(PATH, encoding="utf-8", newline="") as file:
        return [Row(*each) for each in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]


def _text(text: str, folder: Path, python: str, script: str) -> str:
    values = (("\\n", "\n"), ("CALL", CALL), ("PYTHON", python), ("SCRIPT", script), ("DIR", str(folder)))
    for name, value in values:
        text = text.replace(name, value)
    return text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def prepare(row: Row, folder: Path, is_for_check: bool) -> Path:
    """Writes the crontab and what it needs; returns its path. For a check, with the real command in it."""
    python, script = (sys.executable, str(SCRIPT)) if is_for_check else ("DIR/python3", "DIR/planta_headless.py")
    if not is_for_check:
        _write(folder / "python3", STUB.replace("DIR", str(folder)))
        _write(folder / "planta_headless.py", STUB.replace("DIR", str(folder)))
        for name in ("mail", "logger", "curl"):
            _write(folder / "bin" / name, REPORTER.replace("DIR", str(folder)))
    (folder / "secret").write_text(HASH + "\n")
    (folder / "secret").chmod(0o400)
    if row.script:
        _write(folder / "job.sh", _text(row.script, folder, python, script) + "\n")
    _write(folder / "crontab", _text(row.crontab, folder, python, script) + "\n")
    return folder / "crontab"


def found_by_check(row: Row, folder: Path) -> str:
    """The rules, without those that are about the programs of this machine."""
    found = checks.rules(checks.check(prepare(row, folder, is_for_check=True))[1])
    return ",".join(sorted({each for each in found if each not in ("no-program", "no-library")})) or "-"


def happens(path: Path) -> str:
    """Runs the crontab for each of CODES."""
    parsed = crontab.read(files.read(str(path), "root"))
    if any(each.consequence == NOTHING_RUNS for each in parsed.findings):
        return " ".join("0/-/-" for _ in CODES)
    return " ".join(_happens(parsed.entries, code, path.parent) for code in CODES)


def _happens(entries: list[Entry], code: int, folder: Path) -> str:
    for name in ("called", "reported"):
        (folder / name).write_text("")
    (folder / "code").write_text(str(code))
    returned, is_heard = 0, False
    for entry in entries:
        returned, output = _run(entry, folder)
        is_heard |= bool(output) and entry.environment.get("MAILTO") != ""
    calls = (folder / "called").read_text().count("\n")
    return f"{calls}/{returned}/{'+' if is_heard or (folder / 'reported').read_text() else '-'}"


def _run(entry: Entry, folder: Path) -> tuple[int, bytes]:
    """Runs an entry as cron does; returns its code and what it prints. Waits for all that it starts."""
    environment = {**entry.environment, "PATH": f"{folder}/bin:{entry.environment['PATH']}"}
    ended, holder = os.pipe()
    with open(ended, "rb") as pipe:
        try:
            done = subprocess.run(
                [entry.shell, "-c", entry.command.text], env=environment, cwd=folder, input=entry.stdin.encode(),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[holder], start_new_session=True,
                timeout=PATIENCE, check=False,
            )  # fmt: skip
        except FileNotFoundError:  # the shell
            return 127, b""
        finally:
            os.close(holder)
        pipe.read()
    return done.returncode, done.stdout


def all_happen(every: list[Row], folder: Path) -> Iterator[tuple[Row, str]]:
    """Runs some rows at a time. All files are written before: one that is open cannot be run."""
    assert not any(re.search(r"\b(p?kill|killall)\b", row.crontab + row.script) for row in every)  # not on any machine
    paths: list[Path] = []
    for number, row in enumerate(every):
        (folder / str(number)).mkdir()
        paths.append(prepare(row, folder / str(number), is_for_check=False))
    with ThreadPoolExecutor(8) as pool:
        yield from zip(every, pool.map(happens, paths))


def _main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        really = list(all_happen(rows(), Path(folder)))
        lines = ["\t".join(Row._fields)]
        for row, what in really:
            with tempfile.TemporaryDirectory() as own:
                new = row._replace(happens=what, found=found_by_check(row, Path(own)))
            lines.append("\t".join(new))
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
