"""A pseudo-terminal at which the real command runs, and a person who types."""

from __future__ import annotations

import os
import pty
import select
import termios
import time
from contextlib import suppress
from pathlib import Path

from support.fork_server import start
from support.process import PATIENCE, SCRIPT

_PROGRAM = Path(__file__).with_name("terminal_program.py")


class Terminal:
    """Runs the command, or another `program` of Python, in a session that this terminal controls, with it as standard
    input, output and error."""

    def __init__(
        self,
        folder: Path,
        *argv: str,
        program: tuple[str, ...] = (str(SCRIPT),),
        umask: int = 0o022,
        env: dict[str, str] | None = None,
    ) -> None:
        self._own, theirs = pty.openpty()
        self.shown = ""

        words = [str(_PROGRAM), str(umask), *program, *argv]
        self.process = start(words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        self._theirs: int | None = theirs

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._close_theirs()
        os.close(self._own)

    def _close_theirs(self) -> None:
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            os.close(theirs)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._own)[3] & termios.ECHO)

    def echo(self) -> None:
        """Makes the terminal show what is typed, as a shell may when it gets it back."""
        attributes = termios.tcgetattr(self._own)
        attributes[3] |= termios.ECHO
        termios.tcsetattr(self._own, termios.TCSANOW, attributes)

    def wait_for(self, text: str) -> None:
        """Reads until the text has been shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert self._read(deadline), f"{text!r} was not shown, but {self.shown!r}"

    def type(self, text: str | bytes) -> None:
        os.write(self._own, text.encode() if isinstance(text, str) else text)
        if self._theirs is not None:  # to ask makes the kernel take the text now, with or without an echo as it is now
            select.select([self._theirs], [], [], 0)

    def answer(self, text: str | bytes, prompt: str = "Password for ") -> None:
        """Types this at the prompt for the password."""
        self.wait_for(prompt)
        deadline = time.monotonic() + PATIENCE
        while self.echoes:  # the prompt may be there a moment before the echo is off
            assert time.monotonic() < deadline
        self.type(text)

    def end(self) -> int:
        """The return code; what was shown until then is in `shown`."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self._read(min(deadline, time.monotonic() + 0.1))
            assert time.monotonic() < deadline, f"it did not end: {self.shown!r}"
        self._close_theirs()
        with suppress(OSError):  # the end; until then the kernel may be late with what it was given
            while self._read(deadline):
                pass
        assert "Traceback" not in self.shown
        return self.process.returncode

    def _read(self, deadline: float) -> bool:
        if not select.select([self._own], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        self.shown += os.read(self._own, 65536).decode("utf-8", "replace")
        return True
