"""Texts for a shell, and what is read in them."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from headless.admin import shell as reader
from headless.admin.calls import Call, Entry, Language, Scheduler, Text, Word
from headless.admin.files import File
from headless.admin.rules import Finding

H = "/p/planta_headless.py"
needs_sh = pytest.mark.skipif(os.name == "nt" or not os.path.exists("/bin/sh"), reason="there is no sh")


def entry(text: str, shell: str = "/bin/sh", **environment: str) -> Entry:
    command = Text.of(text, 0, len(text))
    file = File("job.sh", text)
    return Entry(file, 0, Scheduler.SCRIPT, Language.SHELL, command, shell=shell, environment=environment)


def calls_of(entry: Entry) -> tuple[list[Call], list[Finding]]:
    parsed = reader.read(entry)
    return parsed.calls, parsed.findings


def scripts_called(entry: Entry) -> list[Word]:
    return [program.word for program in reader.read(entry).programs]


def call(text: str, shell: str = "/bin/sh", **environment: str) -> Call:
    calls, _ = calls_of(entry(text, shell, **environment))
    assert len(calls) == 1, calls
    return calls[0]


def words(found: Iterable[Word]) -> list[str]:
    return [word.text for word in found]


def findings(text: str, shell: str = "/bin/sh") -> list[Finding]:
    return calls_of(entry(text, shell))[1]
