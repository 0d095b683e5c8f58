"""What the service manager is told, by a socket of the test."""

from __future__ import annotations

import os
import socket
import sys
import time

import pytest

from headless.server.commands.serve import _notify as notify

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has abstract names")


def names(tmp_path):
    return {"path": str(tmp_path / "notify"), "abstract": f"@planta-{os.urandom(8).hex()}"}


@pytest.mark.parametrize("kind", ["path", pytest.param("abstract", marks=on_linux)])
def test_the_service_manager_is_told_each_state(tmp_path, monkeypatch, kind):
    name = names(tmp_path)[kind]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        notify("STOPPING=1\nSTATUS=fünf jobs")
        assert [manager.recv(100).decode(), manager.recv(100).decode()] == ["READY=1", "STOPPING=1\nSTATUS=fünf jobs"]


@pytest.mark.parametrize("name", [None, "", "relative", "@", "/" + "x" * 300, "@" + "x" * 300, "/dev/null", "/\udcff"])
def test_where_there_is_no_service_manager_nothing_happens(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if name is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")
    assert list(tmp_path.iterdir()) == []


def test_a_service_manager_that_does_not_listen_is_not_waited_for(tmp_path, monkeypatch):
    name = names(tmp_path)["path"]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        manager.bind(name)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"x", name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setattr("headless.server.commands.serve._NOTIFY_SECONDS", 0.1)
        before = time.monotonic()
        notify("READY=1")
        assert time.monotonic() - before < 5
