"""What a call needs before there is a connection: the wire that it speaks, and what proves the password.

The wire comes first, for it knows what it cannot carry; then the password file.
"""

from __future__ import annotations

import os

from headless.options import VERSION, ChallengeLogin, OsUserLogin
from headless.outcome import ParameterError
from headless.protocol.vocabulary import CHALLENGE, OSUSER
from headless.protocol.wire import RANDOM_BYTES
from headless.protocol.wire import Call as WireCall
from headless.terminal import is_at_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.console import Console
    from headless.client.password_file import Secret
    from headless.client.password_prompt import NewSecret
    from headless.client.waiting import Waiter
    from headless.options import Options
    from headless.protocol.wire import Wire


class Preparation:
    """Of one call. `wire_name` is the value of PLANTA_WIRE, "" for our own wire, and `key` names the batch."""

    def __init__(self, options: Options, wire_name: str, key: str, console: Console, waiter: Waiter) -> None:
        self._options = options
        self._wire_name = wire_name
        self._key = key
        self._console = console
        self._waiter = waiter

    def wire_maker(self) -> Callable[[], Wire]:
        """What makes the wire of each connection. That of the first one is made now. Raises UnsupportedCall for what
        it cannot carry, ParameterError, SessionError, LocalProtocolError, Interrupted."""
        make = self._foreign_wire_maker() if self._wire_name else self._own_wire_maker()
        first = [make()]
        self._waiter.set_deadline(None)  # the password may be asked for now, which has no limit
        return lambda: first.pop() if first else make()

    def find_secret(self) -> Secret | None:
        """None if the login needs none. Raises ParameterError, Interrupted, ImportError."""
        login = self._options.login
        if not isinstance(login, ChallengeLogin):
            return None
        from headless.client import password_file

        try:
            secret = password_file.read(login.secret_file)
        except password_file.Missing:
            from headless.client import password_prompt

            if not is_at_terminal():
                raise
            return password_prompt.ask(login.secret_file, login.user, self._waiter)
        if secret.remark:
            self._console.info(secret.remark)
        return secret

    def new_secret(self) -> NewSecret:
        """Of a password file that is to be made. Raises ParameterError, Interrupted, ImportError."""
        from headless.client import password_prompt

        login = self._options.login
        assert isinstance(login, ChallengeLogin)
        if os.path.lexists(login.secret_file):
            raise ParameterError(
                f"{login.secret_file!r} exists: delete it if the password was changed, and call this again"
            )
        if self._options.from_stdin:
            return password_prompt.take_from_stdin(login.secret_file, self._waiter)
        if not is_at_terminal():
            raise ParameterError("there is no terminal to ask for the password at; give --password-stdin")
        return password_prompt.ask(login.secret_file, login.user, self._waiter)

    def _own_wire_maker(self) -> Callable[[], Wire]:
        from headless.protocol.version1 import Wire

        return lambda: Wire(self._as_told_to_the_wire())

    def _foreign_wire_maker(self) -> Callable[[], Wire]:
        from headless.client.foreign_wire import GuardedWire, load
        from headless.client.session import acceptance_seconds

        self._console.info(f"speaking the wire of {self._wire_name}")
        self._waiter.set_deadline(acceptance_seconds(self._options))
        wire_class = load(self._wire_name, self._waiter)
        return lambda: GuardedWire(wire_class, self._as_told_to_the_wire(), self._waiter)

    def _as_told_to_the_wire(self) -> WireCall:
        login = self._options.login
        if isinstance(login, OsUserLogin):
            from headless.client.osuser import effective_user

            kind, os_user = OSUSER, effective_user()
        else:
            kind, os_user = CHALLENGE, ""
        random, shows = os.urandom(RANDOM_BYTES), self._console.shows_traffic()
        return WireCall(VERSION, kind, login.user, os_user, self._options.jobs, random, shows, self._key)
