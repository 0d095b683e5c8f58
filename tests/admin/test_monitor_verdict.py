"""headless monitor: the verdict on what is known of a job."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from headless.admin.monitor_verdict import Execution, Level, Stage, duration, judge

NOW = 1_764_000_000.0
HOUR = 3600.0
WITHIN = 26 * HOUR


def over(hours_ago, state="ok", message="", seconds=7.0, **more):
    return Execution(Stage.OVER, NOW - hours_ago * HOUR, state, message, seconds, **more)


def runs(hours_ago, state="running"):
    return Execution(Stage.STILL_RUNS, NOW - hours_ago * HOUR, state)


def accepted(hours_ago):
    return Execution(Stage.NOT_FOLLOWED, NOW - hours_ago * HOUR)


def judged(*executions):
    verdict = judge("J", executions, WITHIN, NOW)
    return verdict.level, re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", verdict.text)


WELL = "J ended well DATE (6 h ago), after 7 s"
NEVER = "it is not known to have ended well"
ANOTHER_RUNS = "; another one still runs, since DATE (60 min ago)"
NOT_FOLLOWED = ", and the call did not wait for its end (-t -1)"
JUDGED = [
    ([over(6)], Level.OK, WELL),
    ([over(25.9)], Level.OK, "J ended well DATE (26 h ago), after 7 s"),
    ([over(30, "failed"), over(6)], Level.OK, WELL),
    ([over(7, "failed"), over(6)], Level.OK, WELL),
    ([over(6), runs(1)], Level.OK, WELL + ANOTHER_RUNS),
    ([over(6), accepted(1)], Level.OK, f"{WELL}; another one was accepted DATE (60 min ago){NOT_FOLLOWED}"),
    ([accepted(7), over(6)], Level.OK, WELL),
    ([], Level.CRITICAL, f"J has not ended within 26 h; {NEVER}"),
    ([over(27)], Level.CRITICAL, "J has not ended within 26 h; it last ended well DATE (27 h ago)"),
    ([over(7), over(6, "failed", "no table")], Level.CRITICAL, "J failed DATE (6 h ago), after 7 s: no table"),
    ([over(6, "skipped")], Level.CRITICAL, "J skipped DATE (6 h ago), after 7 s"),
    ([over(6, "unknown", "lost", None)], Level.CRITICAL, "J ended, result not known, DATE (6 h ago): lost"),
    ([over(50), over(27, "failed", "no table")], Level.CRITICAL, "J failed DATE (27 h ago), after 7 s: no table"),
    ([over(6, "failed", "x"), runs(1)], Level.CRITICAL, f"J failed DATE (6 h ago), after 7 s: x{ANOTHER_RUNS}"),
    ([over(27), runs(3)], Level.WARNING, "J still runs, since DATE (3 h ago); it last ended well DATE (27 h ago)"),
    ([runs(25)], Level.WARNING, f"J still runs, since DATE (25 h ago); {NEVER}"),
    ([runs(50)], Level.CRITICAL, f"J still runs, since DATE (2 d ago); {NEVER}"),
    ([runs(3, "queued")], Level.WARNING, f"J waits, since DATE (3 h ago); {NEVER}"),
    ([runs(50), runs(1)], Level.CRITICAL, f"J still runs, since DATE (2 d ago); {NEVER}"),
    ([over(27), accepted(3)], Level.WARNING,
     f"J was accepted DATE (3 h ago){NOT_FOLLOWED}; it last ended well DATE (27 h ago)"),
    ([accepted(30)], Level.CRITICAL, f"J has not ended within 26 h; {NEVER}"),
]  # fmt: skip


@pytest.mark.parametrize(("executions", "level", "text"), JUDGED)
def test_the_last_job_that_is_over_counts(executions, level, text):
    assert judged(*executions) == (level, text)


@pytest.mark.parametrize("hours_ago", [-99_999, -25, -1, 5, 30, 999_999])
def test_the_given_order_counts_and_no_clock(hours_ago):
    assert judged(over(6), over(hours_ago, "failed"))[0] is Level.CRITICAL
    assert judged(over(hours_ago), over(6, "failed"))[0] is Level.CRITICAL
    assert judged(over(hours_ago, "failed"), over(6))[0] is Level.OK


def test_how_long_ago_a_job_ended_is_not_known_if_its_clock_was_ahead():
    text = "J ended well DATE (in the future), after 7 s; a clock is wrong, and how long ago that was is not known"
    for hours_ago in (-99_999, -25, -0.1):
        assert judged(over(6), over(hours_ago)) == (Level.UNKNOWN, text)
        assert judge("J", [over(hours_ago)], WITHIN, NOW).age is None
    assert judged(over(-99_999, "failed", "x")) == (Level.CRITICAL, "J failed DATE (in the future), after 7 s: x")
    assert judged(over(-99_999), over(6))[0] is Level.OK
    nearly = judge("J", [over(-0.05)], WITHIN, NOW)  # a clock that was set back
    assert (nearly.level, nearly.age, "(0 s ago)" in nearly.text) == (Level.OK, 0.0, True)


def test_between_two_sources_a_failure_is_the_later_one_if_its_date_says_so():
    good = over(6, source="b")
    for of_a, level in (
        ([over(5, "failed")], Level.CRITICAL),
        ([over(5, "failed"), over(5.5)], Level.OK),
        ([over(7, "failed")], Level.OK),
        ([over(-99, "failed")], Level.OK),
    ):
        assert judged(*(replace(each, source="a") for each in of_a), good)[0] is level, of_a


def test_each_owner_has_a_last_job_and_the_worst_one_counts():
    bad, good, old = over(7, "failed", owner="R41"), over(6, owner="R42"), over(50, owner="R41")
    assert judged(bad, good) == (Level.CRITICAL, "J of R41 failed DATE (7 h ago), after 7 s")
    assert judged(bad, over(6, owner="R41"))[0] is Level.OK
    assert judged(old, good) == (Level.OK, "J of R42 ended well DATE (6 h ago), after 7 s")
    assert judged(over(50, "failed", owner="R41"), over(50, owner="R42"))[0] is Level.CRITICAL


def test_of_two_levels_the_worse_one_is_that_of_the_monitoring_plugins():
    levels = sorted(Level, key=lambda level: level.severity)
    assert levels == [Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL]


def test_the_figures_are_the_age_of_the_last_good_end_and_the_runtime():
    verdict = judge("J", [over(27, seconds=5.0), over(6, "failed", seconds=7.5)], WITHIN, NOW)
    assert (verdict.age, verdict.runtime) == (27 * HOUR, 7.5)
    assert judge("J", [], WITHIN, NOW).age is None


def test_a_duration_is_written_in_a_unit_that_fits():
    texts = {0: "0 s", 0.4: "0 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2 h", 172_800: "2 d"}
    assert {seconds: duration(seconds) for seconds in texts} == texts
