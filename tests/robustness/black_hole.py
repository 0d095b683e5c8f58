"""One call of planta_headless.py in a network that swallows everything: the part of its tests that runs in a
network namespace, and so as a process of its own. Prints code, lines, and times of start and end, as JSON.

    unshare --net python -m robustness.black_hole FOLDER ARGUMENTS-OF-THE-COMMAND

Without -s the call goes to a server with heartbeat 1, and the network goes down while the job runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from support.process import PATIENCE, Command
from support.scripted_server import Peer, ScriptedServer

UNREACHABLE = "192.0.2.2"  # goes to the loopback device, which has no such address: there is no answer


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=PATIENCE)


def running_a_job(peer: Peer) -> None:
    """A script: a job that never ends, and a server that keeps its promise to send heartbeats."""
    peer.receive()
    peer.send('<welcome session="s1" heartbeat="1"/>')
    peer.receive()
    peer.send("<accepted/>", '<started job="1"/>')
    while True:
        time.sleep(0.5)
        peer.send("<alive/>")


def main(folder: str, *argv: str) -> None:
    ip("link", "set", "lo", "up")
    ip("route", "add", f"{UNREACHABLE}/32", "dev", "lo")
    network_goes_down = "-s" not in argv
    if network_goes_down:
        argv = ("-s", ScriptedServer(running_a_job).address, *argv)
    lines = []
    started = time.time()
    with Command(Path(folder)).start(*argv) as process:
        watchdog = threading.Timer(PATIENCE / 2, process.kill)
        watchdog.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if network_goes_down and "job 1 started" in line:
                ip("link", "set", "lo", "down")
        code = process.wait()
        watchdog.cancel()
    json.dump([code, lines, started, time.time()], sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the server has no client left to wait for


if __name__ == "__main__":
    main(*sys.argv[1:])
