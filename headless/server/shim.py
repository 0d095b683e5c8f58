"""The shim of a job, where the platform can fork: the process that starts it, stores what it prints, ends what it
leaves behind, and writes down how it ended, whether there still is a server or not.

A program of its own, one process per job, started by posix_shims.py. It stays as long as its job does, and so it
imports little, and nothing that imports much. Which script runs, and what its end means, is decided by the server.

    OUTPUT.shim     the record, locked as long as the shim lives: a line when the job is started, one when it has ended
    OUTPUT.stdout   what the job has printed: it writes to pipes, whose other ends are here
    OUTPUT.stderr

On a pipe to the server the shim says "started PID" or "error TEXT", and nothing more: that pipe closes when it ends.
SIGTERM asks it to end the job.
"""

# ruff: noqa: SIM105, SLF001  # contextlib is large; os._exit

from __future__ import annotations

import resource
import select
import sys
import time

from headless.server import record_format
from headless.server.record_format import END_OFFSET, end_of_record, start_of_record
from headless.server.shim_output import StoredOutput

TYPE_CHECKING = False  # as typing has it, which is not imported: it is large
if TYPE_CHECKING:
    import os
    import signal
    from collections.abc import Callable, Iterator
    from typing import Any
else:  # what is below the modules of these names, and takes a tenth of their time and memory
    import _signal as signal
    import posix as os

    os.environb = os.environ

_IS_LINUX = sys.platform.startswith("linux")
_SECONDS_TO_CLEAN_UP = 1.0  # between asking a process to end and ending it
_SECONDS_TO_DIE = 1.5  # one with much memory takes a while; one of another user for ever
_KILLS_MIN = 30  # before that is given up: on a busy machine this process may have no turn for seconds
_SECONDS_BETWEEN_KILLS = 0.01
_SECONDS_BETWEEN_TRIES = 1.0  # for what a disk does not take, and for what cannot be killed
_READ_BYTES = 65536  # what a pipe holds
_DRAIN_BYTES = 1 << 24  # of what is still in a pipe: a process that could not be killed may go on writing for ever
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


class _Stream(StoredOutput):
    """One stream of the job: the pipe that it writes to, and the file that stores it."""

    def __init__(self, path: str, limit: int, disk_floor: int) -> None:
        super().__init__(path, limit, disk_floor)
        self.pipe, self.job_end = os.pipe()
        os.set_blocking(self.pipe, False)

    def copy(self) -> bool:
        """Stores some of what is there. Whether there was anything; to one that has waited for it, that is the end."""
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


class _Job:
    """The job's own process, and all that it has started. `status` is None as long as its own process runs."""

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

    def patience(self) -> float | None:
        """After how many seconds `end` is to be called again; None if something else has to happen before."""
        if self._kill_at is None:
            return None
        if not self._kills:
            return max(0.0, self._kill_at - time.monotonic())
        return _SECONDS_BETWEEN_TRIES if self._cannot_be_killed() else _SECONDS_BETWEEN_KILLS

    def is_over(self) -> bool:
        """Whether nothing is left of it, or nothing that a signal could end."""
        is_gone = self._reap()
        if self.status is None:
            return False
        return is_gone or self._cannot_be_killed()

    def _cannot_be_killed(self) -> bool:
        is_late = self._kill_at is not None and time.monotonic() > self._kill_at + _SECONDS_TO_DIE
        return is_late and self._kills >= _KILLS_MIN

    def _reap(self) -> bool:
        """Whether nothing is left."""
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
        pids = list(_descendants(os.getpid()))
        if signum == signal.SIGKILL:  # whole groups first: a process that forks just now cannot escape that
            _send(os.killpg, _groups(pids), signum)
        _send(os.kill, pids, signum)


def _send(function: Callable[[int, int], None], targets: list[int], signum: int) -> bool:
    """Whether there was anybody to send it to."""
    found = False
    for target in targets:
        try:
            function(target, signum)
            found = True
        except PermissionError:  # somebody who has become another user
            found = True
        except ProcessLookupError:
            pass
    return found


def _groups(pids: list[int]) -> list[int]:
    groups = set()
    for pid in pids:
        try:
            groups.add(os.getpgid(pid))
        except OSError:
            pass
    return list(groups - {os.getpgrp()})


def _descendants(pid: int) -> Iterator[int]:
    """The children, their children and so on, as far as they can be found: they come and go meanwhile."""
    children_of = _children if os.access(f"/proc/{pid}/task/{pid}/children", os.R_OK) else _children_by_parents()
    found = [pid]
    for parent in found:
        for child in children_of(parent):
            found.append(child)
            yield child


def _children(pid: int) -> list[int]:
    try:
        tasks = [f"/proc/{pid}/task/{task}/children" for task in os.listdir(f"/proc/{pid}/task")]
        return [int(child) for task in tasks for child in _read(task).split()]
    except OSError:
        return []


def _children_by_parents() -> Callable[[int], list[int]]:
    """The same for a kernel that does not list them."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(stat_of(int(name))[1]), []).append(int(name))
            except OSError:
                pass
    return lambda pid: children.get(pid, [])


def stat_of(pid: int) -> list[bytes]:
    """What the kernel says of the process: its state, its parent, its group, its session; [19] is when it started.
    Raises OSError if there is no such process."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def start_time(pid: int) -> int:
    """When the process has started, in ticks since the machine has; 0 if there is none, or where the kernel does not
    tell. A number of a process means this process as long as this is the same."""
    try:
        return int(stat_of(pid)[19])
    except (OSError, IndexError):
        return 0


def machine() -> str:
    """What tells whether the numbers of processes still mean the same: a start of the machine, and a container of it.
    Where the kernel does not tell, a dash."""
    try:
        boot = _read("/proc/sys/kernel/random/boot_id").decode().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return "-"


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        content = b""
        while data := os.read(descriptor, _READ_BYTES):
            content += data
        return content
    finally:
        os.close(descriptor)


# Signals


_requests: list[int] = []  # the signals that have asked to end the job


def _catch_signals() -> int:
    """A descriptor that has something to read when a signal has come."""
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
    """As a process finds them that nobody has prepared. Python ignores some."""
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals():
        if signal.getsignal(signum) not in (signal.SIG_DFL, None):
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _prctl() -> Callable[[int, int], bool]:
    """Sets something of this process that only Linux knows. Returns whether it could."""
    if not _IS_LINUX:
        return lambda *_: False
    try:
        function, number = _c_function("prctl")
    except (ImportError, OSError, AttributeError):
        return lambda *_: False
    return lambda option, value: function(*map(number, (option, value, 0, 0, 0))) == 0


def _c_function(name: str) -> tuple[Any, Any]:
    """A function of the C library, and the type of its arguments. What is below ctypes takes a quarter of its time; a
    Python that has it in another form has ctypes."""
    try:
        import _ctypes

        class Result(_ctypes._SimpleCData):  # type: ignore[type-arg]
            _type_ = "i"

        class Number(_ctypes._SimpleCData):  # type: ignore[type-arg]
            _type_ = "l"

        class Function(_ctypes.CFuncPtr):
            _flags_ = _ctypes.FUNCFLAG_CDECL
            _restype_ = Result

        library = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
        return Function(_ctypes.dlsym(library, name)), Number
    except (ImportError, AttributeError, TypeError):
        import ctypes

        return getattr(ctypes.CDLL(None), name), ctypes.c_long


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
        """Raises OSError if nothing has been started. The job waits at a gate until the record has it."""
        gate, opener = os.pipe()
        failed, failure = os.pipe()
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they wait until a job is one
        pid = os.fork()
        if pid == 0:
            os.close(opener)
            self._become_job(parent, gate, failure, [command, environment])
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.close(gate)
        os.close(failure)
        for stream in self._streams:
            os.close(stream.job_end)
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
        _say(self._report, f"started {pid}")

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
        except OSError as error:  # for want of memory, say: the job has not run, and will be started again
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(126)

    def attend(self) -> None:
        """Returns when nothing is left of the job, and its output and its end are on the disk."""
        poll = select.poll()
        streams = {stream.pipe: stream for stream in self._streams}
        for descriptor in (self._wakeup, *streams):
            poll.register(descriptor, select.POLLIN)
        while not self._job.is_over():
            if _requests or self._job.status is not None:
                self._job.end()
            patience = self._job.patience()
            for descriptor, _ in poll.poll(None if patience is None else patience * 1000 + 1):
                if descriptor == self._wakeup:
                    os.read(descriptor, 512)
                elif not streams[descriptor].copy():
                    poll.unregister(descriptor)
        for stream in self._streams:
            stream.finish()
        self._write_end()

    def _write_start(self, pid: int, home: str) -> None:
        shim = os.getpid()
        record = start_of_record((pid, start_time(pid)), (shim, start_time(shim)), machine(), home)
        if os.pwrite(self._record, record, 0) < len(record):
            raise OSError("the disk is full")
        os.fsync(self._record)

    def _write_end(self) -> None:
        """Tries for ever: nobody else knows how the job has ended."""
        job = self._job
        lost = sum(stream.lost for stream in self._streams)
        assert job.status is not None
        line = end_of_record(job.status, job.was_asked, job.ended, job.seconds, lost)
        while True:
            try:
                if os.pwrite(self._record, line, END_OFFSET) == len(line):
                    os.fsync(self._record)
                    return
            except OSError:
                pass
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _say(report: int, text: str) -> None:
    try:
        os.write(report, record_format.report(text))
    except OSError:
        pass  # the server has ended: the next one reads the record


def _environment(lc_ctype: list[str]) -> dict[bytes, bytes]:
    """What this process was started with. An interpreter that finds the C locale sets LC_CTYPE, and so the server tells
    what that was, if it was there."""
    environment = dict(os.environb)
    if lc_ctype:
        environment[b"LC_CTYPE"] = lc_ctype[0].encode(sys.getfilesystemencoding(), "surrogateescape")
    else:
        environment.pop(b"LC_CTYPE", None)
    return environment


def _allow_descriptors(count: int) -> None:
    """As many as the server was allowed when it started."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    except (OSError, ValueError):
        pass  # somebody has lowered the limit of the limit


def main() -> None:
    """The arguments are those that posix_shims.py gives."""
    record, report, limit, disk_floor, descriptors = map(int, sys.argv[1:6])
    home, output, script, *lc_ctype = sys.argv[6:]
    for descriptor in (record, report):
        os.set_inheritable(descriptor, False)
    try:
        _allow_descriptors(descriptors)
        shim = _Shim(record, report, limit, disk_floor, output)
        shim.start([sys.executable, "-u", script], _environment(lc_ctype), home)
    except OSError as error:
        _say(report, f"error {error}")
        os._exit(1)
    shim.attend()
    os._exit(0)
