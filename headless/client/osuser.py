"""Who runs this process: what the osuser login says, and what nothing in the environment can change."""

from __future__ import annotations

import os

from headless.outcome import ParameterError


def effective_user() -> str:
    """The name of the effective user. Raises ParameterError for a user without a name."""
    if os.name == "nt":
        return os.getlogin()  # asks the system (GetUserNameW), not the environment
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ParameterError(f"the user with the number {os.geteuid()}, who runs this, has no name here") from None
