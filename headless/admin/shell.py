"""Parses a text for the shell: finds the calls of planta_headless.py, and what the shell around them does wrong.

One walk visits the nodes of the tree. A table says which function handles a type of node, another one which handles a
program. The grammar is that of bash, and gives redirections to more than the shell does; the walk corrects this.
Constructs that change nothing about a call are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from tree_sitter import Node

from headless.admin.calls import (
    CodeUse,
    Entry,
    Parsed,
    Redirection,
    Scheduler,
    Text,
    Word,
    is_mentioned,
)
from headless.admin.programs import STRICT, base_name
from headless.admin.rules import ERROR, Finding, finding
from headless.admin.shell_commands import Commands
from headless.admin.shell_found import Found
from headless.admin.shell_state import MAX_DEPTH, Scope, State, heard_in
from headless.admin.shell_syntax import check_line_ends, check_syntax, find_words_of_bash
from headless.admin.shell_tree import (
    assigned_in,
    end_of_target,
    ends_shell,
    first_of,
    first_word,
    further_words,
    inside,
    is_condition,
    is_only_read,
    is_used_before,
    last_wait,
    leaves_on_success,
    name_in,
    name_of,
    parse,
    reports,
    shown,
    users_of,
)
from headless.admin.shell_words import Lookup, expand, joined

_HIDES = re.compile(r"(?:/usr)?(?:/bin/)?true|:|exit\s+0|return\s+0|continue|break|sleep\s+\w+")
_ENDS = re.compile(r"(?:exit|return|break|continue)(?:\s+\S+)?")
_ONLY_AFTER_SUCCESS = re.compile(r"^[^|!]*\$\?\"?\s+(?:=|==|-eq)\s+0[^|]*&&[^|]*$")
_ALWAYS_TRUE = re.compile(r"(?:\[|\btest)\s+\"?\$(?:\?|\{\?\})\"?\s*(?:\]|[;&|]|$)")
_FAILS = re.compile(r"(?:exit|return)\s+(?!0\b)\S|false\b")
_COUNTER = re.compile(r"(?:^|[\s(;{])(\w+)(?:\+?=|\+\+)")  # what counts failures, to tell of them later
_KEPT = "it is kept in {}, and that is not used"
_OPERATORS = ("|", "|&", "&&", "||", ";")
_SEES = {Scheduler.CRON: "cron sees", Scheduler.SYSTEMD: "systemd sees", Scheduler.SCRIPT: "the script returns"}


def read(entry: Entry) -> Parsed:
    """Returns the calls in a command or a script, in their order; what is wrong with the shell around them; and the
    other programs that it starts, without wrappers and interpreters: those may be scripts."""
    walk, above = _Walk(entry), entry.starter
    state = State({**entry.environment}, set(entry.environment), arguments=_arguments(entry))
    if above is not None:
        state.heard = above.heard
    elif not entry.is_mailed:
        state.heard = frozenset()
    state.ends_on_failure = bool(re.match(r"#!.*[ \t]-[a-z]*e", entry.command.text))
    try:
        scope = Scope(entry.command, base_name(entry.shell))
        if above is not None and above.code_use is CodeUse.LOST:
            scope = scope.losing(above.lost_because)
        walk.text(entry.command, scope.in_new_shell(), state)
    except RecursionError:
        walk.syntax_errors.append(finding("unreadable/deep", entry.file, None))
    if entry.scheduler is Scheduler.SCRIPT:
        walk.syntax_errors += check_line_ends(entry)
    is_one_command = entry.scheduler is not Scheduler.SCRIPT  # of a script, what precedes the mistake is run
    is_never_run = is_one_command and any(each.severity is ERROR for each in walk.syntax_errors)
    calls = [] if is_never_run else walk.found.calls
    findings = [*walk.syntax_errors, *(walk.found.findings if calls else ())]
    findings += () if is_never_run else walk.not_checked()
    return Parsed([], calls, walk.found.programs, findings)


def _arguments(entry: Entry) -> tuple[Word, ...] | None:
    """Returns $1 and those that follow. What a scheduler starts has none."""
    if entry.scheduler is not Scheduler.SCRIPT:
        return ()
    return entry.arguments and tuple(replace(word, begin=-1, end=-1) for word in entry.arguments)


class _Walk:
    """Visits the nodes of the text of one entry."""

    def __init__(self, entry: Entry) -> None:
        self.syntax_errors: list[Finding] = []
        self.found = Found(entry)
        self.commands = Commands(self.found, entry.scheduler, self.text, self.visit)
        self._entry = entry

    def not_checked(self) -> list[Finding]:
        """Returns where the command is named and nothing was decided about that: silence means understood."""
        root = parse(self._entry.command.text)
        for at in () if self.syntax_errors else self.found.not_understood():
            if not is_only_read(root, at):
                offset = self._entry.command.offsets[at]
                self.found.say_not_checked(offset, "no command was found in this part of the text")
        return self.found.not_checked

    def text(self, source: Text, scope: Scope, state: State) -> None:
        if scope.depth > MAX_DEPTH:
            return
        root = parse(source.text)
        if is_mentioned(source.text) or self.found.refers(source.text):
            self.syntax_errors += check_syntax(self._entry.file, source, scope.shell, root.has_error)
        if scope.shell in STRICT:
            find_words_of_bash(root, source, self.found)
        own = {name: node for node in root.children if node.type == "function_definition"
               and (name := name_in(node, source.text))}  # fmt: skip
        state.functions.update({name: (node, source) for name, node in own.items()})
        inner = replace(scope.without_tail(), source=source, depth=scope.depth + 1)
        self._sequence(root.children, inner, state)
        for name, node in own.items():
            if name not in self.commands.called_functions:
                self.visit(node.child_by_field_name("body"), inner, state.copy())

    def visit(self, node: Node | None, scope: Scope, state: State) -> None:
        if node is None:
            return
        if node.type in _WITH_TAIL:
            _WITH_TAIL[node.type](self, node, scope, state)
        else:
            inner = self._redirect(scope, state, scope.more_redirections).without_tail()
            _OF_NODES.get(node.type, _Walk.other)(self, node, inner, state)

    # -- statements --

    def _sequence(self, nodes: Iterable[Node], scope: Scope, state: State) -> None:
        nodes = [node for node in nodes if node.type != "comment"]
        last: Node | None = None
        is_background = False
        for node, sign in zip(nodes, [*nodes[1:], None]):
            if node.is_named and not node.type.startswith("heredoc"):
                if last is not None and not is_background and ends_shell(last):
                    self._not_reached(node, last, scope)
                    continue
                if last is not None:
                    self._statement(last, self._in_sequence(last, node, scope, state, is_background), state)
                last, is_background = node, sign is not None and sign.type == "&"
        if last is not None:
            self._statement(last, self._in_sequence(last, None, scope, state, is_background), state)

    def _statement(self, node: Node, scope: Scope, state: State) -> None:
        known = len(state.sources)
        self.visit(node, scope, state)
        if node.type == "list":  # what is behind && or || is not always read
            state.sources = state.sources[: known + (name_of(first_of(node)) == ".")]

    def _not_reached(self, node: Node, end: Node, scope: Scope) -> None:
        text, at = scope.text_of(node), scope.source.offsets[node.start_byte]
        if is_mentioned(text) or self.found.refers(text):
            self.found.say_not_reached(at, shown(scope.text_of(end)))
        self._understand([node], scope)

    def _in_sequence(
        self, node: Node, following: Node | None, scope: Scope, state: State, is_background: bool
    ) -> Scope:
        """Returns the scope of a statement. If it ends the shell after a success, what follows is its `else`."""
        if following is not None and not is_background and leaves_on_success(node):
            rest = [following]
            while (more := rest[-1].next_named_sibling) is not None:
                rest.append(more)
            is_reported = any(self._reports(each, scope, state) for each in rest)
            if is_reported or _FAILS.match(scope.text_of(rest[-1])):
                return replace(scope.testing(), is_passed_on=not is_reported)
        return self._followed_by(following, scope, state, is_background)

    def _followed_by(self, following: Node | None, scope: Scope, state: State, is_background: bool) -> Scope:
        text = scope.text_of(following)
        if is_background:
            waits = following is not None and following.start_byte <= last_wait(scope.source.text)
            if waits and re.search(r"\bwait\b[^\n;]*\|\|", scope.source.text):
                return scope.testing()
            return scope.losing("" if waits else "it runs in the background (&), and nothing waits for its end")
        has_trap = "ERR" in state.variables
        if not has_trap and (following is None or re.match(r"(?:exit|return)\s*$", text)):
            return scope
        kept = re.fullmatch(r"(?:local\s+)?(\w+)=\"?\$\?\"?", text)
        if kept and following is not None and not has_trap:
            return self._kept(kept[1], following, scope, state)
        tests_stages = "PIPESTATUS" in text and scope.shell not in STRICT
        is_true = not has_trap and _ALWAYS_TRUE.search(text)
        if not is_true and (has_trap or tests_stages or "$?" in text or "${?" in text):
            is_reported = has_trap or (self._reports(following, scope, state) and not _ONLY_AFTER_SUCCESS.search(text))
            return replace(scope.testing(), tests_stages=tests_stages, is_passed_on=not is_reported)
        lost = "[ $? ] is true, whatever the code is" if is_true else self._replaced_by(repr(shown(text)))
        ends = state.ends_on_failure and not scope.ignores_failures
        return replace(scope, lost=scope.lost if ends else lost, lost_in_and=lost)

    def _kept(self, name: str, following: Node, scope: Scope, state: State) -> Scope:
        """Returns the scope of a command whose return code a variable keeps, by what follows."""
        users = users_of(name, following)
        if not users:
            return scope.losing(_KEPT.format(name))
        return replace(scope.testing(), is_passed_on=not any(self._reports(each, scope, state) for each in users))

    def _reports(self, node: Node | None, scope: Scope, state: State) -> bool:
        if node is None:
            return False
        text, heard = scope.text_of(node), heard_in(scope, state)
        counters = [] if re.search(r"\b(?:exit|return)\b", text) else _COUNTER.findall(text)
        nodes = [node, *(each for name in counters for each in users_of(name, node))]
        return any(reports(each, scope.source, state.functions, heard) for each in nodes)

    def block(self, node: Node, scope: Scope, state: State) -> None:
        self._sequence(inside(node), scope, state)

    def subshell(self, node: Node, scope: Scope, state: State) -> None:
        self._sequence(inside(node), scope.in_new_shell(), state.copy())

    def function(self, node: Node, scope: Scope, state: State) -> None:
        state.functions[name_in(node, scope.source.text)] = node, scope.source

    def negated(self, node: Node, scope: Scope, state: State) -> None:
        lost = scope.lost or ("" if is_condition(node) else "! turns a failure into a success")
        for child in node.children[1:]:
            self.visit(child, scope.losing(lost).within_condition(), state)

    def and_or(self, node: Node, scope: Scope, state: State) -> None:
        parts = [each for each in node.children if each.is_named]
        operator = next((each.type for each in node.children if each.type in ("&&", "||")), "&&")
        if len(parts) < 2:
            self._sequence(node.children, scope.without_tail(), state)
            return
        left, right = parts[0], parts[-1]
        if ends_shell(left):
            self.visit(left, scope.without_tail(), state)
            self._not_reached(right, left, scope)
            return
        lost = scope.lost_in_and
        is_after_failure = operator == "||" or scope.text_of(left).startswith("!")
        if operator == "||":
            text = scope.text_of(right)
            lost = f"'|| {text}' turns each failure into a success" if _HIDES.fullmatch(text) else ""
        last = self._redirect(scope, state, scope.more_redirections)  # those of the last command
        is_reported = is_after_failure and self._reports(right, last, state)
        if is_after_failure and not is_reported and re.match(r"exit\b", scope.text_of(right)):
            lost = lost or scope.lost_by_exit
        if is_after_failure and right.type == "variable_assignment":
            name = name_in(right, scope.source.text)
            users = users_of(name, right)
            lost = "" if users or is_used_before(name, right) else _KEPT.format(name)
        is_kept = scope.is_tested and not scope.is_passed_on and bool(_ENDS.fullmatch(scope.text_of(right)))
        is_passed_on = scope.is_passed_on if not is_after_failure else not (is_reported or is_kept)
        is_tested = scope.is_tested or is_after_failure
        inner = scope.without_tail().losing(lost).within_condition()
        known = len(self.found.calls)
        self.visit(left, replace(inner, is_tested=is_tested, is_passed_on=is_passed_on), state)
        follows_failure = operator == "||" and len(self.found.calls) > known
        self.visit(right, replace(scope, is_again=True) if follows_failure else scope, state)

    def pipeline(self, node: Node, scope: Scope, state: State) -> None:
        stages = [each for each in node.children if each.is_named and each.type != "comment"]
        if state.pipefail and scope.shell not in STRICT:
            lost = scope.lost
        elif scope.tests_stages:
            lost = ""
        else:
            lost = self._replaced_by(first_word(scope.text_of(stages[-1])))
        names = [self._program(stage, scope) for stage in stages]
        leaves_out = any(re.search(r"\bgrep\b.* -\w*v", scope.text_of(stage)) for stage in stages)
        before = ["", *("" if leaves_out else name for name in names)]
        for stage, reads, into in zip(stages, before, names[1:]):
            inner = replace(scope.without_tail().losing(lost), is_piped=True, piped_into=into, reads_from=reads)
            self.visit(stage, inner.in_new_shell(), state.copy())
        last = replace(scope.in_new_shell() if len(stages) > 1 else scope, reads_from=before[len(stages) - 1])
        self.visit(stages[-1], last, state.copy() if len(stages) > 1 else state)

    def _program(self, node: Node, scope: Scope) -> str:
        """Returns the name of the program that a stage of a pipeline is."""
        return base_name(first_word(scope.text_of(node)))

    def condition(self, node: Node, scope: Scope, state: State) -> None:
        has_else = any(child.type in ("else_clause", "elif_clause") for child in node.children)
        conditions = node.children_by_field_name("condition")
        is_negated = any(
            child.type == "negated_command" or scope.text_of(child).startswith("!") for child in conditions
        )
        lost = "" if has_else or is_negated else "'if' without 'else' returns 0 when it fails"
        leaves = leaves_on_success(node)
        lost = scope.lost if leaves else lost
        after_failure = [child for child in inside(node) if child.type.endswith("clause")]
        if is_negated:
            after_failure = [child for child in inside(node) if child not in conditions]
        is_reported = any(self._reports(child, scope, state) for child in after_failure)
        is_reported |= leaves and scope.is_tested and not scope.is_passed_on
        tested = replace(scope.losing(lost).within_condition(), is_tested=True, is_passed_on=not is_reported)
        self._sequence(conditions, tested, state)
        then = [child for child in inside(node) if child not in conditions and not child.type.endswith("clause")]
        self._sequence(then, scope, state.copy())
        for child in node.children:
            if child.type in ("else_clause", "elif_clause"):
                inner = scope if child.type == "else_clause" else scope.losing("")
                self._sequence(inside(child), inner, state.copy())
        state.forget(assigned_in(node, scope.source.text))

    def loop(self, node: Node, scope: Scope, state: State) -> None:
        state.forget(assigned_in(node, scope.source.text))
        state.forget(map(scope.text_of, node.children_by_field_name("variable")))
        values = node.children_by_field_name("value")
        self._understand(values, scope)
        for name in node.children_by_field_name("variable"):
            self.found.hold(scope.text_of(name), " ".join(map(scope.text_of, values)))
        body = node.child_by_field_name("body")
        testing = replace(scope.testing(), is_passed_on=not self._reports(body, scope, state))
        inner = replace(testing.within_condition(), is_again=scope.text_of(node).startswith("until"))
        self._sequence(node.children_by_field_name("condition"), inner, state)
        lost = "only the last round of the loop counts"
        ends = state.ends_on_failure and not scope.ignores_failures
        once = replace(scope, lost=scope.lost if ends else lost, lost_in_and=lost)
        self._sequence(inside(body) if body is not None else [], once, state)

    def case(self, node: Node, scope: Scope, state: State) -> None:
        before = state.copy()
        self._understand(node.children_by_field_name("value"), scope)
        for child in node.named_children:
            if child.type == "case_item":
                self._understand(child.children_by_field_name("value"), scope)
                self._sequence(child.named_children[1:], scope, before.copy())
        state.forget(assigned_in(node, scope.source.text))

    def other(self, node: Node, scope: Scope, state: State) -> None:
        if node.type == "test_command":
            self._understand([node], scope)
        self._substitutions(node, scope, state, self._replaced_by(shown(scope.text_of(node))))

    def _substitutions(self, node: Node, scope: Scope, state: State, lost: str) -> None:
        for child in node.children:
            if child.type in ("command_substitution", "process_substitution"):
                self._sequence(inside(child), replace(scope.losing(lost), is_piped=True).in_new_shell(), state.copy())
            else:
                self._substitutions(child, scope, state, lost)

    def _understand(self, nodes: Iterable[Node], scope: Scope) -> None:
        for node in nodes:
            self.found.understand_part(*(scope.source.offsets[at] for at in (node.start_byte, node.end_byte)))

    # -- redirections --

    def redirected(self, node: Node, scope: Scope, state: State) -> None:
        files: list[Node] = []
        words = scope.more_words
        for each in node.children:
            if each.type.endswith("redirect"):
                words += further_words(each)
                files += [part for part in (each, *each.children) if part.type == "file_redirect"]
                if each.type == "heredoc_redirect":
                    scope = self._heredoc(each, scope, state)
        tail = (*files, *scope.more_redirections)
        body = replace(scope, more_redirections=tail, more_words=words)
        self.visit(node.child_by_field_name("body"), body, state)

    def _heredoc(self, node: Node, scope: Scope, state: State) -> Scope:
        """Visits what follows the here-document in its line: the grammar has put it inside. Returns the scope of the
        command in front."""
        for operator, child in zip(node.children, node.children[1:]):
            if child.is_named and operator.type in _OPERATORS:
                self.visit(child, scope.without_tail(), state)
                lost = scope.lost
                if operator.type.startswith("|"):
                    lost = self._replaced_by(first_word(scope.text_of(child)))
                return replace(scope, lost="" if operator.type == "||" else lost)
            if child.type in ("pipeline", "list"):
                return self._heredoc(child, scope, state)
        return scope

    def _redirect(self, scope: Scope, state: State, nodes: Iterable[Node]) -> Scope:
        made = tuple(self._redirection(node, scope, state) for node in nodes)
        return replace(scope, redirections=(*scope.redirections, *made)) if made else scope

    def _redirection(self, node: Node, scope: Scope, state: State) -> Redirection:
        operator = next(each for each in node.children if not each.is_named)
        number = scope.text_of(node.child_by_field_name("descriptor"))
        offsets = scope.source.offsets
        targets = node.children_by_field_name("destination")
        end = offsets[(targets[0] if targets else operator).end_byte]
        target = joined(targets[0] if targets else None, scope.source, self._lookup(state), end)
        if targets and targets[0].end_byte < (last := end_of_target(targets)):
            more, end = scope.source.text[targets[0].end_byte : last], offsets[last]
            target = replace(target, text=target.text + more, is_certain=False, end=end)
        default = 0 if operator.type.startswith("<") else 1
        if default == 1:
            self._understand([node], scope)
        descriptor = int(number) if number.isdigit() else default
        return Redirection(descriptor, operator.type, target, offsets[node.start_byte], end)

    # -- variables --

    def assignment(self, node: Node, scope: Scope, state: State) -> None:
        scope = scope.without_tail()
        declares = node.type == "declaration_command"
        lost = self._replaced_by(node.children[0].type) if declares else scope.lost
        self._substitutions(node, replace(scope, is_captured=True), state, lost)
        exports = declares and scope.text_of(node).startswith("export")
        for each in [node] if node.type == "variable_assignment" else node.named_children:
            name = scope.text_of(each)
            if each.type == "variable_assignment":
                name, value = self._assigned(each, scope, state)
                state.variables[name] = value.text if value.is_certain else None
                self.found.hold(name, scope.text_of(each))
                self._understand([each], scope)
            elif node.type == "unset_command":
                state.variables[name] = ""
            if exports:
                state.exported.add(name)

    def _assigned(self, node: Node, scope: Scope, state: State) -> tuple[str, Word]:
        at = scope.source.offsets[node.end_byte]
        value = joined(node.child_by_field_name("value"), scope.source, self._lookup(state), at)
        appends = any(child.type == "+=" for child in node.children)
        return name_in(node, scope.source.text), replace(value, is_certain=False) if appends else value

    # -- commands --

    def command(self, node: Node, scope: Scope, state: State) -> None:
        scope = self._redirect(scope, state, scope.more_redirections)
        parts: list[Node] = []
        for child in (*node.children, *scope.more_words):
            if child.type == "variable_assignment":
                scope = replace(scope, environment=(*scope.environment, self._assigned(child, scope, state)))
                self._understand([child], scope)
            elif child.type == "file_redirect":
                scope = self._redirect(scope, state, (child,))
                parts += further_words(child)
            elif (child.is_named and not child.type.endswith("redirect")) or child.type in ("=~", "==", "$"):
                parts.append(child)
        scope = scope.without_tail()
        words: list[Word] = []
        for part in sorted(parts, key=lambda each: each.start_byte):
            words += self._words(part, scope, state)
        lost = self._replaced_by(shown(words[0].text) if words else "")
        self._substitutions(node, scope, state, lost)
        if words:
            self.commands.run(words, scope.as_end_of_shell() if ends_shell(node) else scope, state)

    def _words(self, node: Node, scope: Scope, state: State) -> list[Word]:
        """Returns what the shell makes of one word. "$@" are the arguments, where they are known."""
        if state.arguments is None or not re.fullmatch(r"\"\$@\"|\$[@*]", scope.text_of(node)):
            return expand(node, scope.source, self._lookup(state))
        begin, end = (scope.source.offsets[at] for at in (node.start_byte, node.end_byte))
        return [replace(each, begin=begin, end=end, offsets=()) if each.begin < 0 else each for each in state.arguments]

    def _lookup(self, state: State) -> Lookup:
        def value(name: str) -> str | None:
            if not name.isdigit() or state.arguments is None or name == "0":
                return state.variables.get(name)
            words = state.arguments[int(name) - 1 : int(name)]
            return "" if not words else words[0].text if words[0].is_certain else None

        return value

    def _replaced_by(self, name: str) -> str:
        """Returns why a return code is lost that another command's replaces."""
        return f"{_SEES[self._entry.scheduler]} the exit code of {name}, not of the job"


_Handler = Callable[[_Walk, Node, Scope, State], None]
# These pass on, use or ignore what the grammar has given to a list.
_WITH_TAIL: dict[str, _Handler] = {
    "redirected_statement": _Walk.redirected,
    "list": _Walk.and_or,
    "pipeline": _Walk.pipeline,
    "negated_command": _Walk.negated,
    "command": _Walk.command,
    "variable_assignment": _Walk.assignment,
    "variable_assignments": _Walk.assignment,
    "declaration_command": _Walk.assignment,
    "unset_command": _Walk.assignment,
    "function_definition": _Walk.function,
}
_OF_NODES: dict[str, _Handler] = {
    **dict.fromkeys(("program", "ERROR", "compound_statement", "do_group"), _Walk.block),
    "subshell": _Walk.subshell,
    "if_statement": _Walk.condition,
    "while_statement": _Walk.loop,
    "for_statement": _Walk.loop,
    "c_style_for_statement": _Walk.loop,
    "case_statement": _Walk.case,
}
