"""What Python files import, read from their syntax trees: whether an import breaks the layout, and whether imports go
round in a circle. Each text is read once, however many sets of files it is part of."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import NamedTuple

Sources = Mapping[str, str]  # the text of each file, by the name of its module


class Import(NamedTuple):
    """`target` is what is imported: a module, if it is one that is known, else what it is imported from."""

    module: str
    line: int
    target: str
    is_late: bool  # inside a function
    is_for_types: bool  # under TYPE_CHECKING


def sources_below(package: Path) -> dict[str, str]:
    """All files of a package, however deep."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports_of(module: str, sources: Sources) -> list[Import]:
    """Wherever they stand in the file."""
    return [
        Import(module, each.line, _target(each, module, sources), each.is_late, each.is_for_types)
        for each in _read(sources[module])
    ]


def all_imports(sources: Sources) -> Iterator[Import]:
    for module in sorted(sources):
        yield from imports_of(module, sources)


def is_in(name: str, places: Set[str]) -> bool:
    """Whether this is one of the modules, or below one of them."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def circles(sources: Sources) -> list[list[str]]:
    """Modules that import each other in turn, the first one again at the end. What is imported for types alone does not
    count."""
    edges: dict[str, set[str]] = {module: set() for module in sources}
    for found in all_imports(sources):
        if not found.is_for_types and found.target in edges:
            edges[found.module].add(found.target)
    result = []
    done: set[str] = set()

    def follow(path: list[str]) -> None:
        for target in sorted(edges[path[-1]]):
            if target in path:
                circle = path[path.index(target) :]
                first = circle.index(min(circle))
                result.append([*circle[first:], *circle[: first + 1]])
            elif target not in done:
                follow([*path, target])
        done.add(path[-1])

    for module in sorted(edges):
        if module not in done:
            follow([module])
    return result


class _Written(NamedTuple):
    """An import as it stands in a text: `from ..origin import name` has level 2; `name` is "" for `import origin`."""

    line: int
    level: int
    origin: str
    name: str
    is_late: bool
    is_for_types: bool


def _target(each: _Written, module: str, sources: Sources) -> str:
    origin = each.origin
    if each.level:
        is_package = any(name.startswith(f"{module}.") for name in sources)
        parts = module.split(".")
        parts = parts[: len(parts) - each.level + is_package]
        origin = ".".join([*parts, origin] if origin else parts)
    name = f"{origin}.{each.name}"
    return name if each.name and name in sources else origin


@cache
def _read(code: str) -> list[_Written]:
    reader = _Reader()
    reader.visit(ast.parse(code))
    return reader.found


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[_Written] = []
        self._functions = 0
        self._for_types = 0

    def _add(self, line: int, level: int, origin: str, name: str) -> None:
        self.found.append(_Written(line, level, origin, name, self._functions > 0, self._for_types > 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node.lineno, 0, alias.name, "")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._add(node.lineno, node.level, node.module or "", alias.name)

    def visit_Call(self, node: ast.Call) -> None:
        """`importlib.import_module("...")` and `__import__("...")`."""
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("import_module", "__import__") and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                self._add(node.lineno, 0, target.value, "")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        is_for_types = getattr(node.test, "attr", getattr(node.test, "id", "")) == "TYPE_CHECKING"
        self.visit(node.test)
        self._for_types += is_for_types
        for child in node.body:
            self.visit(child)
        self._for_types -= is_for_types
        for child in node.orelse:
            self.visit(child)

    def _visit_function(self, node: ast.AST) -> None:
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815
