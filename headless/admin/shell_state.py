"""Holds what is known at one place of a text for the shell: what its parents decide, and what the statements before it
have changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tree_sitter import Node

from headless.admin.calls import STDOUT_AND_STDERR, Redirection, Text, Word, heard_behind

MAX_DEPTH = 20


@dataclass(frozen=True)
class Scope:
    """Holds what the parents of a statement decide for it."""

    source: Text
    shell: str
    redirections: tuple[Redirection, ...] = ()
    wrappers: tuple[Word, ...] = ()  # the programs in front
    environment: tuple[tuple[str, Word], ...] = ()
    locks: tuple[Word, ...] = ()  # the files of flock in front
    is_reported: bool = False  # that what is started is not checked
    lost: str = ""  # why the return code is lost
    lost_by_exit: str = ""  # why the return code of the shell is lost, if it ends here
    lost_in_and: str = ""  # the same in front of &&, where `set -e` does nothing
    is_tested: bool = False  # something depends on the return code
    is_passed_on: bool = False  # what depends on the return code only ends the shell
    is_exit_tested: bool = False  # something depends on the return code of the shell
    is_exit_passed_on: bool = False
    is_captured: bool = False  # its stdout becomes the value of a variable
    is_again: bool = False  # it is run because a call before it has failed
    tests_stages: bool = False  # it looks at the return code of each stage of a pipeline
    ignores_failures: bool = False  # `set -e` does nothing, since it is within a condition
    is_piped: bool = False  # its stdout is
    reads_from: str = ""  # the program that writes to its stdin, if nothing takes lines out behind it
    piped_into: str = "cat"  # the program that reads its stdout
    depth: int = 0
    # What the grammar has given to a list, and the shell gives to its last command.
    more_redirections: tuple[Node, ...] = ()
    more_words: tuple[Node, ...] = ()

    def losing(self, reason: str) -> Scope:
        return replace(self, lost=reason, lost_in_and=reason)

    def in_new_shell(self) -> Scope:
        return replace(self, lost_by_exit=self.lost, is_exit_tested=self.is_tested, is_exit_passed_on=self.is_passed_on)

    def as_end_of_shell(self) -> Scope:
        """Returns the scope of a command whose return code is that of the shell."""
        tested = replace(self, is_tested=self.is_exit_tested, is_passed_on=self.is_exit_passed_on)
        return tested.losing(self.lost_by_exit)

    def testing(self) -> Scope:
        return replace(self, lost="", lost_in_and="", is_tested=True, is_passed_on=False)

    def within_condition(self) -> Scope:
        return replace(self, ignores_failures=True)

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
    lock: tuple[Word, ...] = ()  # flock, if it holds a lock by a descriptor
    arguments: tuple[Word, ...] | None = None  # $1 and those that follow; None: not known
    heard: frozenset[int] = STDOUT_AND_STDERR  # the descriptors whose output is read, after exec
    is_sourced: bool = False  # another file may have set any variable
    sources: tuple[Word, ...] = ()  # the files that sh has read; without one it ends there

    def copy(self) -> State:
        return replace(self, variables={**self.variables}, exported={*self.exported}, functions={**self.functions})

    def of_a_child(self) -> State:
        known = {name: value for name, value in self.variables.items() if name in self.exported}
        return State(
            known,
            {*self.exported},
            {},
            self.folder,
            lock=self.lock,
            is_sourced=self.is_sourced,
            heard=self.heard,
        )

    def without_environment(self) -> State:
        """Returns the state of a program that gets no variable of this one."""
        return replace(self.copy(), exported=set())

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.variables[name] = None


def heard_in(scope: Scope, state: State) -> frozenset[int]:
    """Returns the descriptors whose output is read."""
    heard = heard_behind(state.heard, scope.redirections)
    return heard - {1} if scope.is_captured else heard


def below(folder: Word | None, word: Word, is_file: bool = False) -> Word:
    """Returns the path of a file in a folder. A name without a slash is looked for in PATH, unless it is a file's."""
    if folder is None or word.text.startswith(("/", "~", "$")) or not ("/" in word.text or is_file):
        return word
    text = f"{folder.text.rstrip('/')}/{re.sub(r'^(?:[.]/)+', '', word.text)}"
    return replace(word, text=text, is_certain=word.is_certain and folder.is_certain)
