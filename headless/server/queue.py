"""The queue of accepted sessions: so many run at a time, the others wait in their order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from headless.dialects.vocabulary import OVER, QUEUED, RUNNING, SESSION
from headless.errors import Busy, Refusal
from headless.server.accounts import Account
from headless.server.journal import CANCELLED, INTERRUPTED, Cancellation, JobEnd, JobTaken, Journal
from headless.server.processes import JobProcesses
from headless.server.runner import Runner, Tasks
from headless.server.session import NewSession, Session
from headless.server.settings import Settings
from headless.server.store import Store
from headless.terminal import escape_control_chars

log = logging.getLogger(__name__)

_STOPPED = JobEnd(INTERRUPTED, "the server was stopped")
_SECONDS_TO_CANCEL = 1.0
_SECONDS_TO_END = 8.0  # for jobs that are ended; longer than the processes take
_SECONDS_TO_SETTLE = 15.0  # for the jobs of an earlier server to be found
_REQUESTS_SECONDS = 0.5  # how often the journal is asked for requests
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)


class SessionQueue:
    """Holds all sessions of a server that are not over."""

    def __init__(self, store: Store, jobs: JobProcesses, settings: Settings) -> None:
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self._accepting: list[int] = []  # the accounts of sessions that are being journaled
        self._waiting: deque[Session] = deque()
        self._runners: dict[str, Runner] = {}  # by session
        self._sessions: dict[str, Session] = {}  # those that wait or run
        self._requests: list[Cancellation] = []
        self._background = Tasks()
        self._may_start = False
        self.is_stopping = False

    async def recover(self) -> None:
        """Resumes the sessions that an earlier server of this home has left. Raises Busy."""
        boot = _boot_id() and f"{_boot_id()} {self._jobs.home_id}"  # a copy of this home has nothing started here
        self._may_start = is_same_boot = boot != "" and boot == await self._store.read(Journal.fact, "boot")
        self._requests = await self._store.read(Journal.cancellations)
        for session in await self._store.read(Journal.unfinished):
            self._sessions[session.id] = session
            if session.state == RUNNING:
                self._start(session, is_same_boot)
            else:
                log.info("session %s: queued again, %s", session.id, _number_of_jobs(session.job_count))
                self._waiting.append(session)
        self._background.start(self._finish_recovery(list(self._runners.values()), boot))
        self._background.start(self._watch_requests())

    async def accept(self, account: Account, new: NewSession) -> Session:
        """Returns the session, which is in the journal for good and will run; the one that has the same key, if there
        is one. Raises Busy, Refusal, StoreUncertain, or sqlite3.Error if it is not."""
        self._check_room(account.number)
        self._accepting.append(account.number)
        return await asyncio.shield(asyncio.ensure_future(self._accept(account, new)))

    async def find(self, account: Account, session_id: str) -> Session:
        """Raises Refusal if the account has no such session, Busy."""
        session = self._sessions.get(session_id)
        if session is None:
            recorded = await self._store.read(Journal.session, session_id)
            session = self._sessions.get(session_id, recorded)  # it may have come since
        if session is None or session.account != account.number:
            raise Refusal(SESSION, f"the account {account.user} has no session {session_id!r} on this server")
        if not session.is_over and session_id not in self._sessions:
            raise Busy("the server has not resumed this session yet")
        return session

    async def cancel(self, account: Account, session: Session) -> str:
        """Ends a session that was found, or does not let it start, and returns what it was before: QUEUED, RUNNING or
        OVER. Raises Busy, with nothing recorded; StoreUncertain."""
        if session.is_over:
            return OVER
        request = Cancellation(session.id, 0, f"the account {account.user}")
        await self._store.request_cancellation(request)
        self._requests.append(request)
        with suppress(Busy):  # it is tried again
            await self._apply(request)
        while not session.is_over:
            await session.wait_for_change(_REQUESTS_SECONDS)
        if session.state != CANCELLED:
            return OVER
        return RUNNING if session.has_run(1) else QUEUED

    async def stop(self, force_stop: asyncio.Event) -> None:
        """Starts no more sessions. The running ones have the grace, or until `force_stop` is set, to end. What still
        runs then goes on without this server, or is ended if the settings say so."""
        self.is_stopping = True
        # A job of an earlier server that cannot be found now is not waited for.
        tasks = [runner.task for runner in self._runners.values() if runner.is_found.is_set()]
        if tasks:
            forced = asyncio.ensure_future(force_stop.wait())
            ended = asyncio.ensure_future(asyncio.wait(tasks))
            await asyncio.wait({forced, ended}, timeout=self._settings.grace, return_when=asyncio.FIRST_COMPLETED)
            forced.cancel()
            ended.cancel()
        if self._settings.end_jobs and not self._jobs.are_of_another_server:
            await self._end_all()
        tasks = list(self._background.running)
        for runner in self._runners.values():
            log.info("session %s: job %d goes on without the server", runner.session.id, runner.session.job)
            tasks += [runner.task, *runner.background.running]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_SECONDS_TO_CANCEL)

    # Accepting and starting

    def _check_room(self, account: int) -> None:
        """Raises Busy if one more session of this account is too many."""
        settings, waiting = self._settings, len(self._waiting) + len(self._accepting)
        if waiting >= settings.max_waiting:
            raise Busy(f"{waiting} sessions wait already")
        if waiting >= settings.max_waiting_per_account:  # only then are they counted: there may be thousands
            waiting = [*(session.account for session in self._waiting), *self._accepting].count(account)
            if waiting >= settings.max_waiting_per_account:
                raise Busy(f"{waiting} sessions of this account wait already")

    async def _accept(self, account: Account, new: NewSession) -> Session:
        """Goes on if the connection that asked for it is lost: what is in the journal is in the queue."""
        try:
            session_id = await self._store.accept(account, new)
        finally:
            self._accepting.remove(account.number)
        if session_id != new.id:
            return await self.find(account, session_id)
        session = self._sessions[new.id] = Session(new.id, new.account, new.user, len(new.jobs))
        user = escape_control_chars(new.user)
        log.info("session %s: accepted %s of %s", session.id, _number_of_jobs(session.job_count), user)
        self._waiting.append(session)
        self._start_next()
        return session

    def _start_next(self) -> None:
        """Starts as many waiting sessions as there are free workers."""
        while self._may_start and not self.is_stopping and self._waiting:
            if sum(runner.has_worker for runner in self._runners.values()) >= self._settings.workers:
                return
            self._start(self._waiting.popleft())

    def _start(self, session: Session, is_same_boot: bool = True, ending: JobEnd | None = None) -> None:
        runner = Runner(session, self._store, self._jobs, self._settings.time_limit, self._requested_end)
        runner.ending = ending
        self._runners[session.id] = runner
        runner.task = asyncio.ensure_future(self._run(runner, is_same_boot))

    async def _run(self, runner: Runner, is_same_boot: bool) -> None:
        session = runner.session
        try:
            await runner.run(is_same_boot, self._start_next)
        except JobTaken:
            log.error("session %s: another server of this home runs it", session.id)
        except Exception:  # a bug, which followers must not take for an end
            log.exception("session %s: internal error at job %d", session.id, session.job)
        finally:
            runner.settle()
            del self._runners[session.id]
            del self._sessions[session.id]
            self._start_next()

    async def _finish_recovery(self, runners: list[Runner], boot: str) -> None:
        """Lets sessions start when the jobs that ran are found, or have to wait for that."""
        await _wait_for((runner.is_settled for runner in runners), _SECONDS_TO_SETTLE)
        are_found = all(runner.is_found.is_set() for runner in runners)
        if are_found:
            # First: it says that what is lost from here on was started here.
            await self._store.write(Journal.set_fact, "boot", boot)
        self._may_start = True
        self._start_next()
        if not are_found:
            await _wait_for((runner.is_found for runner in runners), None)
            await self._store.write(Journal.set_fact, "boot", boot)

    # Ending

    async def _end_all(self) -> None:
        """Ends what runs, and waits until that is journaled, but not for ever."""
        end = asyncio.get_running_loop().time() + _SECONDS_TO_END
        while self._runners and asyncio.get_running_loop().time() < end:
            for runner in self._runners.values():
                runner.end(_STOPPED)
            await asyncio.wait([runner.task for runner in self._runners.values()], timeout=0.1)

    async def _watch_requests(self) -> None:
        while True:
            with suppress(Busy):  # it is asked again
                self._requests = await self._store.read(Journal.cancellations)
                for request in self._requests:
                    await self._apply(request)
            await asyncio.sleep(_REQUESTS_SECONDS)

    async def _apply(self, request: Cancellation) -> None:
        """Ends what runs, and withdraws what waits. A request for a later job stays until its turn has come. Raises
        Busy."""
        session, runner = self._sessions.get(request.session_id), self._runners.get(request.session_id)
        if session is None or 0 < request.job < session.job:
            await self._store.write(Journal.drop_cancellation, request.session_id, request.job)
        elif runner is not None and request.job in (0, session.job):
            runner.end(_cancelled(request))
        elif runner is None and request.job in (0, session.job):
            self._waiting.remove(session)
            self._start(session, ending=_cancelled(request))

    def _requested_end(self, session_id: str, job: int) -> JobEnd | None:
        """Returns the end that was asked for; None if there is no request."""
        requests = (each for each in self._requests if each.session_id == session_id and each.job in (0, job))
        return next(map(_cancelled, requests), None)


def _cancelled(request: Cancellation) -> JobEnd:
    return JobEnd(CANCELLED, f"cancelled by {request.requester}")


def _number_of_jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _boot_id() -> str:
    """Returns what changes whenever the machine is started; "" where that is not known."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


async def _wait_for(events: Iterable[asyncio.Event], timeout: float | None) -> None:
    """Returns when all of them are set, or after so many seconds."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    if waiting:
        await asyncio.wait(waiting, timeout=timeout)
    for each in waiting:
        each.cancel()
