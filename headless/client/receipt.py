"""PLANTA_RECEIPT: a line of JSON for each call, appended to a file. Nothing that fails here changes a return code."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from contextlib import suppress

from headless.client.preparation import effective_user
from headless.client.waiting import DeadlinePassed, Waiter
from headless.dialects.base import Accepted, Attached, Ended, JobFinished
from headless.dialects.vocabulary import ENDED_WITHOUT_RESULT, PY_CODE
from headless.errors import HeadlessError, Interrupted, Submission
from headless.options import PROGRAM, JobOptions
from headless.system import open_regular, try_lock
from headless.terminal import print_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.client.session import Session
    from headless.dialects.base import Event
    from headless.dialects.vocabulary import Job
    from headless.options import WaitOptions

VARIABLE = "PLANTA_RECEIPT"
# For a disk that does not answer, and others that have locked the file; of a call that a signal ends.
_SECONDS, _SECONDS_AFTER_SIGNAL = 5.0, 0.3
_SECONDS_BETWEEN_TRIES = 0.02


class Receipt:
    """Collects the line of one call, for this file."""

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
        self._proof = "accepted"

    def begin(self, options: JobOptions | WaitOptions, key: str) -> None:
        """Notes what the caller wants. `key` names the session."""
        self._jobs = [_described(job) for job in options.jobs] if isinstance(options, JobOptions) else []
        self._fields.update(
            user=options.login.user or _user_of_process(),
            server=str(options.service),
            key=key,
            jobs=self._jobs,
        )

    def observe(self, event: Event) -> None:
        """Notes what the server has said."""
        if isinstance(event, Accepted):
            self._fields["accepted"] = _now()
        elif isinstance(event, JobFinished):
            self._jobs[event.job - 1]["status"] = event.status
        elif isinstance(event, Ended):
            self._fields["ended"] = _now()
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
            returned=_now(),
            attached=self._attached,
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            proof=None if code else self._proof,
            message=message,
        )
        try:
            self._append(json.dumps(self._fields).encode("ascii") + b"\n", code, waiter)
        except Interrupted as error:
            code, problem = -error.signum, f"a signal ({error.signum}) came before that"
        except DeadlinePassed:
            problem = "for too long another process has locked it, or its disk does not answer"
        except Exception as error:
            problem = getattr(error, "strerror", None) or str(error)
        else:
            return code
        try:
            with waiter.interruptible():  # stderr may be a pipe that is not read
                self._warn(problem)
        except Interrupted as error:
            return code if code < 0 or waiter.is_settled else -error.signum
        return code

    def _append(self, line: bytes, code: int, waiter: Waiter) -> None:
        """Raises Interrupted, and nothing will be written; DeadlinePassed, OSError, ValueError, RuntimeError."""
        # In threads, each of which is left alone if the disk does not answer.
        seconds = _SECONDS if code >= 0 else _SECONDS_AFTER_SIGNAL
        waiter.set_deadline(seconds)
        descriptor = waiter.run_in_thread(_open, self._path)
        while not waiter.run_in_thread(try_lock, descriptor):
            waiter.sleep(_SECONDS_BETWEEN_TRIES)
        # A thread that is left alone from here on may still write: write(2) cannot be taken back. So the process ends
        # as the line says even if it has not seen the line written.
        waiter.settle()
        waiter.set_deadline(seconds)
        waiter.run_in_thread(_write, descriptor, line)

    def _warn(self, problem: str) -> None:
        print_warning(PROGRAM, f"{VARIABLE}: {self._path!r} cannot be written: {problem}")


def _now() -> str:
    """Returns the time as ISO 8601 has it, in UTC, to the millisecond."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def _user_of_process() -> str | None:
    try:
        return effective_user()
    except (HeadlessError, OSError):  # which ends the call, too
        return None


def _described(job: Job) -> dict[str, object]:
    """Returns the job as a receipt has it: of code only the hash, for it may be secret."""
    if job.kind == PY_CODE:
        digest = hashlib.sha256(job.text.encode("utf-8", "surrogatepass"))  # what is no text is refused elsewhere
        return {"kind": job.kind, "sha256": digest.hexdigest(), "status": None}
    return {"kind": job.kind, "name": job.text, "status": None}


def _open(path: str) -> int:
    """Returns a descriptor of the file, which is made if it is not there. Raises OSError, ValueError."""
    return open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)


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
