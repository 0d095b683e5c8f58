"""The program that terminal.py starts: it makes the terminal its own, and goes on as another program of Python."""

from __future__ import annotations

import fcntl
import os
import runpy
import sys
import termios


def _main(umask: str, first: str, *rest: str) -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(int(umask))
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = [*rest]
        sys.path[0] = os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        sys.path[0] = first if os.path.isdir(first) else os.path.dirname(first)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _main(*sys.argv[1:])
