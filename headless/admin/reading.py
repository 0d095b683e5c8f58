"""What the files of a scheduler are read into."""

from __future__ import annotations

from dataclasses import dataclass, field

from headless.admin.entry import Call, Entry, Word
from headless.admin.finding import Finding


@dataclass(frozen=True)
class Program:
    """Something else that an entry starts: it may be a script that calls the command. `folder` is where it is started,
    None if that is not known, and `wrappers` is what stands in front of it."""

    entry: Entry
    word: Word
    folder: str | None
    wrappers: tuple[Word, ...] = ()
    is_direct: bool = True  # and not the argument of a shell


@dataclass(frozen=True)
class Reading:
    """All lists grow while files are read. `entries` are those whose text is still to be read for calls."""

    entries: list[Entry] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
