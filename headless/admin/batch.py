"""Parses batch scripts, and the command lines of Windows programs.

mslex knows how a program gets its arguments. cmd.exe has no grammar; this handles what the usual scripts need, and does
not judge what it does not understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import mslex

from headless.admin.calls import (
    Call,
    CodeUse,
    Entry,
    Language,
    Parsed,
    Program,
    Redirection,
    Scheduler,
    Word,
    call_in,
    is_mentioned,
)
from headless.admin.rules import Edit, Finding, finding
from headless.options import DEFAULTS

# In a batch script: what is a variable or stands for a %, and a % that is none.
_PERCENT = re.compile(r"%%|%\*|%~?[\w$:]*\d|%[\w()]+(?::[^%\n]*)?%|%")
_CONDITION = re.compile(
    r"^if\s+(?:/i\s+)?(?:not\s+)?(?:exist\s+(?:\"[^\"]*\"|\S+)|defined\s+\S+|errorlevel\s+\d+)\s*\(?\s*", re.IGNORECASE
)
_NO_CALL = re.compile(r"(?:echo|title|cd|chdir|pushd|copy|xcopy|move|del|dir|type|if|set|goto)\b", re.IGNORECASE)
_OPERATOR = re.compile(r"&&|\|\||&|\||\n")
_REDIRECTION = re.compile(r"(\d?)(>>|>&|>|<)\s*(\"[^\"]*\"|[^\s&|<>]*)")


@dataclass(frozen=True)
class _Command:
    """Holds one command of a script, and the operator behind it. `begin` counts in the text of the entry."""

    text: str
    begin: int
    operator: str


def read(entry: Entry) -> Parsed:
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
