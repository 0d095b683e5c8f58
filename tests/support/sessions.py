"""A session of the package's client in this process, with the package's own dialect."""

from __future__ import annotations

import os

from headless import errors
from headless.client.output import Console
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.dialects.base import RANDOM_BYTES, Call
from headless.dialects.own.dialect import Dialect
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.options import VERSION, ChallengeLogin, JobOptions
from headless.password_file import KnownSecret
from support.process import current_user


def call_for(options: JobOptions, key: str = "") -> Call:
    """What a dialect has to know of a call with these options. Without a key there is no random byte in it."""
    is_challenge = isinstance(options.login, ChallengeLogin)
    kind, os_user = (CHALLENGE, "") if is_challenge else (OSUSER, current_user())
    random = os.urandom(RANDOM_BYTES) if key else bytes(RANDOM_BYTES)
    return Call(VERSION, kind, options.login.user, os_user, options.jobs, random, key=key)


def session_for(options: JobOptions, secret: KnownSecret | None, console: Console, waiter: Waiter) -> Session:
    return Session(options, secret, lambda: Dialect(call_for(options)), console, waiter)


def run(session: Session) -> tuple[int, str]:
    """The return code, and the text of the error."""
    try:
        session.run()
    except Exception as error:
        code, text = errors.explain(error)
        assert not text.startswith("unforeseen"), text
        return code, text
    return errors.OK, ""


def end_of(session: Session) -> tuple[int, str]:
    """Runs the session. The return code, and what is said of the jobs."""
    return run(session)[0], session.verdict.submission.value
