"""Holds what only Windows has, by ctypes: access lists, consoles, and the end of a session. Elsewhere it cannot be
imported.
"""

from __future__ import annotations

import ctypes
import msvcrt
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import wintypes

assert sys.platform == "win32"

# Access lists
#
# Files and folders that no other user can open from the moment at which they are made.
#
# The list names this user by its SID, which is unique, as no name is, and inherits nothing from the folders above.
# FA in SDDL is the right to do all with a file; SY is the system, BA are the administrators. See
# https://learn.microsoft.com/windows/win32/secauthz/ace-strings.

_SDDL_REVISION = 1
_GENERIC_WRITE, _CREATE_NEW, _FILE_ATTRIBUTE_NORMAL = 0x40000000, 1, 0x80
_INVALID_HANDLE = ctypes.c_void_p(-1).value
_TOKEN_QUERY, _TOKEN_USER = 8, 1

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.GetCurrentProcess.restype = wintypes.HANDLE
_kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
_kernel.LocalFree.argtypes = (ctypes.c_void_p,)
_kernel.CreateFileW.restype = wintypes.HANDLE
_advapi = ctypes.WinDLL("advapi32", use_last_error=True)
_advapi.OpenProcessToken.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(wintypes.HANDLE))
_advapi.GetTokenInformation.argtypes = (
    wintypes.HANDLE,
    ctypes.c_int,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.DWORD),
)
_advapi.ConvertSidToStringSidW.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (("length", wintypes.DWORD), ("descriptor", ctypes.c_void_p), ("is_inherited", wintypes.BOOL))


def create_secret_file(path: str) -> int:
    """Returns the descriptor, to be written, of a new file that only this user can open. Raises OSError."""
    with _security(f"D:P(A;;FA;;;{user_sid()})") as security:
        handle = _kernel.CreateFileW(
            path, _GENERIC_WRITE, 0, ctypes.byref(security), _CREATE_NEW, _FILE_ATTRIBUTE_NORMAL, None
        )
        if handle == _INVALID_HANDLE:
            raise ctypes.WinError(ctypes.get_last_error())
    return msvcrt.open_osfhandle(handle, os.O_WRONLY | os.O_BINARY)


def create_private_folder(path: str) -> None:
    """Creates a folder that is, with all that will be in it, for this user, the administrators and the system. Raises
    OSError."""
    with _security("D:P" + "".join(f"(A;OICI;FA;;;{sid})" for sid in (user_sid(), "SY", "BA"))) as security:
        if not _kernel.CreateDirectoryW(path, ctypes.byref(security)):
            raise ctypes.WinError(ctypes.get_last_error())


def user_sid() -> str:
    """Returns the SID of the user who runs this process: S-1-5-21-... Raises OSError."""
    token = wintypes.HANDLE()
    _check(_advapi.OpenProcessToken(_kernel.GetCurrentProcess(), _TOKEN_QUERY, ctypes.byref(token)))
    try:
        size = wintypes.DWORD()
        _advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(size))
        user = ctypes.create_string_buffer(size.value)  # a structure that begins with a pointer to the SID
        _check(_advapi.GetTokenInformation(token, _TOKEN_USER, user, size, ctypes.byref(size)))
        text = ctypes.c_void_p()
        sid = ctypes.cast(user, ctypes.POINTER(ctypes.c_void_p))[0]
        _check(_advapi.ConvertSidToStringSidW(sid, ctypes.byref(text)))
    finally:
        _kernel.CloseHandle(token)
    try:
        return ctypes.wstring_at(text.value or 0)
    finally:
        _kernel.LocalFree(text)


@contextmanager
def _security(sddl: str) -> Iterator[_SecurityAttributes]:
    """Raises OSError."""
    descriptor = ctypes.c_void_p()
    _check(
        _advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl, _SDDL_REVISION, ctypes.byref(descriptor), None
        )
    )
    try:
        yield _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
    finally:
        _kernel.LocalFree(descriptor)


def _check(result: int) -> None:
    if not result:
        raise ctypes.WinError(ctypes.get_last_error())


# The console
#
# isatty() is not enough: it is true of NUL, and Task Scheduler gives a job a console that is not visible.

_CONSOLE_CLASS = "ConsoleWindowClass"  # the console's own window; others stand for a terminal elsewhere: ssh, say
_UOI_FLAGS, _WSF_VISIBLE = 1, 1


class _UserObjectFlags(ctypes.Structure):
    _fields_ = (("inherit", wintypes.BOOL), ("reserved", wintypes.BOOL), ("flags", wintypes.DWORD))


def can_be_answered(descriptor: int) -> bool:
    """Returns whether this descriptor is a console, and a visible one."""
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


# The end of the session
#
# What Windows tells a process before it ends it: its console is closed, its user logs off, the machine goes down.
#
# Ctrl-C and Ctrl-Break are signals (SIGINT, SIGBREAK); these here are not. The process is ended when the handler
# returns, or after a few seconds (https://learn.microsoft.com/windows/console/handlerroutine).

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
