"""The waits of a call: a pause lasts as long as it is asked for, the deadline ends it, and no signal is lost."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from unittest.mock import Mock

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


def test_a_pause_is_no_shorter_than_it_is_asked_for_and_ends_at_the_deadline():
    with Waiter() as waiter:
        for seconds in (0.0, 0.02, 0.05):
            begun = time.monotonic()
            waiter.sleep(seconds)
            assert time.monotonic() >= begun + seconds
        begun = time.monotonic()
        waiter.set_deadline(0.02)
        with pytest.raises(DeadlinePassed):
            waiter.sleep(3600)
        assert time.monotonic() >= begun + 0.02


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


@pytest.mark.parametrize(("system", "status"), [("nt", STATUS_CONTROL_C_EXIT), ("posix", 128 + signal.SIGTERM)])
def test_where_a_signal_ends_no_process_the_status_says_it_and_is_no_return_code(monkeypatch, system, status):
    """Windows would end it with 3; and the kernel drops a signal of the first process of a container."""
    if system == "posix" and os.name == "nt":
        pytest.skip("Windows has no such signals")
    exit_ = Mock(side_effect=SystemExit)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(os, "_exit", exit_)
    monkeypatch.setattr(os, "kill", Mock())
    monkeypatch.setattr("headless.client.waiting.os.name", system)
    with pytest.raises(SystemExit):
        end_process_by(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert exit_.call_args[0][0] % 2**32 == status
