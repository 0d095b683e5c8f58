"""Makes findings by the table of rules, and applies their corrections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headless.admin.files import File
from headless.admin.rules import RULES, Severity


@dataclass(frozen=True)
class Edit:
    """Replaces the characters from `begin` to `end` of the file by `text`."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Finding:
    """Holds what is wrong at one offset of a file, or with the whole file (None). `edits` correct it, if they can."""

    file: File
    offset: int | None
    severity: Severity
    rule: str
    text: str
    consequence: str
    advice: str
    edits: tuple[Edit, ...] = ()

    @property
    def line(self) -> int:
        return self.file.line(self.offset)

    @property
    def position(self) -> str:
        return self.file.position(self.offset)


def finding(key: str, file: File, offset: int | None, edits: tuple[Edit, ...] = (), **values: object) -> Finding:
    """Returns a finding by a rule of the table."""
    rule = RULES[key]
    text, consequence, advice = (each.format_map(values) for each in (rule.text, rule.consequence, rule.advice))
    return Finding(file, offset, rule.severity, key.partition("/")[0], text, consequence, advice, edits)


def corrected(content: str, edits: Iterable[Edit]) -> str:
    """Returns the file with these edits. Equal ones are made once; of overlapping ones, the first is made."""
    parts, end = [], 0
    for edit in sorted(set(edits), key=lambda each: (each.begin, each.end, each.text)):
        if edit.begin >= end:
            parts += [content[end : edit.begin], edit.text]
            end = edit.end
    return "".join([*parts, content[end:]])
