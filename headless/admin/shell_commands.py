"""Decides what the words of a command start: a call of planta_headless.py, another program, or a part of the shell.

What names the command and is not understood is said to be not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tree_sitter import Node

from headless.admin.calls import (
    COMMAND,
    PYTHON,
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
from headless.admin.shell_found import Found
from headless.admin.shell_state import MAX_DEPTH, Scope, State, below

_OF_SSH = [f"-{letter}" for letter in "BbcDEeFIiJLlmOopQRSWw"]
_FIND = "find returns 0, whatever the command behind -exec returns"
_UNKNOWN = "what {} does with it is not known"


class Commands:
    """Finds what the commands of an entry start. `parse` handles a text that is a word of a command, `visit` the body
    of a function."""

    def __init__(
        self,
        found: Found,
        scheduler: Scheduler,
        parse: Callable[[Text, Scope, State], None],
        visit: Callable[[Node | None, Scope, State], None],
    ) -> None:
        self.called_functions: set[str] = set()
        self._found, self._parse, self._visit = found, parse, visit
        self._scheduler = scheduler

    # -- silence means understood --

    def run(self, words: list[Word], scope: Scope, state: State) -> None:
        """Finds what a command starts. The one place that decides whether a command is understood."""
        why_not = self._understand(words, scope, state)
        if why_not and self._found.names_it(words):
            self._found.say_not_checked(words[0].begin, why_not)
        self._found.understand(words)

    # -- what is started. Each returns why it is not understood, or "" --

    def _understand(self, words: list[Word], scope: Scope, state: State) -> str:
        first, name = words[0], base_name(words[0].text)
        is_python = PYTHON.fullmatch(name) or (not first.is_certain and script_index(texts(words)) is not None)
        if COMMAND.fullmatch(name):
            return self._found.call(words, [], scope, state)
        if is_python or name in state.functions:
            return (self.python if is_python else self._function)(words, scope, state)
        if name in _OF_PROGRAMS or name in WRAPPERS:
            return _OF_PROGRAMS.get(name, Commands.wrapper)(self, words, scope, state)
        if name in STARTS_NOTHING:
            patterns = [each for each in texts(words[1:]) if not each.startswith("-")] or [""]
            if scope.reads_from == "ps" and name.endswith("grep") and self._found.is_in_line(patterns[0]):
                self._found.say_finds_itself(words[0], f"ps | {name}", scope)
            return "" if scope.piped_into in STARTS_NOTHING else f"{scope.piped_into} gets it on its standard input"
        if re.search(r"\s", first.text) and first.is_certain and is_mentioned(first.text):
            self._found.find_anyway("one-word", first, text=_shown(first.text))
            return ""
        if not self._call_inside(words, replace(scope, is_reported=True), state):
            self._found.starts(below(state.folder, first), scope, state, words[1:])
        return _UNKNOWN.format(_shown(first.text))

    def _function(self, words: list[Word], scope: Scope, state: State) -> str:
        name = base_name(words[0].text)
        if scope.depth >= MAX_DEPTH:
            return "functions call each other without end"
        self.called_functions.add(name)
        node, source = state.functions[name]
        known = self._found.decided()
        before, state.arguments = state.arguments, tuple(words[1:])
        tail = tuple(child for child in node.children if child.type == "file_redirect")
        inner = replace(scope, source=source, depth=scope.depth + 1, more_redirections=tail)
        self._visit(node.child_by_field_name("body"), inner, state)
        state.arguments = before
        return "" if self._found.decided() > known else _UNKNOWN.format(f"the function {name}")

    def python(self, words: list[Word], scope: Scope, state: State) -> str:
        given = texts(words)
        at = script_index(given)
        at = module_index(given) if at is None else at
        if at is not None:
            return self._found.call(words[at:], words[:at], scope, state)
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
            child.arguments, known = tuple(words[at + 2 :]), self._found.decided()
            why_not = self._text(words[at : at + 1], inner, child)
            is_decided = not self._found.names_it(words[at + 1 :]) or self._found.decided() > known
            return why_not or ("" if is_decided else _UNKNOWN.format("the text"))
        if not self._call_inside(words, scope, state):
            script = below(state.folder, words[at], is_file=True)
            self._found.starts(script, scope, state, words[at + 1 :], is_direct=False, shell=words[0].text)
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
        before, is_line = texts(scope.wrappers), self._scheduler is not Scheduler.SCRIPT
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
            self._found.find_anyway("source", words[0], (words[0].begin, "source", "."))
        if len(words) > 1:
            file = below(state.folder, words[1])
            if "/" not in file.text and file.is_certain and scope.shell in STRICT:
                self._found.find_anyway("source/path", file, (file.begin, "", "./"), name=file.text)
            if "/" in file.text and scope.shell in STRICT:
                state.sources = (*state.sources, file)
            self._found.starts(file, scope, state, words[2:], is_direct=False, shell=scope.shell)
        return ""

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
        if is_by_line and self._found.is_in_line(texts(words)[-1]):
            self._found.say_finds_itself(words[0], f"{base_name(words[0].text)} -f", scope)
        return ""

    def run_parts(self, words: list[Word], scope: Scope, state: State) -> str:
        folders = [each for each in words[1:] if not each.text.startswith("-")]
        for each in folders[:1]:
            self._found.starts(below(state.folder, each, is_file=True), scope, state, [], runs_parts=True)
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
                    self._found.find("pipefail", words[0].begin)
            if option == "--":
                state.arguments = tuple(words[2:]) if given[0] == "--" else None
        return ""

    def _call_inside(self, words: list[Word], scope: Scope, state: State) -> bool:
        """Finds a call behind a program that is not known here, by its interpreter or its shell."""
        known = len(self._found.calls)
        for at in range(1, len(words)):
            name, inner = base_name(words[at].text), scope.behind(words[:at])
            is_call = COMMAND.fullmatch(name) and at + 1 < len(words) and words[at + 1].text.startswith("-")
            if is_call:
                self._found.call(words[at:], [], inner, state)
            elif PYTHON.fullmatch(name):
                self.python(words[at:], inner, state)
            elif name in SHELLS:
                self.shell(words[at:], inner, state)
            if len(self._found.calls) > known:
                return True
        return False

    # -- what is found --


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


def _shown(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
