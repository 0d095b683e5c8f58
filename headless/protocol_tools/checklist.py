"""The calls that are worth recording, and which of them a folder has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable

from headless.dialects.vocabulary import CHALLENGE, OSUSER, PY_CODE
from headless.protocol_tools.recordings import Folder, RecordedCall

_LONG_CODE = 65_536  # characters
_LONG_JOB = 150.0  # seconds: keep-alives come each minute


@dataclass(frozen=True)
class Wish:
    """Describes a call that is worth recording, `count` times, the same one if it `is_repeated`. `options` are those of
    the old client, and of `record` if there are any."""

    what: str
    options: str
    is_like: Callable[[RecordedCall, Folder], bool]
    count: int = 1
    record: str = ""
    is_repeated: bool = False
    on_windows: bool = True


def counted(folder: Folder) -> Iterator[tuple[Wish, int]]:
    """Yields each wish for this system, and how many calls of the folder it is fulfilled by. Raises CommandFailed."""
    calls = folder.calls() if folder.has_calls else []
    for wish in WISHES:
        if wish.on_windows or os.name != "nt":
            yield wish, _count(wish, calls, folder)


def _count(wish: Wish, calls: Sequence[RecordedCall], folder: Folder) -> int:
    like = [call for call in calls if call.connections and wish.is_like(call, folder)]
    if not wish.is_repeated:
        return len(like)
    return max(Counter(call.asked for call in like).values(), default=0)


def _has_login(login: str) -> Callable[[RecordedCall, Folder], bool]:
    return lambda call, _: call.login == login and call.timeout == -1 and call.code == 0


def _has_three_jobs(code: int) -> Callable[[RecordedCall, Folder], bool]:
    return lambda call, _: len(call.jobs) == 3 and call.timeout == -1 and call.code == code


def _fails(call: RecordedCall) -> bool:
    return call.timeout == -1 and (call.code == 1 or call.fails_untold)


def _prints(call: RecordedCall) -> bool:
    """Returns whether the jobs may print: of a module or a file that is not known."""
    return any(job.kind != PY_CODE or "print" in job.text for job in call.jobs)


def _is_long(call: RecordedCall, folder: Folder) -> bool:
    return any(piece.seconds > _LONG_JOB for name in call.connections for piece in folder.pieces(name))


def _has_text(text: str) -> Callable[[RecordedCall, Folder], bool]:
    return lambda call, _: any(all(each in job.text for each in text) for job in call.jobs)


CODE = "-t -1 -c 'print(42)'"
WISHES = (
    Wish("an osuser login, twice", f"-a osuser {CODE}", _has_login(OSUSER), count=2),
    Wish(
        "an osuser login with -u",
        f"-a osuser -u USER {CODE}",
        lambda call, _: call.login == OSUSER and bool(call.user) and call.timeout == -1 and call.code == 0,
    ),
    Wish("a challenge login, twice", f"-u USER -p SECRET {CODE}", _has_login(CHALLENGE), count=2),
    Wish(
        "a wrong password",
        f"-u USER -p WRONG {CODE}",
        lambda call, _: not call.is_password_right,
        record="--wrong-password --expect 2",
    ),
    Wish("three jobs", "-t -1 -c 'print(1)' -c 'print(2)' -c 'print(3)'", _has_three_jobs(0)),
    Wish(
        "three jobs, of which the second fails",
        "-t -1 -c 'print(1)' -c 'raise ValueError' -c 'print(3)'",
        lambda call, _: len(call.jobs) == 3 and _fails(call),
        record="--expect 1",
    ),
    Wish(
        "a job that prints, and fails, alone",
        r"-t -1 -c $'print(1)\nraise ValueError'",
        lambda call, _: len(call.jobs) == 1 and _prints(call) and call.label != "killed" and _fails(call),
        record="--expect 1",
    ),
    Wish(
        "a job that prints nothing",
        "-t -1 -c 'x = 1'",
        lambda call, _: len(call.jobs) == 1 and not _prints(call) and call.timeout == -1 and call.code == 0,
    ),
    Wish(
        "three jobs, of which the second is unknown",
        "-t -1 -c 'print(1)' -m XXXXXX -c 'print(3)'",
        _has_three_jobs(2),
        record="--expect 2",
    ),
    Wish(
        "umlaut, euro, markup and two lines",
        """-t -1 -c $'print("ä € <&")\\nprint(2)'""",
        _has_text("ä€<&\n"),
    ),
    Wish(
        "70 kB of code (not on Windows)",
        """-t -1 -c "$(printf 'x = 1\\n%.0s' $(seq 12000))\"""",
        lambda call, _: any(job.kind == PY_CODE and len(job.text) > _LONG_CODE for job in call.jobs),
        on_windows=False,
    ),
    Wish("the same call twice", CODE, lambda call, _: call.code == 0, count=2, is_repeated=True),
    Wish("no -t", "-c 'print(42)'", lambda call, _: call.timeout == 0 and call.code == 0),
    Wish("-t 1, with a longer job", "-t 1 -c 'import time; time.sleep(30)'", lambda call, _: call.code == 3),
    Wish("a job of 180 s", "-t -1 -c 'import time; time.sleep(180)'", _is_long),
    Wish(
        "the server killed in the middle of a job",
        "-t -1 -c 'import time; time.sleep(60)'",
        lambda call, _: call.label == "killed",
        record="--label killed --expect 1",
    ),
)
