"""Decides whether a line of a crontab can be run without a call that reaches a real server. A line in doubt is not run.

Each command in the line, and in the scripts that it starts, must be known. Known are the command of this installation,
which stays in the rehearsal as long as its variable reaches it; programs that start no other, or the one behind them
with the environment as it is; and scripts of sh that consist of those. For what is not known, Doubt is raised.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from headless.admin.calls import COMMAND, PYTHON, Entry, Word, is_mentioned
from headless.admin.programs import base_name
from headless.options import PROGRAM
from headless.rehearsal import programs
from headless.rehearsal.programs import certain
from headless.rehearsal.shell_text import Doubt, ShellText, check_name, read
from headless.system import is_final, open_regular

_PACKAGE = Path(__file__).resolve().parent.parent
_SYSTEM = frozenset(map(os.path.realpath, ("/bin", "/usr/bin", "/sbin", "/usr/sbin")))
_SHELLS = ("sh", "dash", "bash")
_HARMLESS_FILE = re.compile(r"\.(?:csv|err|log|old|out|tmp|txt)$")
# `. FILE` as a command of its own, and text after which it may be a part of something else, or not be run.
_SOURCES = re.compile(r"(^|\n|;)[ \t]*(?:[.]|source)[ \t]+(/[\w./+-]+)[ \t]*(?:;|&&|(?=\n)|$)")
_COMMENTS = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_BEFORE_NO_SOURCE = re.compile(r"[#'\"`\\]|<<|[|&]\s*$")
_NO_SOURCED = re.compile(r"\b(?:return|exit)\b|<<|\\\n?$")
_MAX_TEXTS = 200
_MAX_DEPTH = 10
_MAX_BYTES = 1 << 20


@dataclass
class Judgement:
    """Says why a line is not run: `doubt`, or "". Besides the calls that `script` has replaced, the line `calls` the
    command, by a script say, or it names a file that `mentions` the command."""

    script: str
    replaced: Mapping[str, str]  # the texts of scripts in which it has replaced the calls, too
    doubt: str = ""
    calls: bool = False
    mentions: bool = False
    # Of the line with all that it starts:
    texts: int = 0
    scripts: set[str] = field(default_factory=set)
    lookups: set[str] = field(default_factory=set)  # files that would be started if they existed, and their folders
    written: list[tuple[Word, tuple[str, ...] | None]] = field(default_factory=list)  # and in which folders


@dataclass(frozen=True)
class _Scope:
    """Holds for one text: `variables` that are certain, the `folders` that it may be run in (None: any), and the
    `paths` in which programs are looked up."""

    shell: str
    variables: Mapping[str, str]
    folders: tuple[str, ...] | None
    paths: tuple[str, ...]
    has_python_path: bool = False
    depth: int = 0


def judge(entry: Entry, command: str, script: str, replaced: Mapping[str, str] | None = None) -> Judgement:
    """Judges a line in which `/bin/sh SCRIPT` has replaced the calls, also in the texts of these files."""
    line = Judgement(script, replaced or {})
    for check in (_check_settings, _check_commands):
        try:
            check(entry, command, line)
        except Doubt as doubt:
            line.doubt = line.doubt or str(doubt)
    return line


def _check_settings(entry: Entry, _command: str, _line: Judgement) -> None:
    for name in entry.environment:
        check_name(name)
    shell = entry.shell
    if not (base_name(shell) in _SHELLS and shell.startswith("/") and _is_of_the_system(shell)):
        raise Doubt(f"{shell} is not a known shell")
    _paths(Word(entry.environment.get("PATH", ""), True, 0, 0))


def _check_commands(entry: Entry, command: str, line: Judgement) -> None:
    paths = tuple(filter(os.path.isabs, entry.environment.get("PATH", "").split(":")))
    folders = (entry.folder,) if entry.folder else None
    scope = _Scope(base_name(entry.shell), entry.environment, folders, paths, "PYTHONPATH" in entry.environment)
    checker = _Checker(line, scope)
    try:
        checker.check(command)
    except Doubt:  # before all names were noted, maybe
        checker.note_names([Word(each, True, 0, 0) for each in re.findall(r"[^\s;&|()<>'\"`=]+", command)])
        raise
    for word, where in line.written:
        _check_written(word, where, line)


class _Checker:
    """Checks the commands of one text."""

    def __init__(self, line: Judgement, scope: _Scope) -> None:
        self._line = line
        self._scope = scope
        self._functions: set[str] = set()

    def check(self, text: str, functions: Iterable[str] = ()) -> ShellText:
        """Returns what is in the text. `functions` are those that are known besides."""
        self._line.texts += 1
        if self._scope.depth > _MAX_DEPTH or self._line.texts > _MAX_TEXTS:
            raise Doubt("it starts too many scripts, or they start each other")
        found = read(_SOURCES.sub(self._sourced, text), self._scope.shell, self._scope.variables)
        self._functions = found.functions.union(functions)
        self._widen(found)
        self._line.written += [(word, self._scope.folders) for word in found.targets]
        for words in found.commands:
            self.note_names(words)
        for words in found.commands:
            self._command(words)
        return found

    def _sourced(self, match: re.Match[str]) -> str:
        """Returns the text of a file that is sourced, in the place of `. FILE`, where that certainly is the same."""
        path = match[2]
        if _BEFORE_NO_SOURCE.search(_COMMENTS.sub("", match.string[: match.start()])):
            return match[0]
        if not _found(path, self._scope):
            raise Doubt(f"it starts {path}, which is not here")
        content = _content(path)
        self._note_scripts([path])
        self._line.mentions |= is_mentioned(content)
        if _NO_SOURCED.search(content):
            raise Doubt(f"whether all of {path} is run is not certain")
        read(content, self._scope.shell, self._scope.variables)  # raises Doubt for what is no whole text
        return f"{match[1]}{content}\n"

    def _widen(self, found: ShellText) -> None:
        """Adds what the text itself changes: that may hold for each of its commands."""
        scope = self._scope
        for name, value in found.settings:
            if name == "PATH":
                scope = replace(scope, paths=(*scope.paths, *_paths(value)))
        for words in found.commands:
            if words[0].text == "cd":
                scope = replace(scope, folders=_with_folder(scope, words[1:], found.assigned))
        variables = {name: value for name, value in scope.variables.items() if name not in found.assigned}
        has_python_path = scope.has_python_path or "PYTHONPATH" in found.assigned
        self._scope = replace(scope, variables=variables, has_python_path=has_python_path)

    def note_names(self, words: Sequence[Word]) -> None:
        """Notes whether a word is a file that mentions the command: then a line that is not run is shown."""
        for word in words:
            names = [word.text]
            if os.path.isabs(word.text) and glob.has_magic(word.text):
                names += itertools.islice(glob.iglob(word.text), _MAX_TEXTS)
            for name in names:
                with suppress(Doubt):
                    for path in _found(name, self._scope, is_argument=word is not words[0]):
                        self._line.mentions |= not _is_of_the_system(path) and is_mentioned(_content(path))

    def _command(self, words: Sequence[Word]) -> None:
        program = certain(words[0])
        name = base_name(program)
        self._note_lookups(program)
        if name in self._functions and program == name and not _found(name, self._scope):
            return
        programs.check_name(name)
        if COMMAND.fullmatch(name):
            self._check_is_ours(program)
        elif name in programs.WRAPPERS:
            self._wrapper(name, words)
        elif name in _SHELLS:
            self._shell(name, words)
        elif PYTHON.fullmatch(name):
            self._python(words)
        elif name == "trap":
            self._trap(words)
        elif not self._starts_nothing(name, words):
            self._script(program)

    def _note_lookups(self, program: str) -> None:
        """Notes the files that this may be when the line is run: it may make one, and then start it."""
        if os.path.isabs(program):
            self._line.lookups |= {program, os.path.dirname(program)}
        elif "/" in program:
            self._note_scripts(os.path.join(folder, program) for folder in self._scope.folders or ())
        else:
            for folder in self._scope.paths:  # env and python3: by the first line of a script
                self._line.lookups |= {folder, *(os.path.join(folder, each) for each in (program, "env", "python3"))}

    def _note_scripts(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._line.scripts |= {os.path.abspath(path), os.path.realpath(path)}

    def _starts_nothing(self, name: str, words: Sequence[Word]) -> bool:
        pattern = programs.pattern_for(words[0].text, programs.BUILTINS)
        if pattern is None and self._is_system_program(words[0].text):
            pattern = programs.pattern_for(name, programs.PROGRAMS)
        if pattern is None:
            return False
        programs.check_arguments(name, pattern, words[1:])
        self._line.written += [(word, self._scope.folders) for word in programs.written_by(name, words[1:])]
        return True

    def _is_system_program(self, program: str) -> bool:
        """Returns whether all files that it may be are the system's. One that has a path must be there."""
        found = _found(program, self._scope)
        return all(map(_is_of_the_system, found)) and bool(found or "/" not in program)

    def _wrapper(self, name: str, words: Sequence[Word]) -> None:
        if name not in ("command", "exec") and not self._is_system_program(words[0].text):
            raise Doubt(f"{words[0].text} is not that of the system")
        if name == "command" and words[1:] and words[1].text in ("-v", "-V"):
            return
        _, rest = programs.split_options(name, words)
        while name == "env" and rest and "=" in certain(rest[0]):
            variable = rest.pop(0).text.partition("=")[0]
            check_name(variable)
            if variable in ("PYTHONPATH", *self._scope.variables):
                raise Doubt(f"env changes {variable}")
        if name == "flock" and rest and rest[0].text in ("-c", "--command"):
            self._inner(base_name(self._scope.variables.get("SHELL", "")), rest[1:])
        elif rest and rest[0].text in programs.CHANGE_THE_SHELL:
            raise Doubt(f"what {name} {rest[0].text} does is not known")
        elif rest:
            self._command(rest)

    def _shell(self, name: str, words: Sequence[Word]) -> None:
        if not self._is_system_program(words[0].text):
            raise Doubt(f"{words[0].text} is not a known shell")
        options, rest = programs.split_options("sh", words)
        if not rest:
            raise Doubt(f"{name} reads its commands from somewhere else")
        if any("c" in option for option in options):
            self._inner(name, rest)
        elif certain(rest[0]) != self._line.script:
            self._script(rest[0].text, name)

    def _inner(self, shell: str, words: Sequence[Word]) -> None:
        """Checks a text that is a word of the line."""
        if not words or shell not in _SHELLS:
            raise Doubt("which shell reads a part of it is not certain")
        self._deeper(shell).check(certain(words[0]))

    def _deeper(self, shell: str) -> _Checker:
        return _Checker(self._line, replace(self._scope, shell=shell, depth=self._scope.depth + 1))

    def _trap(self, words: Sequence[Word]) -> None:
        if len(words) < 2 or certain(words[1]) in ("", "-"):
            return
        found = self._deeper(self._scope.shell).check(words[1].text, self._functions)
        if found.assigned or any(each[0].text == "cd" for each in found.commands):
            raise Doubt(f"when trap does this is not certain: {words[1].text[:60]}")

    def _python(self, words: Sequence[Word]) -> None:
        self._check_is_python(words[0].text)
        _, rest = programs.split_options("python", words)
        if not rest:
            raise Doubt(f"what {base_name(words[0].text)} starts is not known")
        if not COMMAND.fullmatch(base_name(certain(rest[0]))):
            raise Doubt(f"{rest[0].text} is no script of sh, and what it calls is not known")
        self._check_is_ours(rest[0].text, is_argument=True)

    def _check_is_python(self, program: str) -> None:
        found = _found(program, self._scope)
        if "/" in program and not found:
            raise Doubt(f"{program} is not here")
        for path in found:
            real = os.path.realpath(path)
            is_known = _is_of_the_system(real) and PYTHON.fullmatch(base_name(real))
            if not (is_known or real == os.path.realpath(sys.executable)):
                raise Doubt(f"{path} is not a known Python")

    def _check_is_ours(self, program: str, is_argument: bool = False) -> None:
        self._line.calls = True
        found = _found(program, self._scope, is_argument)
        if not found:
            raise Doubt(f"{program} is not here")
        if not is_argument:
            self._check_is_python("python3")  # by its first line
        for path in found:
            if not _is_ours(os.path.realpath(path), self._scope.has_python_path):
                raise Doubt(f"{path} is not the {PROGRAM} that rehearses")
        self._note_scripts(found)

    def _script(self, program: str, shell: str = "") -> None:
        """Checks a script that is started by its name, or by a shell."""
        found = _found(program, self._scope, is_argument=bool(shell))
        if not found:
            raise Doubt(f"it starts {program}, which is not here")
        self._note_scripts(found)
        for path in found:
            if _is_of_the_system(path):
                raise Doubt(f"what {base_name(program)} starts is not known")
            text = self._line.replaced.get(path) or _content(path)
            self._line.mentions |= is_mentioned(text)
            reader = shell or _shell_of(text)
            if not reader or "\0" in text:
                raise Doubt(f"{program} is no script of sh, and what it calls is not known")
            self._deeper(reader).check(text)


# Files


def _is_of_the_system(path: str) -> bool:
    return os.path.realpath(os.path.dirname(path)) in _SYSTEM


def _is_ours(real: str, has_python_path: bool) -> bool:
    """Returns whether this is the command of this very package: beside it, or what pip has made of it."""
    parent = str(_PACKAGE.parent)
    if real == os.path.join(parent, PROGRAM):
        return True
    is_installed = parent == os.path.realpath(sysconfig.get_path("purelib"))
    scripts = os.path.realpath(sysconfig.get_path("scripts"))
    return is_installed and not has_python_path and os.path.dirname(real) == scripts


def _found(program: str, scope: _Scope, is_argument: bool = False) -> list[str]:
    """Returns the files that this may be. A program is looked up in all folders of PATH, an argument only here."""
    if os.path.isabs(program):
        if os.path.abspath(program).startswith(("/proc/", "/dev/")):  # which may be something else there
            raise Doubt(f"what {program} is there, is not certain")
        folders: tuple[str, ...] | None = ("/",)
    else:
        folders = scope.folders if "/" in program or is_argument else scope.paths
    if folders is None:
        raise Doubt(f"in which folder {program} is, is not certain")
    paths = (os.path.join(folder, program) for folder in folders)
    return [path for path in dict.fromkeys(paths) if _exists(path)]


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except ValueError:  # a NUL
        return False
    except OSError as error:
        if is_final(error):
            return False
        raise Doubt(f"{path} cannot be looked at now: {error.strerror}") from None
    return True


def _paths(value: Word) -> tuple[str, ...]:
    """Returns the folders that a value of PATH adds."""
    text = re.sub(r"(?:^|:)\$(?:PATH|\{PATH\})(?=:|$)", "", value.text)
    folders = tuple(text.strip(":").split(":")) if text else ()
    if not all(folder.startswith("/") for folder in folders) or (not value.is_certain and re.search(r"[$`]", text)):
        raise Doubt(f"in which folders programs are, is not certain: PATH={value.text[:60]}")
    return folders


def _with_folder(scope: _Scope, arguments: Sequence[Word], assigned: set[str]) -> tuple[str, ...] | None:
    """Returns the folders in which commands may run, if one of them is `cd` with these arguments."""
    names = [word for word in arguments if word.text not in ("-P", "-L", "--")]
    if not names and "HOME" in scope.variables and "HOME" not in assigned:
        names = [Word(scope.variables["HOME"], True, 0, 0)]
    if [word.text for word in names] == ["-"]:
        return scope.folders
    is_known = len(names) == 1 and names[0].is_certain and os.path.isabs(names[0].text)
    return (*scope.folders, names[0].text) if is_known and scope.folders is not None else None


def _content(path: str) -> str:
    try:
        with open(path, "rb", opener=open_regular) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise Doubt(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > _MAX_BYTES:
        raise Doubt(f"{path} is too long to be looked at")
    return content.decode("utf-8", "surrogateescape")


def _shell_of(text: str) -> str:
    """Returns which shell reads a script that is started by its name, "" if that is not a known one."""
    if not text.startswith("#!"):
        return "sh"
    match = re.match(r"#! ?(\S+)(?: (\S+))?[ \t]*(?:\n|$)", text)
    if match is None:
        return ""
    program, argument = match[1], match[2] or ""
    if program == "/usr/bin/env":
        return argument if argument in _SHELLS else ""
    is_known = base_name(program) in _SHELLS and _is_of_the_system(program)
    return base_name(program) if is_known and re.fullmatch("(?:-[eux]+)?", argument) else ""


def _check_written(word: Word, folders: tuple[str, ...] | None, line: Judgement) -> None:
    """Refuses what may be a script that was read before the line is run, a program that did not exist then, or a folder
    in which it is."""
    folders = ("/",) if os.path.isabs(word.text) else folders
    if not word.is_certain or folders is None or word.text.startswith("~"):
        is_harmless = not word.is_certain and _HARMLESS_FILE.search(word.text)
        if line.scripts and not is_harmless:
            raise Doubt(f"it may change a script that it starts: where it writes is not certain: {word.text[:60]}")
        return
    for folder in folders:
        path = os.path.join(folder, word.text)
        for each in (os.path.abspath(path), os.path.realpath(path)):
            is_script = any(f"{script}/".startswith(f"{each.rstrip('/')}/") for script in line.scripts)
            if is_script or each in line.lookups:
                raise Doubt(f"it may change a script that it starts: {word.text[:60]}")
