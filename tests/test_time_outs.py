"""The number behind -t, where it has as many digits as an int of 64 bits."""

from __future__ import annotations

import pytest

from headless.options import parse


@pytest.mark.parametrize("digits", [17, 18, 19, 20, 40])
def test_a_time_out_is_never_taken_for_a_shorter_one(digits: int) -> None:
    for first in (1, 9):
        value = str(first) + "0" * (digits - 1)
        assert parse(["-s", "h:1", "-c", "pass", "-t", value]).timeout == min(int(value), 10**18)
