"""What can go wrong with a call of planta_headless.py, whatever starts it.

What is wrong with the file that it stands in is found where that is read. What the options mean is options.py's alone.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from headless import password_file
from headless.admin import users
from headless.admin.command_line import CHANGE_USER, base_name, is_starter
from headless.admin.entry import Call, Fate, Language, Place, Scheduler, Word
from headless.admin.finding import ERROR, WARNING, Edit, Finding
from headless.admin.places import is_file, is_folder, is_program, not_looked_at, passes, reason_of, status_of
from headless.admin.schedule import Timetable
from headless.errors import HeadlessError, ParameterError
from headless.options import NO_TIMEOUT, PROGRAM, Answer, ChallengeLogin, JobOptions, parse, patience

_ENDS_WITH_2 = "it ends with 2, and no job runs"
_NOT_FOUND = {
    Language.BATCH: "cmd says that there is no such command (9009), and no job runs",
    Language.WINDOWS: "the Task Scheduler says that there is no such file (0x80070002), and no job runs",
}
_NOT_FOUND_BY_SHELL = "the shell says that there is no such command (127), and no job runs"
_ANY_PYTHON = "a Python 3.9 or later that has lxml and bcrypt"
_HOUR = 3600.0  # seconds
_LOCKS = {"flock", "run-one", "lckdo", "setlock"}
_TELLS = {"chronic", "cronic"}  # of a failure: they print then, and cron mails it
_FILES_OF_THIS_MACHINE = {Language.SHELL, Language.SYSTEMD} if os.name != "nt" else {Language.BATCH, Language.WINDOWS}


@dataclass(frozen=True)
class Checked:
    """A call, its options if they can be known, and what is wrong with it."""

    call: Call
    options: JobOptions | None
    findings: tuple[Finding, ...]


def check(call: Call) -> Checked:
    """What is wrong with one call."""
    options, problem = _options(call)
    findings = list(problem)
    try:
        with users.rights_of(call.entry.user):
            findings += _of_files(call, options)
    except OSError as error:
        findings.append(not_looked_at(call.place, reason_of(error)))
    findings += _of_fate(call, options)
    if options is not None:
        findings += _of_time(call, options)
    return Checked(call, options, tuple(findings))


def _of_files(call: Call, options: JobOptions | None) -> Iterator[Finding]:
    """As the user of the call finds them. Raises OSError for what passes."""
    looks = looks_at_files(call)
    if looks:
        yield from _of_programs(call)
        yield from _of_script(call)
        yield from _of_folders(call)
    yield from _of_interpreter(call)
    yield from _of_variables(call)
    if looks and options is not None and not changes_user(call):
        yield from _of_password_file(call, options)


def looks_at_files(call: Call) -> bool:
    """Not for a task of Windows on another system, nor for what runs behind docker or ssh."""
    is_here = call.entry.language in _FILES_OF_THIS_MACHINE
    return is_here and all(is_starter(base_name(word.text)) for word in call.wrappers)


def changes_user(call: Call) -> bool:
    """Whether it runs as another user than the entry: which one is not known here."""
    return any(base_name(word.text) in CHANGE_USER for word in (*call.entry.wrappers, *call.wrappers))


def same_jobs(checked: Iterable[Checked]) -> Iterator[Finding]:
    """A call that starts the same jobs at the same server in the same minute as one before it."""
    seen: dict[tuple[object, object], Timetable[Place, Call]] = {}
    for each in checked:
        call, options, schedule = each.call, each.options, each.call.entry.schedule
        if options is None or schedule is None or not all(word.is_certain for word in call.options):
            continue
        timetable = seen.setdefault((options.jobs, options.service), Timetable())
        other = timetable.meeting(schedule, call.entry.place)  # in the same place one follows the other
        if other is not None:
            text = f"{other.place} starts the same jobs in the same minute"
            consequence = "they run twice, one beside the other"
            advice = "give one of the two another minute, if both are meant; else take one out"
            yield Finding(call.place, WARNING, "twice", text, consequence, advice=advice)
        timetable.add(schedule, call.entry.place, call)


def _options(call: Call) -> tuple[JobOptions | None, list[Finding]]:
    """None if they cannot be known: that is no finding if only the shell knows a value."""
    try:
        return parse([word.text for word in call.options]), []
    except Answer:
        return None, []
    except ParameterError as error:
        if not all(word.is_certain for word in call.options):
            return None, []
        advice = "see planta_headless.py --help"
        return None, [Finding(call.place, ERROR, "options", str(error), _ENDS_WITH_2, advice=advice)]


def _of_interpreter(call: Call) -> Iterator[Finding]:
    interpreter = call.interpreter
    version = _old_version(call, interpreter) if interpreter is not None else ""
    if interpreter is None or not version:
        return
    python = _python_for(call)
    edits = (Edit(interpreter.begin, interpreter.end, python),) if python and interpreter.is_plain else ()
    text = f"{interpreter.text} is Python {version}; Python 3.9 or later is needed"
    yield Finding(call.place, ERROR, "old-python", text, _ENDS_WITH_2, edits, f"write {python or _ANY_PYTHON}")


def _old_version(call: Call, interpreter: Word) -> str:
    """By its name, or that of the file that it leads to; "" if it is new enough, or not known."""
    found = _which(interpreter.text, _path(call)) if looks_at_files(call) else None
    for name in (os.path.realpath(found) if found else "", interpreter.text):
        match = re.fullmatch(r"python(\d)(?:\.(\d+))?(?:\.exe)?", base_name(name))
        if match and (match[2] or match[1] == "2"):
            is_old = (int(match[1]), int(match[2] or 0)) < (3, 9)
            return "" if not is_old else f"{match[1]}.{match[2]}" if match[2] else match[1]
    return ""


def _of_programs(call: Call) -> Iterator[Finding]:
    """Those that are not found by the PATH of the scheduler, or not where they are said to be."""
    path, not_found = _path(call), _NOT_FOUND.get(call.entry.language, _NOT_FOUND_BY_SHELL)
    started = call.interpreter or (call.script if _is_installed(call) else None)
    for word in (*call.wrappers, *([started] if started else [])):
        if not word.is_certain or word.text in ("exec", "command", "builtin", "time"):
            continue
        if word is call.interpreter and _old_version(call, word):  # which is a finding of its own
            continue
        if os.path.dirname(word.text):
            if not is_program(os.path.join(call.folder or "/", word.text)):
                text = f"{word.text!r} is no program on this machine{_for_user(call)}"
                yield Finding(call.place, ERROR, "no-program", text, not_found, advice="correct the path")
        elif _which(word.text, path) is None:
            found = _python_for(call) if word is call.interpreter else shutil.which(word.text)
            edits = (Edit(word.begin, word.end, found),) if found and word.is_plain else ()
            text = f"{word.text!r} is not in the PATH of this line, {path!r}"
            yield Finding(call.place, ERROR, "no-program", text, not_found, edits, "write its whole path")
    name = call.interpreter.text if call.interpreter is not None else _interpreter_of_script(call)
    is_certain = call.interpreter is None or call.interpreter.is_certain
    if name and is_certain and not (call.interpreter is not None and _old_version(call, call.interpreter)):
        yield from _of_libraries(call, _which(name, path))


def _which(name: str, path: str) -> str | None:
    """The program of this name in the folders of PATH, None if there is none. Raises OSError for what passes."""
    if os.path.dirname(name) or os.name == "nt":
        return shutil.which(name, path=path)
    files = (os.path.join(folder, name) for folder in path.split(os.pathsep))
    return next((file for file in files if is_program(file)), None)


def _interpreter_of_script(call: Call) -> str:
    """What the first line of the script names, "" if that cannot be known. Raises OSError for what passes."""
    path = _script_path(call)
    if path is None or not is_file(path):
        return ""
    try:
        with open(path, "rb") as file:
            first = file.readline(200).decode("utf-8", "replace")
    except OSError as error:
        if passes(error):
            raise
        return ""
    match = re.match(r"#!\s*(?:\S*/env\s+)?(\S+)", first)
    return match[1] if match else ""


def _script_path(call: Call) -> str | None:
    """None if it cannot be known."""
    if not call.script.is_certain or not (os.path.isabs(call.script.text) or call.folder):
        return None
    return os.path.join(call.folder or "", call.script.text)


def _path(call: Call) -> str:
    return call.environment.get("PATH", os.environ.get("PATH", "") if os.name == "nt" else "/usr/bin:/bin")


def _of_libraries(call: Call, python: str | None) -> Iterator[Finding]:
    """By their folders: nothing is run."""
    if python is None or (
        os.path.realpath(python) == os.path.realpath(sys.executable) and _prefix(python) == sys.prefix
    ):
        return
    prefix = _prefix(python)
    for library in ("lxml", "bcrypt"):
        if not any(is_folder(os.path.join(folder, library)) for folder in _library_folders(prefix, python)):
            text = f"{python} has no {library}"
            advice = f"name a Python that has it, as {_python_for(call) or _ANY_PYTHON}"
            yield Finding(call.place, ERROR, "no-library", text, _ENDS_WITH_2, advice=advice)
            return


def _prefix(python: str) -> str:
    """Of a venv if it is in one; else the one of the program that it leads to."""
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


def _is_installed(call: Call) -> bool:
    """Whether pip has made what is called: a program, and no script with a folder beside it."""
    return base_name(call.script.text) != PROGRAM


def _of_script(call: Call) -> Iterator[Finding]:
    path = _script_path(call)
    if path is None or _is_installed(call):
        return
    if not is_file(path):
        text, consequence = f"there is no file {path!r}{_for_user(call)}", "it ends with 2 or 127, and no job runs"
        yield Finding(call.place, ERROR, "no-script", text, consequence, advice="correct the path")
    elif not is_folder(os.path.join(os.path.dirname(path), "headless")):
        text = f"the folder 'headless' is not beside {path!r}: is this the old script?"
        advice = "install this one in a folder of its own, and name that: other lines may need the old script"
        yield Finding(call.place, ERROR, "old-script", text, "it needs Python 2, or ends with 2", advice=advice)
    elif call.interpreter is None and not is_program(path):
        text = f"{path!r} is not executable"
        advice = f"put a Python in front of its name: {_python_for(call) or _ANY_PYTHON}"
        yield Finding(call.place, ERROR, "not-executable", text, _NOT_FOUND_BY_SHELL, advice=advice)


def _of_folders(call: Call) -> Iterator[Finding]:
    """Where the command begins, and where its output goes."""
    is_own = call.folder != call.entry.folder or call.entry.scheduler is Scheduler.SYSTEMD  # cron can do without HOME
    if call.folder is not None and is_own and not is_folder(call.folder):
        text, consequence = f"there is no folder {call.folder!r}{_for_user(call)}, in which it begins", "no job runs"
        yield Finding(call.place, ERROR, "no-folder", text, consequence, advice=_make_folder(call))
        return
    for each in call.redirections:
        if not each.operator.startswith((">", "&>")) or each.operator == ">&" or re.search(r"[$`*?~]", each.target):
            continue
        folder = os.path.dirname(os.path.join(call.folder or "", each.target))
        if os.path.isabs(folder) and not is_folder(folder):
            text = f"there is no folder {folder!r}{_for_user(call)}, for {each.operator} {each.target}"
            yield Finding(call.place, ERROR, "no-folder", text, "no job runs", advice=_make_folder(call))


def _make_folder(call: Call) -> str:
    """Somebody else's folder would be of no use: nothing could be written there."""
    user = call.entry.user
    is_other = user is not None and not users.is_caller(user) and not changes_user(call)
    return f"make it, as {user}, or correct its name" if is_other else "make it, or correct its name"


def _for_user(call: Call) -> str:
    """Whose look at it found nothing, where it is another one than who runs this."""
    user = call.entry.user
    return (
        f" for {user}" if os.name != "nt" and os.getuid() == 0 and not (user is None or users.is_caller(user)) else ""
    )


def _of_variables(call: Call) -> Iterator[Finding]:
    """Those of this project, in the environment of the call."""
    variables = call.environment
    try:
        patience(variables.get("PLANTA_PATIENCE", ""))
    except ParameterError as error:
        yield Finding(call.place, ERROR, "variable", str(error), _ENDS_WITH_2, advice="write a number of seconds")
    if not looks_at_files(call):
        return
    dialect, receipt = variables.get("PLANTA_PROTOCOL", ""), variables.get("PLANTA_RECEIPT", "")
    if ("/" in dialect or dialect.endswith(".py")) and not is_file(os.path.join(call.folder or "", dialect)):
        text = f"PLANTA_PROTOCOL: there is no file {dialect!r}"
        yield Finding(call.place, ERROR, "variable", text, _ENDS_WITH_2, advice="correct its name")
    folder = os.path.dirname(os.path.join(call.folder or "", receipt))
    if receipt and os.path.isabs(folder) and not is_folder(folder):
        text = f"PLANTA_RECEIPT: there is no folder {folder!r}{_for_user(call)}"
        consequence = "there is no receipt of any call"
        yield Finding(call.place, ERROR, "variable", text, consequence, advice=_make_folder(call))


def _of_fate(call: Call, options: JobOptions | None) -> Iterator[Finding]:
    if call.fate is Fate.LOST:
        text = f"the return code is lost: {call.lost_to}"
        consequence = "a job that failed looks like one that ended well"
        advice = "let nothing stand behind the call but || and what tells you"
        yield Finding(call.place, ERROR, "code-lost", text, consequence, advice=advice)
        return
    yield from _of_mail(call)
    is_cron = call.entry.scheduler is Scheduler.CRON and call.fate is Fate.RESULT
    tells = any(base_name(word.text) in _TELLS for word in call.wrappers) or call.environment.get("PLANTA_RECEIPT")
    if not is_cron or tells or options is None or (options.verbosity and not _is_redirected(call)):
        return
    text = "nobody learns of a failure: cron does not look at the return code"
    consequence = "codes 1 and 3 go unnoticed"
    advice = (
        'end the line with || echo "ended with $?", which cron mails, or set PLANTA_RECEIPT and use headless monitor'
    )
    yield Finding(call.place, WARNING, "unheard", text, consequence, advice=advice)


def _of_mail(call: Call) -> Iterator[Finding]:
    variables = call.environment
    prints = re.search(r"\|\|[\s{(]*(echo|printf|cat)\b", call.entry.command.text)
    is_silent = variables.get("MAILTO") == "" and not variables.get("PLANTA_RECEIPT")
    if call.entry.scheduler is Scheduler.CRON and is_silent and prints:
        text = "MAILTO is empty: cron throws away what is printed"
        advice = "name somebody in MAILTO, or set PLANTA_RECEIPT and use headless monitor"
        yield Finding(call.place, WARNING, "unheard", text, "codes 1 and 3 go unnoticed", advice=advice)


def _is_redirected(call: Call) -> bool:
    return any(each.descriptor == 1 or each.operator.startswith("&>") for each in call.redirections)


def _of_time(call: Call, options: JobOptions) -> Iterator[Finding]:
    yield from _of_timeout_program(call)
    schedule = call.entry.schedule
    if schedule is not None and schedule.expressions and not schedule.starts(datetime.now(), 1):
        text, consequence = f"the date {schedule.text!r} never comes", "the job never runs"
        yield Finding(call.place, ERROR, "never", text, consequence, advice="correct the day or the month")
    interval = schedule.shortest_interval_seconds() if schedule is not None else None
    if options.timeout == 0:
        yield _no_timeout(call, interval)
        return
    if interval is None:
        return
    if options.timeout != NO_TIMEOUT and options.timeout >= interval:
        text = f"-t {options.timeout} is not shorter than the {_said(interval)} to the next start"
        consequence = "two of them wait at a time"
        yield Finding(call.place, WARNING, "t-too-long", text, consequence, advice="give a shorter -t")
    yield from _of_lock(call, interval)


def _of_timeout_program(call: Call) -> Iterator[Finding]:
    for word in call.wrappers:
        if base_name(word.text) == "timeout":
            text = "timeout ends the command and not its jobs"
            consequence = "the jobs go on, and the code is 124, which says nothing of them"
            yield Finding(call.place, WARNING, "timeout", text, consequence, advice="use -t SECONDS alone")


def _no_timeout(call: Call, interval: float | None) -> Finding:
    """`interval` is the one to the next start, in seconds; None if it is not known."""
    is_said = any(re.match("-t|--t", word.text) for word in call.options)
    text = f"{'with -t 0' if is_said else 'without -t'} the command ends as soon as the jobs are accepted"
    next_start = f", and the next start is {_said(interval)} later" if interval else ""
    consequence = f"nobody learns how they end{next_start}"
    edits = (Edit(call.script.end, call.script.end, " -t -1"),) if call.script.is_plain and not is_said else ()
    return Finding(call.place, WARNING, "no-t", text, consequence, edits, "give -t -1")


def _of_lock(call: Call, interval: float) -> Iterator[Finding]:
    """For what is started at least every hour. The other schedulers start nothing that still runs."""
    wrappers = (*call.entry.wrappers, *call.wrappers)
    is_locked = any(base_name(word.text) in _LOCKS for word in wrappers)
    if interval > _HOUR or is_locked or call.entry.scheduler not in (Scheduler.CRON, Scheduler.SCRIPT):
        return
    text = f"it is started every {_said(interval)}, also while the one before still runs"
    consequence = "a job that is late runs twice at a time"
    yield Finding(call.place, WARNING, "not-locked", text, consequence, advice="put flock -n FILE in front of it")


def _of_password_file(call: Call, options: JobOptions) -> Iterator[Finding]:
    """As the user of the entry finds it from its folder. Raises OSError for what passes."""
    login = options.login
    uncertain = [word.text for word in call.options if not word.is_certain]
    if not isinstance(login, ChallengeLogin) or any(login.secret_file in text for text in uncertain):
        return
    path = login.secret_file
    if not os.path.isabs(path):
        if call.folder is None:
            return
        text = f"-p {path!r} is looked for in {call.folder!r}"
        path = os.path.join(call.folder, path)
        if status_of(path) is None:
            consequence = f"there is no such file: {_ENDS_WITH_2}"
            yield Finding(call.place, ERROR, "password-file", text, consequence, advice="write the whole path")
            return
    if not _sees_what_the_user_sees(call):
        return
    try:
        if status_of(path) is not None and not is_file(path):  # some devices do something when they are opened
            raise ParameterError(f"the password file {path!r} is not a regular file")
        password_file.read(path)
    except HeadlessError as error:
        cause = error.__context__
        if isinstance(cause, OSError) and passes(cause):
            raise cause from None
        text, advice = _of_unusable(error, path, call, options)
        yield Finding(call.place, ERROR, "password-file", text, _ENDS_WITH_2, advice=advice)


def _sees_what_the_user_sees(call: Call) -> bool:
    """Whether this may look at a password file for the user of the call."""
    user = call.entry.user
    if user is None or os.name == "nt":
        return True
    try:
        users.find(user)
    except users.NotKnown:
        return False
    return os.getuid() == 0 or users.is_caller(user)


def _of_unusable(error: HeadlessError, path: str, call: Call, options: JobOptions) -> tuple[str, str]:
    """What is wrong with a password file, and what can be done that spoils no other line which needs it."""
    user, login = call.entry.user, options.login
    if isinstance(error, password_file.NotPrivate) and error.command:
        return error.problem, password_file.OTHERS_FIRST + users.typed_as(user, error.command)
    service = options.service
    host = f"[{service.host}]" if ":" in service.host else service.host
    address = f"{'tls://' if service.tls else ''}{host}:{service.port}"
    is_missing = isinstance(error, password_file.Missing)
    words = ("-s", address, "-u", login.user or "", "-p", path if is_missing else "NEW_FILE")
    command = users.typed_as(user, users.headless("password-file", *words))
    if is_missing:
        return f"the password file {path!r} does not exist", command
    text = error.problem if isinstance(error, password_file.NotPrivate) else str(error)
    return text, f"make another one, and name it here: {command}"


def _python_for(call: Call) -> str:
    """A Python that runs the script: the one of its own if it has one, else the one that runs this; "" if the user of
    the call cannot start it."""
    own = os.path.join(os.path.dirname(os.path.join(call.folder or "", call.script.text)), ".venv", "bin", "python")
    return next((each for each in (own, sys.executable) if is_program(each)), "")


def _said(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"
