"""The files in which schedulers look, and what kind of file one is."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from headless.admin import users
from headless.admin.entry import Entry, Language, Place, Scheduler, Text
from headless.admin.finding import ERROR, WARNING, Finding
from headless.admin.reading import Program
from headless.admin.task_scheduler import decoded
from headless.errors import CommandFailed, ParameterError
from headless.system import is_final

# Of Debian, and of Red Hat.
_SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron")
_CRON_D = "/etc/cron.d"
_PERIODIC = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly")
_UNITS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "~/.config/systemd/user")
_MAX_LINKS = 40  # that a kernel follows
_MAX_SIZE = 4 << 20  # bytes: far more than cron's ten thousand lines
_MAX_SIZE_OF_TASKS = 16 << 20  # bytes
NOT_LOOKED_AT = "not-looked-at"  # the rule for what cannot be judged now


class Kind(Enum):
    """What a file is."""

    CRONTAB = "crontab"
    UNIT = "unit"
    TASKS = "tasks"
    SCRIPT = "script"
    BATCH = "batch"


class NotReadable(Exception):
    """What cannot be checked, whoever looks."""


class NotRegular(NotReadable):
    """No file, but a folder, a FIFO, a device or a socket."""


@dataclass(frozen=True)
class File:
    """A file that was read. `user` is who runs what it says, None if that is not known or its lines name the users.
    `is_own` says that nobody but root and whoever runs this can have written it. `mode` is the one of the file.
    `origin` is the file that leads to this one, if that is another."""

    path: str
    content: str
    kind: Kind
    user: str | None = None
    names_users: bool = False
    encoding: str = "utf-8"
    is_own: bool = False
    mode: int = 0o600
    origin: str = ""

    def leading_to(self, other: File) -> File:
        """A script that this one starts. It is no more one's own than what starts it."""
        return replace(other, origin=self.origin or self.path, is_own=self.is_own and other.is_own)


def read(path: str, user: str | None) -> File:
    """A file that somebody names. Raises ParameterError, or CommandFailed for what may be otherwise a minute later."""
    try:
        return _file(path, user)
    except NotReadable as error:
        raise ParameterError(f"{path!r} cannot be read: {error}") from None
    except (OSError, ValueError) as error:
        kind = CommandFailed if passes(error) else ParameterError
        raise kind(f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except users.NotKnown:
        raise ParameterError(f"--as: there is no user {user!r} on this machine") from None


def found(findings: list[Finding]) -> Iterator[File]:
    """What is on this machine, as far as whoever runs this may read it. What else cannot be read is a finding."""
    for path in _schedulers_files(findings):
        try:
            yield _file(str(path), None)
        except (NotRegular, users.NotKnown):
            continue
        except NotReadable as error:
            findings.append(not_looked_at(Place(str(path), 0), str(error)))
        except OSError as error:
            if passes(error):
                findings.append(not_looked_at(Place(str(path), 0), reason_of(error)))


def passes(error: Exception) -> bool:
    """Whether a look at a file ended with something that says nothing of the file: a disk's fault, too many open files,
    a server of NFS that is not there."""
    return isinstance(error, OSError) and not is_final(error)


def reason_of(error: OSError) -> str:
    """Which file it is about, and what the operating system says."""
    return f"{error.filename!r}: {error.strerror}" if error.filename is not None else str(error.strerror or error)


def not_looked_at(place: Place, reason: str) -> Finding:
    """What is said in the place of a verdict."""
    text = f"this could not be looked at: {reason}"
    return Finding(place, WARNING, NOT_LOOKED_AT, text, "nobody knows", advice="check again later")


def status_of(path: str) -> os.stat_result | None:
    """None if there is nothing there that whoever looks can reach. Raises OSError for what passes."""
    try:
        return os.stat(path)
    except ValueError:  # a NUL
        return None
    except OSError as error:
        if passes(error):
            raise
        return None


def is_file(path: str) -> bool:
    """Raises OSError for what passes."""
    status = status_of(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_folder(path: str) -> bool:
    """Raises OSError for what passes."""
    status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def is_program(path: str) -> bool:
    """Whether whoever looks may run this file. Raises OSError for what passes."""
    return is_file(path) and os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _schedulers_files(findings: list[Finding]) -> Iterator[Path]:
    yield Path("/etc/crontab")
    for folder in (_CRON_D, *_SPOOLS, *_PERIODIC):
        yield from _in_folder(Path(folder), findings)
    for folder in _UNITS:
        for path in _in_folder(Path(folder).expanduser(), findings):
            if path.suffix in (".service", ".timer"):
                yield path


def _in_folder(folder: Path, findings: list[Finding]) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        if passes(error):
            findings.append(not_looked_at(Place(str(folder), 0), reason_of(error)))
        return []


def _file(path: str, user: str | None) -> File:
    """Raises OSError, ValueError, NotReadable, NotKnown."""
    descriptor = _open(path)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        data = file.read(_MAX_SIZE_OF_TASKS + 1) or b""
        name = os.path.realpath(path) if is_inherited(path) else path
        is_own = _is_own(name, descriptor)
    kind, mode = _kind(name, data), stat.S_IMODE(status.st_mode) & 0o777
    limit = _MAX_SIZE_OF_TASKS if kind is Kind.TASKS else _MAX_SIZE
    if len(data) > limit:
        raise NotReadable(f"it has more than {limit >> 20} MiB")
    if kind is Kind.TASKS:
        content, encoding = decoded(data)
        return File(path, content, kind, encoding=encoding, is_own=is_own, mode=mode)
    content = data.decode("utf-8", "surrogateescape")
    names_users = kind is Kind.UNIT or (kind is Kind.CRONTAB and _names_users(name))
    if names_users:
        return File(path, content, kind, names_users=True, is_own=is_own, mode=mode)
    if user is None and kind is Kind.CRONTAB and os.path.dirname(os.path.abspath(name)) in _SPOOLS:
        user = os.path.basename(name)
    if user is None and kind is not Kind.CRONTAB and status.st_uid == 0:  # a script of root's may be run by anybody
        return File(path, content, kind, is_own=is_own, mode=mode)
    owner = users.find(user) if user is not None else users.of_number(status.st_uid)
    return File(path, content, kind, owner.name if owner is not None else None, is_own=is_own, mode=mode)


def is_inherited(path: str) -> bool:
    """Whether this names no file, but a descriptor that this process was started with."""
    return os.name != "nt" and re.fullmatch(r"/dev/(stdin|fd/\d+)", path) is not None


def _open(path: str) -> int:
    """The descriptor of a regular file, or of one's own that path names. Nothing else is opened, which could wait for
    ever or do something. Raises OSError, ValueError, NotReadable."""
    if is_inherited(path):
        return os.dup(int(path.rpartition("/")[2].replace("stdin", "0")))
    _check_kind(os.stat(path))
    # In the place of the file something else may stand by now: O_NONBLOCK does not wait for the writer of a FIFO.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _check_kind(os.fstat(descriptor))
    except NotRegular:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(status: os.stat_result) -> None:
    """Raises NotRegular."""
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular("Is a directory" if stat.S_ISDIR(status.st_mode) else "it is not a regular file")


def _is_own(path: str, descriptor: int) -> bool:
    """Whether nobody but root and whoever runs this can have written the file, or put it there. On Windows that is not
    asked: somebody has named the file."""
    if os.name == "nt":
        return True
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    try:
        folders, links = _way(path)
        are_own = all(os.lstat(link).st_uid in (0, os.getuid()) for link in links)
        return are_own and _is_closed(descriptor) and all(map(_is_closed, folders))
    except OSError:
        return False


def _way(path: str) -> tuple[set[str], list[str]]:
    """The folders and the links that lead to what is there, step by step, as the kernel follows them. Raises
    OSError."""
    here, rest = "/", list(reversed(os.path.join(os.getcwd(), path).split("/")))
    folders, links = {"/"}, list[str]()
    while rest and len(links) <= _MAX_LINKS:
        name = rest.pop()
        each = os.path.dirname(here) if name == ".." else os.path.join(here, name) if name not in ("", ".") else here
        if os.path.islink(each):
            links.append(each)
            target = os.readlink(each)
            here = "/" if target.startswith("/") else here
            rest.extend(reversed(target.split("/")))
        else:
            here = each
            folders |= {here} if rest else set()
    return folders, links


def _is_closed(file: int | str) -> bool:
    """Whether this file or folder is root's or of whoever runs this, and nobody else may write there. Others may add
    to a sticky folder (/tmp), and not change what is in it. Raises OSError."""
    try:
        status = os.stat(file)
    except PermissionError:  # somebody else has opened what is below, and handed it over
        return True
    mode = status.st_mode
    if status.st_uid not in (0, os.getuid()):
        return False
    if not mode & (stat.S_IWGRP | stat.S_IWOTH) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return True
    return not mode & stat.S_IWOTH and _is_private_group(status.st_gid) and not _has_access_list(file)


def _is_private_group(gid: int) -> bool:
    """Whether this group was made for whoever runs this, as useradd does, and has no other member."""
    import grp

    user = users.of_number(os.getuid())
    if user is None or user.uid == 0 or user.gid != gid:
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.name and set(group.gr_mem) <= {user.name}


def _has_access_list(file: int | str) -> bool:
    """Whether one may give a right to others that the mode shows as the one of the group."""
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(file, "system.posix_acl_access"))
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.ENOTSUP)


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


def path_of(program: Program) -> str | None:
    """Where the program that an entry starts is, None if that cannot be known."""
    word = program.word
    if not word.is_certain or (not os.path.isabs(word.text) and program.folder is None):
        return None
    return os.path.normpath(os.path.join(program.folder or "", word.text))


def script_at(path: str) -> File | None:
    """The script there, None if there is none that whoever looks may read. Raises OSError for what passes, and
    NotReadable for one that is too large."""
    try:
        file = None if is_inherited(path) else _file(path, None)
    except (ValueError, NotRegular, users.NotKnown):
        return None
    except OSError as error:
        if passes(error):
            raise
        return None
    return file if file is not None and file.kind in (Kind.SCRIPT, Kind.BATCH) else None


def not_executable(file: File, program: Program) -> Iterator[Finding]:
    """A script that is started by its name needs the right to be."""
    if program.is_direct and os.name != "nt" and not is_program(file.path):
        text, consequence = f"{file.path!r} is not executable", "the shell says so (126), and no job runs"
        starter = program.entry
        place = Place(starter.place.path, 0) if starter.scheduler is Scheduler.SCRIPT else starter.place
        shell = _shell_of(file.content[:200].encode("utf-8", "replace")) or "/bin/sh"
        advice = f"put the shell in front of its name: {shlex.join([shell, file.path])}"
        yield Finding(place, ERROR, "not-executable", text, consequence, advice=advice)


def script(file: File, program: Program | None) -> Entry:
    """The script as an entry, with what is known of who starts it."""
    text = Text.of(file.content, 0, len(file.content))
    language = Language.BATCH if file.kind is Kind.BATCH else Language.SHELL
    shell = _shell_of(file.content[:200].encode("utf-8", "replace")) or "/bin/sh"
    place = Place(file.path, 1)
    if program is None:
        return Entry(place, Scheduler.SCRIPT, language, text, user=file.user, shell=shell)
    starter = program.entry
    return Entry(
        place, Scheduler.SCRIPT, language, text, "", starter.user, starter.folder, starter.environment, shell,
        starter.schedule, (*starter.wrappers, *program.wrappers),
    )  # fmt: skip
