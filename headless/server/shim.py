"""The shim of a job: the process that starts it, stores what it prints, ends what it leaves behind, and records how it
ended, with or without a server.

A program of its own, one process per job, which stays as long as its job does. So it imports little. Its files:

    OUTPUT.shim                    the record, locked as long as the shim lives: how the job started, how it ended
    OUTPUT.stdout, OUTPUT.stderr   what the job has printed: it writes to pipes, whose other ends are here

The record, which a server and the shims of an earlier one have to agree on:

    at 0            started PID START SHIM START MACHINE HOME .
    at END_OFFSET   ended STATUS WAS-ASKED WHEN SECONDS LOST .

On a pipe to the server the shim reports "started PID" or "error TEXT", and nothing more: that pipe closes when it ends.
SIGTERM asks it to end the job.
"""

# ruff: noqa: SIM105  # contextlib is large

from __future__ import annotations

import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # as typing has it, which is large
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal as signal  # the other one makes the start of a job a fifth longer

_RECORD_BYTES = 512  # written at once, so that the end finds room on a full disk
END_OFFSET = 256
MARK = "."  # the last word of a line that is whole

_IS_LINUX = sys.platform.startswith("linux")
_SECONDS_TO_CLEAN_UP = 1.0  # between asking a process to end and killing it
_SECONDS_TO_DIE = 1.5  # one with much memory takes a while; one of another user for ever
_KILLS_MIN = 30  # before that is given up: on a busy machine this process may have no turn for seconds
_SECONDS_BETWEEN_KILLS = 0.01
_SECONDS_BETWEEN_TRIES = 1.0  # for what a disk does not take, and for what cannot be killed
_READ_BYTES = 65536  # what a pipe holds
_DRAIN_BYTES = 1 << 24  # of what is still in a pipe: a process that could not be killed may go on writing for ever
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def _line(size: int, *words: object) -> bytes:
    return (" ".join(map(str, (*words, MARK))).ljust(size - 1) + "\n").encode()


# Output


class StoredOutput:
    """Stores one stream of the job in a file.

    What is over the limit, and what the disk does not take, is dropped: the job does not notice. Where bytes are
    missing, the file has a line that says so.
    """

    def __init__(self, path: str, limit: int, disk_floor: int) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC, 0o600)
        self._limit = limit
        self._disk_floor = disk_floor
        self._room = limit
        self._is_in_line = False
        self.lost = 0
        self._missing = 0  # bytes that no line in the file mentions yet
        self._reason = ""

    def store(self, data: bytes) -> None:
        """Stores as much as there is room for."""
        kept = data[: max(0, self._room)]
        written = self._write(kept) if kept and self._has_disk_for(len(kept)) else 0
        self._room -= written
        if written < len(data):
            if written == len(kept):
                self._reason = f"the limit is {self._limit} bytes"
            self.lost += len(data) - written
            self._missing += len(data) - written

    def complete(self) -> None:
        """Returns when all is on the disk. Nothing more comes."""
        if self._missing:
            self._write_line()
        try:
            if os.fstat(self._file).st_size:
                os.fsync(self._file)
        except OSError:
            pass  # there is nothing that could be done about it

    def _has_disk_for(self, count: int) -> bool:
        """Returns whether the disk has room, also for the line about what is missing so far."""
        try:
            disk = os.fstatvfs(self._file)
            if disk.f_bavail * disk.f_frsize - count < self._disk_floor:
                self._reason = "the disk is full"
                return False
        except OSError:
            pass  # the next write shows it
        return not self._missing or self._write_line()

    def _write_line(self) -> bool:
        line = f"[planta-headless: {self._missing} bytes of output were not stored: {self._reason}]\n"
        if self._is_in_line:
            line = "\n" + line
        written = self._write(line.encode("ascii", "replace"))
        self._room -= written
        if written < len(line):
            return False
        self._missing = 0
        return True

    def _write(self, data: bytes) -> int:
        """Returns how many bytes the disk has taken."""
        written = 0
        while written < len(data):
            try:
                written += os.write(self._file, data[written:] if written else data)
            except OSError as error:
                self._reason = os.strerror(error.errno or 0)
                break
        if written:
            self._is_in_line = data[written - 1 : written] != b"\n"
        return written


class _Stream(StoredOutput):
    """Reads one stream of the job from its pipe, and stores it."""

    def __init__(self, path: str, limit: int, disk_floor: int) -> None:
        super().__init__(path, limit, disk_floor)
        self.pipe, self.job_end = os.pipe()
        os.set_blocking(self.pipe, False)

    def copy(self) -> bool:
        """Stores some of what is in the pipe. Returns whether there was anything; if poll(2) has said so, no is the
        end."""
        try:
            data = os.read(self.pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        self.store(data)
        return bool(data)

    def finish(self) -> None:
        """Stores what is left in the pipe, and waits until all is on the disk."""
        for _ in range(_DRAIN_BYTES // _READ_BYTES):
            if not self.copy():
                break
        self.complete()


# Processes


def stat_of(pid: int) -> list[bytes]:
    """Returns the fields of /proc/PID/stat from the state on, proc(5): [0] state, [1] parent, [3] session, [19] time of
    start. Raises OSError if there is no such process."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def start_time(pid: int) -> int:
    """Returns when the process has started, in ticks since the machine has; 0 if that is not known. A number means the
    same process as long as this is the same."""
    try:
        return int(stat_of(pid)[19])
    except (OSError, IndexError):
        return 0


def machine() -> str:
    """Identifies this start of the machine and this container, since the number of a process means nothing elsewhere.
    Returns a dash where the kernel does not say."""
    try:
        boot = _read("/proc/sys/kernel/random/boot_id").decode().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return "-"


def _read(path: str) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read()


def _descendants(pid: int) -> list[int]:
    """Returns the children, their children and so on, as far as they are seen: they come and go meanwhile."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(stat_of(int(name))[1]), []).append(int(name))
            except OSError:
                pass
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def _groups(pids: list[int]) -> list[int]:
    groups = set()
    for pid in pids:
        try:
            groups.add(os.getpgid(pid))
        except OSError:
            pass
    return list(groups - {os.getpgrp()})


def _send(function: Callable[[int, int], None], targets: list[int], signum: int) -> bool:
    """Returns whether there was a process to send it to."""
    found = False
    for target in targets:
        try:
            function(target, signum)
            found = True
        except PermissionError:  # one that has become another user
            found = True
        except ProcessLookupError:
            pass
    return found


class _Job:
    """Ends and reaps the job's own process, and all that it has started. `status` is None as long as the first runs."""

    def __init__(self, pid: int, reaps_all: bool) -> None:
        self.pid = pid
        self.status: int | None = None
        self.was_asked = False
        self.ended = 0.0
        self.seconds = 0.0
        self._reaps_all = reaps_all
        self._begun = time.monotonic()
        self._kill_at: float | None = None
        self._kills = 0

    def end(self) -> None:
        """Asks all processes to end, and kills those that have had their time."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + _SECONDS_TO_CLEAN_UP
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # what is stopped takes no notice before it goes on
        elif time.monotonic() >= self._kill_at:
            self._kills += 1
            self._signal(signal.SIGKILL)

    def timeout(self) -> float | None:
        """Returns after how many seconds to call `end` again; None if something else has to happen before."""
        if self._kill_at is None:
            return None
        if not self._kills:
            return max(0.0, self._kill_at - time.monotonic())
        return _SECONDS_BETWEEN_TRIES if self._cannot_be_killed() else _SECONDS_BETWEEN_KILLS

    def is_over(self) -> bool:
        """Returns whether nothing is left of it, or nothing that a signal could end."""
        is_gone = self._reap()
        return self.status is not None and (is_gone or self._cannot_be_killed())

    def _cannot_be_killed(self) -> bool:
        is_late = self._kill_at is not None and time.monotonic() > self._kill_at + _SECONDS_TO_DIE
        return is_late and self._kills >= _KILLS_MIN

    def _reap(self) -> bool:
        """Returns whether nothing is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self._reaps_all or not _send(os.killpg, [self.pid], 0)
            if pid == 0:
                return False
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.was_asked = bool(_requests)
                self.ended = time.time()
                self.seconds = time.monotonic() - self._begun

    def _signal(self, signum: int) -> None:
        if not self._reaps_all:
            _send(os.killpg, [self.pid], signum)
            return
        pids = _descendants(os.getpid())
        if signum == signal.SIGKILL:  # whole groups first: a process that forks just now cannot escape that
            _send(os.killpg, _groups(pids), signum)
        _send(os.kill, pids, signum)


# What a shim sets of its own process


_requests: list[int] = []  # the signals that have asked to end the job


def _catch_signals() -> int:
    """Returns a descriptor that has something to read when a signal has come."""
    wakeup, waker = os.pipe()
    for descriptor in (wakeup, waker):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    # Not SIG_IGN: what is ignored may be lost while it is blocked, and a new job is to get it.
    for signum in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
        signal.signal(signum, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda signum, _: _requests.append(signum))
    return wakeup


def _reset_signals() -> None:
    """Restores what a new process has. Python ignores some signals."""
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals():
        if signal.getsignal(signum) not in (signal.SIG_DFL, None):
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _prctl() -> Callable[[int, int], bool]:
    """Returns prctl(2), which returns whether it has succeeded; where it is missing it never does."""
    if not _IS_LINUX:
        return lambda *_: False
    try:
        import ctypes

        function = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return lambda *_: False
    return lambda option, value: function(*map(ctypes.c_long, (option, value, 0, 0, 0))) == 0


def _environment(lc_ctype: list[str]) -> dict[bytes, bytes]:
    """Returns what this process was started with. The interpreter may have set LC_CTYPE, so the server passes on what
    that was, if it was there."""
    environment = dict(os.environb)
    if lc_ctype:
        environment[b"LC_CTYPE"] = os.fsencode(lc_ctype[0])
    else:
        environment.pop(b"LC_CTYPE", None)
    return environment


def _allow_descriptors(count: int) -> None:
    """Lets the job open as many as the server was allowed when it started."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    except (OSError, ValueError):
        pass  # the limit of the limit was lowered


# From the start to the end


class _Shim:
    def __init__(self, record: int, report: int, limit: int, disk_floor: int, output: str) -> None:
        self._record = record
        self._report = report
        self._prctl = _prctl()
        self._reaps_all = self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._wakeup = _catch_signals()
        self._streams = [_Stream(f"{output}.{name}", limit, disk_floor) for name in ("stdout", "stderr")]

    def start(self, command: list[str], environment: dict[bytes, bytes], home: str) -> None:
        """Starts the job, which waits at a gate until the record has it. Raises OSError if nothing has been started."""
        gate, opener = os.pipe()
        failed, failure = os.pipe()
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they wait until a job is one
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            self._become_job(parent, gate, failure, [command, environment])
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for descriptor in (gate, failure, *(stream.job_end for stream in self._streams)):
            os.close(descriptor)
        try:
            self._write_start(pid, home)
            os.write(opener, b".")
            error = os.read(failed, 16)  # it closes when the program of the job runs
            if error:
                raise OSError(int(error), os.strerror(int(error)), command[0])
        except OSError:
            os.close(opener)
            os.waitpid(pid, 0)
            os.ftruncate(self._record, 0)
            raise
        os.close(opener)
        os.close(failed)
        self._job = _Job(pid, self._reaps_all)
        _send_report(self._report, f"started {pid}")

    def _become_job(self, parent: int, gate: int, failure: int, program: list[Any]) -> None:
        """Runs the program, its words and its environment, when the gate opens."""
        try:
            os.setsid()
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(126)
            _reset_signals()
            for standard, stream in enumerate(self._streams, 1):
                os.dup2(stream.job_end, standard)
            if os.read(gate, 1):
                os.execve(program[0][0], *program)
        except OSError as error:  # no memory, for example: the job has not run, and will be started again
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(126)

    def watch(self) -> None:
        """Returns when nothing is left of the job, and its output and its end are on the disk."""
        poll = select.poll()
        streams = {stream.pipe: stream for stream in self._streams}
        for descriptor in (self._wakeup, *streams):
            poll.register(descriptor, select.POLLIN)
        while not self._job.is_over():
            if _requests or self._job.status is not None:
                self._job.end()
            timeout = self._job.timeout()
            for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000 + 1):
                if descriptor == self._wakeup:
                    os.read(descriptor, 512)
                elif not streams[descriptor].copy():
                    poll.unregister(descriptor)
        for stream in self._streams:
            stream.finish()
        self._write_end()

    def _write_start(self, pid: int, home: str) -> None:
        shim = os.getpid()
        line = _line(END_OFFSET, "started", pid, start_time(pid), shim, start_time(shim), machine(), home)
        record = line.ljust(_RECORD_BYTES)
        if os.pwrite(self._record, record, 0) < len(record):
            raise OSError("the disk is full")
        os.fsync(self._record)

    def _write_end(self) -> None:
        """Tries for ever: nothing else knows how the job has ended."""
        job = self._job
        lost = sum(stream.lost for stream in self._streams)
        times = f"{job.ended:.6f} {job.seconds:.6f}"
        line = _line(_RECORD_BYTES - END_OFFSET, "ended", job.status, int(job.was_asked), times, lost)
        while True:
            try:
                if os.pwrite(self._record, line, END_OFFSET) == len(line):
                    os.fsync(self._record)
                    return
            except OSError:
                pass
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _send_report(report: int, text: str) -> None:
    try:
        os.write(report, " ".join(text.splitlines()).encode("utf-8", "replace") + b"\n")
    except OSError:
        pass  # the server has ended: the next one reads the record


def main() -> None:
    """Runs a shim; the server gives the arguments."""
    record, report, limit, disk_floor, descriptors = map(int, sys.argv[1:6])
    home, output, script, *lc_ctype = sys.argv[6:]
    for descriptor in (record, report):
        os.set_inheritable(descriptor, False)
    try:
        _allow_descriptors(descriptors)
        shim = _Shim(record, report, limit, disk_floor, output)
        shim.start([sys.executable, "-u", script], _environment(lc_ctype), home)
    except OSError as error:
        _send_report(report, f"error {error}")
        os._exit(1)
    shim.watch()
    os._exit(0)
