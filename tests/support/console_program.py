"""The program that windows_console.py starts with a console of its own. It starts a command there, and does what it is
told: a line of JSON on standard input for each thing, and a line with the return code, or null, and the screen for each
on standard output. When its input ends, so does the command."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from ctypes import byref, wintypes
from typing import Any

assert sys.platform == "win32"

_COLUMNS, _LINES = 200, 150  # of the screen, at least what its window has
_GENERIC_READ_WRITE, _SHARED, _OPEN_EXISTING = 0xC0000000, 3, 3
_KEY_EVENT, _LEFT_CTRL, _CTRL_C_EVENT = 1, 8, 0


class _KeyEvent(ctypes.Structure):
    _fields_ = (
        ("is_down", wintypes.BOOL),
        ("count", wintypes.WORD),
        ("virtual_key", wintypes.WORD),
        ("scan_code", wintypes.WORD),
        ("character", wintypes.WCHAR),
        ("control_keys", wintypes.DWORD),
    )


class _InputRecord(ctypes.Structure):
    _fields_ = (("type", wintypes.WORD), ("key", _KeyEvent))


class _Console:
    """The console of this process."""

    def __init__(self) -> None:
        self._system = ctypes.WinDLL("kernel32", use_last_error=True)
        self._system.CreateFileW.restype = wintypes.HANDLE
        self._input, self._screen = self._open("CONIN$"), self._open("CONOUT$")
        self._check(self._system.SetConsoleScreenBufferSize(self._screen, wintypes._COORD(_COLUMNS, _LINES)))

    def _open(self, name: str) -> wintypes.HANDLE:
        handle = self._system.CreateFileW(name, _GENERIC_READ_WRITE, _SHARED, None, _OPEN_EXISTING, 0, None)
        self._check(handle != wintypes.HANDLE(-1).value)
        return wintypes.HANDLE(handle)

    def _check(self, is_done: Any) -> None:
        if not is_done:
            raise ctypes.WinError(ctypes.get_last_error())

    def type(self, text: str) -> None:
        for character in text:
            is_ctrl_c = character == "\x03"
            for is_down in (True, False):
                key = _KeyEvent(is_down, 1, ord("C") if is_ctrl_c else 0, 0, character, _LEFT_CTRL if is_ctrl_c else 0)
                record, written = _InputRecord(_KEY_EVENT, key), wintypes.DWORD()
                self._check(self._system.WriteConsoleInputW(self._input, byref(record), 1, byref(written)))

    def press_ctrl_c(self) -> None:
        self._check(self._system.GenerateConsoleCtrlEvent(_CTRL_C_EVENT, 0))

    def shown(self) -> str:
        size, read = _COLUMNS * _LINES, wintypes.DWORD()
        buffer = ctypes.create_unicode_buffer(size + 1)
        self._check(
            self._system.ReadConsoleOutputCharacterW(self._screen, buffer, size, wintypes._COORD(0, 0), byref(read))
        )
        text = ctypes.wstring_at(buffer, size)
        return "\n".join(text[start : start + _COLUMNS].rstrip(" \0") for start in range(0, size, _COLUMNS)).rstrip()


def _main() -> None:
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C comes to every process at the console
    console = _Console()
    terminal = [os.open(name, os.O_RDWR) for name in ("CONIN$", "CONOUT$", "CONOUT$")]
    process = subprocess.Popen(sys.argv[1:], stdin=terminal[0], stdout=terminal[1], stderr=terminal[2])
    for line in sys.stdin:
        request, *arguments = json.loads(line)
        if request == "type":
            console.type(*arguments)
        elif request == "ctrl-c":
            console.press_ctrl_c()
        code = process.poll()  # before what is shown, which then is all
        print(json.dumps([code, console.shown()]), flush=True)
    process.kill()
    process.wait()


if __name__ == "__main__":
    _main()
