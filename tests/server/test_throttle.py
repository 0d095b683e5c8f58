"""How guesses at a password are slowed down, and by what they are counted."""

from __future__ import annotations

import heapq
import itertools
import tracemalloc
from contextlib import ExitStack

import pytest

from headless.errors import Busy
from headless.server import authentication, peer
from headless.server.authentication import Throttle, origin_of
from headless.server.settings import Settings
from support.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def fail(throttle: Throttle, times: int, origin: str = "192.0.2.1", user: str = "R42") -> list[float]:
    """Returns the seconds that wrong guesses, one after the other, have to wait."""
    delays = []
    for _ in range(times):
        with throttle.guess(origin, user) as delay:
            delays.append(delay)
    return delays


def begin(throttle: Throttle, stack: ExitStack, times: int, user: str = "R42") -> list[float]:
    """Returns the same for guesses that still wait."""
    return [stack.enter_context(throttle.guess("192.0.2.1", user)) for _ in range(times)]


def test_a_first_mistake_costs_nothing_and_each_further_one_more_up_to_a_limit(throttle):
    assert fail(throttle, 10) == [0, 0, 0.25, 0.5, 1, 2, 4, 8, 8, 8]
    assert fail(throttle, 1)[0] < Settings().login_timeout
    assert fail(throttle, 1, user="R43") == fail(throttle, 1, origin="192.0.2.2") == [0]


def test_a_guess_counts_when_it_begins_and_of_one_user_there_are_at_most_eight_at_a_time(throttle):
    with ExitStack() as stack:
        assert begin(throttle, stack, 7) == [0, 0, 0.25, 0.5, 1, 2, 4]
        with throttle.guess("192.0.2.1", "R42"), pytest.raises(Busy):
            begin(throttle, stack, 1)
        begin(throttle, stack, 1)  # the eighth has left
        with pytest.raises(Busy):
            begin(throttle, stack, 1)
        begin(throttle, stack, 1, user="R43")  # no other user waits for that
    assert fail(throttle, 1) == [8]


def test_a_client_that_hangs_up_has_used_up_a_guess(throttle):
    for _ in range(5):
        with pytest.raises(ConnectionError), throttle.guess("192.0.2.1", "R42"):
            raise ConnectionError
    assert fail(throttle, 1) == [2]


def test_failures_are_forgotten_by_a_login_and_after_five_minutes(throttle, clock):
    fail(throttle, 20)
    throttle.forget("192.0.2.1", "R42")
    assert fail(throttle, 21)[0] == 0
    clock.now += 299
    assert fail(throttle, 1) == [8]
    clock.now += 301
    assert fail(throttle, 1) == [0]


def verified_in_five_minutes(throttle: Throttle, clock: Clock, patience: float) -> int:
    """How many guesses are verified if everything is tried that can be, on as many connections as one likes. One that
    has to wait longer than the patience hangs up then."""
    order = itertools.count()
    waiting: list[tuple[float, int, ExitStack, bool]] = []
    verified, end = 0, clock.now + 300
    while clock.now < end:
        try:
            while True:
                stack = ExitStack()
                delay = stack.enter_context(throttle.guess("192.0.2.1", "R42"))
                ready = clock.now + min(delay, patience)
                heapq.heappush(waiting, (ready, next(order), stack, delay <= patience))
        except Busy:
            clock.now, _, stack, is_verified = heapq.heappop(waiting)
            stack.close()
            verified += is_verified
    for _, _, stack, _ in waiting:
        stack.close()
    return verified


@pytest.mark.parametrize("patience", [0.3, 1, 10])
def test_neither_many_connections_nor_hanging_up_give_more_than_one_guess_a_second(throttle, clock, patience):
    assert 2 <= verified_in_five_minutes(throttle, clock, patience) <= 300 + 10


def test_of_ten_thousand_pairs_those_without_a_guess_for_the_longest_time_are_forgotten(throttle):
    fail(throttle, 3, user="old")
    fail(throttle, 3)
    for number in range(9_997):
        fail(throttle, 1, user=str(number))
    assert fail(throttle, 1) == [0.5]
    fail(throttle, 1, user="another")
    fail(throttle, 1, user="one more")
    assert fail(throttle, 1, user="old") == [0]
    assert fail(throttle, 1) == [1]


def test_the_memory_for_guesses_is_bounded_and_given_back(throttle, clock, monkeypatch):
    def memory_after(guesses: range) -> int:
        for number in guesses:
            fail(throttle, 1, user=f"{number:06}")
        return tracemalloc.get_traced_memory()[0]

    monkeypatch.setattr(authentication, "_PAIRS_MAX", 500)
    tracemalloc.start()
    try:
        full = memory_after(range(1500))
        assert memory_after(range(1500, 6000)) < 2 * full
        clock.now += 301
        assert memory_after(range(1)) < 0.7 * full  # a table stays as large as it was
    finally:
        tracemalloc.stop()


ORIGINS = {
    "127.0.0.1": "user 1000",
    "127.8.9.10": "user 1000",
    "::1": "user 1000",
    "192.0.2.1": "192.0.2.1",
    "2001:db8::1": "20010db800000000::/64",
    "2001:db8::ffff:ffff:ffff:ffff": "20010db800000000::/64",
    "2001:db8:0:1::1": "20010db800000001::/64",
    "fe80::1%eth0": "fe80000000000000::/64",
}


@pytest.mark.parametrize("error", [peer.NotConnected, peer.OwnerUnknown, Busy])
def test_guesses_are_counted_by_what_one_user_can_have_all_addresses_of(monkeypatch, error):
    def unknown(*_: object) -> int:
        raise error("it has closed")

    monkeypatch.setattr(peer, "owner_uid", lambda *_: 1000)
    assert {host: origin_of((host, 1), ("::", 2)) for host in ORIGINS} == ORIGINS
    monkeypatch.setattr(peer, "owner_uid", unknown)  # all whose user is not known are counted together
    assert origin_of(("127.0.0.1", 1), ("", 2)) == origin_of(("::1", 1), ("", 2)) == "loopback"
