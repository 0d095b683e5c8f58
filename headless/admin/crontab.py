"""Parses a crontab as the cron of Debian does: which commands it starts, when and with what, and what is wrong with it.

Each rule was found out with the cron of Debian 12, and a test asks that cron again. cronie (Red Hat) differs: it takes
`NAME=` without a value, and reads files of cron.d whose names have a dot in the middle.

Assumed of the machine: PAM adds no variable (/etc/environment, /etc/default/locale).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from headless.admin.calls import Entry, Language, Parsed, Scheduler, Text, is_mentioned
from headless.admin.cron_lines import (
    BLANK,
    MAX_BYTES,
    SPACE,
    Line,
    Never,
    Wrong,
    after_blanks,
    after_nonblanks,
    as_bytes,
    command_in,
    cut,
    schedule_in,
    setting_in,
    stdin_of,
)
from headless.admin.files import File
from headless.admin.rules import Edit, Finding, finding
from headless.admin.schedule import Schedule, surprises
from headless.dialects.bcrypt_hash import is_like_hash

try:
    import pwd
except ImportError:  # Windows has no users that cron knows
    pwd = None  # type: ignore[assignment]

_MAX_LINES = 10000
_LIKE_A_FIELD = re.compile(r"[*?]|[*\d][-\d/,*]*")
_NO_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff]")  # that look like one
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def read(file: File) -> Parsed:
    """Returns the entries in their order, also those of a file that cron ignores as a whole, and what is wrong with the
    format."""
    reader = _Reader(file)
    reader.read()
    findings = [*_of_the_file(file), *reader.findings, *map(reader.not_expanded, reader.unexpanded)]
    return Parsed(reader.entries, [], [], sorted(findings, key=lambda each: each.line))


def as_meant(entry: Entry) -> Entry:
    """Returns the entry with a command that no % cuts off, so that what else is wrong with it is found, too."""
    content, begin = entry.file.content, entry.command.offsets[0]
    end = content.find("\n", begin)
    return replace(entry, command=Text.of(content, begin, len(content) if end < 0 else end), stdin="")


@dataclass
class _Unexpanded:
    """Holds a setting whose value looks as if cron expanded it, and the entries that use it."""

    line: Line
    name: str
    value: str
    edits: tuple[Edit, ...]
    used_by: list[Entry] = field(default_factory=list)


@dataclass
class _Reader:
    file: File
    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    unexpanded: list[_Unexpanded] = field(default_factory=list)
    latest: dict[str, _Unexpanded] = field(default_factory=dict)  # by name, where that is what the name has now
    unset: dict[str, list[Entry]] = field(default_factory=dict)  # by a name that they use before it is set

    def read(self) -> None:
        begin = 0
        for text in self.file.content.split("\n"):
            line = Line(text, begin)
            try:
                self._read_line(line)
            except Wrong as error:
                self._find(error.key, line, error.edits, **error.values)
            begin += len(text) + 1

    def _find(self, key: str, line: Line, edits: tuple[Edit, ...] = (), **values: object) -> None:
        self.findings.append(finding(key, self.file, line.begin, edits, **values))

    def _read_line(self, line: Line) -> None:
        text = line.text.lstrip(BLANK)
        if text == "\r" or not text or text.startswith("#"):  # a CR is one finding for the whole file
            return
        odd = list(_NO_BLANKS.finditer(line.text)) if line.begin or not text.startswith("\ufeff") else []
        if odd and is_mentioned(text):
            edits = tuple(Edit(line.begin + each.start(), line.begin + each.end(), " ") for each in odd)
            raise Wrong("no-blank", edits, code=f"U+{ord(odd[0][0]):04X}")
        setting = setting_in(cut(text))
        if setting is None:
            self._read_entry(line, len(line.text) - len(text))
        else:
            self._read_setting(line, *setting)

    # -- settings --

    def _read_setting(self, line: Line, name: str, value: str) -> None:
        if len(as_bytes(line.text.lstrip(BLANK))) > MAX_BYTES:
            self._find("too-long/setting", line, name=name, limit=MAX_BYTES)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            self._find("variable-name", line, name=name)
        if name == "CRON_TZ":
            self._find("time-zone", line, value=value)
        comment = re.search(r"[ \t]+#", value)
        if comment and line.text.rstrip(SPACE).endswith(value):
            begin = line.begin + line.text.rindex(value) + comment.start()
            shown = value[comment.start() :].strip()
            self._find("comment-in-setting", line, (Edit(begin, line.end, ""),), comment=shown, name=name)
        self.latest.pop(name, None)
        is_expanded_by_shells = _references(value) or "$(" in value or "`" in value or value.startswith("~/")
        if is_expanded_by_shells and not is_like_hash(value):  # which is not to be shown
            self.latest[name] = _Unexpanded(line, name, value, self._expansion(line, value))
            self.unexpanded.append(self.latest[name])
        for entry in self.unset.pop(name, ()):
            if _concerns(entry.command.text, {name: value}):
                self._find("setting-too-late", line, name=name, user=entry.line)
        self.settings[name] = value

    def _expansion(self, line: Line, value: str) -> tuple[Edit, ...]:
        """Returns the edit that writes the values of the variables, if they are known."""
        known = {**self._environment(None), "USER": "", **self.settings}
        names = _references(value)
        if not names or not all(known.get(each) for each in names) or line.text.count(value) != 1 or "`" in value:
            return ()
        expanded = _REFERENCE.sub(lambda match: known[match[1] or match[2]], value)
        begin = line.begin + line.text.index(value)
        return () if "$" in expanded else (Edit(begin, begin + len(value), expanded),)

    def not_expanded(self, setting: _Unexpanded) -> Finding:
        name, value = setting.name, setting.value
        key = "not-expanded/command" if name == "PATH" or is_mentioned(value) else "not-expanded"
        use = _use_of(name, value, setting.used_by)
        return finding(key, self.file, setting.line.begin, setting.edits, name=name, value=value, use=use)

    # -- entries --

    def _read_entry(self, line: Line, at: int) -> None:
        schedule, at = schedule_in(line, at)
        user = self.file.user
        if self.file.names_users:
            user, at = self._user_column(line, at)
        else:
            at = after_blanks(line.text, at)
            if at >= len(line.text.rstrip("\r")):
                raise Wrong("no-command")
        if len(as_bytes(line.text[at:])) > MAX_BYTES:
            raise Wrong("too-long/command", limit=MAX_BYTES)
        entry = self._entry(line, at, schedule, user)
        self.entries.append(entry)
        names = set(_references(entry.command.text))
        for name in names - entry.environment.keys():
            self.unset.setdefault(name, []).append(entry)
        for name in names:
            if name in self.latest:
                self.latest[name].used_by.append(entry)
        if _concerns(line.text[at:], entry.environment):
            self._check_percent(line, at, entry)
            self._check_user_in_command(line, at)
            self._check_time(line, at, schedule)
        if isinstance(schedule, Never):
            self._find("never/fields", line, field=schedule.field, text=schedule.part)

    def _entry(self, line: Line, at: int, schedule: Schedule, user: str | None) -> Entry:
        command, stdin_at = command_in(line.text, at)
        environment = self._environment(user)
        return Entry(
            file=self.file,
            offset=line.begin,
            scheduler=Scheduler.CRON,
            language=Language.SHELL,
            command=Text(command.text, [line.begin + each for each in command.offsets]),
            stdin="" if stdin_at is None else stdin_of(line.text[stdin_at:]),
            user=user,
            folder=environment.get("HOME"),
            environment=environment,
            shell=environment["SHELL"],
            schedule=schedule,
        )

    def _environment(self, user: str | None) -> dict[str, str]:
        """Returns what cron itself sets. LOGNAME is the user's, whatever the file says."""
        home = _home(user)
        environment = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", **({"HOME": home} if home else {})}
        return {**environment, **self.settings, **({"LOGNAME": user} if user else {})}

    def _user_column(self, line: Line, at: int) -> tuple[str, int]:
        """Returns the user, and where the command begins. Raises Wrong."""
        begin = after_blanks(line.text, at)
        end = after_nonblanks(line.text, begin)
        user = line.text[begin:end]
        if end >= len(line.text):
            raise Wrong("no-command/user")
        if _LIKE_A_FIELD.fullmatch(user):
            raise Wrong("six-fields/user", word=user)
        if not _can_be_user(user):
            raise Wrong("user-missing", name=user)
        if not _is_user(user):
            if self.file.path.startswith("/etc/"):
                raise Wrong("user-unknown/here", name=user)
            self._find("user-unknown", line, name=user)
        return user, end + 1  # what follows the blank after it is the command, blanks included

    def _check_percent(self, line: Line, at: int, entry: Entry) -> None:
        _, stdin_at = command_in(line.text, at)
        if stdin_at is not None:
            more = (each.start() for each in re.finditer(r"(?<!\\)%", line.text) if each.start() >= stdin_at)
            edits = tuple(Edit(line.begin + each, line.begin + each, "\\") for each in (stdin_at - 1, *more))
            self._find("percent", line, edits, rest=_shown(entry.command.text))

    def _check_time(self, line: Line, at: int, schedule: Schedule) -> None:
        for key, values in surprises(schedule.text):
            self._find(key, line, (), **values)
        first = line.text[at:].split(maxsplit=1)[0]
        if _LIKE_A_FIELD.fullmatch(first):
            self._find("six-fields", line, word=first)

    def _check_user_in_command(self, line: Line, at: int) -> None:
        first, _, rest = line.text[at:].partition(" ")
        if rest and not self.file.names_users and _is_only_a_user(first, self.file.user):
            edits = (Edit(line.begin + at, line.begin + len(line.text) - len(rest.lstrip(BLANK)), ""),)
            self._find("user-in-command", line, edits, name=first)


def _use_of(name: str, value: str, entries: list[Entry]) -> str:
    """Returns what a value that is not expanded does to the lines that use it."""
    if name == "PATH":
        return "programs are not found (127)"
    if not entries:
        return "programs get this text"
    reference = rf"\$(?:{re.escape(name)}\b|\{{{re.escape(name)}\}})"
    for entry in entries:
        file = re.search(rf">\s*\"?{reference}(\S*)", entry.command.text)
        if file and re.search("[$`]|^~", os.path.dirname(value + file[1])):
            return f"line {entry.line} uses it: the file cannot be opened, no job runs"
    return f"line {entries[0].line} uses it, and gets this text"


# -- the file --


def _of_the_file(file: File) -> Iterator[Finding]:
    yield from _of_its_name(file)
    content = file.content
    lines = content.split("\n")
    if content.startswith("\ufeff"):
        key = "byte-order-mark/setting" if setting_in(lines[0]) else "byte-order-mark"
        yield finding(key, file, 0, (Edit(0, 1, ""),))
    returns = [match.start() for match in re.finditer("\r(?=\n|$)", content)]
    if returns:
        key = "line-ends/blank" if any(line.lstrip(BLANK) == "\r" for line in lines) else "line-ends"
        yield finding(key, file, returns[0], tuple(Edit(at, at + 1, "") for at in returns))
    last = lines[-1].lstrip(BLANK)
    if last and not last.startswith("#"):
        yield finding("no-newline", file, len(content), (Edit(len(content), len(content), "\n"),))
    if len(lines) - 1 > _MAX_LINES:
        yield finding("too-many-lines", file, None, limit=_MAX_LINES)


def _of_its_name(file: File) -> Iterator[Finding]:
    folder, name = os.path.split(file.path)
    in_crond = os.path.basename(folder) == "cron.d"
    if in_crond and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        fitting = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "planta"
        yield finding("file-name", file, None, fitting=fitting)
    if not in_crond and file.path != "/etc/crontab":
        return
    try:
        status = os.stat(file.path)
    except (OSError, ValueError):
        return
    if pwd is not None and (status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        yield finding("file-mode", file, None)


def _concerns(command: str, environment: Mapping[str, str]) -> bool:
    """Returns whether a command names planta_headless.py, itself or by a variable."""
    return is_mentioned(command) or any(is_mentioned(environment.get(name, "")) for name in _references(command))


def _references(text: str) -> list[str]:
    return [match[1] or match[2] for match in _REFERENCE.finditer(text)]


# -- users --


def _can_be_user(name: str) -> bool:
    """Returns whether a name can be meant as one of a user: programs and paths cannot."""
    if _is_user(name) and pwd is not None:
        return True
    programs = r"python[\d.]*|py|sh|bash|dash|env|cd|flock|nice|ionice|timeout|chronic|cronic|nohup|sudo|su|test|exec"
    is_name = re.fullmatch(r"[A-Za-z_][\w.-]*\$?", name) and not name.endswith((".py", ".sh"))
    return bool(is_name) and not re.fullmatch(programs, name)


def _is_user(name: str) -> bool:
    """Returns whether this machine has the user, as far as that is known."""
    return pwd is None or _home(name) is not None


def _is_only_a_user(name: str, user: str | None) -> bool:
    return name in ("root", user) or (pwd is not None and _is_user(name) and shutil.which(name) is None)


def _home(user: str | None) -> str | None:
    if user is None or pwd is None:
        return None
    try:
        return pwd.getpwnam(user).pw_dir
    except (KeyError, ValueError, OSError):
        return None


def _shown(text: str) -> str:
    return text if len(text) <= 60 else "..." + text[-57:]
