"""How long a call tries to resume its session, on a clock in the test's hand."""

from __future__ import annotations

import pytest

from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import DeadlinePassed, Waiter
from headless.errors import ConnectionLost
from support.arbitrary_dialects import options_of

SECONDS_OF_AN_ATTEMPT = 20.0


class Outages(Session):
    """A session whose connection is lost again and again. Each outage lasts so many seconds of the clock `now`."""

    def __init__(self, waiter: Waiter, *seconds: float) -> None:
        super().__init__(options_of(1, "-t", "-1"), None, lambda: pytest.fail("no dialect"), Console(0, waiter), waiter)
        self.can_attach = True
        self.now = 0.0
        self._rest = list(seconds)
        self._end = self._rest.pop(0)

    def _next_pause(self) -> float:
        return 0.0

    def _begin(self) -> None:
        self.now += min(SECONDS_OF_AN_ATTEMPT, self._end - self.now)
        self._waiter.check()
        if self.now < self._end:
            raise ConnectionLost("there is no server")

    def _follow(self) -> None:
        if self._rest:
            self._end = self.now + self._rest.pop(0)
            raise ConnectionLost("there was one")


def seconds_until_it_gives_up(*outages: float, timeout: float | None = None) -> float | None:
    """None: it does not, and follows the session to its end."""
    with Waiter(lambda: session.now) as waiter:
        session = Outages(waiter, *outages)
        waiter.set_deadline(timeout)
        try:
            session._run()
        except DeadlinePassed:
            return session.now
    return None


@pytest.mark.parametrize("outages", [(599.0,), (599.0, 599.0, 599.0), (1.0,) * 1000])
def test_without_a_time_out_each_outage_may_last_ten_minutes(outages):
    assert seconds_until_it_gives_up(*outages) is None


@pytest.mark.parametrize(("outages", "at"), [((601.0,), 600.0), ((3600.0,), 600.0), ((599.0, 601.0), 1199.0)])
def test_without_a_time_out_it_gives_up_after_ten_minutes_in_a_row(outages, at):
    assert at <= seconds_until_it_gives_up(*outages) <= at + SECONDS_OF_AN_ATTEMPT


@pytest.mark.parametrize(("timeout", "at"), [(100.0, 100.0), (3600.0, 3600.0)])
def test_with_a_time_out_it_tries_as_long_as_that_lasts(timeout, at):
    given_up = seconds_until_it_gives_up(10_000.0, timeout=timeout)
    assert at <= given_up <= at + SECONDS_OF_AN_ATTEMPT
