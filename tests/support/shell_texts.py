"""Texts for a shell, and what is read in them."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from headless.admin import shell as reader
from headless.admin.entry import Call, Entry, Language, Place, Scheduler, Text, Word
from headless.admin.finding import Finding
from headless.admin.reading import Reading

H = "/p/planta_headless.py"
needs_sh = pytest.mark.skipif(os.name == "nt" or not os.path.exists("/bin/sh"), reason="there is no sh")


def entry(text: str, shell: str = "/bin/sh", **environment: str) -> Entry:
    positions = tuple(range(len(text) + 1))
    place = Place("job.sh", 1)
    return Entry(place, Scheduler.SCRIPT, Language.SHELL, Text(text, positions), shell=shell, environment=environment)


def calls_of(entry: Entry) -> tuple[list[Call], list[Finding]]:
    reading = Reading()
    reader.read(entry, reading)
    return reading.calls, reading.findings


def scripts_called(entry: Entry) -> list[Word]:
    reading = Reading()
    reader.read(entry, reading)
    return [program.word for program in reading.programs]


def call(text: str, shell: str = "/bin/sh", **environment: str) -> Call:
    calls, _ = calls_of(entry(text, shell, **environment))
    assert len(calls) == 1, calls
    return calls[0]


def words(found: Iterable[Word]) -> list[str]:
    return [word.text for word in found]


def findings(text: str, shell: str = "/bin/sh") -> list[Finding]:
    return calls_of(entry(text, shell))[1]
