"""Parses units of systemd: the services that call the command, when their timers start them, and what is wrong.

The rules are those of systemd.syntax(7), systemd.service(5), systemd.timer(5) and systemd.time(7).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from headless.admin.calls import (
    Entry,
    Language,
    Parsed,
    Program,
    Scheduler,
    Text,
    Word,
    call_in,
    is_mentioned,
    texts,
)
from headless.admin.files import File
from headless.admin.findings import Edit, Finding, finding
from headless.admin.programs import SHELLS, WRAPPERS, base_name, command_begin
from headless.admin.schedule import Schedule, is_expression

_SHELL_SYNTAX = re.compile(r"\d?>>?(&\d)?.*|<|\||\|\||&&?|;.+")
_DAYS = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 7}
_EVENTS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_LIMITS = ("TimeoutStartSec", "TimeoutSec", "RuntimeMaxSec")
_NO_LIMIT = ("infinity", "0", "")
_NO_RESTART = ("no", "on-abort", "on-watchdog")  # of a command that ends by itself
_YES = ("true", "yes", "1", "on")


def read(files: Iterable[File]) -> Parsed:
    """Returns the services that call the command, and what is wrong with them and their timers."""
    units = [_Unit(file) for file in files]
    parsed = Parsed()
    for unit in units:
        if not unit.file.path.endswith(".service"):
            continue
        timer = next((each for each in units if each.starts(unit)), None)
        schedule = schedule_of([each.text for each in timer.all("OnCalendar")]) if timer is not None else None
        for start in unit.all("ExecStart"):
            _read_command(unit, start, schedule, parsed)
        if is_mentioned(unit.file.content):
            parsed.findings.extend(_of_service(unit))
            parsed.findings.extend(_of_timer(timer) if timer is not None else ())
    return parsed


@dataclass(frozen=True)
class _Setting:
    """Holds the value of a setting, its continued lines included. `offset` is where the first line begins."""

    name: str
    value: Text
    offset: int

    @property
    def text(self) -> str:
        return self.value.text

    def replaced_by(self, value: str) -> tuple[Edit, ...]:
        return (Edit(self.value.offsets[0], self.value.offsets[-1], value),)


class _Unit:
    """Holds one file."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._settings: dict[str, list[_Setting]] = {}
        for setting in _settings(file.content):
            found = self._settings.setdefault(setting.name, [])
            if setting.text:
                found.append(setting)
            else:  # an empty value clears the ones before it
                found.clear()

    def all(self, name: str) -> list[_Setting]:
        return self._settings.get(name, [])

    def last(self, name: str) -> str:
        """Returns the value that counts, "" if there is none."""
        found = self.all(name)
        return found[-1].text if found else ""

    def environment(self) -> dict[str, str]:
        words = (word for setting in self.all("Environment") for word in _words(setting.value, {}))
        return {name: value for name, _, value in (word.text.partition("=") for word in words)}

    def starts(self, service: _Unit) -> bool:
        name = os.path.basename(self.file.path)
        started = self.last("Unit") or f"{name[:-6]}.service"
        return name.endswith(".timer") and started == os.path.basename(service.file.path)

    def finding(self, key: str, setting: _Setting, edits: tuple[Edit, ...] = (), **values: object) -> Finding:
        return finding(key, self.file, setting.offset, edits, name=setting.name, value=setting.text, **values)


def _settings(content: str) -> Iterator[_Setting]:
    """Yields the settings in their order. A backslash at the end of a line is a blank, and joins the next one."""
    lines = deque(re.finditer(r"^.*$", content, re.MULTILINE))
    while lines:
        line = lines.popleft()
        text, offsets = line[0], [*range(line.start(), line.end())]
        while text.endswith("\\") and lines:
            more = lines.popleft()
            if not more[0].lstrip().startswith(("#", ";")):
                text = f"{text[:-1]} {more[0]}"
                offsets += range(more.start(), more.end())
        match = re.match(r"(?!\s*[#;]|\s*\[.+\]\s*$)([^=]*)=\s*", text)
        if match is not None:
            value = text[match.end() :].rstrip()
            of_value = offsets[match.end() : match.end() + len(value)]
            end = of_value[-1] + 1 if of_value else line.end()
            yield _Setting(match[1].strip(), Text(value, (*of_value, end)), line.start())


def _read_command(unit: _Unit, start: _Setting, schedule: Schedule | None, parsed: Parsed) -> None:
    """Parses one ExecStart= of a service."""
    prefix = start.text[: len(start.text) - len(start.text.lstrip("-@:+!|"))]
    if "-" in prefix:
        at = start.value.offsets[prefix.index("-")]
        parsed.findings.append(unit.finding("code-ignored", start, (Edit(at, at + 1, ""),)))
    command = Text(start.text[len(prefix) :], start.value.offsets[len(prefix) :])
    words = list(_words(command, unit.environment()))
    wrappers, rest = _without_wrappers(words)
    entry = _entry(unit, start, schedule)
    script = _text_for_shell(rest)
    if script is not None:
        text = Text(script.text, (start.offset,) * (len(script.text) + 1))
        shell = rest[0].text
        parsed.entries.append(replace(entry, language=Language.SHELL, command=text, shell=shell, wrappers=wrappers))
        return
    more = {"wrappers": wrappers, "environment": entry.environment, "folder": entry.folder}
    call = call_in(rest, entry, entry.offset, **more)
    if call is not None:
        parsed.calls.append(call)
        operators = [word.text for word in call.options if _SHELL_SYNTAX.fullmatch(word.text)]
        parsed.findings.extend(call.finding("no-shell", word=each) for each in operators[:1])
    elif rest:
        parsed.programs.append(Program(entry, rest[0], entry.folder, wrappers))


def _entry(unit: _Unit, start: _Setting, schedule: Schedule | None) -> Entry:
    return Entry(
        file=unit.file,
        offset=start.offset,
        scheduler=Scheduler.SYSTEMD,
        language=Language.SYSTEMD,
        command=start.value,
        user=unit.last("User") or ("root" if "/user/" not in unit.file.path else None),
        folder=unit.last("WorkingDirectory").lstrip("-") or "/",
        environment={"PATH": _PATH, **unit.environment()},
        schedule=schedule,
    )


def _words(text: Text, environment: Mapping[str, str]) -> Iterator[Word]:
    """Splits as systemd does: quotes of both kinds, backslashes, variables and specifiers (%)."""
    pattern = re.compile(r"""(?:"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|\\.|[^\s"'\\])+""", re.DOTALL)
    for match in pattern.finditer(text.text):
        source = match[0]
        begin, end = text.offsets[match.start()], text.offsets[match.end() - 1] + 1
        whole = re.fullmatch(r"\$(\w+)", source)
        if whole and whole[1] in environment:
            yield from (Word(part, True, begin, end) for part in environment[whole[1]].split())
            continue
        value = re.sub(r"\\(.)|[\"']", lambda found: found[1] or "", source)
        value = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], found[0]), value)
        is_certain = not re.search(r"\$\{?\w|(?<!%)%[a-zA-Z]", value.replace("$$", ""))
        yield Word(value.replace("$$", "$").replace("%%", "%"), is_certain, begin, end)


def _without_wrappers(words: list[Word]) -> tuple[tuple[Word, ...], list[Word]]:
    """Returns the programs in front (nice, env and the like), and the command that they start."""
    wrappers: list[Word] = []
    while words and base_name(words[0].text) in WRAPPERS:
        wrappers.append(words[0])
        words = words[command_begin(texts(words)) :]
    return tuple(wrappers), words


def _text_for_shell(words: list[Word]) -> Word | None:
    """Returns what a shell gets with -c."""
    if not words or base_name(words[0].text) not in SHELLS:
        return None
    pairs = zip(words[1:], words[2:])
    return next((value for option, value in pairs if re.fullmatch(r"-[A-Za-z]*c", option.text)), None)


def _of_service(unit: _Unit) -> Iterator[Finding]:
    for setting in unit.all("Restart")[-1:]:
        if setting.text not in _NO_RESTART:
            yield unit.finding("restart", setting, setting.replaced_by("no"))
    for setting in unit.all("SuccessExitStatus"):
        if re.search(r"\b[123]\b", setting.text):
            yield unit.finding("code-ignored/status", setting)
    for setting in (each for name in _LIMITS for each in unit.all(name)[-1:]):
        if setting.text not in _NO_LIMIT:
            yield unit.finding("timeout/unit", setting, setting.replaced_by("infinity"))
    if not unit.all("OnFailure") and "PLANTA_RECEIPT" not in unit.environment():
        yield finding("unreported/unit", unit.file, None)


def _of_timer(timer: _Unit) -> Iterator[Finding]:
    if timer.all("OnCalendar") and timer.last("Persistent").lower() not in _YES:
        setting = timer.all("OnCalendar")[-1]
        end = setting.value.offsets[-1]
        yield timer.finding("left-out", setting, (Edit(end, end, "\nPersistent=true"),))


def schedule_of(events: list[str]) -> Schedule:
    """Returns the schedule of calendar events. Nothing is known of it if one of them is not understood."""
    rules = [_rule(event) for event in events]
    known = tuple(rule for rule in rules if rule is not None)
    return Schedule("; ".join(events), known if len(known) == len(rules) else ())


def _rule(text: str) -> str | None:
    """Returns a calendar event in cron's five fields; None if it is not one of the usual ones."""
    if text in _EVENTS:
        return _EVENTS[text]
    match = re.fullmatch(
        r"(?:([A-Za-z,.]+)\s+)?(?:\*-(\*|[\d,]+)-(\*|[\d,]+)\s+)?(\*|[\d,/*]+):(\*|[\d,/*]+)(?::0?0)?", text
    )
    if match is None:
        return None
    days = _days(match[1]) if match[1] else "*"
    hour, minute = (re.sub(r"\b0+(\d)", r"\1", re.sub(r"^0*0/", "*/", match[part])) for part in (4, 5))
    date, month = match[3] or "*", match[2] or "*"
    if days is None or ("*" not in (days, date)):  # cron would take either of them
        return None
    rule = f"{minute} {hour} {date} {month} {days}"
    return rule if is_expression(rule) else None


def _days(text: str) -> str | None:
    parts = []
    for part in text.lower().split(","):
        first, dots, last = part.partition("..")
        names = [first[:3], last[:3]] if dots else [first[:3]]
        if not all(name in _DAYS for name in names):
            return None
        parts.append("-".join(str(_DAYS[name]) for name in names))
    return ",".join(parts)
