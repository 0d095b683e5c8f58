"""python FOLDER/headless COMMAND, or python -m headless COMMAND. Only what has to be done before anything is imported;
even Python 2 can parse it, to say which Python is needed."""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))

# The first place where modules are looked for is this folder, or with -m the one in which the process was started:
# a file there would be taken for a module of Python's. The package itself is found without it.
if not __package__:
    sys.path[0] = os.path.dirname(FOLDER)
    import headless  # noqa: F401
if not (__package__ and getattr(sys.flags, "safe_path", False)):
    del sys.path[0]

try:
    import _signal as signal  # type: ignore[import-not-found]  # built in: `signal` itself is read from files, and Ctrl-C may come meanwhile
except ImportError:
    import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process by the signal, not by a traceback

from headless.cli import run_tools  # noqa: E402

if __name__ == "__main__":
    run_tools()
