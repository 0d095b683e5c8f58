"""Opens the file or the folder that PLANTA_RECEIPT names, and reads its lines, also those that are cut off."""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

from headless.system import open_regular, user_by_name

AHEAD = 300.0  # seconds that two clocks may differ, as for Kerberos (RFC 4120, section 8.2)
_MAX_LINE = 16 << 20  # bytes; the line of the longest command line that Linux allows has less
_MAX_UNPACKED = 1 << 30  # bytes of a file that is compressed
BEGINNING = b'{"when": "'  # of a receipt; no text in one has this, since its quotation marks are escaped
_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1
# The file of a user in a folder, and what logrotate(8) makes of it: .1, .2.gz, and -20261201 with dateext.
_OF_USER = re.compile(r"(.+)\.jsonl(?:[.-][0-9]+)*(?:\.gz)?", re.DOTALL)


def opened(path: str, os_user: str = "") -> IO[bytes]:
    """Opens the file, with a user of the operating system that of this user in a folder. Raises OSError, ValueError."""
    if not os_user:
        return open(path, "rb", opener=open_regular)
    file: IO[bytes] = open(path, "rb", opener=_open_no_link)  # noqa: SIM115 (it is returned)
    if not _counts(os.fstat(file.fileno()), os_user):  # it has been replaced since the folder was listed
        file.close()
        raise OSError(None, "it belongs to another user")
    return file


def files_of(path: str) -> list[tuple[str, str]]:
    """Returns the users and the paths of the files in a folder; of a file, "" and its path, with those of what
    logrotate has made of it. Raises OSError."""
    return files_in(path) if os.path.isdir(path) else [("", each) for each in _with_rotated(path)]


def files_in(folder: str) -> list[tuple[str, str]]:
    """Returns the users and the paths of their files in a folder. Anybody may write to the folder: so a file counts if
    its user owns it, or root, or who reads it here, and a link never does. Raises OSError."""
    files: list[tuple[str, str]] = []
    for name in sorted(os.listdir(folder)):
        match = _OF_USER.fullmatch(name)
        path = os.path.join(folder, name)
        status = os.lstat(path)
        if match is not None and stat.S_ISREG(status.st_mode) and _counts(status, match[1]):
            files.append((match[1], path))
    return files


def _open_no_link(path: str, flags: int) -> int:
    return open_regular(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _counts(status: os.stat_result, user: str) -> bool:
    """Returns whether what the file says of this user can be believed. Raises OSError if the name service does not
    answer."""
    if not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid()) or str(status.st_uid) == user:
        return True
    found = user_by_name(user)
    return found is not None and found.pw_uid == status.st_uid


def _with_rotated(path: str) -> list[str]:
    """Returns the paths of a file and of what logrotate(8) has made of it: .1, .2.gz, and -20261201 with dateext. What
    others may have added to the folder does not count, nor does a link. Raises OSError."""
    folder, name = os.path.split(path)
    pattern = re.compile(re.escape(name) + r"(?:[.-][0-9]+)?(?:\.gz)?")
    is_there = os.path.exists(path)
    owners = (
        {0, os.stat(path).st_uid} if is_there else {0, os.stat(folder or ".").st_uid, getattr(os, "geteuid", int)()}
    )
    found = [path] if is_there else []
    for each in (os.path.join(folder, each) for each in os.listdir(folder or ".") if pattern.fullmatch(each)):
        status = os.lstat(each)
        if each != path and stat.S_ISREG(status.st_mode) and status.st_uid in owners:
            found.append(each)
    return found or [path]


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the lines, also of a compressed file. A receipt is a line of its own even if the one before it is cut off
    without an end. Raises OSError, ValueError."""
    is_compressed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    for line in _unpacked(file) if is_compressed else iter(lambda: file.readline(_MAX_LINE), b""):
        start = 0
        while (end := line.find(BEGINNING, start + 1)) > 0:
            yield line[start:end]
            start = end
        yield line[start:]


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Raises OSError, ValueError."""
    size = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while line := unpacked.readline(_MAX_LINE):
                size += len(line)
                if size > _MAX_UNPACKED:
                    raise ValueError(f"it is compressed, and has more than {_MAX_UNPACKED >> 30} GiB")
                yield line
    except (EOFError, zlib.error) as error:
        raise ValueError(f"it is compressed, and not whole: {error}") from None


def parsed(line: bytes) -> tuple[Any, bool]:
    """Returns a receipt, and whether it is whole; of a line that is cut off, what precedes the session. Raises
    ValueError."""
    try:
        return json.loads(line), True
    except ValueError:
        return json.loads(line.partition(b', "session": ')[0] + b"}"), False


def seconds(moment: str) -> float:
    """Returns seconds since the epoch, of ISO 8601 in UTC as the receipt has it. Raises ValueError."""
    if not moment.endswith("Z"):
        raise ValueError
    return datetime.fromisoformat(f"{moment[:-1]}+00:00").timestamp()
