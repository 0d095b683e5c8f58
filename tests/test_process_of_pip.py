"""planta_headless as pip makes it, which calls a function of the package."""

from __future__ import annotations

import signal
import sys

import pytest

from headless import cli


def test_the_command_gets_each_word_and_its_code_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[object] = []
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", ["planta_headless", "-s", "planta:20000", "-v"])
    monkeypatch.setattr(cli, "receive_signals_as_first_process", lambda: noted.append("signals"))
    monkeypatch.setattr(cli, "main", lambda argv: noted.append(argv) or 2)  # type: ignore[func-returns-value]
    monkeypatch.setattr(cli, "end_process", noted.append)
    try:
        cli.run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert noted == ["signals", ["-s", "planta:20000", "-v"], 2]
