"""A session of the package's client in this process, with the package's own wire."""

from __future__ import annotations

from headless import outcome
from headless.client.console import Console
from headless.client.password_file import KnownSecret
from headless.client.session import Session
from headless.client.waiting import Waiter
from headless.options import VERSION, ChallengeLogin, Options
from headless.protocol.version1 import Wire
from headless.protocol.vocabulary import CHALLENGE, OSUSER
from headless.protocol.wire import RANDOM_BYTES, Call
from support.process import current_user


def call_for(options: Options) -> Call:
    """What a wire is told of these options."""
    is_challenge = isinstance(options.login, ChallengeLogin)
    kind, os_user = (CHALLENGE, "") if is_challenge else (OSUSER, current_user())
    return Call(VERSION, kind, options.login.user, os_user, options.jobs, bytes(RANDOM_BYTES))


def session_for(options: Options, secret: KnownSecret | None, console: Console, waiter: Waiter) -> Session:
    return Session(options, secret, lambda: Wire(call_for(options)), console, waiter)


def end_of(session: Session) -> tuple[int, str]:
    """Runs the session. The return code, and what is said of the jobs."""
    code = outcome.OK
    try:
        session.run()
    except Exception as error:
        code, text = outcome.explain(error)
        assert not text.startswith("unforeseen"), text
    return code, session.verdict.submission.value
