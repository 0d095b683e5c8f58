"""PLANTA_RECEIPT: a line of JSON for each call, appended to a file.

Here is what the line says, and how it gets into the file. Nothing that fails here changes a return code. headless/
README.md describes the fields.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import sys
import threading
import time
from contextlib import suppress

from headless.client.osuser import effective_user
from headless.options import PROGRAM
from headless.outcome import ParameterError, Submission
from headless.protocol.vocabulary import PY_CODE
from headless.protocol.wire import Accepted, Attached, Ended, JobFinished
from headless.terminal import print_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.session import Session
    from headless.options import Options
    from headless.protocol.vocabulary import Job
    from headless.protocol.wire import Event

VARIABLE = "PLANTA_RECEIPT"
_SECONDS = 5.0  # for a disk that does not answer, and others that have locked the file
_LOCKED_BYTE = 2**31 - 2  # of a file of Windows


class Receipt:
    """The line of one call, for this file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fields: dict[str, object] = {
            "when": _now(),
            "host": socket.gethostname(),
            "user": None,
            "server": None,
            "session": None,
            "key": None,
            "jobs": [],
            "accepted": None,
            "ended": None,
            "returned": None,
            "code": None,
            "signal": None,
            "attached": 0,
            "proof": None,
            "submission": "not submitted",
            "message": "",
        }
        self._jobs: list[dict[str, object]] = []
        self._attached = 0

    def begin(self, options: Options, key: str) -> None:
        """What the caller wants."""
        service = options.service
        host = f"[{service.host}]" if ":" in service.host else service.host
        self._jobs = [_described(job) for job in options.jobs]
        self._fields.update(
            user=options.login.user or _user_of_process(),
            server=f"{'tls://' if service.tls else ''}{host}:{service.port}",
            key=key,
            jobs=self._jobs,
        )

    def observe(self, event: Event) -> None:
        """What the server says."""
        if isinstance(event, Accepted):
            self._fields["accepted"] = _now()
        elif isinstance(event, JobFinished):
            self._jobs[event.job - 1]["status"] = event.status
        elif isinstance(event, Ended):
            self._fields["ended"] = _now()
        elif isinstance(event, Attached):
            self._attached += 1

    def end(self, code: int, message: str, session: Session | None = None) -> None:
        """How the call has ended: `code` as in outcome.explain. Writes the line."""
        if session is not None:
            submission = session.verdict.submission
            is_known = submission is not Submission.NOT_SUBMITTED  # else no server has a session of that name
            self._fields.update(session=(session.name or None) if is_known else None, submission=submission.value)
        self._fields.update(
            returned=_now(),
            attached=self._attached,
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            proof=None if code else ("ended" if self._fields["ended"] else "accepted"),
            message=message,
        )
        self._write(json.dumps(self._fields).encode("ascii") + b"\n")

    def _write(self, line: bytes) -> None:
        """In a thread, which is left alone if the disk does not answer."""
        problems = [f"for {_SECONDS:.0f} s another process has locked it, or its disk does not answer"]

        def write() -> None:
            try:
                _append(self._path, line)
                problems.clear()
            except (OSError, ValueError) as error:
                problems[0] = getattr(error, "strerror", None) or str(error)

        thread = threading.Thread(target=write, daemon=True)
        try:
            thread.start()
            thread.join(_SECONDS)
        except RuntimeError as error:  # the machine has no room for another thread
            problems = [str(error)]
        if problems:
            print_warning(PROGRAM, f"{VARIABLE}: {self._path!r} cannot be written: {problems[0]}")


def _now() -> str:
    """ISO 8601, in UTC, to the millisecond."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def _user_of_process() -> str | None:
    try:
        return effective_user()
    except ParameterError:  # which ends the call, too
        return None


def _described(job: Job) -> dict[str, object]:
    """Code may hold what is nobody's business."""
    if job.kind == PY_CODE:
        digest = hashlib.sha256(job.text.encode("utf-8", "surrogatepass"))  # what is no text is refused elsewhere
        return {"kind": job.kind, "sha256": digest.hexdigest(), "status": None}
    return {"kind": job.kind, "name": job.text, "status": None}


def _append(path: str, line: bytes) -> None:
    """Appends the whole line, or nothing. Raises OSError, ValueError."""
    # O_NONBLOCK: a FIFO without a reader must not hang.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "it is not a regular file")
        _lock(descriptor)
        size = os.fstat(descriptor).st_size
        if not _ends_a_line(descriptor, size):
            line = b"\n" + line
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(None, "the disk is full")
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)  # nobody who has the lock has written since
            raise
    finally:
        os.close(descriptor)


def _ends_a_line(descriptor: int, size: int) -> bool:
    """Whether what is in the file by now does; somebody may have edited it."""
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


def _lock(descriptor: int) -> None:
    """Other calls wait until this one has closed the file. Only Windows needs that to keep lines whole; elsewhere the
    system does, and the lock is for the end of a disk."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)  # beyond the lines: what is locked there nobody can read
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
