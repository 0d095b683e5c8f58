"""Waiting for what another process or a task does, and never for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeVar

from support.process import PATIENCE

_T = TypeVar("_T")


def wait_until(condition: Callable[[], object]) -> None:
    """Returns once `condition()` is true. Fails after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Lets pytest run a coroutine."""

    @wraps(test)
    def run(*arguments: object, **fixtures: object) -> None:
        asyncio.run(in_time(test(*arguments, **fixtures)))

    return run


async def in_time(awaitable: Awaitable[_T]) -> _T:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def until(condition: Callable[[], object]) -> None:
    """wait_until, beside other tasks."""
    await asyncio.to_thread(wait_until, condition)
