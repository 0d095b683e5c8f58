"""Parses exports of the Windows Task Scheduler.

The elements of a task, and their values where they are missing: Task Scheduler Schema, in Microsoft's documentation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from typing import cast

from lxml import etree

from headless.admin.calls import (
    Entry,
    Language,
    Parsed,
    Scheduler,
    Text,
    is_mentioned,
)
from headless.admin.files import File
from headless.admin.rules import Edit, Finding, finding
from headless.admin.schedule import Schedule

_NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
_TASK = re.compile(r"<Task[\s>].*?</Task>", re.DOTALL)
_SERVICES = {"S-1-5-18": "SYSTEM", "S-1-5-19": "LOCAL SERVICE", "S-1-5-20": "NETWORK SERVICE"}
_DAYS = {"Monday": 1, "Tuesday": 2, "Wednesday": 3, "Thursday": 4, "Friday": 5, "Saturday": 6, "Sunday": 0}
# A setting, its value where it is missing, the values that are wrong, and the right one.
_SETTINGS = (
    ("ExecutionTimeLimit", "PT72H", r"PT(?!0S$).+|P\d.*", "PT0S"),
    ("MultipleInstancesPolicy", "IgnoreNew", "Parallel|Queue|StopExisting", "IgnoreNew"),
    ("StartWhenAvailable", "false", "false|0", "true"),
    ("DisallowStartIfOnBatteries", "true", "true|1", "false"),
    ("StopIfGoingOnBatteries", "true", "true|1", "false"),
    ("RunOnlyIfIdle", "false", "true|1", "false"),
)
_NO = ("false", "0")
_DAY = 24 * 60  # minutes


def read(file: File) -> Parsed:
    """Returns the entries of the tasks in an export: several may follow each other, each a document or within
    <Tasks>."""
    parsed = Parsed()
    found = list(_TASK.finditer(file.content))
    if not found:
        parsed.findings.append(finding("no-task", file, None))
    for match in found:
        try:
            task = _Task(file, match[0], match.start())
        except etree.XMLSyntaxError as error:
            parsed.findings.append(finding("no-xml", file, match.start(), message=error.msg))
            continue
        entries = list(task.entries())
        parsed.entries.extend(entries)
        parsed.findings.extend(task.findings())
        if any(is_mentioned(entry.command.text) for entry in entries):
            parsed.findings.extend(task.findings_of_settings())
    return parsed


class _Task:
    """Parses one task. Raises XMLSyntaxError."""

    def __init__(self, file: File, text: str, begin: int) -> None:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        self._root = etree.fromstring(text.encode("utf-8"), parser)
        self._file, self._text, self._begin = file, text, begin
        self._user = self._value("Principals", "UserId")
        self._actions = [
            (_child(action, "Command"), _child(action, "Arguments"), _child(action, "WorkingDirectory") or None)
            for action in self._root.iter(f"{_NAMESPACE}Exec")
        ]

    def entries(self) -> Iterator[Entry]:
        schedule = self._schedule()
        for (program, arguments, folder), begin in zip(self._actions, self._offsets_of_actions()):
            quoted = program if program.startswith('"') or " " not in program else f'"{program}"'
            text = f"{quoted} {arguments}".strip()
            batch = re.match(r'"?(?:.*[\\/])?cmd(?:\.exe)?"?\s+/[cC]\s+(.*)', text, re.DOTALL)
            language = Language.BATCH if batch else Language.WINDOWS
            command = batch[1] if batch else text
            if batch and re.fullmatch(r'".*\s.*"', command):  # cmd takes the outer quotes away
                command = command[1:-1]
            offset = self._offset_of("Arguments" if arguments else "Command", begin)
            yield Entry(
                self._file, offset, Scheduler.TASK_SCHEDULER, language, Text(command, (offset,) * (len(command) + 1)),
                "", self._user or None, folder, {}, "cmd.exe", schedule,
                has_more_variables=True,
            )  # fmt: skip

    def findings(self) -> Iterator[Finding]:
        for program, arguments, _ in self._actions:
            if re.match(r'[^"]*\.exe"? +\S', program, re.IGNORECASE) and not arguments:
                yield self._finding("one-element", "Command")

    def findings_of_settings(self) -> Iterator[Finding]:
        for name, default, wrong, right in _SETTINGS:
            value = self._value("Settings", name) or default
            if re.fullmatch(wrong, value):
                shown = "72 hours" if value in ("PT72H", "P3D") else value
                element = f"<{name}>{right}</{name}>"
                yield self._finding(name, name, self._edits(name, right), value=shown, fix=element)
        if self._root.find(f".//{_NAMESPACE}RestartOnFailure") is not None:
            yield self._finding("restart/task", "RestartOnFailure")
        if self._value("Principals", "LogonType") == "InteractiveToken":
            yield self._finding("logged-on", "LogonType")
        account = _SERVICES.get(self._user, self._user)
        if account.upper().replace("NT AUTHORITY\\", "") in _SERVICES.values() and " -p " not in self._text:
            yield self._finding("account", "UserId", name=account)
        if self._value("Settings", "Enabled").lower() in _NO:
            yield self._finding("disabled", "Task")
        for (_, _, folder), begin in zip(self._actions, self._offsets_of_actions()):
            if folder and folder.startswith('"'):
                at = self._offset_of("WorkingDirectory", begin)
                yield finding("folder-quotes", self._file, at, value=folder)
        yield from self._findings_of_triggers()

    def _findings_of_triggers(self) -> Iterator[Finding]:
        problems = [(each, _why_never(each)) for each in self._triggers()]
        if all(why for _, why in problems):
            yield self._finding("no-trigger", "Triggers", why="; ".join(why for _, why in problems) or "there is none")
            return
        for trigger, why in problems:
            lines = self._text.splitlines(keepends=True)[: cast(int, trigger.sourceline) - 1]
            offset = self._begin + sum(map(len, lines))
            if why:
                yield finding("trigger", self._file, offset, why=why)
            limit, element = _limit_of(trigger)
            if limit and not why:
                yield finding("trigger/limit", self._file, offset, value=limit, element=element)

    def _finding(self, key: str, element: str, edits: tuple[Edit, ...] = (), **values: object) -> Finding:
        return finding(key, self._file, self._offset_of(element), edits, **values)

    def _offset_of(self, element: str, begin: int = 0) -> int:
        return self._begin + max(0, self._text.find(f"<{element}", begin))

    def _offsets_of_actions(self) -> Iterator[int]:
        """Yields where each begins in the text of the task; for one that is written otherwise, 0."""
        found = (match.start() for match in re.finditer(r"<Exec[\s>]", self._text))
        return itertools.chain(found, itertools.repeat(0))

    def _value(self, section: str, name: str) -> str:
        """Returns "" if it is missing."""
        element = self._root.find(f"./{_NAMESPACE}{section}//{_NAMESPACE}{name}")
        return "" if element is None else (element.text or "").strip()

    def _edits(self, name: str, value: str) -> tuple[Edit, ...]:
        settings = max(0, self._text.find("<Settings"))
        match = re.compile(rf"<{name}>\s*([^<]*?)\s*</{name}>").search(self._text, settings)
        if match is not None:
            return (Edit(self._begin + match.start(1), self._begin + match.end(1), value),)
        end = self._text.find("</Settings>")
        at = self._begin + end
        return () if end < 0 else (Edit(at, at, f"  <{name}>{value}</{name}>\n  "),)

    def _triggers(self) -> list[etree._Element]:
        return list(self._root.iterfind(f"./{_NAMESPACE}Triggers/*"))

    def _schedule(self) -> Schedule:
        """Returns one without expressions if a trigger is not understood."""
        rules = [_rules(each) for each in self._triggers() if not _why_never(each)]
        return Schedule("triggers of the task", tuple(itertools.chain(*rules)) if all(rules) else ())


def _why_never(trigger: etree._Element) -> str:
    """Returns why a trigger starts nothing any more, "" if it does."""
    now, begin, end = datetime.now().isoformat(), _child(trigger, "StartBoundary"), _child(trigger, "EndBoundary")
    if _child(trigger, "Enabled").lower() in _NO:
        return "it is disabled"
    if end and end[:19] < now:
        return f"it has ended: {end}"
    is_once = "TimeTrigger" in str(trigger.tag) and trigger.find(f"{_NAMESPACE}Repetition") is None
    return f"it was for one time: {begin}" if is_once and begin[:19] < now else ""


def _limit_of(trigger: etree._Element) -> tuple[str, str]:
    """Returns after which time a trigger ends what it has started, and the element that says so; "" if it does not."""
    repetition = trigger.find(f"{_NAMESPACE}Repetition")
    limit = _child(trigger, "ExecutionTimeLimit")
    if limit not in ("", "PT0S"):
        return limit, "ExecutionTimeLimit"
    if repetition is not None and _child(repetition, "StopAtDurationEnd").lower() in ("true", "1"):
        return _child(repetition, "Duration"), "StopAtDurationEnd"
    return "", ""


def _rules(trigger: etree._Element) -> list[str]:
    """Returns a trigger in cron's five fields; nothing if it is not one of the usual ones."""
    start = re.fullmatch(r"\d{4}-\d\d-\d\dT(\d\d):(\d\d):.*", _child(trigger, "StartBoundary"))
    repetition = trigger.find(f"{_NAMESPACE}Repetition")
    by_day, by_week = trigger.find(f"{_NAMESPACE}ScheduleByDay"), trigger.find(f"{_NAMESPACE}ScheduleByWeek")
    is_endless = "TimeTrigger" in str(trigger.tag) and repetition is not None and not _child(repetition, "Duration")
    days = ""
    if is_endless or (by_day is not None and _child(by_day, "DaysInterval") in ("", "1")):
        days = "*"
    elif by_week is not None and _child(by_week, "WeeksInterval") in ("", "1"):
        days = ",".join(str(_DAYS[name]) for name in _DAYS if by_week.find(f".//{_NAMESPACE}{name}") is not None)
    if start is None or not days:
        return []
    hours: dict[int, set[int]] = {}  # by the minute
    for minute in _repeated(60 * int(start[1]) + int(start[2]), repetition, days == "*", is_endless):
        hours.setdefault(minute % 60, set()).add(minute // 60)
    return [f"{minute} {','.join(map(str, sorted(at)))} * * {days}" for minute, at in hours.items()]


def _repeated(first: int, repetition: etree._Element | None, is_daily: bool, is_endless: bool) -> list[int]:
    """Returns the minutes of the day on which a trigger starts the task; nothing if they differ from day to day."""
    if repetition is None:
        return [first]
    every = _minutes(_child(repetition, "Interval"))
    end = first + min(_minutes(_child(repetition, "Duration")) or _DAY, _DAY)
    if not every or (end > _DAY and not is_daily) or (is_endless and _DAY % every):
        return []
    return [minute % _DAY for minute in range(first, end, every)]


def _minutes(duration: str) -> int:
    """Returns how many minutes a duration of XML Schema is, 0 for one that is not understood."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:0S)?)?", duration)
    return 0 if match is None else sum(int(each or 0) * size for each, size in zip(match.groups(), (_DAY, 60, 1)))


def _child(element: etree._Element, name: str) -> str:
    """Returns "" if it is missing."""
    found = element.find(f"{_NAMESPACE}{name}")
    return "" if found is None else (found.text or "").strip()
