"""One job: whether it can be run, how it is run, and how it has ended.

A job writes straight into the files that store its output. Whoever shows the output reads it from there, so a slow
reader does not slow the job down, and a job that prints without end does not fill the server's memory. Which job runs
when is in batch_queue.py, and how a process is started and ended in process.py and the files that it names.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from headless.protocol.text import replace_invalid_xml_chars
from headless.protocol.vocabulary import FAILED, MODULE, OK, PY_CODE, STDERR, STDOUT, Job
from headless.server.home import Home
from headless.server.journal import INTERRUPTED, AcceptedBatch
from headless.server.process import LOST, Process, Processes, ProcessSpec

_MODULE_ID = re.compile(r"[0-9A-Za-z_]{1,64}")
_LAST_LINE_BYTES = 4096  # of stderr, in which its last line is looked for
# What a job gets of the server's environment.
_ENVIRONMENT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_[A-Z]+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|PATHEXT|COMSPEC|"
    r"USERPROFILE|APPDATA|LOCALAPPDATA|PROGRAMDATA|PROGRAMFILES|NUMBER_OF_PROCESSORS"
)


class JobRefused(Exception):
    """There is no such module or file. The text is for the caller."""


def script_of(home: Home, session: str, number: int, job: Job) -> Path:
    """The script that the job runs; for code, where `RunningJob.start` puts it. Raises JobRefused if there is none."""
    if job.kind == PY_CODE:
        return home.output(session, number, "py")
    if job.kind == MODULE:
        if not _MODULE_ID.fullmatch(job.text):
            raise JobRefused(f"{job.text!r} is not the ID of a module")
        script = home.modules / f"{job.text}.py"
    else:
        script = _inside(home.py, job.text)
    if not _is_file(script):
        raise JobRefused(f"there is no {'module' if job.kind == MODULE else 'file'} {job.text!r} on this server")
    return script


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _inside(folder: Path, name: str) -> Path:
    """The file of this name below the folder, whatever links lead to. Raises JobRefused for one outside."""
    try:
        path = (folder / name).resolve()
        path.relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        raise JobRefused(f"{name!r} is no file below the folder for files of this server") from None
    return path


class RunningJob:
    """A job from its start to its end."""

    def __init__(self, process: Process, stderr: Path) -> None:
        self._process = process
        self._stderr = stderr
        self._interruption = ""

    @classmethod
    async def start(cls, home: Home, processes: Processes, batch: AcceptedBatch, number: int) -> RunningJob:
        """Raises OSError if no process can be had, JobRefused if the script has gone since the batch was accepted."""
        job = batch.jobs[number - 1]
        script = script_of(home, batch.session, number, job)
        if job.kind == PY_CODE:
            script.write_bytes(job.text.encode("utf-8"))
        stdout, stderr = (home.output(batch.session, number, stream) for stream in (STDOUT, STDERR))
        environment = {
            "PYTHONPATH": str(home.py),
            "PLANTA_SESSION": batch.session,
            "PLANTA_USER": batch.user,
            "PLANTA_JOB": str(number),
        }
        spec = ProcessSpec(str(script), str(home.py), str(stdout), str(stderr), environment)
        return cls(await processes.start(spec), stderr)

    async def wait(self) -> tuple[str, str]:
        """Waits for the end. How the job ended, which is OK, FAILED or INTERRUPTED, and why. Raises OSError."""
        status = await self._process.wait()
        if self._interruption:
            return INTERRUPTED, self._interruption
        if status == 0:
            return OK, ""
        return FAILED, _last_line(self._stderr) or _describe(status)

    async def interrupt(self, reason: str) -> None:
        """Ends the job and all that it has started."""
        self._interruption = reason
        await self._process.end()


def environment() -> dict[str, str]:
    """What every job gets of the server's environment."""
    passed_on = {name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name.upper())}
    return {**passed_on, "PYTHONIOENCODING": "utf-8"}


def _last_line(stderr: Path) -> str:
    with open(stderr, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE_BYTES))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return replace_invalid_xml_chars(next((line.strip() for line in reversed(lines) if line.strip()), ""))


def _describe(status: int) -> str:
    if status == LOST:
        return "the process that jobs are started from has ended, and the job with it"
    if status > 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"
