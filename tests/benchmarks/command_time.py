"""How long the command takes as a whole process, against an interpreter that does nothing.

The server is a script that answers at once, so the time is that of the command.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.dialogues import DONE, challenging, serving
from support.process import Command
from support.scripted_server import ScriptedServer
from support.turns import in_turns

ROUNDS = 40


def seconds_of(*argv: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *argv], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        secret = Command(Path(folder)).secret_file()
        script = str(Path(__file__).parent.parent.parent / "planta_headless.py")
        servers = ScriptedServer(serving(*DONE)), ScriptedServer(challenging(*DONE))
        job = ("-t", "-1", "-c", "pass")
        nothing, osuser, challenge = in_turns(
            ROUNDS,
            lambda: seconds_of("-c", "pass"),
            lambda: seconds_of(script, "-s", servers[0].address, *job),
            lambda: seconds_of(script, "-s", servers[1].address, "-u", "R41", "-p", secret, *job),
        )
        for server in servers:
            server.close()
    print(f"python -c pass {nothing * 1e3:.1f} ms; osuser {osuser * 1e3:.1f} ms, ratio {osuser / nothing:.2f}; "
          f"challenge {challenge * 1e3:.1f} ms, ratio {challenge / nothing:.2f} (medians of {ROUNDS})")  # fmt: skip


if __name__ == "__main__":
    main()
