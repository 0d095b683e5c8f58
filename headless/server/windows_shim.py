"""The shim of a job on Windows: the process that starts it, stores what it prints, ends what it leaves behind, and
writes down how it ended, whether there still is a server or not.

A program of its own, one process per job, started by windows_shims.py. Which script runs, and what its end means, is
decided by the server. The files are those of shim.py. When the shim has the record for itself, it says that it is
ready, and waits for a byte from the server; if the server is gone, it ends. Then it says "started PID" or "error TEXT",
and nothing more. An event asks it to end the job.

All that the job starts is in a job object, and this process has its only handle: when this process is killed, the
kernel ends the job. This process is in a job object, too, from before the job is started until it ends: there is no
moment at which a job would be left behind.
"""

from __future__ import annotations

import _winapi
import errno
import msvcrt
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from headless.server import record_format, windows_processes
from headless.server.record_format import END_OFFSET, READY, end_of_record, start_of_record
from headless.server.shim_output import StoredOutput

assert sys.platform == "win32"

_STDIN, _STDOUT = 0, 1  # pipes from and to the server
SECONDS_TO_CLEAN_UP = 1.0
_SECONDS_TO_LOOK = 2.0  # for which somebody who only looks may have the record open
_SECONDS_TO_DIE = 1.5
_SECONDS_BETWEEN_LOOKS = 0.01
_SECONDS_BETWEEN_TRIES = 1.0  # for what a disk does not take, and for what cannot be killed
_READ_BYTES = 65536


class _Stream:
    """One stream of the job: the pipe that it writes to, the file that stores it, and the thread between them."""

    def __init__(self, path: str, limit: int, disk_floor: int) -> None:
        self._output = StoredOutput(path, limit, disk_floor)
        self._pipe, self._job_end = os.pipe()
        self.handle = msvcrt.get_osfhandle(self._job_end)
        os.set_handle_inheritable(self.handle, True)
        self._lock = threading.Lock()
        self._is_complete = False
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        return self._output.lost

    def leave_to_job(self) -> None:
        """The job has its end of the pipe: only so is there an end of its output."""
        os.close(self._job_end)

    def finish(self) -> None:
        """Returns when all is on the disk. Something that could not be killed may go on writing for ever."""
        self._thread.join(_SECONDS_TO_DIE)
        with self._lock:
            self._is_complete = True
            self._output.complete()

    def _copy(self) -> None:
        with suppress(OSError):
            while data := os.read(self._pipe, _READ_BYTES):
                with self._lock:
                    if self._is_complete:
                        return
                    self._output.store(data)


class _Shim:
    def __init__(self, record: int, request: int) -> None:
        self._record = record
        self._request = request
        self._with_this = windows_processes.JobObject()
        with suppress(OSError):  # where job objects cannot be in one another
            self._with_this.add(_winapi.GetCurrentProcess())
        self._job = windows_processes.JobObject()

    def start(self, command: Sequence[str], output: str, limit: int, disk_floor: int) -> None:
        """Raises OSError if nothing has been started. The job waits until the record has it."""
        self._streams = [_Stream(f"{output}.{name}", limit, disk_floor) for name in ("stdout", "stderr")]
        with open(os.devnull, "rb") as nothing:
            stdin = msvcrt.get_osfhandle(nothing.fileno())
            os.set_handle_inheritable(stdin, True)
            job = windows_processes.start_suspended(command, stdin, *(stream.handle for stream in self._streams))
        for stream in self._streams:
            stream.leave_to_job()
        try:
            self._job.add(job.process)
            self._write_start(job)
            windows_processes.resume(job)
        except OSError:
            _winapi.TerminateProcess(job.process, 1)
            os.ftruncate(self._record, 0)
            raise
        self._begun = time.monotonic()
        self._process, self._pid = job.process, job.pid
        _say(record_format.report(f"started {job.pid}"))

    def attend(self) -> None:
        """Returns when nothing is left of the job, and its output and its end are on the disk."""
        _winapi.WaitForMultipleObjects((self._process, self._request), False, _winapi.INFINITE)
        if not windows_processes.has_ended(self._process):
            self._end_all()
            while not windows_processes.wait(self._process, _SECONDS_BETWEEN_TRIES):
                self._job.kill()
        was_asked = windows_processes.wait(self._request, 0)
        ended, seconds = time.time(), time.monotonic() - self._begun
        self._end_all()
        for stream in self._streams:
            stream.finish()
        lost = sum(stream.lost for stream in self._streams)
        status = _winapi.GetExitCodeProcess(self._process)
        self._write_end(end_of_record(status, was_asked, ended, seconds, lost))

    def _end_all(self) -> None:
        """Asks what is left of the job to end, and kills what does not. Returns when nothing is left, or nothing that
        could be killed."""
        if not self._job.count():
            return
        with suppress(OSError):
            windows_processes.send_break(self._pid)
        if not self._is_empty_after(SECONDS_TO_CLEAN_UP):
            self._job.kill()
            self._is_empty_after(_SECONDS_TO_DIE)

    def _is_empty_after(self, seconds: float) -> bool:
        late = time.monotonic() + seconds
        while self._job.count():
            if time.monotonic() > late:
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return True

    def _write_start(self, job: windows_processes.Suspended) -> None:
        shim = os.getpid(), windows_processes.start_time(_winapi.GetCurrentProcess())
        started = job.pid, windows_processes.start_time(job.process)
        record = start_of_record(started, shim, "-", "-", self._request)
        if os.write(self._record, record) < len(record):
            raise OSError("the disk is full")
        os.fsync(self._record)

    def _write_end(self, line: bytes) -> None:
        """Tries for ever: nobody else knows how the job has ended."""
        while True:
            with suppress(OSError):
                os.lseek(self._record, END_OFFSET, os.SEEK_SET)
                if os.write(self._record, line) == len(line):
                    os.fsync(self._record)
                    return
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _say(words: bytes) -> None:
    with suppress(OSError):  # the server has ended: the next one reads the record
        os.write(_STDOUT, words)


def _open_record(output: str) -> int:
    """A descriptor of the record, which nobody else can write to."""
    path = f"{output}.shim"
    late = time.monotonic() + _SECONDS_TO_LOOK
    while (handle := windows_processes.open_alone(path)) is None:
        if time.monotonic() > late:
            raise OSError(errno.EBUSY, "another shim lives", path)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return msvcrt.open_osfhandle(handle, os.O_BINARY)


def main() -> None:
    """The arguments are those that windows_shims.py gives."""
    request, limit, disk_floor = map(int, sys.argv[1:4])
    output, python, script = sys.argv[4:]
    os.set_handle_inheritable(request, False)
    try:
        record = _open_record(output)
        _say(READY)
        if not os.read(_STDIN, 1):
            os._exit(1)
        os.ftruncate(record, 0)
        shim = _Shim(record, request)
        shim.start([python, "-u", script], output, limit, disk_floor)
    except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be had
        _say(record_format.report(f"error {error}"))
        os._exit(1)
    shim.attend()
    os._exit(0)
