"""All benchmarks, one after the other, or those that are named: `python tests/benchmarks [NAME ...]`. No tests: they
print what a machine shows, as ratios of things that were measured in turns in one run."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
NAMES = ("command_time", "job_start", "acceptance", "sessions", "login_timing", "functions")

if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    for name in sys.argv[1:] or NAMES:
        benchmark = import_module(f"benchmarks.{name}")
        print((benchmark.__doc__ or "").partition("\n")[0])
        benchmark.main()
        print()
