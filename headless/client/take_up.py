"""The command line that takes up the session of a call which has ended before its jobs."""

from __future__ import annotations

import os

from headless.options import PACKAGE, WAIT, ChallengeLogin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.options import Options


def wait_command(options: Options, session: str) -> str:
    """As it is typed at a shell, with the server and the login of the call."""
    service, login = options.service, options.login
    host = f"[{service.host}]" if ":" in service.host else service.host
    words = [session, "-s", f"{'tls://' if service.tls else ''}{host}:{service.port}"]
    if login.user is not None:
        words += ["-u", login.user]
    if isinstance(login, ChallengeLogin):
        words += ["-p", login.secret_file]
    return f"{PACKAGE} {WAIT} {_quoted([*words, '-v'])}"


def _quoted(words: list[str]) -> str:
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    from shlex import join

    return join(words)
