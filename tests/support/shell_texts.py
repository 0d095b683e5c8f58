"""Texts for a shell, and what is read in them."""

from __future__ import annotations

import os

import pytest

from headless.admin import shell
from headless.admin.entry import Entry, Language, Place, Scheduler, Text
from headless.admin.reading import Reading

H = "/p/planta_headless.py"
needs_sh = pytest.mark.skipif(os.name == "nt" or not os.path.exists("/bin/sh"), reason="there is no sh")


def entry(text, shell="/bin/sh", **environment):
    positions = tuple(range(len(text) + 1))
    place = Place("job.sh", 1)
    return Entry(place, Scheduler.SCRIPT, Language.SHELL, Text(text, positions), shell=shell, environment=environment)


def calls_of(entry):
    reading = Reading()
    shell.read(entry, reading)
    return reading.calls, reading.findings


def scripts_called(entry):
    reading = Reading()
    shell.read(entry, reading)
    return [program.word for program in reading.programs]


def call(text, shell="/bin/sh", **environment):
    calls, _ = calls_of(entry(text, shell, **environment))
    assert len(calls) == 1, calls
    return calls[0]


def words(found):
    return [word.text for word in found]


def findings(text, shell="/bin/sh"):
    return calls_of(entry(text, shell))[1]
