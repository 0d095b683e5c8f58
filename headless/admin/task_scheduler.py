"""Exports of the Windows Task Scheduler (`schtasks /query /xml`, or *Export*): the tasks that call the command, and
what their settings do to it.

The elements and what they are when they are missing: Task Scheduler Schema, in Microsoft's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from headless.admin.command_line import is_mentioned
from headless.admin.entry import Entry, Language, Place, Scheduler, Text
from headless.admin.finding import ERROR, WARNING, Edit, Finding
from headless.admin.reading import Reading
from headless.admin.schedule import Schedule

_NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
_TASK = re.compile(r"<Task[\s>].*?</Task>", re.DOTALL)
_MAX_SIZE = 16 * 1024 * 1024  # characters
_SERVICES = {"S-1-5-18": "SYSTEM", "S-1-5-19": "LOCAL SERVICE", "S-1-5-20": "NETWORK SERVICE"}
_DAYS = {"Monday": 1, "Tuesday": 2, "Wednesday": 3, "Thursday": 4, "Friday": 5, "Saturday": 6, "Sunday": 0}
# A setting, its value where it is missing, the values that are wrong, the right one, what is wrong, what happens.
_SETTINGS = (
    ("ExecutionTimeLimit", "PT72H", r"PT(?!0S$).+|P\d.*", "PT0S", "Task Scheduler ends the command after {}",
     "the job goes on at the server, and its return code is never known"),
    ("MultipleInstancesPolicy", "IgnoreNew", "Parallel|Queue|StopExisting", "IgnoreNew",
     "a start while the one before still runs is: {}", "the job runs twice at a time, or the wait for it is cut off"),
    ("StartWhenAvailable", "false", "false|0", "true", "a start is left out when the machine is off",
     "the job does not run that night"),
    ("DisallowStartIfOnBatteries", "true", "true|1", "false", "the task does not start on battery power",
     "the job does not run that night"),
    ("StopIfGoingOnBatteries", "true", "true|1", "false", "the task is ended when the power fails",
     "the job goes on at the server, and its return code is never known"),
)  # fmt: skip


def decoded(data: bytes) -> tuple[str, str]:
    """The text of an export, and its encoding. Its declaration may say UTF-16 whatever it was saved as."""
    encoding = "utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    elif b"\0" in data[:4]:
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    return data.decode(encoding, "replace"), encoding


def read(content: str, path: str, reading: Reading) -> None:
    """The tasks in an export: it may hold several, one after the other, each a document or within <Tasks>."""
    found = list(_TASK.finditer(content)) if len(content) <= _MAX_SIZE else []
    if not found:
        text = "there is no task in this file"
        advice = "export it with: schtasks /query /tn NAME /xml > FILE"
        reading.findings.append(Finding(Place(path, 0), ERROR, "no-task", text, "nothing is checked", advice=advice))
    for match in found:
        line = content.count("\n", 0, match.start()) + 1
        try:
            task = _Task(match[0], match.start(), Place(path, line))
        except etree.XMLSyntaxError as error:
            text = f"this task is not well-formed XML: {error.msg}"
            reading.findings.append(Finding(Place(path, line), ERROR, "no-xml", text, "it cannot be imported"))
            continue
        task.read(reading)


class _Task:
    """One task. Raises XMLSyntaxError."""

    def __init__(self, text: str, begin: int, place: Place) -> None:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        self._root = etree.fromstring(text.encode("utf-8"), parser)
        self._text = text
        self._begin = begin
        self._place = place

    def read(self, reading: Reading) -> None:
        entries = list(self._entries(reading))
        reading.entries.extend(entries)
        if any(is_mentioned(entry.command.text) for entry in entries):
            reading.findings.extend(self._settings())
            reading.findings.extend(self._principal())
            reading.findings.extend(self._state())

    def _entries(self, reading: Reading) -> Iterator[Entry]:
        schedule = self._schedule()
        user = self._value("Principals", "UserId")
        for action in self._root.iter(f"{_NAMESPACE}Exec"):
            program, arguments = _child(action, "Command"), _child(action, "Arguments")
            folder = _child(action, "WorkingDirectory") or None
            text = f"{_quoted(program)} {arguments}".strip()
            if re.match(r'[^"]*\.exe"? +\S', program, re.IGNORECASE) and not arguments:
                finding = "the program and its arguments stand in one element"
                advice = 'in schtasks /TR put \\" around each path with blanks; or give program and arguments apart'
                consequence = "Windows finds no program of that name: nothing is started"
                place = self._place_of("Command")
                reading.findings.append(Finding(place, ERROR, "one-element", finding, consequence, advice=advice))
            batch = re.match(r'"?(?:.*[\\/])?cmd(?:\.exe)?"?\s+/[cC]\s+(.*)', text, re.DOTALL)
            language = Language.BATCH if batch else Language.WINDOWS
            command = batch[1] if batch else text
            if batch and re.fullmatch(r'".*\s.*"', command):  # cmd takes the outer quotes away
                command = command[1:-1]
            begin = self._begin + self._text.find("<Arguments>" if arguments else "<Command>")
            positions = (begin,) * (len(command) + 1)
            yield Entry(
                self._place_of("Arguments" if arguments else "Command"), Scheduler.TASK_SCHEDULER, language,
                Text(command, positions), "", user or None, folder, {}, "cmd.exe", schedule,
            )  # fmt: skip

    def _settings(self) -> Iterator[Finding]:
        for name, default, wrong, right, text, consequence in _SETTINGS:
            value = self._value("Settings", name) or default
            if not re.fullmatch(wrong, value):
                continue
            said = {"PT72H": "72 hours", "P3D": "72 hours"}.get(value, value)
            edit = self._edit(name, right)
            edits = () if edit is None else (edit,)
            advice = f"<{name}>{right}</{name}> in <Settings>"
            yield Finding(self._place_of(name), WARNING, name, text.format(said), consequence, edits, advice)
        if self._root.find(f".//{_NAMESPACE}RestartOnFailure") is not None:
            text = "RestartOnFailure starts the job again when it has failed"
            consequence = "a job whose end is not known runs twice"
            advice = "delete the element <RestartOnFailure>"
            yield Finding(self._place_of("RestartOnFailure"), ERROR, "restart", text, consequence, advice=advice)

    def _principal(self) -> Iterator[Finding]:
        kind, user = self._value("Principals", "LogonType"), self._value("Principals", "UserId")
        if kind == "InteractiveToken":
            text = "the task runs only while its user is logged on"
            advice = "choose 'Run whether user is logged on or not' (schtasks /RU USER /RP *)"
            yield Finding(
                self._place_of("LogonType"), ERROR, "logged-on", text, "the job does not run at night", advice=advice
            )
        name = _SERVICES.get(user, user)
        if name.upper().replace("NT AUTHORITY\\", "") in _SERVICES.values():
            text = f"the task runs as {name}: it needs a password file that this account can read"
            consequence = "the osuser login is that of no PLANTA user"
            advice = "use an account of its own, or -u and -p"
            if " -p " not in self._text:
                yield Finding(self._place_of("UserId"), WARNING, "account", text, consequence, advice=advice)

    def _state(self) -> Iterator[Finding]:
        if self._value("Settings", "Enabled").lower() in ("false", "0"):
            text = "the task is disabled"
            advice = "if it is meant to run, enable it"  # somebody has had a reason
            yield Finding(self._place, WARNING, "disabled", text, "the job does not run", advice=advice)

    def _value(self, section: str, name: str) -> str:
        """ "" if it is missing."""
        element = self._root.find(f"./{_NAMESPACE}{section}//{_NAMESPACE}{name}")
        return "" if element is None else (element.text or "").strip()

    def _place_of(self, name: str) -> Place:
        offset = max(0, self._text.find(f"<{name}"))
        return Place(self._place.path, self._place.line + self._text.count("\n", 0, offset))

    def _edit(self, name: str, value: str) -> Edit | None:
        settings = self._text.find("<Settings")
        match = re.compile(rf"<{name}>\s*([^<]*?)\s*</{name}>").search(self._text, max(0, settings))
        if match is not None:
            return Edit(self._begin + match.start(1), self._begin + match.end(1), value)
        end = self._text.find("</Settings>")
        if end < 0:
            return None
        return Edit(self._begin + end, self._begin + end, f"  <{name}>{value}</{name}>\n  ")

    def _schedule(self) -> Schedule:
        """Without rules where one of the triggers is none that is understood here."""
        rules: list[str | None] = []
        for trigger in self._root.iter(f"{_NAMESPACE}CalendarTrigger"):
            rules.append(_rule(trigger))
        others = [each for each in self._root.iterfind(f"./{_NAMESPACE}Triggers/*") if "Calendar" not in str(each.tag)]
        known = tuple(rule for rule in rules if rule is not None)
        is_known = len(known) == len(rules) and not others
        return Schedule("triggers of the task", known if is_known else ())


def _rule(trigger: etree._Element) -> str | None:
    """A calendar trigger in cron's five fields; None if it is not one of the usual ones."""
    start = re.fullmatch(r"\d{4}-\d\d-\d\dT(\d\d):(\d\d):.*", _child(trigger, "StartBoundary"))
    if start is None or trigger.find(f"{_NAMESPACE}Repetition") is not None:
        return None
    time = f"{int(start[2])} {int(start[1])}"
    by_day, by_week = trigger.find(f"{_NAMESPACE}ScheduleByDay"), trigger.find(f"{_NAMESPACE}ScheduleByWeek")
    if by_day is not None and _child(by_day, "DaysInterval") in ("", "1"):
        return f"{time} * * *"
    if by_week is not None and _child(by_week, "WeeksInterval") in ("", "1"):
        days = [str(_DAYS[name]) for name in _DAYS if by_week.find(f".//{_NAMESPACE}{name}") is not None]
        return f"{time} * * {','.join(days)}" if days else None
    return None


def _child(element: etree._Element, name: str) -> str:
    """ "" if it is missing."""
    found = element.find(f"{_NAMESPACE}{name}")
    return "" if found is None else (found.text or "").strip()


def _quoted(program: str) -> str:
    return program if program.startswith('"') or " " not in program else f'"{program}"'
