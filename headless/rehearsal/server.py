"""The server of a rehearsal, its folders, and the files of its jobs.

The server is a process of its own, which ends when the rehearsal closes its standard input.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from headless.client.preparation import effective_user
from headless.client.waiting import Waiter
from headless.dialects.vocabulary import PY_FILE, Job
from headless.errors import Interrupted, ParameterError, SessionError
from headless.options import Service
from headless.rehearsal.options import OwnOptions
from headless.server.home import Home
from headless.system import is_final

_LISTENING = "listening on "
_PACKAGE = Path(__file__).parent.parent
_SECONDS_TO_LET_GO = 5.0  # for a console, or a scanner for viruses, that still has a file of it open on Windows
_SECONDS_BETWEEN_TRIES = 0.05


def runs_as() -> tuple[str, str]:
    """Returns the user that the jobs run as, and a problem with that, or "": in a container a user may have no name."""
    try:
        return effective_user(), ""
    except ParameterError:
        number = str(os.geteuid())
        return number, f"the user number {number} has no name here: an osuser login of the command itself is a 2"


@contextmanager
def running_server(
    home: Home, own: OwnOptions, environment: Mapping[str, str], waiter: Waiter
) -> Iterator[tuple[subprocess.Popen[str], Service]]:
    """Starts a server with this home and these variables besides, and yields it with its address. It ends with this
    process, however that ends. Raises SessionError if it does not start, OSError, Interrupted."""
    log = home.folder / "log"
    # A group of its own, and on Windows a console: Ctrl-C is for the client, which says goodbye.
    with (
        open(log, "w", encoding="utf-8") as stderr,
        subprocess.Popen(
            [sys.executable, str(_PACKAGE), "serve", *_options(home, own)],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as server,
    ):
        assert server.stdin is not None and server.stdout is not None
        try:
            with waiter.interruptible():
                line = server.stdout.readline()
        except Interrupted:
            server.kill()  # it has nothing to lose yet
            raise
        if not line.startswith(_LISTENING):
            reason = log.read_text(encoding="utf-8").strip()
            raise SessionError(f"the server for the rehearsal cannot be started: {reason or 'it gave no reason'}")
        host, _, port = line[len(_LISTENING) :].strip().rpartition(":")
        try:
            yield server, Service(host, int(port), tls=False)
        finally:
            server.stdin.close()
            try:
                with waiter.interruptible():
                    server.wait()
            except Interrupted:
                ask_to_end(server)
                raise


def ask_to_end(server: subprocess.Popen[str]) -> None:
    """Asks the server to end at once. Windows cannot ask, only kill, which would leave the jobs of the server."""
    if os.name != "nt":
        server.terminate()


def _options(home: Home, own: OwnOptions) -> list[str]:
    options = ["--until-eof", "--end-jobs", "--log-level", "error", "--listen", "127.0.0.1:0"]
    options += ["--home", str(home.folder), "--trust-folders", "--trust-network-home", "--grace", "0"]
    options += ["--py", own.files_from or os.getcwd()]
    options += ["--import-from", make_stand_in(home.folder / "stand-in", own.stand_in)]
    options += ["--modules", own.modules_from] if own.modules_from else []
    return options + (["--dry-run"] if own.dry_run else [])


# Folders and files


@contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[str]:
    """Makes a folder, below `parent` if given, that only this user can read, and removes it at the end. Raises
    OSError."""
    folder = tempfile.TemporaryDirectory(prefix="planta-rehearsal-", dir=parent)
    try:
        yield folder.name
    finally:
        end = time.monotonic() + (_SECONDS_TO_LET_GO if os.name == "nt" else 0.0)
        while True:
            try:
                folder.cleanup()
                break
            except OSError:
                if time.monotonic() >= end:
                    raise
            time.sleep(_SECONDS_BETWEEN_TRIES)


def make_stand_in(folder: Path, code: str) -> str:
    """Makes the folder from which jobs get the module ppms, and returns its name. `code` is the file of that module, ""
    for a module that the jobs can import anyway, or else one that prints what is called. Raises OSError."""
    folder.mkdir()
    shutil.copyfile(Path(__file__).parent / "sitecustomize.py", folder / "sitecustomize.py")
    (folder / "ppms").write_text(code, encoding="utf-8", errors="surrogateescape")
    return str(folder)


def find_files(jobs: Iterable[Job], folder: str) -> tuple[tuple[Job, ...], list[str]]:
    """Returns the jobs with the names that their files have below the folder, and a sentence for each name that is
    another one. Raises SessionError if a file cannot be looked at now."""
    found, remarks = [], []
    for job in jobs:
        name = _name_here(job.text, folder) if job.kind == PY_FILE else job.text
        if name != job.text:
            remarks.append(f"-f {job.text!r} is {os.path.join(folder, name)!r}")
        found.append(job.replace(text=name))
    return tuple(found), remarks


def _name_here(name: str, folder: str) -> str:
    """Returns the file below the folder that has most of the last parts of this path, or else the name as it is."""
    if _is_file(folder, name):
        return name
    is_windows = "\\" in name
    path = PureWindowsPath(name) if is_windows else PurePosixPath(name)
    if not (path.is_absolute() or is_windows) or ".." in path.parts:
        return name
    parts = path.relative_to(path.anchor).parts
    # Without its beginning a relative path would be another one.
    beginnings = range(len(parts)) if path.anchor else range(1)
    tails = ("/".join(parts[begin:]) for begin in beginnings)
    return next((tail for tail in tails if _is_file(folder, tail)), name)


def _is_file(folder: str, name: str) -> bool:
    """Returns whether there is a file of this name below the folder. Raises SessionError."""
    path = os.path.join(folder, name)
    try:
        real = os.path.realpath(folder)
        return stat.S_ISREG(os.stat(path).st_mode) and os.path.commonpath([real, os.path.realpath(path)]) == real
    except ValueError:  # a name that no file can have; another drive of Windows
        return False
    except OSError as error:
        if is_final(error):
            return False
        raise SessionError(f"whether there is a file {path!r} cannot be found out now: {error.strerror}") from None
