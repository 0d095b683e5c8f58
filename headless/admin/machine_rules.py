"""Checks what a call of planta_headless.py needs on this machine: programs, libraries, the script, folders, files.

A function yields findings, and raises OSError for a temporary fault of a file that it looks at.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator

from headless import password_file
from headless.admin import users
from headless.admin.calls import Call, Language, Scheduler, Word
from headless.admin.files import is_file, is_folder, is_program, is_temporary, is_writable, status_of
from headless.admin.programs import SHELLS, STRICT, base_name
from headless.admin.rules import Finding
from headless.admin.surroundings import (
    changes_user,
    for_user,
    has_rights_of_user,
    looks_at_files,
    make_folder,
    of_setting,
    of_word,
)
from headless.errors import HeadlessError, ParameterError, SessionError
from headless.options import PROGRAM, ChallengeLogin, JobOptions, patience

_NOT_FOUND = {
    Language.BATCH: "cmd reports that there is no such command (9009), and no job runs",
    Language.WINDOWS: "the Task Scheduler reports that there is no such file (0x80070002), and no job runs",
}
_NOT_FOUND_BY_SHELL = "the shell reports that there is no such command (127), and no job runs"
_ANY_PYTHON = "a Python 3.9 or later that has lxml and bcrypt"
_OF_SH = ("exec", "command")
_OF_BASH = (*_OF_SH, "builtin", "time")
_OF_WINDOWS = re.compile(r"[\\/]python(\d)(\d+)(?:-32)?[\\/]pythonw?(?:\.exe)?$", re.IGNORECASE)  # C:\Python27


def check(call: Call, options: JobOptions | None) -> Iterator[Finding]:
    """Yields what is wrong, as far as it can be seen with the rights of now. `options` is None if they are not
    known."""
    for of_call in _OF_FILES if looks_at_files(call) else _OF_NAMES:
        yield from of_call(call)
    if looks_at_files(call) and options is not None and not changes_user(call):
        yield from _password_file(call, options)


# -- programs --


def _old_python(call: Call) -> Iterator[Finding]:
    interpreter = call.interpreter
    version = _old_version(call, interpreter) if interpreter is not None else ""
    if interpreter is not None and version:
        python = _python_for(call)
        shown = (
            interpreter.text if not _is_launcher(interpreter) else f"{interpreter.text} {call.python_options[0].text}"
        )
        values = {"python": shown, "version": version, "better": python or _ANY_PYTHON}
        yield of_word(call, "old-python", interpreter, python or None, **values)


def _is_launcher(interpreter: Word) -> bool:
    """Returns whether it is that of Windows, which is asked for a version: py -3.11."""
    return re.fullmatch(r"pyw?(\.exe)?", base_name(interpreter.text), re.IGNORECASE) is not None


def _python_options(call: Call) -> Iterator[Finding]:
    """Finds options that Python 3 refuses, where it is one, or is to become one."""
    interpreter = call.interpreter
    if interpreter is None or _is_launcher(interpreter) or (_old_version(call, interpreter) and not _python_for(call)):
        return
    for word, following in zip(call.python_options, (*call.python_options[1:], None)):
        if word.is_certain and re.match("-[3QU]", word.text):
            yield of_word(call, "python-option", word, "", option=word.text)
            if word.text == "-Q" and following is not None:
                yield of_word(call, "python-option", following, "", option=f"-Q {following.text}")


def _old_version(call: Call, interpreter: Word) -> str:
    """Returns the version by the name, or that of the file that it leads to; "" if it is new enough, or not known."""
    found = _which(interpreter.text, _path(call)) if looks_at_files(call) else None
    for name in (os.path.realpath(found) if found else "", interpreter.text):
        match = re.fullmatch(r"pythonw?(\d)(?:\.(\d+))?(?:\.exe)?", base_name(name)) or _OF_WINDOWS.search(name)
        if match and (match[2] or match[1] == "2"):
            return _if_old(match[1], match[2])
    if _is_launcher(interpreter):
        asked = (re.fullmatch(r"-(?:V:)?(\d)(?:\.(\d+))?(?:-\d+)?", word.text) for word in call.python_options)
        return next((_if_old(match[1], match[2]) for match in asked if match), "")
    return ""


def _if_old(major: str, minor: str | None) -> str:
    is_old = (int(major), int(minor or (99 if int(major) > 2 else 0))) < (3, 9)
    return "" if not is_old else f"{major}.{minor}" if minor else major


def _no_program(call: Call) -> Iterator[Finding]:
    path, not_found = _path(call), _NOT_FOUND.get(call.entry.language, _NOT_FOUND_BY_SHELL)
    started = call.interpreter or (call.script if _is_installed(call) else None)
    for word in (*call.wrappers, *([started] if started else [])):
        is_old = word is call.interpreter and _old_version(call, word)  # a finding of its own
        if (
            not word.is_certain
            or word.text in (_OF_SH if base_name(call.entry.shell) in STRICT else _OF_BASH)
            or is_old
        ):
            continue
        if os.path.dirname(word.text):
            if not is_program(os.path.join(call.folder or "/", word.text)):
                yield of_word(call, "no-program", word, name=word.text, for_user=for_user(call), not_found=not_found)
        elif _which(word.text, path) is None:
            found = _python_for(call) if word is call.interpreter else shutil.which(word.text)
            yield of_word(call, "no-program/path", word, found, name=word.text, path=path, not_found=not_found)


def _wrong_shell(call: Call) -> Iterator[Finding]:
    """Checks what parses the lines of a crontab."""
    shell = call.entry.shell
    if call.entry.scheduler is Scheduler.CRON and base_name(shell) not in SHELLS:
        yield call.finding("not-checked", reason=f"{shell} parses it, which is no shell that is known")
    elif call.entry.scheduler is Scheduler.CRON and not is_program(shell):
        yield call.finding("no-program/shell", name=shell)


def _no_library(call: Call) -> Iterator[Finding]:
    """Looks for their folders: nothing is run."""
    interpreter = call.interpreter
    if interpreter is not None and (not interpreter.is_certain or _old_version(call, interpreter)):
        return
    name = interpreter.text if interpreter is not None else _interpreter_of_script(call)
    python = _which(name, _path(call)) if name else None
    if python is None or (_is_this_python(python) and _prefix(python) == sys.prefix):
        return
    prefix = _prefix(python)
    for library in ("lxml", "bcrypt"):
        if not any(is_folder(os.path.join(folder, library)) for folder in _library_folders(prefix, python)):
            better = _python_for(call) or _ANY_PYTHON
            yield of_word(call, "no-library", interpreter, python=python, library=library, better=better)
            return


def _path(call: Call) -> str:
    return call.environment.get("PATH", os.environ.get("PATH", "") if os.name == "nt" else "/usr/bin:/bin")


def _which(name: str, path: str) -> str | None:
    """Returns the program of this name in the folders of PATH, None if there is none."""
    if os.path.dirname(name) or os.name == "nt":
        return shutil.which(name, path=path)
    files = (os.path.join(folder, name) for folder in path.split(os.pathsep))
    return next((file for file in files if is_program(file)), None)


def _python_for(call: Call) -> str:
    """Returns a Python that runs the script: its own if it has one, else the one that runs this; "" if the user of the
    call cannot start it, or it runs elsewhere."""
    if not looks_at_files(call):
        return ""
    own = os.path.join(os.path.dirname(os.path.join(call.folder or "", call.script.text)), ".venv", "bin", "python")
    return next((each for each in (own, sys.executable) if is_program(each)), "")


def _interpreter_of_script(call: Call) -> str:
    """Returns what the first line of the script names, "" if that is not known."""
    path = _script_path(call)
    if path is None or not is_file(path):
        return ""
    try:
        with open(path, "rb") as file:
            first = file.readline(200).decode("utf-8", "replace")
    except OSError as error:
        if is_temporary(error):
            raise
        return ""
    match = re.match(r"#!\s*(?:\S*/env\s+)?(\S+)", first)
    return match[1] if match else ""


def _is_this_python(python: str) -> bool:
    return os.path.realpath(python) == os.path.realpath(sys.executable)


def _prefix(python: str) -> str:
    """Returns that of the venv which it is in, else that of the program that it leads to."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    if status_of(os.path.join(folder, "pyvenv.cfg")) is not None:
        return folder
    folder = os.path.dirname(os.path.realpath(python))
    return folder if os.name == "nt" else os.path.dirname(folder)


def _library_folders(prefix: str, python: str) -> Iterator[str]:
    if os.name == "nt":
        yield os.path.join(prefix, "Lib", "site-packages")
        return
    version = re.search(r"python(3\.\d+)$", os.path.realpath(python))
    names = [f"python{version[1]}"] if version else []
    lib = os.path.join(prefix, "lib")
    names += [name for name in (os.listdir(lib) if is_folder(lib) and not names else []) if "python3" in name]
    for name in names:
        for packages in ("site-packages", "dist-packages"):
            yield os.path.join(lib, name, packages)
            yield os.path.join(prefix + "64" if prefix == "/usr" else prefix, "lib64", name, packages)
            yield os.path.join(prefix, "local", "lib", name, packages)
    yield os.path.join(prefix, "lib", "python3", "dist-packages")


# -- the script, folders and variables --


def _is_installed(call: Call) -> bool:
    """Returns whether pip has made what is called: a program, and no script with a folder beside it."""
    return base_name(call.script.text) != PROGRAM


def _script_path(call: Call) -> str | None:
    """Returns None if it is not known."""
    if not call.script.is_certain or not (os.path.isabs(call.script.text) or call.folder):
        return None
    return os.path.join(call.folder or "", call.script.text)


def _has_package(script: str) -> bool:
    """Returns whether the package is beside the script, or where pip puts it for a script in the same prefix."""
    folder = os.path.dirname(script)
    places = (folder, *_library_folders(os.path.dirname(folder), script))
    return any(is_folder(os.path.join(each, "headless")) for each in places)


def _wrong_script(call: Call) -> Iterator[Finding]:
    path = _script_path(call)
    if path is None or _is_installed(call):
        return
    if not is_file(path):
        yield of_word(call, "no-script", call.script, path=path, for_user=for_user(call))
    elif not _has_package(path):
        yield of_word(call, "old-script", call.script, path=path)
    elif call.interpreter is None and not is_program(path):
        yield of_word(call, "not-executable", call.script, path=path, better=_python_for(call) or _ANY_PYTHON)


def _no_module(call: Call) -> Iterator[Finding]:
    """Checks what `python -m planta_headless` finds in the folder where it begins, unless PYTHONPATH is set."""
    is_module = call.interpreter is not None and f"{call.script.text}.py" == PROGRAM
    is_known = call.folder is not None and not call.environment.get("PYTHONPATH")
    if is_module and is_known and not is_file(os.path.join(call.folder or "", PROGRAM)):
        yield call.finding("no-script/module", folder=call.folder)


def _not_sourced(call: Call) -> Iterator[Finding]:
    """Checks the files that sh reads before the call."""
    for word in call.sources:
        path = os.path.join(call.entry.folder or "", word.text)
        if word.is_certain and os.path.isabs(path) and not is_file(path):
            yield call.finding("no-script/sourced", path=path, for_user=for_user(call))


def _no_folder(call: Call) -> Iterator[Finding]:
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


def _cannot_write(call: Call) -> Iterator[Finding]:
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


def _wrong_patience(call: Call) -> Iterator[Finding]:
    try:
        patience(call.environment.get("PLANTA_PATIENCE", ""))
    except ParameterError as error:
        yield of_setting(call, "variable/patience", "PLANTA_PATIENCE", problem=error)


def _wrong_variable(call: Call) -> Iterator[Finding]:
    dialect, receipt = (call.environment.get(name, "") for name in ("PLANTA_PROTOCOL", "PLANTA_RECEIPT"))
    if ("/" in dialect or dialect.endswith(".py")) and not is_file(os.path.join(call.folder or "", dialect)):
        yield of_setting(call, "variable/dialect", "PLANTA_PROTOCOL", path=dialect)
    folder = os.path.dirname(os.path.join(call.folder or "", receipt))
    if receipt and os.path.isabs(folder) and not is_folder(folder):
        values = {"folder": folder, "for_user": for_user(call), "make": make_folder(call)}
        yield of_setting(call, "variable/receipt", "PLANTA_RECEIPT", **values)


# -- the password file --


def _password_file(call: Call, options: JobOptions) -> Iterator[Finding]:
    """Looks for it as the user of the entry finds it from its folder."""
    login = options.login
    uncertain = [word.text for word in call.options if not word.is_certain]
    if not isinstance(login, ChallengeLogin) or any(login.secret_file in text for text in uncertain):
        return
    path = login.secret_file
    named = next((word for word in call.options if word.text == path), None)
    if not os.path.isabs(path):
        if call.folder is None:
            return
        path = os.path.join(call.folder, path)
        if status_of(path) is None:
            yield of_word(call, "password-file/relative", named, path=login.secret_file, folder=call.folder)
            return
    if not has_rights_of_user(call):
        return
    try:
        if status_of(path) is not None and not is_file(path):  # some devices do something when they are opened
            raise ParameterError(f"the password file {path!r} is not a regular file")
        password_file.read(path)
    except (ParameterError, SessionError) as error:
        cause = error.__context__
        if isinstance(cause, OSError) and is_temporary(cause):
            raise cause from None
        problem, advice = _of_unusable(error, path, call, options)
        yield of_word(call, "password-file", named, problem=problem, advice=advice)


def _of_unusable(error: HeadlessError, path: str, call: Call, options: JobOptions) -> tuple[str, str]:
    """Returns what is wrong with a password file, and what can be done that harms no other line which needs it."""
    user, login = call.entry.user, options.login
    if isinstance(error, password_file.NotPrivate) and error.command:
        return error.problem, password_file.OTHERS_FIRST + users.typed_as(user, error.command)
    is_missing = isinstance(error, password_file.Missing)
    words = ("-s", str(options.service), "-u", login.user or "", "-p", path if is_missing else "NEW_FILE")
    command = users.typed_as(user, users.headless("password-file", *words))
    if is_missing:
        return f"the password file {path!r} does not exist", command
    problem = error.problem if isinstance(error, password_file.NotPrivate) else str(error)
    return problem, f"make another one, and name it here: {command}"


_Check = Callable[[Call], Iterator[Finding]]
_OF_NAMES: tuple[_Check, ...] = (_old_python, _python_options, _wrong_patience)
_OF_FILES: tuple[_Check, ...] = (
    _no_program,
    _no_library,
    _wrong_script,
    _no_module,
    _not_sourced,
    _wrong_shell,
    _no_folder,
    _cannot_write,
    *_OF_NAMES,
    _wrong_variable,
)
