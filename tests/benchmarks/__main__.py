"""All benchmarks, one after the other: `python tests/benchmarks`. No tests: they print what a machine shows, as ratios
of things that were measured in turns in one run. Each file of this folder is one of them, and can be run alone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import acceptance, command_time, job_start, login_timing, sessions

for benchmark in (command_time, job_start, acceptance, sessions, login_timing):
    print((benchmark.__doc__ or "").partition("\n")[0])
    benchmark.main()
    print()
