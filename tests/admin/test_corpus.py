"""The corpus: what really happens when its lines are run in cron's environment, and that `check` agrees."""

from __future__ import annotations

import os
import shutil

import pytest

from support.corpus import Row, all_happen, found_by_check, rows
from support.sampling import EXHAUSTIVE, REPEAT, draws

pytestmark = pytest.mark.skipif(
    os.name == "nt" or "dash" not in os.path.realpath("/bin/sh") or shutil.which("bash", path="/bin") is None,
    reason="sh is not the one of Debian",
)
# What is said although the job runs now, and its end is reported: time, what may go wrong one night, what is unknown.
ALSO_OF_WHAT_RUNS = {
    "either-day", "each-minute", "step", "not-locked", "time-cut", "never", "time-zone", "unset", "timeout",
    "not-checked", "percent", "no-call", "look-alike", "not-expanded", "source", "no-folder", "options",
}  # fmt: skip
# Of several calls the code of the last one counts, and they all fail here; a trap or set -x prints; grep reads the end.
FALSE_ALARMS = {
    "0 2 * * * CALL > DIR/log; RC=$?; echo done; exit $RC", '0 2 * * * set -e; trap "echo ended" EXIT; CALL > DIR/log',
    "0 2 * * * set -x; CALL > DIR/log", '0 2 * * * CALL 2>&1 | grep -q "with 0" || echo bad',
    "0 2 * * * CALL; CALL -m 2", "0 2 * * * for j in 1 2; do CALL -m $j; done",
    '0 2 * * * find DIR -name secret | while read f; do CALL -c "$f"; done',
    '#!/bin/sh\\ntrap "echo bad" EXIT\\nCALL > DIR/log',
}  # fmt: skip


def sample(of: str) -> list[Row]:
    every = rows()
    return every if EXHAUSTIVE else draws(of).sample(every, 60)


def is_well(row: Row) -> bool:
    """Whether the command is started, not more often after a failure, and each failure is reported."""
    calls = [each for each, _, _ in row.outcomes]
    return min(calls) > 0 and max(calls) == calls[0] and all(heard for _, _, heard in row.outcomes[1:])


def is_noticed(row: Row) -> bool:
    """Whether the code of the line is not 0 after a failure, or something is reported that is not after a success."""
    after_success = row.outcomes[0]
    return all(code != "0" or (heard and not after_success[2]) for _, code, heard in row.outcomes[1:])


@pytest.mark.slow
def test_each_line_does_what_the_corpus_says_it_does(tmp_path):
    really = list(all_happen(sample("happens"), tmp_path))
    assert [(row.crontab, row.script, what) for row, what in really] == [
        (row.crontab, row.script, row.happens) for row, _ in really
    ], REPEAT


@pytest.mark.slow
def test_check_finds_in_each_line_what_the_corpus_says_it_finds(tmp_path):
    for number, row in enumerate(sample("found")):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = (row.crontab, row.script, found_by_check(row, folder))
        assert said == (row.crontab, row.script, row.found), REPEAT


def test_silence_means_that_the_job_runs_and_somebody_is_told():
    assert [row for row in rows() if row.found == "-" and not is_well(row)] == []


def test_what_is_found_is_really_wrong():
    alarms = [row for row in rows() if not set(row.found.split(",")) <= {"-", *ALSO_OF_WHAT_RUNS}]
    wrong = {row.script or row.crontab for row in alarms if is_well(row) and is_noticed(row)}
    assert wrong == FALSE_ALARMS


def test_a_row_has_its_kind_its_source_and_is_there_once():
    every = rows()
    assert all(row.kind and row.source for row in every)
    assert len({(row.crontab, row.script) for row in every}) == len(every) > 300
