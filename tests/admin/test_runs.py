"""What a monitor says of the runs of a job, and the exit status."""

from __future__ import annotations

import re
from dataclasses import replace

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
        ([over(6), accepted(1)], Level.OK, "J ended well DATE (6 h ago), after 7 s; a run was accepted DATE (60 min "
         "ago), and nobody has waited for its end (-t -1)"),
        ([accepted(7), over(6)], Level.OK, "J ended well DATE (6 h ago), after 7 s"),
        ([], Level.CRITICAL, "J has not ended within 26 h; no run that ended well is known"),
        ([over(27)], Level.CRITICAL, "J has not ended within 26 h; it last ended well DATE (27 h ago)"),
        ([over(7), over(6, "failed", "no such table")], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: no such table"),
        ([over(6, "skipped")], Level.CRITICAL, "J skipped DATE (6 h ago), after 7 s"),
        ([over(6, "unknown", "lost", None)], Level.CRITICAL, "J ended, and nobody knows how, DATE (6 h ago): lost"),
        ([over(50), over(27, "failed", "no such table")], Level.CRITICAL,
         "J failed DATE (27 h ago), after 7 s: no such table"),
        ([over(6, "failed", "x"), going_on(1)], Level.CRITICAL,
         "J failed DATE (6 h ago), after 7 s: x; a run goes on since DATE (60 min ago)"),
        ([over(27), going_on(3)], Level.WARNING, "J goes on since DATE (3 h ago); it last ended well DATE (27 h ago)"),
        ([going_on(25)], Level.WARNING, "J goes on since DATE (25 h ago); no run that ended well is known"),
        ([going_on(50)], Level.CRITICAL, "J goes on since DATE (2 d ago); no run that ended well is known"),
        ([waiting(3)], Level.WARNING, "J waits since DATE (3 h ago); no run that ended well is known"),
        ([going_on(50), going_on(1)], Level.CRITICAL,
         "J goes on since DATE (2 d ago); no run that ended well is known"),
        ([over(27), accepted(3)], Level.WARNING,
         "J was accepted DATE (3 h ago), and nobody has waited for its end (-t -1); it last ended well DATE "
         "(27 h ago)"),
        ([accepted(30)], Level.CRITICAL, "J has not ended within 26 h; no run that ended well is known"),
    ],
)  # fmt: skip
def test_the_last_run_that_is_over_counts(runs, level, text):
    assert told(runs) == (level, text)


def told(runs):
    report = judge("J", runs, WITHIN, NOW)
    return report.level, re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", report.text)


@pytest.mark.parametrize("hours_ago", [-99_999, -25, -1, 5, 30, 999_999])
def test_the_order_of_the_runs_counts_and_no_clock(hours_ago):
    assert told([over(6), over(hours_ago, "failed")])[0] is Level.CRITICAL
    assert told([over(hours_ago), over(6, "failed")])[0] is Level.CRITICAL
    assert told([over(hours_ago, "failed"), over(6)])[0] is Level.OK


def test_how_long_ago_a_run_was_is_not_known_if_its_clock_was_ahead():
    text = "J ended well DATE (in the future), after 7 s; a clock is wrong, and how long ago that was is not known"
    for hours_ago in (-99_999, -25, -0.1):
        assert told([over(6), over(hours_ago)]) == (Level.UNKNOWN, text)
        assert judge("J", [over(hours_ago)], WITHIN, NOW).age is None
    assert told([over(-99_999, "failed", "x")]) == (Level.CRITICAL, "J failed DATE (in the future), after 7 s: x")
    assert told([over(-99_999), over(6)])[0] is Level.OK


def test_between_two_sources_a_failure_is_the_later_one_if_its_date_says_so():
    bad, good = over(5, "failed"), over(6)
    assert told([replace(bad, source="a"), replace(good, source="b")])[0] is Level.CRITICAL
    assert told([replace(bad, source="a"), replace(over(5.5), source="a"), replace(good, source="b")])[0] is Level.OK
    assert told([replace(over(7, "failed"), source="a"), replace(good, source="b")])[0] is Level.OK
    assert told([replace(over(-99, "failed"), source="a"), replace(good, source="b")])[0] is Level.OK


def test_each_owner_has_a_last_run_and_the_worst_one_counts():
    def of(owner, run):
        return replace(run, owner=owner)

    bad, good, old = over(7, "failed"), over(6), over(50)
    assert told([of("R41", bad), of("R42", good)]) == (Level.CRITICAL, "J of R41 failed DATE (7 h ago), after 7 s")
    assert told([of("R41", bad), of("R41", good)])[0] is Level.OK
    assert told([of("R41", old), of("R42", good)]) == (Level.OK, "J of R42 ended well DATE (6 h ago), after 7 s")
    assert told([of("R41", over(50, "failed")), of("R42", old)])[0] is Level.CRITICAL


def test_of_two_levels_the_worse_one_is_that_of_the_monitoring_plugins():
    assert sorted(Level, key=lambda level: level.severity) == [
        Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL,
    ]  # fmt: skip


def test_the_figures_are_the_age_of_the_last_good_end_and_the_runtime():
    report = judge("J", [over(27, seconds=5.0), over(6, "failed", seconds=7.5)], WITHIN, NOW)
    assert (report.age, report.runtime) == (27 * HOUR, 7.5)
    assert judge("J", [], WITHIN, NOW).age is None


def test_a_clock_that_was_set_back_makes_no_negative_age():
    report = judge("J", [over(-0.05)], WITHIN, NOW)
    assert (report.level, report.age) == (Level.OK, 0.0)
    assert "(0 s ago)" in report.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_duration_is_said_in_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text
