"""Counts the functions of the package that `planta_headless.py -t -1 -c 'print(42)'` passes through, in the process of
the command or in that of its job server.

python tests/benchmarks/functions.py [command | server] [-v]

-v lists them. Each function counts once; lambdas and properties are functions, too. What runs only while a module is
imported does not count, nor do the bodies of classes, and comprehensions.
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

    code = cli.main(argv[1:]) if argv[0] == "planta_headless.py" else cli.tools_main(argv)
    sys.setprofile(None)
    functions = [
        (code.co_filename.removeprefix(PACKAGE), code.co_firstlineno, code.co_name)
        for code in found
        if code.co_filename.startswith(PACKAGE) and code.co_flags & OPTIMIZED and code.co_name not in COMPREHENSIONS
    ]
    Path(path).write_text(json.dumps(sorted(functions)))
    return code


def is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(PACKAGE):
            return True
        frame = frame.f_back
    return False


def functions_of(side: str, folder: Path) -> list[tuple[str, int, str]]:
    """File, line and name of each function of this side, "command" or "server"."""

    def argv(name: str, *words: str) -> list[str]:
        return [sys.executable, __file__, "--trace", str(folder / name), *words]

    home = ("--home", str(folder / "home"))
    user = subprocess.check_output([sys.executable, "-c", "from headless.cli import *; from support.process import *"
                                    "; print(current_user())"], text=True, env=ENVIRONMENT).strip()  # fmt: skip
    subprocess.run([sys.executable, "-m", "headless", "user", "add", "R41", "--os-user", user, *home],
                   check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)  # fmt: skip
    server = subprocess.Popen(
        argv("server", "serve", "--listen", "127.0.0.1:0", *home), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    address = server.stdout.readline().removeprefix("listening on ").strip()
    subprocess.run(
        argv("command", "planta_headless.py", "-s", address, "-u", "R41", "-t", "-1", "-c", "print(42)"), check=True
    )
    server.terminate()
    server.communicate()
    return [tuple(each) for each in json.loads((folder / side).read_text())]


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


def main() -> None:
    side = "server" if "server" in sys.argv else "command"
    with tempfile.TemporaryDirectory() as folder:
        functions = functions_of(side, Path(folder))
    for file, count in Counter(file for file, _, _ in functions).most_common():
        names = [f"{name} ({line})" for each, line, name in functions if each == file]
        print(f"{count:4}  {file}  {', '.join(names) if '-v' in sys.argv else ''}".rstrip())
    print(f"{len(functions):4}  functions in the process of the {side}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trace"]:
        sys.exit(trace(sys.argv[2], sys.argv[3:]))
    main()
