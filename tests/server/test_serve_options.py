"""What the options of `serve` become, without a server: each sets what it says, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

import pytest

from headless.server import settings as settings_module
from headless.server.commands import serve
from headless.server.settings import MIB, Settings
from support.command_here import headless

OPTIONS: dict[str, dict[str, Any]] = {
    "--listen 127.0.0.2:77": {"host": "127.0.0.2", "port": 77},
    "--workers 3": {"workers": 3},
    "--grace 5": {"grace": 5.0},
    "--end-jobs": {"end_jobs": True},
    "--keep 3": {"retention_days": 3},
    "--limit 7": {"time_limit": 7.0},
    "--dry-run": {"dry_run": True},
    "--import-from headless": {"import_from": os.path.abspath("headless")},
    "--trust-osuser": {"trust_osuser": True},
    "--max-output 2": {"output_limit": 2 * MIB},
    "--max-connections 11": {"max_connections": 11},
    "--max-connections-per-address 12": {"max_connections_per_address": 12},
    "--max-connections-per-account 13": {"max_connections_per_account": 13},
    "--until-eof": {},
    "": {},
}


@pytest.fixture
def served(monkeypatch):
    """What each call of `serve` would run: the home, the settings, and whether it looks for the end of its input."""
    calls: list[tuple[Any, Settings, bool]] = []

    async def run(home, settings, _writer, until_eof) -> None:
        calls.append((home, settings, until_eof))

    monkeypatch.setattr(serve, "_run_until_stopped", run)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(settings_module, "_raise_limit", lambda: 1_000_000)
    level = logging.getLogger().level
    yield calls
    logging.getLogger().setLevel(level)


@pytest.mark.version("argparse")
def test_each_option_sets_what_it_says_and_nothing_else(tmp_path, served):
    for options, changes in OPTIONS.items():
        done = headless("serve", "--home", str(tmp_path / "home"), "--trust-folders", *options.split())
        assert done.returncode == 0, (options, done.stderr)
        home, settings, until_eof = served.pop()
        assert settings == Settings()._replace(**changes), options
        assert home.folder == tmp_path / "home"
        assert (home.py, home.modules) == (home.folder / "py", home.folder / "modules")
        assert until_eof == ("until-eof" in options)


def test_the_folders_of_the_code_are_those_that_are_named(tmp_path, served):
    for name in ("py", "modules"):
        (tmp_path / name).mkdir()
    folders = ("--py", str(tmp_path / "py"), "--modules", str(tmp_path / "modules"))
    assert headless("serve", "--home", str(tmp_path / "home"), "--trust-folders", *folders).returncode == 0
    home, _, _ = served.pop()
    assert (home.py, home.modules) == (tmp_path / "py", tmp_path / "modules")


@pytest.mark.parametrize(("descriptors", "connections"), [(1000, 1000 - 128 - 2 * 8), (10, 1), (10**6, 10_000)])
def test_there_are_no_more_connections_than_descriptors_allow(tmp_path, served, monkeypatch, descriptors, connections):
    """Some are set aside, and some for each worker."""
    monkeypatch.setattr(settings_module, "_raise_limit", lambda: descriptors)
    assert headless("serve", "--home", str(tmp_path / "home"), "--trust-folders", "--workers", "2").returncode == 0
    assert served.pop()[1].max_connections == connections


def test_a_second_signal_leaves_some_seconds_and_more_where_jobs_have_to_end(monkeypatch):
    left: list[float] = []
    monkeypatch.setattr(serve, "_end_process_after", left.append)

    async def ask_twice(end_jobs: bool) -> None:
        signals = serve._Signals(end_jobs)
        signals.request_stop()
        await asyncio.sleep(0)
        assert (signals.stop.is_set(), signals.force_stop.is_set(), len(left)) == (True, False, int(end_jobs))
        signals.request_stop()
        await asyncio.sleep(0)
        assert signals.force_stop.is_set()

    asyncio.run(ask_twice(False))
    asyncio.run(ask_twice(True))
    assert left == [3, 10]
