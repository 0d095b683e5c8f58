"""The calls of planta_headless.py in a batch script, or in the command line of a Windows program.

How a program gets its arguments is mslex's to know. cmd.exe has no grammar; here is only as much of it as the usual
scripts need, and what is not understood is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import mslex

from headless.admin.command_line import script_call
from headless.admin.entry import Call, Entry, Fate, Language, Place, Redirection, Word
from headless.admin.finding import ERROR, Finding
from headless.admin.reading import Program, Reading

_OPERATOR = re.compile(r"&&|\|\||&|\||\n")
_REDIRECTION = re.compile(r"(\d?)(>>|>&|>|<)\s*(\"[^\"]*\"|[^\s&|<>]*)")


@dataclass(frozen=True)
class _Command:
    """One command of a script, and the operator behind it."""

    text: str
    begin: int  # in the text of the entry
    operator: str


def read(entry: Entry, reading: Reading) -> None:
    """The calls in an entry, what is wrong with how it calls them, and the programs that it starts besides."""
    is_script = entry.language is Language.BATCH
    commands = list(_commands(entry.command.text)) if is_script else [_Command(entry.command.text, 0, "")]
    variables: dict[str, str] = {}
    for index, command in enumerate(commands):
        text = _stripped(command.text) if is_script else command.text
        setting = re.match(r'set\s+"?(\w+)=([^"]*)"?\s*$', text, re.IGNORECASE)
        if setting:
            variables[setting[1].upper()] = _expanded(setting[2], variables)[0]
            continue
        text, is_certain = _expanded(text, variables) if is_script else (text, True)
        redirections = tuple(_redirections(text, entry)) if is_script else ()
        text = _REDIRECTION.sub(" ", text) if is_script else text
        is_detached = False
        if is_script:
            text, is_detached = _without_start(text)
        words = _words(text, entry, command.begin, is_certain)
        found = script_call(words)
        if found is None:
            if words:
                reading.programs.append(Program(entry, words[0], entry.folder))
            continue
        fate, lost_to = _fate(commands, index, is_detached)
        line = entry.place.line + entry.command.text.count("\n", 0, command.begin)
        place = Place(entry.place.path, line)
        how = (found.script, found.interpreter, found.options)
        call = Call(entry, place, *how, redirections=redirections, folder=entry.folder, fate=fate, lost_to=lost_to)
        reading.calls.append(call)
        reading.findings.extend(_of_quotes(call))


def _commands(text: str) -> Iterator[_Command]:
    """The commands of a script. Operators in quotes and behind ^ are none; ^ at the end of a line joins the next."""
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
    return re.sub(r"^call\s+", "", text, flags=re.IGNORECASE)


def _without_start(text: str) -> tuple[str, bool]:
    """`start "title" /wait PROGRAM` is the program; without /wait nobody waits for it."""
    match = re.match(r'start\s+(?:"[^"]*"\s*)?((?:/\w+\s+)*)(.*)', text, re.IGNORECASE | re.DOTALL)
    if match is None:
        return text, False
    return match[2], "/wait" not in match[1].lower()


def _expanded(text: str, variables: dict[str, str]) -> tuple[str, bool]:
    """With the values of variables, and whether all are known. %% is a %."""
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


def _words(text: str, entry: Entry, begin: int, is_certain: bool) -> list[Word]:
    positions = entry.command.positions
    place = positions[min(begin, len(positions) - 1)]
    try:
        texts = mslex.split(text.strip(), like_cmd=False, check=False)
    except ValueError:
        return []
    words = []
    for each in texts:
        is_known = is_certain or not re.search(r"%\w", each)
        words.append(Word(each, (place,) * (len(each) + 1), place, place, is_known))
    return words


def _redirections(text: str, entry: Entry) -> Iterator[Redirection]:
    place = entry.command.positions[0]
    for match in _REDIRECTION.finditer(text):
        descriptor = int(match[1]) if match[1] else 1
        operator, target = match[2], match[3].strip('"')
        if target.startswith("&"):
            operator, target = ">&", target[1:]
        yield Redirection(descriptor, operator, target, place, place)


def _fate(commands: list[_Command], index: int, is_detached: bool) -> tuple[Fate, str]:
    if is_detached:
        return Fate.LOST, "start does not wait for it; write start /wait"
    operator = commands[index].operator
    if operator == "|":
        return Fate.LOST, "what the program at the end of the pipe returns is taken for it"
    after = next((text for each in commands[index + 1 :] if (text := _stripped(each.text))), "")
    if operator == "&" and re.search("%errorlevel%", after, re.IGNORECASE):
        return Fate.LOST, "cmd puts the value of %errorlevel% in before it runs the line; use a line of its own"
    if operator == "||" or re.search("errorlevel", after, re.IGNORECASE):
        return Fate.HEARD, ""
    if operator == "&&" or not after:
        return Fate.RESULT, ""
    name = after.split(maxsplit=1)[0]
    return Fate.LOST, f"what {name} returns is taken for it; write exit /b %errorlevel% behind the call"


def _of_quotes(call: Call) -> Iterator[Finding]:
    """Windows knows double quotes alone: with others the code is a text, which does nothing and ends well."""
    for word in call.options:
        if word.text.startswith("'"):
            text = f"single quotes are no quotes on Windows: {word.text[:40]!r} is taken word for word"
            consequence = "code of -c does nothing then, and ends well; any other value is wrong"
            advice = 'use double quotes, as in -c "print(1)"'
            yield Finding(call.place, ERROR, "single-quotes", text, consequence, advice=advice)
