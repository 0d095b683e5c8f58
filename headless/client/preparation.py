"""What a call needs before there is a connection: the dialect that it speaks, and what proves the password.

The dialect comes first, for it knows what it cannot carry; then the password file.
"""

from __future__ import annotations

import os

from headless.dialects.base import RANDOM_BYTES
from headless.dialects.base import Call as DialectCall
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.errors import ParameterError
from headless.options import VERSION, ChallengeLogin, OsUserLogin
from headless.terminal import is_at_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.console import Console
    from headless.client.password_file import Secret
    from headless.client.password_prompt import NewSecret
    from headless.client.waiting import Waiter
    from headless.dialects.base import Dialect
    from headless.options import Options


class Preparation:
    """Of one call. `dialect_name` is the value of PLANTA_PROTOCOL, "" for our own dialect, and `key` names the
    batch."""

    def __init__(self, options: Options, dialect_name: str, key: str, console: Console, waiter: Waiter) -> None:
        self._options = options
        self._dialect_name = dialect_name
        self._key = key
        self._console = console
        self._waiter = waiter

    def dialect_maker(self) -> Callable[[], Dialect]:
        """What makes the dialect of each connection. That of the first one is made now. Raises UnsupportedCall for what
        it cannot carry, ParameterError, SessionError, LocalProtocolError, Interrupted."""
        make = self._loading_maker() if self._dialect_name else self._own_dialect_maker()
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

    def _own_dialect_maker(self) -> Callable[[], Dialect]:
        from headless.dialects.own.dialect import Dialect

        return lambda: Dialect(self._as_told_to_the_dialect())

    def _loading_maker(self) -> Callable[[], Dialect]:
        from headless.client.loading import GuardedDialect, load
        from headless.client.session import acceptance_seconds

        self._console.info(f"speaking the dialect of {self._dialect_name}")
        self._waiter.set_deadline(acceptance_seconds(self._options))
        dialect_class = load(self._dialect_name, self._waiter)
        return lambda: GuardedDialect(dialect_class, self._as_told_to_the_dialect(), self._waiter)

    def _as_told_to_the_dialect(self) -> DialectCall:
        login = self._options.login
        if isinstance(login, OsUserLogin):
            from headless.client.osuser import effective_user

            kind, os_user = OSUSER, effective_user()
        else:
            kind, os_user = CHALLENGE, ""
        random, shows = os.urandom(RANDOM_BYTES), self._console.shows_traffic()
        return DialectCall(VERSION, kind, login.user, os_user, self._options.jobs, random, shows, self._key)
