"""The files in which schedulers look, and what kind of file one is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from headless.admin import users
from headless.admin.entry import Entry, Language, Place, Scheduler, Text
from headless.admin.finding import ERROR, Finding
from headless.admin.reading import Program
from headless.admin.task_scheduler import decoded
from headless.outcome import ParameterError

# Of Debian, and of Red Hat.
_SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron")
_CRON_D = "/etc/cron.d"
_PERIODIC = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly")
_UNITS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "~/.config/systemd/user")
_MAX_SIZE = 16 * 1024 * 1024  # bytes


class Kind(Enum):
    """What a file is."""

    CRONTAB = "crontab"
    UNIT = "unit"
    TASKS = "tasks"
    SCRIPT = "script"
    BATCH = "batch"


@dataclass(frozen=True)
class File:
    """A file that was read. `user` is whose crontab it is, None if that is not known or its lines name the users."""

    path: str
    content: str
    kind: Kind
    user: str | None = None
    names_users: bool = False
    encoding: str = "utf-8"


def read(path: str, user: str | None) -> File:
    """A file that somebody names. Raises ParameterError."""
    try:
        return _file(path, user)
    except OSError as error:
        raise ParameterError(f"{path!r} cannot be read: {error.strerror or error}") from None
    except users.NotKnown:
        raise ParameterError(f"--as: there is no user {user!r} on this machine") from None


def found() -> Iterator[File]:
    """What is on this machine, as far as whoever runs this may read it."""
    for path in _schedulers_files():
        try:
            file = _file(str(path), None)
        except (OSError, users.NotKnown):
            continue
        yield file


def _schedulers_files() -> Iterator[Path]:
    yield Path("/etc/crontab")
    for folder in (_CRON_D, *_SPOOLS, *_PERIODIC):
        yield from _files_in(Path(folder))
    for folder in _UNITS:
        for path in _files_in(Path(folder).expanduser()):
            if path.suffix in (".service", ".timer"):
                yield path


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def _file(path: str, user: str | None) -> File:
    """Raises OSError, NotKnown."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        data = file.read(_MAX_SIZE)
    kind = _kind(path, data)
    if kind is Kind.TASKS:
        content, encoding = decoded(data)
        return File(path, content, kind, encoding=encoding)
    content = data.decode("utf-8", "surrogateescape")
    if kind is not Kind.CRONTAB or _names_users(path):
        return File(path, content, kind, names_users=True)
    if user is None and os.path.dirname(os.path.abspath(path)) in _SPOOLS:
        user = os.path.basename(path)
    owner = users.find(user) if user is not None else users.of_number(status.st_uid)
    return File(path, content, kind, owner.name if owner is not None else None)


def _kind(path: str, data: bytes) -> Kind:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in (".service", ".timer"):
        return Kind.UNIT
    if suffix in (".bat", ".cmd"):
        return Kind.BATCH
    if suffix == ".xml" or b"<Task" in data.replace(b"\0", b""):
        return Kind.TASKS
    if suffix in (".sh", ".bash") or _shell_of(data) or os.path.dirname(os.path.abspath(path)) in _PERIODIC:
        return Kind.SCRIPT
    return Kind.CRONTAB


def _names_users(path: str) -> bool:
    """Whether each line of this crontab names the user that it is for."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.basename(folder) == "cron.d" or (name == "crontab" and os.path.basename(folder) == "etc")


def _shell_of(data: bytes) -> str:
    """The shell that the first line names, "" if it names none."""
    match = re.match(rb"#!\s*(\S+)(?:[ \t]+(\S+))?", data)
    if match is None:
        return ""
    names = [(part or b"").decode("ascii", "replace") for part in match.groups()]
    program = names[1] if names[0].endswith("/env") else names[0]
    return program if re.fullmatch(r"(.*/)?(ba|da|k|z)?sh", program) else ""


def script_of(program: Program) -> File | None:
    """The script that an entry starts, if there is one here."""
    word = program.word
    if not word.is_certain or (not os.path.isabs(word.text) and program.folder is None):
        return None
    path = os.path.normpath(os.path.join(program.folder or "", word.text))
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MAX_SIZE:
            return None
        file = _file(path, None)
    except (OSError, ValueError, users.NotKnown):
        return None
    return file if file.kind in (Kind.SCRIPT, Kind.BATCH) else None


def not_executable(file: File, program: Program) -> Iterator[Finding]:
    """A script that is started by its name needs the right to be."""
    if program.is_direct and os.name != "nt" and not os.access(file.path, os.X_OK):
        text, consequence = f"{file.path!r} is not executable", "the shell says so (126), and no job runs"
        starter = program.entry
        place = Place(starter.place.path, 0) if starter.scheduler is Scheduler.SCRIPT else starter.place
        yield Finding(place, ERROR, "not-executable", text, consequence, advice=f"chmod +x {file.path}")


def script(file: File, program: Program | None) -> Entry:
    """The script as an entry, with what is known of who starts it."""
    text = Text.of(file.content, 0, len(file.content))
    language = Language.BATCH if file.kind is Kind.BATCH else Language.SHELL
    shell = _shell_of(file.content[:200].encode("utf-8", "replace")) or "/bin/sh"
    place = Place(file.path, 1)
    if program is None:
        return Entry(place, Scheduler.SCRIPT, language, text, shell=shell)
    starter = program.entry
    return Entry(
        place, Scheduler.SCRIPT, language, text, "", starter.user, starter.folder, starter.environment, shell,
        starter.schedule, (*starter.wrappers, *program.wrappers),
    )  # fmt: skip
