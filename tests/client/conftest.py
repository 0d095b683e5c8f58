"""What the tests of the client share."""

from __future__ import annotations

import pytest

from headless import cli
from headless.client import session
from headless.options import parse
from support.process import PATIENCE


@pytest.fixture
def time_out(monkeypatch):
    """Makes `-t N` of `here` so many seconds from the acceptance on, which may take its time."""

    def set_(seconds):
        monkeypatch.setattr(cli, "parse", lambda *argv: parse(*argv).replace(timeout=seconds))
        monkeypatch.setattr(session, "acceptance_seconds", lambda _: PATIENCE)

    return set_


@pytest.fixture
def short_acceptance(monkeypatch):
    """Before the acceptance `here` waits for 0.3 seconds: time enough to hand over the jobs."""
    monkeypatch.setattr(session, "acceptance_seconds", lambda _: 0.3)
