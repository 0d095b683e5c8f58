"""The signals that ask the process to end.

A handler notes them and does nothing else. They become an exception only by `check`, so that none strikes between two
steps that belong together; or at once, inside `interruptible`.
"""

from __future__ import annotations

# The built-in part of `signal`, which wraps its numbers into enums: that costs each call half a millisecond.
import _signal as signal  # type: ignore[import-not-found]
import os
import socket
import time
from contextlib import contextmanager, suppress

from headless.errors import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any, NoReturn

# SIGHUP does not exist on Windows, SIGBREAK (Ctrl-Break) nowhere else.
ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
_STATUS_CONTROL_C_EXIT = 0xC000013A - 2**32  # as a signed number
_SECONDS_TO_ARRIVE = 0.1


class SignalCatcher:
    """Use it as a context manager, in the main thread: inside it the ending signals are noted, outside they have their
    old meaning. A signal that was ignored when the process began stays ignored (nohup).

    `is_settled`: how the process ends is written down, and no signal changes it.
    """

    def __init__(self) -> None:
        self._caught: int | None = None
        self._is_interruptible = False
        self.is_settled = False
        self._handlers: dict[int, Any] = {}
        self.wakeup: socket.socket | None = None  # becomes readable when a signal comes

    def __enter__(self) -> SignalCatcher:
        # PEP 475 would resume a select that a signal interrupts: bytes in this socket end it.
        wakeup, self._waker = socket.socketpair()
        self.wakeup = wakeup
        wakeup.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for signum in ENDING_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._handlers[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_settled:  # else a signal could still end the process otherwise
            for signum, handler in self._handlers.items():
                with suppress(OSError):  # how the call has ended stays as it is
                    signal.signal(signum, handler)
        signal.set_wakeup_fd(-1)
        wakeup, self.wakeup = self.wakeup, None
        for end in (wakeup, self._waker):
            with suppress(OSError):
                if end:
                    end.close()
        if self._caught is not None and not self.is_settled:  # too late for a check, and not to be lost
            if signal.getsignal(self._caught) is signal.SIG_DFL:
                end_process_by(self._caught)
            signal.raise_signal(self._caught)

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self._caught is not None:
            signum, self._caught = self._caught, None
            raise Interrupted(signum)

    def drain(self) -> None:
        """Empties `wakeup`. The handlers of other signals fill it, too."""
        with suppress(BlockingIOError):
            if self.wakeup:
                self.wakeup.recv(64)

    def settle(self) -> None:
        """Makes this the point of no return: from now on the process ends as it has been written down, until then by
        the signal. Raises Interrupted if one has come before."""
        self.is_settled = True
        if self._caught is not None:
            self.is_settled = False
            self.check()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside it a signal raises Interrupted at once: for what waits by itself, as getpass does."""
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = False

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._caught = signum
        if self._is_interruptible:
            self.check()


def end_process_by(signum: int) -> NoReturn:
    """Ends the process by this signal, or as Windows says that: raising one ends it with 3 there, which is a return
    code with another meaning. The first process of a container ends with 128 + the signal's number: the kernel drops a
    signal that has its default action there (pid_namespaces(7))."""
    if os.name == "nt":
        os._exit(_STATUS_CONTROL_C_EXIT)
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    time.sleep(_SECONDS_TO_ARRIVE)
    os._exit(128 + signum)
