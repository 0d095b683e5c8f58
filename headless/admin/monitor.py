"""monitor: did jobs end well lately? One line and an exit status, as Nagios expects them of a plugin."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from typing import NoReturn

from headless.admin import monitor_jobs
from headless.admin.monitor_verdict import Level, Verdict, judge
from headless.arguments import Parser
from headless.errors import ParameterError, explain
from headless.system import seconds_of
from headless.terminal import escape_control_chars, print_answer, shorten

_MAX_TEXT = 400  # characters, of all jobs;
_MIN_TEXT = 80  # and of each one
_MAX_LABEL = 40  # characters


class _Parser(Parser):
    """Makes a mistake in the options an UNKNOWN, in the one line that the monitor shows: no job has made it."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str]) -> int:
    """Returns 0 if each job ended well, 1 if one still runs or its end is not known, 2 if one failed or is missing, 3
    if that cannot be found out: the worst of all counts. Raises SystemExit for --help."""
    try:
        arguments = _parser().parse_args(argv)
        now = time.time()
        level, text, figures = (_of_jobs if arguments.job else _of_plan)(arguments, now)
    except Exception as error:
        level, text, figures = Level.UNKNOWN, _plain(explain(error)[1], _MAX_TEXT), ""
    print_answer(f"PLANTA {level.name}: {text}{figures}\n")
    return level


def _of_jobs(arguments: argparse.Namespace, now: float) -> tuple[Level, str, str]:
    """Returns the level, the text and the figures. Raises ParameterError, CommandFailed."""
    if arguments.within is None or arguments.prometheus or arguments.crontab_user:
        raise ParameterError("--job needs --within, and neither --prometheus nor --as (see headless monitor --help)")
    jobs = list(dict.fromkeys(arguments.job))
    found = monitor_jobs.executions(arguments, now)
    verdicts = {job: judge(job, (each for each in found if each.job == job), arguments.within, now) for job in jobs}
    return (*_summary(list(verdicts.values())), _figures(verdicts, arguments.within))


def _of_plan(arguments: argparse.Namespace, now: float) -> tuple[Level, str, str]:
    """Does the same for all calls of crontabs, without figures: there may be hundreds. Raises HeadlessError."""
    if arguments.within is not None or arguments.user:
        raise ParameterError("--within and --user belong to --job (see headless monitor --help)")
    from headless.admin import monitor_plan  # which needs the extra [admin]

    verdicts = monitor_plan.verdicts(arguments, now)
    wrong = [each for each in verdicts if each.level is not Level.OK]
    well = f"{len(verdicts) - len(wrong)} of {len(verdicts)} calls are as planned"
    if not wrong:
        return Level.OK, well, ""
    level, text = _summary(wrong)
    return level, f"{shorten(text, _MAX_TEXT)}; {well}", ""


def _parser() -> _Parser:
    parser = _Parser(
        prog="headless monitor",
        description="Did jobs end well lately? One line, and an exit status as Nagios has them: 0 yes; 1 one still"
        " runs, or its end is not known; 2 no, or one never started; 3 that cannot be found out.",
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "--job",
        action="append",
        metavar="JOB",
        type=_name,
        help="the value of -m, -f or -c of the job; or of code the sha256 in its receipts, the title in its journal; "
        "again for another job: the worst counts",
    )
    subject.add_argument(
        "--crontab",
        action="append",
        type=_name,
        metavar="FILE",
        help="all calls of this crontab: each within the longest gap of its schedule and twice its median; again",
    )
    subject.add_argument("--system", action="store_true", help="all calls of the crontabs and units of this machine")
    parser.add_argument(
        "--as", dest="crontab_user", metavar="USER", help="whose crontab a FILE is (default: its owner)"
    )
    parser.add_argument(
        "--within", type=_duration, metavar="TIME", help="how long ago a JOB may have ended well: 90m, 26h or 8d"
    )
    parser.add_argument(
        "--prometheus",
        metavar="FILE.prom",
        help="with --crontab or --system: write start, end, success, runtime and code of each call for node_exporter",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--home", metavar="DIR", help="the folder of a job server")
    source.add_argument(
        "--receipts",
        action="append",
        type=_name,
        metavar="FILE|DIR",
        help="file or folder of PLANTA_RECEIPT; again for a rotated file, which may be compressed (gzip) or missing",
    )
    parser.add_argument("--user", metavar="USER", help="only the jobs of this user")
    return parser


def _name(text: str) -> str:
    if not text:  # of a variable that is not set: it would be a job that never ran
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _duration(text: str) -> float:
    """Returns seconds."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


# -- the line --


def _summary(verdicts: list[Verdict]) -> tuple[Level, str]:
    """Returns the worst level, and the texts of all jobs, the worst one first."""
    worst_first = sorted(verdicts, key=lambda verdict: -verdict.level.severity)
    room = max(_MIN_TEXT, _MAX_TEXT // len(verdicts))
    return worst_first[0].level, "; ".join(_plain(verdict.text, room) for verdict in worst_first)


def _plain(text: str, room: int) -> str:
    """Returns one line; what follows a | would be taken for figures."""
    return shorten(escape_control_chars(text.replace("|", "/")), room)


def _figures(verdicts: dict[str, Verdict], within: float) -> str:
    """Returns performance data: label=value, unit; warning;critical;minimum. Of several jobs the label has the name."""
    figures = {}
    for number, (job, verdict) in enumerate(verdicts.items(), 1):
        prefix = ""
        if len(verdicts) > 1:
            prefix = re.sub(r"[^\w.:/-]+", "_", job, flags=re.ASCII)[:_MAX_LABEL] + "_"
            prefix = f"{prefix}{number}_" if f"{prefix}age" in figures else prefix
        figures[f"{prefix}age"] = "U" if verdict.age is None else f"{verdict.age:.0f}s;;{within:.0f};0"
        figures[f"{prefix}runtime"] = "U" if verdict.runtime is None else f"{verdict.runtime:.3f}s;;;0"
    known = [f"{label}={value}" for label, value in figures.items() if value != "U"]
    return f" | {' '.join(known)}" if known else ""
