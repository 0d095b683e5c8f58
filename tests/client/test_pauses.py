"""A pause of the client lasts as long as it was told to, however short; the deadline ends it."""

from __future__ import annotations

import time

import pytest

from headless.client.waiting import DeadlinePassed, Waiter


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05])
def test_a_pause_is_no_shorter_than_it_was_told_to_be(seconds):
    with Waiter() as waiter:
        begun = time.monotonic()
        waiter.sleep(seconds)
        assert time.monotonic() >= begun + seconds


def test_a_pause_ends_at_the_deadline():
    with Waiter() as waiter:
        begun = time.monotonic()
        waiter.set_deadline(0.02)
        with pytest.raises(DeadlinePassed):
            waiter.sleep(3600)
        assert begun + 0.02 <= time.monotonic() < begun + 60
