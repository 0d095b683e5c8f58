"""What a scheduler starts, in values that are the same for every format: entries of a scheduler, and the calls of the
command in them.

How a format is read stands with the format: crontab.py, systemd.py, task_scheduler.py. How calls are found in a command
is in shell.py and batch.py. What is wrong with them is no matter of this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headless.admin.schedule import Schedule


class Scheduler(Enum):
    """What starts an entry."""

    CRON = "cron"
    SYSTEMD = "systemd"
    TASK_SCHEDULER = "Task Scheduler"
    SCRIPT = "script"  # a shell or batch script, which something else has to start


class Language(Enum):
    """Who reads the text of a command."""

    SHELL = "shell"  # sh, dash, ksh, bash
    SYSTEMD = "systemd"
    BATCH = "batch"  # cmd.exe
    WINDOWS = "windows"  # the program itself, as CreateProcess gives it the text


@dataclass(frozen=True)
class Place:
    """Where something stands. `line` counts from 1; 0 is the file as a whole."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True)
class Text:
    """A text that was taken out of a file. Its character i stands at positions[i] there, in characters from the
    beginning; what an escape has made of several ones has the position of the first. The last position is its end."""

    text: str
    positions: tuple[int, ...]

    @classmethod
    def of(cls, content: str, begin: int, end: int) -> Text:
        """What stands there, as it is."""
        return cls(content[begin:end], tuple(range(begin, end + 1)))


@dataclass(frozen=True)
class Word:
    """One word of a command, as the program gets it. It is not certain if it has an expansion whose value cannot be
    known from the file; then the text has the source in the place of the value. `begin` and `end` are where it stands
    in the file, with its quotes."""

    text: str
    positions: tuple[int, ...]
    begin: int
    end: int
    is_certain: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether it stands in the file as the program gets it, and so can be replaced there."""
        return self.positions == tuple(range(self.begin, self.end + 1))


@dataclass(frozen=True)
class Entry:
    """One thing that a scheduler starts: the line of a crontab, an ExecStart of a service, an action of a task; or a
    whole script that others call."""

    place: Place
    scheduler: Scheduler
    language: Language
    command: Text
    stdin: str = ""
    user: str | None = None  # None: not known
    folder: str | None = None  # in which the command begins; None: not known
    environment: Mapping[str, str] = field(default_factory=dict)  # what the scheduler sets, as far as the file tells
    shell: str = "/bin/sh"  # that reads the command, where one does
    schedule: Schedule | None = None  # None: not known
    wrappers: tuple[Word, ...] = ()  # of a script: what stands in front of it in the line that starts it


@dataclass(frozen=True)
class Redirection:
    """One redirection, as the shell does it, in its order: `2>&1` has the descriptor 2, the operator `>&` and the
    target 1; `> FILE` has the descriptor 1 and the operator `>`."""

    descriptor: int
    operator: str
    target: str
    begin: int
    end: int


class Fate(Enum):
    """What becomes of the return code of a call."""

    RESULT = "result"  # it is that of the whole entry
    HEARD = "heard"  # something in the entry depends on it
    LOST = "lost"  # something else takes its place


@dataclass(frozen=True)
class Call:
    """One call of planta_headless.py in an entry."""

    entry: Entry
    place: Place  # of the line in which the call begins
    script: Word  # planta_headless.py, as it is called
    interpreter: Word | None  # None: the script itself is started, by its first line
    options: tuple[Word, ...]  # the arguments of the script
    wrappers: tuple[Word, ...] = ()  # the programs in front, from the outside in: flock, chronic
    environment: Mapping[str, str] = field(default_factory=dict)  # for the call, as far as it is known
    redirections: tuple[Redirection, ...] = ()  # from the outside in
    folder: str | None = None  # in which the call begins; None: not known
    fate: Fate = Fate.RESULT
    lost_to: str = ""  # what takes the place of a return code that is lost
