"""Python programs of the project as processes that are forked, not started: a tenth of the time.

A fork server has imported the package. For each program it forks; the child gets the arguments, the folder, the
environment and the streams of the program, and runs its script as `__main__`. From there on it is a process like any
other: its signals, its streams and its exit status are real. What only a new interpreter shows, such as a signal while
it starts, is not: a program that needs one is `executed`.
"""

from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_LONGEST = 100_000  # bytes of one message: below what a socket takes at once
# What a new interpreter reads at its start, or hands to libraries that do.
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "SSL_", "OPENSSL_")
_NOT_IMPORTED = re.compile(r"windows|__main__|sitecustomize|recorder")  # they act when they are imported
_ENVIRONMENT = dict(os.environ)  # of the fork server
_asking = threading.Lock()  # one thread at a time: what the fork server answers does not say to whom
_OPTIONS = {"cwd", "env", "stdin", "stdout", "stderr", "text", "errors", "encoding", "bufsize"}


def start(program: list[Any], executed: bool = False, **options: Any) -> subprocess.Popen[Any]:
    """Start `python PROGRAM ARGUMENT...`, or `python -m MODULE ARGUMENT...`. The options are those of Popen."""
    message = None if executed or set(options) - _OPTIONS else _message(program, options)
    if message is None or not hasattr(os, "pidfd_open"):
        return subprocess.Popen([sys.executable, *program], **options)
    return _ForkedProcess([sys.executable, *program], message=message, **options)


def _message(program: list[Any], options: dict[str, Any]) -> bytes | None:
    """Return what the fork server has to know, or None if the program needs an interpreter of its own."""
    given = options.get("env")
    environment = dict(os.environ if given is None else given)
    if _at_start(environment) != _at_start(_ENVIRONMENT):
        return None
    words = [os.fsdecode(word) for word in program]
    folder = os.fsdecode(os.path.abspath(options.get("cwd") or os.getcwd()))
    message = json.dumps([words, folder, environment]).encode()
    return message if len(message) < _LONGEST and (words[0] == "-m" or not words[0].startswith("-")) else None


def _at_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


class _ForkedProcess(subprocess.Popen[Any]):
    """A Popen whose process is forked by the fork server, which reports its exit status by a pipe."""

    def __init__(self, args: list[Any], message: bytes, **options: Any) -> None:
        self._message = message
        super().__init__(args, **options)

    def _execute_child(self, args: object, *rest: Any) -> None:
        """Do what Popen does here: start the process, and close its ends of the pipes."""
        streams = rest[9:15]  # after executable, preexec_fn, ..., shell: both ends of the three pipes
        p2cread, _, _, c2pwrite, _, errwrite = streams
        given = [p2cread, c2pwrite, errwrite]
        files = [own if stream == -1 else stream for own, stream in enumerate(given)]
        self._ended, ended = os.pipe()
        try:
            with _asking:
                socket.send_fds(_server(), [self._message], [*files, ended])
                self.pid = int(_server().recv(20))
        finally:
            os.close(ended)
            self._close_pipe_fds(*streams)  # type: ignore[attr-defined]
        self._child_created = True
        self.args = args  # type: ignore[assignment]

    def _internal_poll(self, _deadstate: object = None, **_: object) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self._wait(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            status = os.read(self._ended, 20)
            os.close(self._ended)
            self.returncode = int(status)
        return self.returncode


@cache
def _server() -> socket.socket:
    """Start the fork server of this process, which ends with it."""
    own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, __file__, str(its.fileno())]
        process = subprocess.Popen(
            command,
            env=_ENVIRONMENT,
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end() -> None:
        own.close()
        process.wait()

    atexit.register(end)
    return own


# The fork server's side, which is a program


def _serve(control: socket.socket) -> list[str]:
    """Fork for each message. Return only in a child, which has become the process of a program: its words."""
    running: dict[int, tuple[int, int]] = {}  # by the descriptor of a process: its id, and where its end is reported
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                poll.unregister(ready)
                pid, ended = running.pop(ready)
                os.write(ended, b"%d" % _exit_status(os.waitpid(pid, 0)[1]))
                os.close(ended)
                os.close(ready)
                continue
            message, descriptors, _, _ = socket.recv_fds(control, 2 * _LONGEST, 4, socket.MSG_CMSG_CLOEXEC)
            if not message:
                os._exit(0)
            *streams, ended = descriptors
            pid = os.fork()
            if pid == 0:
                for descriptor in (control.fileno(), ended, *running, *(pipe for _, pipe in running.values())):
                    os.close(descriptor)
                control.detach()
                return _become(message, streams)
            for stream in streams:
                os.close(stream)
            process = os.pidfd_open(pid)
            running[process] = (pid, ended)
            poll.register(process, select.POLLIN)
            control.send(b"%d" % pid)


def _exit_status(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _become(message: bytes, streams: list[int]) -> list[str]:
    words: list[str]
    words, folder, environment = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    # As an interpreter makes them: what they are connected to decides how they are buffered.
    for number, (name, mode) in enumerate((("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))):
        old = getattr(sys, name)
        is_by_lines = old.line_buffering or os.isatty(number)
        file = open(number, mode, closefd=False)  # noqa: SIM115
        new = io.TextIOWrapper(file, old.encoding, old.errors, None, is_by_lines, old.write_through)
        setattr(sys, name, new)
    return words


def _run(words: list[str]) -> None:
    import runpy

    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = words[0] if os.path.isdir(words[0]) else os.path.dirname(words[0])
        runpy.run_path(words[0], run_name="__main__")


def _import_package() -> None:
    import gc
    import pkgutil

    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)
    import headless

    for module in pkgutil.walk_packages(headless.__path__, "headless."):
        if not _NOT_IMPORTED.search(module.name):
            with suppress(ImportError):  # of what is not installed: the program will say so
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _import_package()
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
