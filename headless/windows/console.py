"""Whether somebody can answer at the console of a Windows process. Where that is asked is in terminal.py.

isatty() is not enough: it is true of NUL, and Task Scheduler gives a job a console that nobody sees.
"""

from __future__ import annotations

import ctypes
import msvcrt
import sys
from ctypes import wintypes

assert sys.platform == "win32"

_CONSOLE_CLASS = "ConsoleWindowClass"  # the console's own window; others stand for a terminal elsewhere: ssh, say
_UOI_FLAGS, _WSF_VISIBLE = 1, 1


class _UserObjectFlags(ctypes.Structure):
    _fields_ = (("inherit", wintypes.BOOL), ("reserved", wintypes.BOOL), ("flags", wintypes.DWORD))


def can_be_answered(descriptor: int) -> bool:
    """Whether this descriptor is a console, and one that somebody sees."""
    mode = wintypes.DWORD()
    kernel = ctypes.WinDLL("kernel32")
    try:
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(descriptor))
    except OSError:
        return False
    if not kernel.GetConsoleMode(handle, ctypes.byref(mode)):
        return False
    kernel.GetConsoleWindow.restype = wintypes.HWND
    window = wintypes.HWND(kernel.GetConsoleWindow())
    return bool(window) and _is_seen(window)


def _is_seen(window: wintypes.HWND) -> bool:
    user = ctypes.WinDLL("user32")
    name = ctypes.create_unicode_buffer(64)
    user.GetClassNameW(window, name, len(name))
    if name.value != _CONSOLE_CLASS:
        return True
    flags = _UserObjectFlags()
    user.GetProcessWindowStation.restype = wintypes.HANDLE
    station = wintypes.HANDLE(user.GetProcessWindowStation())
    user.GetUserObjectInformationW(station, _UOI_FLAGS, ctypes.byref(flags), ctypes.sizeof(flags), None)
    return bool(user.IsWindowVisible(window)) and bool(flags.flags & _WSF_VISIBLE)
