"""Collects what is found in a text for the shell: calls, other programs, what is wrong, and what of it is understood.

What names the command and is not understood is said to be not checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from headless.admin.calls import MENTIONED, Call, CodeUse, Entry, Program, Redirection, Scheduler, Word, is_mentioned
from headless.admin.programs import STRICT
from headless.admin.rules import Edit, Finding, finding
from headless.admin.shell_state import Scope, State, heard_in
from headless.options import DEFAULTS

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
# Variables that a shell sets, or PAM for all users.
_OF_SHELLS = re.compile(
    "IFS|LANG|LC_ALL|LINENO|OLDPWD|OPTARG|OPTIND|PPID|PWD|RANDOM|SECONDS|TZ|E?UID|USER|HOSTNAME|BASH\\w*"
)


class Found:
    """Holds what one entry starts, and what is wrong with it."""

    def __init__(self, entry: Entry) -> None:
        self.calls: list[Call] = []
        self.programs: list[Program] = []
        self.findings: list[Finding] = []
        self.not_checked: list[Finding] = []
        self._entry = entry
        self._holders = {name for name, value in entry.environment.items() if is_mentioned(value)}
        self._understood: list[tuple[int, int]] = []  # the offsets of what was, or has its finding

    # -- silence means understood --

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

    def names_it(self, words: Iterable[Word]) -> bool:
        """Returns whether these words name the command, or a variable that may hold its name."""
        return any(is_mentioned(word.text) or (not word.is_certain and self.refers(word.text)) for word in words)

    def refers(self, text: str) -> bool:
        """Returns whether a text has a variable that may hold the name of the command."""
        return self._references().search(text) is not None

    def _references(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, sorted(self._holders)))
        return re.compile(rf"\$(?:(?:{names})\b|\{{(?:{names})\b)" if names else r"$.")

    def decided(self) -> int:
        """Returns how many calls there are, and how many commands that are not checked."""
        return len(self.calls) + len(self.not_checked)

    # -- what is started --

    def call(self, words: list[Word], python: list[Word], scope: Scope, state: State) -> str:
        """Adds a call: the script with its arguments, and the interpreter with its options in front of it. Returns "":
        it is understood."""
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

    def starts(self, word: Word, scope: Scope, state: State, arguments: Iterable[Word], **more: Any) -> None:
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

    # -- what is wrong --

    def find(self, key: str, offset: int, edits: tuple[Edit, ...] = (), **values: object) -> None:
        self.findings.append(finding(key, self._entry.file, offset, edits, **values))

    def find_anyway(self, key: str, word: Word, *changes: tuple[int, str, str], **values: object) -> None:
        """Finds what is wrong with a word of a text without a call, too."""
        self.not_checked.append(finding(key, self._entry.file, word.begin, self.edits(*changes), **values))

    def edits(self, *changes: tuple[int, str, str]) -> tuple[Edit, ...]:
        """Returns edits from changes: an offset, what the file has there, and what replaces it. Returns none if the
        file has something else there: what a variable has put into a command."""
        if not all(self._entry.file.content.startswith(old, begin) for begin, old, _ in changes):
            return ()
        return tuple(Edit(begin, begin + len(old), new) for begin, old, new in changes)

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

    def is_in_line(self, pattern: str) -> bool:
        """Returns whether a pattern matches the text that cron gives to a shell, which is in the list of processes."""
        try:
            is_found = re.search(pattern, self._entry.command.text) is not None
        except re.error:
            is_found = False
        return is_found and self._entry.scheduler is Scheduler.CRON

    def say_finds_itself(self, word: Word, name: str, scope: Scope) -> None:
        self.find_anyway("finds-itself", word, name=name, shell=scope.shell)


def _code_use(lost: str, scope: Scope) -> CodeUse:
    if lost or not scope.is_tested:
        return CodeUse.LOST if lost else CodeUse.RESULT
    return CodeUse.PASSED_ON if scope.is_passed_on else CodeUse.TESTED


def _unset(words: Iterable[Word], state: State) -> list[str]:
    """Returns the variables in these words that neither cron nor the file sets."""
    names = [match[1] or match[2] for word in words if not word.is_certain for match in _VARIABLE.finditer(word.text)]
    return [name for name in dict.fromkeys(names) if name not in state.variables and not _OF_SHELLS.fullmatch(name)]
