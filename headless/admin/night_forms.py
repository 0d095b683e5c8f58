"""Shows a night: as a page of HTML without any script or address, and as text for a mail.

Whatever is shown may come from strangers. It is escaped as one line of plain text, and by Jinja2 again for HTML.
"""

from __future__ import annotations

import math
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from headless.admin.night_runs import Item, Night, Row, duration
from headless.admin.runs import Outcome, Run
from headless.errors import OK, CommandFailed
from headless.system import replace_file, strerror_of
from headless.terminal import escape_control_chars, shorten

_TEMPLATE = Path(__file__).with_name("night.html")
_MEANINGS = {
    0: "accepted, or ended well",
    1: "the connection, the session or a job failed",
    2: "something must be corrected: options, password file, login, job, library",
    3: "the jobs were accepted, and -t was over",
}
_MAX_TEXT = 300  # characters of a name or a reason
_MAX_RUNS = 1000  # that a table lists
_MAX_BARS = 200  # of a row
_LEAST_WIDTH = 0.4  # per cent, of a bar that can be seen
_SIGNS = {"failed": "✕", "not_known": "?", "still_runs": "…"}
_DAY = 86400
_LAST_SIGN = 96  # per cent, where one has room behind a bar
_LEAST_WAIT = 0.5  # seconds for a worker that are worth a word
_LABELS = 14  # of the hours, at most


# -- what both forms say --


def summary(night: Night) -> str:
    """Returns the sentence that counts."""
    counts = ", ".join(text for text, _ in _counts(night))
    return f"{counts}." if counts else "No call is known."


def _counts(night: Night) -> Iterator[tuple[str, Outcome]]:
    """Yields the parts of the sentence."""
    for outcome in (Outcome.WELL, *list(Outcome)[:-1]):
        number = night.count(outcome)
        if number:
            verb = "still run" if outcome is Outcome.STILL_RUNS and number > 1 else outcome.value
            yield f"{number} {verb}", outcome


def meaning(exit_status: int) -> str:
    """Returns what a return code says, as a shell sees it."""
    if exit_status > 128:
        return f"a signal ({exit_status - 128}) has ended the call"
    return _MEANINGS.get(exit_status, "no code of the command")


def not_well(night: Night) -> list[list[Item]]:
    """Returns the worst first. What happened to one call in the same way, and leads on in the same way, is together."""
    order = list(Outcome)
    together: dict[object, list[Item]] = {}
    for item in night.items:
        run = item.run
        if run.outcome is not Outcome.WELL:
            command = "" if run.outcome is Outcome.MISSING else item.command
            together.setdefault((run.identity, run.outcome, run.reason, command), []).append(item)
    return sorted(together.values(), key=lambda own: order.index(own[0].run.outcome))


def odd(night: Night) -> list[Item]:
    """Returns those that are well or still run, and about which there is something to say."""
    return [item for item in night.items if item.notes]


def _details(items: Sequence[Item]) -> Iterator[tuple[str, str]]:
    """Yields what is said about runs that are not well, in the same way: a word, and a text."""
    run = items[0].run
    yield "times", f"{len(items)}, the last one {_local(items[-1].run.begun)}" if len(items) > 1 else ""
    yield "why", run.reason
    yield "stderr", run.stderr
    if run.exit_status not in (None, OK):
        yield "code", f"{run.exit_status}: {meaning(run.exit_status or 0)}"
    yield "next", items[0].command


def _lists(night: Night) -> Iterator[tuple[str, list[str]]]:
    """Yields titles, and what is said below them of no single run."""
    refused = (
        f"{each.user} from {each.host or '?'}: {each.reason}; times: {each.times}, the last one: {_local(each.last)}"
        for each in night.refused
    )
    gaps = (f"{_local(begin)} to {_local(end)}" for begin, end in night.without_server)
    for title, texts in (
        ("Could not be looked at", night.problems),
        ("No server was seen", gaps),
        ("Refused logins", refused),
    ):
        found = list(texts)
        if found:
            yield title, found


def _who(run: Run) -> str:
    """Returns who has called from where, and the login."""
    login = f"{run.user} at {run.server}" if run.server else run.user
    return f"{run.os_user or '?'}@{run.host or '?'}, {login}"


def _local(moment: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return time.strftime(form, time.localtime(moment))


def _times(row: Row, run: Run) -> tuple[str, str, str]:
    """Returns how long it has waited, how long it ran, and how long that takes usually."""
    waited = run.started - run.accepted if run.started and run.accepted else 0.0
    ran, usual = ("" if each is None else duration(each) for each in (run.seconds, row.usual))
    return duration(waited) if waited > _LEAST_WAIT else "", ran, usual


def _plain(text: str) -> str:
    return escape_control_chars(shorten(text, _MAX_TEXT))


# -- text --


def as_text(night: Night) -> str:
    """Returns the same for a mail, in ASCII but for names."""
    lines = [f"{_local(night.since)} to {_local(night.until, '%Y-%m-%d %H:%M:%S %Z')}", "", summary(night)]
    entries = [("Not well", items[0].run, _details(items)) for items in not_well(night)]
    entries += [("Odd", item.run, (("note", note) for note in item.notes)) for item in odd(night)]
    for title, group in groupby(entries, key=lambda each: each[0]):
        lines += ["", title]
        for _, run, details in group:
            lines.append(f"  {run.outcome.value:10}  {_local(run.begun)}  {_plain(run.title)}  ({_plain(_who(run))})")
            lines += [f"    {word}: {_plain(text)}" for word, text in details if text]
    for title, texts in _lists(night):
        lines += ["", title, *(f"  {text}" for text in texts)]
    lines += ["", f"  {'start':19}  {'waited':>10}  {'ran':>10}  {'median':>10}  result"]
    for row in night.rows:
        for run in (item.run for item in row.items if item.run.outcome is not Outcome.MISSING):
            times = "  ".join(f"{each:>10}" for each in _times(row, run))
            lines.append(f"  {_local(run.begun)}  {times}  {run.outcome.value:10}  {_plain(run.title)}")
    return "".join(f"{escape_control_chars(line)}\n" for line in lines)


# -- the page --


def write(path: str, night: Night) -> None:
    """Writes the page in the place of this file, whole or not at all. Raises CommandFailed, ImportError."""
    page = as_page(night).encode("utf-8", "backslashreplace")
    try:
        replace_file(path, page)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{path!r} cannot be written: {strerror_of(error)}") from None


def as_page(night: Night) -> str:
    """Returns the page. Raises ImportError without Jinja2."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: _plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(_values(night))


def _values(night: Night) -> dict[str, Any]:
    scale = _Scale(night.since, night.until)
    titles = Counter(row.items[-1].run.title for row in night.rows)
    items = [(row, item) for row in night.rows for item in row.items]
    listed = sorted(items, key=lambda each: (each[1].run.outcome is Outcome.WELL, -each[1].run.begun))[:_MAX_RUNS]
    return {
        "host": socket.gethostname(),
        "since": _local(night.since, "%a %Y-%m-%d %H:%M"),
        "until": _local(night.until, "%a %Y-%m-%d %H:%M %Z"),
        "summary": summary(night),
        "counts": list(_counts(night)),
        "lists": list(_lists(night)),
        "not_well": [
            (items[0].run, _when(items[0].run, night), _who(items[0].run), list(_details(items)))
            for items in not_well(night)
        ],
        "odd": [(item.run, _when(item.run, night), item.notes) for item in odd(night)],
        "hours": scale.hours(),
        "without_server": [(*scale.bar(*each), _local(each[0]), _local(each[1])) for each in night.without_server],
        "rows": [_row(row, scale, night, titles) for row in night.rows],
        "runs": [
            (item.run, _when(item.run, night), _times(row, item.run), _who(item.run), "; ".join(item.notes))
            for row, item in sorted(listed, key=lambda each: each[1].run.begun)
        ],
        "left_out": len(items) - len(listed),
    }


def _when(run: Run, night: Night) -> str:
    """Returns the local time, with its day if the night is longer than one."""
    return _local(run.begun, "%H:%M:%S" if night.until - night.since < 86400 else "%Y-%m-%d %H:%M:%S")


class _Scale:
    """Says where a moment is on the way from the left to the right, in per cent."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin, self._end = begin, end

    def at(self, moment: float) -> float:
        return round(min(100.0, max(0.0, (moment - self._begin) / (self._end - self._begin) * 100)), 2)

    def bar(self, begin: float, end: float) -> tuple[float, float]:
        """Returns where it begins, and a width that can be seen."""
        width = max(_LEAST_WIDTH, self.at(end) - self.at(begin))
        return round(min(self.at(begin), 100 - width), 2), round(width, 2)

    def hours(self) -> list[tuple[float, str]]:
        """Returns where full hours of the local time are, or fewer or more, and their names."""
        step = next(each for each in _STEPS if (self._end - self._begin) / each <= _LABELS)
        form = "%H:%M" if step < _DAY else "%m-%d"
        midnight = datetime.fromtimestamp(self._begin).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        first = math.floor((self._begin - midnight) / step) + 1
        marks = (midnight + step * number for number in range(first, first + _LABELS + 1))
        return [(self.at(mark), _local(mark, form)) for mark in marks if mark < self._end]


_STEPS = (60, 300, 900, 3600, 7200, 14400, 43200, *(_DAY * 2**each for each in range(20)))  # seconds


def _row(row: Row, scale: _Scale, night: Night, titles: Counter[str]) -> dict[str, Any]:
    last = row.items[-1].run
    worst = min((item.run.outcome for item in row.items), key=list(Outcome).index)
    wells = sum(item.run.outcome is Outcome.WELL for item in row.items)
    number = f"{wells} of {len(row.items)} well" if len(row.items) > 1 else ""
    says = worst.value if worst is not Outcome.WELL else _times(row, last)[1]
    spoken = "; ".join(f"{_when(item.run, night)} {item.run.outcome.value}" for item in row.items[:_MAX_BARS])
    return {
        "title": f"{last.title} ({_who(last)})" if titles[last.title] > 1 else last.title,
        "who": _who(last),
        "worst": worst,
        "says": number or says,
        "is_odd": any(item.notes for item in row.items),
        "spoken": spoken,
        "starts": sorted({scale.at(start) for start in row.starts}),
        "bars": list(_bars(row, scale)),
    }


def _bars(row: Row, scale: _Scale) -> Iterator[_Bar]:
    """Yields the rectangles. Of very many runs, those that are well are one."""
    items: Sequence[Item] = row.items
    if len(items) > _MAX_BARS:
        ends = [item.run.ended or item.run.begun for item in items]
        yield _Bar("well", *scale.bar(items[0].run.begun, max(ends)), f"{len(items)} runs")
        items = [item for item in items if item.run.outcome is not Outcome.WELL or item.notes]
    for item in items:
        run, (waited, ran, usual) = item.run, _times(row, item.run)
        begun = run.started or run.accepted or run.begun
        if waited and run.accepted is not None:
            yield _Bar("wait", *scale.bar(run.accepted, begun), f"waited {waited}")
        says = [f"{_local(begun)} {run.outcome.value}", ran and f"ran {ran}", usual and f"median {usual}", *item.notes]
        end = scale.at(begun + (row.usual or 0.0))
        is_shown = run.outcome is not Outcome.MISSING and end - scale.at(begun) > _LEAST_WIDTH
        yield _Bar(
            run.outcome.name.lower(),
            *scale.bar(begun, run.ended or begun),
            ", ".join(filter(None, says)),
            end if is_shown else None,
            item.overlaps,
        )


class _Bar(NamedTuple):
    """Holds a rectangle of the timeline: where it begins and how wide it is, in per cent; where its median would end;
    what it says to who points at it."""

    kind: str
    x: float
    width: float
    says: str
    usual: float | None = None
    overlaps: bool = False

    @property
    def sign(self) -> str:
        """Says the same as the colour."""
        return _SIGNS.get(self.kind, "")

    @property
    def sign_at(self) -> float:
        """Is behind the bar and its median, or before the bar where there is no room."""
        end = max(self.x + self.width, self.usual or 0.0)
        return end if end < _LAST_SIGN else self.x
