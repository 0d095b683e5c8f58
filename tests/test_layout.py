"""Imports go in one direction, and lxml and bcrypt are imported late. This is read from the syntax tree of every file,
imports inside functions and under TYPE_CHECKING included; planted faults show that it would be found."""

from __future__ import annotations

import re
from functools import cache

import pytest

from support.imports import Sources, all_imports, circles, imports_of, is_in, sources_below
from support.process import ROOT

pytestmark = pytest.mark.slow

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
    "headless.cli": {
        "headless.admin", "headless.client", "headless.options", "headless.errors",
        "headless.rehearsal", "headless.terminal", "headless.server.commands",
    },
    "headless.__main__": {"headless.cli"},
}  # fmt: skip
# What is started by its folder has to load the package, wherever that is.
LOADS_THE_PACKAGE = ("headless.__main__", "headless")
LIBRARIES = {"lxml", "bcrypt"}
MAY_IMPORT_LIBRARIES_AT_ONCE = {
    "headless.dialects.own.codec", "headless.dialects.example", "headless.admin.tasks",
}  # fmt: skip


@cache
def package() -> Sources:
    return sources_below(ROOT / "headless")


def rule_for(module: str) -> set[str]:
    """Of the folder that the file is in, or of the file itself. A new file at the top needs a rule of its own."""
    place = module if module in MAY_IMPORT else ".".join(module.split(".")[:2])
    return MAY_IMPORT[place]


def faults(sources: Sources) -> list[str]:
    """Each import that the layout forbids, and each circle."""
    found = []
    for each in all_imports(sources):
        is_ours = is_in(each.target, {"headless"}) and (each.module, each.target) != LOADS_THE_PACKAGE
        if is_ours and not is_in(each.target, rule_for(each.module)):
            found.append(f"{each.module}, line {each.line}: imports {each.target}")
        is_late = each.is_late or each.is_for_types or each.module in MAY_IMPORT_LIBRARIES_AT_ONCE
        if is_in(each.target, LIBRARIES) and not is_late:
            found.append(f"{each.module}, line {each.line}: imports {each.target} at once")
    return found + [f"a circle: {' -> '.join(circle)}" for circle in circles(sources)]


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
    for place, targets in MAY_IMPORT.items():
        for target in targets:
            assert any(is_in(module, {place}) and is_in(name, {target}) for module, name in used), (place, target)


WRONG = [
    ("headless.dialects.own.frames", "from headless.cli import main", "headless.cli"),
    ("headless.dialects.own.frames", "from headless import terminal", "headless.terminal"),
    ("headless.dialects.own.frames", "import headless.system", "headless.system"),
    ("headless.dialects.own.frames", "import headless", "headless"),
    ("headless.dialects.own.frames", "import os, headless.options as o", "headless.options"),
    ("headless.dialects.own.frames", "from ...client import waiting", "headless.client.waiting"),
    ("headless.dialects", "from ..client import waiting", "headless.client.waiting"),
    ("headless.dialects.new", "def f():\n    if x:\n        from headless.cli import main", "headless.cli"),
    ("headless.dialects.new", "class A:\n    async def f(self):\n        import headless.cli", "headless.cli"),
    ("headless.client.new", "import headless.server.home", "headless.server.home"),
    ("headless.client.new", "def f():\n    import headless.server.home", "headless.server.home"),
    ("headless.client.new", "from headless.server import home", "headless.server.home"),
    ("headless.client.new", "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from headless.server.home import Home",
     "headless.server.home"),
    ("headless.client.new", "from headless.rehearsal import command", "headless.rehearsal.command"),
    ("headless.client.new", "from headless.cli import tools_main", "headless.cli"),
    ("headless.client.new", "from headless.__main__ import FOLDER", "headless.__main__"),
    ("headless.client.new", "try:\n    pass\nexcept E:\n    from headless.cli import report", "headless.cli"),
    ("headless.server.new", "from headless.client.waiting import Waiter", "headless.client.waiting"),
    ("headless.server.new", "from headless.options import parse", "headless.options"),
    ("headless.server.commands.new", "from headless.rehearsal.command import main", "headless.rehearsal.command"),
    ("headless.server.commands.new", "from ...rehearsal.command import main", "headless.rehearsal.command"),
    ("headless.server.new", "import importlib\nimportlib.import_module('headless.cli')", "headless.cli"),
    ("headless.server.new", "f = lambda: __import__('headless.cli')", "headless.cli"),
    ("headless.errors", "from headless.terminal import print_error", "headless.terminal"),
    ("headless.options", "from headless.terminal import print_error", "headless.terminal"),
    ("headless.options", "from headless.client.preparation import effective_user", "headless.client.preparation"),
    ("headless.terminal", "from headless.dialects.vocabulary import shorten", "headless.dialects.vocabulary"),
    ("headless.cli", "def f():\n    from headless.server.home import Home", "headless.server.home"),
    ("headless.rehearsal.new", "from headless.cli import main", "headless.cli"),
]  # fmt: skip


def test_an_import_in_a_wrong_direction_is_found():
    empty = dict.fromkeys(package(), "")
    for module, code, target in WRONG:
        line = code.count("\n") + 1
        assert faults({**empty, module: code}) == [f"{module}, line {line}: imports {target}"], (module, code)


def test_a_fault_in_a_file_that_is_there_is_found():
    module, code, target = WRONG[0]
    text = f"{package()[module]}\n{code}\n"
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
        assert any(fault.startswith("a circle: headless.client.a -> ") for fault in faults(modules)), (a, b, c)


def test_a_circle_in_the_package_is_found():
    text = package()["headless.dialects.vocabulary"]
    text += "\ndef late():\n    from headless.dialects import base\n"
    planted = {**package(), "headless.dialects.vocabulary": text}
    assert "a circle: headless.dialects.base -> headless.dialects.vocabulary -> headless.dialects.base" in faults(
        planted
    )


def test_what_is_imported_for_types_alone_makes_no_circle():
    for_types = "if TYPE_CHECKING:\n from headless.client.b import B"
    modules = {"headless.client.a": for_types, "headless.client.b": "from headless.client.a import A"}
    assert faults(modules) == []
    (found,) = imports_of("headless.client.a", modules)
    assert (found.target, found.line, found.is_for_types, found.is_late) == ("headless.client.b", 2, True, False)


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
