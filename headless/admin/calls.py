"""Holds what every format is read into: the entries of a scheduler, and the calls of planta_headless.py in them.

A call is recognized by its words, also behind other programs (nice, flock, sudo). An offset counts the characters from
the beginning of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from headless.admin.files import Place
from headless.admin.programs import base_name
from headless.admin.rules import Edit, Finding, finding
from headless.admin.schedule import Schedule
from headless.options import PROGRAM

# The script, or what pip makes of it. A folder may have its name, too.
COMMAND = re.compile(r"planta_headless(?:\.py|\.exe)?")
MENTIONED = re.compile(r"planta_headless(?:\.py|\.exe|(?![\w./\\-]))")
PYTHON = re.compile(r"(?:python[\d.]*w?|pypy[\d.]*|pyw?)(?:\.exe)?", re.IGNORECASE)
STDOUT_AND_STDERR = frozenset((1, 2))
_PYTHON_VALUES = ("-W", "-X", "-Q", "--check-hash-based-pycs")  # options with a value


@dataclass(frozen=True)
class Text:
    """Holds a text that was taken out of a file. Its character i is at offsets[i] there; what an escape has made of
    several characters has the offset of the first. The last offset is the end of the text."""

    text: str
    offsets: Sequence[int]

    @classmethod
    def of(cls, content: str, begin: int, end: int) -> Text:
        """Returns this part of a file, as it is."""
        return cls(content[begin:end], range(begin, end + 1))


@dataclass(frozen=True)
class Word:
    """Holds one word of a command, as the program gets it. It is not certain if the file does not say the value of an
    expansion in it; then the text has the source in place of the value. `begin` and `end` are offsets, with quotes."""

    text: str
    is_certain: bool
    begin: int
    end: int
    offsets: tuple[int, ...] = ()  # of its characters and its end, if a shell has made it

    def as_text(self) -> Text:
        """Returns the word as a command of its own, as eval and sh -c take it."""
        return Text(self.text, self.offsets)


class Scheduler(Enum):
    """Says what starts an entry."""

    CRON = "cron"
    SYSTEMD = "systemd"
    TASK_SCHEDULER = "Task Scheduler"
    SCRIPT = "script"  # a shell or batch script, which something else has to start


class Language(Enum):
    """Says who parses the text of a command."""

    SHELL = "shell"  # sh, dash, ksh, bash
    SYSTEMD = "systemd"
    BATCH = "batch"  # cmd.exe
    WINDOWS = "windows"  # the program itself, as CreateProcess passes the text


class CodeUse(Enum):
    """Says what an entry does with the return code of a call."""

    RESULT = "result"  # it is the return code of the whole entry
    TESTED = "tested"  # something in the entry depends on it
    PASSED_ON = "passed on"  # the entry ends if it is a failure
    LOST = "lost"  # another one replaces it


@dataclass(frozen=True)
class Entry(Place):
    """Holds one thing that a scheduler starts: the line of a crontab, an ExecStart of a service, an action of a task;
    or a whole script that others start."""

    offset: int  # of the line that findings name
    scheduler: Scheduler
    language: Language
    command: Text
    stdin: str = ""
    user: str | None = None  # None: not known
    folder: str | None = None  # in which the command begins; None: not known
    environment: Mapping[str, str] = field(default_factory=dict)  # that the scheduler sets, as far as the file says
    shell: str = "/bin/sh"  # that parses the command, where one does
    schedule: Schedule | None = None  # None: not known
    wrappers: tuple[Word, ...] = ()  # of a script: what precedes it in the line that starts it
    arguments: tuple[Word, ...] | None = None  # of a script: $1 and those that follow; None: not known
    starter: Program | None = None  # of a script: what starts it
    has_more_variables: bool = False  # than the file says: those of a system, of another file

    @property
    def is_mailed(self) -> bool:
        """Says whether what is printed is mailed: not with an empty MAILTO, nor to a file."""
        return re.match("$|/", self.environment.get("MAILTO", "the user")) is None


@dataclass(frozen=True)
class Redirection:
    """Holds one redirection, as the shell performs it: `2>&1` has the descriptor 2, the operator `>&` and the target 1;
    `> FILE` has the descriptor 1 and the operator `>`."""

    descriptor: int
    operator: str
    target: Word
    begin: int
    end: int


@dataclass(frozen=True)
class Call:
    """Holds one call of planta_headless.py in an entry."""

    entry: Entry
    offset: int  # of the line in which the call begins
    script: Word  # planta_headless.py, as it is called
    interpreter: Word | None  # None: the script itself is started, by its first line
    options: tuple[Word, ...]  # the arguments of the script
    wrappers: tuple[Word, ...] = ()  # the programs in front, from the outside in: flock, chronic
    environment: Mapping[str, str] = field(default_factory=dict)  # for the call, as far as it is known
    unknown: frozenset[str] = frozenset()  # variables of it whose value is not known
    redirections: tuple[Redirection, ...] = ()  # from the outside in
    folder: str | None = None  # in which the call begins; None: not known
    code_use: CodeUse = CodeUse.RESULT
    lost_because: str = ""  # why the return code is lost
    locks: tuple[Word, ...] = ()  # the files that are locked in front
    sources: tuple[Word, ...] = ()  # the files that sh reads before; without one it ends there
    heard: frozenset[int] = STDOUT_AND_STDERR  # the descriptors whose output is mailed, or read otherwise
    is_reported: bool = False  # that it is not checked, or with what it cannot work
    python_options: tuple[Word, ...] = ()  # of the interpreter

    def is_plain(self, word: Word) -> bool:
        """Returns whether the file has the word as the program gets it, so that it can be replaced there."""
        return self.entry.file.content[word.begin : word.end] == word.text

    def finding(self, key: str, edits: tuple[Edit, ...] = (), **values: object) -> Finding:
        """Returns what is wrong with this call, by a rule of the table."""
        return finding(key, self.entry.file, self.offset, edits, **values)


@dataclass(frozen=True)
class Program:
    """Holds another program that an entry starts: it may be a script that calls the command."""

    entry: Entry
    word: Word
    folder: str | None  # in which it is started; None: not known
    wrappers: tuple[Word, ...] = ()  # the programs in front
    is_direct: bool = True  # and not the argument of a shell
    code_use: CodeUse = CodeUse.RESULT
    lost_because: str = ""  # why its return code is lost
    heard: frozenset[int] = STDOUT_AND_STDERR  # as in a call
    arguments: tuple[Word, ...] = ()
    shell: str = ""  # that reads it; "": the one of its first line
    begins_in: str | None = ""  # the folder that is the current one then; "": `folder`
    runs_parts: bool = False  # run-parts starts each script of this folder


@dataclass(frozen=True)
class Parsed:
    """Holds what files are parsed into. The commands of `entries` are still to be parsed for calls."""

    entries: list[Entry] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: Parsed) -> None:
        self.entries.extend(other.entries)
        self.calls.extend(other.calls)
        self.programs.extend(other.programs)
        self.findings.extend(other.findings)


def call_in(words: Sequence[Word], entry: Entry, offset: int, **more: Any) -> Call | None:
    """Returns the call that these words are, None if they are none. `more` are further fields of the call."""
    if words and COMMAND.fullmatch(base_name(words[0].text)):
        return Call(entry, offset, words[0], None, tuple(words[1:]), **more)
    at = script_index(texts(words))
    if at is None or (words[0].is_certain and not PYTHON.fullmatch(base_name(words[0].text))):
        return None
    return Call(entry, offset, words[at], words[0], tuple(words[at + 1 :]), python_options=tuple(words[1:at]), **more)


def script_index(words: Sequence[str]) -> int | None:
    """Returns which word after an interpreter, the first one, is planta_headless.py; None if it starts another."""
    at = _after_python_options(words)
    return at if at < len(words) and base_name(words[at]) == PROGRAM else None


def module_index(words: Sequence[str]) -> int | None:
    """Returns the same of `python -m planta_headless`."""
    at = _after_python_options(words)
    is_module = at + 1 < len(words) and re.fullmatch(r"-[A-Za-z]*m", words[at])
    return at + 1 if is_module and f"{words[at + 1]}.py" == PROGRAM else None


def _after_python_options(words: Sequence[str]) -> int:
    """Returns which word is the script, or the -c or -m in place of it."""
    at = 1
    while at < len(words) and words[at].startswith("-"):
        option = words[at]
        if re.match(r"-[A-Za-z]*[cm]", option) and not option.startswith(("-W", "-X", "-Q")):
            break
        at += 2 if option in _PYTHON_VALUES else 1
    return at


def heard_behind(heard: frozenset[int], redirections: Iterable[Redirection]) -> frozenset[int]:
    """Returns the descriptors that still lead to where these did, behind redirections. What another program reads is
    heard."""
    left = set(heard)
    for each in redirections:
        target = each.target.text
        is_both = each.operator.startswith("&>") or (each.operator == ">&" and not re.fullmatch(r"[\d-]+", target))
        copied = target if each.operator == ">&" else {"/dev/stdout": "1", "/dev/stderr": "2"}.get(target, "")
        is_heard = target.startswith(">(") or (copied.isdigit() and int(copied) in left)
        changed = {1, 2} if is_both else {each.descriptor} if each.operator.startswith(">") else set()
        left = left | changed if is_heard else left - changed
    return frozenset(left)


def texts(words: Sequence[Word]) -> list[str]:
    return [word.text for word in words]


def is_mentioned(text: str) -> bool:
    """Returns whether a text may call planta_headless.py, or what pip makes of it."""
    return MENTIONED.search(text) is not None
