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
    """What QuickServer offers. Only, it cannot be killed: the next server finds the same where this one was stopped
    with `ends_jobs=False`. Who replaces a constant of its modules has to do that before it starts. In the end its
    log has no traceback, or one with `logs_traceback`."""

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

    def ask_to_stop(self) -> None:
        if not self._end.done():
            self._loop.call_soon_threadsafe(self._stop.set)

    def wait(self) -> int:
        """Returns when the server has ended. What `headless serve` would end with."""
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
        except BaseException as error:  # which is told whoever waits
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
        self._stop, force_stop = asyncio.Event(), asyncio.Event()

        def stop_at_once() -> None:
            with suppress(RuntimeError):  # it has ended by then
                for event in (self._stop, force_stop):
                    self._loop.call_soon_threadsafe(event.set)

        self._home.on_replaced = stop_at_once
        self.server = Server(self._home, settings)
        address = await self.server.open()
        await self.server.begin()
        listening.set_result(address)
        await self._stop.wait()
        await self.server.stop(force_stop)
