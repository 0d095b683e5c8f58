"""The logins of calls, tried at their servers: without a job, each one once.

A file says where to log in, with which password file and by which protocol. Who runs the check would lend their rights
to whoever has written that file: so it is tried only what they run themselves, out of files that nobody else can write,
by the protocol that their own environment names. Of the rest it is said what to type.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from headless.admin import call_checks, users
from headless.admin.call_checks import Checked
from headless.admin.entry import Call
from headless.admin.finding import ERROR, WARNING, Finding
from headless.admin.places import File, Kind, is_inherited
from headless.client import query
from headless.errors import PARAMETER_ERROR, explain
from headless.options import ChallengeLogin, JobOptions, Options

_DIALECT = "PLANTA_PROTOCOL"


@dataclass(frozen=True)
class _NotTried:
    """Why a login is not tried, and what can be done."""

    origin: str  # the path of the file that leads to the call
    why: str
    advice: str


def log_ins(checked: Iterable[Checked], files: Mapping[str, File]) -> Iterator[Finding]:
    """What goes wrong, and what was not tried. A call in which an error was found is left out: that is corrected first.
    `files` are those that the calls stand in, by their paths."""
    seen = set()
    not_tried: dict[_NotTried, list[Call]] = {}
    for each in checked:
        options, call = each.options, each.call
        if options is None or any(finding.severity is ERROR for finding in each.findings):
            continue
        reason = _why_not(call, options, files)
        if reason is not None:
            not_tried.setdefault(reason, []).append(call)
        elif (key := (options.service, options.login)) not in seen:
            seen.add(key)
            yield from _log_in(call, options)
    for reason, calls in not_tried.items():
        more = f" (and {len(calls) - 1} more)" if len(calls) > 1 else ""
        text, consequence = f"this login{more} was not tried: {reason.why}", "nobody knows whether it works"
        yield Finding(calls[0].place, WARNING, "not-tried", text, consequence, advice=reason.advice)


def _log_in(call: Call, options: JobOptions) -> Iterator[Finding]:
    login = options.login
    if isinstance(login, ChallengeLogin):
        login = ChallengeLogin(login.user, os.path.join(call.folder or "", login.secret_file))
        if not os.path.exists(login.secret_file):  # since a moment ago: nobody shall be asked for a password
            return
    try:
        query.log_in(Options(options.service, login, options.timeout, 0), os.environ.get(_DIALECT, ""))
    except Exception as error:
        code, text = explain(error)
        if code < 0:  # a signal
            raise
        severity = ERROR if code == PARAMETER_ERROR else WARNING
        yield Finding(call.place, severity, "login", text, f"it ends with {code}, and no job runs")


def _why_not(call: Call, options: JobOptions, files: Mapping[str, File]) -> _NotTried | None:
    """None if it is tried."""
    file = files[call.entry.place.path]
    origin = files[file.origin or file.path]
    unknown = _why_unknown(call, options)
    if unknown:
        return _NotTried(origin.path, unknown, "log in by hand, as it is done there: headless sessions -s ...")
    user = call.entry.user
    if user is not None and not users.is_caller(user):
        return _NotTried(origin.path, f"{user} runs it", _command(origin, user, call))
    if not file.is_own:
        why = f"it is not certain that nobody else can write to {file.path!r}"
        return _NotTried(origin.path, why, "read it, copy it to a folder of your own, and check the copy")
    if _dialect(call) != os.environ.get(_DIALECT, ""):
        why = f"its {_DIALECT} is {_dialect(call)!r}, and yours is {os.environ.get(_DIALECT, '')!r}"
        return _NotTried(origin.path, why, _command(origin, user, call))
    return None


def _why_unknown(call: Call, options: JobOptions) -> str:
    """Why it cannot be known who logs in where, or ""."""
    if not call_checks.looks_at_files(call):
        return "it runs on another machine, or in a container"
    if call_checks.changes_user(call):
        return "it is started as another user"
    return "" if _is_known(call, options) else "only the shell knows how it logs in"


def _is_known(call: Call, options: JobOptions) -> bool:
    """Whether server, user and password file are certain: what only the shell knows stands in the words as it is in the
    file."""
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
    """What is typed to try it as this user. The shell opens the file: the user may not be able to."""
    if is_inherited(file.path):
        return "save it as a file, and check that"
    path, environment = os.path.abspath(file.path), []
    if os.name == "nt":
        return users.typed_as(user, users.headless("check", "--connect", path))
    try:
        users.find(user)
    except users.NotKnown:
        return "check it on the machine that has this user"
    if _dialect(call) != os.environ.get(_DIALECT, ""):
        environment = ["env", f"{_DIALECT}={_dialect(call)}"] if _dialect(call) else ["env", "-u", _DIALECT]
    if file.kind is Kind.UNIT:  # with its timer, and whoever may look may read both
        return users.typed_as(user, [*environment, *users.headless("check", "--connect", path)])
    as_user = ["--as", user] if user is not None and not file.names_users else []
    words = [*environment, *users.headless("check", "--connect", *as_user, "/dev/stdin")]
    return f"{users.typed_as(user, words)} < {shlex.quote(path)}"
