"""cancel, sessions and password-file: what is asked of a server besides jobs, and what is printed of the answer. For
password-file, and for the logins that `check` tries, that is the login itself."""

from __future__ import annotations

import sys
from datetime import datetime

from headless.client import verdict
from headless.client.connection import Connection
from headless.client.output import Console
from headless.client.preparation import dialect_maker, find_secret, new_secret
from headless.client.session import ACCEPTANCE_SECONDS
from headless.client.waiting import DeadlinePassed, Waiter
from headless.dialects.base import Cancelled, Listed, LoggedIn, Refused
from headless.dialects.vocabulary import LOGIN, OVER, QUEUED, RUNNING, SESSION
from headless.errors import CommandFailed, ParameterError, RemoteProtocolError, SessionError
from headless.options import NO_TIMEOUT, CancelOptions, PasswordFileOptions, SessionsOptions
from headless.terminal import escape_control_chars, is_closed_pipe, print_answer, print_warning, shorten, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.password_prompt import NewSecret
    from headless.dialects.base import Event
    from headless.options import Options

_TABLES = {CancelOptions: verdict.OF_CANCEL, SessionsOptions: verdict.OF_LIST}  # of the events that may come
_CANCELLED = {
    QUEUED: "cancelled: nothing of it has run",
    RUNNING: "cancelled: it was running, and has been ended",
    OVER: "it was over already",
}


def run(options: CancelOptions | SessionsOptions | PasswordFileOptions, dialect_name: str) -> None:
    """Asks, and prints the answer. Raises HeadlessError or ProtocolError if there is none, if there was nothing to
    cancel, or if the file cannot be made."""
    with Waiter() as waiter:
        _Query(options, dialect_name, waiter).run()


def log_in(options: Options, dialect_name: str) -> None:
    """Logs in, and leaves. Raises HeadlessError or ProtocolError."""
    with Waiter() as waiter:
        _Query(options, dialect_name, waiter).run()


class _Query:
    """Logs in, asks what the options say, and takes the answer."""

    def __init__(self, options: Options, dialect_name: str, waiter: Waiter) -> None:
        self._options = options
        self._waiter = waiter
        self._console = Console(options.verbosity, waiter)
        self._dialect = dialect_maker(options, dialect_name, "", self._console, waiter)()

    def run(self) -> None:
        options = self._options
        if options.remark:
            self._console.info(options.remark)
        new = new_secret(options, self._waiter) if isinstance(options, PasswordFileOptions) else None
        secret = new or find_secret(options, self._console, self._waiter)
        judge = verdict.Verdict(0, secret is not None, _TABLES.get(type(options), verdict.OF_LOGIN))
        connection = Connection(options.service, self._dialect, judge, self._console, self._waiter)
        self._waiter.set_deadline(ACCEPTANCE_SECONDS if options.timeout in (NO_TIMEOUT, 0) else options.timeout)
        try:
            event = connection.log_in(secret)
            if not isinstance(event, LoggedIn):
                self._take(event)
            elif new is not None:
                self._make_file(new, event.is_proved)
                return
            elif isinstance(options, (CancelOptions, SessionsOptions)):
                self._ask(connection, options, event.can_attach)
            else:
                return
            while not judge.is_over:
                self._take(connection.next_event())
            connection.check_end()
        except DeadlinePassed:
            raise SessionError("the server has not answered in time") from None
        finally:
            connection.leave(is_over=judge.is_over)

    def _make_file(self, secret: NewSecret, is_proved: bool) -> None:
        if not is_proved:
            with self._waiter.interruptible():
                print_warning(PasswordFileOptions.program, "the server has not proved that it knows the password")
        self._print(secret.make())

    def _ask(self, connection: Connection, options: CancelOptions | SessionsOptions, is_known: bool) -> None:
        if not is_known:
            raise ParameterError("this server has no such command")
        self._console.info("logged in")
        if isinstance(options, CancelOptions):
            connection.start(self._dialect.cancel, options.session)
        else:
            connection.start(self._dialect.list_sessions)

    def _take(self, event: Event) -> None:
        """Raises CommandFailed, or OSError if nothing reads any more: a list of which something is missing is none."""
        if isinstance(event, Refused):
            text = f"the server refused the {event.reason}: {shorten(event.text)}"
            raise ParameterError(text) if event.reason in (LOGIN, SESSION) else SessionError(text)
        if isinstance(event, Cancelled):
            assert isinstance(self._options, CancelOptions)
            text = f"session {self._options.session}: {_CANCELLED[event.state]}"
            if event.state == OVER:
                raise SessionError(text)
            self._print(text)
        elif isinstance(event, Listed):
            try:
                with self._waiter.interruptible():
                    write(sys.stdout, escape_control_chars(_line(event)) + "\n")
            except (OSError, ValueError) as error:
                if is_closed_pipe(error):
                    raise
                raise CommandFailed(f"the list cannot be written: {error}") from None

    def _print(self, text: str) -> None:
        with self._waiter.interruptible():  # stdout may be a pipe that is not read
            print_answer(f"{escape_control_chars(text)}\n")


def _line(listed: Listed) -> str:
    """Raises RemoteProtocolError."""
    try:
        accepted = f"{datetime.fromisoformat(listed.accepted).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        raise RemoteProtocolError(f"{listed.accepted!r} is not a time") from None
    return f"{listed.session}  {listed.state:11}  {accepted}  job {listed.job} of {listed.jobs}  {listed.title}"
