"""What a monitor says of the runs of a job, and the exit status."""

from __future__ import annotations

import re

import pytest

from headless.admin.runs import Level, Run, Stage, duration, judge

NOW = 1_764_000_000.0
HOUR = 3600.0
WITHIN = 26 * HOUR


def over(hours_ago, state="ok", message="", seconds=7.0):
    return Run(Stage.OVER, NOW - hours_ago * HOUR, state, message, seconds)


def going_on(hours_ago):
    return Run(Stage.GOES_ON, NOW - hours_ago * HOUR)


def waiting(hours_ago):
    return Run(Stage.GOES_ON, NOW - hours_ago * HOUR, "queued")


def accepted(hours_ago):
    return Run(Stage.NOT_FOLLOWED, NOW - hours_ago * HOUR)


@pytest.mark.parametrize(
    ("runs", "level", "text"),
    [
        ([over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([over(25.9)], Level.OK, "J ended well DATE (26 h ago), after 7 s"),
        ([over(30, "failed"), over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([over(7, "failed"), over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([over(6), going_on(1)], Level.OK,
         "J ended well DATE (6 h ago), after 7 s; a run goes on since DATE (60 min ago)"),
        ([over(6), accepted(1)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([], Level.CRITICAL, "J has not ended within 26 h; no run that ended well is known"),
        ([over(27)], Level.CRITICAL, "J has not ended within 26 h; it last ended well DATE (27 h ago)"),
        ([over(7), over(6, "failed", "no such table")], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: no such table"),
        ([over(6, "skipped")], Level.CRITICAL, "J skipped DATE (6 h ago), after 7 s"),
        ([over(6, "unknown", "lost", None)], Level.CRITICAL, "J ended, and nobody knows how, DATE (6 h ago): lost"),
        ([over(50), over(27, "failed", "no such table")], Level.CRITICAL,
         "J has not ended within 26 h; it last ended well DATE (2 d ago); its last run failed DATE (27 h ago), "
         "after 7 s: no such table"),
        ([over(6, "failed", "x"), going_on(1)], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: x; a run goes on since DATE (60 min ago)"),
        ([over(27), going_on(3)], Level.WARNING, "J goes on since DATE (3 h ago); it last ended well DATE (27 h ago)"),
        ([going_on(25)], Level.WARNING, "J goes on since DATE (25 h ago); no run that ended well is known"),
        ([going_on(50)], Level.CRITICAL, "J goes on since DATE (2 d ago); no run that ended well is known"),
        ([waiting(3)], Level.WARNING, "J waits since DATE (3 h ago); no run that ended well is known"),
        ([over(-25)], Level.CRITICAL, "J has not ended within 26 h; no run that ended well is known; not counted: a "
         "run of DATE, in the future"),
        ([over(6, "failed", "x"), over(-99_999)], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: x; not counted: a run of DATE, in the future"),
        ([over(27), accepted(3)], Level.WARNING,
         "J was accepted DATE (3 h ago), and nobody has waited for its end (-t -1); it last ended well DATE "
         "(27 h ago)"),
        ([accepted(30)], Level.CRITICAL, "J has not ended within 26 h; no run that ended well is known"),
    ],
)  # fmt: skip
def test_the_last_run_that_is_over_counts(runs, level, text):
    for order in (runs, runs[::-1]):
        report = judge("J", order, WITHIN, NOW)
        assert (report.level, re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", report.text)) == (level, text)


def test_the_figures_are_the_age_of_the_last_good_end_and_the_runtime():
    report = judge("J", [over(27, seconds=5.0), over(6, "failed", seconds=7.5)], WITHIN, NOW)
    assert (report.age, report.runtime) == (27 * HOUR, 7.5)
    assert judge("J", [], WITHIN, NOW).age is None


def test_a_clock_that_was_set_back_makes_no_negative_age():
    report = judge("J", [over(-2)], WITHIN, NOW)
    assert (report.level, report.age) == (Level.OK, 0.0)
    assert "(0 s ago)" in report.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_duration_is_said_in_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text
