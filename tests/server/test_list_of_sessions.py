"""The list of an account's sessions: whole, in order and from the first session of a journal on, in however many
pieces it is read."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any
from weakref import WeakValueDictionary

import pytest

from headless.dialects.base import Ended, Listed
from headless.dialects.own.messages import Sessions
from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.server import requests
from headless.server.requests import Client
from support.homes import R41
from support.journals import Record, new_session, over


class Connection:
    """A connection that only notes what is sent."""

    def __init__(self):
        self.sent = []

    async def work(self, work):
        return await work

    async def send(self, message):
        self.sent.append(message)


class Parts:
    """Of a server, what a list needs."""

    def __init__(self, record):
        self.store, self._record = self, record
        self.locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def sessions_of(self, account, *arguments):
        return self._record.sessions_of(account.number, *arguments)


@pytest.fixture
def record(place):
    with closing(place.database()) as database:
        yield Record(database)


def listed(record):
    connection: Any = Connection()
    parts: Any = Parts(record)
    asyncio.run(Client(connection, parts).answer(R41, "s", Sessions()))
    assert connection.sent[-1] == Ended(OK)
    assert all(isinstance(message, Listed) for message in connection.sent[:-1])
    return [(message.session, message.state, message.job, message.jobs) for message in connection.sent[:-1]]


def test_an_account_without_a_session_has_an_empty_list(record):
    assert listed(record) == []


def test_each_session_is_listed_once_from_the_first_one_of_the_journal_on(record, monkeypatch):
    over(record, "first", jobs=2)
    over(record, "failed", FAILED)
    record.accept(new_session("runs", jobs=3))
    record.begin("runs")
    record.accept(new_session("waits"))
    expected = [("first", OK, 2, 2), ("failed", FAILED, 1, 1), ("runs", RUNNING, 1, 3), ("waits", QUEUED, 1, 1)]
    for at_once in (1, 2, 3, 4, 200):
        monkeypatch.setattr(requests, "_LISTED_AT_ONCE", at_once)
        assert listed(record) == expected, at_once


def test_of_those_that_are_over_the_last_twenty_are_listed_and_of_the_others_all(record):
    record.accept(new_session("the oldest waits"))
    for number in range(25):
        over(record, f"{number}")
    sessions = [session for session, *_ in listed(record)]
    assert sessions == ["the oldest waits", *map(str, range(5, 25))]
