"""Imports go in one direction, in no circle, and lxml and bcrypt are imported late. This is read from the syntax trees,
imports inside functions and under TYPE_CHECKING included. Planted faults show that they would be found."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import pytest

from support.process import ROOT

pytestmark = pytest.mark.slow

Sources = Mapping[str, str]  # the text of each file, by the name of its module

# What each file, or folder, of the package may import of the package.
MAY_IMPORT = {
    "headless": set(),
    "headless.system": set(),
    "headless.libraries": {"headless.system"},
    "headless.errors": {"headless.libraries", "headless.system"},
    "headless.windows": set(),
    "headless.terminal": {"headless.errors", "headless.windows"},
    "headless.dialects": {"headless.dialects", "headless.errors"},
    "headless.password_file": {"headless.errors", "headless.dialects", "headless.system", "headless.windows"},
    "headless.options": {"headless.errors", "headless.dialects", "headless.system"},
    "headless.arguments": {"headless.dialects"},
    "headless.client": {
        "headless.client", "headless.dialects", "headless.options", "headless.errors", "headless.terminal",
        "headless.system", "headless.libraries", "headless.password_file",
    },
    "headless.server": {
        "headless.server", "headless.dialects", "headless.arguments", "headless.errors", "headless.terminal",
        "headless.system", "headless.windows", "headless.password_file",
    },
    "headless.admin": {
        "headless.admin", "headless.client", "headless.server", "headless.arguments", "headless.password_file",
        "headless.options", "headless.errors", "headless.dialects", "headless.terminal", "headless.system",
        "headless.windows",
    },
    "headless.rehearsal": {
        "headless.rehearsal", "headless.admin", "headless.client", "headless.server", "headless.arguments",
        "headless.options", "headless.errors", "headless.dialects", "headless.terminal", "headless.system",
        "headless.password_file",
    },
    "headless.protocol_tools": {
        "headless.protocol_tools", "headless.client", "headless.arguments", "headless.password_file",
        "headless.options", "headless.errors", "headless.dialects", "headless.terminal", "headless.system",
    },
    "headless.cli": {
        "headless.admin", "headless.client", "headless.options", "headless.errors",
        "headless.protocol_tools", "headless.rehearsal", "headless.terminal", "headless.server.commands",
    },
    "headless.__main__": {"headless.cli"},
}  # fmt: skip
# What is started by its folder has to load the package, wherever that is.
LOADS_THE_PACKAGE = ("headless.__main__", "headless")
LIBRARIES = {"lxml", "bcrypt"}
MAY_IMPORT_LIBRARIES_AT_ONCE = {
    "headless.dialects.own.codec", "headless.dialects.example", "headless.dialects.planta",
    "headless.dialects.other_xml", "headless.dialects.xml_messages", "headless.admin.tasks", "headless.protocol_tools",
}  # fmt: skip


# How imports are read


class Import(NamedTuple):
    """`target` is a module of the sources if it is one, else what something is imported from."""

    module: str
    line: int
    target: str
    is_late: bool  # inside a function
    is_for_types: bool  # under TYPE_CHECKING


@cache
def package() -> Sources:
    """All files of the package, however deep."""
    found = {}
    for path in (ROOT / "headless").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports_of(module: str, sources: Sources) -> list[Import]:
    is_package = any(name.startswith(f"{module}.") for name in sources)
    found = []
    for written, name, level, line, is_late, is_for_types in written_imports(sources[module]):
        origin = written
        if level:
            parts = module.split(".")
            parts = parts[: len(parts) - level + is_package]
            origin = ".".join([*parts, written] if written else parts)
        target = f"{origin}.{name}" if name and f"{origin}.{name}" in sources else origin
        found.append(Import(module, line, target, is_late, is_for_types))
    return found


@cache
def written_imports(code: str) -> list[tuple[str, str, int, int, bool, bool]]:
    """Of each import, also by `import_module` and `__import__`: origin, name, level, line, late, for types."""
    found: list[tuple[str, str, int, int, bool, bool]] = []

    def walk(node: ast.AST, is_late: bool, is_for_types: bool) -> None:
        where = getattr(node, "lineno", 0), is_late, is_for_types
        if isinstance(node, ast.Import):
            found.extend((alias.name, "", 0, *where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend((node.module or "", alias.name, node.level, *where) for alias in node.names)
        elif isinstance(node, ast.Call) and name_of(node.func) in ("import_module", "__import__"):
            targets = [each.value for each in node.args[:1] if isinstance(each, ast.Constant)]
            found.extend((target, "", 0, *where) for target in targets if isinstance(target, str))
        body = node.body if isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING" else []
        late = is_late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            walk(child, late, is_for_types or child in body)

    walk(ast.parse(code), False, False)
    return found


def name_of(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def all_imports(sources: Sources) -> Iterator[Import]:
    for module in sorted(sources):
        yield from imports_of(module, sources)


def is_in(name: str, modules: Set[str]) -> bool:
    """Whether this is one of the modules, or below one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def a_circle(sources: Sources) -> list[str]:
    """Modules that import each other in turn, the first one again at the end; an empty list if there are none. What is
    imported for types alone does not count."""
    targets: dict[str, set[str]] = {module: set() for module in sources}
    for each in all_imports(sources):
        if not each.is_for_types and each.target in targets:
            targets[each.module].add(each.target)
    try:
        TopologicalSorter(targets).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def rule_for(module: str) -> set[str]:
    """Of the folder that the file is in, or of the file itself. A new file at the top needs a rule of its own."""
    return MAY_IMPORT[module if module in MAY_IMPORT else ".".join(module.split(".")[:2])]


def faults(sources: Sources) -> list[str]:
    """Each import that the layout forbids, and a circle."""
    found = []
    for each in all_imports(sources):
        is_ours = is_in(each.target, {"headless"}) and (each.module, each.target) != LOADS_THE_PACKAGE
        if is_ours and not is_in(each.target, rule_for(each.module)):
            found.append(f"{each.module}, line {each.line}: imports {each.target}")
        is_late = each.is_late or each.is_for_types or is_in(each.module, MAY_IMPORT_LIBRARIES_AT_ONCE)
        if is_in(each.target, LIBRARIES) and not is_late:
            found.append(f"{each.module}, line {each.line}: imports {each.target} at once")
    circle = a_circle(sources)
    return found + [f"a circle: {' -> '.join(circle)}"] * bool(circle)


# The package


def test_every_import_goes_in_the_direction_of_the_layout():
    assert faults(package()) == []


def test_every_file_is_looked_at_and_every_rule_is_of_use():
    modules = package()
    assert len(modules) == len(list((ROOT / "headless").rglob("*.py"))) > 50
    for module in modules:
        rule_for(module)
    assert set(MAY_IMPORT) <= set(modules)
    used = {(each.module, each.target) for each in all_imports(modules) if is_in(each.target, {"headless"})}
    assert len(used) > 100
    for folder, targets in MAY_IMPORT.items():
        for target in targets:
            assert any(is_in(module, {folder}) and is_in(name, {target}) for module, name in used), (folder, target)


def listed_files(wing: str) -> dict[str, int]:
    """The files and folders of a wing in the order of the list that its docstring gives: the line of each."""
    lines = [line.strip().partition("  ")[0] for line in package()[wing].splitlines() if line.startswith("    ")]
    return {name: number for number, line in enumerate(lines) for name in re.findall(r"(\w+)(?:\.py|/)", line)}


def test_the_list_of_files_of_a_wing_is_complete_and_every_import_leads_down_it():
    for wing, least in (("headless.admin", 30), ("headless.rehearsal", 3)):
        listed = listed_files(wing)
        modules = {module for module in package() if is_in(module, {wing}) and module != wing}
        assert set(listed) == {module.split(".")[2] for module in modules}
        found = [each for each in all_imports(package()) if is_in(each.module, {wing}) and each.target in modules]
        assert wing not in {each.module for each in found}
        edges = {(each.module.split(".")[2], each.target.split(".")[2]) for each in found}
        assert len(edges) > least
        assert [edge for edge in sorted(edges) if listed[edge[1]] < listed[edge[0]]] == []


# Planted faults


WRONG = [
    ("headless.dialects.own.frames", "from headless.cli import main", "headless.cli"),
    ("headless.dialects.own.frames", "from headless import terminal", "headless.terminal"),
    ("headless.dialects.own.frames", "import headless", "headless"),
    ("headless.dialects.own.frames", "import os, headless.options as o", "headless.options"),
    ("headless.dialects.own.frames", "from ...client import waiting", "headless.client.waiting"),
    ("headless.dialects", "from ..client import waiting", "headless.client.waiting"),
    ("headless.dialects.new", "def f():\n    if x:\n        from headless.cli import main", "headless.cli"),
    ("headless.dialects.new", "class A:\n    async def f(self):\n        import headless.cli", "headless.cli"),
    ("headless.client.new", "from headless.server import home", "headless.server.home"),
    ("headless.client.new", "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from headless.server.home import Home",
     "headless.server.home"),
    ("headless.client.new", "try:\n    pass\nexcept E:\n    from headless.cli import report", "headless.cli"),
    ("headless.server.new", "from headless.client.waiting import Waiter", "headless.client.waiting"),
    ("headless.server.new", "import importlib\nimportlib.import_module('headless.cli')", "headless.cli"),
    ("headless.server.new", "f = lambda: __import__('headless.cli')", "headless.cli"),
    ("headless.errors", "from headless.terminal import print_error", "headless.terminal"),
]  # fmt: skip


def test_an_import_in_a_wrong_direction_is_found():
    empty = dict.fromkeys(package(), "")
    for module, code, target in WRONG:
        line = code.count("\n") + 1
        assert faults({**empty, module: code}) == [f"{module}, line {line}: imports {target}"], (module, code)
    module, code, target = WRONG[0]
    text = f"{package()[module]}\n{code}\n"  # in a file that is there
    assert f"{module}, line {text.count(chr(10))}: imports {target}" in faults({**package(), module: text})


AT_ONCE = [
    "import {}", "import os, {}.x", "from {} import etree", "from {}.x import y", "try:\n import {}\nfinally: pass",
    "class A:\n import {}", "if not TYPE_CHECKING:\n import {}", "if TYPE_CHECKING: pass\nelse:\n import {}",
]  # fmt: skip


def test_a_library_that_is_imported_at_once_is_found():
    for code in (each.format(library) for each in AT_ONCE for library in LIBRARIES):
        for module in ("headless.errors", "headless.server.accounts", "headless.dialects.own.frames"):
            found = faults({module: code})
            assert [fault.rpartition(" imports ")[2].endswith("at once") for fault in found] == [True], (module, code)
        assert faults({"headless.dialects.own.codec": code}) == [], code


def test_a_library_that_is_imported_late_is_none():
    for code in ("def f():\n import lxml.etree, bcrypt", "if TYPE_CHECKING:\n from lxml import etree"):
        assert faults({"headless.server.new": code}) == [], code


CIRCLES = [
    ("import headless.client.b", "import headless.client.c", "import headless.client.a"),
    ("from headless.client import b", "from headless.client.c import x", "from . import a"),
    ("def f():\n from .b import x", "class X:\n from .c import x", "def f():\n from headless.client import a"),
    ("from .b import x", "from .a import x", ""),
    ("import headless.client.a", "", ""),
]


def test_a_circle_is_found():
    for a, b, c in CIRCLES:
        modules = {"headless.client": "", "headless.client.a": a, "headless.client.b": b, "headless.client.c": c}
        assert any(fault.startswith("a circle: headless.client.") for fault in faults(modules)), (a, b, c)
    text = package()["headless.dialects.vocabulary"] + "\ndef late():\n    from headless.dialects import base\n"
    planted = faults({**package(), "headless.dialects.vocabulary": text})
    assert any("circle: headless.dialects." in fault and fault.count(" -> ") == 2 for fault in planted)


def test_what_is_imported_for_types_alone_makes_no_circle():
    for_types = "if TYPE_CHECKING:\n from headless.client.b import B"
    modules = {"headless.client.a": for_types, "headless.client.b": "from headless.client.a import A"}
    assert faults(modules) == []
    (found,) = imports_of("headless.client.a", modules)
    assert (found.target, found.line, found.is_for_types, found.is_late) == ("headless.client.b", 2, True, False)


RESERVED_ON_WINDOWS = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*[. ]|.*[<>:\"|?*\\].*", re.I)


def test_every_file_has_a_name_that_windows_can_open():
    """Naming files, namespaces and paths, Microsoft Learn: a device has its name with any ending, in every folder."""
    paths = (path.relative_to(ROOT) for folder in ("headless", "tests") for path in (ROOT / folder).rglob("*"))
    names = {part for path in paths for part in path.parts}
    assert sorted(filter(RESERVED_ON_WINDOWS.fullmatch, names)) == []
    assert RESERVED_ON_WINDOWS.fullmatch("nul.py")
