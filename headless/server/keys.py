"""The keys of sessions: whoever comes with the same key waits until the first one has its answer.

Here is the waiting. Which session a key belongs to is in journal.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Keys:
    """The keys that are being looked at."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, account: int, key: str | None) -> AsyncIterator[None]:
        """Inside it nobody else has this key of the account with this number; None is no key."""
        if key is None:
            yield
            return
        async with self._locks.setdefault((account, key), asyncio.Lock()):
            yield
