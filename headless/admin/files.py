"""Finds the files of schedulers on this machine, opens them safely, and decides what kind of file each one is."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path

from headless.admin import users
from headless.errors import CommandFailed, HeadlessError, ParameterError
from headless.system import is_final, open_regular, user_by_number

_SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron")  # of Debian, and of Red Hat
PERIODIC = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly")
_UNITS = (
    *(f"{folder}/systemd/system" for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib")),
    "~/.config/systemd/user",
)
_DROP_INS = re.compile(r"(?:^|[./])(?:service|timer)\.d$")  # folders
_STDIN = "/dev/stdin"
_MAX_LINKS = 40  # that a kernel follows
_MAX_MEBIBYTES = 4  # far more than cron's ten thousand lines
_MAX_MEBIBYTES_OF_TASKS = 16


class Kind(Enum):
    """What a file is."""

    CRONTAB = "crontab"
    UNIT = "unit"
    TASKS = "tasks"
    SCRIPT = "script"
    BATCH = "batch"  # of cmd.exe


class Unreadable(HeadlessError):
    """A file that cannot be checked by any user."""


class NotRegular(Unreadable):
    """A folder, a FIFO, a device or a socket."""


class UnknownUser(Unreadable):
    """A file of a user that this machine does not have."""


@dataclass(frozen=True, eq=False)
class File:
    """Holds a file that was read."""

    path: str
    content: str
    kind: Kind = Kind.SCRIPT
    user: str | None = None  # who runs what it says; None: not known, or its lines name the users
    names_users: bool = False
    encoding: str = "utf-8"
    is_own: bool = False  # only root and the caller can have written it
    mode: int = 0o600
    starter: File | None = None  # the file that leads to this script
    has_guessed_users: bool = False  # its lines seem to name the users

    @cached_property
    def _newlines(self) -> list[int]:
        return [match.start() for match in re.finditer("\n", self.content)]

    def line(self, offset: int | None) -> int:
        """Returns the number of the line, from 1, in which this character is. 0 is the file as a whole."""
        return 0 if offset is None else bisect_left(self._newlines, offset) + 1

    def position(self, offset: int | None) -> str:
        """Returns path:line as people read it, or the path alone."""
        return self.path if offset is None else f"{self.path}:{self.line(offset)}"

    def started_by(self, other: File) -> File:
        """Returns this script with the file that leads to it, which has to be trusted, too."""
        return replace(self, starter=other.starter or other, is_own=self.is_own and other.is_own)


def read(path: str, user: str | None, user_column: str | None = "") -> File:
    """Reads a file that the caller names, - for standard input. `user_column` says whether the lines of a crontab name
    a user: yes, no, or None for a guess; "" is what cron makes of its path. Raises ParameterError, or CommandFailed for
    a fault that may pass."""
    try:
        return _read(_STDIN if path == "-" else path, user, user_column)
    except Unreadable as error:
        raise ParameterError(f"{path!r} cannot be read: {error}") from None
    except (OSError, ValueError) as error:
        kind = CommandFailed if is_temporary(error) else ParameterError
        raise kind(f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def find(problems: list[tuple[str, str]]) -> Iterator[File]:
    """Reads what is on this machine, as far as the caller may. Appends the path and the reason of what cannot be read
    for another cause than its rights."""
    return _readable(_paths(problems), problems)


def find_drop_ins(paths: Sequence[str], problems: list[tuple[str, str]]) -> Iterator[File]:
    """Reads the drop-ins of the units among these files, as find does. systemd.unit(5) has their folders."""
    units = [path for path in paths if path.endswith((".service", ".timer"))]
    beside = {os.path.dirname(path) or "." for path in units}
    folders = {*beside, *(_UNITS if beside & {*_UNITS} else ())}
    names = {os.path.basename(path) for path in units}
    found = (path for folder in sorted(folders) for path in _drop_ins(Path(folder).expanduser(), names))
    return _readable((path for path in found if path not in paths), problems)


def _drop_ins(folder: Path, units: Collection[str] | None = None) -> Iterator[str]:
    """Yields those in a folder of units; if units are named, those for them alone."""
    for path in sorted(folder.glob("*.d/*.conf")):
        if _DROP_INS.search(path.parent.name) and (
            units is None or any(applies_to(unit_name(str(path)), unit) for unit in units)
        ):
            yield str(path)


def unit_name(path: str) -> str:
    """Returns the name of the unit that a file belongs to; of several units, what they have in common."""
    return os.path.basename(os.path.dirname(path))[:-2] if path.endswith(".conf") else os.path.basename(path)


def applies_to(drop_in: str, unit: str) -> bool:
    """Returns whether systemd reads drop-ins of this name for the unit: of service.d, a-.service.d, a-b.service.d."""
    front, _, kind = drop_in.rpartition(".")
    is_prefix = unit.endswith(f".{kind}") and (not front or (front.endswith("-") and unit.startswith(front)))
    return drop_in == unit or is_prefix


def _readable(paths: Iterable[str], problems: list[tuple[str, str]]) -> Iterator[File]:
    for path in paths:
        try:
            yield _read(path, None)
        except (NotRegular, UnknownUser):
            continue
        except Unreadable as error:
            problems.append((path, str(error)))
        except OSError as error:
            if is_temporary(error):
                problems.append((path, reason_of(error)))


def _paths(problems: list[tuple[str, str]]) -> Iterator[str]:
    yield "/etc/crontab"
    for folder in ("/etc/cron.d", *_SPOOLS, *PERIODIC, *_UNITS):
        path = Path(folder).expanduser()
        try:
            found = sorted(path.iterdir())
        except OSError as error:
            if is_temporary(error):
                problems.append((str(path), reason_of(error)))
            continue
        yield from (str(each) for each in found if folder not in _UNITS or each.suffix in (".service", ".timer"))
        yield from _drop_ins(path) if folder in _UNITS else ()


def read_script(path: str) -> File | None:
    """Returns None if there is no script that may be read now. Raises OSError for a temporary fault, and Unreadable
    for a script that is too large."""
    try:
        file = None if is_inherited(path) else _read(path, None)
    except (ValueError, NotRegular, UnknownUser):
        return None
    except OSError as error:
        if is_temporary(error):
            raise
        return None
    return file if file is not None and file.kind in (Kind.SCRIPT, Kind.BATCH) else None


def _read(path: str, user: str | None, user_column: str | None = "") -> File:
    """Raises OSError, ValueError, Unreadable, UnknownUser."""
    descriptor = _open(path)
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        data = opened.read((_MAX_MEBIBYTES_OF_TASKS << 20) + 1) or b""
        name = os.path.realpath(path) if is_inherited(path) else path
        is_own = _is_own(name, descriptor)
    kind = _kind(name, data)
    limit = _MAX_MEBIBYTES_OF_TASKS if kind is Kind.TASKS else _MAX_MEBIBYTES
    if len(data) > limit << 20:
        raise Unreadable(f"it has more than {limit} MiB")
    content, encoding = _decoded(data) if kind is Kind.TASKS else (data.decode("utf-8", "surrogateescape"), "utf-8")
    is_system = _has_user_column(name) if user_column in (None, "") else user_column == "yes"
    is_guessed = (
        kind is Kind.CRONTAB and user_column is None and user is None and not is_system and _name_users(content)
    )
    names_users = kind is Kind.UNIT or (kind is Kind.CRONTAB and (is_system or is_guessed))
    runner = None if names_users or kind is Kind.TASKS else _user_of(name, kind, user, status)
    return File(path, content, kind, runner, names_users, encoding, is_own, stat.S_IMODE(status.st_mode) & 0o777,
                has_guessed_users=is_guessed)  # fmt: skip


def _user_of(path: str, kind: Kind, user: str | None, status: os.stat_result) -> str | None:
    """Returns who runs the file: `user` if it is given, else the name of a crontab in a spool, else its owner. Raises
    UnknownUser, OSError."""
    if user is None and kind is Kind.CRONTAB and os.path.dirname(os.path.abspath(path)) in _SPOOLS:
        user = os.path.basename(path)
    if user is not None:
        if users.find(user) is None:
            raise UnknownUser(f"there is no user {user!r} on this machine")
        return user
    if kind is not Kind.CRONTAB and status.st_uid == 0:  # every user may run a script of root's
        return None
    owner = user_by_number(status.st_uid) if os.name != "nt" else None
    return owner.pw_name if owner is not None else None


def _decoded(data: bytes) -> tuple[str, str]:
    """Returns the text of an export of tasks, and its encoding, whatever its XML declaration says."""
    encoding = "utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    elif b"\0" in data[:4]:
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    return data.decode(encoding, "replace"), encoding


# -- what a file is --


def _kind(path: str, data: bytes) -> Kind:
    suffix = os.path.splitext(path)[1].lower()
    is_drop_in = suffix == ".conf" and _DROP_INS.search(os.path.dirname(os.path.abspath(path)))
    if suffix in (".service", ".timer") or is_drop_in:
        return Kind.UNIT
    if suffix in (".bat", ".cmd"):
        return Kind.BATCH
    if suffix == ".xml" or b"<Task" in data.replace(b"\0", b""):
        return Kind.TASKS
    first_line = data[:200].decode("ascii", "replace")
    if suffix in (".sh", ".bash") or shell_of(first_line) or os.path.dirname(os.path.abspath(path)) in PERIODIC:
        return Kind.SCRIPT
    return Kind.CRONTAB


def _has_user_column(path: str) -> bool:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.basename(folder) == "cron.d" or (name == "crontab" and os.path.basename(folder) == "etc")


def _name_users(content: str) -> bool:
    """Guesses whether all lines of a crontab, two at least, name a user: a copy of a file of /etc/cron.d."""
    words = [match[1] for match in re.finditer(r"^[ \t]*(?:@\w+|(?:[\d*]\S*[ \t]+){2}\S+[ \t]+\S+[ \t]+\S+)[ \t]+(\S+)",
                                               content, re.MULTILINE)]  # fmt: skip
    is_named = [word == "root" or users.find(word) is not None for word in set(words) if re.fullmatch(r"[\w.-]+", word)]
    return len(words) > 1 and len(is_named) == len(set(words)) and all(is_named)


def shell_of(content: str) -> str:
    """Returns the shell that the first line names, "" if it names none."""
    match = re.match(r"#!\s*(\S+)(?:[ \t]+(\S+))?", content)
    if match is None:
        return ""
    program = (match[2] or "") if match[1].endswith("/env") else match[1]
    return program if re.fullmatch(r"(.*/)?(ba|da|k|z)?sh", program) else ""


def is_temporary(error: Exception) -> bool:
    """Returns whether an error says nothing about the file: a disk's fault, too many open files, an NFS server that is
    down."""
    return isinstance(error, OSError) and not is_final(error)


def reason_of(error: OSError) -> str:
    return f"{error.filename!r}: {error.strerror}" if error.filename is not None else str(error.strerror or error)


def status_of(path: str) -> os.stat_result | None:
    """Returns None if there is nothing that may be reached now. Raises OSError for a temporary fault."""
    try:
        return os.stat(path)
    except ValueError:  # a NUL
        return None
    except OSError as error:
        if is_temporary(error):
            raise
        return None


def is_file(path: str) -> bool:
    """Raises OSError for a temporary fault."""
    status = status_of(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_folder(path: str) -> bool:
    """Raises OSError for a temporary fault."""
    status = status_of(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def is_program(path: str) -> bool:
    """Returns whether this file may be run with the rights of now. Raises OSError for a temporary fault."""
    return is_file(path) and os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def is_writable(path: str) -> bool:
    """Returns whether this file or folder may be written to with the rights of now."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


# -- how it is opened, and who can have written it --


def is_inherited(path: str) -> bool:
    """Returns whether this names a descriptor that this process was started with."""
    return path == _STDIN or (os.name != "nt" and re.fullmatch(r"/dev/fd/\d+", path) is not None)


def _open(path: str) -> int:
    """Returns the descriptor of a regular file, or a copy of the inherited one that the path names. Nothing else is
    opened: that could wait for ever, or do something. Raises OSError, ValueError, NotRegular."""
    if path == _STDIN:
        if sys.stdin is None:  # it was closed, and its number may be that of another file now
            raise NotRegular("standard input is closed")
        return os.dup(sys.stdin.fileno())
    if is_inherited(path):
        return os.dup(int(path.rpartition("/")[2]))
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise NotRegular("Is a directory" if stat.S_ISDIR(mode) else "it is not a regular file")
    return open_regular(path)


def _is_own(path: str, descriptor: int) -> bool:
    """Returns whether only root and the caller can have written the file, or put it there. Windows is not asked: the
    caller has named the file."""
    if os.name == "nt":
        return True
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    try:
        folders, links = _way_to(path)
        are_own = all(os.lstat(link).st_uid in (0, os.getuid()) for link in links)
        return are_own and _is_closed(descriptor) and all(map(_is_closed, folders))
    except OSError:
        return False


def _way_to(path: str) -> tuple[set[str], list[str]]:
    """Returns the folders and the links that lead to a path, step by step, as the kernel follows them. Raises
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
    """Returns whether this file or folder is root's or the caller's, and no other user may write to it. Others may add
    to a sticky folder (/tmp), but not change what is in it. Raises OSError."""
    try:
        status = os.stat(file)
    except PermissionError:  # another process has opened what is below, and passed it on
        return True
    mode = status.st_mode
    if status.st_uid not in (0, os.getuid()):
        return False
    if not mode & (stat.S_IWGRP | stat.S_IWOTH) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return True
    return not mode & stat.S_IWOTH and _is_private_group(status.st_gid) and not _has_access_list(file)


def _is_private_group(gid: int) -> bool:
    """Returns whether this group was made for the caller, as useradd does, and has no other member."""
    import grp

    user = user_by_number(os.getuid())
    if user is None or user.pw_uid == 0 or user.pw_gid != gid:
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _has_access_list(file: int | str) -> bool:
    """Returns whether an access control list may give others a right that the mode shows as the group's."""
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(file, "system.posix_acl_access"))
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.ENOTSUP)
