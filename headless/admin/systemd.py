"""Units of systemd: the services that call the command, when their timers start them, and what is wrong with both.

The rules are those of systemd.syntax(7), systemd.service(5), systemd.timer(5) and systemd.time(7).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headless.admin.command_line import is_mentioned, script_call, what_starts
from headless.admin.entry import Call, Entry, Language, Place, Scheduler, Text, Word
from headless.admin.finding import ERROR, WARNING, Edit, Finding
from headless.admin.reading import Program, Reading
from headless.admin.schedule import Schedule, is_expression

_SHELL_SYNTAX = re.compile(r"\d?>>?(&\d)?.*|<|\||\|\||&&?|;.+")
_DAYS = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 7}
_WORDS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_EVER = {"infinity", "0", ""}


@dataclass(frozen=True)
class _Setting:
    """One line of a unit, its continuations included."""

    section: str
    name: str
    value: Text
    line: int


class Unit:
    """One file."""

    def __init__(self, path: str, content: str) -> None:
        self.path = path
        self.content = content
        self._settings: dict[str, list[_Setting]] = {}
        for setting in _settings(content):
            found = self._settings.setdefault(setting.name, [])
            if setting.value.text:
                found.append(setting)
            else:  # takes back what stood before it
                found.clear()

    def all(self, name: str) -> list[_Setting]:
        """Those that count, in their order."""
        return self._settings.get(name, [])

    def last(self, name: str) -> str:
        """The value that counts, "" if there is none."""
        found = self.all(name)
        return found[-1].value.text if found else ""

    def place(self, setting: _Setting) -> Place:
        return Place(self.path, setting.line)


def read(files: Mapping[str, str], reading: Reading) -> None:
    """The services that call the command, their timers, and what is wrong with both. `files` is the content of each
    unit by its path."""
    units = {path: Unit(path, content) for path, content in files.items()}
    for path, unit in units.items():
        if not path.endswith(".service"):
            continue
        timer = next((units[other] for other in files if _starts(units[other], other, path)), None)
        service = _Service(unit, _schedule_of(timer), reading)
        for start in unit.all("ExecStart"):
            service.read_command(start)
        if not is_mentioned(unit.content):
            continue
        reading.findings.extend(_of_service(unit))
        reading.findings.extend(_of_timer(timer) if timer is not None else ())


def _starts(timer: Unit, timer_path: str, service: str) -> bool:
    if not timer_path.endswith(".timer"):
        return False
    return (timer.last("Unit") or os.path.basename(timer_path)[:-6] + ".service") == os.path.basename(service)


def _schedule_of(timer: Unit | None) -> Schedule | None:
    return None if timer is None else schedule_of([setting.value.text for setting in timer.all("OnCalendar")])


def _settings(content: str) -> Iterator[_Setting]:
    section, begin, number = "", 0, 1
    lines = deque(content.split("\n"))
    while lines:
        line, first, start = lines.popleft(), number, begin
        begin, number = begin + len(line) + 1, number + 1
        text, positions = line, list(range(start, start + len(line)))
        while text.endswith("\\") and lines:
            more = lines.popleft()
            if not more.lstrip().startswith(("#", ";")):
                text, positions = text[:-1] + " " + more, positions + list(range(begin, begin + len(more)))
            begin, number = begin + len(more) + 1, number + 1
        if re.match(r"\s*[#;]|\s*$", text):
            continue
        header = re.fullmatch(r"\s*\[(.+)\]\s*", text)
        name, equals, value = text.partition("=")
        if header:
            section = header[1]
        elif equals:
            skipped = len(name) + 1 + len(value) - len(value.lstrip())
            stripped = value.strip()
            places = positions[skipped : skipped + len(stripped)]
            end = places[-1] + 1 if places else start + len(line)
            yield _Setting(section, name.strip(), Text(stripped, (*places, end)), first)


class _Service:
    def __init__(self, unit: Unit, schedule: Schedule | None, reading: Reading) -> None:
        self._unit = unit
        self._schedule = schedule
        self._reading = reading
        self._environment = _environment(unit)

    def read_command(self, start: _Setting) -> None:
        """One ExecStart=."""
        text = start.value
        prefix = re.match(r"[-@:+!|]*", text.text)
        count = prefix.end() if prefix else 0
        if "-" in text.text[:count]:
            self._find_ignored(start)
        words = list(_words(Text(text.text[count:], text.positions[count:]), self._environment))
        started = what_starts(words)
        if started.text is not None:
            command = Text(started.text.text, started.text.positions)
            self._reading.entries.append(self._entry(start, Language.SHELL, command, words[0].text))
            return
        found = script_call(started.words)
        entry = self._entry(start, Language.SYSTEMD, text, "")
        if found is None:
            if started.words:
                self._reading.programs.append(Program(entry, started.words[0], entry.folder, started.wrappers))
            return
        call = Call(
            entry, entry.place, found.script, found.interpreter, found.options, started.wrappers,
            entry.environment, folder=entry.folder,
        )  # fmt: skip
        self._reading.calls.append(call)
        self._find_shell_syntax(call)

    def _entry(self, start: _Setting, language: Language, command: Text, shell: str) -> Entry:
        unit = self._unit
        user = unit.last("User") or ("root" if "/user/" not in unit.path else None)
        folder = unit.last("WorkingDirectory").lstrip("-") or "/"
        environment = {"PATH": _PATH, **self._environment}
        place, schedule = unit.place(start), self._schedule
        return Entry(place, Scheduler.SYSTEMD, language, command, "", user, folder, environment, shell, schedule)

    def _find_ignored(self, start: _Setting) -> None:
        position = start.value.positions[start.value.text.index("-")]
        text = "the - in front of the command makes every return code a success"
        consequence = "a job that failed is a success for systemd, and OnFailure= is not started"
        edits = (Edit(position, position + 1, ""),)
        self._reading.findings.append(Finding(self._unit.place(start), ERROR, "code-ignored", text, consequence, edits))

    def _find_shell_syntax(self, call: Call) -> None:
        for word in call.options:
            if _SHELL_SYNTAX.fullmatch(word.text):
                text = f"systemd starts no shell: {word.text!r} is an argument of the command"
                consequence = "the command ends with 2, and no job runs"
                advice = "use StandardOutput=append:FILE and StandardError=inherit, or /bin/sh -c '...'"
                self._reading.findings.append(Finding(call.place, ERROR, "no-shell", text, consequence, advice=advice))
                return


def _environment(unit: Unit) -> dict[str, str]:
    found: dict[str, str] = {}
    for setting in unit.all("Environment"):
        for word in _words(setting.value, {}):
            name, _, value = word.text.partition("=")
            found[name] = value
    return found


def _words(text: Text, environment: Mapping[str, str]) -> Iterator[Word]:
    """As systemd parts them: quotes of both kinds, backslashes, variables and specifiers (%)."""
    pattern = re.compile(r"""(?:"(?:\\.|[^"])*"|'(?:\\.|[^'])*'|\\.|[^\s"'\\])+""", re.DOTALL)
    for match in pattern.finditer(text.text):
        source = match[0]
        begin, end = text.positions[match.start()], text.positions[match.end() - 1] + 1
        whole = re.fullmatch(r"\$(\w+)", source)
        if whole and whole[1] in environment:
            for part in environment[whole[1]].split():
                yield Word(part, (begin,) * (len(part) + 1), begin, end)
            continue
        value = re.sub(r"\\(.)|[\"']", lambda found: found[1] or "", source)
        value = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], found[0]), value)
        is_certain = not re.search(r"\$\{?\w|(?<!%)%[a-zA-Z]", value.replace("$$", ""))
        value = value.replace("$$", "$").replace("%%", "%")
        is_plain = value == source
        positions = text.positions[match.start() : match.end()] if is_plain else (begin,) * len(value)
        yield Word(value, (*positions, end), begin, end, is_certain)


def _of_service(unit: Unit) -> Iterator[Finding]:
    for setting in unit.all("Restart")[-1:]:
        if setting.value.text not in ("no", "on-abort", "on-watchdog"):
            text = f"Restart={setting.value.text} starts the job again when it has failed"
            consequence = "a job whose end is not known runs twice, and a mistake (2) for ever"
            yield Finding(unit.place(setting), ERROR, "restart", text, consequence, (_replaced(setting, "no"),))
    for setting in unit.all("SuccessExitStatus"):
        if re.search(r"\b[123]\b", setting.value.text):
            text = f"SuccessExitStatus={setting.value.text} takes failures for successes"
            consequence = "a job that failed is a success for systemd"
            yield Finding(unit.place(setting), ERROR, "code-ignored", text, consequence, advice="delete this line")
    for name in ("TimeoutStartSec", "TimeoutSec", "RuntimeMaxSec"):
        for setting in unit.all(name)[-1:]:
            if setting.value.text not in _EVER:
                text = f"{name}={setting.value.text} ends the command and not its jobs"
                consequence = "a job that takes longer goes on at the server, and systemd calls it failed"
                edits = (_replaced(setting, "infinity"),)
                yield Finding(unit.place(setting), WARNING, "timeout", text, consequence, edits)
    if not unit.all("OnFailure") and "PLANTA_RECEIPT" not in _environment(unit):
        text = "nobody learns of a failure: there is no OnFailure="
        consequence = "a job that failed is found in systemctl --failed alone"
        advice = "write OnFailure= with a unit that tells you, or set PLANTA_RECEIPT and use headless monitor"
        yield Finding(Place(unit.path, 0), WARNING, "unheard", text, consequence, advice=advice)


def _of_timer(timer: Unit) -> Iterator[Finding]:
    if timer.all("OnCalendar") and timer.last("Persistent").lower() not in ("true", "yes", "1", "on"):
        setting = timer.all("OnCalendar")[-1]
        text = "without Persistent=true a start is left out when the machine is off"
        end = setting.value.positions[-1]
        edits = (Edit(end, end, "\nPersistent=true"),)
        yield Finding(timer.place(setting), WARNING, "left-out", text, "the job does not run that night", edits)


def _replaced(setting: _Setting, value: str) -> Edit:
    return Edit(setting.value.positions[0], setting.value.positions[-1], value)


def schedule_of(events: list[str]) -> Schedule:
    """Of these calendar events. Nothing is known of it if one of them is none that is understood here."""
    rules = [_rule(event) for event in events]
    known = tuple(rule for rule in rules if rule is not None)
    return Schedule("; ".join(events), known if len(known) == len(rules) else ())


def _rule(text: str) -> str | None:
    """A calendar event in cron's five fields; None if it is not one of the usual ones."""
    if text in _WORDS:
        return _WORDS[text]
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
