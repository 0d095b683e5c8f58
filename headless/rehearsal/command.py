"""One rehearsal, from its command line to its exit status.

The login is by a secret that is made for the call, whatever login the command line asks for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing

from headless import password_file
from headless.client import call
from headless.client.output import Console
from headless.client.waiting import Waiter
from headless.dialects import bcrypt_hash
from headless.dialects.base import Accepted, Event
from headless.dialects.vocabulary import FAILED, MODULE, PY_CODE, Job
from headless.errors import OK, TIMED_OUT, ParameterError, SessionError
from headless.options import DEFAULTS, NO_TIMEOUT, Answer, ChallengeLogin, JobOptions, WaitOptions
from headless.options import parse as parse_command_line
from headless.rehearsal.options import (
    FLAGS,
    PROGRAM,
    WITH_VALUE,
    OuterRehearsal,
    OwnOptions,
    environment,
    outer_rehearsal,
    parse,
)
from headless.rehearsal.server import ask_to_end, find_files, running_server, runs_as, temporary_folder
from headless.server.accounts import COST, Account, Accounts, keys_from_hash
from headless.server.home import MODULE_ID, Home
from headless.server.journal import Journal, Selection
from headless.terminal import print_answer, print_note, report, shorten

# For a command line that was typed without one; every service is replaced. One of a crontab or of a job is as it is.
_ANY_SERVICE = ("-s", "127.0.0.1:1")
_MAX_REASON = 200  # characters of the reason for which a job failed
_MODULE_CODE = "print('module {0}')\n"  # in one piece: a reader may be quicker than a second one


def main(argv: Sequence[str], is_inside: bool = False) -> int:
    """Returns what the command returns for this command line, on a server of its own in the place of `-s`. `is_inside`
    means that the own options are those of the rehearsal around."""
    try:
        outer = outer_rehearsal()
        own = [*(outer.options if outer else ()), "--"] if is_inside else []
        return _rehearse(parse([*own, *argv]), outer)
    except Answer as answer:
        print_answer(str(answer))
        return OK
    except OSError as error:
        return report(PROGRAM, SessionError(f"the server for the rehearsal cannot be started: {error}"))
    except Exception as error:
        return report(PROGRAM, error)


def _rehearse(own: OwnOptions, outer: OuterRehearsal | None) -> int:
    """Raises HeadlessError, OSError, Answer."""
    if own.crontab:
        from headless.rehearsal import crontab  # which needs more libraries

        return crontab.rehearse(own, outer)
    options = _parse(own.command, needs_service=bool(own.report))
    import lxml.etree  # noqa: F401 (what is missing here would be missing in the server, too)

    user, remark = _user_of(options, not own.report)
    with Waiter() as waiter:  # a signal waits while something is made or removed
        if remark:
            Console(options.verbosity, waiter).info(remark)
        with temporary_folder(outer.folder if outer else None) as folder:
            inside = environment(folder, own, own.report or os.devnull, outer)
            code = _Rehearsal(own, options, Home(folder), waiter).run(user, inside)
        waiter.check()
        return code


def _parse(argv: Sequence[str], needs_service: bool) -> JobOptions:
    """Raises ParameterError, Answer."""
    is_given = needs_service or os.environ.get(DEFAULTS["-s"], "").strip()
    try:
        return parse_command_line([*(() if is_given else _ANY_SERVICE), *argv], os.environ)
    except ParameterError as error:
        name = str(error).rpartition("no such option: ")[2]
        if name in WITH_VALUE or (name in FLAGS and name in argv):
            raise ParameterError(f"{name} must come before the options of the command") from None
        raise


def _user_of(options: JobOptions, may_note: bool) -> tuple[str, str]:
    """Returns the PLANTA user of the command line, and a remark about its password file or "".

    Raises ParameterError where a login of the command would.
    """
    login = options.login
    if isinstance(login, ChallengeLogin):
        return login.user, password_file.read(login.secret_file).remark
    os_user, problem = runs_as()
    if problem and may_note:
        print_note(PROGRAM, problem)
    return login.user or os_user, ""


class _Rehearsal:
    def __init__(self, own: OwnOptions, options: JobOptions, home: Home, waiter: Waiter) -> None:
        self._own = own
        self._options = options
        self._home = home
        self._waiter = waiter

    def run(self, user: str, inside: Mapping[str, str]) -> int:
        """Returns the code of the command, or the negative number of a signal. `inside` are the variables that keep
        the jobs in the rehearsal. Raises OSError, HeadlessError."""
        self._home.create()
        login, jobs = self._make_account(user), self._prepare_jobs()
        with running_server(self._home, self._own, inside, self._waiter) as (server, service):
            options = self._options.replace(service=service, login=login, jobs=jobs)
            code = call.run_within(self._waiter, options, self._note_acceptance)
            if code == OK and options.timeout == 0:
                code = self._follow(options)
            if code < 0:
                ask_to_end(server)
        if self._own.report:
            self._write_report(code)
        elif code == TIMED_OUT:
            consequence = "a real server lets the jobs run on, this rehearsal has ended them"
            print_note(PROGRAM, f"the command returned {code} after {options.timeout} s; {consequence}: {self._ends()}")
        return code

    def _make_account(self, user: str) -> ChallengeLogin:
        # No other user of this machine can log in to a secret that was never shown, whatever the platform can tell.
        secret = bcrypt_hash.hash_from(os.urandom(bcrypt_hash.RANDOM_BYTES), COST)
        with closing(self._home.database()) as database, database:
            Accounts(database).add(Account(user, None, keys_from_hash(secret.encode("ascii"))))
        path = self._home.folder / "secret"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
        return ChallengeLogin(user, str(path))

    def _prepare_jobs(self) -> tuple[Job, ...]:
        """Makes modules as asked for, and returns the jobs with the names that their files have here."""
        jobs = self._options.jobs
        for job in jobs if self._own.accept_modules else ():
            if job.kind == MODULE and MODULE_ID.fullmatch(job.text):  # others are refused
                (self._home.modules / f"{job.text}.py").write_text(_MODULE_CODE.format(job.text), encoding="utf-8")
        if self._own.files_from:
            jobs, remarks = find_files(jobs, self._own.files_from)
            for remark in remarks:
                Console(self._options.verbosity, self._waiter).info(remark)
        return jobs

    def _note_acceptance(self, event: Event) -> None:
        """Shows a note when the jobs begin to run, if any of them is code of the caller."""
        is_harmless = self._own.accept_modules and all(job.kind == MODULE for job in self._options.jobs)
        if isinstance(event, Accepted) and not (self._own.dry_run or is_harmless or self._own.report):
            user = runs_as()[0]
            print_note(PROGRAM, f"the jobs really run, on this machine, as {user} (--dry-run does not run them)")

    def _follow(self, options: JobOptions) -> int:
        """Waits for the end of jobs that the command does not wait for. Returns the code of the command, or the
        negative number of a signal."""
        with closing(self._home.database()) as database:
            (first, *_) = Journal(database).page(Selection())
        session = first.session_id
        waiting = WaitOptions(options.service, options.login, NO_TIMEOUT, options.verbosity, "", session)
        code = call.run_within(self._waiter, waiting)
        if code >= 0 and not self._own.report:
            accepted = f"the command returned {OK} when the jobs were accepted"
            print_note(PROGRAM, f"{accepted}; they ended like this: {self._ends()}")
        return min(code, OK)

    def _write_report(self, code: int) -> None:
        """Raises OSError."""
        names = [job.kind if job.kind == PY_CODE else job.text for job in self._options.jobs]
        content = {"jobs": " ".join(names), "code": str(code), "ends": self._ends()}
        with open(self._own.report, "a", encoding="ascii") as file:
            file.write(json.dumps(content) + "\n")

    def _ends(self) -> str:
        """Returns how each job has ended, as one line for people."""
        with closing(self._home.database()) as database:
            entries = Journal(database).page(Selection())
        reasons = [f": {shorten(each.message, _MAX_REASON)}" if each.state == FAILED else "" for each in entries]
        return ", ".join(f"job {each.job} {each.state}{reason}" for each, reason in zip(entries, reasons))
