"""Large recordings are explained within 512 MiB, and not much slower than they are parsed."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest
from lxml import etree

from headless.dialects.vocabulary import CHALLENGE, MODULE, Job
from headless.protocol_tools.recordings import CALLS, CLIENT, SERVER, Piece, RecordedCall, line_of
from support.process import ROOT
from support.sampling import EXHAUSTIVE
from support.vendors.recorded import write

# Explains a folder, and prints seconds of the processor and KiB of memory at most.
MEASURED = """import contextlib, io, resource, sys, time
from pathlib import Path
from headless.protocol_tools.explain import run
from types import SimpleNamespace
with contextlib.redirect_stdout(io.StringIO()):
    code = run(SimpleNamespace(folder=Path(sys.argv[1]), secret=None, write=None))
print(code, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
CONNECTIONS = 200 if EXHAUSTIVE else 40
SIZE = 1024 * 1024
WORDS = ["alpha", "beta", "ok", "done", "failed", "Rückmeldung", "12", "2024", "planta"]


def said(chance: random.Random, jobs: tuple[Job, ...]):
    """Yields who says what: a login, the jobs, what a client for people would show, and the end."""
    yield CLIENT, '<Env><Program vendor="PLANTA" name="x" version="1"/></Env><Login user="R41"/>'
    yield SERVER, f'<Login challenge="{chance.getrandbits(128):032x}"/>'
    yield CLIENT, f'<Login user="R41" response="{chance.getrandbits(256):064x}"/>'
    yield SERVER, "<Env/>"
    yield CLIENT, "".join(f'<ModC id="{job.text}"/>' for job in jobs)
    yield SERVER, '<Cmd name="accepted"/>'
    size = 0
    while size < SIZE:
        text = " ".join(chance.choices(WORDS, k=chance.randint(5, 80)))
        rows = "".join(f'<Row id="{each}" v="{chance.randint(0, 9)}"><C>{text[:30]}</C></Row>' for each in range(20))
        kinds = (f'<StatusBar text="{text}"/>', f'<EvLogMsg level="A">{text}</EvLogMsg>', f"<Panel>{rows}</Panel>")
        message = chance.choice(kinds)
        size += len(message)
        yield SERVER, message
    yield SERVER, '<Shutdown action="exit" result="0"/>'


@pytest.mark.large
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak has another unit")
def test_large_recordings_take_ten_times_as_long_as_to_parse_them_at_most(tmp_path):
    chance = random.Random(1)
    calls = []
    parsing = 0.0  # seconds of the processor: a busy machine is slower at both
    for number in range(CONNECTIONS):
        jobs = tuple(Job(MODULE, f"{chance.randint(1000, 9999)}AB") for _ in range(3))
        lines = []
        for moment, (sender, content) in enumerate(said(chance, jobs)):
            data = f'<?xml version="1.0" encoding="UTF-8"?><Message>{content}</Message>'.encode()
            begun = time.process_time()
            etree.fromstring(data)
            parsing += time.process_time() - begun
            lines.append(line_of(Piece(moment / 100, sender, len(data).to_bytes(4, "big") + data)))
        write(tmp_path / f"{number}.talk", b"".join(lines))
        call = RecordedCall(f"call {number}", CHALLENGE, "R41", "", jobs, -1, True, 0, 0, (str(number),))
        calls.append(call.to_json().encode() + b"\n")
    write(tmp_path / CALLS, b"".join(calls))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, seconds, peak = done.stdout.split()
    print(f"{seconds} s, to parse {parsing} s, {int(peak) // 1024} MiB")
    assert int(code) == 0
    assert float(seconds) < 10 * parsing
    assert int(peak) < 512 * 1024
