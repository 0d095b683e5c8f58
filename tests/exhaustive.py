"""Runs every case of every test, file by file, says how far it is, and goes on where it was stopped.

    .venv/bin/python tests/exhaustive.py [FILE ...] [-n N] [--again]

A test that draws a sample of many cases takes all of them. What has passed is kept in .pytest_cache for the commit at
hand, and is not run again; `--again` forgets it. The exit status is 0 if all files have passed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".pytest_cache" / "exhaustive"
LIMIT = 6 * 3600  # seconds for one test


class Result(NamedTuple):
    passed: int
    skipped: int
    seconds: float


def revision() -> str:
    """Names the commit at hand. Raises SystemExit if a file of it was changed: what has passed would mean nothing."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False).returncode:
        raise SystemExit("commit your changes first: what has passed is kept for a commit")
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout[
        :12
    ]


def run(file: str, workers: int) -> Result | None:
    """Returns None if a test has failed; what pytest says is shown then."""
    report, output, begun = CACHE / "report.xml", CACHE / "output", time.monotonic()
    command = [sys.executable, "-m", "pytest", file, "-n", str(workers), "-m", "", "--timeout", str(LIMIT)]
    with open(output, "wb") as stream:
        status = subprocess.run(
            [*command, f"--junit-xml={report}"], cwd=ROOT, env={**os.environ, "PLANTA_EXHAUSTIVE": "1"},
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False,
        ).returncode  # fmt: skip
    if status not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):  # a file may be of another platform
        sys.stdout.write(output.read_text(encoding="utf-8", errors="replace"))
        return None
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    skipped = int(suite.get("skipped", 0))
    return Result(int(suite.get("tests", 0)) - skipped, skipped, time.monotonic() - begun)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="files of tests (default: all)")
    parser.add_argument("-n", type=int, default=2, metavar="N", help="tests at a time (default: 2)")
    parser.add_argument("--again", action="store_true", help="run again what has passed")
    asked = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    state = CACHE / f"{revision()}.json"
    known = json.loads(state.read_text(encoding="utf-8")) if state.exists() and not asked.again else {}
    passed = {file: Result(*result) for file, result in known.items()}
    files = asked.files or sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))
    failed = []
    for number, file in enumerate(files, 1):
        if file in passed:
            continue
        print(f"[{number}/{len(files)}] {file} ... ", end="", flush=True)
        result = run(file, asked.n)
        if result is None:
            failed.append(file)
            continue
        passed[file] = result
        state.write_text(json.dumps(passed), encoding="utf-8")
        print(f"{result.passed} passed, {result.skipped} skipped, {result.seconds:.0f} s", flush=True)
    total = Result(*(sum(column) for column in zip(*passed.values()))) if passed else Result(0, 0, 0.0)
    print(f"{len(passed)} files: {total.passed} passed, {total.skipped} skipped, {total.seconds / 60:.0f} min")
    print(f"failed: {' '.join(failed)}" if failed else "nothing failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
