"""Why a command ends without having done what it was asked. What becomes of that, main.py says."""

from __future__ import annotations


class Failure(Exception):
    """The command cannot do what it is asked. The text is one sentence for the administrator."""


class Misuse(Exception):
    """The command line must be corrected. The text is one sentence for the administrator."""
