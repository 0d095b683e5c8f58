"""Who runs this process: what the osuser login says, and what nothing in the environment can change."""

from __future__ import annotations

import os

from headless.errors import ParameterError, SessionError


def effective_user() -> str:
    """The name of the effective user. Raises ParameterError for a user without a name, SessionError if
    the name service does not answer."""
    if os.name == "nt":
        return os.getlogin()  # asks the system (GetUserNameW), not the environment
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # which does not say whether the service has answered
        from headless import system
    try:
        system.confirm_missing_user(os.geteuid())
    except OSError as error:
        raise SessionError(f"the name of the user who runs this cannot be had now: {error.strerror}") from None
    raise ParameterError(f"the user with the number {os.geteuid()}, who runs this, has no name here")
