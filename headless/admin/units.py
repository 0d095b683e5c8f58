"""Parses units of systemd: the services that call the command, when their timers start them, and what is wrong.

A unit is its file and the drop-ins beside it. The rules are those of systemd.syntax(7), systemd.unit(5),
systemd.service(5), systemd.exec(5) and systemd.timer(5).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from headless.admin import users
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
from headless.admin.files import File, applies_to, is_file, is_folder, unit_name
from headless.admin.programs import SHELLS, WRAPPERS, base_name, command_begin
from headless.admin.rules import Edit, Finding, finding
from headless.admin.schedule import Schedule, problem_of, schedule_of

_SHELL_SYNTAX = re.compile(r"\d?>>?(&\d)?.*|<|\||\|\||&&?|;.+")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_YES = ("true", "yes", "1", "on")
_LIMITS = ("TimeoutStartSec", "TimeoutSec", "RuntimeMaxSec")
# A setting, the values that are wrong, the rule that they break, and the right value.
_WRONG = (
    ("Restart", "(?!(?:no|on-abort|on-watchdog)$).*", "restart", "no"),  # of a command that ends by itself
    ("RestartForceExitStatus", ".*", "restart/status", ""),
    ("SuccessExitStatus", r".*\b[123]\b.*", "code-ignored/status", ""),
    *((name, "(?!(?:infinity|0)$).*", "timeout/unit", "infinity") for name in _LIMITS),
    ("Type", "forking|notify|notify-reload|dbus", "type", "oneshot"),  # a command that just ends is none of these
)
_COMMANDS = ("ExecStartPre", "ExecStart", "ExecStartPost")  # whose failure is one of the service
_TEXTS = ("Description", "Documentation", "Environment")  # which start nothing
_OUTPUTS = ("StandardOutput", "StandardError")
_OF_SERVICES = ("Type", "User", "DynamicUser", "RemainAfterExit", "Restart", "RestartForceExitStatus",
                "SuccessExitStatus", "WorkingDirectory")  # fmt: skip
# In which section systemd looks for a setting. In another one it is ignored.
_SECTIONS = {
    "OnFailure": "Unit",
    "WantedBy": "Install",
    **dict.fromkeys(("OnCalendar", "Persistent", "Unit"), "Timer"),
    **dict.fromkeys((*_COMMANDS, *_LIMITS, *_OUTPUTS, *_OF_SERVICES, "Environment"), "Service"),
}
_FIRST_STARTS = ("OnCalendar", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnClockChange", "OnTimezoneChange")


class Units:
    """Holds all units that were read."""

    def __init__(self, files: Iterable[File]) -> None:
        files = list(files)
        own = {unit_name(file.path): file for file in files if not file.path.endswith(".conf")}
        loose = {unit_name(file.path) for file in files} - own.keys()
        self._units = [_Unit(name, [file], files) for name, file in own.items()]
        self._units += [_Unit(name, [], files) for name in loose if not any(applies_to(name, each) for each in own)]
        self._services = [each for each in self._units if each.name.endswith(".service")]

    def read(self) -> Parsed:
        """Returns what the services start."""
        parsed = Parsed()
        for service in self._services:
            timers = self._timers_of(service)
            events = [each.text for timer in timers for each in timer.all("OnCalendar")]
            schedule = schedule_of(events) if timers else None
            for start in (each for name in _COMMANDS for each in service.all(name)):
                _read_command(service, start, schedule, parsed)
        return parsed

    def findings(self, concerned: Collection[File]) -> Iterator[Finding]:
        """Yields what is wrong with the services one of whose files is `concerned`, and with their timers."""
        for service in self._services:
            if not any(file in concerned for file in service.files):
                continue
            timers = self._timers_of(service)
            yield from _of_commands(service)
            yield from _of_service(service, bool(timers))
            for timer in timers:
                yield from _of_timer(timer)
            for unit in (service, *timers):
                yield from _of_sections(unit)

    def _timers_of(self, service: _Unit) -> list[_Unit]:
        return [each for each in self._units if each.starts(service)]


@dataclass(frozen=True)
class _Setting:
    """Holds the value of a setting, its continued lines included. `offset` is where the first line begins."""

    file: File
    section: str
    name: str
    value: Text
    offset: int

    @property
    def text(self) -> str:
        return self.value.text

    def replaced_by(self, value: str) -> tuple[Edit, ...]:
        return (Edit(self.value.offsets[0], self.value.offsets[-1], value),)

    def finding(self, key: str, edits: tuple[Edit, ...] = (), **values: object) -> Finding:
        return finding(key, self.file, self.offset, edits, name=self.name, value=self.text, **values)


class _Unit:
    """Holds one unit: its own file, if that is known, and the drop-ins among `files`, in the order of their names."""

    def __init__(self, name: str, own: list[File], files: Iterable[File]) -> None:
        drop_ins = [each for each in files if each.path.endswith(".conf") and applies_to(unit_name(each.path), name)]
        self.name = name
        self.is_whole = bool(own)
        self.files = [*own, *sorted(drop_ins, key=lambda each: os.path.basename(each.path))]
        self.misplaced: list[_Setting] = []
        self._settings: dict[str, list[_Setting]] = {}
        for setting in (each for file in self.files for each in _settings(file)):
            found = self._settings.setdefault(setting.name, [])
            if _SECTIONS.get(setting.name, setting.section) != setting.section:
                self.misplaced.append(setting)
            elif setting.text:
                found.append(setting)
            else:  # an empty value clears the ones before it
                found.clear()

    def all(self, name: str) -> list[_Setting]:
        return self._settings.get(name, [])

    def every(self) -> Iterator[_Setting]:
        for found in self._settings.values():
            yield from found

    def last(self, name: str) -> str:
        """Returns the value that counts, "" if there is none."""
        found = self.all(name)
        return found[-1].text if found else ""

    def says_yes(self, name: str) -> bool:
        return self.last(name).lower() in _YES

    def environment(self) -> dict[str, str]:
        words = (word for setting in self.all("Environment") for word in _words(setting.value, {}))
        return {name: value for name, _, value in (word.text.partition("=") for word in words)}

    def starts(self, service: _Unit) -> bool:
        started = self.last("Unit") or f"{self.name[:-6]}.service"
        template = re.sub(r"@.*(?=\.)", "@", started)
        return self.name.endswith(".timer") and service.name in (started, template)


def _settings(file: File) -> Iterator[_Setting]:
    """Yields the settings in their order. A backslash at the end of a line is a blank, and joins the next one."""
    section = ""
    lines = deque(re.finditer(r"^.*$", file.content, re.MULTILINE))
    while lines:
        line = lines.popleft()
        text, offsets = line[0], [*range(line.start(), line.end())]
        while text.endswith("\\") and lines:
            more = lines.popleft()
            if not more[0].lstrip().startswith(("#", ";")):
                text = f"{text[:-1]} {more[0]}"
                offsets += range(more.start(), more.end())
        header = re.fullmatch(r"\s*\[(.+)\]\s*", text)
        section = header[1] if header else section
        match = None if header else re.match(r"(?!\s*[#;])([^=]*)=\s*", text)
        if match is not None:
            value = text[match.end() :].rstrip()
            of_value = offsets[match.end() : match.end() + len(value)]
            end = of_value[-1] + 1 if of_value else line.end()
            yield _Setting(file, section, match[1].strip(), Text(value, (*of_value, end)), line.start())


def _command_of(start: _Setting) -> tuple[str, Text]:
    """Returns the special characters in front of a command, and the command."""
    prefix = start.text[: len(start.text) - len(start.text.lstrip("-@:+!|"))]
    return prefix, Text(start.text[len(prefix) :], start.value.offsets[len(prefix) :])


def _read_command(unit: _Unit, start: _Setting, schedule: Schedule | None, parsed: Parsed) -> None:
    """Parses one of the commands of a service."""
    prefix, command = _command_of(start)
    words = list(_words(command, unit.environment()))
    if "@" in prefix:  # the second word is the name that the program is given
        del words[1:2]
    entry = _entry(unit, start, schedule)
    while words:
        end = next((at for at, word in enumerate(words) if word.text == ";"), len(words))
        _read_words(words[:end], entry, parsed)
        words = words[end + 1 :]


def _read_words(words: list[Word], entry: Entry, parsed: Parsed) -> None:
    """Parses one command of several that ; separates."""
    wrappers, rest = _without_wrappers(words)
    script = _text_for_shell(rest)
    if script is not None:
        text = Text(script.text, (entry.offset,) * (len(script.text) + 1))
        shell = rest[0].text
        parsed.entries.append(replace(entry, language=Language.SHELL, command=text, shell=shell, wrappers=wrappers))
        return
    more = {"wrappers": wrappers, "environment": entry.environment, "folder": entry.folder}
    call = call_in(rest, entry, entry.offset, **more)
    if call is not None:
        parsed.calls.append(call)
        operators = [word.text for word in call.options if _SHELL_SYNTAX.fullmatch(word.text)]
        parsed.findings.extend(call.finding("no-shell", word=each) for each in operators[:1])
        return
    if any(is_mentioned(word.text) for word in words):
        parsed.findings.append(finding("not-checked", entry.file, entry.offset, reason="no call of it was found"))
    is_shell = bool(rest) and base_name(rest[0].text) in SHELLS
    started = [word for word in rest if not (is_shell and (word is rest[0] or word.text.startswith("-")))]
    parsed.programs.extend(Program(entry, word, entry.folder, wrappers, not is_shell) for word in started[:1])


def _entry(unit: _Unit, start: _Setting, schedule: Schedule | None) -> Entry:
    user = unit.last("User")
    is_known = not (unit.says_yes("DynamicUser") or "/user/" in start.file.path)
    folder = unit.last("WorkingDirectory")
    is_certain = not re.match("[-~%]", folder)  # with - it may be missing
    return Entry(
        file=start.file,
        offset=start.offset,
        scheduler=Scheduler.SYSTEMD,
        language=Language.SYSTEMD,
        command=start.value,
        user=user or ("root" if is_known else None),
        folder=(folder or "/") if is_certain else None,
        environment={"PATH": _PATH, **unit.environment()},
        schedule=schedule,
        has_more_variables=bool(unit.all("EnvironmentFile") or unit.all("PassEnvironment")),
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


def _of_commands(unit: _Unit) -> Iterator[Finding]:
    for start in (each for name in _COMMANDS for each in unit.all(name)):
        prefix, command = _command_of(start)
        if "-" in prefix:
            at = start.value.offsets[prefix.index("-")]
            yield start.finding("code-ignored", (Edit(at, at + 1, ""),))
        if command.text.startswith("$"):
            yield start.finding("variable-program", word=command.text.split()[0])
    for setting in unit.every():
        if setting.name not in (*_COMMANDS, *_TEXTS) and is_mentioned(setting.text):
            yield setting.finding("not-checked/setting")


def _of_service(unit: _Unit, has_timer: bool) -> Iterator[Finding]:
    for name, wrong, key, right in _WRONG:
        for setting in unit.all(name)[-1:] if right else unit.all(name):
            if re.fullmatch(wrong, setting.text):
                yield setting.finding(key, setting.replaced_by(right) if right else ())
    for setting in unit.all("RemainAfterExit")[-1:]:
        if unit.says_yes("RemainAfterExit") and (has_timer or not unit.all("WantedBy")):
            yield setting.finding("remain-after-exit", setting.replaced_by("no"))
    if len(unit.all("ExecStart")) > 1 and unit.last("Type") != "oneshot":
        yield unit.all("ExecStart")[1].finding("one-command")
    yield from _of_user(unit)
    yield from _of_outputs(unit)
    for setting in unit.all("EnvironmentFile"):
        if re.fullmatch(r"/[^%*?[]*", setting.text) and setting.file.is_own and not is_file(setting.text):
            yield setting.finding("no-file")
    if unit.is_whole and not unit.all("OnFailure") and "PLANTA_RECEIPT" not in unit.environment():
        yield finding("unreported/unit", unit.files[0], None)


def _who_must_be_here(unit: _Unit) -> str:
    """Returns the user in whose home the unit is, "" if it starts without them: after loginctl enable-linger."""
    match = re.match(r"/(?:home/([^/]+)|root)/\.config/systemd/user/", os.path.abspath(unit.files[0].path))
    user = (match[1] or "root") if match else ""
    is_known = os.path.isdir("/var/lib/systemd") and not os.path.exists(f"/var/lib/systemd/linger/{user}")
    return user if is_known else ""


def _of_outputs(unit: _Unit) -> Iterator[Finding]:
    for setting in (each for name in _OUTPUTS for each in unit.all(name)[-1:]):
        path = re.fullmatch(r"(?:append|file|truncate):(/[^%]*)", setting.text)
        if path and setting.file.is_own and not is_folder(os.path.dirname(path[1])):
            folder, what = os.path.dirname(path[1]), f"{setting.name}={setting.text}"
            make = "make it, or correct its name"
            yield setting.finding("no-folder/output", folder=folder, for_user="", redirection=what, make=make)


def _of_user(unit: _Unit) -> Iterator[Finding]:
    for setting in unit.all("DynamicUser")[-1:]:
        if unit.says_yes("DynamicUser") and not (unit.last("User") and users.find(unit.last("User"))):
            yield setting.finding("dynamic-user")
            return
    user = _who_must_be_here(unit)
    if user:
        yield finding("not-lingering", unit.files[0], None, user=user)
    for setting in unit.all("User")[-1:]:
        is_name = re.fullmatch(r"[A-Za-z_][\w.-]*", setting.text)
        if is_name and os.name != "nt" and users.find(setting.text) is None:
            yield setting.finding("user-unknown/unit")


def _of_timer(timer: _Unit) -> Iterator[Finding]:
    for setting in timer.all("OnCalendar"):
        key = problem_of(setting.text)
        if key:
            yield setting.finding(key, text=setting.text)
    if timer.all("OnCalendar") and not timer.says_yes("Persistent"):
        setting = timer.all("OnCalendar")[-1]
        end = setting.value.offsets[-1]
        yield setting.finding("left-out", (Edit(end, end, "\nPersistent=true"),))
    names = {each.name for each in timer.every()}
    if timer.is_whole and not names.intersection(_FIRST_STARTS):
        yield finding("no-start", timer.files[0], None)
    wants = os.path.join(os.path.dirname(timer.files[0].path), "timers.target.wants", timer.name)
    if timer.is_whole and not timer.all("WantedBy") and not os.path.lexists(wants):
        yield finding("not-enabled", timer.files[0], None)


def _of_sections(unit: _Unit) -> Iterator[Finding]:
    for setting in unit.misplaced:
        yield setting.finding("wrong-section", section=setting.section, right=_SECTIONS[setting.name])
