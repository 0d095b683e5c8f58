#!/usr/bin/env python
"""Looks for bytes that break a promise of the conversations: coverage-guided, by hand, not part of the test run.

    pip install -e .[test] atheris
    python tests/robustness/fuzz/fuzz_conversation.py [libFuzzer options] [folder of inputs]

What it calls is in target.py, what it has found worth keeping in corpus/ (test_properties.py runs that).
With -merge=1 it starts itself, and so has to be executable.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[3])]

if __name__ == "__main__":
    with atheris.instrument_imports(include=["headless"]):
        from robustness.fuzz.target import one_input
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
