"""cancel, sessions and password-file: what is asked of a server besides jobs, and what is printed of the answer. For
password-file that is the login itself.

Who asks is in call.py. How the jobs of a session are followed is in session.py.
"""

from __future__ import annotations

import sys
from datetime import datetime

from headless.client.connection import Connection
from headless.client.console import Console
from headless.client.preparation import Preparation
from headless.client.session import ACCEPTANCE_SECONDS
from headless.client.waiting import DeadlinePassed, Waiter
from headless.dialects.base import Cancelled, Ended, Listed, LoggedIn, Refused, SaltReceived
from headless.dialects.vocabulary import LOGIN, OK, OVER, QUEUED, RUNNING, SESSION
from headless.errors import CommandFailed, ParameterError, RemoteProtocolError, SessionError
from headless.options import CANCEL, LOG_IN, NO_TIMEOUT, PASSWORD_FILE
from headless.terminal import escape_control_chars, is_closed_pipe, print_answer, print_warning, shorten, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.password_prompt import NewSecret
    from headless.dialects.base import Event, Part
    from headless.options import Options

_CANCELLED = {
    QUEUED: "cancelled: nothing of it has run",
    RUNNING: "cancelled: it was running, and has been ended",
    OVER: "it was over already",
}


def run(options: Options, dialect_name: str) -> None:
    """Asks, and prints the answer. Raises HeadlessError or ProtocolError if there is none, if there was nothing to
    cancel, or if the file cannot be made."""
    with Waiter() as waiter:
        _Enquiry(options, dialect_name, waiter).run()


class _Enquiry:
    """One question to a server, and its answer."""

    def __init__(self, options: Options, dialect_name: str, waiter: Waiter) -> None:
        console = Console(options.verbosity, waiter)
        preparation = Preparation(options, dialect_name, "", console, waiter)
        dialect = preparation.dialect_maker()()
        self._new = preparation.new_secret() if options.command == PASSWORD_FILE else None
        self._secret = self._new or preparation.find_secret()
        self._console = console
        self._options = options
        self._waiter = waiter
        self._judge = _Judge(options.command, has_secret=self._secret is not None)
        self._connection = Connection(options.service, dialect, self._judge, console, waiter)

    def run(self) -> None:
        timeout = self._options.timeout
        self._waiter.set_deadline(ACCEPTANCE_SECONDS if timeout in (NO_TIMEOUT, 0) else timeout)
        try:
            event = self._connection.log_in(self._secret)
            if self._new is not None and isinstance(event, LoggedIn):
                self._make(self._new, event)
                return
            if self._options.command == LOG_IN and isinstance(event, LoggedIn):
                return
            self._ask(event)
            while not self._judge.is_over:
                self._take(self._connection.next_event())
            self._connection.check_end()
        except DeadlinePassed:
            raise SessionError("the server has not answered in time") from None
        finally:
            self._connection.leave(is_over=self._judge.is_over)

    def _make(self, secret: NewSecret, event: LoggedIn) -> None:
        with self._waiter.interruptible():  # what prints waits for whoever reads
            if not event.is_proved:
                print_warning(self._options.program, "the server has not proved that it knows the password")
        made = escape_control_chars(secret.make()) + "\n"
        with self._waiter.interruptible():
            print_answer(made)

    def _ask(self, event: Event) -> None:
        if not isinstance(event, LoggedIn):
            self._take(event)
            return
        if not event.can_attach:
            raise ParameterError("this server has no such command")
        self._console.info("logged in")
        dialect = self._connection.dialect
        is_cancel = self._options.command == CANCEL
        self._connection.start((lambda: dialect.cancel(self._options.session)) if is_cancel else dialect.list_sessions)

    def _take(self, event: Event) -> None:
        if isinstance(event, Refused):
            text = f"the server refused the {event.reason}: {shorten(event.text)}"
            raise ParameterError(text) if event.reason in (LOGIN, SESSION) else SessionError(text)
        if isinstance(event, Listed):
            with self._waiter.interruptible():
                _print_whole(escape_control_chars(_line(event)) + "\n")
        elif isinstance(event, Cancelled):
            text = f"session {self._options.session}: {_CANCELLED[event.state]}"
            if event.state == OVER:
                raise SessionError(text)
            with self._waiter.interruptible():
                print_answer(f"{escape_control_chars(text)}\n")


def _print_whole(text: str) -> None:
    """Raises CommandFailed, OSError if nobody reads: a list of which something is missing is none."""
    try:
        write(sys.stdout, text)
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


class _Judge:
    """What may come in answer to the question. `is_over`: it has."""

    def __init__(self, command: str, has_secret: bool) -> None:
        self._answers = (Cancelled,) if command == CANCEL else (Listed, Ended)
        self._has_secret = has_secret
        self._is_logged_in = self._was_salted = self.is_over = False
        self._parts = self._parts_of_login = self._answerable = 0

    def check_part(self, part: Part) -> None:
        pass

    def part_left(self, _part: Part) -> None:
        self._parts += 1

    def all_left(self) -> None:
        pass

    def bytes_came(self) -> None:
        self._answerable = self._parts

    def judge(self, event: Event, is_brought: bool) -> None:
        """Raises RemoteProtocolError for an event that cannot be."""
        if isinstance(event, SaltReceived):
            is_allowed = self._has_secret and not self._is_logged_in and not self._was_salted
            self._was_salted = True
        elif isinstance(event, LoggedIn):
            is_allowed = not self._is_logged_in and self._was_salted == self._has_secret
            self._is_logged_in, self._parts_of_login = True, self._parts
        elif isinstance(event, Refused):
            is_allowed = True
        else:
            is_asked = is_brought and self._is_logged_in and self._answerable > self._parts_of_login
            is_allowed = is_asked and isinstance(event, self._answers) and _is_sound(event)
        if self.is_over or not is_allowed:
            raise RemoteProtocolError(f"'{type(event).__name__}' is no answer to what was asked")
        self.is_over = isinstance(event, (Refused, Cancelled, Ended))


def _is_sound(event: Event) -> bool:
    if isinstance(event, Cancelled):
        return event.state in _CANCELLED
    return not isinstance(event, Ended) or event.status == OK
