"""Commands in the process of the tests, for all that is not about the process: a tenth of its time. planta_headless.py,
also with another clock or steered by another thread, and `headless`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any
from unittest.mock import patch

from headless import cli
from headless.client import call
from headless.client.waiting import Waiter
from headless.options import parse
from headless.server.home import Home
from support.clock import StillClock
from support.process import ENDING_SIGNALS, Command

Ended = CompletedProcess[str]

_WAKE = getattr(signal, "SIGUSR1", None)  # wakes a steered call whose time has passed; Windows has none
# What commands handle to the end of their process. The test runner would go on handling it, and take the children of
# other tests.
_NAMES = ("SIGBREAK", "SIGUSR1", "SIGUSR2", "SIGCHLD")
_HANDLED = ENDING_SIGNALS + [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class CommandHere(Command):
    """What planta_headless.py does with a command line, as far as that does not end the process. With `start` it is a
    process of its own nevertheless."""

    def __call__(self, *argv: Any, **options: Any) -> Ended:
        """The one option is `env`, as of a process."""
        return _end_of_call(lambda: self._main(argv), folder=self.folder, **options)

    def _main(self, argv: Sequence[Any]) -> int:
        return cli.main([os.fsdecode(word) for word in argv])

    def by_clock(self, clock: StillClock, seconds: float, *argv: str) -> Ended:
        return by_clock(clock, seconds, parse(argv))


def by_clock(clock: Any, seconds: float, options: Any) -> Ended:
    """A call by another clock, and with `seconds` in the place of those of -t: a part of one no option can say."""
    with patch.object(call, "Waiter", lambda: Waiter(clock)):
        return _end_of_call(lambda: call.run(options.replace(timeout=seconds), receipt=clock))


def headless(*argv: str, **options: Any) -> Ended:
    """What `headless ...` does. The options are `folder`, `env`, and `stdin` (bytes)."""

    def main() -> int:
        try:
            return cli.tools_main(argv)
        except SystemExit as end:  # which is how argparse ends
            assert isinstance(end.code, int)
            return end.code

    open_database = Home.database
    with ExitStack() as stack:  # which closes what a command leaves to the end of its process
        opened = patch.object(Home, "database", lambda home: stack.enter_context(closing(open_database(home))))
        stack.enter_context(opened)
        return _end_of(main, **options)


class SteeredCommand(CommandHere):
    """One call, which other threads steer while it runs in the main thread: the script of its server sends it a signal,
    or lets its time pass. `shown` is the file that it prints to, `is_over` tells of its end; `wait`, `terminate` and
    `send_signal` are those of Popen.

    A pause of its own (between two connections) takes no time. `paces` are those of the deadlines that it sets one
    after the other; with 0.1 one comes after a tenth of its time. All further ones take the whole of it.
    """

    def __init__(self, folder: Path, *paces: float) -> None:
        super().__init__(folder)
        self.shown = folder / "stdout"
        self.is_over = threading.Event()
        self._ending = threading.Lock()
        self._clock = StillClock()
        self._clock.start()
        self._waiter = _SteeredWaiter(self._clock, paces)

    def __call__(self, *argv: Any, **options: Any) -> Ended:
        with patch.object(call, "Waiter", lambda: self._waiter), _open(self.shown) as stdout:
            return super().__call__(*argv, stdout=stdout, **options)

    def _main(self, argv: Sequence[Any]) -> int:
        for signum in _HANDLED:  # nothing that is sent to a call may reach the test runner
            signal.signal(signum, lambda *_: None)
        try:
            return super()._main(argv)
        finally:
            with self._ending:
                self.is_over.set()

    def let_pass(self, seconds: float) -> None:
        """Its clock goes on by so much. Not on Windows, where nothing would wake it."""
        assert _WAKE is not None
        self._clock.now += seconds
        self.send_signal(_WAKE)

    def send_signal(self, signum: int) -> None:
        with self._ending:  # afterwards it would reach the test runner
            if self.is_over.is_set():
                return
            if os.name == "nt":  # where `kill` ends a process
                signal.raise_signal(signum)
            else:
                os.kill(os.getpid(), signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> None:
        assert self.is_over.wait(timeout), "the call has not ended"


class _SteeredWaiter(Waiter):
    def __init__(self, clock: StillClock, paces: Sequence[float]) -> None:
        super().__init__(clock)
        self._steered = clock
        self._paces = list(paces)

    def set_deadline(self, seconds: float | None) -> None:
        if seconds is not None and self._paces:
            seconds *= self._paces.pop(0)
        super().set_deadline(seconds)

    def sleep(self, seconds: float) -> None:
        self._steered.now += seconds
        self.check()


def _end_of(
    main: Callable[[], int],
    *,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    stdout: IO[str] | None = None,
) -> Ended:
    """How it ends in this folder, with these variables only and these streams; without them, where and as the tests
    run. What it leaves to the end of its process is put right."""
    with ExitStack() as stack:
        given = stack.enter_context(_open())
        given.buffer.write(stdin)
        given.seek(0)
        stdout = stdout or stack.enter_context(_open())
        stderr = stack.enter_context(_open())
        for name, stream in (("stdin", given), ("stdout", stdout), ("stderr", stderr)):
            stack.enter_context(patch.object(sys, name, stream))
        if env is not None:
            stack.enter_context(patch.dict(os.environ, env, clear=True))
        stack.callback(sys.modules.pop, "planta_dialect", None)  # the file of PLANTA_PROTOCOL
        stack.enter_context(patch.object(sys, "path", sys.path[:]))
        if folder is not None:
            stack.callback(os.chdir, os.getcwd())
            os.chdir(folder)
        if threading.current_thread() is threading.main_thread():  # elsewhere none can be set
            stack.enter_context(_same_signals())
        code = main()
        shown, complaints = _content(stdout), _content(stderr)
    return CompletedProcess((), code, shown, complaints)


def _end_of_call(main: Callable[[], int], **options: Any) -> Ended:
    """The same of a call, which never shows a traceback; a rehearsal may show one of a job."""
    done = _end_of(main, **options)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def _open(path: Path | None = None) -> Any:
    """A file to write to, and to read from: one with a descriptor, as the command writes to it."""
    as_command: dict[str, Any] = {"mode": "w+", "encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    return tempfile.TemporaryFile(**as_command) if path is None else open(path, **as_command)


def _content(stream: IO[str]) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read().replace(os.linesep, "\n")


@contextmanager
def _same_signals() -> Iterator[None]:
    """Their handlers are as before in the end."""
    handlers = {signum: signal.getsignal(signum) for signum in _HANDLED}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
