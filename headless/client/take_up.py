"""The command line that takes up the session of a call which has ended before its jobs."""

from __future__ import annotations

import os
import sys

from headless.options import WAIT, ChallengeLogin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.options import Options


def wait_command(options: Options, session: str) -> str:
    """As it is typed at a shell, in whatever folder, with the server and the login of the call."""
    service, login = options.service, options.login
    host = f"[{service.host}]" if ":" in service.host else service.host
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    words = [sys.executable or "python3", package, WAIT, session]
    words += ["-s", f"{'tls://' if service.tls else ''}{host}:{service.port}"]
    if login.user is not None:
        words += ["-u", login.user]
    if isinstance(login, ChallengeLogin):
        words += ["-p", os.path.abspath(login.secret_file)]
    return _quoted([*words, "-v"])


def _quoted(words: list[str]) -> str:
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    from shlex import join

    return join(words)
