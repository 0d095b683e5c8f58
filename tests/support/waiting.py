"""Waiting for what another process or a task does, and never for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from support.process import PATIENCE

_T = TypeVar("_T")


def wait_until(condition: Callable[[], object]) -> None:
    """Returns once `condition()` is true. Fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


async def in_time(awaitable: Awaitable[_T]) -> _T:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def until(condition: Callable[[], object]) -> None:
    """wait_until, beside other tasks."""
    await asyncio.to_thread(wait_until, condition)
