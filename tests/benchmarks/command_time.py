"""How long the command takes as a whole process, as a ratio to an interpreter that imports what it needs anyway.

The server is a script that answers at once, so the time is that of the command. Every command is started in turn with
what it is compared to, with compiled files, as an installed one has them.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.dialogues import DONE, challenging, serving
from support.process import ROOT, SCRIPT, Command
from support.scripted_server import ScriptedServer
from support.usage import in_turns

ROUNDS = 40
IMPORTS = "import optparse, socket; from lxml import etree"
# With it Python would compile the command again at each start.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds_of(*argv: str, receipt: str = "") -> float:
    environment = {**ENVIRONMENT, "PLANTA_RECEIPT": receipt}
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, *argv], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - begun


def main() -> None:
    compileall.compile_dir(ROOT / "headless", quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        secret = Command(Path(folder)).secret_file()
        servers = ScriptedServer(serving(*DONE)), ScriptedServer(challenging(*DONE))
        job = ("-t", "-1", "-c", "pass")
        osuser = (str(SCRIPT), "-s", servers[0].address, *job)
        challenge = (str(SCRIPT), "-s", servers[1].address, "-u", "R41", "-p", secret, *job)
        imports, *calls, optparse, help_ = in_turns(
            ROUNDS,
            lambda: seconds_of("-c", IMPORTS),
            lambda: seconds_of(*osuser),
            lambda: seconds_of(*challenge),
            lambda: seconds_of(*osuser, receipt=f"{folder}/receipts"),
            lambda: seconds_of(*challenge, receipt=f"{folder}/receipts"),
            lambda: seconds_of("-c", "import optparse"),
            lambda: seconds_of(str(SCRIPT), "--help"),
        )
        for server in servers:
            server.close()
    print(f"{IMPORTS}: {imports * 1e3:.1f} ms (medians of {ROUNDS})")
    for name, seconds in zip(("osuser", "challenge", "osuser, with a receipt", "challenge, with a receipt"), calls):
        print(f"the command, {name}: {seconds * 1e3:.1f} ms, ratio {seconds / imports:.2f}")
    print(f"--help: {help_ * 1e3:.1f} ms, ratio to import optparse {help_ / optparse:.2f} ({optparse * 1e3:.1f} ms)")
