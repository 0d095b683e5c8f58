"""Calls of planta_headless.py in the text of a shell, and what is wrong with the shell around them: who gets the return
code, where the output goes, what sh does not know. What is wrong with a call itself is no matter of this file.

The grammar is that of bash, and gives redirections to more than the shell does; this is put right here. Constructs that
change nothing about a call are passed over.
"""

from __future__ import annotations

import os
import re
import subprocess
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import tree_sitter_bash
from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from headless.admin import entry as entries
from headless.admin.command_line import (
    COMMAND,
    PYTHON,
    SHELLS,
    WRAPPERS,
    after_options,
    base_name,
    is_mentioned,
    script_at,
)
from headless.admin.entry import Call, Entry, Fate, Place, Scheduler, Text
from headless.admin.finding import Edit, Finding, Severity
from headless.admin.reading import Program, Reading
from headless.admin.shell_words import Expanded, Word, expand, joined
from headless.options import PROGRAM

_NO_SCRIPTS = (
    *(":", "[", "alias", "bg", "break", "cat", "chmod", "chown", "continue", "cp", "date", "echo", "exit", "export"),
    *("false", "fg", "getopts", "grep", "hash", "jobs", "kill", "let", "local", "logger", "ls", "mail", "mkdir", "mv"),
    *("printf", "pwd", "return", "rm", "sed", "shift", "sleep", "tee", "test", "touch", "true", "type", "ulimit"),
    *("umask", "wait"),
)
_COMPOUND = ("program", "ERROR", "compound_statement", "subshell", "do_group", "else_clause", "elif_clause")
_MAX_DEPTH = 20
_STRICT = ("sh", "dash", "ash")  # shells that do not know what bash has added
_Change = tuple[int, str, str]  # of the text of the command: where, what stands there, and what takes its place
_SYNTAX = "sh says a syntax error, and starts nothing"


def read(entry: Entry, reading: Reading) -> None:
    """The calls in a command or a script, in their order; what is wrong with the shell around them; and the programs
    that it starts besides, wrappers and interpreters left out: those that can be a script of somebody's own."""
    reader = _read(entry)
    is_one_command = entry.scheduler is not Scheduler.SCRIPT  # of a script, what stands before the mistake is run
    if is_one_command and any(each.severity is Severity.ERROR for each in reader.syntax_errors):
        reader.calls.clear()
    reading.calls.extend(reader.calls)
    reading.programs.extend(reader.programs)
    reading.findings.extend(reader.syntax_errors)
    reading.findings.extend(reader.findings if reader.calls else ())


def _read(entry: Entry) -> _Reader:
    reader = _Reader(entry)
    state = _State({**entry.environment}, set(entry.environment))
    source = Text(entry.command.text, tuple(range(len(entry.command.text) + 1)))
    state.ends_on_failure = bool(re.match(r"#!.*[ \t]-[a-z]*e", source.text))
    try:
        reader.text(source, _Scope(source, base_name(entry.shell)), state)
    except RecursionError:
        place, text = Place(entry.place.path, 0), "commands stand in one another too deeply to be checked"
        reader.syntax_errors.append(Finding(place, Severity.WARNING, "unreadable", text, "calls may be overlooked"))
    return reader


@dataclass(frozen=True)
class _Redirection:
    """One redirection, with its places in the text of the command."""

    descriptor: int
    operator: str
    target: Word
    begin: int
    end: int


@dataclass(frozen=True)
class _Scope:
    """What holds for a statement because of what it stands in."""

    source: Text
    shell: str
    redirections: tuple[_Redirection, ...] = ()
    wrappers: tuple[tuple[Word, ...], ...] = ()
    environment: tuple[tuple[str, Word], ...] = ()
    lost: str = ""  # why nobody learns the return code
    is_heard: bool = False  # something depends on the return code
    lost_in_and: str = ""  # the same in front of &&, where `set -e` does nothing
    depth: int = 0
    is_piped: bool = False  # its stdout is


@dataclass
class _State:
    """What changes from one statement to the next. A value is None if it cannot be known."""

    variables: dict[str, str | None]
    exported: set[str]
    functions: dict[str, tuple[Node, Text]] = field(default_factory=dict)
    folder: Word | None = None
    ends_on_failure: bool = False  # set -e
    pipefail: bool = False

    def copy(self) -> _State:
        return replace(self, variables={**self.variables}, exported={*self.exported}, functions={**self.functions})

    def of_a_child(self) -> _State:
        known = {name: value for name, value in self.variables.items() if name in self.exported}
        return _State(known, {*self.exported}, {}, self.folder)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.variables[name] = None


@dataclass
class _Reader:
    entry: Entry
    calls: list[Call] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    syntax_errors: list[Finding] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    called: set[str] = field(default_factory=set)  # functions

    def text(self, source: Text, scope: _Scope, state: _State) -> None:
        if scope.depth > _MAX_DEPTH:
            return
        tree = _parser().parse(_readable(source.text).encode("ascii"))
        if tree.root_node.has_error:
            self._check_syntax(source, scope.shell)
        own = _functions(tree.root_node, source.text)
        state.functions.update({name: (node, source) for name, node in own.items()})
        inner = replace(scope, source=source, depth=scope.depth + 1)
        self._sequence(tree.root_node.children, inner, state)
        for name, node in own.items():
            if name not in self.called:
                self._statement(node.child_by_field_name("body"), inner, state.copy())

    # -- statements --

    def _sequence(self, nodes: Iterable[Node], scope: _Scope, state: _State) -> None:
        nodes = [node for node in nodes if node.type != "comment"]
        last: Node | None = None
        is_background = False
        for node, sign in zip(nodes, [*nodes[1:], None]):
            if node.is_named and not node.type.startswith("heredoc"):
                if last is not None:
                    self._statement(last, self._among(scope, state, node, is_background), state)
                last, is_background = node, sign is not None and sign.type == "&"
        if last is not None:
            self._statement(last, self._among(scope, state, None, is_background), state)

    def _among(self, scope: _Scope, state: _State, following: Node | None, is_background: bool) -> _Scope:
        text = self._source(following, scope)
        if is_background:
            waits = following is not None and following.start_byte <= _last_wait(scope.source.text)
            lost = "" if waits else "it runs in the background (&), and nobody waits for its end"
            return replace(scope, lost=lost, lost_in_and=lost)
        if following is None or re.match(r"(?:exit|return)\s*$", text) or "ERR" in state.variables:
            return scope
        if "$?" in text or "PIPESTATUS" in text or "${?" in text:
            return replace(scope, lost="", lost_in_and="", is_heard=True)
        lost = f"what {_shown(text)!r} returns is taken for it"
        return replace(scope, lost=scope.lost if state.ends_on_failure else lost, lost_in_and=lost)

    def _statement(
        self, node: Node | None, scope: _Scope, state: _State, tail: tuple[Node, ...] = (), extra: tuple[Node, ...] = ()
    ) -> None:
        """`tail` are redirections, and `extra` words, that the grammar has given to a list, and the shell gives to its
        last command."""
        if node is None:
            return
        kind = node.type
        if kind == "redirected_statement":
            self._redirected(node, scope, state, tail, extra)
        elif kind == "list":
            self._list(node, scope, state, tail, extra)
        elif kind == "pipeline":
            self._pipeline(node, scope, state, tail, extra)
        elif kind == "negated_command":
            turned = scope.lost or ("! makes a failure a success" if not self._is_condition(node) else "")
            for child in node.children[1:]:
                self._statement(child, replace(scope, lost=turned, lost_in_and=turned), state, tail, extra)
        elif kind == "command":
            self._command(node, self._redirect(scope, state, tail), state, extra)
        elif kind in ("variable_assignment", "variable_assignments", "declaration_command", "unset_command"):
            self._assignment(node, scope, state)
        elif kind == "function_definition":
            state.functions[self._source(node.child_by_field_name("name"), scope)] = node, scope.source
        else:
            self._compound(node, self._redirect(scope, state, tail), state)

    def _is_condition(self, node: Node) -> bool:
        parent = node.parent
        while parent is not None and parent.type in ("pipeline", "redirected_statement"):
            parent = parent.parent
        return parent is not None and parent.type in ("if_statement", "elif_clause", "while_statement", "list")

    def _redirected(
        self, node: Node, scope: _Scope, state: _State, tail: tuple[Node, ...], extra: tuple[Node, ...]
    ) -> None:
        body = node.child_by_field_name("body")
        redirects = tuple(each for each in node.children if each.type.endswith("redirect"))
        for each in redirects:
            extra += tuple(each.children_by_field_name("destination")[1:])
            if each.type == "heredoc_redirect":
                scope = self._heredoc(each, scope, state)
        redirects = tuple(part for each in redirects for part in (each, *each.children) if part.type == "file_redirect")
        self._statement(body, scope, state, (*redirects, *tail), extra)

    def _heredoc(self, node: Node, scope: _Scope, state: _State) -> _Scope:
        """What follows it in the line stands in it. Gives what holds for the command in front."""
        for operator, child in zip(node.children, node.children[1:]):
            if child.is_named and operator.type in ("|", "|&", "&&", "||", ";"):
                self._statement(child, scope, state)
                name = _shown(self._source(child, scope)).split(" ")[0]
                lost = f"what {name} returns is taken for it (|)" if operator.type.startswith("|") else scope.lost
                return replace(scope, lost="" if operator.type == "||" else lost)
            if child.type in ("pipeline", "list"):
                return self._heredoc(child, scope, state)
        return scope

    def _list(self, node: Node, scope: _Scope, state: _State, tail: tuple[Node, ...], extra: tuple[Node, ...]) -> None:
        parts = [each for each in node.children if each.is_named]
        operator = next((each.type for each in node.children if each.type in ("&&", "||")), "&&")
        if len(parts) < 2:
            self._sequence(node.children, scope, state)
            return
        left, right = parts[0], parts[-1]
        if operator == "||":
            text = self._source(right, scope)
            hides = re.fullmatch(r"(?:/usr)?(?:/bin/)?true|:|exit\s+0|return\s+0|continue|break|sleep\s+\w+", text)
            lost = f"'|| {text}' makes a success of each failure" if hides else ""
        else:
            lost = scope.lost_in_and
        is_heard = scope.is_heard or operator == "||"
        self._statement(left, replace(scope, lost=lost, lost_in_and=lost, is_heard=is_heard), state)
        self._statement(right, scope, state, tail, extra)

    def _pipeline(
        self, node: Node, scope: _Scope, state: _State, tail: tuple[Node, ...], extra: tuple[Node, ...]
    ) -> None:
        stages = [each for each in node.children if each.is_named and each.type != "comment"]
        last = _shown(self._source(stages[-1], scope)).split(" ")[0]
        pipefail = state.pipefail and scope.shell not in _STRICT
        is_asked = "PIPESTATUS" in self._after(node, scope)
        lost = scope.lost if pipefail else "" if is_asked else f"what {last} returns is taken for it (|)"
        for stage in stages[:-1]:
            inner = replace(scope, lost=lost, lost_in_and=lost, is_piped=True)
            self._statement(stage, inner, state.copy())
        self._statement(stages[-1], scope, state.copy() if len(stages) > 1 else state, tail, extra)
        for operator in node.children:
            if operator.type == "|&" and scope.shell in _STRICT:
                begin = scope.source.positions[operator.start_byte]
                said = ("pipe-ampersand", "sh of Debian does not know |&", _SYNTAX)
                self._error(begin, said, ((begin, "|&", "2>&1 |"),))

    def _after(self, node: Node, scope: _Scope) -> str:
        following = node.next_named_sibling
        return self._source(following, scope) if following is not None else ""

    def _compound(self, node: Node, scope: _Scope, state: _State) -> None:
        kind = node.type
        if kind in _COMPOUND:
            self._sequence(_inside(node), scope, state.copy() if kind == "subshell" else state)
        elif kind == "if_statement":
            self._if(node, scope, state)
        elif kind in ("while_statement", "for_statement", "c_style_for_statement"):
            self._loop(node, scope, state)
        elif kind in ("case_statement", "case_item"):
            before = state.copy()
            for child in node.named_children:
                if child.type == "case_item":
                    self._sequence(child.named_children[1:], scope, before.copy())
            state.forget(_assigned(node, scope.source.text))
        else:
            if kind == "test_command" and self._source(node, scope).startswith("[[") and scope.shell in _STRICT:
                said = (
                    "double-bracket",
                    "sh of Debian does not know [[",
                    "sh says [[: not found, and goes on as if it were false",
                )
                self._error(scope.source.positions[node.start_byte], said, (), "write [ ... ]")
            self._substitutions(node, scope, state, f"what {_shown(self._source(node, scope))} returns is taken for it")

    def _if(self, node: Node, scope: _Scope, state: _State) -> None:
        has_else = any(child.type in ("else_clause", "elif_clause") for child in node.children)
        conditions = node.children_by_field_name("condition")
        is_negated = any(
            child.type == "negated_command" or self._source(child, scope).startswith("!") for child in conditions
        )
        lost = "" if has_else or is_negated else "'if' without 'else' is a success when it fails"
        tested = replace(scope, lost=lost, lost_in_and=lost, is_heard=True)
        self._sequence(conditions, tested, state)
        branch = state.copy()
        then = [child for child in _inside(node) if child not in conditions and not child.type.endswith("clause")]
        self._sequence(then, scope, branch)
        for child in node.children:
            if child.type == "else_clause":
                self._sequence(_inside(child), scope, state.copy())
            elif child.type == "elif_clause":
                self._sequence(_inside(child), replace(scope, lost="", lost_in_and=""), state.copy())
        state.forget(_assigned(node, scope.source.text))

    def _loop(self, node: Node, scope: _Scope, state: _State) -> None:
        state.forget(_assigned(node, scope.source.text))
        for variable in node.children_by_field_name("variable"):
            state.forget([self._source(variable, scope)])
        told = replace(scope, lost="", lost_in_and="", is_heard=True)
        self._sequence(node.children_by_field_name("condition"), told, state)
        lost = "only the last round of the loop counts"
        once = replace(scope, lost=scope.lost if state.ends_on_failure else lost, lost_in_and=lost)
        body = node.child_by_field_name("body")
        self._sequence(_inside(body) if body is not None else [], once, state)

    def _substitutions(self, node: Node, scope: _Scope, state: _State, lost: str) -> None:
        for child in node.children:
            if child.type in ("command_substitution", "process_substitution"):
                inner = replace(scope, lost=lost, lost_in_and=lost, is_piped=True)
                self._sequence(_inside(child), inner, state.copy())
            else:
                self._substitutions(child, scope, state, lost)

    # -- variables --

    def _assignment(self, node: Node, scope: _Scope, state: _State) -> None:
        declares = node.type == "declaration_command"
        lost = f"what {node.children[0].type} returns is taken for it" if declares else scope.lost
        self._substitutions(node, scope, state, lost)
        exports = declares and self._source(node, scope).startswith("export")
        for each in [node] if node.type == "variable_assignment" else node.named_children:
            if each.type == "variable_assignment":
                name, value = self._assigned(each, scope, state)
                state.variables[name] = value.text if value.is_certain else None
            else:
                name = self._source(each, scope)
                if node.type == "unset_command":
                    state.variables[name] = ""
            if exports:
                state.exported.add(name)

    def _assigned(self, node: Node, scope: _Scope, state: _State) -> tuple[str, Word]:
        name = self._source(node.child_by_field_name("name"), scope)
        at = scope.source.positions[node.end_byte]
        made = joined(node.child_by_field_name("value"), scope.source, state.variables.get, at)
        appends = any(child.type == "+=" for child in node.children)
        return name, replace(made.word, is_certain=False) if appends else made.word

    # -- commands --

    def _command(self, node: Node, scope: _Scope, state: _State, extra: tuple[Node, ...]) -> None:
        words: list[Expanded] = []
        parts: list[Node] = []
        for child in (*node.children, *extra):
            if child.type == "variable_assignment":
                scope = replace(scope, environment=(*scope.environment, self._assigned(child, scope, state)))
            elif child.type == "file_redirect":
                scope = self._redirect(scope, state, (child,))
                parts += child.children_by_field_name("destination")[1:]
            elif child.type == "herestring_redirect" and scope.shell in _STRICT:
                said = ("here-string", "sh of Debian does not know <<<", _SYNTAX)
                self._error(scope.source.positions[child.start_byte], said, (), "use a pipe: echo ... |")
            elif (child.is_named and not child.type.endswith("redirect")) or child.type in ("=~", "==", "$"):
                parts.append(child)
        for part in sorted(parts, key=lambda each: each.start_byte):
            words += expand(part, scope.source, state.variables.get)
        first = words[0].word.text if words else ""
        self._substitutions(node, scope, state, f"what {_shown(first)} returns is taken for it")
        if words:
            self._program(words, scope, state)

    def _program(self, words: list[Expanded], scope: _Scope, state: _State) -> None:
        name = base_name(words[0].word.text)
        if COMMAND.fullmatch(name):
            self._call(words, None, scope, state)
        elif PYTHON.fullmatch(name) or (not words[0].word.is_certain and script_at(_texts(words)) is not None):
            self._python(words, scope, state)
        elif name in SHELLS:
            self._shell(words, scope, state)
        elif name in WRAPPERS:
            self._wrapper(name, words, scope, state)
        elif name in ("su", "runuser"):
            self._su(words, scope, state)
        elif name == "eval" and len(words) == 2:
            self.text(words[1].made, scope, state)
        elif not self._changes_the_shell(name, words, scope, state):
            self._other(name, words, scope, state)

    def _changes_the_shell(self, name: str, words: list[Expanded], scope: _Scope, state: _State) -> bool:
        arguments = [each.word for each in words[1:]]
        texts = [each.text for each in arguments]
        if name == "cd":
            folders = [each for each in arguments if not each.text.startswith("-")]
            state.folder = _below(state.folder, folders[0], True) if folders else None
        elif name == "set":
            self._set(words[0].word, texts, scope, state)
        elif name == "trap" and "ERR" in texts:
            state.variables["ERR"] = None
        elif name == "read":
            state.forget(each for each in texts if not each.startswith("-"))
        elif name in (".", "source") and arguments:
            self._starts(_below(state.folder, arguments[0]), scope, is_direct=False)
        elif name in state.functions and scope.depth < _MAX_DEPTH:
            self.called.add(name)
            node, source = state.functions[name]
            inner = replace(scope, source=source, depth=scope.depth + 1)
            self._statement(node.child_by_field_name("body"), inner, state)
        else:
            return name in ("set", "trap")
        return True

    def _set(self, word: Word, texts: list[str], scope: _Scope, state: _State) -> None:
        for option, value in zip(texts, [*texts[1:], ""]):
            is_on = option.startswith("-")
            letters = option[1:] if re.fullmatch(r"[-+][A-Za-z]+", option) else ""
            if "e" in letters or (letters.endswith("o") and value == "errexit"):
                state.ends_on_failure = is_on
            if letters.endswith("o") and value == "pipefail":
                state.pipefail = is_on
                if scope.shell in _STRICT:
                    said = (
                        "pipefail",
                        "sh of Debian 12 does not know pipefail",
                        "sh ends there, with 2: nothing below runs",
                    )
                    self._error(word.begin, said, (), "start the script with bash")

    def _python(self, words: list[Expanded], scope: _Scope, state: _State) -> None:
        at = script_at(_texts(words))
        if at is not None and base_name(words[at].word.text) == PROGRAM:
            self._call(words[at:], words[0].word, scope, state)

    def _shell(self, words: list[Expanded], scope: _Scope, state: _State) -> None:
        at, has_text, child = 1, False, state.of_a_child()
        child.variables.update({name: value.text if value.is_certain else None for name, value in scope.environment})
        while at < len(words) and re.match(r"[-+].", words[at].word.text):
            option = words[at].word.text
            if not option.startswith("--"):
                has_text |= "c" in option
                child.ends_on_failure |= "e" in option
                if option.endswith("o") and at + 1 < len(words):
                    at += 1
                    child.pipefail |= words[at].word.text == "pipefail"
                    child.ends_on_failure |= words[at].word.text == "errexit"
            at += 1
        if at >= len(words):
            return
        if has_text:
            wrappers = (*scope.wrappers, tuple(each.word for each in words[:at]))
            inner = replace(scope, wrappers=wrappers, shell=base_name(words[0].word.text))
            self.text(words[at].made, inner, child)
        elif not self._other_call(words, scope, state):
            self._starts(_below(state.folder, words[at].word, True), scope, is_direct=False)

    def _wrapper(self, name: str, words: list[Expanded], scope: _Scope, state: _State) -> None:
        values, positional = WRAPPERS[name]
        at = after_options(_texts(words), values.split())
        begin = at + positional
        if name in ("env", "sudo", "doas"):
            while begin < len(words) and re.match(r"[A-Za-z_]\w*=", words[begin].word.text):
                variable, _, value = words[begin].word.text.partition("=")
                word = replace(words[begin].word, text=value)
                scope = replace(scope, environment=(*scope.environment, (variable, word)))
                begin += 1
        if begin >= len(words):
            return
        inner = replace(scope, wrappers=(*scope.wrappers, tuple(each.word for each in words[:begin])))
        if name == "flock" and words[begin].word.text in ("-c", "--command"):
            if begin + 1 < len(words):
                shell = base_name(state.variables.get("SHELL") or "sh")  # as flock itself does it
                self.text(words[begin + 1].made, replace(inner, shell=shell), state.of_a_child())
        else:
            self._program(words[begin:], inner, state)

    def _su(self, words: list[Expanded], scope: _Scope, state: _State) -> None:
        texts = [each.word.text for each in words]
        # Without -s it is the shell of the user, which mostly is bash.
        shell = next((value for option, value in zip(texts, texts[1:]) if option in ("-s", "--shell")), "bash")
        inner = replace(scope, wrappers=(*scope.wrappers, tuple(each.word for each in words)), shell=base_name(shell))
        for at, text in enumerate(texts[:-1]):
            if text == "--command" or re.fullmatch(r"-[lmp]*c", text):
                self.text(words[at + 1].made, inner, state.of_a_child())
                return
        if texts[0].endswith("runuser") and "--" in texts[:-1]:
            at = texts.index("--") + 1
            front = replace(scope, wrappers=(*scope.wrappers, tuple(each.word for each in words[:at])))
            self._program(words[at:], front, state)

    def _other(self, name: str, words: list[Expanded], scope: _Scope, state: _State) -> None:
        if name not in _NO_SCRIPTS and not self._other_call(words, scope, state):
            self._starts(_below(state.folder, words[0].word), scope)

    def _other_call(self, words: list[Expanded], scope: _Scope, state: _State) -> bool:
        """Behind a program that is not known here, such as docker exec: the interpreter must be there."""
        for at in range(1, len(words)):
            script = script_at(_texts(words[at:])) if PYTHON.fullmatch(base_name(words[at].word.text)) else None
            if script is not None and base_name(words[at + script].word.text) == PROGRAM:
                wrappers = (*scope.wrappers, tuple(each.word for each in words[:at]))
                self._python(words[at:], replace(scope, wrappers=wrappers), state)
                return True
        return False

    def _call(
        self,
        words: list[Expanded],
        interpreter: Word | None,
        scope: _Scope,
        state: _State,
    ) -> None:
        command = self.entry.command
        lost = self._lost_to(scope)
        set_here = {name: value.text for name, value in scope.environment if value.is_certain}
        exported = {name: value for name in state.exported if (value := state.variables.get(name)) is not None}
        self.calls.append(
            Call(
                entry=self.entry,
                place=self._place((interpreter or words[0].word).begin),
                script=words[0].word.in_file(command),
                interpreter=None if interpreter is None else interpreter.in_file(command),
                options=tuple(each.word.in_file(command) for each in words[1:]),
                wrappers=tuple(each[0].in_file(command) for each in scope.wrappers),
                environment={**exported, **set_here},
                redirections=tuple(self._in_file(each) for each in scope.redirections),
                folder=self._folder(state),
                fate=Fate.LOST if lost else Fate.HEARD if scope.is_heard else Fate.RESULT,
                lost_to=lost,
            )
        )
        self._check_redirections(self.calls[-1], scope)

    def _starts(self, word: Word, scope: _Scope, is_direct: bool = True) -> None:
        command = self.entry.command
        wrappers = tuple(each[0].in_file(command) for each in scope.wrappers)
        self.programs.append(Program(self.entry, word.in_file(command), self.entry.folder, wrappers, is_direct))

    def _folder(self, state: _State) -> str | None:
        """None: not known."""
        if state.folder is None:
            return self.entry.folder
        if not state.folder.is_certain or not (state.folder.text.startswith("/") or self.entry.folder):
            return None
        return os.path.join(self.entry.folder or "", state.folder.text)

    def _in_file(self, each: _Redirection) -> entries.Redirection:
        at = self.entry.command.positions
        return entries.Redirection(each.descriptor, each.operator, each.target.text, at[each.begin], at[each.end])

    def _lost_to(self, scope: _Scope) -> str:
        if scope.shell in _STRICT and any(each.operator.startswith("&>") for each in scope.redirections):
            return "sh starts it in the background (&>), and nobody waits for its end"
        return scope.lost

    # -- redirections --

    def _redirect(self, scope: _Scope, state: _State, nodes: Iterable[Node]) -> _Scope:
        made = tuple(self._redirection(node, scope, state) for node in nodes)
        return replace(scope, redirections=(*scope.redirections, *made)) if made else scope

    def _redirection(self, node: Node, scope: _Scope, state: _State) -> _Redirection:
        operator = next(each for each in node.children if not each.is_named)
        descriptor = node.child_by_field_name("descriptor")
        number = self._source(descriptor, scope) if descriptor is not None else ""
        positions = scope.source.positions
        targets = node.children_by_field_name("destination")
        end = positions[(targets[0] if targets else operator).end_byte]
        target = joined(targets[0] if targets else None, scope.source, state.variables.get, end).word
        default = 0 if operator.type.startswith("<") else 1
        return _Redirection(
            int(number) if number.isdigit() else default, operator.type, target, positions[node.start_byte], end
        )

    def _check_redirections(self, call: Call, scope: _Scope) -> None:
        for number, each in enumerate(scope.redirections):
            following = scope.redirections[number + 1 :]
            if each.operator.startswith("&>") and scope.shell in _STRICT:
                self._tell_ampersand(each)
            if (each.descriptor, each.operator, each.target.text) == (2, ">&", "1") and not scope.is_piped:
                later = [other for other in following if other.descriptor == 1 and other.operator in (">", ">>", ">|")]
                if later and not any(other.descriptor == 2 for other in following):
                    self._tell_order(call, each, later[-1])

    def _tell_ampersand(self, each: _Redirection) -> None:
        begin = each.begin
        edits = ((begin, "&", ""), (each.end, "", " 2>&1"))
        consequence = "it starts the job in the background, empties the file, and returns 0"
        said = ("ampersand-redirection", f"sh of Debian does not know {each.operator}", consequence)
        self._error(each.begin, said, edits)

    def _tell_order(self, call: Call, both: _Redirection, later: _Redirection) -> None:
        blank = re.compile(r"2>&1[ \t]*").match(self.entry.command.text, both.begin)
        edits = self._edits(((both.begin, blank.group() if blank else "2>&1", ""), (later.end, "", " 2>&1")))
        where = "to the mail of cron" if self.entry.scheduler is Scheduler.CRON else "where stdout went before"
        self.findings.append(Finding(
            call.place, Severity.WARNING, "redirection-order", f"2>&1 stands in front of {later.operator}",
            f"error messages go {where}, and not into the file", edits))  # fmt: skip

    # -- what is said --

    def _error(self, begin: int, said: tuple[str, str, str], edits: Iterable[_Change] = (), advice: str = "") -> None:
        """`said` is the rule, the text and the consequence; `begin` is a place in the text of the command."""
        self.findings.append(Finding(self._place(begin), Severity.ERROR, *said, self._edits(edits), advice))

    def _edits(self, changes: Iterable[_Change]) -> tuple[Edit, ...]:
        """As edits of the file. None, if something else stands there: what a variable has put into a command."""
        text, at = self.entry.command.text, self.entry.command.positions
        changes = list(changes)
        if not all(text.startswith(old, begin) for begin, old, _ in changes):
            return ()
        return tuple(Edit(at[begin], at[begin + len(old)], new) for begin, old, new in changes)

    def _place(self, begin: int) -> Place:
        before = bisect_left(_newlines(self.entry.command.text), begin)
        return Place(self.entry.place.path, max(1, self.entry.place.line) + before)

    def _check_syntax(self, source: Text, shell: str) -> None:
        concerns = is_mentioned(source.text) or any(is_mentioned(value) for value in self.entry.environment.values())
        said = _syntax_error(source.text, shell) if concerns else ""
        if said is None:
            place = self._place(source.positions[0])
            self.syntax_errors.append(Finding(
                place, Severity.WARNING, "unreadable", "what the shell makes of a part of this could not be found out",
                "calls in that part are not checked", (), f"look for mistakes: {shell} -n"))  # fmt: skip
        elif said:
            place = self._place(source.positions[0])
            consequence = f"{shell} starts nothing from there on, and returns 2"
            self.syntax_errors.append(Finding(place, Severity.ERROR, "syntax", f"{shell} says: {said}", consequence,
                                              (), "correct the quotes, or what is missing"))  # fmt: skip

    def _source(self, node: Node | None, scope: _Scope) -> str:
        return "" if node is None else scope.source.text[node.start_byte : node.end_byte]


@lru_cache(maxsize=4)
def _newlines(text: str) -> list[int]:
    """Where the lines end."""
    return [match.start() for match in re.finditer("\n", text)]


@lru_cache(maxsize=4)
def _last_wait(text: str) -> int:
    """Where the shell waits for the end of something by its number, the last time; -1 if it does not."""
    return max((match.start() for match in re.finditer(r"\bwait\b(?=.*\$)", text)), default=-1)


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Grammar(tree_sitter_bash.language()))


def _readable(text: str) -> str:
    """For the parser: what is not ASCII means nothing to a shell, and bytes are then characters."""
    return re.sub(r"[^\t\n -~]", ".", text)


def _syntax_error(text: str, shell: str) -> str | None:
    """What the shell of this machine says of a text without running it; "" if nothing; None if it cannot be asked. A
    shell that a file names is never started by its path."""
    if shell not in ("sh", "dash", "bash", "ksh"):
        return None
    try:
        done = subprocess.run(
            [f"/bin/{shell}", "-n"], input=text.encode("utf-8", "surrogateescape"), env={}, timeout=5,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return re.sub(r"^\S+: (?:line )?(?:\d+: )?", "", lines[0]) if lines else "syntax error"


def _functions(root: Node, text: str) -> dict[str, Node]:
    found = {}
    for node in root.children:
        if node.type == "function_definition":
            name = node.child_by_field_name("name")
            if name is not None:
                found[text[name.start_byte : name.end_byte]] = node
    return found


def _assigned(node: Node, text: str) -> set[str]:
    """The variables that are set somewhere in it."""
    names = set()
    for child in node.children:
        if child.type == "variable_assignment":
            name = child.child_by_field_name("name")
            names |= {text[name.start_byte : name.end_byte]} if name is not None else set()
        names |= _assigned(child, text)
    return names


def _inside(node: Node) -> list[Node]:
    """Its statements, with what stands between them."""
    return [child for child in node.children if child.is_named or child.type == "&"]


def _below(folder: Word | None, word: Word, is_file: bool = False) -> Word:
    """A name without a slash is looked for in PATH, unless it is given as a file."""
    if folder is None or word.text.startswith(("/", "~", "$")) or not ("/" in word.text or is_file):
        return word
    text = f"{folder.text.rstrip('/')}/{re.sub(r'^(?:[.]/)+', '', word.text)}"
    return replace(word, text=text, is_certain=word.is_certain and folder.is_certain)


def _texts(words: list[Expanded]) -> list[str]:
    return [each.word.text for each in words]


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
