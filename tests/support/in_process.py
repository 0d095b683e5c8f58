"""Parts of the package's server in the process of the tests: for speed, or to change its times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headless.server import peer
from headless.server.server import Server
from headless.server.settings import Settings
from support.homes import R41, make_home


def serve_here(folder: Path, talk: Callable[[str], object], **settings: Any) -> None:
    """Runs a server with the account R41 in this process as long as `talk(address)` runs in a thread."""
    home = make_home(folder, R41)
    settings.setdefault("trust_osuser", not peer.can_tell())

    async def serve() -> None:
        server = Server(home, Settings(port=0, end_jobs=True, **settings))
        address = await server.open()
        await server.begin()
        force_stop = asyncio.Event()
        force_stop.set()
        try:
            await asyncio.get_running_loop().run_in_executor(None, talk, address)
        finally:
            await server.stop(force_stop)

    asyncio.run(serve())
