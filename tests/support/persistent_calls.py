"""Calls of the command in this process, whose server and network may fail, and what they were told."""

from __future__ import annotations

import os
from typing import NamedTuple

from headless import errors
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects.base import RANDOM_BYTES, Call, Event, Output
from headless.dialects.own.dialect import Dialect
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.options import parse
from headless.password_file import KnownSecret
from support.process import current_user


class Told(NamedTuple):
    """How a call ended: the return code, what is said of the jobs, why, what was told of their output, by job and
    stream, the session, and how many connections there were."""

    code: int
    jobs: str
    text: str
    output: dict[tuple[int, str], str]
    session: str
    connections: int


def call(address: str, *argv: str, hash_: str = "", key: str = "") -> Told:
    """What becomes of this command line. With a hash, R42 logs in by challenge."""
    login = ("-u", "R42", "-p", "secret") if hash_ else ()
    options = parse(["-s", address, *login, *argv])
    secret = KnownSecret("secret", hash_.encode(), "") if hash_ else None
    key = key or os.urandom(16).hex()
    output: dict[tuple[int, str], str] = {}

    def observe(event: Event) -> None:
        if isinstance(event, Output):
            assert event.job is not None
            place = event.job, event.stream
            output[place] = output.get(place, "") + event.text

    def make_dialect() -> Dialect:
        kind, os_user = (CHALLENGE, "") if secret else (OSUSER, current_user())
        user = options.login.user
        return Dialect(Call("test", kind, user, os_user, options.jobs, os.urandom(RANDOM_BYTES), key=key))

    code, text = errors.OK, ""
    with Waiter() as waiter:
        session = Session(options, secret, make_dialect, Console(0, waiter), waiter)
        session.observe = observe
        try:
            session.run()
        except Exception as error:
            code, text = errors.explain(error)
            assert not text.startswith("unforeseen"), text
    return Told(code, session.verdict.submission.value, text, output, session.id, session.connections)
