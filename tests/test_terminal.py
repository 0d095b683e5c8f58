"""Whether somebody can answer a question at standard input, whatever that is."""

from __future__ import annotations

import io
import sys

import pytest

from headless.terminal import is_at_terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nobody_answers_where_standard_input_is_missing_closed_or_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stdin in (None, closed, io.StringIO("y\n")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert is_at_terminal() is False


@pytest.mark.skipif(sys.platform == "win32", reason="there the console is asked")
def test_somebody_answers_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert is_at_terminal() is True
