"""Says where a call of planta_headless.py runs, as which user and behind what; and where the file has to change when a
word of it is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache

from headless.admin import users
from headless.admin.calls import PYTHON, Call, Language, Word, is_mentioned
from headless.admin.files import File
from headless.admin.programs import SHELLS, WRAPPERS, Wrapper, base_name
from headless.admin.rules import Edit, Finding, finding

_SU = ("su", "runuser")
_FILES_OF_THIS_MACHINE = {Language.SHELL, Language.SYSTEMD} if os.name != "nt" else {Language.BATCH, Language.WINDOWS}
_Span = tuple[int, int, int]  # where the line begins, and where the word begins and ends


def looks_at_files(call: Call) -> bool:
    """Returns whether it runs on this machine: not as a task of Windows elsewhere, nor behind docker or ssh."""
    is_here = call.entry.language in _FILES_OF_THIS_MACHINE
    return is_here and all(_starts_here(base_name(word.text)) for word in call.wrappers)


def _starts_here(name: str) -> bool:
    is_wrapper = name in WRAPPERS and not WRAPPERS[name].elsewhere
    return is_wrapper or name in (*SHELLS, *_SU, "cmd") or bool(PYTHON.fullmatch(name))


def is_behind(call: Call, is_it: Callable[[Wrapper], bool]) -> bool:
    """Returns whether a program in front of the call is one of these."""
    names = (base_name(word.text) for word in (*call.entry.wrappers, *call.wrappers))
    return any(name in WRAPPERS and is_it(WRAPPERS[name]) for name in names)


def changes_user(call: Call) -> bool:
    """Returns whether it runs as another user than the entry: which one is not known."""
    is_su = any(base_name(word.text) in _SU for word in (*call.entry.wrappers, *call.wrappers))
    return is_su or is_behind(call, lambda wrapper: wrapper.other_user)


def for_user(call: Call) -> str:
    """Names the user for whom something was looked for, if it is not the caller."""
    user = call.entry.user
    is_other = os.name != "nt" and os.getuid() == 0 and user is not None and not users.is_caller(user)
    return f" for {user}" if is_other else ""


def make_folder(call: Call) -> str:
    """Names the user who has to make it: a folder of another user could not be written to."""
    user = call.entry.user
    is_other = user is not None and not users.is_caller(user) and not changes_user(call)
    return f"make it, as {user}, or correct its name" if is_other else "make it, or correct its name"


def has_rights_of_user(call: Call) -> bool:
    """Returns whether files are now looked at with the rights of the user of the call."""
    user = call.entry.user
    if user is None or os.name == "nt":
        return True
    return users.is_caller(user) or (os.getuid() == 0 and users.find(user) is not None)


# -- where the file has to change: the word itself, or the line that sets the variable whose value it is. So a thing is
# found once, however many calls use it --


def of_word(call: Call, key: str, word: Word | None, text: str | None = None, **values: object) -> Finding:
    """Returns what is wrong with a word of a call. `text` takes its place, if it can be there: "" takes it away."""
    file = call.entry.file
    name = _variable(file.content, word) if word is not None else ""
    place = _set_to(file.content, name, word.text, word.begin) if word is not None and name else None
    if place is not None:
        edits = _edits(file, place, text) if _is_only_of_calls(file.content, name) else ()
        return finding(key, file, place[0], edits, **values)
    is_plain = word is not None and call.is_plain(word)
    edits = _edits(file, (call.offset, word.begin, word.end), text) if word is not None and is_plain else ()
    return call.finding(key, edits, **values)


def of_setting(call: Call, key: str, name: str, **values: object) -> Finding:
    """Returns what is wrong with the value of a variable of a call."""
    file = call.entry.file
    value = call.environment[name] if name in call.environment else call.entry.environment[name]
    place = _set_to(file.content, name, value, call.offset + 1)
    return call.finding(key, (), **values) if place is None else finding(key, file, place[0], (), **values)


def _variable(content: str, word: Word) -> str:
    """Returns the name of the variable that a word consists of, "" for another word. Where a word is in a line of
    Windows is not known, so that one counts which has it as its value."""
    match = re.fullmatch(r"\"?\$(?:(\w+)|\{(\w+)\})\"?", content[word.begin : word.end])
    line = "" if word.begin < word.end else content[word.begin :].partition("\n")[0]
    names = (name for name in re.findall(r"%(\w+)%", line) if _set_to(content, name, word.text, word.begin))
    return (match[1] or match[2]) if match else next(names, "")


@lru_cache(maxsize=16)
def _settings(content: str) -> tuple[re.Match[str], ...]:
    """Returns the lines that set a variable: its name, and its value."""
    front = r"(?:export[ \t]+|set[ \t]+\"?|Environment=[\"']?)?"
    return tuple(re.finditer(rf"^[ \t]*{front}(\w+)[ \t]*=(.*)", content, re.MULTILINE))


def _set_to(content: str, name: str, value: str, at: int) -> _Span | None:
    """Returns where the last line above this offset that sets the variable has this word. None if it has another value,
    or there is none."""
    found = [each for each in _settings(content) if each[1] == name and each.start() < at]
    word = re.compile(rf"(?<![^\s=\"']){re.escape(value)}(?![^\s\"'])")
    match = word.search(content, *found[-1].span(2)) if found else None
    return (found[-1].start(), *match.span()) if match else None


@lru_cache(maxsize=256)
def _is_only_of_calls(content: str, name: str) -> bool:
    """Returns whether each line that uses the variable calls planta_headless.py: others may need its value."""
    names = [rf"[$%]\{{?{each[1]}\b" for each in _settings(content) if is_mentioned(each[2])]
    using = re.findall(rf"^(?![ \t]*#).*[$%]\{{?{re.escape(name)}\b.*", content, re.MULTILINE)
    return all(is_mentioned(line) or any(re.search(each, line) for each in names) for line in using)


def _edits(file: File, place: _Span, text: str | None) -> tuple[Edit, ...]:
    """Returns none without a text. A word is taken away with the blanks before it, and never as the whole of a value:
    cron refuses a setting without one."""
    _, begin, end = place
    before = file.content[:begin].rstrip(" \t")
    if text is None or (not text and len(before) == begin):
        return ()
    return (Edit(begin if text else len(before), end, text),)
