"""The calls that are worth recording, and which of them a folder has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headless.dialects.vocabulary import CHALLENGE, OSUSER, PY_CODE
from headless.protocol_tools.recordings import Folder, RecordedCall

_LONG_CODE = 65_536  # characters
_LONG_JOB = 150.0  # seconds: keep-alives come each minute


@dataclass(frozen=True)
class Wish:
    """Describes a call that is worth recording, `count` times. `options` are those of the old client, and of `record`
    if there are any."""

    what: str
    options: str
    is_like: Callable[[RecordedCall, Folder], bool]
    count: int = 1
    record: str = ""


def print_checklist(folder: Folder) -> int:
    """Prints it, and returns 0 if nothing is missing, else 1. Raises CommandFailed."""
    calls = folder.calls() if folder.has_calls else []
    missing = 0
    for wish in WISHES:
        found = sum(wish.is_like(call, folder) for call in calls)
        missing += found < wish.count
        times = f" ({found} of {wish.count})" if wish.count > 1 else ""
        print(f"[{'x' if found >= wish.count else ' '}] {wish.what}{times}")
        if found < wish.count:
            own = f" {wish.record}" if wish.record else ""
            print(f"      headless protocol record --to HOST:PORT --talk {folder.path}{own} -- OLD {wish.options}")
    print(
        f"{len(calls)} calls are recorded. OLD is the old client with its Python, -s and login, HOST:PORT your server."
    )
    return 1 if missing else 0


def _has_login(login: str) -> Callable[[RecordedCall, Folder], bool]:
    return lambda call, _: call.login == login and call.is_password_right and call.status == 0 and call.timeout == -1


def _is_long(call: RecordedCall, folder: Folder) -> bool:
    return any(piece.seconds > _LONG_JOB for name in call.connections for piece in folder.pieces(name))


def _has_text(text: str) -> Callable[[RecordedCall, Folder], bool]:
    return lambda call, _: any(all(each in job.text for each in text) for job in call.jobs)


CODE = "-t -1 -c 'print(42)'"
WISHES = (
    Wish("an osuser login, twice", f"-a osuser {CODE}", _has_login(OSUSER), count=2),
    Wish("a challenge login, twice", f"-u USER -p SECRET {CODE}", _has_login(CHALLENGE), count=2),
    Wish(
        "a wrong password",
        f"-u USER -p WRONG {CODE}",
        lambda call, _: not call.is_password_right,
        record="--wrong-password --expect 2",
    ),
    Wish(
        "three jobs",
        "-t -1 -c 'print(1)' -c 'print(2)' -c 'print(3)'",
        lambda call, _: len(call.jobs) == 3 and call.expected in (0, None) and call.status == 0,
    ),
    Wish(
        "three jobs, of which the second fails",
        "-t -1 -c 'print(1)' -c 'raise ValueError' -c 'print(3)'",
        lambda call, _: len(call.jobs) == 3 and call.expected == 1,
        record="--expect 1",
    ),
    Wish(
        "three jobs, of which the second is unknown",
        "-t -1 -c 'print(1)' -m XXXXXX -c 'print(3)'",
        lambda call, _: len(call.jobs) == 3 and call.expected == 2,
        record="--expect 2",
    ),
    Wish(
        "umlaut, euro, markup and two lines",
        """-t -1 -c $'print("ä € <&")\\nprint(2)'""",
        _has_text("ä€<&\n"),
    ),
    Wish(
        "70 kB of code (not on Windows)",
        """-t -1 -c "$(printf 'x = 1\\n%.0s' $(seq 12000))" """.rstrip(),
        lambda call, _: any(job.kind == PY_CODE and len(job.text) > _LONG_CODE for job in call.jobs),
    ),
    Wish("the same call twice", CODE, lambda call, _: call.jobs != () and call.status == 0, count=2),
    Wish("no -t", "-c 'print(42)'", lambda call, _: call.timeout == 0 and call.status == 0),
    Wish("-t 1, with a longer job", "-t 1 -c 'import time; time.sleep(30)'", lambda call, _: call.status == 3),
    Wish("a job of 180 s", "-t -1 -c 'import time; time.sleep(180)'", _is_long),
    Wish(
        "the server killed in the middle of a job",
        "-t -1 -c 'import time; time.sleep(60)'",
        lambda call, _: call.label == "killed",
        record="--label killed --expect 1",
    ),
)
