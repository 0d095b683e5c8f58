"""python FOLDER/headless COMMAND, or python -m headless COMMAND. Only what has to be done before anything is imported;
even Python 2 can parse it, to say which Python is needed."""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))

# The first place where modules are looked for is this folder, or with -m the one in which the process was started:
# whatever stands there would be taken for a module of Python's. The package itself is found without it.
if not __package__:
    sys.path[0] = os.path.dirname(FOLDER)
    import headless  # noqa: F401
if not (__package__ and getattr(sys.flags, "safe_path", False)):
    del sys.path[0]

from headless.commands import run  # noqa: E402

if __name__ == "__main__":
    run()
