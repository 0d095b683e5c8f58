"""What Windows tells a process before it ends it: its console is closed, its user logs off, the machine goes down.

Ctrl-C and Ctrl-Break are signals (SIGINT, SIGBREAK); these here are not. The process is ended when the handler returns,
or after a few seconds (https://learn.microsoft.com/windows/console/handlerroutine).
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from ctypes import wintypes

assert sys.platform == "win32"

_CTRL_CLOSE, _CTRL_LOGOFF, _CTRL_SHUTDOWN = 2, 5, 6
_SECONDS = 60.0  # more than Windows gives

_handlers = []  # which must not be collected as long as the process lives


def on_end(request_stop: Callable[[], None]) -> None:
    """Calls this function, in a thread of its own, and gives the process all the time that Windows does to end by
    itself."""

    def handle(event: int) -> bool:
        if event not in (_CTRL_CLOSE, _CTRL_LOGOFF, _CTRL_SHUTDOWN):
            return False  # for the handlers of the signals
        request_stop()
        time.sleep(_SECONDS)
        return True

    handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)(handle)
    _handlers.append(handler)
    ctypes.WinDLL("kernel32").SetConsoleCtrlHandler(handler, True)
