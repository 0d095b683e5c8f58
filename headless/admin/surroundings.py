"""Checks what surrounds a call of planta_headless.py: where it runs, in which folders, what it writes, who hears of it.

A function yields findings, and raises OSError for a temporary fault of a file that it looks at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from headless.admin import users
from headless.admin.calls import PYTHON, Call, CodeUse, Language, Scheduler
from headless.admin.files import is_file, is_folder, is_program, is_writable, status_of
from headless.admin.programs import SHELLS, WRAPPERS, Wrapper, base_name
from headless.admin.rules import Finding
from headless.options import PROGRAM, JobOptions

_SU = ("su", "runuser")
_REPORTS = {"cronic"}  # prints the return code of a command that failed, and cron mails it
_FILES_OF_THIS_MACHINE = {Language.SHELL, Language.SYSTEMD} if os.name != "nt" else {Language.BATCH, Language.WINDOWS}


def looks_at_files(call: Call) -> bool:
    """Returns whether it runs on this machine: not as a task of Windows elsewhere, nor behind docker or ssh."""
    is_here = call.entry.language in _FILES_OF_THIS_MACHINE
    return is_here and all(_starts_here(base_name(word.text)) for word in call.wrappers)


def _starts_here(name: str) -> bool:
    is_wrapper = name in WRAPPERS and not WRAPPERS[name].elsewhere
    return is_wrapper or name in (*SHELLS, *_SU, "cmd") or bool(PYTHON.fullmatch(name))


def is_behind(call: Call, is_it: Callable[[Wrapper], bool]) -> bool:
    """Returns whether a program in front of the call is one of these."""
    names = (base_name(word.text) for word in (*call.entry.wrappers, *call.wrappers))
    return any(name in WRAPPERS and is_it(WRAPPERS[name]) for name in names)


def changes_user(call: Call) -> bool:
    """Returns whether it runs as another user than the entry: which one is not known."""
    is_su = any(base_name(word.text) in _SU for word in (*call.entry.wrappers, *call.wrappers))
    return is_su or is_behind(call, lambda wrapper: wrapper.other_user)


def for_user(call: Call) -> str:
    """Names the user for whom something was looked for, if it is not the caller."""
    user = call.entry.user
    is_other = os.name != "nt" and os.getuid() == 0 and user is not None and not users.is_caller(user)
    return f" for {user}" if is_other else ""


def make_folder(call: Call) -> str:
    """Names the user who has to make it: a folder of another user could not be written to."""
    user = call.entry.user
    is_other = user is not None and not users.is_caller(user) and not changes_user(call)
    return f"make it, as {user}, or correct its name" if is_other else "make it, or correct its name"


def no_folder(call: Call) -> Iterator[Finding]:
    """Checks where the command begins, and where its output goes."""
    whom, make = for_user(call), make_folder(call)
    entry = call.entry.starter.entry if call.entry.starter is not None else call.entry
    needs_it = call.folder != entry.folder or call.entry.scheduler is Scheduler.SYSTEMD  # cron can do without HOME
    if call.folder is not None and needs_it and not is_folder(call.folder):
        yield call.finding("no-folder", folder=call.folder, for_user=whom, make=make)
        return
    for path, what in _written(call):
        folder = os.path.dirname(path)
        if not is_folder(folder):
            yield call.finding("no-folder/output", folder=folder, redirection=what, for_user=whom, make=make)


def cannot_write(call: Call) -> Iterator[Finding]:
    """Checks the files that the user of the call writes, or locks."""
    if changes_user(call) or not has_rights_of_user(call):
        return
    for path, what in _written(call):
        status = status_of(path)
        place = path if status is not None else os.path.dirname(path)
        if (status is not None or is_folder(place)) and not is_writable(place):
            yield call.finding("cannot-write", user=call.entry.user or "the caller", path=place, what=what)


def _written(call: Call) -> Iterator[tuple[str, str]]:
    """Yields the whole path of each file that is written or locked, and how the line says it."""
    files = [(f"{each.operator} {each.target.text}", each.target) for each in call.redirections
             if each.operator.startswith((">", "&>")) and each.operator != ">&"]  # fmt: skip
    files += [(f"the lock {each.text}", each) for each in call.locks]
    for what, word in files:
        path = os.path.join(call.folder or "", word.text)
        if os.path.isabs(path) and not re.search(r"[$`*?~]|^>\(", word.text):
            yield path, what


def no_module(call: Call) -> Iterator[Finding]:
    """Checks what `python -m planta_headless` finds in the folder where it begins, unless PYTHONPATH is set."""
    is_module = call.interpreter is not None and f"{call.script.text}.py" == PROGRAM
    is_known = call.folder is not None and not call.environment.get("PYTHONPATH")
    if is_module and is_known and not is_file(os.path.join(call.folder or "", PROGRAM)):
        yield call.finding("no-script/module", folder=call.folder)


def code_lost(call: Call) -> Iterator[Finding]:
    yield call.finding("code-lost", because=call.lost_because)


def unreported(call: Call, options: JobOptions | None) -> Iterator[Finding]:
    """cron does nothing with a return code: something has to be printed, and mailed, or there is a receipt."""
    starter = call.entry.starter
    is_by_cron = Scheduler.CRON in (call.entry.scheduler, starter and starter.entry.scheduler)
    if not is_by_cron or call.environment.get("PLANTA_RECEIPT"):
        return
    is_tested = CodeUse.TESTED in (call.code_use, starter and starter.code_use)
    is_printed = any(base_name(word.text) in _REPORTS for word in call.wrappers)
    is_silent = 1 not in call.heard or (not is_printed and options is not None and not options.verbosity)
    if not is_tested and not call.entry.is_mailed:
        yield call.finding("unreported/mail", value=call.entry.environment["MAILTO"])
    elif not is_tested and is_silent:
        yield call.finding("unreported")


def wrong_shell(call: Call) -> Iterator[Finding]:
    """Checks what parses the lines of a crontab."""
    shell = call.entry.shell
    if call.entry.scheduler is Scheduler.CRON and base_name(shell) not in SHELLS:
        yield call.finding("not-checked", reason=f"{shell} parses it, which is no shell that is known")
    elif call.entry.scheduler is Scheduler.CRON and not is_program(shell):
        yield call.finding("no-program/shell", name=shell)


def not_sourced(call: Call) -> Iterator[Finding]:
    """Checks the files that sh reads before the call."""
    for word in call.sources:
        path = os.path.join(call.entry.folder or "", word.text)
        if word.is_certain and os.path.isabs(path) and not is_file(path):
            yield call.finding("no-script/sourced", path=path, for_user=for_user(call))


def has_rights_of_user(call: Call) -> bool:
    """Returns whether files are now looked at with the rights of the user of the call."""
    user = call.entry.user
    if user is None or os.name == "nt":
        return True
    return users.is_caller(user) or (os.getuid() == 0 and users.find(user) is not None)
