"""Commands as processes of their own: planta_headless.py, and `headless`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.credentials import HASH
from support.fork_server import start

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "planta_headless.py"
# Seconds after which a test gives up on a process: far more than any needs. Under Wine, beside other work, one that needs 3
# seconds has needed more than 20.
PATIENCE = 20 if os.name == "posix" else 60
# What ends the command by a signal. Windows has no SIGHUP.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class Command:
    """planta_headless.py in a process of its own, as cron starts it: no terminal, nothing on standard input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *argv: str | bytes, **options: Any) -> subprocess.Popen[str]:
        defaults: dict[str, Any] = {
            "cwd": self.folder,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "surrogateescape",
        }
        return start([str(SCRIPT), *argv], **{**defaults, **options})

    def __call__(self, *argv: str | bytes, **options: Any) -> subprocess.CompletedProcess[str]:
        return _end_of(self.start(*argv, **options))

    def secret_file(self, content: str = HASH + "\n", mode: int = 0o400, name: str = "secret") -> str:
        """A password file in the test's folder."""
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)
        return str(path)


def manage(*argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """`headless ...`, with the checkout's package."""
    defaults: dict[str, Any] = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    text = options.pop("input", None)
    defaults["stdin"] = subprocess.DEVNULL if text is None else subprocess.PIPE
    done = _end_of(start([str(ROOT / "headless"), *argv], **{**defaults, **options}), text)
    assert not check or done.returncode == 0, done.stderr
    return done


def _end_of(started: subprocess.Popen[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    with started as process:
        try:
            stdout, stderr = process.communicate(text, PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "Traceback" not in (stdout or "") + (stderr or "")
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def current_user() -> str:
    """Who runs the tests, as the system knows it."""
    if sys.platform == "win32":
        return os.getlogin()
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def other_user() -> str:
    """Anybody else on this machine."""
    if sys.platform == "win32":
        return "SYSTEM"
    import pwd

    return next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != os.geteuid())
