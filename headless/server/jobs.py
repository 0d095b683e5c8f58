"""What a job is: the script that it runs, whether it may, its environment, and what the end of its process means.

No function here starts anything. Those that touch a disk may block, and are called in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import stat
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headless.dialects.vocabulary import FAILED, MODULE, OK, PY_CODE, PY_FILE, STDERR, Job, replace_invalid_xml_chars
from headless.errors import HeadlessError, HomeError
from headless.server.accounts import Account
from headless.server.home import MODULE_ID, Home
from headless.server.journal import INTERRUPTED, JobEnd
from headless.server.settings import Settings
from headless.system import is_final
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_PATH_LENGTH_MAX = 4096  # characters
_LAST_LINE_BYTES = 4096  # of stderr, in which its last line is looked for
# What a job gets of the server's environment.
_ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TMPDIR|TEMP|TMP|"
    # Windows has these, and its programs expect them.
    r"SYSTEMROOT|WINDIR|SYSTEMDRIVE|PATHEXT|COMSPEC|NUMBER_OF_PROCESSORS|USERNAME|USERPROFILE|HOMEDRIVE|HOMEPATH|"
    r"APPDATA|LOCALAPPDATA|PROGRAMDATA|PROGRAMFILES|PROGRAMFILES\(X86\)|"
    r"PLANTA_REHEARSAL"  # a job that calls the command is still in the rehearsal
)
# What runs in the place of a script.
_DRY_RUN = """script = {0!r}
try:
    with open(script, "rb") as file:
        compile(file.read(), script, "exec", dont_inherit=True)
except (SyntaxError, ValueError) as error:
    raise SystemExit(type(error).__name__ + ": " + str(error))
print("not run, but compiled:", ascii(script))
"""
REASON_OF_LOSS = "what watched over the job was killed, or the machine was switched off"


class JobRefused(HeadlessError):
    """Means that there is no such module or file, or that the account may not run it. The text is for the caller."""


def script_of(home: Home, session_id: str, number: int, job: Job) -> Path:
    """Returns the script that the job runs; for code, where `prepare` puts it. Raises JobRefused if there is none, or
    if others could have changed it, OSError if that cannot be known now."""
    if job.kind == PY_CODE:
        return home.output(session_id, number, "py")
    if job.kind == MODULE:
        if not MODULE_ID.fullmatch(job.text):
            raise JobRefused(f"{job.text!r} is not the ID of a module")
        script = home.modules / f"{job.text}.py"
    else:
        script = _inside(home.py, job.text)
    kind = "module" if job.kind == MODULE else "file"
    if not _is_file(script):
        raise JobRefused(f"there is no {kind} {job.text!r} on this server")
    try:
        home.check_script(script)
    except HomeError as error:
        log.warning("not to be run: %s", escape_control_chars(str(error)))
        raise JobRefused(
            f"the {kind} {job.text!r} is where others can change it; the log of the server says more"
        ) from None
    return script


def check_scripts(home: Home, account: Account, jobs: Iterable[Job], seconds: float) -> None:
    """Raises JobRefused for the first job that cannot be run, or that the account may not run, TimeoutError if that
    takes longer than so many seconds, OSError if it cannot be known now."""
    end = time.monotonic() + seconds
    for number, job in enumerate(jobs, 1):
        path = path_below(home.py, job.text) if job.kind == PY_FILE else ""
        refusal = account.refuses(job, path)  # first: a limited account does not learn what else there is
        if refusal:
            raise JobRefused(refusal)
        script_of(home, "", number, job)
        if time.monotonic() > end:
            raise TimeoutError


def _is_file(path: Path) -> bool:
    """Raises OSError if that cannot be known now."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except ValueError:  # a name that no file can have
        return False
    except OSError as error:
        if not is_final(error):
            raise
        return False


def _inside(folder: Path, name: str) -> Path:
    """Returns the file of this name below the folder, with all links followed. Raises JobRefused for one outside,
    OSError if that cannot be known now."""
    try:
        if len(name) > _PATH_LENGTH_MAX:
            raise ValueError
        path = _resolved(folder / name)
        path.relative_to(_resolved(folder))
    except (ValueError, RuntimeError):  # RuntimeError: links in a circle
        raise JobRefused(f"{name!r} is no file below the folder for files of this server") from None
    return path


def _resolved(path: Path) -> Path:
    """Returns where the path leads, as far as there is anything. Raises OSError if that cannot be known now: a link
    that cannot be read must not be taken for a file."""
    try:
        return path.resolve(strict=True)
    except OSError as error:
        if not is_final(error):
            raise
        return path.resolve()


def path_below(folder: Path, name: str) -> str:
    """Returns the path of this file below the folder, with all links followed. Raises JobRefused for one outside,
    OSError if that cannot be known now."""
    return _inside(folder, name).relative_to(_resolved(folder)).as_posix()


# Processes


class QueuedJob(NamedTuple):
    """Names a job whose turn has come: by its session, its number in that, and the user who has submitted it."""

    session_id: str
    number: int
    user: str
    job: Job


class ProcessSpec(NamedTuple):
    """Holds what a platform needs to run a job.

    script, folder   what runs, and its working directory
    output           path of its files without their suffix: OUTPUT.stdout, OUTPUT.stderr
    environment      all of its environment variables
    output_limit     bytes of each stream that are stored
    disk_floor       bytes that the output leaves free on the disk
    """

    script: str
    folder: str
    output: str
    environment: dict[str, str]
    output_limit: int
    disk_floor: int


class ProcessEnd(NamedTuple):
    """Holds how a process ended.

    status      the exit status, or the negative number of the signal that ended it
    was_asked   whether it was asked to end before it ended by itself
    ended       seconds since the epoch
    seconds     how long it ran, by a clock that is never set
    lost        bytes of its output that were not stored
    """

    status: int
    was_asked: bool
    ended: float
    seconds: float
    lost: int = 0


class Process:
    """Watches and ends a process that was started, by this server or an earlier one. Each platform has its own.

    pid    its number; 0 where it may not have started, or has ended before it was looked for
    age    seconds that it had run when it was found; 0 where that is not known
    """

    def __init__(self, end: Coroutine[Any, Any, ProcessEnd | None]) -> None:
        self.pid = 0
        self.age = 0.0
        self._end = asyncio.ensure_future(end)

    async def wait(self) -> ProcessEnd | None:
        """Returns how it ended; None if that cannot be known: its shim or its server was killed."""
        return await asyncio.shield(self._end)

    async def end(self) -> None:
        """Ends it and all that it has started: asks, and kills what is left after a second. Returns when that is done,
        within a few seconds whatever the process does. Does nothing to a process that has ended."""


async def known(value: _T) -> _T:
    """Returns what need not be waited for."""
    return value


def output_of(home: Home, session_id: str, number: int) -> str:
    """Returns the path of the files of a job, without their suffix."""
    return str(home.output(session_id, number, "")).rstrip(".")


def prepare(home: Home, settings: Settings, queued: QueuedJob) -> ProcessSpec:
    """Returns what runs for this job; its code, if it has any, is in a file then. Raises JobRefused, OSError."""
    session_id, number, user, job = queued
    home.check_held()  # a server that has the home now may be about to start the same job
    script = script_of(home, session_id, number, job)
    home.output(session_id, number, "").parent.mkdir(mode=0o700, exist_ok=True)
    if job.kind == PY_CODE:
        _write(script, job.text)
    if settings.dry_run:
        program = _DRY_RUN.format(str(script))
        script = home.output(session_id, number, "dry.py")
        _write(script, program)
    environment = {
        **{name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name.upper())},
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join(filter(None, (settings.import_from, str(home.py)))),
        "PLANTA_HOME_ID": home.identity,
        "PLANTA_SESSION": session_id,
        "PLANTA_USER": user,
        "PLANTA_JOB": str(number),
    }
    output = output_of(home, session_id, number)
    return ProcessSpec(str(script), str(home.py), output, environment, settings.output_limit, settings.disk_floor)


def _write(script: Path, text: str) -> None:
    script.write_bytes(text.encode("utf-8", "surrogateescape"))


def job_end(output: str, end: ProcessEnd | None) -> JobEnd:
    """Returns what the end of its process means for the job with this output. Raises OSError if stderr cannot be
    read."""
    if end is None:
        return JobEnd(INTERRUPTED, REASON_OF_LOSS)
    exit_status, signum = (end.status, None) if end.status >= 0 else (None, -end.status)
    state, message = OK, ""
    if end.was_asked:
        state, message = INTERRUPTED, "it was ended from outside"
    elif end.status:
        state, message = FAILED, _last_line(Path(f"{output}.{STDERR}")) or _describe(end.status)
    return JobEnd(state, message, end.ended, end.seconds, exit_status, signum)


def _last_line(stderr: Path) -> str:
    try:
        with open(stderr, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return ""
    return replace_invalid_xml_chars(next((line.strip() for line in reversed(lines) if line.strip()), ""))


def _describe(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"
