"""monitor --crontab: did each call end well as often as its schedule says? Also as metrics for Prometheus."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from headless.admin.known import Known
from headless.admin.monitor_verdict import Execution, Level, Stage, Verdict, judge
from headless.admin.night_runs import first_known, runs_of, usual_seconds
from headless.admin.plan import PlannedCall, read_plan
from headless.admin.runs import Outcome, Run
from headless.dialects.vocabulary import FAILED, OK, QUEUED, RUNNING
from headless.errors import CommandFailed
from headless.server.commands.arguments import existing_home
from headless.server.listing import UNKNOWN
from headless.system import replace_file, strerror_of
from headless.terminal import escape_control_chars

_LOOK_BACK = 31 * 86400.0  # seconds, at least
_TIMES_USUAL = 2.0  # the median, which a call may take beyond the gap of its schedule
_METRICS = {  # node_exporter, "Textfile Collector"; names by Prometheus, "Metric and label naming"
    "start_time_seconds": "When the last run began, in seconds since the epoch.",
    "end_time_seconds": "When the last run that is over ended.",
    "success_time_seconds": "When the last run that ended well did.",
    "duration_seconds": "How long the jobs of the last run that is over ran.",
    "return_code": "The return code of the last call that is over, as a shell sees it.",
}


def verdicts(arguments: argparse.Namespace, now: float) -> list[Verdict]:
    """Returns one for each call, and one for each thing that cannot be looked at. Writes the metrics, if they are asked
    for. Raises HeadlessError, OSError."""
    problems: list[str] = []
    plan = read_plan(arguments.crontab or (), arguments.crontab_user, problems)
    if not (plan or problems):
        raise CommandFailed("no call of planta_headless.py is planned there")
    gaps = [call.schedule.longest_interval() or 0.0 for call in plan]
    runs = _runs(arguments, now - max([_LOOK_BACK, *(2 * gap for gap in gaps)]), problems)
    begin = first_known(runs)
    if begin is None:
        raise CommandFailed("nothing is known of a call on this machine: is PLANTA_RECEIPT set where the jobs are?")
    found = list(runs_of(plan, runs))
    judged = [_judged(call, own, begin, now) for call, own in found]
    if arguments.prometheus:
        try:
            replace_file(arguments.prometheus, metrics(found).encode("utf-8"))
        except (OSError, ValueError) as error:
            problems.append(f"{arguments.prometheus!r} cannot be written: {strerror_of(error)}")
    return judged + [Verdict(Level.UNKNOWN, problem) for problem in problems]


def _runs(arguments: argparse.Namespace, since: float, problems: list[str]) -> list[Run]:
    """Returns those that are known, in the order in which they ended. Raises HeadlessError."""
    known = Known(since, problems)
    if arguments.receipts:
        known.read_receipts(arguments.receipts)
    else:
        try:
            known.read_home(existing_home(arguments))
        except (OSError, sqlite3.Error) as error:
            raise CommandFailed(f"the home {arguments.home!r} cannot be read: {strerror_of(error)}") from None
    return sorted(known.runs(), key=lambda run: run.ended or run.begun)


def _judged(call: PlannedCall, runs: Sequence[Run], begin: float, now: float) -> Verdict:
    """Returns the verdict on a call, of which something could be known since `begin`."""
    usual = max(usual_seconds(runs).values(), default=0.0) * _TIMES_USUAL
    gap = call.schedule.longest_interval()
    if not runs and not call.starts(begin, now - usual):
        return Verdict(Level.OK, f"{call.title} was not due yet")
    return judge(call.title, map(_execution, runs), now if gap is None else gap + usual, now)


def _execution(run: Run) -> Execution:
    begun = run.started or run.accepted or run.begun
    if run.outcome is Outcome.STILL_RUNS:
        return Execution(Stage.STILL_RUNS, begun, QUEUED if run.started is None and run.in_journal else RUNNING)
    if run.outcome is Outcome.NOT_KNOWN and run.exit_status is not None:
        return Execution(Stage.NOT_FOLLOWED, run.accepted or begun)
    state = {Outcome.WELL: OK, Outcome.FAILED: FAILED}.get(run.outcome, UNKNOWN)
    return Execution(Stage.OVER, run.ended or begun, state, run.reason, run.seconds)


# -- metrics --


def metrics(found: Iterable[tuple[PlannedCall, Sequence[Run]]]) -> str:
    """Returns the text for Prometheus: of each call what is known of its last run."""
    values = {_labels(call): dict(_values(runs)) for call, runs in found}
    lines = []
    for name, text in _METRICS.items():
        full = f"planta_headless_last_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} gauge"]
        lines += [f"{full}{{{labels}}} {each[name]}" for labels, each in values.items() if name in each]
    return "".join(f"{line}\n" for line in lines)


def _labels(call: PlannedCall) -> str:
    """Returns what names the call, and no other one. "job" would be taken for a label of Prometheus itself."""
    texts = {"call": call.title, "os_user": call.os_user, "user": call.user, "server": call.server}
    return ",".join(f'{name}="{_escaped(text)}"' for name, text in texts.items())


def _escaped(text: str) -> str:
    """Returns the value of a label (Prometheus, "Text-based format")."""
    return escape_control_chars(text).replace("\\", "\\\\").replace('"', '\\"')


def _values(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    if runs:
        yield "start_time_seconds", f"{max(run.begun for run in runs):.3f}"
    well = [run for run in runs if run.outcome is Outcome.WELL and run.ended is not None]
    if well:
        yield "success_time_seconds", f"{well[-1].ended:.3f}"
    over = [run for run in runs if run.outcome in (Outcome.WELL, Outcome.FAILED) and run.ended is not None]
    if over:
        yield "end_time_seconds", f"{over[-1].ended:.3f}"
    if over and over[-1].seconds is not None:
        yield "duration_seconds", f"{over[-1].seconds:.3f}"
    codes = [run.exit_status for run in runs if run.exit_status is not None]
    if codes:
        yield "return_code", str(codes[-1])
