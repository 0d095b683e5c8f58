"""Tries the logins of calls at their servers: without a job, each one once.

A file says where to log in, with which password file and in which dialect. The caller would lend their rights to the
author of that file. So only what the caller runs is tried, out of files that no other user can write, in the dialect
that the caller's environment names. For the rest there is the command to type.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headless.admin import users
from headless.admin.call_rules import Checked
from headless.admin.calls import Call
from headless.admin.files import File, Kind, is_inherited
from headless.admin.rules import ERROR, Finding
from headless.admin.surroundings import changes_user, looks_at_files
from headless.client import query
from headless.errors import PARAMETER_ERROR, explain
from headless.options import ChallengeLogin, JobOptions, Options

_DIALECT = "PLANTA_PROTOCOL"


@dataclass(frozen=True)
class _NotTried:
    """Holds why a login is not tried, and what can be done."""

    path: str  # of the file that leads to the call
    why: str
    advice: str


def try_logins(checked: Iterable[Checked]) -> Iterator[Finding]:
    """Yields the logins that fail, and those that were not tried. A call with an error is left out: that is corrected
    first."""
    seen = set()
    not_tried: dict[_NotTried, list[Call]] = {}
    for each in checked:
        options, call = each.options, each.call
        if options is None or any(finding.severity is ERROR for finding in each.findings):
            continue
        reason = _why_not(call, options)
        if reason is not None:
            not_tried.setdefault(reason, []).append(call)
        elif (key := (options.service, options.login)) not in seen:
            seen.add(key)
            yield from _log_in(call, options)
    for reason, calls in not_tried.items():
        more = f" (and {len(calls) - 1} more)" if len(calls) > 1 else ""
        yield calls[0].finding("not-tried", more=more, why=reason.why, advice=reason.advice)


def _log_in(call: Call, options: JobOptions) -> Iterator[Finding]:
    login = options.login
    if isinstance(login, ChallengeLogin):
        login = ChallengeLogin(login.user, os.path.join(call.folder or "", login.secret_file))
        if not os.path.exists(login.secret_file):  # since a moment ago: this must not ask for a password
            return
    try:
        query.log_in(Options(options.service, login, options.timeout, 0, ""), os.environ.get(_DIALECT, ""))
    except Exception as error:
        code, problem = explain(error)
        if code < 0:  # a signal
            raise
        yield call.finding("login/refused" if code == PARAMETER_ERROR else "login", problem=problem, code=code)


def _why_not(call: Call, options: JobOptions) -> _NotTried | None:
    """Returns None if it is tried."""
    file = call.entry.file
    origin = file.starter or file
    unknown = _why_unknown(call, options)
    if unknown:
        return _NotTried(origin.path, unknown, "log in by hand, as it is done there: headless sessions -s ...")
    user = call.entry.user
    if user is not None and not users.is_caller(user):
        return _NotTried(origin.path, f"{user} runs it", _command(origin, user, call))
    if not file.is_own:
        why = f"it is not certain that no other user can write to {file.path!r}"
        return _NotTried(origin.path, why, "read it, copy it to a folder of your own, and check the copy")
    if _dialect(call) != os.environ.get(_DIALECT, ""):
        why = f"its {_DIALECT} is {_dialect(call)!r}, and yours is {os.environ.get(_DIALECT, '')!r}"
        return _NotTried(origin.path, why, _command(origin, user, call))
    return None


def _why_unknown(call: Call, options: JobOptions) -> str:
    """Returns why it is not known who logs in where, or ""."""
    if not looks_at_files(call):
        return "it runs on another machine, or in a container"
    if changes_user(call):
        return "it is started as another user"
    return "" if _is_known(call, options) else "only the shell knows how it logs in"


def _is_known(call: Call, options: JobOptions) -> bool:
    """Returns whether server, user and password file are certain: the words have the source of what only the shell
    knows."""
    login = options.login
    values = [options.service.host, login.user or ""]
    if isinstance(login, ChallengeLogin):
        values.append(login.secret_file)
        if call.folder is None and not os.path.isabs(login.secret_file):
            return False
    sources = [word.text for word in call.options if not word.is_certain]
    return not any(re.search(r"[$`*?\[]", value) and value in source for value in values for source in sources)


def _dialect(call: Call) -> str:
    return call.environment.get(_DIALECT, "")


def _command(file: File, user: str | None, call: Call) -> str:
    """Returns what to type to try it as this user. The shell opens the file: the user may have no right to."""
    if is_inherited(file.path):
        return "save it as a file, and check that"
    path, environment = os.path.abspath(file.path), []
    if os.name == "nt":
        return users.typed_as(user, users.headless("check", "--connect", path))
    if user is not None and users.find(user) is None:
        return "check it on the machine that has this user"
    if _dialect(call) != os.environ.get(_DIALECT, ""):
        environment = ["env", f"{_DIALECT}={_dialect(call)}"] if _dialect(call) else ["env", "-u", _DIALECT]
    if file.kind is Kind.UNIT:  # with its timer; every user may read both
        return users.typed_as(user, [*environment, *users.headless("check", "--connect", path)])
    as_user = ["--as", user] if user is not None and not file.names_users else []
    words = [*environment, *users.headless("check", "--connect", *as_user, "/dev/stdin")]
    return f"{users.typed_as(user, words)} < {shlex.quote(path)}"
