"""Parses exports of the Windows Task Scheduler, batch scripts, and the command lines of Windows programs.

The elements of a task, and their values where they are missing: Task Scheduler Schema, in Microsoft's documentation.
mslex knows how a program gets its arguments. cmd.exe has no grammar; this handles what the usual scripts need, and does
not judge what it does not understand.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import mslex
from lxml import etree

from headless.admin.calls import (
    Call,
    CodeUse,
    Entry,
    Language,
    Parsed,
    Program,
    Redirection,
    Scheduler,
    Text,
    Word,
    call_in,
    is_mentioned,
)
from headless.admin.files import File
from headless.admin.rules import Edit, Finding, finding
from headless.admin.schedule import Schedule
from headless.options import DEFAULTS

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
# In a batch script: what is a variable or stands for a %, and a % that is none.
_PERCENT = re.compile(r"%%|%\*|%~?[\w$:]*\d|%[\w()]+(?::[^%\n]*)?%|%")
_CONDITION = re.compile(
    r"^if\s+(?:/i\s+)?(?:not\s+)?(?:exist\s+(?:\"[^\"]*\"|\S+)|defined\s+\S+|errorlevel\s+\d+)\s*\(?\s*", re.IGNORECASE
)
_NO_CALL = re.compile(r"(?:echo|title|cd|chdir|pushd|copy|xcopy|move|del|dir|type|if|set|goto)\b", re.IGNORECASE)
_OPERATOR = re.compile(r"&&|\|\||&|\||\n")
_REDIRECTION = re.compile(r"(\d?)(>>|>&|>|<)\s*(\"[^\"]*\"|[^\s&|<>]*)")


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


# -- batch scripts --


@dataclass(frozen=True)
class _Command:
    """Holds one command of a script, and the operator behind it. `begin` counts in the text of the entry."""

    text: str
    begin: int
    operator: str


def read_batch(entry: Entry) -> Parsed:
    """Returns the calls in a batch script or in the command line of a program, what is wrong with how they are called,
    and the other programs that are started."""
    is_script = entry.language is Language.BATCH
    commands = list(_commands(entry.command.text)) if is_script else [_Command(entry.command.text, 0, "")]
    parsed = Parsed()
    variables: dict[str, str] = {}
    changes_folder = any(re.match(r"(cd|chdir|pushd)\b", _stripped(each.text), re.IGNORECASE) for each in commands)
    for index, command in enumerate(commands):
        text = _CONDITION.sub("", _stripped(command.text)) if is_script else command.text
        setting = re.match(r'set\s+"?(\w+)=([^"]*)"?\s*$', text, re.IGNORECASE)
        if setting:
            variables[setting[1].upper()] = _expanded(setting[2], variables)[0]
            continue
        offset = entry.command.offsets[command.begin]
        redirections: tuple[Redirection, ...] = ()
        source = text
        is_certain, is_detached = True, False
        if is_script:
            text, is_certain = _expanded(text, variables)
            redirections = tuple(_redirections(text, offset))
            text, is_detached = _without_start(_REDIRECTION.sub(" ", text))
        words = _words(text, offset, is_certain)
        code_use, because = _code_use(commands, index, is_detached)
        defaults = {name: variables[name] for name in DEFAULTS.values() if "%" not in variables.get(name, "%")}
        more = {
            "environment": {**entry.environment, **defaults},
            "redirections": redirections,
            "folder": entry.folder,
            "code_use": code_use,
            "lost_because": because,
        }
        call = call_in(words, entry, offset, **more)
        if call is not None:
            parsed.calls.append(call)
            parsed.findings.extend(_lone_percents(call, command))
            if entry.scheduler is Scheduler.TASK_SCHEDULER and entry.folder is None and not changes_folder:
                parsed.findings.extend(_relative(call))
            # Windows knows double quotes alone: with others the code is a text, which does nothing and ends well.
            quoted = (word.text[:40] for word in call.options if word.text.startswith("'"))
            parsed.findings.extend(call.finding("single-quotes", word=each) for each in quoted)
        elif words:
            if is_script and is_mentioned(source) and not _NO_CALL.match(source):
                parsed.findings.append(finding("not-checked", entry.file, offset, reason="no call of it was found"))
            parsed.programs.append(Program(entry, words[0], entry.folder))
    return parsed


def _lone_percents(call: Call, command: _Command) -> Iterator[Finding]:
    """Finds each % that cmd takes away in a batch script; in the line of a task it stays."""
    if call.entry.language is Language.BATCH and call.entry.scheduler is Scheduler.SCRIPT:
        offsets = call.entry.command.offsets
        found = [match for match in _PERCENT.finditer(command.text) if match[0] == "%"]
        edits = (Edit(at, at, "%") for at in (offsets[command.begin + match.start()] for match in found))
        if found:
            yield call.finding("percent/batch", tuple(edits))


def _relative(call: Call) -> Iterator[Finding]:
    """Finds the files that are looked for in the folder where a task begins that has no other."""
    started = [word for word in (call.interpreter, call.script) if word and (call.interpreter or "\\" in word.text)]
    secrets = [value for option, value in zip(call.options, call.options[1:]) if option.text == "-p"]
    for word in (*started, *secrets, *(each.target for each in call.redirections if each.operator != ">&")):
        is_name = word is call.interpreter and not re.search(r"[\\/]", word.text)  # that PATH leads to
        if word.is_certain and not is_name and not re.match(r"[A-Za-z]:|[\\/]|nul$", word.text, re.IGNORECASE):
            yield call.finding("relative", path=word.text)


def _commands(text: str) -> Iterator[_Command]:
    """Splits a script. Operators in quotes and behind ^ are none; ^ at the end of a line joins the next one."""
    text = text.replace("^\r\n", "   ").replace("^\n", "  ").replace("\r\n", " \n")
    begin, index, is_quoted = 0, 0, False
    while index < len(text):
        character = text[index]
        match = None if is_quoted else _OPERATOR.match(text, index)
        if character == "\n":
            is_quoted, match = False, _OPERATOR.match(text, index)
        if character == '"':
            is_quoted = not is_quoted
        if match is None or (match[0] in ("&", "|") and index and text[index - 1] == ">"):
            index += 2 if character == "^" and not is_quoted else 1
            continue
        if text[begin:index].strip():
            yield _Command(text[begin:index], begin, match[0])
        begin = index = match.end()
    if text[begin:].strip():
        yield _Command(text[begin:], begin, "")


def _stripped(text: str) -> str:
    text = text.strip().lstrip("@(").rstrip(")").strip()
    if re.match(r"(rem\b|::)", text, re.IGNORECASE):
        return ""
    return re.sub(r"^@?call\s+", "", text, flags=re.IGNORECASE)


def _without_start(text: str) -> tuple[str, bool]:
    """Returns the program that `start "title" /wait PROGRAM` starts, and whether start does not wait for it."""
    match = re.match(r'start\s+(?:"[^"]*"\s*)?((?:/\w+\s+)*)(.*)', text, re.IGNORECASE | re.DOTALL)
    return (text, False) if match is None else (match[2], "/wait" not in match[1].lower())


def _expanded(text: str, variables: dict[str, str]) -> tuple[str, bool]:
    """Returns the text with the values of variables, and whether all are known. %% is a %."""
    is_certain = True

    def value(match: re.Match[str]) -> str:
        nonlocal is_certain
        if match[0] == "%%":
            return "%"
        if match[1] is not None and match[1].upper() in variables:
            return variables[match[1].upper()]
        is_certain = False
        return match[0]

    return re.sub(r"%%|%(\w+)%|%~?\w*", value, text), is_certain


def _words(text: str, offset: int, is_certain: bool) -> list[Word]:
    try:
        words = mslex.split(text.strip(), like_cmd=False, check=False)
    except ValueError:
        return []
    return [Word(each, is_certain or not re.search(r"%\w", each), offset, offset) for each in words]


def _redirections(text: str, offset: int) -> Iterator[Redirection]:
    for match in _REDIRECTION.finditer(text):
        operator, target = match[2], match[3].strip('"')
        if target.startswith("&"):
            operator, target = ">&", target[1:]
        yield Redirection(int(match[1] or 1), operator, Word(target, True, offset, offset), offset, offset)


def _code_use(commands: list[_Command], index: int, is_detached: bool) -> tuple[CodeUse, str]:
    """Returns who sees the return code of a command, and why it is lost if it is."""
    if is_detached:
        return CodeUse.LOST, "start does not wait for it; write start /wait"
    operator = commands[index].operator
    if operator == "|":
        return CodeUse.LOST, "cmd sees the exit code of the last program in the pipe, not of the job"
    after = next((text for each in commands[index + 1 :] if (text := _stripped(each.text))), "")
    if operator == "&" and re.search("%errorlevel%", after, re.IGNORECASE):
        return CodeUse.LOST, "cmd puts the value of %errorlevel% in before it runs the line; use a line of its own"
    is_true = re.match(r"if\s+(?:not\s+)?errorlevel\s+0\b", after, re.IGNORECASE)
    if operator == "||" or (not is_true and re.search("errorlevel", after, re.IGNORECASE)):
        return CodeUse.TESTED, ""
    if operator == "&&" or not after:
        return CodeUse.RESULT, ""
    name = after.split(maxsplit=1)[0]
    if is_true:
        because = "if errorlevel 0 is true for each code, as it means 0 or more; write if errorlevel 1"
    else:
        because = f"cmd sees the exit code of {name}, not of the job; write exit /b %errorlevel% after the call"
    return CodeUse.LOST, because
