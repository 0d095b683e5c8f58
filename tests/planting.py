"""Mistakes for a file of the package: each is one change of one place, found in the syntax tree."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from typing import NamedTuple, Optional

OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "in": "not in", "not in": "in",
         "is": "is not", "is not": "is", "and": "or", "or": "and"}  # fmt: skip
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
OPERATOR = re.compile(r"not\s+in|is\s+not|[<>=!]=|[<>]|\b(?:in|is|and|or)\b")
LOGGERS = re.compile(r"(log|logger|logging|console)$")
OF_ITS_OWN = re.compile(r"TYPE_CHECKING|version_info|__name__")  # what such a condition guards does not run here


class Mistake(NamedTuple):
    line: int
    change: str  # as it is shown
    source: bytes  # of the whole file


def on_windows(test: ast.expr) -> Optional[bool]:
    """True of a condition that holds on Windows alone, False of one that holds everywhere else."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return True if any(on_windows(value) for value in test.values) else None
    match = re.fullmatch(r"(?:sys\.platform|os\.name) ([=!]=) '(?:win32|nt)'", ast.unparse(test))
    return match[1] == "==" if match else None


class Finder(ast.NodeVisitor):
    """The places for mistakes in a file, by the kind of the mistake: where it begins and ends, and the other text. Not
    in what is for types, for Windows or only shown, nor in assertions, decorators and the settings of a module."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.places: dict[str, list[tuple[int, int, str]]] = {}
        lines = source.splitlines(keepends=True)
        self.starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
        self.generic_visit(ast.parse(source))

    def begin(self, node: ast.expr | ast.stmt) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr) -> str:
        return self.source[self.begin(node) : self.end(node)].decode()

    def add(self, kind: str, node: ast.expr | ast.stmt, text: str) -> None:
        self.places.setdefault(kind, []).append((self.begin(node), self.end(node), text))

    def add_operator(self, kind: str, left: ast.expr, right: ast.expr, others: dict[str, str]) -> None:
        """Another one for the operator that stands between the two."""
        between = self.source[self.end(left) : self.begin(right)].decode()
        match = OPERATOR.search(between)
        if match and "#" not in between:
            begin = self.end(left) + match.start()
            self.places.setdefault(kind, []).append((begin, begin + len(match[0]), others[" ".join(match[0].split())]))

    def add_condition(self, test: ast.expr) -> None:
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return  # the same as with another operator
        is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        self.add("condition", test, self.text(test)[3:] if is_not else f"not ({self.text(test)})")

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    self.visit(each)
                is_guard = isinstance(each, ast.If) and isinstance(each.body[-1], (ast.Return, ast.Raise))
                if is_guard and on_windows(each.test) is False:
                    break  # what follows is for Windows
                if isinstance(each, ast.Assert) and on_windows(each.test):
                    break

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        if OF_ITS_OWN.search(ast.unparse(node.test)):
            return
        platform = on_windows(node.test)
        if platform is None:
            self.add_condition(node.test)
            self.generic_visit(node)
            return
        here = node.orelse if platform else node.body
        for each in here if isinstance(here, list) else [here]:
            self.visit(each)

    visit_IfExp = visit_If  # noqa: N815

    def visit_While(self, node: ast.While) -> None:
        self.add_condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.add_condition(test)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        if any(on_windows(value) is isinstance(node.op, ast.And) for value in node.values):
            return
        for left, right in zip(node.values, node.values[1:]):
            self.add_operator("and/or", left, right, OTHER)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if on_windows(node) is not None or OF_ITS_OWN.search(ast.unparse(node)):
            return
        sides = [node.left, *node.comparators]
        is_whole = any(isinstance(getattr(each, "value", None), int) or "len(" in ast.unparse(each) for each in sides)
        if len(node.ops) == 1:  # times are never equal: one off is for whole numbers
            self.add_operator("comparison", node.left, sides[1], OTHER if is_whole else {**OTHER, **OPPOSITE})
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        bounds = [node.slice.lower, node.slice.upper] if isinstance(node.slice, ast.Slice) else [node.slice]
        for bound in filter(None, bounds):
            if re.fullmatch(r"-?\d+", self.text(bound)):
                self.add("index", bound, str(int(self.text(bound)) + (-1 if self.text(bound)[0] == "-" else 1)))
                continue
            if isinstance(node.slice, ast.Slice):
                self.add("index", bound, f"({self.text(bound)}) + 1")
            self.visit(bound)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add("true/false", node, str(not node.value))
        elif re.fullmatch(r"\d", self.text(node)):
            self.add("number", node, str(int(self.text(node)) + 1))

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and not self.is_log_call(call):
            self.add("call", node, "pass")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "getattr":
            del node.args[2:]  # for a system that does not have the attribute
        if not self.is_log_call(node):
            self.generic_visit(node)

    def is_log_call(self, node: ast.Call) -> bool:
        return isinstance(node.func, ast.Attribute) and bool(LOGGERS.search(ast.unparse(node.func.value)))

    def visit_way_out(self, node: ast.Return | ast.Raise | ast.Continue | ast.Break) -> None:
        self.add(type(node).__name__.lower(), node, "pass")
        self.generic_visit(node)

    visit_Return = visit_Raise = visit_Continue = visit_Break = visit_way_out  # noqa: N815

    def visit_Assign(self, node: ast.Assign) -> None:
        is_setting = node.col_offset == 0 and isinstance(node.value, ast.Constant)
        if not is_setting:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        last = node.body[-1]
        if isinstance(last, ast.Return) and (last.value is None or ast.unparse(last.value) == "None"):
            del node.body[-1]  # it can be left out
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass


def mistakes_in(source: bytes, chance: random.Random) -> Iterator[Mistake]:
    """All that can be made in the file, in an order by chance in which each kind has the same chance."""
    places = Finder(source).places
    while places:
        kind = chance.choice(sorted(places))
        begin, end, text = places[kind].pop(chance.randrange(len(places[kind])))
        if not places[kind]:
            del places[kind]
        number = source.count(b"\n", 0, begin)
        new = source[:begin] + text.encode() + source[end:]
        compile(new, "it", "exec")
        rest = source[end:].partition(b"\n")[0]
        before = source[source.rfind(b"\n", 0, begin) + 1 : end] + rest
        after = source[source.rfind(b"\n", 0, begin) + 1 : begin] + text.encode() + rest
        shown = [" ".join(each.decode().split()) for each in (before, after)]
        yield Mistake(number + 1, f"{shown[0]} -> {shown[1]}", new)
