"""How many functions of the package `planta_headless.py -t -1 -c 'print(42)'` passes through, on either side.

Each function counts once, in the process of the command or in that of its job server; lambdas and properties are
functions, too. What runs only while a module is imported does not count, nor do the bodies of classes, and
comprehensions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = str(ROOT / "headless") + os.sep
OPTIMIZED = 1  # inspect.CO_OPTIMIZED: of functions
COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def trace(path: str, argv: list[str]) -> int:
    """Runs `headless ARGV`, or planta_headless.py if that is its first word, and writes the functions to a file.
    Returns its exit status."""
    sys.path.insert(0, str(ROOT))
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code not in found and not is_importing(frame):
            found.add(frame.f_code)

    sys.setprofile(note)
    threading.setprofile(note)
    from headless import cli

    status = cli.main(argv[1:]) if argv[0] == "planta_headless.py" else cli.tools_main(argv)
    sys.setprofile(None)
    functions = [
        code.co_filename.removeprefix(PACKAGE)
        for code in found
        if code.co_filename.startswith(PACKAGE) and code.co_flags & OPTIMIZED and code.co_name not in COMPREHENSIONS
    ]
    Path(path).write_text(json.dumps(functions))
    return status


def is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(PACKAGE):
            return True
        frame = frame.f_back
    return False


def main() -> None:
    from support.homes import R41, make_home

    with tempfile.TemporaryDirectory() as folder:

        def line(side: str, *words: str) -> list[str]:
            return [sys.executable, __file__, str(Path(folder) / side), *words]

        home = Path(folder) / "home"
        make_home(home, R41)
        serve = line("server", "serve", "--listen", "127.0.0.1:0", "--home", str(home), "--log-level", "error")
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().removeprefix("listening on ").strip()
            call = ("planta_headless.py", "-s", address, "-u", "R41", "-t", "-1", "-c", "print(42)")
            subprocess.run(line("command", *call), check=True)
            server.terminate()
        for side in ("command", "server"):
            files = Counter(json.loads((Path(folder) / side).read_text()))
            print(f"{sum(files.values())} functions in the process of the {side}:")
            print(", ".join(f"{file} {count}" for file, count in files.most_common()))


if __name__ == "__main__":
    sys.exit(trace(sys.argv[1], sys.argv[2:]))
