"""Parses the parts of one line of a crontab as the cron of Debian does: a setting; or when, what, and its
input."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headless.admin.calls import Text
from headless.admin.rules import Edit
from headless.admin.schedule import FIELDS, Schedule, cron_field

SPACE = " \t\n\v\f\r"  # of C
BLANK = " \t"  # all that may precede a line, and separate fields
_NICKNAMES = {
    "@reboot": "",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MAX_BYTES = 998  # of a setting, and of a command with its input


class Wrong(Exception):
    """Reports a line that cron refuses, by a rule of the table."""

    def __init__(self, key: str, edits: tuple[Edit, ...] = (), **values: object) -> None:
        super().__init__(key)
        self.key, self.edits, self.values = key, edits, values


@dataclass(frozen=True)
class Line:
    """Holds a line without its newline. `begin` is its offset."""

    text: str
    begin: int

    @property
    def end(self) -> int:
        """Returns the offset behind its last character that is no space."""
        return self.begin + len(self.text.rstrip(SPACE))


def setting_in(text: str) -> tuple[str, str] | None:
    """Returns name and value of a line that sets a variable, as cron's load_env finds them; None for other lines."""
    match = re.match(r"""(?:"([^"=]*)"|'([^'=]*)'|(?!["'])([^=\s]*))\s*=\s*""", text, re.ASCII)
    if match is None or match.end() == len(text):
        return None
    name = next(each for each in match.groups() if each is not None)
    value = text[match.end() :].rstrip(SPACE)
    if value[0] in "'\"":
        if len(value) < 2 or value.find(value[0], 1) != len(value) - 1:
            return None
        value = value[1:-1].rstrip(SPACE)
    return name, value


def cut(text: str) -> str:
    """Returns what cron keeps of a setting."""
    return text if len(text) <= MAX_BYTES // 4 else as_bytes(text)[:MAX_BYTES].decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Never(Schedule):
    """Fields that cron takes, and that match no minute because of this part."""

    field: str = ""
    part: str = ""


def schedule_in(line: Line, at: int) -> tuple[Schedule, int]:
    """Returns the schedule, and where the line goes on. Raises Wrong."""
    text = line.text
    if text[at] == "@":
        end = after_nonblanks(text, at)
        name = text[at:end]
        if name not in _NICKNAMES:
            raise Wrong("time/every" if name == "@every" else "time/nickname", name=name, known=", ".join(_NICKNAMES))
        return Schedule(name, (_NICKNAMES[name],) if _NICKNAMES[name] else ()), end
    begin, end, fields, empty = at, at, [], []
    for number in range(len(FIELDS)):
        end = after_nonblanks(text, at)
        try:
            fields.append(cron_field(number, text[at:end]))
        except ValueError:
            raise _wrong_field(line, number, text[at:end]) from None
        if not fields[-1]:
            empty.append((FIELDS[number][0], text[at:end]))
        at = after_blanks(text, end)
    days, weekdays = fields[2], fields[4]
    is_other_enough = [days, weekdays].count("") == 1 and not (days or weekdays).startswith("*")
    if is_other_enough:  # one of the two fields that matches is enough
        fields[2], fields[4] = days or "*", weekdays or "*"
        empty = [each for each in empty if each[0] not in (FIELDS[2][0], FIELDS[4][0])]
    if empty:
        return Never(text[begin:end], (), *empty[0]), end
    return Schedule(text[begin:end], (" ".join(fields),)), end


def _wrong_field(line: Line, number: int, text: str) -> Wrong:
    field, lowest, highest, names = FIELDS[number]
    whole = line.text.lstrip(BLANK)
    exported = re.match(r"(?:export|set)[ \t]+(?=\w+=)", whole)
    if exported:
        begin = line.begin + len(line.text) - len(whole)
        return Wrong("setting/shell", (Edit(begin, begin + exported.end(), ""),), word=exported[0].strip())
    if number == 0 and re.match(r"[A-Za-z_]\w*[ \t]*=", whole):
        return _wrong_setting(line, whole)
    if not text:
        return Wrong("time/missing", field=field)
    known = f"{lowest} to {highest}" + (f", or {', '.join(names)}" if names else "")
    key = "time/value" if re.match(r"[*\d]", text) else "time/field"
    return Wrong(key, field=field, text=text, known=known)


def _wrong_setting(line: Line, whole: str) -> Wrong:
    name, _, value = whole.partition("=")
    name, end = name.strip(), line.end
    if not value.strip(SPACE):
        return Wrong("setting/empty", (Edit(end, end, '""'),), name=name)
    comment = re.fullmatch(r"\s*(?:\"[^\"]*\"|'[^']*')(\s*#.*)", value.rstrip(SPACE))
    if comment:
        return Wrong("setting/comment", (Edit(end - len(comment[1]), end, ""),), name=name)
    return Wrong("setting/quotes", name=name)


def command_in(text: str, at: int) -> tuple[Text, int | None]:
    r"""Returns the command, with offsets in `text`, and where its input begins, if it has one. \% is a %, \\ is a \."""
    chars, offsets = [], []
    while at < len(text) and text[at] != "%":
        offsets.append(at)
        if text[at] == "\\" and text[at + 1 : at + 2] in ("%", "\\"):
            at += 1
        chars.append(text[at])
        at += 1
    return Text("".join(chars), (*offsets, at)), at + 1 if at < len(text) else None


def stdin_of(text: str) -> str:
    r"""Returns what cron makes of the text behind the first %. Here \\ stays as it is. A newline is added at the end
    if one is needed."""
    made = re.sub(r"\\?%", lambda match: "\n" if match[0] == "%" else "%", text)
    return made + "\n" if made.rstrip("\\") and not made.rstrip("\\").endswith("\n") else made


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def after_blanks(text: str, at: int) -> int:
    return len(text) - len(text[at:].lstrip(BLANK))


def after_nonblanks(text: str, at: int) -> int:
    while at < len(text) and text[at] not in BLANK:
        at += 1
    return at
