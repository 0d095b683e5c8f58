"""How repeated failures of a login are slowed down, with a clock in the test's hand."""

from __future__ import annotations

import pytest

from headless.server.settings import LOGIN_SECONDS
from headless.server.throttle import Throttle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fail(throttle: Throttle, times: int, address: str = "192.0.2.1", user: str = "R42") -> list[float]:
    return [throttle.failed(address, user) for _ in range(times)]


def test_a_first_mistake_costs_nothing_and_each_further_one_more_up_to_a_limit(clock):
    delays = fail(Throttle(clock), 50)
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert 0 < delays[4] < delays[5]
    assert delays[-2] == delays[-1] < LOGIN_SECONDS


def test_failures_from_one_address_slow_down_no_other(clock):
    throttle = Throttle(clock)
    fail(throttle, 20)
    assert throttle.failed("192.0.2.2", "R42") == 0


def test_failures_of_one_user_slow_down_no_other(clock):
    throttle = Throttle(clock)
    fail(throttle, 20)
    assert throttle.failed("192.0.2.1", "R43") == 0


def test_a_login_makes_earlier_failures_forgotten(clock):
    throttle = Throttle(clock)
    fail(throttle, 20)
    throttle.succeeded("192.0.2.1", "R42")
    assert fail(throttle, 1) == [0]


@pytest.mark.parametrize(("seconds", "is_forgotten"), [(299, False), (301, True)])
def test_failures_are_forgotten_after_five_minutes(clock, seconds, is_forgotten):
    throttle = Throttle(clock)
    fail(throttle, 20)
    clock.now += seconds
    assert (fail(throttle, 1) == [0]) == is_forgotten


def test_the_memory_for_failures_is_bounded(clock):
    throttle = Throttle(clock)
    for number in range(20_000):
        throttle.failed(f"2001:db8::{number:x}", "R42")
    assert len(throttle._failures) <= 10_000
    assert throttle.failed("2001:db8::4e1f", "R42") >= 0
