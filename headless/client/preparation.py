"""What a call needs before there is a connection: the dialect that it speaks, and what proves the password.

The dialect comes first, for it knows what it cannot carry; then the password file.
"""

from __future__ import annotations

import os

from headless.dialects.base import RANDOM_BYTES
from headless.dialects.base import Call as DialectCall
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.errors import LocalProtocolError, ParameterError, SessionError, UnsupportedCall
from headless.options import DEFAULTS, VERSION, ChallengeLogin, JobOptions
from headless.system import user_by_number
from headless.terminal import is_at_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.output import Console
    from headless.client.password_prompt import NewSecret
    from headless.client.waiting import Waiter
    from headless.dialects.base import Dialect
    from headless.options import Options, PasswordFileOptions
    from headless.password_file import KnownSecret


def dialect_maker(options: Options, name: str, key: str, console: Console, waiter: Waiter) -> Callable[[], Dialect]:
    """Returns what makes the dialect of each connection. That of the first one is made now. `name` is the value of
    PLANTA_PROTOCOL, "" for our own dialect, and `key` names the session.

    Raises UnsupportedCall for what the dialect cannot carry, ParameterError, SessionError, LocalProtocolError,
    Interrupted.
    """
    jobs = options.jobs if isinstance(options, JobOptions) else ()

    def make_call() -> DialectCall:
        kind, os_user = (CHALLENGE, "") if isinstance(options.login, ChallengeLogin) else (OSUSER, effective_user())
        random = os.urandom(RANDOM_BYTES)
        is_traced, waits = console.shows_traffic, options.timeout != 0
        return DialectCall(VERSION, kind, options.login.user, os_user, jobs, random, is_traced, key, waits)

    if name:
        make = _of_a_site(name, console, waiter)
    else:
        from headless.dialects.own import dialect

        make = dialect.Dialect
    try:
        first = [make(make_call())]
    except UnsupportedCall as error:
        if str(error).startswith("-u ") and DEFAULTS["-u"] in options.remark:
            raise UnsupportedCall(DEFAULTS["-u"] + str(error)[len("-u") :]) from None
        raise
    return lambda: first.pop() if first else make(make_call())


def _of_a_site(name: str, console: Console, waiter: Waiter) -> Callable[[DialectCall], Dialect]:
    """Returns what makes a dialect that is not our own. Raises the same."""
    from headless.client.connection import ask
    from headless.client.loading import load

    found = load(name, waiter)
    remark = ask(waiter, found.remark)
    if type(remark) is not str:
        raise LocalProtocolError("the dialect's remark is no text")
    console.info(f"speaking the dialect of {name}" + (f"; {remark}" if remark else ""))
    return lambda call: ask(waiter, found, call)


def find_secret(options: Options, console: Console, waiter: Waiter) -> KnownSecret | NewSecret | None:
    """Returns what proves the password, None if the login needs none. Raises ParameterError, SessionError, Interrupted,
    ImportError."""
    login = options.login
    if not isinstance(login, ChallengeLogin):
        return None
    from headless import password_file

    try:
        secret = password_file.read(login.secret_file, login.user)
    except password_file.Missing:
        if not is_at_terminal():
            raise
        from headless.client import password_prompt

        return password_prompt.ask(login.secret_file, login.user, waiter)
    if secret.remark:
        console.info(secret.remark)
    return secret


def new_secret(options: PasswordFileOptions, waiter: Waiter) -> NewSecret:
    """Returns the secret of a password file that is to be made. Raises ParameterError, Interrupted, ImportError."""
    from headless.client import password_prompt

    path = options.login.secret_file
    if os.path.lexists(path):
        raise ParameterError(f"{path!r} exists: delete it if the password was changed, and call this again")
    if options.from_stdin:
        return password_prompt.take_from_stdin(path, waiter)
    if not is_at_terminal():
        raise ParameterError("there is no terminal to ask for the password at; give --password-stdin")
    return password_prompt.ask(path, options.login.user, waiter)


def effective_user() -> str:
    """Returns the name of the user who runs this process, whatever the environment says. Raises ParameterError for a
    user without a name, SessionError if the name service does not answer."""
    if os.name == "nt":
        return os.getlogin()  # asks the system (GetUserNameW), not the environment
    try:
        user = user_by_number(os.geteuid())
    except OSError as error:
        raise SessionError(f"the name of the user who runs this cannot be had now: {error.strerror}") from None
    if user is None:
        raise ParameterError(f"the user with the number {os.geteuid()}, who runs this, has no name here")
    return user.pw_name
