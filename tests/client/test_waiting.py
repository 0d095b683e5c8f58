"""The waits of a call: a pause lasts as long as it is asked for, the deadline ends it, and no signal is lost."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

from headless.client.connection import Connection
from headless.client.output import Console
from headless.client.verdict import Verdict
from headless.client.waiting import DeadlinePassed, Waiter, end_process_by
from headless.dialects.base import RANDOM_BYTES, Call
from headless.dialects.own.dialect import Dialect
from headless.dialects.vocabulary import OSUSER, PY_CODE, Job
from headless.errors import Interrupted
from headless.options import Service
from support.fork_server import start
from support.process import PATIENCE, ROOT


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05])
def test_a_pause_is_no_shorter_than_it_is_asked_for(seconds):
    with Waiter() as waiter:
        begun = time.monotonic()
        waiter.sleep(seconds)
        assert time.monotonic() >= begun + seconds


def test_a_pause_ends_at_the_deadline():
    with Waiter() as waiter:
        begun = time.monotonic()
        waiter.set_deadline(0.02)
        with pytest.raises(DeadlinePassed):
            waiter.sleep(3600)
        assert begun + 0.02 <= time.monotonic() < begun + 60


# Signals in the code of others


def test_a_signal_strikes_where_that_is_allowed_and_one_that_is_swallowed_there_is_kept():
    with Waiter() as waiter:
        for swallows in (False, True):
            struck = False
            with suppress(Interrupted), waiter.interruptible():
                try:
                    signal.raise_signal(signal.SIGTERM)
                except Interrupted:
                    struck = True
                    if not swallows:
                        raise
            assert struck
            if swallows:
                with pytest.raises(Interrupted):
                    waiter.check()
            waiter.check()


class OfASite(Dialect):
    """Is the code of others, which may never end."""


@pytest.mark.parametrize(("kind", "goes_on"), [(Dialect, True), (OfASite, False)])
def test_a_signal_strikes_into_the_dialect_of_a_site_and_not_into_an_import_of_our_own(monkeypatch, kind, goes_on):
    gone_on = []

    def log_in(_dialect) -> None:
        signal.raise_signal(signal.SIGTERM)
        gone_on.append(True)

    monkeypatch.setattr(Dialect, "log_in", log_in)
    with Waiter() as waiter:
        call = Call("test", OSUSER, None, "jdoe", (Job(PY_CODE, "1"),), bytes(RANDOM_BYTES))
        verdict = Verdict(1, has_secret=False)
        connection = Connection(Service("127.0.0.1", 1, False), kind(call), verdict, Console(0, waiter), waiter)
        with pytest.raises(Interrupted):
            connection.log_in(None)
    assert bool(gone_on) is goes_on


def test_a_signal_that_came_before_strikes_at_the_beginning_or_waits_for_its_turn():
    with Waiter() as waiter:
        signal.raise_signal(signal.SIGTERM)
        with waiter.interruptible(also_before=False):
            pass
        with pytest.raises(Interrupted), waiter.interruptible():
            pytest.fail("it is not entered")


# Signals that come when nothing is left to check for them

STATUS_CONTROL_C_EXIT = 0xC000013A  # what a process of Windows ends with that Ctrl-C has ended

LATE = f"""
import signal, sys
sys.path.insert(0, {str(ROOT)!r})
from headless.client.waiting import Waiter
signum = getattr(signal, sys.argv[1])
signal.signal(signum, signal.SIG_DFL)
with Waiter():
    signal.raise_signal(signum)
"""


@pytest.mark.slow
@pytest.mark.version("signals and the end of an interpreter")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_late_signal_with_the_default_handler_ends_the_process_as_it_always_does(tmp_path, name):
    (tmp_path / "late.py").write_text(LATE)
    with start([tmp_path / "late.py", name]) as process:
        code = process.wait(PATIENCE)
    assert code == (STATUS_CONTROL_C_EXIT if os.name == "nt" else -getattr(signal, name))


def test_on_windows_a_signal_never_ends_the_process_with_3_which_is_a_return_code(monkeypatch):
    statuses = []

    def exit_with(status: int) -> None:
        statuses.append(status % 2**32)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", exit_with)
    monkeypatch.setattr("headless.client.waiting.os.name", "nt")
    with pytest.raises(SystemExit):
        end_process_by(signal.SIGTERM)
    assert statuses == [STATUS_CONTROL_C_EXIT]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_that_the_kernel_drops_does_not_hold_the_process_up(monkeypatch):
    """As it does for the first process of a container."""
    statuses = []

    def exit_with(status: int) -> None:
        statuses.append(status)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", exit_with)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    with pytest.raises(SystemExit):
        end_process_by(signal.SIGUSR1)
    assert statuses == [128 + signal.SIGUSR1]
