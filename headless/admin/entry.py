"""What a scheduler starts, in values that are the same for every format: entries of a scheduler, and the calls of the
command in them.

How a format is read stands with the format: crontab.py, systemd.py, task_scheduler.py. How calls are found in a command
is in shell.py and batch.py. What is wrong with them is no matter of this file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Optional


class Scheduler(Enum):
    """What starts an entry."""

    CRON = "cron"
    SYSTEMD = "systemd"
    TASK_SCHEDULER = "Task Scheduler"
    SCRIPT = "script"  # a shell or batch script, which something else has to start


class Language(Enum):
    """Who reads the text of a command."""

    SH = "sh"  # sh, dash, ksh, bash
    SYSTEMD = "systemd"
    BATCH = "batch"  # cmd.exe
    WINDOWS = "windows"  # CreateProcess, without cmd.exe


@dataclass(frozen=True)
class Place:
    """Where something stands. `line` counts from 1; 0 is the file as a whole."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True)
class Text:
    """A text that was taken out of a file: positions[i] is where its character i stands there, counted in characters.
    What an escape has made of several characters has the position of the first one. There is one position more than
    there are characters: where the text ends."""

    text: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One thing that a scheduler starts: the line of a crontab, an ExecStart of a service, an action of a task; or a
    whole script that others call."""

    place: Place
    scheduler: Scheduler
    language: Language
    command: Text
    stdin: str | None = None  # None: nothing
    user: str | None = None  # None: not known
    folder: str | None = None  # in which the command begins; None: the home of the user
    environment: dict[str, str] = field(default_factory=dict)  # all that the scheduler sets, and nothing else
    shell: str = "/bin/sh"  # that reads the command, where one does
    schedule: Optional[Schedule] = None


@dataclass(frozen=True)
class Schedule:
    """When an entry is started. `text` is how the file says it."""

    text: str


@dataclass(frozen=True)
class Word:
    """One word of a command, as the program gets it. It is not certain if an expansion is in it whose value cannot be
    known from the file; the text then has its source in the place of the value."""

    text: str
    is_certain: bool
    begin: int  # where it stands in the text of the command, with its quotes
    end: int


@dataclass(frozen=True)
class Redirection:
    """One redirection of a call, as the shell does it, in its order: `2>&1` has the descriptor 2, the operator ">&"
    and the target "1"; `> FILE` has the descriptor 1, the operator ">" and the target FILE."""

    descriptor: int
    operator: str
    target: Word
    begin: int
    end: int


@dataclass(frozen=True)
class Call:
    """One call of planta_headless.py in an entry."""

    entry: Entry
    place: Place  # of the line that the call begins in
    script: Word  # planta_headless.py, as it is called
    interpreter: Word | None  # None: the script itself is started, by its first line
    interpreter_options: tuple[Word, ...]  # between the interpreter and the script
    options: tuple[Word, ...]  # the arguments of the script
    wrappers: tuple[tuple[Word, ...], ...] = ()  # what stands in front, from the outside in: ("flock", "-n", FILE)
    environment: tuple[tuple[str, Word], ...] = ()  # what the command itself sets for the call
    redirections: tuple[Redirection, ...] = ()  # its own and those of what it stands in, from the outside in
    folder: Word | None = None  # that the command has changed to with cd, if it has
    # Why nobody learns the return code, as a sentence, or "": "what tee returns is taken for it".
    lost_code: str = ""
