"""What an account may run: the limits that an administrator gives it, and whether a job keeps to them.

Everything here is pure: no disk, no database. Where the limits are stored is in accounts.py, and how they are set in
commands/user_limit.py. The limits of the whole server (sizes, times, numbers) do not belong here.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from headless.dialects.vocabulary import MODULE, PY_CODE, Job
from headless.terminal import shorten

_MAX_QUOTED_LENGTH = 200  # characters of what a caller has sent, and of a list of folders, in a refusal


class Limits(NamedTuple):
    """What an account may run.

    modules         IDs, and patterns with `*`, which stands for any characters; None is every module
    folders         paths below the folder for files, without `.` and `..`, with `/` between; None is every file
    code            whether it may send code, which can do what any file and module can do
    one_at_a_time   whether a session is refused as long as one with the same jobs waits or runs
    """

    modules: tuple[str, ...] | None = None
    folders: tuple[str, ...] | None = None
    code: bool = True
    one_at_a_time: bool = False

    def refuses(self, job: Job, path: str = "") -> str:
        """What the account may not do, if this job is that; "" for a job that it may run.

        `path` is that of the file of a PY_FILE job, relative to the folder for files, with `/` between, and with all
        links followed. Without it such a job is refused, unless the account may run every file.
        """
        if job.kind == PY_CODE:
            return "" if self.code else "run code"
        if job.kind == MODULE:
            return self._refuses_module(job.text)
        return self._refuses_file(path)

    def _refuses_module(self, module: str) -> str:
        if self.modules is None or any(_matches(module, pattern) for pattern in self.modules):
            return ""
        return f"run the module {shorten(module, _MAX_QUOTED_LENGTH)!r}" if self.modules else "run modules"

    def _refuses_file(self, path: str) -> str:
        if self.folders is None or any(path.startswith(f"{folder}/") for folder in self.folders):
            return ""
        folders = shorten(", ".join(map(repr, self.folders)), _MAX_QUOTED_LENGTH)
        return f"run files outside of {folders}" if folders else "run files"


UNLIMITED = Limits()
NOTHING = Limits((), (), code=False)


def to_json(limits: Limits | None) -> str | None:
    """How limits are stored. None, and limits that forbid nothing, are None."""
    return None if limits in (None, UNLIMITED) else json.dumps(limits._asdict())


def from_json(text: str | None) -> Limits | None:
    """The limits that are stored so. What nobody can read is believed to forbid everything."""
    if text is None:
        return None
    try:
        stored = json.loads(text)
        lists = _tuple(stored.pop("modules")), _tuple(stored.pop("folders"))
        limits = Limits(*lists, stored.pop("code"), stored.pop("one_at_a_time", False))  # which is younger
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return NOTHING
    are_bool = isinstance(limits.code, bool) and isinstance(limits.one_at_a_time, bool)
    return limits if not stored and are_bool else NOTHING


def _tuple(stored: Any) -> tuple[str, ...] | None:
    if stored is None:
        return None
    if not isinstance(stored, list) or not all(isinstance(each, str) for each in stored):
        raise TypeError("neither null nor a list of texts")
    return tuple(stored)


def _matches(text: str, pattern: str) -> bool:
    """Whether the text fits the pattern. It takes time in proportion to the text, which a caller has sent."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
