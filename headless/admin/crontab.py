"""A crontab, read as cron of Debian reads it: which commands it starts, when and with what; and what is wrong with the
format. What sh makes of a command is in shell.py.

Each rule was found out with the cron of Debian 12, and tests/admin/test_real_cron.py asks it again. cronie (Red Hat)
differs: it takes `NAME=` without a value, and reads files of cron.d whose names have a dot in the middle.

Assumed of the machine: PAM adds no variable. What stands in /etc/environment or /etc/default/locale is not known here.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from headless.admin.command_line import is_mentioned
from headless.admin.entry import Entry, Language, Place, Scheduler, Text
from headless.admin.finding import Edit, Finding, Severity
from headless.admin.schedule import Schedule

try:
    import pwd
except ImportError:  # Windows has no users that cron knows
    pwd = None  # type: ignore[assignment]

_SPACE = " \t\n\v\f\r"  # of C
_BLANK = " \t"  # all that may stand in front of a line, and between fields
_MAX_BYTES = 998  # of a setting, and of a command with its input
_MAX_LINES = 10000
_REBOOT = "@reboot"
_NICKNAMES = {
    _REBOOT: "",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = dict(zip(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], range(1, 13)))
_WEEKDAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7)))
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
PERCENT = "percent"  # the rule for one that cuts a command off
NOTHING_RUNS = "cron ignores the whole file: none of its jobs run"
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def read(content: str, path: str, has_user_column: bool, user: str | None) -> tuple[list[Entry], list[Finding]]:
    """The entries in their order, also those of a file that cron ignores as a whole, and what is wrong with the format.
    The crontab is one of `user`, or has a column for users (/etc/crontab, /etc/cron.d). Raises nothing."""
    reader = _Reader(content, path, has_user_column, user)
    reader.read()
    findings = [*_of_the_file(content, path), *reader.findings]
    return reader.entries, sorted(findings, key=lambda each: each.place.line)


def as_meant(entry: Entry, content: str) -> Entry:
    """The entry with a command that no % cuts off, so that what else is wrong with it is found at the same time."""
    begin = entry.command.positions[0]
    end = content.find("\n", begin)
    return replace(entry, command=Text.of(content, begin, len(content) if end < 0 else end), stdin="")


class _Wrong(Exception):
    """A line that cron does not take."""

    def __init__(self, rule: str, text: str, advice: str = "", edits: tuple[Edit, ...] = ()) -> None:
        super().__init__(text)
        self.rule, self.text, self.advice, self.edits = rule, text, advice, edits


@dataclass
class _Line:
    """Of a crontab, without its newline. `begin` is where it stands in the file."""

    text: str
    begin: int
    place: Place

    def error(self, rule: str, text: str, consequence: str, edits: tuple[Edit, ...] = (), advice: str = "") -> Finding:
        return Finding(self.place, Severity.ERROR, rule, text, consequence, edits, advice)

    def warning(
        self, rule: str, text: str, consequence: str, edits: tuple[Edit, ...] = (), advice: str = ""
    ) -> Finding:
        return Finding(self.place, Severity.WARNING, rule, text, consequence, edits, advice)


@dataclass
class _Reader:
    content: str
    path: str
    has_user_column: bool
    user: str | None
    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, list[Entry]] = field(default_factory=dict)  # by a name that they use before it is set

    def read(self) -> None:
        for line in _lines(self.content, self.path):
            try:
                self._read_line(line)
            except _Wrong as error:
                self.findings.append(line.error(error.rule, error.text, NOTHING_RUNS, error.edits, error.advice))

    def _read_line(self, line: _Line) -> None:
        text = line.text.lstrip(_BLANK)
        if text == "\r" or not text or text.startswith("#"):  # the first one is told once, for the whole file
            return
        setting = _setting(_cut(text))
        if setting is None:
            self._read_entry(line, len(line.text) - len(text))
        else:
            self._read_setting(line, *setting)

    def _read_setting(self, line: _Line, name: str, value: str) -> None:
        self._check_setting(line, name, value)
        for entry in self.lacking.pop(name, ()):
            if _concerns(entry.command.text, {name: value}):
                text = f"{name} is set here, and line {entry.place.line} above uses it"
                consequence, advice = f"${name} is empty in that line", f"set {name} above line {entry.place.line}"
                self.findings.append(line.error("setting-too-late", text, consequence, (), advice))
        self.settings[name] = value

    def _check_setting(self, line: _Line, name: str, value: str) -> None:
        if len(_bytes(line.text.lstrip(_BLANK))) > _MAX_BYTES:
            text = f"{name} is longer than {_MAX_BYTES} bytes, and cron cuts it there"
            self.findings.append(line.error("too-long", text, "what follows is lost", (), "use a file or a script"))
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            text = f"sh knows no variable of the name {name!r}"
            self.findings.append(line.warning("variable-name", text, f"${name} is something else in a command"))
        comment = re.search(r"[ \t]+#", value)
        if comment and line.text.rstrip(_SPACE).endswith(value):
            begin = line.begin + line.text.rindex(value) + comment.start()
            edits = (Edit(begin, line.begin + len(line.text.rstrip(_SPACE)), ""),)
            text = f"no comment can stand behind a setting: {value[comment.start() :].strip()!r} is a part of {name}"
            self.findings.append(line.warning("comment-in-setting", text, "programs get it, too", edits))
        if _references(value) or "$(" in value or "`" in value or value.startswith("~/"):
            self._expansion(line, name, value)

    def _expansion(self, line: _Line, name: str, value: str) -> None:
        known = {**self._environment(None), "USER": "", **self.settings}
        names = _references(value)
        edits: tuple[Edit, ...] = ()
        if names and all(known.get(each) for each in names) and line.text.count(value) == 1 and "`" not in value:
            expanded = _REFERENCE.sub(lambda match: known[match.group(1) or match.group(2)], value)
            begin = line.begin + line.text.index(value)
            edits = () if "$" in expanded else (Edit(begin, begin + len(value), expanded),)
        text = f"cron expands nothing in a setting: {name} is literally {value!r}"
        consequence = "programs are not found (127)" if name == "PATH" else f"whoever uses ${name} gets this text"
        tell = line.error if name == "PATH" or is_mentioned(value) else line.warning
        self.findings.append(
            tell(
                "not-expanded",
                text,
                consequence,
                edits,
                "" if edits else "write the value itself",
            )
        )

    def _read_entry(self, line: _Line, at: int) -> None:
        schedule, at = _schedule(line, at)
        user = self.user
        if self.has_user_column:
            user, at = self._user_column(line, at)
        else:
            at = _after_blanks(line.text, at)
        if at >= len(line.text.rstrip("\r")) and not self.has_user_column:
            raise _Wrong("no-command", "there is no command")
        if len(_bytes(line.text[at:])) > _MAX_BYTES:
            raise _Wrong("too-long", f"the command is longer than {_MAX_BYTES} bytes", "put it into a script")
        entry = self._entry(line, at, schedule, user)
        self.entries.append(entry)
        for name in set(_references(entry.command.text)) - entry.environment.keys():
            self.lacking.setdefault(name, []).append(entry)
        if _concerns(line.text[at:], entry.environment):
            self._check_percent(line, at, entry)
            self._check_user_in_command(line, at)
        if isinstance(schedule, _Never):
            self.findings.append(line.error("never", schedule.reason, "cron never starts this line"))

    def _entry(self, line: _Line, at: int, schedule: Schedule, user: str | None) -> Entry:
        command, stdin_at = _command(line.text, at)
        positions = tuple(line.begin + each for each in command.positions)
        environment = self._environment(user)
        return Entry(
            place=line.place,
            scheduler=Scheduler.CRON,
            language=Language.SHELL,
            command=Text(command.text, positions),
            stdin="" if stdin_at is None else _stdin(line.text[stdin_at:]),
            user=user,
            folder=environment.get("HOME"),
            environment=environment,
            shell=environment["SHELL"],
            schedule=schedule,
        )

    def _environment(self, user: str | None) -> dict[str, str]:
        """What cron itself sets. LOGNAME is the user's, whatever the file says."""
        home = _home(user)
        environment = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", **({"HOME": home} if home else {})}
        return {**environment, **self.settings, **({"LOGNAME": user} if user else {})}

    def _user_column(self, line: _Line, at: int) -> tuple[str, int]:
        begin = _after_blanks(line.text, at)
        end = _after_nonblanks(line.text, begin)
        user = line.text[begin:end]
        if end >= len(line.text):
            raise _Wrong("no-command", "there is no command", "in this file the user stands in front of the command")
        if not _can_be_user(user):
            text = f"{user!r} stands where cron expects the user"
            raise _Wrong("user-missing", text, "write the user in front of the command")
        if not _is_user(user):
            if self.path.startswith("/etc/"):
                raise _Wrong("user-unknown", f"this machine has no user {user!r}", "write a user that exists")
            text = f"this machine has no user {user!r}"
            self.findings.append(line.warning("user-unknown", text, f"where that is so, {NOTHING_RUNS}"))
        return user, end + 1  # what follows the blank after it is the command, blanks included

    def _check_percent(self, line: _Line, at: int, entry: Entry) -> None:
        percents = _percents(line.text, at)
        if not percents:
            return
        edits = tuple(Edit(line.begin + each, line.begin + each, "\\") for each in percents)
        text = "cron ends the command at %, and makes the rest its standard input"
        self.findings.append(line.error(PERCENT, text, f"sh gets only: {_shown(entry.command.text)}", edits))

    def _check_user_in_command(self, line: _Line, at: int) -> None:
        first, _, rest = line.text[at:].partition(" ")
        if self.has_user_column or not rest or not _is_a_user_only(first, self.user):
            return
        text = f"{first!r} is read as a command: a crontab of one user has no column for the user"
        edits = (Edit(line.begin + at, line.begin + len(line.text) - len(rest.lstrip(_BLANK)), ""),)
        self.findings.append(line.error("user-in-command", text, f"sh says {first}: not found (127)", edits))


@dataclass(frozen=True)
class _Never(Schedule):
    """Fields that cron takes, and that match no minute."""

    reason: str = ""


def _lines(content: str, path: str) -> Iterator[_Line]:
    begin = 0
    for number, text in enumerate(content.split("\n"), 1):
        yield _Line(text, begin, Place(path, number))
        begin += len(text) + 1


def _of_the_file(content: str, path: str) -> Iterator[Finding]:
    yield from _of_its_name(path)
    if content.startswith("\ufeff"):
        text = "the file begins with a byte order mark, which is no blank for cron"
        yield Finding(Place(path, 1), Severity.ERROR, "byte-order-mark", text, _consequence_of_mark(content),
                      (Edit(0, 1, ""),))  # fmt: skip
    crs = [match.start() for match in re.finditer("\r(?=\n|$)", content)]
    if crs:
        yield _of_line_ends(content, path, crs)
    lines = content.split("\n")
    last = lines[-1].lstrip(_BLANK)
    if last and not last.startswith("#"):
        text = "the last line has no newline"
        edits = (Edit(len(content), len(content), "\n"),)
        yield Finding(Place(path, len(lines)), Severity.ERROR, "no-newline", text, NOTHING_RUNS, edits)
    if len(lines) - 1 > _MAX_LINES:
        text = f"the file has more than {_MAX_LINES} lines"
        yield Finding(Place(path, 0), Severity.ERROR, "too-many-lines", text, NOTHING_RUNS, (), "make several files")


def _consequence_of_mark(content: str) -> str:
    first = content.partition("\n")[0]
    return "the first setting has another name" if _setting(first) else NOTHING_RUNS


def _of_line_ends(content: str, path: str, crs: list[int]) -> Finding:
    is_blank = any(line.lstrip(_BLANK) == "\r" for line in content.split("\n"))
    consequence = NOTHING_RUNS if is_blank else "the last word of each command ends with a character too many (CR)"
    place = Place(path, content.count("\n", 0, crs[0]) + 1)
    edits = tuple(Edit(at, at + 1, "") for at in crs)
    return Finding(place, Severity.ERROR, "line-ends", "lines end as on Windows, with CR and LF", consequence, edits)


def _of_its_name(path: str) -> Iterator[Finding]:
    folder, name = os.path.split(path)
    in_crond = os.path.basename(folder) == "cron.d"
    if in_crond and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        text = "cron of Debian reads no file of cron.d whose name has more than letters, digits, - and _"
        fitting = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "planta"
        advice = f"if it is meant to run, and no other file has the same lines: name it {fitting}"
        yield Finding(Place(path, 0), Severity.ERROR, "file-name", text, "none of its jobs run", (), advice)
    if not in_crond and path != "/etc/crontab":
        return
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return
    if pwd is not None and (status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        text = "the file must belong to root, and nobody else may write to it"
        advice = "read it; as root make a new file of what is right in it, and take this one out of the folder"
        yield Finding(Place(path, 0), Severity.ERROR, "file-mode", text, NOTHING_RUNS, (), advice)


def _setting(text: str) -> tuple[str, str] | None:
    """The name and the value of a line that sets a variable, as cron's load_env finds them; None for other lines."""
    match = re.match(r"""(?:"([^"=]*)"|'([^'=]*)'|(?!["'])([^=\s]*))\s*=\s*""", text, re.ASCII)
    if match is None or match.end() == len(text):
        return None
    name = next(each for each in match.groups() if each is not None)
    value = text[match.end() :].rstrip(_SPACE)
    if value[0] in "'\"":
        if len(value) < 2 or value.find(value[0], 1) != len(value) - 1:
            return None
        value = value[1:-1].rstrip(_SPACE)
    return name, value


def _schedule(line: _Line, at: int) -> tuple[Schedule, int]:
    """And where the line goes on. Raises _Wrong."""
    text = line.text
    if text[at] == "@":
        end = _after_nonblanks(text, at)
        name = text[at:end]
        if name not in _NICKNAMES:
            advice = f"cron knows {', '.join(_NICKNAMES)}"
            if name == "@every":
                advice = "write five fields, */5 * * * * for each five minutes"
            raise _Wrong("time", f"cron does not know {name!r}", advice)
        return Schedule(name, (_NICKNAMES[name],) if _NICKNAMES[name] else ()), end
    begin, fields = at, []
    for number in range(len(_FIELDS)):
        end = _after_nonblanks(text, at)
        fields.append(_field(line, number, text[at:end]))
        at = _after_blanks(text, end)
    said = text[begin:end]
    days, weekdays = fields[2], fields[4]
    if not days[0] and weekdays[0] and not weekdays[0].startswith("*"):  # one that matches is enough
        fields[2] = ("*", "")
    elif not weekdays[0] and days[0] and not days[0].startswith("*"):
        fields[4] = ("*", "")
    never = [reason for _, reason in fields if reason]
    if never:
        return _Never(said, (), None, never[0]), end
    return Schedule(said, (" ".join(each for each, _ in fields),)), end


def _field(line: _Line, number: int, text: str) -> tuple[str, str]:
    """As a library has to be told it, and why it matches nothing, or "". Raises _Wrong."""
    what, lowest, highest, names = _FIELDS[number]
    parts: list[str] = []
    at = 0
    while True:
        match = re.compile(r"(?:(\*)|(\w+)(?:([-~])(\w+))?)(?:/(\w*))?", re.ASCII).match(text, at)
        if match is None:
            raise _wrong_field(line, number, text)
        star, begin, kind, end, by = match.groups()
        first = lowest if star else _number(begin, names)
        last = highest if star else _number(end, names) if kind else first
        step = 1 if by is None else _number(by, {})
        at = match.end()
        is_cut = not star and not kind and (by is not None or text[at : at + 1] == "-")
        if is_cut or not (step > 0 and lowest <= first <= highest and lowest <= last <= highest):
            raise _wrong_field(line, number, text)
        if star:
            parts.append("*" if step == 1 else f"*/{min(step, highest + 1 - lowest)}")
        elif kind == "~":  # by chance, once for as long as cron runs
            parts.append(str(first))
        else:
            parts += [str(each) for each in range(first, last + 1, step)]
        if text[at : at + 1] != ",":  # cron leaves out what else may follow
            break
        at += 1
    return ",".join(parts), "" if parts else f"the {what} {text!r} goes backwards, and matches nothing"


def _number(text: str, names: dict[str, int]) -> int:
    """-1: none that cron knows."""
    return names.get(text.lower(), int(text) if text.isdigit() and len(text) < 10 else -1)


def _wrong_field(line: _Line, number: int, text: str) -> _Wrong:
    what, lowest, highest, names = _FIELDS[number]
    whole = line.text.lstrip(_BLANK)
    exported = re.match(r"(?:export|set)[ \t]+(?=\w+=)", whole)
    if exported:
        begin = line.begin + len(line.text) - len(whole)
        edits = (Edit(begin, begin + exported.end(), ""),)
        return _Wrong(
            "setting", f"{exported.group().strip()!r} is a word of the shell; cron only knows NAME=VALUE", "", edits
        )
    if number == 0 and re.match(r"[A-Za-z_]\w*[ \t]*=", whole):
        return _wrong_setting(line, whole)
    if not text:
        return _Wrong("time", f"the line ends before the {what}", "write five fields, and the command")
    said = f"{lowest} to {highest}" + (f", or {', '.join(names)}" if names else "")
    return _Wrong("time", f"cron does not know the {what} {text!r}; it knows {said}, and * - , /",
                  "write five fields: minute, hour, day of the month, month, day of the week")  # fmt: skip


def _wrong_setting(line: _Line, whole: str) -> _Wrong:
    name, _, value = whole.partition("=")
    name, end = name.strip(), line.begin + len(line.text.rstrip(_SPACE))
    if not value.strip(_SPACE):
        return _Wrong("setting", f"{name} has no value", "", (Edit(end, end, '""'),))
    comment = re.fullmatch(r"\s*(?:\"[^\"]*\"|'[^']*')(\s*#.*)", value.rstrip(_SPACE))
    if comment:
        edits = (Edit(end - len(comment.group(1)), end, ""),)
        return _Wrong("setting", f"no comment can stand behind the value of {name}", "", edits)
    return _Wrong(
        "setting", f"the quotes of {name} are not around the whole value", "quote all of the value, or nothing"
    )


def _command(text: str, at: int) -> tuple[Text, int | None]:
    r"""The command, with positions in `text`; and where its input begins, if it has one. \% is a %, \\ is a \."""
    chars, positions = [], []
    while at < len(text) and text[at] != "%":
        positions.append(at)
        if text[at] == "\\" and text[at + 1 : at + 2] in ("%", "\\"):
            at += 1
        chars.append(text[at])
        at += 1
    return Text("".join(chars), (*positions, at)), at + 1 if at < len(text) else None


def _stdin(text: str) -> str:
    r"""What cron makes of the text behind the first %. Here \\ stays as it is. A newline is added if one is needed."""
    made = re.sub(r"\\?%", lambda match: "\n" if match.group() == "%" else "%", text)
    return made + "\n" if made.rstrip("\\") and not made.rstrip("\\").endswith("\n") else made


def _percents(text: str, at: int) -> list[int]:
    """Where the % stand that cron does not leave to the command."""
    _, stdin_at = _command(text, at)
    if stdin_at is None:
        return []
    return [stdin_at - 1, *(each.start() for each in re.finditer("%", text) if
                            each.start() >= stdin_at and text[each.start() - 1] != "\\")]  # fmt: skip


def _concerns(command: str, environment: Mapping[str, str]) -> bool:
    """Whether it has to do with the program of this project, by its own text or by a variable."""
    return is_mentioned(command) or any(is_mentioned(environment.get(name, "")) for name in _references(command))


def _references(text: str) -> list[str]:
    return [match.group(1) or match.group(2) for match in _REFERENCE.finditer(text)]


def _can_be_user(name: str) -> bool:
    """Whether a name can be meant as one of a user: programs and paths cannot."""
    if _is_user(name) and pwd is not None:
        return True
    programs = r"python[\d.]*|py|sh|bash|dash|env|cd|flock|nice|ionice|timeout|chronic|cronic|nohup|sudo|su|test|exec"
    is_name = re.fullmatch(r"[A-Za-z_][\w.-]*\$?", name) and not name.endswith((".py", ".sh"))
    return bool(is_name) and not re.fullmatch(programs, name)


def _is_user(name: str) -> bool:
    """Whether this machine has the user; where that cannot be known, it has."""
    if pwd is None:
        return True
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _is_a_user_only(name: str, user: str | None) -> bool:
    return name in ("root", user) or (pwd is not None and _is_user(name) and shutil.which(name) is None)


def _home(user: str | None) -> str | None:
    if user is None or pwd is None:
        return None
    try:
        return pwd.getpwnam(user).pw_dir
    except (KeyError, ValueError, OSError):
        return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _cut(text: str) -> str:
    """What cron keeps of a setting."""
    return text if len(text) <= _MAX_BYTES // 4 else _bytes(text)[:_MAX_BYTES].decode("utf-8", "surrogateescape")


def _shown(text: str) -> str:
    return text if len(text) <= 60 else "..." + text[-57:]


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _after_nonblanks(text: str, at: int) -> int:
    while at < len(text) and text[at] not in _BLANK:
        at += 1
    return at
