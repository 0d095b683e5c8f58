"""One job: whether it can be run, what runs, and what its end means.

What touches a disk runs in threads. Whoever shows output reads it from the files in which it is stored, so a slow
reader does not slow the job down. Which job runs when is in queue.py, and how a process is started and ended in
process.py and the files that it names.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from headless.dialects.vocabulary import FAILED, MODULE, OK, PY_CODE, PY_FILE, STDERR, Job, replace_invalid_xml_chars
from headless.errors import HomeError
from headless.server.accounts import Account
from headless.server.home import MODULE_ID, Home
from headless.server.journal import INTERRUPTED, JobEnd
from headless.server.process import NotStarted, Process, ProcessEnd, Processes, ProcessSpec
from headless.server.settings import Settings
from headless.server.threads import Threads
from headless.system import is_final
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

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


class JobRefused(Exception):
    """There is no such module or file, or the account may not run it. The text is for the caller."""


def script_of(home: Home, session_id: str, number: int, job: Job) -> Path:
    """The script that the job runs; for code, where `Jobs.start` puts it. Raises JobRefused if there is none, or if
    others could have changed it, OSError if that cannot be known now."""
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
        path = _path_below(home.py, job.text) if job.kind == PY_FILE else ""
        refusal = account.refuses(job, path)  # first: a limited account does not learn what else there is
        if refusal:
            raise JobRefused(refusal)
        script_of(home, "", number, job)
        if time.monotonic() > end:
            raise TimeoutError


def _is_file(path: Path) -> bool:
    """Raises OSError if nobody knows now."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except ValueError:  # a name that no file can have
        return False
    except OSError as error:
        if not is_final(error):
            raise
        return False


def _inside(folder: Path, name: str) -> Path:
    """The file of this name below the folder, whatever links lead to. Raises JobRefused for one outside, OSError if
    nobody knows now."""
    try:
        if len(name) > _PATH_LENGTH_MAX:
            raise ValueError
        path = _resolved(folder / name)
        path.relative_to(_resolved(folder))
    except (ValueError, RuntimeError):  # RuntimeError: links in a circle
        raise JobRefused(f"{name!r} is no file below the folder for files of this server") from None
    return path


def _resolved(path: Path) -> Path:
    """Where the path leads, as far as there is anything. Raises OSError if nobody knows now: a link that cannot be read
    must not be taken for a file."""
    try:
        return path.resolve(strict=True)
    except OSError as error:
        if not is_final(error):
            raise
        return path.resolve()


def _path_below(folder: Path, name: str) -> str:
    """The path of this file below the folder, with all links followed. Raises JobRefused for one outside, OSError if
    nobody knows now."""
    return _inside(folder, name).relative_to(_resolved(folder)).as_posix()


class Jobs:
    """Starts jobs, finds those that an earlier server has started, and says how they have ended."""

    def __init__(self, home: Home, processes: Processes, threads: Threads, settings: Settings) -> None:
        self._home = home
        self._processes = processes
        self._threads = threads
        self._settings = settings
        self.home_id = home.identity

    @property
    def are_of_another_server(self) -> bool:
        """Whether the home was replaced: whatever runs is no longer for this server to end."""
        return bool(self._home.replaced)

    async def start(self, session_id: str, user: str, number: int, job: Job) -> Process:
        """Raises JobRefused if the script has gone since the session was accepted. Raises OSError or Busy
        if the job cannot be started now: then nothing has run."""
        spec = await self._threads.call(self._prepare, session_id, user, number, job)
        return await self._processes.start(spec)

    async def path_of(self, job: Job) -> str:
        """The path of the job's file, as Account.refuses needs it; "" for one outside of the folder. Raises OSError,
        Busy."""
        try:
            return await self._threads.call(_path_below, self._home.py, job.text)
        except JobRefused:
            return ""

    async def find(self, session_id: str, number: int) -> Process | NotStarted | None:
        """What has become of a job that an earlier server was about to start; None: nobody knows. Raises OSError."""
        return await self._processes.find(self._output(session_id, number))

    async def end_of(self, session_id: str, number: int, end: ProcessEnd | None) -> JobEnd:
        """What the end of its process means. Raises OSError if the reason for that cannot be read now."""
        if end is None:
            return JobEnd(INTERRUPTED, REASON_OF_LOSS)
        exit_status, signum = (end.status, None) if end.status >= 0 else (None, -end.status)
        state, message = OK, ""
        if end.was_asked:
            state, message = INTERRUPTED, "it was ended from outside"
        elif end.status:
            last_line = await self._threads.call(_last_line, self._home.output(session_id, number, STDERR))
            state, message = FAILED, last_line or _describe(end.status)
        return JobEnd(state, message, end.ended, end.seconds, exit_status, signum)

    async def forget(self, session_id: str, number: int) -> None:
        """The end of the job is in the journal: what only served to find it again may go."""
        await self._threads.call(_remove, self._home.output(session_id, number, "shim"))

    def _output(self, session_id: str, number: int) -> str:
        return str(self._home.output(session_id, number, "")).rstrip(".")

    def _prepare(self, session_id: str, user: str, number: int, job: Job) -> ProcessSpec:
        """Raises OSError, JobRefused."""
        self._home.check_held()  # whoever has it now may be about to start the same job
        script = script_of(self._home, session_id, number, job)
        self._home.output(session_id, number, "").parent.mkdir(mode=0o700, exist_ok=True)
        if job.kind == PY_CODE:
            _written(script, job.text)
        settings = self._settings
        if settings.dry_run:
            script = _written(self._home.output(session_id, number, "dry.py"), _DRY_RUN.format(str(script)))
        places = [settings.import_from, str(self._home.py)]
        environment = {
            **_environment(),
            "PYTHONPATH": os.pathsep.join(filter(None, places)),
            "PLANTA_HOME_ID": self.home_id,
            "PLANTA_SESSION": session_id,
            "PLANTA_USER": user,
            "PLANTA_JOB": str(number),
        }
        output = self._output(session_id, number)
        limits = settings.output_limit, settings.disk_floor
        return ProcessSpec(str(script), str(self._home.py), output, environment, *limits, self.home_id)


def _written(script: Path, text: str) -> Path:
    """Raises OSError."""
    script.write_bytes(text.encode("utf-8", "surrogateescape"))
    return script


def _environment() -> dict[str, str]:
    """What every job gets of the server's environment."""
    passed_on = {name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name.upper())}
    return {**passed_on, "PYTHONIOENCODING": "utf-8"}


def _last_line(stderr: Path) -> str:
    try:
        with open(stderr, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return ""
    return replace_invalid_xml_chars(next((line.strip() for line in reversed(lines) if line.strip()), ""))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _describe(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"
