"""Writes the file of a site: a subclass of the dialect that fits the vocabulary, with what is known."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headless.dialects import framing
from headless.dialects.vocabulary import Value
from headless.errors import CommandFailed, ParameterError

SETTLED, OTHERWISE, OPEN = "settled", "settled, not as assumed", "open"
_LEFT_TO_A_PERSON = ("A11", "A13", "A14", "A15")
_HEAD = '''"""What our server speaks, from recordings. See PLANTA.md for A1 to A18.

A comment has to be decided: take one of the lines, or write another one, and add its number to `settled`.
"""
'''


@dataclass
class Assumption:
    """Is one of A1 to A18. `lines` are those of a class that override the default, or comments."""

    number: str
    state: str
    evidence: str
    lines: list[str] = field(default_factory=list)


def state_of(is_certain: bool, lines: Sequence[str]) -> str:
    return (OTHERWISE if lines else SETTLED) if is_certain else OPEN


def one_line(text: str) -> str:
    """Returns a text that cannot end a comment."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def value_code(value: object) -> str:
    """Returns an expression that makes this framing, compression or transport."""
    if not isinstance(value, Value):
        return repr(value)
    kind = type(value)
    parts = []
    for name, content in value.fields():
        if isinstance(content, Value) or not hasattr(kind, name):
            parts.append(value_code(content))
        elif content != getattr(kind, name) or name in ("size", "order", "end", "kind", "scope", "base"):
            parts.append(f"{name}={content!r}")
    return f"{kind.__name__}({', '.join(parts)})"


def method(signature: str, code: str) -> list[str]:
    """Returns the lines of a method that returns this."""
    return method_by(signature, "", {"": code})


def method_by(signature: str, asked: str, codes: Mapping[str, str], first: Sequence[str] = ()) -> list[str]:
    """Returns the lines of a method that begins with the lines `first`, and returns one of these by what is `asked`."""
    *others, last = codes.items()
    chosen = [line for value, code in others for line in (f"    if {asked} == {value!r}:", f"        return {code}")]
    return [f"def {signature}:", *first, *chosen, f"    return {last[1]}"]


def code_of(assumptions: Sequence[Assumption], is_planta: bool) -> str:
    """Returns the file. What a person has to decide is a comment."""
    known = [each.number for each in assumptions if each.state != OPEN and each.number not in _LEFT_TO_A_PERSON]
    base = "planta" if is_planta else "other_xml"
    body = [
        "",
        "",
        f"class Dialect({base}.Dialect):",
        f"    settled = {tuple(known)!r}  # add A4 when you know: TLS, or none",
    ]
    methods = []
    for each in assumptions:
        number = each.number + (", not settled" if each.state == OPEN else "")
        for line in each.lines:
            if line.startswith("def "):
                methods += ["", f"    {line}  # {number}"]
            elif line.startswith(" "):
                methods.append(f"    {line}")
            else:
                body.append(f"    {line}" if line.startswith("#") else f"    {line}  # {number}")
    return "\n".join([_HEAD, *_imports("\n".join([*body, *methods]), base), *body, *methods, ""])


def _imports(used: str, base: str) -> list[str]:
    """Returns the lines that import what is used."""

    def named(*names: str, end: str = r"\b") -> list[str]:
        return [name for name in names if re.search(rf"(?<!['\w]){name}{end}", used)]

    lines = [f"import {module}" for module in named("base64", "hashlib", "hmac", end=r"\.")]
    lines += [*[""] * bool(lines), "import bcrypt"] if named("bcrypt", end=r"\.") else []
    dialects = ", ".join(sorted({base, *named("planta", end=r"\.")}))
    lines += [""] * bool(lines) + [f"from headless.dialects import {dialects}"]
    classes = [name for name in ("Compression", "Transport", *_framings()) if named(name, end=r"\(")]
    for module, names in (
        ("dialects.framing", sorted(classes)),
        ("dialects.xml_messages", named("filled", end=r"\(")),
        ("errors", named("UnsupportedCall")),
    ):
        lines += [f"from headless.{module} import {', '.join(names)}"] if names else []
    return lines


def _framings() -> list[str]:
    return [each.__name__ for each in framing.Framing.__subclasses__()]


def check_free(path: Path) -> None:
    """Raises ParameterError if there is something of that name, or nothing can be written there."""
    if path.exists() or path.is_symlink():
        raise ParameterError(f"{path} exists, and is not overwritten")
    if not path.parent.is_dir():
        raise ParameterError(f"there is no folder {path.parent}")


def write_new(path: Path, text: str) -> None:
    """Writes a file that others cannot write to. Raises CommandFailed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise CommandFailed(f"{path} exists, and is not overwritten") from None
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from None
