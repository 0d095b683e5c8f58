"""The process that jobs are forked from, where the platform can fork: a Python that has started already.

A script of its own, run by forked.py and imported by nobody. It imports nothing of this package, and lets a job find an
interpreter as good as new. What a job runs and what its end means is decided by the server, not here.

Requests come and reports go over one socket, each a length of four bytes and a marshalled tuple:

    ("start", number, (script, folder, stdout, stderr, environment))  run this script, with its output into these files
    ("end", number, ())                                               end the job and all that it has started
    (number, "pid", pid)  (number, "status", exit status)  (number, "error", text)

When the socket closes, however the server has ended, every job is ended, and this process with them. Until then it
holds the lock of the server's home, so that no other server begins there while jobs of this one run.
"""

# What a script finds in its module and among its modules, before this one changes that: no __future__ import is here,
# and so the types of annotations stand in quotes.
_MAIN = dict(globals())

import sys  # noqa: E402

_MODULES_AT_START = set(sys.modules)

import marshal  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Spec = tuple[str, str, str, str, dict[str, str]]

_SECONDS_TO_CLEAN_UP = 1.0  # between asking a job to end and ending it
_SECONDS_TO_DIE = 1.0  # a process with much memory takes a while; one of another user, or a zombie, for ever
_POLL_SECONDS = 0.01  # how often the end of what a job has started is looked for
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class _Job:
    """A job whose process group is not known to be gone. `status` is None as long as its own process runs."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.status: int | None = None
        self._kill_at: float | None = None

    def end(self) -> None:
        """Asks the whole group to end, and takes care that it will."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + _SECONDS_TO_CLEAN_UP
            self._signal(signal.SIGTERM)

    @property
    def is_ending(self) -> bool:
        return self._kill_at is not None

    def is_over(self) -> bool:
        """Whether nothing is left of it, or nothing that a signal could end. What has had its time is killed."""
        late = -1.0 if self._kill_at is None else time.monotonic() - self._kill_at
        if late >= 0:
            self._signal(signal.SIGKILL)
        return self.status is not None and (late >= _SECONDS_TO_DIE or not self._signal(0))

    def _signal(self, signum: int) -> bool:
        """Whether there was anybody to signal."""
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            if self.status is not None:
                return False
            os.kill(self.pid, signum)  # it is so new that it leads no group yet
        except PermissionError:  # somebody who has become another user
            pass
        return True


class _ForkServer:
    def __init__(self, control: int, lock: int) -> None:
        self._control = control
        self._lock = lock
        self._jobs: dict[int, _Job] = {}
        self._received = b""
        # The server's terminal or service manager may signal everybody: ending the jobs is the server's business.
        # Not SIG_IGN: what is ignored may be lost while it is blocked, and a new job is to get it.
        for signum in _ENDING_SIGNALS:
            signal.signal(signum, lambda *_: None)
        self._wakeup, self._waker = os.pipe()
        for descriptor in (self._wakeup, self._waker):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._die_with = _prctl()

    def serve(self) -> "_Spec | None":
        """Returns in the process of each new job with what that has to do, and in this process at its end."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            is_ending = any(job.is_ending for job in self._jobs.values())
            ready = {descriptor for descriptor, _ in poll.poll(_POLL_SECONDS * 1000 if is_ending else None)}
            self._reap_jobs()
            if self._control in ready:
                data = self._read()
                if not data:
                    self._end_all()
                    return None
                self._received += data
            for kind, number, spec in self._requests():
                if kind == "end" and number in self._jobs:
                    self._jobs[number].end()
                elif kind == "start" and self._start(number, spec):
                    return spec

    def _read(self) -> bytes:
        try:
            return os.read(self._control, 65536)
        except OSError:  # the server has ended with a report unread
            return b""

    def _requests(self) -> "Iterator[tuple[str, int, _Spec]]":
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if len(self._received) < end:
                return
            request, self._received = self._received[4:end], self._received[end:]
            yield marshal.loads(request)

    def _report(self, number: int, kind: str, value: "int | str") -> None:
        data = marshal.dumps((number, kind, value))
        data = len(data).to_bytes(4, "big") + data
        try:
            while data:
                data = data[os.write(self._control, data) :]
        except OSError:
            pass  # the server is gone, which the next read tells

    def _start(self, number: int, spec: "_Spec") -> bool:
        """Whether this is the process of the job."""
        _, _, stdout, stderr, _ = spec
        files: list[int] = []
        try:
            files.append(os.open(os.devnull, os.O_RDONLY))
            for path in (stdout, stderr):
                files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            # Until a job is one, the signals that it is sent wait.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
            pid = os.fork()
            if pid == 0:
                self._become_job(files)
                return True
            self._jobs[number] = _Job(number, pid)
            self._report(number, "pid", pid)
        except OSError as error:
            self._report(number, "error", str(error))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)
        for descriptor in files:
            os.close(descriptor)
        return False

    def _become_job(self, files: list[int]) -> None:
        os.setsid()
        self._die_with(signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for standard, descriptor in enumerate(files):
            os.dup2(descriptor, standard)
        for descriptor in (self._control, self._lock, self._wakeup, self._waker, *files):
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)

    def _reap_jobs(self) -> None:
        try:
            while os.read(self._wakeup, 512):
                pass
        except BlockingIOError:
            pass
        by_pid = {job.pid: job for job in self._jobs.values()}
        while any(job.status is None for job in self._jobs.values()):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            by_pid[pid].status = os.waitstatus_to_exitcode(status)
        for job in list(self._jobs.values()):
            if job.is_over():
                assert job.status is not None
                del self._jobs[job.number]
                self._report(job.number, "status", job.status)
            elif job.status is not None:
                job.end()  # what it has left behind ends with it

    def _end_all(self) -> None:
        for job in self._jobs.values():
            job.end()
        while self._jobs:
            time.sleep(_POLL_SECONDS)
            self._reap_jobs()


def _prctl() -> "Callable[[int], None]":
    """What lets a process die with its parent, where the kernel can do that: should this process be killed itself."""
    if not sys.platform.startswith("linux"):
        return lambda _signum: None
    import ctypes

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def die_with_parent(signum: int) -> None:
        prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent


def _run(spec: "_Spec") -> None:
    """What `python -u SCRIPT` does."""
    script, folder, _, _, environment = spec
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[:] = [script]
    path = environment.get("PYTHONPATH", "")
    sys.path[:1] = [os.path.dirname(os.path.realpath(script)), *([path] if path else [])]
    for name in set(sys.modules) - _MODULES_AT_START:
        del sys.modules[name]
    main = type(sys)("__main__")
    loader = type(_MAIN["__loader__"])("__main__", script)
    main.__dict__.update(_MAIN, __file__=script, __loader__=loader, __doc__=None)
    sys.modules["__main__"] = main
    with open(script, "rb") as file:
        source = file.read()
    exec(compile(source, script, "exec", dont_inherit=True), main.__dict__)


def _run_as_main(spec: "_Spec") -> None:
    """Ends as a script does that the interpreter runs: its traceback shows nothing of this file."""
    try:
        _run(spec)
    except SystemExit:
        raise
    except BaseException as error:
        hook, trace = sys.excepthook, error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.excepthook = lambda kind, error, _: hook(kind, error.with_traceback(trace), trace)
        raise


if __name__ == "__main__":
    _this = sys.modules["__main__"]  # which a job replaces, while its functions still run
    _job = _ForkServer(int(sys.argv[1]), int(sys.argv[2])).serve()
    if _job is None:
        os._exit(0)
    _run_as_main(_job)
