"""A console of Windows at which the real command runs, and somebody who types. No window shows it.

Only a process that has a console can type there and see what it shows: that is console_program.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from support.process import PATIENCE, SCRIPT

_PROGRAM = Path(__file__).with_name("console_program.py")
_CREATE_NO_WINDOW = 0x08000000  # subprocess has it on Windows alone
_SECONDS_BETWEEN_LOOKS = 0.05


class WindowsConsole:
    """Runs the command, or another `program` of Python, with a console of its own as standard input, output and error.
    `shown` is what is on the screen, each line without the spaces at its end."""

    def __init__(
        self,
        folder: Path,
        *argv: str,
        program: tuple[str, ...] = (str(SCRIPT),),
        env: dict[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), sys.executable, *program, *argv],
            cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            encoding="utf-8", creationflags=_CREATE_NO_WINDOW,
        )  # fmt: skip
        self.shown = ""
        self._code: int | None = None

    def __enter__(self) -> WindowsConsole:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)  # the end of its input ends the program, and the command with it

    def wait_for(self, text: str) -> None:
        """Returns when the text is shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._look():
            assert self._code is None, f"it ended with {self._code}, and {text!r} was not shown, but {self.shown!r}"
            assert time.monotonic() < deadline, f"{text!r} was not shown, but {self.shown!r}"
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def type(self, text: str) -> None:
        """Enter is \\r. Ctrl and C is \\x03, for a program that reads single keys."""
        self._tell("type", text)

    def answer(self, text: str, prompt: str = "Password for ") -> None:
        """Types this at the prompt for the password."""
        self.wait_for(prompt)
        self.type(text)

    def press_ctrl_c(self) -> None:
        """What the console makes of it while no program reads single keys."""
        self._tell("ctrl-c")

    def end(self) -> int:
        """The return code; what was shown until then is in `shown`."""
        deadline = time.monotonic() + PATIENCE
        while self._code is None:
            self._look()
            assert time.monotonic() < deadline, f"it did not end: {self.shown!r}"
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._look()
        assert "Traceback" not in self.shown, self.shown
        return self._code

    def _look(self) -> str:
        self._tell("look")
        return self.shown

    def _tell(self, *request: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self._code, self.shown = json.loads(self._process.stdout.readline())
