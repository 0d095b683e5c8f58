"""One call: what it needs, in the order in which it is needed, and how its end is said.

The wire comes first, for it knows what it cannot carry; then the password file; then the session.
"""

from __future__ import annotations

import os

from headless.client.console import Console
from headless.client.waiting import Waiter
from headless.options import PROGRAM, VERSION, ChallengeLogin, OsUserLogin
from headless.outcome import OK, PARAMETER_ERROR, Interrupted, Submission, explain
from headless.protocol.vocabulary import CHALLENGE, OSUSER
from headless.protocol.wire import RANDOM_BYTES
from headless.protocol.wire import Call as WireCall
from headless.terminal import print_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.password_file import Secret
    from headless.client.session import Session
    from headless.options import Options
    from headless.protocol.wire import Wire

_LAST_LINE_SECONDS = 0.2  # that the last line of -v may wait for a reader


def run(options: Options, wire_name: str = "") -> int:
    """The return code: 0 to 3, or the negative number of the signal that the process has to end by. `wire_name` is the
    value of PLANTA_WIRE, "" for our own wire."""
    call = _Call(options, wire_name, waiter := Waiter())
    try:
        with waiter:
            return call.return_code()
    except Exception as error:  # the machine has no descriptors left for the Waiter, say
        return call.failed(error)


def run_within(waiter: Waiter, options: Options) -> int:
    """The same inside a Waiter that the caller has entered and whose deadline is free: two of them, one inside the
    other, would leave a signal between them unnoticed."""
    try:
        return _Call(options, "", waiter).return_code()
    finally:
        waiter.set_deadline(None)


class _Call:
    def __init__(self, options: Options, wire_name: str, waiter: Waiter) -> None:
        self._options = options
        self._wire_name = wire_name
        self._waiter = waiter
        self._console = Console(options.verbosity, waiter)
        self._session: Session | None = None

    def return_code(self) -> int:
        try:
            wire = self._make_wire()
            secret = self._find_secret()
            from headless.client.session import Session

            self._session = Session(self._options, secret, wire, self._console, self._waiter)
            self._session.run()
        except Exception as error:
            return self.failed(error)
        return OK

    def failed(self, error: Exception) -> int:
        """Says what happened, as far as anybody reads it, and returns the code for it."""
        code, text = explain(error)
        submission = self._session.verdict.submission if self._session else Submission.NOT_SUBMITTED
        self._waiter.set_deadline(_LAST_LINE_SECONDS)
        try:
            self._console.info(f"{text}; jobs: {submission.value}")
        except Interrupted as second:
            return -second.signum
        except Exception:  # the machine has no memory left for the wait, say
            pass
        if code == PARAMETER_ERROR:
            print_error(PROGRAM, text)
        return code

    def _make_wire(self) -> Wire:
        call = self._as_told_to_the_wire()
        if not self._wire_name:
            from headless.protocol.version1 import Wire

            return Wire(call)
        from headless.client.foreign_wire import GuardedWire, load
        from headless.client.session import acceptance_seconds

        self._console.info(f"speaking the wire of {self._wire_name}")
        self._waiter.set_deadline(acceptance_seconds(self._options.timeout))
        wire = GuardedWire(load(self._wire_name, self._waiter), call, self._waiter)
        self._waiter.set_deadline(None)  # the password may be asked for now, which has no limit
        return wire

    def _as_told_to_the_wire(self) -> WireCall:
        login = self._options.login
        if isinstance(login, OsUserLogin):
            from headless.client.osuser import effective_user

            kind, os_user = OSUSER, effective_user()
        else:
            kind, os_user = CHALLENGE, ""
        random = os.urandom(RANDOM_BYTES)
        return WireCall(VERSION, kind, login.user, os_user, self._options.jobs, random, self._console.shows_traffic())

    def _find_secret(self) -> Secret | None:
        login = self._options.login
        if not isinstance(login, ChallengeLogin):
            return None
        from headless.client import password_file

        try:
            secret = password_file.read(login.secret_file)
        except password_file.Missing:
            from headless.client import password_prompt

            if not password_prompt.is_at_terminal():
                raise
            return password_prompt.ask(login.secret_file, login.user, self._waiter)
        if secret.remark:
            self._console.info(secret.remark)
        return secret
