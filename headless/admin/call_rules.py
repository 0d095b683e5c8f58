"""Checks the calls of planta_headless.py, whatever starts them: their options, when they start, who hears of their
end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from headless.admin import machine_rules, users
from headless.admin.calls import Call, CodeUse, Scheduler
from headless.admin.files import reason_of
from headless.admin.programs import base_name
from headless.admin.rules import Edit, Finding
from headless.admin.schedule import Timetable
from headless.admin.surroundings import is_behind, of_setting
from headless.errors import OptionMissing, ParameterError
from headless.options import DEFAULTS, NO_TIMEOUT, Answer, JobOptions, parse

_MAX_OTHERS = 20  # that a line is shown to meet
_HOUR = 3600.0  # seconds
_ALIKE = {**dict.fromkeys("\u201c\u201d\u201e", '"'), **dict.fromkeys("\u2018\u2019", "'")}
_DASH = re.compile("[\u2010-\u2015\u2212]")
_REPORTS = {"cronic"}  # prints the return code of a command that failed, and cron mails it


@dataclass(frozen=True)
class Checked:
    """Holds a call, its options if they are known, and what is wrong with it."""

    call: Call
    options: JobOptions | None
    findings: tuple[Finding, ...]


def check(call: Call) -> Checked:
    """Returns what is wrong with one call. Files are looked at with the rights of the user who runs it."""
    options, findings = options_of(call)
    try:
        with users.rights_of(call.entry.user):
            findings += machine_rules.check(call, options)
    except OSError as error:
        findings.append(call.finding("not-looked-at", reason=reason_of(error)))
    findings += _code_lost(call) if call.code_use is CodeUse.LOST else _unreported(call, options)
    if options is not None:
        for of_time in (_timeout, _never, _no_t, _t_too_long, _not_locked):
            findings += of_time(call, options)
    return Checked(call, options, tuple(findings))


def same_jobs(checked: Iterable[Checked]) -> Iterator[Finding]:
    """Yields each call that starts the same jobs at the same server in the same minute as others before it."""
    seen: dict[tuple[object, object], Timetable[str, Call]] = {}
    for each in checked:
        call, options, schedule = each.call, each.options, each.call.entry.schedule
        if options is None or schedule is None or not all(word.is_certain for word in call.options):
            continue
        timetable = seen.setdefault((options.jobs, options.service), Timetable())
        others = timetable.meeting(schedule, call.entry.position)  # in the same line one follows the other
        if others:
            places = (_seen_from(call, other) for other in others[:_MAX_OTHERS])
            more = f", and {len(others) - _MAX_OTHERS} more" if len(others) > _MAX_OTHERS else ""
            yield call.finding("twice", others=f"{', '.join(dict.fromkeys(places))}{more}")
        timetable.add(schedule, call.entry.position, call)


def _seen_from(call: Call, other: Call) -> str:
    file = other.entry.file
    return f"line {file.shown_line(other.offset)}" if file is call.entry.file else file.position(other.offset)


# -- options --


def options_of(call: Call) -> tuple[JobOptions | None, list[Finding]]:
    """Returns None if they are not known: that is no finding if only the shell knows a value."""
    alike = list(_look_alikes(call))
    try:
        return parse([word.text for word in call.options], call.environment), alike
    except Answer:
        return None, alike
    except ParameterError as error:
        if all(word.is_certain for word in call.options) and not alike:
            return None, [_wrong_options(call, error)]
        if alike or call.is_reported:
            return None, alike
        return None, [call.finding("not-checked", reason="only the shell knows all of its options")]


def _wrong_options(call: Call, error: ParameterError) -> Finding:
    if isinstance(error, OptionMissing):
        variable = DEFAULTS[error.option]
        if variable in call.unknown or call.entry.has_more_variables:
            return call.finding("options/unseen", problem=error, variable=variable)
    is_of_variable = str(error).startswith(tuple(DEFAULTS.values()))
    return call.finding("variable/default" if is_of_variable else "options", problem=error)


def _look_alikes(call: Call) -> Iterator[Finding]:
    """Finds dashes and quotes that a word processor has made."""
    for word in call.options:
        first, last = word.text[:1], word.text[-1:]
        dash = _DASH.match(word.text)
        plain = ("--" if len(word.text) > 2 else "-") if dash else _ALIKE.get(first) or _ALIKE.get(last)
        if plain:
            found = first if dash or first in _ALIKE else last
            at = word.begin if found == first else word.end - 1
            is_there = call.entry.file.content[at : at + 1] == found
            edits = (Edit(at, at + 1, plain),) if is_there else ()
            code = f"U+{ord(found):04X}"
            yield call.finding("look-alike", edits, word=word.text, code=code, plain=plain)


# -- who hears of the end --


def _code_lost(call: Call) -> Iterator[Finding]:
    yield call.finding("code-lost", because=call.lost_because)


def _unreported(call: Call, options: JobOptions | None) -> Iterator[Finding]:
    """Checks who hears of a failure: cron does nothing with a return code. Something has to be printed, and mailed, or
    there is a receipt."""
    starter = call.entry.starter
    is_by_cron = Scheduler.CRON in (call.entry.scheduler, starter and starter.entry.scheduler)
    if not is_by_cron or call.environment.get("PLANTA_RECEIPT"):
        return
    is_tested = CodeUse.TESTED in (call.code_use, starter and starter.code_use)
    is_printed = any(base_name(word.text) in _REPORTS for word in call.wrappers)
    is_silent = 1 not in call.heard or (not is_printed and options is not None and not options.verbosity)
    if not is_tested and not call.entry.is_mailed:
        yield of_setting(call, "unreported/mail", "MAILTO", value=call.entry.environment["MAILTO"])
    elif not is_tested and is_silent:
        yield call.finding("unreported")


# -- time --


def _timeout(call: Call, _options: JobOptions) -> Iterator[Finding]:
    yield from (call.finding("timeout") for word in call.wrappers if base_name(word.text) == "timeout")


def _never(call: Call, _options: JobOptions) -> Iterator[Finding]:
    schedule = call.entry.schedule if call.entry.scheduler is not Scheduler.SYSTEMD else None  # reported at its timer
    if schedule is not None and schedule.expressions and not schedule.starts(datetime.now(), 1):
        yield call.finding("never", text=schedule.text)


def _no_t(call: Call, options: JobOptions) -> Iterator[Finding]:
    if options.timeout == 0:
        is_given = any(re.match("-t|--t", word.text) for word in call.options)
        interval, script = _interval(call), call.script
        edits = (Edit(script.end, script.end, " -t -1"),) if call.is_plain(script) and not is_given else ()
        next_start = f", and the next start is {_shown(interval)} later" if interval else ""
        yield call.finding("no-t", edits, given="with -t 0" if is_given else "without -t", next_start=next_start)


def _t_too_long(call: Call, options: JobOptions) -> Iterator[Finding]:
    interval = _interval(call)
    if interval is not None and options.timeout not in (0, NO_TIMEOUT) and options.timeout >= interval:
        runs_beside = call.entry.scheduler in (Scheduler.CRON, Scheduler.SCRIPT)
        key = "t-too-long" if runs_beside else "t-too-long/skipped"
        yield call.finding(key, seconds=options.timeout, interval=_shown(interval))


def _not_locked(call: Call, options: JobOptions) -> Iterator[Finding]:
    """Checks what is started at least every hour. The other schedulers start nothing that still runs."""
    interval = _interval(call)
    if options.timeout == 0 or interval is None or interval > _HOUR:
        return
    is_locked = is_behind(call, lambda wrapper: wrapper.is_lock)
    if not is_locked and call.entry.scheduler in (Scheduler.CRON, Scheduler.SCRIPT):
        yield call.finding("not-locked", interval=_shown(interval))


def _interval(call: Call) -> float | None:
    """Returns the seconds to the next start, None if that is not known."""
    schedule = call.entry.schedule
    return schedule.shortest_interval() if schedule is not None else None


def _shown(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"
