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
from headless.options import NO_TIMEOUT, CancelOptions, PasswordFileOptions
from headless.terminal import escape_control_chars, is_closed_pipe, print_answer, print_warning, shorten, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.password_prompt import NewSecret
    from headless.dialects.base import Event
    from headless.options import Options, SessionsOptions
    from headless.password_file import KnownSecret

_CANCELLED = {
    QUEUED: "cancelled: nothing of it has run",
    RUNNING: "cancelled: it was running, and has been ended",
    OVER: "it was over already",
}


def run(options: CancelOptions | SessionsOptions | PasswordFileOptions, dialect_name: str) -> None:
    """Asks, and prints the answer. Raises HeadlessError or ProtocolError if there is none, if there was nothing to
    cancel, or if the file cannot be made."""
    with Waiter() as waiter:
        query: _Query
        if isinstance(options, PasswordFileOptions):
            query = _PasswordFile(options, dialect_name, waiter)
        elif isinstance(options, CancelOptions):
            query = _Cancel(options, dialect_name, waiter)
        else:
            query = _List(options, dialect_name, waiter)
        query.run()


def log_in(options: Options, dialect_name: str) -> None:
    """Logs in, and leaves. Raises HeadlessError or ProtocolError."""
    with Waiter() as waiter:
        _Query(options, dialect_name, waiter).run()


class _Query:
    """Logs in, and takes the answer to what is asked then, which in this class is nothing."""

    table = verdict.OF_LOGIN  # of the events that may come

    def __init__(self, options: Options, dialect_name: str, waiter: Waiter) -> None:
        self._options = options
        self._waiter = waiter
        self._console = Console(options.verbosity, waiter)
        self._dialect = dialect_maker(options, dialect_name, "", self._console, waiter)()

    def run(self) -> None:
        secret, timeout = self._find_secret(), self._options.timeout
        judge = verdict.Verdict(0, secret is not None, self.table)
        connection = Connection(self._options.service, self._dialect, judge, self._console, self._waiter)
        self._waiter.set_deadline(ACCEPTANCE_SECONDS if timeout in (NO_TIMEOUT, 0) else timeout)
        try:
            event = connection.log_in(secret)
            if isinstance(event, LoggedIn):
                command = self._command_after(event)
                if command is None:
                    return
                if not event.can_attach:
                    raise ParameterError("this server has no such command")
                self._console.info("logged in")
                connection.start(command)
            else:
                self._take(event)
            while not judge.is_over:
                self._take(connection.next_event())
            connection.check_end()
        except DeadlinePassed:
            raise SessionError("the server has not answered in time") from None
        finally:
            connection.leave(is_over=judge.is_over)

    def _find_secret(self) -> KnownSecret | NewSecret | None:
        return find_secret(self._options, self._console, self._waiter)

    def _command_after(self, _login: LoggedIn) -> Callable[[], None] | None:
        """Returns what the dialect is asked to do, None for nothing."""
        return None

    def _take(self, event: Event) -> None:
        if isinstance(event, Refused):
            text = f"the server refused the {event.reason}: {shorten(event.text)}"
            raise ParameterError(text) if event.reason in (LOGIN, SESSION) else SessionError(text)

    def _print(self, text: str) -> None:
        with self._waiter.interruptible():  # stdout may be a pipe that is not read
            print_answer(f"{escape_control_chars(text)}\n")


class _Cancel(_Query):
    table = verdict.OF_CANCEL
    _options: CancelOptions

    def _command_after(self, _login: LoggedIn) -> Callable[[], None]:
        return lambda: self._dialect.cancel(self._options.session)

    def _take(self, event: Event) -> None:
        super()._take(event)
        if isinstance(event, Cancelled):
            text = f"session {self._options.session}: {_CANCELLED[event.state]}"
            if event.state == OVER:
                raise SessionError(text)
            self._print(text)


class _List(_Query):
    table = verdict.OF_LIST

    def _command_after(self, _login: LoggedIn) -> Callable[[], None]:
        return self._dialect.list_sessions

    def _take(self, event: Event) -> None:
        """Raises CommandFailed, or OSError if nothing reads any more: a list of which something is missing is none."""
        super()._take(event)
        if not isinstance(event, Listed):
            return
        try:
            with self._waiter.interruptible():
                write(sys.stdout, escape_control_chars(_line(event)) + "\n")
        except (OSError, ValueError) as error:
            if is_closed_pipe(error):
                raise
            raise CommandFailed(f"the list cannot be written: {error}") from None


def _line(listed: Listed) -> str:
    """Raises RemoteProtocolError."""
    try:
        accepted = f"{datetime.fromisoformat(listed.accepted).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        raise RemoteProtocolError(f"{listed.accepted!r} is not a time") from None
    return f"{listed.session}  {listed.state:11}  {accepted}  job {listed.job} of {listed.jobs}  {listed.title}"


class _PasswordFile(_Query):
    _options: PasswordFileOptions

    def _find_secret(self) -> NewSecret:
        self._secret = new_secret(self._options, self._waiter)
        return self._secret

    def _command_after(self, login: LoggedIn) -> None:
        if not login.is_proved:
            with self._waiter.interruptible():
                print_warning(self._options.program, "the server has not proved that it knows the password")
        self._print(self._secret.make())
