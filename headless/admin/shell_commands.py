"""Decides what the words of a command start: a call of planta_headless.py, another program, or a part of the shell."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tree_sitter import Node

from headless.admin.calls import (
    COMMAND,
    PYTHON,
    SHELLS,
    WRAPPERS,
    Call,
    CodeUse,
    Entry,
    Program,
    Redirection,
    Scheduler,
    Text,
    Word,
    after_options,
    base_name,
    script_index,
    texts,
)
from headless.admin.rules import Edit, Finding, finding
from headless.options import DEFAULTS

# Parts of the shell, and programs of the system: no scripts.
_NO_SCRIPTS = re.compile(
    r":|\[|alias|bg|break|cat|chmod|chown|continue|cp|date|echo|exit|export|false|fg|getopts|grep|hash|jobs|kill|let|local|"
    "logger|ls|mail|mkdir|mv|printf|pwd|return|rm|sed|shift|sleep|tee|test|touch|true|type|ulimit|umask|wait"
)
STRICT = ("sh", "dash", "ash")  # shells that do not know what bash has added
MAX_DEPTH = 20


@dataclass(frozen=True)
class Scope:
    """Holds what the parents of a statement decide for it."""

    source: Text
    shell: str
    redirections: tuple[Redirection, ...] = ()
    wrappers: tuple[Word, ...] = ()  # the programs in front
    environment: tuple[tuple[str, Word], ...] = ()
    lost: str = ""  # why the return code is lost
    lost_in_and: str = ""  # the same in front of &&, where `set -e` does nothing
    is_tested: bool = False  # something depends on the return code
    is_piped: bool = False  # its stdout is
    depth: int = 0
    # What the grammar has given to a list, and the shell gives to its last command.
    more_redirections: tuple[Node, ...] = ()
    more_words: tuple[Node, ...] = ()

    def losing(self, reason: str) -> Scope:
        return replace(self, lost=reason, lost_in_and=reason)

    def testing(self) -> Scope:
        return replace(self, lost="", lost_in_and="", is_tested=True)

    def behind(self, words: list[Word]) -> Scope:
        """Returns the scope of what these words start."""
        return replace(self, wrappers=(*self.wrappers, words[0]))

    def without_tail(self) -> Scope:
        return replace(self, more_redirections=(), more_words=()) if self.more_redirections or self.more_words else self

    def text_of(self, node: Node | None) -> str:
        return "" if node is None else self.source.text[node.start_byte : node.end_byte]


@dataclass
class State:
    """Holds what one statement changes for the next. A value is None if it is not known."""

    variables: dict[str, str | None]
    exported: set[str]
    functions: dict[str, tuple[Node, Text]] = field(default_factory=dict)
    folder: Word | None = None
    ends_on_failure: bool = False  # set -e
    pipefail: bool = False

    def copy(self) -> State:
        return replace(self, variables={**self.variables}, exported={*self.exported}, functions={**self.functions})

    def of_a_child(self) -> State:
        known = {name: value for name, value in self.variables.items() if name in self.exported}
        return State(known, {*self.exported}, {}, self.folder)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.variables[name] = None


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
        self.called_functions: set[str] = set()
        self._entry, self._parse, self._visit = entry, parse, visit

    def run(self, words: list[Word], scope: Scope, state: State) -> None:
        name = base_name(words[0].text)
        if COMMAND.fullmatch(name):
            self._call(words, None, scope, state)
        elif PYTHON.fullmatch(name) or (not words[0].is_certain and script_index(texts(words)) is not None):
            self.python(words, scope, state)
        elif name in _OF_PROGRAMS and not (name == "eval" and len(words) != 2):
            _OF_PROGRAMS[name](self, words, scope, state)
        elif name in state.functions and scope.depth < MAX_DEPTH:
            self.called_functions.add(name)
            node, source = state.functions[name]
            self._visit(node.child_by_field_name("body"), replace(scope, source=source, depth=scope.depth + 1), state)
        elif not _NO_SCRIPTS.fullmatch(name) and not self._call_inside(words, scope, state):
            self._starts(below(state.folder, words[0]), scope)

    def python(self, words: list[Word], scope: Scope, state: State) -> None:
        at = script_index(texts(words))
        if at is not None:
            self._call(words[at:], words[0], scope, state)

    def shell(self, words: list[Word], scope: Scope, state: State) -> None:
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
            return
        if has_text:
            inner = replace(scope.behind(words[:at]), shell=base_name(words[0].text))
            self._parse(words[at].as_text(), inner, child)
        elif not self._call_inside(words, scope, state):
            self._starts(below(state.folder, words[at], is_file=True), scope, is_direct=False)

    def wrapper(self, words: list[Word], scope: Scope, state: State) -> None:
        name = base_name(words[0].text)
        values, positional = WRAPPERS[name]
        begin = after_options(texts(words), values.split()) + positional
        if name in ("env", "sudo", "doas"):
            while begin < len(words) and re.match(r"[A-Za-z_]\w*=", words[begin].text):
                variable, _, value = words[begin].text.partition("=")
                word = replace(words[begin], text=value)
                scope = replace(scope, environment=(*scope.environment, (variable, word)))
                begin += 1
        if begin >= len(words):
            return
        inner = scope.behind(words[:begin])
        if name == "flock" and words[begin].text in ("-c", "--command"):
            if begin + 1 < len(words):
                shell = base_name(state.variables.get("SHELL") or "sh")  # as flock itself does it
                self._parse(words[begin + 1].as_text(), replace(inner, shell=shell), state.of_a_child())
        else:
            self.run(words[begin:], inner, state)

    def su(self, words: list[Word], scope: Scope, state: State) -> None:
        given = texts(words)
        # Without -s it is the shell of the user, which mostly is bash.
        shell = next((value for option, value in zip(given, given[1:]) if option in ("-s", "--shell")), "bash")
        for at, text in enumerate(given[:-1]):
            if text == "--command" or re.fullmatch(r"-[lmp]*c", text):
                self._parse(
                    words[at + 1].as_text(), replace(scope.behind(words), shell=base_name(shell)), state.of_a_child()
                )
                return
        if given[0].endswith("runuser") and "--" in given[:-1]:
            at = given.index("--") + 1
            self.run(words[at:], scope.behind(words[:at]), state)

    def eval_text(self, words: list[Word], scope: Scope, state: State) -> None:
        self._parse(words[1].as_text(), scope, state)

    def cd(self, words: list[Word], _scope: Scope, state: State) -> None:
        folders = [each for each in words[1:] if not each.text.startswith("-")]
        state.folder = below(state.folder, folders[0], is_file=True) if folders else None

    def trap(self, words: list[Word], _scope: Scope, state: State) -> None:
        if "ERR" in texts(words):
            state.variables["ERR"] = None

    def read_variables(self, words: list[Word], _scope: Scope, state: State) -> None:
        state.forget(text for text in texts(words)[1:] if not text.startswith("-"))

    def source(self, words: list[Word], scope: Scope, state: State) -> None:
        if len(words) > 1:
            self._starts(below(state.folder, words[1]), scope, is_direct=False)
            state.exported.update(DEFAULTS.values())  # which it may do
            state.forget(DEFAULTS.values())

    def set_options(self, words: list[Word], scope: Scope, state: State) -> None:
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

    def _call_inside(self, words: list[Word], scope: Scope, state: State) -> bool:
        """Finds a call behind a program that is not known here, such as docker exec, by its interpreter."""
        for at in range(1, len(words)):
            is_python = PYTHON.fullmatch(base_name(words[at].text))
            if is_python and script_index(texts(words[at:])) is not None:
                self.python(words[at:], scope.behind(words[:at]), state)
                return True
        return False

    # -- what is found --

    def _call(self, words: list[Word], interpreter: Word | None, scope: Scope, state: State) -> None:
        lost = scope.lost
        if scope.shell in STRICT and any(each.operator.startswith("&>") for each in scope.redirections):
            lost = "sh starts it in the background (&>), and nothing waits for its end"
        set_here = {name: value.text for name, value in scope.environment if value.is_certain}
        exported = {name: value for name in state.exported if (value := state.variables.get(name)) is not None}
        call = Call(
            entry=self._entry,
            offset=(interpreter or words[0]).begin,
            script=words[0],
            interpreter=interpreter,
            options=tuple(words[1:]),
            wrappers=scope.wrappers,
            environment={**exported, **set_here},
            unknown=frozenset({*state.exported, *dict(scope.environment)} - {*exported, *set_here}),
            redirections=scope.redirections,
            folder=self._folder(state),
            code_use=CodeUse.LOST if lost else CodeUse.TESTED if scope.is_tested else CodeUse.RESULT,
            lost_because=lost,
        )
        self.calls.append(call)
        self._check_redirections(call, scope)

    def _starts(self, word: Word, scope: Scope, is_direct: bool = True) -> None:
        self.programs.append(Program(self._entry, word, self._entry.folder, scope.wrappers, is_direct))

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


_OF_PROGRAMS: dict[str, Callable[[Commands, list[Word], Scope, State], None]] = {
    **dict.fromkeys(SHELLS, Commands.shell),
    **dict.fromkeys(WRAPPERS, Commands.wrapper),
    **dict.fromkeys(("su", "runuser"), Commands.su),
    **dict.fromkeys((".", "source"), Commands.source),
    "cd": Commands.cd,
    "eval": Commands.eval_text,
    "read": Commands.read_variables,
    "set": Commands.set_options,
    "trap": Commands.trap,
}


def below(folder: Word | None, word: Word, is_file: bool = False) -> Word:
    """Returns the path of a file in a folder. A name without a slash is looked for in PATH, unless it is a file's."""
    if folder is None or word.text.startswith(("/", "~", "$")) or not ("/" in word.text or is_file):
        return word
    text = f"{folder.text.rstrip('/')}/{re.sub(r'^(?:[.]/)+', '', word.text)}"
    return replace(word, text=text, is_certain=word.is_certain and folder.is_certain)
