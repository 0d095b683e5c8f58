"""Decides what the words of a command start: a call of planta_headless.py, another program, or a part of the shell.

What names the command and is not understood is said to be not checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tree_sitter import Node

from headless.admin.calls import (
    COMMAND,
    MENTIONED,
    PYTHON,
    Call,
    CodeUse,
    Entry,
    Program,
    Redirection,
    Scheduler,
    Text,
    Word,
    heard_behind,
    is_mentioned,
    module_index,
    script_index,
    texts,
)
from headless.admin.programs import (
    SHELLS,
    STARTS_NOTHING,
    STRICT,
    WRAPPERS,
    after_options,
    base_name,
    command_begin,
    has_option,
)
from headless.admin.rules import Edit, Finding, finding
from headless.admin.shell_state import MAX_DEPTH, Scope, State, below, heard_in
from headless.options import DEFAULTS

_SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of sudo, in Debian
_OF_SSH = [f"-{letter}" for letter in "BbcDEeFIiJLlmOopQRSWw"]
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
# Variables that a shell sets, or PAM for all users.
_OF_SHELLS = re.compile(
    "IFS|LANG|LC_ALL|LINENO|OLDPWD|OPTARG|OPTIND|PPID|PWD|RANDOM|SECONDS|TZ|E?UID|USER|HOSTNAME|BASH\\w*"
)
_FIND = "find returns 0, whatever the command behind -exec returns"
_UNKNOWN = "what {} does with it is not known"


class Commands:
    """Collects what the commands of an entry start. `parse` handles a text that is a word of a command, `visit` the
    body of a function."""

    def __init__(
        self,
        entry: Entry,
        parse: Callable[[Text, Scope, State], None],
        visit: Callable[[Node | None, Scope, State], None],
    ) -> None:
        self.calls: list[Call] = []
        self.programs: list[Program] = []
        self.findings: list[Finding] = []
        self.not_checked: list[Finding] = []
        self.called_functions: set[str] = set()
        self._entry, self._parse, self._visit = entry, parse, visit
        self._holders = {name for name, value in entry.environment.items() if is_mentioned(value)}
        self._understood: list[tuple[int, int]] = []  # the offsets of what was, or has its finding

    # -- silence means understood --

    def run(self, words: list[Word], scope: Scope, state: State) -> None:
        """Finds what a command starts. The one place that decides whether a command is understood."""
        why_not = self._understand(words, scope, state)
        if why_not and self._names_it(words):
            self.say_not_checked(words[0].begin, why_not)
        self.understand(words)

    def hold(self, name: str, text: str) -> None:
        """Remembers that a variable may hold the name of the command."""
        if is_mentioned(text) or self.refers(text):
            self._holders.add(name)

    def understand(self, words: Iterable[Word]) -> None:
        self._understood += [(word.begin, max(word.begin, word.end - 1)) for word in words]

    def understand_part(self, begin: int, end: int) -> None:
        self._understood.append((begin, max(begin, end - 1)))

    def say_not_checked(self, offset: int, reason: str) -> None:
        self.not_checked.append(finding("not-checked", self._entry.file, offset, reason=reason))

    def say_not_reached(self, offset: int, end: str) -> None:
        self.not_checked.append(finding("not-reached", self._entry.file, offset, end=end))

    def not_understood(self) -> list[int]:
        """Returns the positions in the text of the entry that name the command, itself or by a variable, and about
        which nothing was decided."""
        text, offsets = self._entry.command.text, self._entry.command.offsets
        found = [match.start() for pattern in (MENTIONED, self._references()) for match in pattern.finditer(text)]
        spans = self._understood
        return [at for at in sorted(found) if not any(begin <= offsets[at] <= end for begin, end in spans)]

    def _names_it(self, words: Iterable[Word]) -> bool:
        return any(is_mentioned(word.text) or (not word.is_certain and self.refers(word.text)) for word in words)

    def refers(self, text: str) -> bool:
        return self._references().search(text) is not None

    def _references(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, sorted(self._holders)))
        return re.compile(rf"\$(?:(?:{names})\b|\{{(?:{names})\b)" if names else r"$.")

    # -- what is started. Each returns why it is not understood, or "" --

    def _understand(self, words: list[Word], scope: Scope, state: State) -> str:
        first, name = words[0], base_name(words[0].text)
        is_python = PYTHON.fullmatch(name) or (not first.is_certain and script_index(texts(words)) is not None)
        if COMMAND.fullmatch(name):
            return self._call(words, [], scope, state)
        if is_python or name in state.functions:
            return (self.python if is_python else self._function)(words, scope, state)
        if name in _OF_PROGRAMS or name in WRAPPERS:
            return _OF_PROGRAMS.get(name, Commands.wrapper)(self, words, scope, state)
        if name in STARTS_NOTHING:
            patterns = [each for each in texts(words[1:]) if not each.startswith("-")] or [""]
            if scope.reads_from == "ps" and name.endswith("grep") and self._is_in_line(patterns[0]):
                self._say_finds_itself(words[0], f"ps | {name}", scope)
            return "" if scope.piped_into in STARTS_NOTHING else f"{scope.piped_into} gets it on its standard input"
        if re.search(r"\s", first.text) and first.is_certain and is_mentioned(first.text):
            self.not_checked.append(finding("one-word", self._entry.file, first.begin, text=_shown(first.text)))
            return ""
        if not self._call_inside(words, replace(scope, is_reported=True), state):
            self._starts(below(state.folder, first), scope, state, words[1:])
        return _UNKNOWN.format(_shown(first.text))

    def _function(self, words: list[Word], scope: Scope, state: State) -> str:
        name = base_name(words[0].text)
        if scope.depth >= MAX_DEPTH:
            return "functions call each other without end"
        self.called_functions.add(name)
        node, source = state.functions[name]
        known = self._decided()
        before, state.arguments = state.arguments, tuple(words[1:])
        tail = tuple(child for child in node.children if child.type == "file_redirect")
        inner = replace(scope, source=source, depth=scope.depth + 1, more_redirections=tail)
        self._visit(node.child_by_field_name("body"), inner, state)
        state.arguments = before
        return "" if self._decided() > known else _UNKNOWN.format(f"the function {name}")

    def _decided(self) -> int:
        return len(self.calls) + len(self.not_checked)

    def python(self, words: list[Word], scope: Scope, state: State) -> str:
        given = texts(words)
        at = script_index(given)
        at = module_index(given) if at is None else at
        if at is not None:
            return self._call(words[at:], words[:at], scope, state)
        is_code = any(re.match(r"-[A-Za-z]*c", each) for each in given[1:])
        other = next((each for each in given[1:] if not each.startswith("-")), given[0])
        return "it is in a program for Python" if is_code else _UNKNOWN.format(other)

    def shell(self, words: list[Word], scope: Scope, state: State) -> str:
        at, has_text, child = 1, False, state.of_a_child()
        child.variables.update({name: value.text if value.is_certain else None for name, value in scope.environment})
        while at < len(words) and re.match(r"[-+].", words[at].text):
            option = words[at].text
            if not option.startswith("--"):
                has_text |= "c" in option
                child.ends_on_failure |= "e" in option
                if option.endswith("o") and at + 1 < len(words):
                    at += 1
                    child.pipefail |= words[at].text == "pipefail"
                    child.ends_on_failure |= words[at].text == "errexit"
            at += 1
        if at >= len(words):
            return ""
        if has_text:
            inner = replace(scope.behind(words[:at]).in_new_shell(), shell=base_name(words[0].text))
            inner = replace(inner, ignores_failures=False)
            child.arguments, known = tuple(words[at + 2 :]), self._decided()
            why_not = self._text(words[at : at + 1], inner, child)
            is_decided = not self._names_it(words[at + 1 :]) or self._decided() > known
            return why_not or ("" if is_decided else _UNKNOWN.format("the text"))
        if not self._call_inside(words, scope, state):
            script = below(state.folder, words[at], is_file=True)
            self._starts(script, scope, state, words[at + 1 :], is_direct=False, shell=words[0].text)
        return _UNKNOWN.format(words[at].text)

    def wrapper(self, words: list[Word], scope: Scope, state: State) -> str:
        given, wrapper = texts(words), WRAPPERS[base_name(words[0].text)]
        if wrapper.elsewhere:
            return self._elsewhere(words, wrapper.elsewhere, scope)
        begin = command_begin(given)
        inner, child = self._behind(words, begin, scope, state)
        for at in range(1, min(begin + 1, len(words) - 1)):
            if given[at] in wrapper.text.split():
                shell = base_name(state.variables.get("SHELL") or "sh")  # as flock itself does it
                new = replace(inner.in_new_shell(), shell=shell)
                return self._text(words[at + 1 : at + 2], new, child.of_a_child())
        if begin < len(words):
            more = [Word("$@", False, words[-1].end, words[-1].end)] if wrapper.reads else []
            self.run([*words[begin:], *more], inner, child)
        elif given[0] == "exec":
            state.heard = heard_behind(state.heard, scope.redirections)
        elif wrapper.is_lock and given[-1].isdigit():
            state.lock = (words[0],)
        return f"{words[0].text} {wrapper.reads}" if wrapper.reads else ""

    def _behind(self, words: list[Word], begin: int, scope: Scope, state: State) -> tuple[Scope, State]:
        """Returns what a wrapper changes for its command, which begins at this word."""
        given, wrapper = texts(words), WRAPPERS[base_name(words[0].text)]
        inner, child = scope.behind(words[:begin]), state
        keeps = has_option(given, "-E --preserve-env")
        if (wrapper.clears == "always" and not keeps) or has_option(given, wrapper.clears):
            inner, child = replace(inner, environment=()), state.without_environment()
        if wrapper.is_lock and wrapper.words and begin < len(words):
            inner = replace(inner, locks=(*inner.locks, words[begin - 1]))
        assigned = [word.text.partition("=") for word in words[:begin]] if wrapper.assigns else []
        for word, (name, is_assignment, value) in zip(words, assigned):
            if is_assignment and re.fullmatch(r"[A-Za-z_]\w*", name):
                inner = replace(inner, environment=(*inner.environment, (name, replace(word, text=value))))
        before, is_line = texts(scope.wrappers), self._entry.scheduler is not Scheduler.SCRIPT
        is_first = before == ["exec"] or (is_line and not before and scope.shell not in STRICT)
        waits = not wrapper.waits or has_option(given, wrapper.waits) or (wrapper.if_first and not is_first)
        inner = inner if waits or scope.is_tested else inner.losing(wrapper.code)
        return replace(inner, is_reported=inner.is_reported or bool(wrapper.reads)), child

    def _elsewhere(self, words: list[Word], where: str, scope: Scope) -> str:
        """Judges what can be judged of a call whose files are not here."""
        remote = State({}, set(), is_sourced=True)
        there = replace(scope, environment=(), is_reported=True)
        if base_name(words[0].text) == "ssh":
            at = after_options(texts(words), _OF_SSH) + 1
            self._text(words[at:], replace(there.behind(words), shell="bash"), remote)
        else:
            self._call_inside(words, there, remote)
        return f"it runs {where}, and nothing there was looked at"

    def su(self, words: list[Word], scope: Scope, state: State) -> str:
        given = texts(words)
        # Without -s it is the shell of the user, which mostly is bash.
        shell = next((value for option, value in zip(given, given[1:]) if option in ("-s", "--shell")), "bash")
        is_login = any(re.fullmatch(r"-[mpc]*l?[mpc]*", each) and each in ("-", "-l", "-lc") for each in given)
        child = state.without_environment() if is_login or "--login" in given else state.copy()
        child.is_sourced = True  # by the profile of that user
        inner = replace(scope.behind(words), shell=base_name(shell))
        for at, text in enumerate(given[:-1]):
            if text == "--command" or re.fullmatch(r"-[lmp]*c", text):
                return self._text(words[at + 1 : at + 2], inner.in_new_shell(), child.of_a_child())
        if given[0].endswith("runuser") and "--" in given[:-1]:
            at = given.index("--") + 1
            self.run(words[at:], scope.behind(words[:at]), child)
            return ""
        return _UNKNOWN.format(given[0])

    def eval_text(self, words: list[Word], scope: Scope, state: State) -> str:
        return self._text(words[1:], scope, state)

    def _text(self, words: list[Word], scope: Scope, state: State) -> str:
        """Parses words as one text for a shell."""
        if any(len(word.offsets) != len(word.text) + 1 for word in words):
            return "how the shell gets this text is not known"
        text = " ".join(texts(words))
        offsets = [at for word in words for at in word.offsets]
        if re.fullmatch(r"\$\{?\w+\}?|\$[@*]", text) and not words[0].is_certain:
            return "only the shell knows what this text is"
        self._parse(Text(text, offsets), scope, state)
        return ""

    def cd(self, words: list[Word], _scope: Scope, state: State) -> str:
        folders = [each for each in words[1:] if not each.text.startswith("-")]
        state.folder = below(state.folder, folders[0], is_file=True) if folders else None
        return ""

    def shift(self, words: list[Word], _scope: Scope, state: State) -> str:
        count = words[1].text if len(words) > 1 else "1"
        known = state.arguments is not None and count.isdigit()
        state.arguments = state.arguments[int(count) :] if known and state.arguments is not None else None
        return ""

    def trap(self, words: list[Word], scope: Scope, state: State) -> str:
        if "ERR" in texts(words) and scope.shell not in STRICT:
            state.variables["ERR"] = None
        return "it is in a trap"

    def read_variables(self, words: list[Word], _scope: Scope, state: State) -> str:
        state.forget(text for text in texts(words)[1:] if not text.startswith("-"))
        return ""

    def source(self, words: list[Word], scope: Scope, state: State) -> str:
        state.is_sourced = True
        if words[0].text == "source" and scope.shell in STRICT:
            self._find_anyway("source", words[0], (words[0].begin, "source", "."))
        if len(words) > 1:
            file = below(state.folder, words[1])
            if "/" not in file.text and file.is_certain and scope.shell in STRICT:
                self._find_anyway("source/path", file, (file.begin, "", "./"), name=file.text)
            if "/" in file.text and scope.shell in STRICT:
                state.sources = (*state.sources, file)
            self._starts(file, scope, state, words[2:], is_direct=False, shell=scope.shell)
        return ""

    def _find_anyway(self, key: str, word: Word, change: tuple[int, str, str], **values: object) -> None:
        edits = self.edits(change)
        self.not_checked.append(finding(key, self._entry.file, word.begin, edits, **values))

    def find_files(self, words: list[Word], scope: Scope, state: State) -> str:
        """Handles each -exec of find."""
        given = texts(words)
        for begin in (at + 1 for at, each in enumerate(given) if each in ("-exec", "-execdir", "-ok", "-okdir")):
            end = next((at for at in range(begin, len(given)) if given[at] in (";", "+")), len(given))
            inner = scope.behind(words[:1]) if given[end : end + 1] == ["+"] else scope.behind(words[:1]).losing(_FIND)
            if begin < end:
                self.run(words[begin:end], inner, state.copy())
        return ""

    def find_processes(self, words: list[Word], scope: Scope, _state: State) -> str:
        is_by_line = any(re.match(r"-\w*f|--full", each) for each in texts(words))
        if is_by_line and self._is_in_line(texts(words)[-1]):
            self._say_finds_itself(words[0], f"{base_name(words[0].text)} -f", scope)
        return ""

    def _is_in_line(self, pattern: str) -> bool:
        """Returns whether a pattern matches the text that cron gives to a shell, which is in the list of processes."""
        try:
            is_found = re.search(pattern, self._entry.command.text) is not None
        except re.error:
            is_found = False
        return is_found and self._entry.scheduler is Scheduler.CRON

    def _say_finds_itself(self, word: Word, name: str, scope: Scope) -> None:
        self.not_checked.append(finding("finds-itself", self._entry.file, word.begin, name=name, shell=scope.shell))

    def run_parts(self, words: list[Word], scope: Scope, state: State) -> str:
        folders = [each for each in words[1:] if not each.text.startswith("-")]
        for each in folders[:1]:
            self._starts(below(state.folder, each, is_file=True), scope, state, [], runs_parts=True)
        return ""

    def set_options(self, words: list[Word], scope: Scope, state: State) -> str:
        given = texts(words[1:])
        for option, value in zip(given, [*given[1:], ""]):
            is_on = option.startswith("-")
            letters = option[1:] if re.fullmatch(r"[-+][A-Za-z]+", option) else ""
            if "e" in letters or (letters.endswith("o") and value == "errexit"):
                state.ends_on_failure = is_on
            if letters.endswith("o") and value == "pipefail":
                state.pipefail = is_on
                if scope.shell in STRICT:
                    self.find("pipefail", words[0].begin)
            if option == "--":
                state.arguments = tuple(words[2:]) if given[0] == "--" else None
        return ""

    def _call_inside(self, words: list[Word], scope: Scope, state: State) -> bool:
        """Finds a call behind a program that is not known here, by its interpreter or its shell."""
        known = len(self.calls)
        for at in range(1, len(words)):
            name, inner = base_name(words[at].text), scope.behind(words[:at])
            is_call = COMMAND.fullmatch(name) and at + 1 < len(words) and words[at + 1].text.startswith("-")
            if is_call:
                self._call(words[at:], [], inner, state)
            elif PYTHON.fullmatch(name):
                self.python(words[at:], inner, state)
            elif name in SHELLS:
                self.shell(words[at:], inner, state)
            if len(self.calls) > known:
                return True
        return False

    # -- what is found --

    def _call(self, words: list[Word], python: list[Word], scope: Scope, state: State) -> str:
        lost = scope.lost
        if scope.shell in STRICT and any(each.operator.startswith("&>") for each in scope.redirections):
            lost = "sh starts it in the background (&>), and nothing waits for its end"
        set_here = {name: value.text for name, value in scope.environment if value.is_certain}
        of_file = DEFAULTS.values() if state.is_sourced else ()  # which it may set
        exported = {name: value for name in state.exported if (value := state.variables.get(name)) is not None}
        call = Call(
            entry=self._entry,
            offset=[*python, *words][0].begin,
            script=words[0],
            interpreter=python[0] if python else None,
            python_options=tuple(python[1:]),
            options=tuple(words[1:]),
            wrappers=(*state.lock, *scope.wrappers),
            environment={**exported, **set_here},
            unknown=frozenset({*state.exported, *dict(scope.environment), *of_file} - {*exported, *set_here}),
            redirections=scope.redirections,
            folder=self._folder(state),
            code_use=_code_use(lost, scope),
            lost_because=lost,
            locks=scope.locks,
            heard=heard_in(scope, state),
            sources=state.sources,
        )
        used = (*words, *(each.target for each in scope.redirections), *python[:1])
        is_known = self._entry.scheduler is Scheduler.CRON and not state.is_sourced
        unset = _unset(used, state) if is_known else []
        self.findings += [call.finding("unset", name=name) for name in unset]
        if scope.is_again:
            self.findings.append(call.finding("again"))
        call = replace(call, is_reported=scope.is_reported or bool(unset))
        self.calls.append(call)
        self._check_redirections(call, scope)
        return ""

    def _starts(self, word: Word, scope: Scope, state: State, arguments: Iterable[Word], **more: Any) -> None:
        self.programs.append(
            Program(
                self._entry, word, self._entry.folder, scope.wrappers, arguments=tuple(arguments), **more,
                code_use=_code_use(scope.lost, scope), lost_because=scope.lost,
                heard=heard_in(scope, state),
                begins_in=self._folder(state),
            )
        )  # fmt: skip

    def _folder(self, state: State) -> str | None:
        """Returns None if it is not known."""
        if state.folder is None:
            return self._entry.folder
        if not state.folder.is_certain or not (state.folder.text.startswith("/") or self._entry.folder):
            return None
        return os.path.join(self._entry.folder or "", state.folder.text)

    def _check_redirections(self, call: Call, scope: Scope) -> None:
        for number, each in enumerate(scope.redirections):
            following = scope.redirections[number + 1 :]
            if each.operator.startswith("&>") and scope.shell in STRICT:
                edits = self.edits((each.begin, "&", ""), (each.end, "", " 2>&1"))
                self.find("ampersand-redirection", each.begin, edits, operator=each.operator)
            if each.operator == ">&" and scope.shell in STRICT and not re.fullmatch(r"\d+|-|\$.*", each.target.text):
                edits = self.edits((each.begin, ">&", ">"), (each.end, "", " 2>&1"))
                self.find("ampersand-redirection/descriptor", each.begin, edits, target=each.target.text)
            if (each.descriptor, each.operator, each.target.text) == (2, ">&", "1") and not scope.is_piped:
                later = [other for other in following if other.descriptor == 1 and other.operator in (">", ">>", ">|")]
                if later and not any(other.descriptor == 2 for other in following):
                    self._check_order(call, each, later[-1])

    def _check_order(self, call: Call, both: Redirection, later: Redirection) -> None:
        written = re.compile(r"2>&1[ \t]*").match(self._entry.file.content, both.begin)
        edits = self.edits((both.begin, written[0] if written else "2>&1", ""), (later.end, "", " 2>&1"))
        where = "to the mail of cron" if self._entry.scheduler is Scheduler.CRON else "where stdout went before"
        self.findings.append(call.finding("redirection-order", edits, operator=later.operator, where=where))

    def find(self, key: str, offset: int, edits: tuple[Edit, ...] = (), **values: object) -> None:
        self.findings.append(finding(key, self._entry.file, offset, edits, **values))

    def edits(self, *changes: tuple[int, str, str]) -> tuple[Edit, ...]:
        """Returns edits from changes: an offset, what the file has there, and what replaces it. Returns none if the
        file has something else there: what a variable has put into a command."""
        if not all(self._entry.file.content.startswith(old, begin) for begin, old, _ in changes):
            return ()
        return tuple(Edit(begin, begin + len(old), new) for begin, old, new in changes)


_OF_PROGRAMS: dict[str, Callable[[Commands, list[Word], Scope, State], str]] = {
    **dict.fromkeys(SHELLS, Commands.shell),
    **dict.fromkeys(("su", "runuser"), Commands.su),
    **dict.fromkeys((".", "source"), Commands.source),
    "cd": Commands.cd,
    "eval": Commands.eval_text,
    "read": Commands.read_variables,
    "find": Commands.find_files,
    "pgrep": Commands.find_processes,
    "pkill": Commands.find_processes,
    "run-parts": Commands.run_parts,
    "set": Commands.set_options,
    "shift": Commands.shift,
    "trap": Commands.trap,
}


def _code_use(lost: str, scope: Scope) -> CodeUse:
    if lost or not scope.is_tested:
        return CodeUse.LOST if lost else CodeUse.RESULT
    return CodeUse.PASSED_ON if scope.is_passed_on else CodeUse.TESTED


def _unset(words: Iterable[Word], state: State) -> list[str]:
    """Returns the variables in these words that neither cron nor the file sets."""
    names = [match[1] or match[2] for word in words if not word.is_certain for match in _VARIABLE.finditer(word.text)]
    return [name for name in dict.fromkeys(names) if name not in state.variables and not _OF_SHELLS.fullmatch(name)]


def _shown(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
