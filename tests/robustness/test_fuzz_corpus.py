"""What the fuzzer has found worth keeping, run without it: no input in fuzz/corpus breaks a promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustness.fuzz.target import make_input, one_input
from support.literal_messages import MESSAGES

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
GOOD = ["accepted", "started:1", "finished:1:ok", "started:2", "finished:2:ok", "ended:ok"]


@pytest.mark.version("what lxml takes for a document")
def test_no_input_that_the_fuzzer_has_found_breaks_a_promise():
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) >= 50
    for path in inputs:
        print(path.name)  # which pytest shows if the test fails
        one_input(path.read_bytes())


@pytest.mark.parametrize("piece", [0, 1, 40])
def test_the_target_sees_a_false_0(monkeypatch, piece):
    good = make_input("client", "login:osuser welcome jobs", *(MESSAGES[label] for label in GOOD), piece=piece)
    one_input(good)
    monkeypatch.setattr("robustness.fuzz.target.is_a_good_end", lambda *_: False)
    with pytest.raises(AssertionError):
        one_input(good)
