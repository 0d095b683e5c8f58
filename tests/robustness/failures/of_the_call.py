"""The ways to fail that lie in the call: its options, its files, its machine, and a person at a terminal."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from robustness.failures.way import CHALLENGE, NOT, Prepare, WatchedPeer, Way, answer, secrets
from support.credentials import HASH, PASSWORD
from support.dialogues import challenging
from support.sockets import full_listener

if TYPE_CHECKING:
    from support.terminal import Terminal  # not on Windows

# Before there is a connection


def secret(content: str | bytes = HASH, mode: int = 0o400) -> Prepare:
    """Makes the password file."""

    def prepare(folder: Path) -> None:
        path = folder / "secret"
        path.unlink()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    return prepare


def no_secret(folder: Path) -> None:
    (folder / "secret").unlink()


def as_another_user() -> AbstractContextManager[object]:
    return patch.object(os, "geteuid", lambda: 4711)


def secret_of_another_user(folder: Path) -> None:
    if os.geteuid() == 0:  # root's files are everybody's
        os.chown(folder / "secret", 4712, -1)


def python(name: str, code: str) -> Prepare:
    """Puts a module where the command's Python finds it first. `sitecustomize` is run when Python starts."""

    def prepare(folder: Path) -> None:
        path = folder / "python" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)

    return prepare


def without(library: str) -> Prepare:
    return python(f"{library}/__init__.py", f"raise ImportError('no {library} here', name='{library}')")


def descriptors(count: int) -> Prepare:
    return python(
        "sitecustomize.py", f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))"
    )


def without_listener(stack: ExitStack) -> str:
    bound = stack.enter_context(socket.socket())
    bound.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{bound.getsockname()[1]}"


def terminated_at_the_prompt(terminal: Terminal) -> None:
    terminal.answer("half a pass")
    terminal.process.terminate()


BEFORE_A_CONNECTION = [
    Way("long name", 2, NOT, "-u has .*characters, at most", None, ("-u", "x" * 257)),
    Way("many jobs", 2, NOT, "there are .*jobs, at most", None, ("-c", "pass") * 10_000),
    Way("control character", 2, NOT, "has a control character", None, ("-c", "\x01")),
    Way("no password file", 2, NOT, "does not exist", None, CHALLENGE, no_secret),
    Way("password file below a file", 2, NOT, "cannot be opened", None, ("-u", "R41", "-p", "secret/secret")),
    Way("password file that cannot be read", 1, NOT, "cannot be read", None, ("-u", "R41", "-p", "/proc/self/mem")),
    Way("password file that is a folder", 2, NOT, "is not a regular file", None, ("-u", "R41", "-p", "/")),
    Way("password file too large", 2, NOT, "a hash has 60", None, CHALLENGE, secret(HASH * 100)),
    Way("password file of another user", 2, NOT, "belongs to user number", None, CHALLENGE, secret_of_another_user,
        around=as_another_user),
    Way("password file for others", 2, NOT, "is open to others", None, CHALLENGE, secret(mode=0o404)),
    Way("password file without a hash", 2, NOT, "the password file .*one bcrypt hash", None, CHALLENGE,
        secret("hunter2")),
    Way("password file with a byte order mark", 2, NOT, "begins with a byte order mark", None, CHALLENGE,
        secret("\ufeff" + HASH)),
    Way("password file with NUL bytes", 2, NOT, "holds NUL bytes", None, CHALLENGE, secret(HASH + "\0\0")),
    Way("hash of a low cost", 2, NOT, "holds a hash that cannot be used: .*cost of 9", None, CHALLENGE,
        secret(HASH.replace("$10$", "$09$"))),
    Way("user without a name", 2, NOT, "has no name here", around=as_another_user),
    Way("no lxml", 2, NOT, "the library lxml cannot be loaded", None, (), without("lxml"), as_process=True),
    Way("name not resolved", 1, NOT, "cannot be resolved", None, ("-s", "no-such-host.invalid:1")),
    Way("connection refused", 1, NOT, "no connection to.*refused", service=without_listener),
    Way("connection not accepted", 1, NOT, "in time", None, ("-t", "1"), service=full_listener, paces=(0.1,)),
    Way("signal before there is a connection", -signal.SIGTERM, NOT, "ended by signal 15", None, CHALLENGE, no_secret,
        terminated_at_the_prompt),
    Way("no descriptor for a library", 1, NOT, "Too many open files", None, (), descriptors(5),
        as_process=True),
    Way("no descriptor for a signal", 1, NOT, "Too many open files", None, (), descriptors(4),
        as_process=True),
]  # fmt: skip


# A person at a terminal makes the password file


def nothing(terminal: Terminal) -> None:
    pass


NEW = ("-u", "R41", "-p", "secrets/r41")


def secrets_without_bcrypt(folder: Path) -> None:
    secrets(folder)
    without("bcrypt")(folder)


def while_the_folder_goes_away(peer: WatchedPeer) -> None:
    shutil.rmtree(peer.shown.parent / "secrets")
    challenging()(peer)


AT_A_TERMINAL = [
    Way("name that no file can have", 2, NOT, "is not the name of a password file", None,
        ("-u", "R41", "-p", "secrets/missing/.."), secrets, nothing),
    Way("no folder for the password file", 2, NOT, "cannot be made in its folder", None, NEW, types=nothing),
    Way("no bcrypt", 2, NOT, "the library bcrypt cannot be loaded", None, NEW, secrets_without_bcrypt, nothing),
    Way("end of file for a password", 2, NOT, "no password was given, or", None, NEW, secrets, answer("\x04")),
    Way("Ctrl-C for a password", 2, NOT, "no password was given$", None, NEW, secrets, answer("\x03")),
    Way("empty password", 2, NOT, "the password has .*0 bytes", None, NEW, secrets, answer("\n")),
    Way("long password", 2, NOT, "the password has .*73 bytes", None, NEW, secrets, answer("x" * 73 + "\n")),
    Way("password that is no text", 2, NOT, "the password is not text in", None, NEW, secrets, answer(b"\xff\n")),
    Way("password with a NUL", 2, NOT, "the password has a NUL.*; the password file .*was not made", None, NEW, secrets,
        answer("a\x00b\n")),
    Way("password file cannot be made", 2, NOT, "cannot be made:", while_the_folder_goes_away, NEW, secrets,
        answer(PASSWORD + "\n")),
]  # fmt: skip
