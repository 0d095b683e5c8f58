"""Finds the place that has to change when a word of a call is wrong: the word itself, or the line that sets the
variable whose value it is. So a thing is found once, however many calls use it.
"""

from __future__ import annotations

import re

from headless.admin.calls import Call, Word, is_mentioned
from headless.admin.files import File
from headless.admin.findings import Edit, Finding, finding

_Place = tuple[int, int, int]  # where the line begins, and where the word begins and ends


def of_word(call: Call, key: str, word: Word | None, text: str | None = None, **values: object) -> Finding:
    """Returns what is wrong with a word of a call. `text` takes its place, if it can be there: "" takes it away."""
    file = call.entry.file
    name = _variable(file.content, word) if word is not None else ""
    place = _set_to(file.content[: word.begin], name, word.text) if word is not None and name else None
    if place is not None:
        edits = _edits(file, place, text) if _is_only_of_calls(file.content, name) else ()
        return finding(key, file, place[0], edits, **values)
    is_plain = word is not None and call.is_plain(word)
    edits = _edits(file, (call.offset, word.begin, word.end), text) if word is not None and is_plain else ()
    return call.finding(key, edits, **values)


def of_setting(call: Call, key: str, name: str, **values: object) -> Finding:
    """Returns what is wrong with the value of a variable of a call."""
    file = call.entry.file
    place = _set_to(file.content[: max(0, file.content.find("\n", call.offset))], name, call.environment[name])
    return call.finding(key, (), **values) if place is None else finding(key, file, place[0], (), **values)


def _variable(content: str, word: Word) -> str:
    """Returns the name of the variable that a word consists of, "" for another word."""
    match = re.fullmatch(r"\"?\$(?:(\w+)|\{(\w+)\})\"?", content[word.begin : word.end])
    return (match[1] or match[2]) if match else ""


def _set_to(content: str, name: str, value: str) -> _Place | None:
    """Returns the last line that gives the variable a value with this word. None if it has another one since then."""
    setting = rf"^[ \t]*(?:export[ \t]+|Environment=[\"']?)?{re.escape(name)}[ \t]*=.*"
    found = list(re.finditer(setting, content, re.MULTILINE))
    word = re.compile(rf"(?<![^\s=\"']){re.escape(value)}(?![^\s\"'])")
    match = word.search(content, found[-1].start(), found[-1].end()) if found and value else None
    return (found[-1].start(), *match.span()) if match else None


def _is_only_of_calls(content: str, name: str) -> bool:
    """Returns whether each line that uses the variable calls planta_headless.py: others may need its value."""
    settings = re.findall(r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=(.*)", content, re.MULTILINE)
    names = [rf"\$\{{?{each}\b" for each, value in settings if is_mentioned(value)]
    using = re.findall(rf"^(?![ \t]*#).*\$\{{?{re.escape(name)}\b.*", content, re.MULTILINE)
    return all(is_mentioned(line) or any(re.search(each, line) for each in names) for line in using)


def _edits(file: File, place: _Place, text: str | None) -> tuple[Edit, ...]:
    """Returns none without a text. A word is taken away with the blanks before it, and never as the whole of a value:
    cron refuses a setting without one."""
    _, begin, end = place
    before = file.content[:begin].rstrip(" \t")
    if text is None or (not text and len(before) == begin):
        return ()
    return (Edit(begin if text else len(before), end, text),)
