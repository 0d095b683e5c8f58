"""The limit of time for code of others without timers, as on Windows. With them: test_loading.py."""

from __future__ import annotations

import signal
import time

import pytest

from headless.client.alarm import alarm_by_thread
from headless.client.waiting import DeadlinePassed
from support.process import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.version("signals that threads raise")]


@pytest.fixture
def interrupts():
    """What SIGINT has called."""
    noted = []
    before = signal.signal(signal.SIGINT, lambda signum, _: noted.append(signum))
    yield noted
    signal.signal(signal.SIGINT, before)


def test_code_that_never_ends_is_interrupted_in_time(interrupts):
    begun = time.monotonic()
    with pytest.raises(DeadlinePassed), alarm_by_thread(0.1):
        while True:
            pass
    assert begun + 0.1 <= time.monotonic() < begun + PATIENCE
    assert interrupts == []


def test_code_that_swallows_the_exception_is_interrupted_again(interrupts):
    swallowed = 0
    with pytest.raises(DeadlinePassed), alarm_by_thread(0.1):
        while True:
            try:
                while True:
                    pass
            except DeadlinePassed:
                swallowed += 1
                if swallowed == 2:
                    raise
    assert interrupts == []


def test_ctrl_c_in_time_is_what_it_was(interrupts):
    with alarm_by_thread(PATIENCE):
        signal.raise_signal(signal.SIGINT)
    assert interrupts == [signal.SIGINT]


def test_code_that_ends_in_time_is_not_disturbed_then_or_later(interrupts):
    for _ in range(100):
        try:
            with alarm_by_thread(0.0005):
                time.sleep(0.0004)
        except DeadlinePassed:
            pass
    time.sleep(0.01)
    assert interrupts == []
