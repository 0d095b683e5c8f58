"""How an error reaches the user: one line on stderr under the program's name, and the return code for it.

The command, the rehearsal and `headless` have it in common. What an error means is in outcome.py.
"""

from __future__ import annotations

from headless.outcome import explain
from headless.terminal import print_error


def report(program: str, error: Exception) -> int:
    """Writes what the error means, and returns its code. A signal, whose code is negative, needs no word."""
    code, text = explain(error)
    if code >= 0:
        print_error(program, text)
    return code
