"""How often something is started, and what is started in the same minute."""

from __future__ import annotations

from datetime import datetime

import pytest

from headless.admin.schedule import Schedule, Timetable, surprises


def cron(*expressions):
    return Schedule("", expressions)


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        (cron("* * * * *"), 60),
        (cron("*/7 * * * *"), 240),  # from minute 56 to the next hour
        (cron("0 2 * * *"), 86400),
        (cron("0 2 * * 1-5"), 86400),
        (cron("0 2 * * 7"), 7 * 86400),
        (cron("0 2 1 * *"), 28 * 86400),
        (cron("0 2 29 2 *"), None),  # once in the four years that are looked at
        (cron("50 23 * * *", "10 0 * * *"), 20 * 60),
        (cron("0 2 1 * 1"), 86400),  # the first of a month, and each Monday
        (cron("0 2 */2 * 1"), 7 * 86400),  # with a star both must match: Monday 31, Monday 7
        (Schedule("@reboot"), None),
    ],
)
def test_the_shortest_interval_is_the_one_between_two_starts(schedule, seconds):
    assert schedule.shortest_interval() == seconds


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("*/90 * * * *", True), ("*/45 * * * *", True), ("0 */23 * * *", True), ("*/60 * * * *", False),
     ("0 */24 * * *", False), ("*/30 * * * *", False)],
)  # fmt: skip
def test_a_step_of_a_whole_hour_or_day_is_as_meant(text, is_one):
    assert [rule for rule, _ in surprises(text)] == ["step"] * is_one


LONGEST = [
    (cron("0 2 * * *"), 86400),
    (cron("*/7 * * * *"), 7 * 60),
    (cron("0 2 * * 1-5"), 3 * 86400),
    (cron("0 9,17 * * *"), 16 * 3600),
    (cron("0 0 1 * *"), 31 * 86400),
    (cron("0 0 29 2 *"), None),  # once in four years
    (cron("0 0 1 1 *"), 366 * 86400),
    (cron("0 0 * 6 *"), 337 * 86400),  # over the February 29 that follows the four years
    (Schedule("", ("0 2 * * 1-5", "0 3 * * 0,6")), 25 * 3600),
    (Schedule("@reboot"), None),
]


@pytest.mark.parametrize(("schedule", "seconds"), LONGEST)
def test_the_longest_interval_is_the_one_between_two_starts_also_over_the_end_of_the_years(schedule, seconds):
    assert schedule.longest_interval() == seconds


def test_the_starts_between_two_moments_are_after_the_first_and_up_to_the_second():
    begin, end = datetime(2026, 11, 28, 2, 0), datetime(2026, 11, 28, 3, 0)
    assert cron("0,30 * * * *").starts_between(begin, end) == [datetime(2026, 11, 28, 2, 30), end]
    assert Schedule("@reboot").starts_between(begin, end) == []


def test_starts_are_those_after_the_moment():
    starts = cron("30 2 * * 6").starts(datetime(2026, 11, 28, 2, 30), 2)
    assert starts == [datetime(2026, 12, 5, 2, 30), datetime(2026, 12, 12, 2, 30)]


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        (cron("0 2 * * *"), cron("0 * * * *"), True),
        (cron("0 2 * * *"), cron("5 2 * * *"), False),
        (cron("0 2 * * 1"), cron("0 2 * * 2"), False),
        (cron("0 2 29 2 *"), cron("0 2 * * *"), True),
        (Schedule("@reboot"), cron("* * * * *"), False),
    ],
)
def test_schedules_meet_that_have_a_minute_in_common(first, second, meet):
    timetable: Timetable[int, object] = Timetable()
    timetable.add(second, 1, "second")
    assert timetable.meeting(first, 2) == (["second"] if meet else [])


def test_what_has_the_same_key_does_not_meet():
    timetable: Timetable[int, object] = Timetable()
    for key in (1, 2, 3):
        timetable.add(cron("0 2 * * *"), key, key)
    assert [timetable.meeting(cron("0 * * * *"), key) for key in (1, 2, 3, 4)] == [
        [2, 3], [1, 3], [1, 2], [1, 2, 3],
    ]  # fmt: skip


def test_a_date_that_never_comes_meets_not_even_itself():
    timetable: Timetable[int, object] = Timetable()
    timetable.add(cron("0 2 31 2 *"), 1, 1)
    assert timetable.meeting(cron("0 2 31 2 *"), 2) == []


def test_what_is_no_expression_is_an_error():
    with pytest.raises(ValueError, match="61"):
        cron("61 2 * * *").shortest_interval()
