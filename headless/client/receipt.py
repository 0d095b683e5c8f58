"""PLANTA_RECEIPT: two lines of JSON for each call, appended to a file when it begins and when it ends. Nothing that
fails here changes a return code."""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from contextlib import suppress

from headless.client.preparation import effective_user
from headless.client.waiting import DeadlinePassed, Waiter, exit_status_of
from headless.dialects.base import Accepted, Attached, Ended, JobFinished, JobStarted
from headless.dialects.vocabulary import ENDED_WITHOUT_RESULT, PY_CODE
from headless.errors import HeadlessError, Interrupted, Submission
from headless.options import PROGRAM, JobOptions
from headless.system import open_regular, strerror_of, try_lock
from headless.terminal import print_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.session import Session
    from headless.dialects.base import Event
    from headless.dialects.vocabulary import Job
    from headless.options import WaitOptions

VARIABLE = "PLANTA_RECEIPT"
# For a disk that does not answer, and others that have locked the file: before the call, after it, and after a signal.
_SECONDS_BEFORE, _SECONDS, _SECONDS_AFTER_SIGNAL = 1.0, 5.0, 0.3
_SECONDS_OF_NAME = 1.0  # for a name service that does not answer
_SECONDS_BETWEEN_TRIES = 0.02
_TITLE_DIGITS = 8  # of the hash of code
# Of a job, what is known before it runs. The rest is what the server says.
_OF_JOB = ("kind", "name", "sha256", "title")


class Receipt:
    """Collects the lines of one call, for this file, or for that of the user in this folder."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written_to = path  # as a warning shows it
        now = time.time()
        # The order counts: of a line that is cut off, readers use what precedes the session.
        self._fields: dict[str, object] = {
            "when": utc(now),
            "local": _local(now),
            "event": "end",
            "key": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "os_user": None,
            "user": None,
            "server": None,
            "timeout": None,
            "session": None,
            "jobs": [],
            "accepted": None,
            "waited": None,
            "ended": None,
            "returned": None,
            "code": None,
            "signal": None,
            "exit_status": None,
            "attached": 0,
            "proof": None,
            "submission": "not submitted",
            "message": "",
        }
        self._jobs: list[dict[str, object]] = []
        self._accepted_at: float | None = None  # by the clock that is never set
        self._attached = 0
        self._proof = "accepted"

    def begin(self, options: JobOptions | WaitOptions, key: str) -> None:
        """Notes what the caller wants. `key` names the session."""
        self._jobs = [described(job) for job in options.jobs] if isinstance(options, JobOptions) else []
        self._fields.update(
            key=key,
            user=options.login.user,
            server=str(options.service),
            timeout=options.timeout,
            jobs=self._jobs,
        )

    def write_start(self, waiter: Waiter) -> None:
        """Writes the first line. Where that takes too long or fails, the call goes on without it: the second line says
        all of it, and a warning why, if that fails, too. Raises Interrupted."""
        try:
            with waiter.at_most(_SECONDS_BEFORE):
                waiter.run_in_thread(self._write_start, time.monotonic() + _SECONDS_BEFORE)
        except Interrupted:
            raise
        except Exception:
            pass

    def _write_start(self, end: float) -> None:
        """Runs in a thread, which is left alone if the disk or the name service does not answer: no later than that
        does it give back the file."""
        self._note_user(_user_of_process())
        names = ("when", "local", "event", "key", "host", "pid", "os_user", "user", "server", "timeout")
        fields = {name: self._fields[name] for name in names}
        jobs = [{name: job[name] for name in _OF_JOB if name in job} for job in self._jobs]
        line = _as_json({**fields, "event": "start", "jobs": jobs})
        _write(self._open_locked(end), line.encode("ascii") + b"\n")

    def observe(self, event: Event) -> None:
        """Notes what the server has said."""
        now = utc(time.time())
        if isinstance(event, Accepted):
            self._fields["accepted"] = now
            self._accepted_at = time.monotonic()
        elif isinstance(event, JobStarted):
            if self._accepted_at is not None and all(job["started"] is None for job in self._jobs):
                self._fields["waited"] = round(time.monotonic() - self._accepted_at, 3)
            job = self._jobs[event.job - 1]
            job["started"] = job["started"] or now  # it is said again after an attachment
        elif isinstance(event, JobFinished):
            self._jobs[event.job - 1].update(status=event.status, ended=now)
        elif isinstance(event, Ended):
            self._fields["ended"] = now
            self._proof = "ended" if event.has_result else ENDED_WITHOUT_RESULT
        elif isinstance(event, Attached):
            self._attached += 1

    def end_without_call(self, code: int, message: str) -> int:
        """Does the same as `end` where there was no call."""
        try:
            with Waiter() as waiter:
                return self.end(code, message, waiter)
        except OSError as error:  # the machine has no descriptors left
            self._warn(str(error))
            return code

    def end(self, code: int, message: str, waiter: Waiter, session: Session | None = None) -> int:
        """Writes the line of a call that has ended with this code, as errors.explain gives it. Returns the code that
        the process must end with: the same, unless a signal comes before the point of no return. Then that is the
        signal's, and no line is written."""
        if session is not None:
            submission = session.verdict.submission
            is_known = submission is not Submission.NOT_SUBMITTED  # else no server has a session of that name
            self._fields.update(session=(session.id or None) if is_known else None, submission=submission.value)
        self._fields.update(
            returned=utc(time.time()),
            attached=self._attached,
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            exit_status=exit_status_of(code),
            proof=None if code else self._proof,
            message=message,
        )
        try:
            self._append_end(_SECONDS if code >= 0 else _SECONDS_AFTER_SIGNAL, waiter)
        except Interrupted as error:
            code, problem = -error.signum, f"a signal ({error.signum}) came before that"
        except DeadlinePassed:
            problem = "for too long another process has locked it, or its disk does not answer"
        except Exception as error:
            problem = strerror_of(error)
        else:
            return code
        try:
            with waiter.interruptible():  # stderr may be a pipe that is not read
                self._warn(problem)
        except Interrupted as error:
            return code if code < 0 or waiter.is_settled else -error.signum
        return code

    def _append_end(self, seconds: float, waiter: Waiter) -> None:
        """Raises Interrupted, and nothing will be written; DeadlinePassed, OSError, ValueError, RuntimeError."""
        # In threads, each of which is left alone if the disk does not answer.
        waiter.set_deadline(seconds)
        if self._fields["os_user"] is None:
            self._find_user(waiter)
        line = _as_json(self._fields).encode("ascii") + b"\n"
        descriptor = waiter.run_in_thread(self._open_locked, time.monotonic() + seconds)
        # A thread that is left alone from here on may still write: write(2) cannot be taken back. So the process ends
        # as the line says even if it has not seen the line written.
        waiter.settle()
        waiter.set_deadline(seconds)
        waiter.run_in_thread(_write, descriptor, line)

    def _open_locked(self, end: float) -> int:
        """Returns a descriptor of the file, which no other call writes to until it is closed. Tries until then, by the
        clock that is never set. Raises DeadlinePassed, OSError, ValueError."""
        descriptor = self._open()
        while not try_lock(descriptor):
            if time.monotonic() >= end:
                os.close(descriptor)
                raise DeadlinePassed
            time.sleep(_SECONDS_BETWEEN_TRIES)
        return descriptor

    def _open(self) -> int:
        """Returns a descriptor of the file, which is made if it is not there. Raises OSError, ValueError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        if not os.path.isdir(self._path):
            return open_regular(self._path, flags)
        self._written_to = os.path.join(self._path, file_name(str(self._fields["os_user"] or "unknown")))
        return _open_own(self._path, self._written_to, flags)

    def _find_user(self, waiter: Waiter) -> None:
        """Raises Interrupted."""
        name = None
        try:
            with waiter.at_most(_SECONDS_OF_NAME):
                name = waiter.run_in_thread(_user_of_process)
        except Interrupted:
            raise
        except Exception:
            pass
        self._note_user(name)

    def _note_user(self, name: str | None) -> None:
        """Notes who runs this process: by number, if the name is not known."""
        number = str(os.geteuid()) if hasattr(os, "geteuid") else None
        self._fields.update(os_user=name or number, user=self._fields["user"] or name)

    def _warn(self, problem: str) -> None:
        print_warning(PROGRAM, f"{VARIABLE}: {self._written_to!r} cannot be written: {problem}")


def file_name(user: str) -> str:
    """Returns the name of the file that this user has in a folder."""
    return f"{user.replace('/', '_')}.jsonl"


def utc(moment: float) -> str:
    """Returns the moment as ISO 8601 has it, in UTC, to the millisecond."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment * 1000) % 1000:03d}Z"


def _local(moment: float) -> str:
    """Does the same in the time zone of this machine, with its offset."""
    local = time.localtime(moment)
    minutes = abs(local.tm_gmtoff) // 60
    offset = f"{'-' if local.tm_gmtoff < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{int(moment * 1000) % 1000:03d}{offset}"


def _user_of_process() -> str | None:
    try:
        return effective_user()
    except (HeadlessError, OSError):  # which ends the call, too
        return None


def described(job: Job) -> dict[str, object]:
    """Returns the job as a receipt has it: of code only the hash, for it may be secret."""
    if job.kind != PY_CODE:
        return {"kind": job.kind, "name": job.text, "title": job.text, "status": None, "started": None, "ended": None}
    digest = _sha256(job.text.encode("utf-8", "surrogatepass"))  # what is no text is refused elsewhere
    title = f"{job.kind} {digest[:_TITLE_DIGITS]}"
    return {"kind": job.kind, "sha256": digest, "title": title, "status": None, "started": None, "ended": None}


def _as_json(value: object) -> str:
    """Returns what json.dumps does, for the types of a receipt: to import json takes two per cent of a call, and most
    texts need nothing of it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_as_json(name)}: {_as_json(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_json, value)) + "]"
    if isinstance(value, str):
        if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'
        from json import dumps

        return dumps(value)
    return "null" if value is None else repr(value)


def _sha256(data: bytes) -> str:
    """Returns it in hexadecimal digits, by what hashlib has for want of OpenSSL: to load that takes milliseconds."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256
    return str(sha256(data).hexdigest())


def _open_own(folder: str, path: str, flags: int) -> int:
    """Returns a descriptor of a file that this user has in a folder of many. In a folder as /tmp is, others can put a
    link, or a file of theirs, in its place: what they could read, or what would be written elsewhere. Raises OSError,
    ValueError."""
    try:
        descriptor = open_regular(path, flags | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        if os.path.islink(path):
            raise OSError(None, "it is a symbolic link") from None
        raise
    try:
        if hasattr(os, "geteuid"):
            _check_own(os.fstat(descriptor), os.geteuid())
            _share_with_group(descriptor, os.stat(folder))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own(status: os.stat_result, uid: int) -> None:
    """Raises OSError."""
    if status.st_uid != uid:
        raise OSError(None, f"it belongs to the user number {status.st_uid}")
    if status.st_nlink > 1:
        raise OSError(None, "it is a hard link to another file")


def _share_with_group(descriptor: int, folder: os.stat_result) -> None:
    """Lets the group of the folder read a new file, if it can read the folder."""
    status = os.fstat(descriptor)
    if status.st_size or not folder.st_mode & stat.S_IRGRP:
        return
    with suppress(OSError):  # this user may not give a file to a group of others
        if status.st_gid != folder.st_gid:
            os.fchown(descriptor, -1, folder.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | stat.S_IRGRP)


def _write(descriptor: int, line: bytes) -> None:
    """Appends the whole line, or nothing, and closes the file. Raises OSError."""
    try:
        size = os.fstat(descriptor).st_size
        if not _ends_a_line(descriptor, size):
            line = b"\n" + line
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(None, "the disk is full")
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)  # no holder of the lock has written since
            raise
    finally:
        os.close(descriptor)


def _ends_a_line(descriptor: int, size: int) -> bool:
    """Returns whether what is in the file by now does: it may have been edited."""
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"
