"""What the check has to say of a line, and how the line is corrected. What it looks for is not known here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from headless.admin.entry import Place


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"  # the job does not run as it was meant, or nobody learns how it has ended
    WARNING = "warning"  # it does as a rule; there are nights when it will not


ERROR, WARNING = Severity.ERROR, Severity.WARNING


@dataclass(frozen=True)
class Edit:
    """One step of a correction: the characters from `begin` to `end` of the file become `text`."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Finding:
    """`rule` is the short name of what is wrong, the same for each case of it; `text` says it of this line;
    `consequence` says what happens at night. `edits` correct it; there are none where only a person can know what was
    meant, and `advice` then says what to do."""

    place: Place
    severity: Severity
    rule: str
    text: str
    consequence: str
    edits: tuple[Edit, ...] = ()
    advice: str = ""


def corrected(content: str, edits: Iterable[Edit]) -> str:
    """The file with these edits. Of edits that are the same one is made; of those that overlap, the first."""
    parts, end = [], 0
    for edit in sorted(set(edits), key=lambda each: (each.begin, each.end, each.text)):
        if edit.begin >= end:
            parts += [content[end : edit.begin], edit.text]
            end = edit.end
    return "".join([*parts, content[end:]])
