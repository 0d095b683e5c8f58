"""The package's server in a thread of the tests' process: its times can be changed, and it starts in no time."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from headless.server import peer
from headless.server.accounts import Account
from headless.server.home import Home
from headless.server.server import Server
from headless.server.settings import Settings
from support.job_server import QuickServer
from support.process import PATIENCE


class ServerHere(QuickServer):
    """A QuickServer that cannot be killed: one that was stopped with `ends_jobs=False` leaves the same. Constants of
    its modules have to be replaced before it starts. In the end its log has a traceback if `logs_traceback`."""

    def __init__(
        self,
        home: Path,
        *,
        accounts: tuple[Account, ...] = (),
        ends_jobs: bool = True,
        logs_traceback: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(home, accounts=accounts, ends_jobs=ends_jobs)
        self.settings = settings
        self._logs_traceback = logs_traceback

    def __enter__(self) -> ServerHere:
        super().__enter__()
        return self

    def start(self) -> None:
        defaults = {"port": 0, "grace": 0.0, "end_jobs": self.ends_jobs, "trust_osuser": not peer.knows_owners()}
        settings = Settings(**{**defaults, **self.settings})
        listening: Future[str] = Future()
        self._end: Future[None] = Future()
        threading.Thread(target=self._run, args=(settings, listening), name="server", daemon=True).start()
        self.address = listening.result(PATIENCE)

    def stop(self) -> int:
        self.ask_to_stop()
        return self.wait()

    def ask_to_stop(self, at_once: bool = False) -> None:
        """Does what SIGTERM does; `at_once` what a second one does."""
        events = (self._stop, self._force_stop) if at_once else (self._stop,)
        with suppress(RuntimeError):  # it has ended by then
            for event in events:
                self._loop.call_soon_threadsafe(event.set)

    def wait(self) -> int:
        """Waits for the end. Returns the exit status of `headless serve`."""
        self._end.result(PATIENCE)
        self.log = self._log.getvalue()
        assert self._logs_traceback == ("Traceback" in self.log), self.log
        return 1 if self._home.replaced else 0

    def crash(self) -> None:
        raise NotImplementedError

    def _run(self, settings: Settings, listening: Future[str]) -> None:
        self._log = io.StringIO()
        handler = logging.StreamHandler(self._log)
        logger = logging.getLogger("headless.server")
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel("INFO")
        try:
            self._home = Home(str(self.home))
            with self._home.lock():
                asyncio.run(self._serve(settings, listening))
        except BaseException as error:  # for the thread that waits
            if not listening.done():
                listening.set_exception(error)
            self._end.set_exception(error)
        else:
            self._end.set_result(None)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    async def _serve(self, settings: Settings, listening: Future[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._force_stop = asyncio.Event(), asyncio.Event()
        self._home.on_replaced = lambda: self.ask_to_stop(at_once=True)
        self.server = Server(self._home, settings)
        address = await self.server.open()
        await self.server.begin()
        listening.set_result(address)
        await self._stop.wait()
        await self.server.stop(self._force_stop)
