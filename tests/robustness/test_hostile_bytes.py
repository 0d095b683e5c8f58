"""Bytes that no honest peer sends, against the real client and the real server as processes and against both ends in
memory: refused, soon, in little memory, and with no file or address touched that they name. What each message may look
like is in test_malformed_messages.py, which answers are a 1 in test_return_codes.py."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest

from headless.protocol.errors import RemoteProtocolError
from support.conversations import ConnectionPair, receive
from support.credentials import SALT
from support.dialogues import ACCEPTED, DONE, STARTED, WELCOME, attribute, serving
from support.frames import frame
from support.hostile_bytes import (
    FOR_THE_CLIENT,
    FOR_THE_SERVER,
    LARGE,
    LIMIT_OF_CLIENT,
    LIMIT_OF_SERVER,
    MIB,
    NAMING,
    SHOWN,
    SMALL,
)
from support.job_server import QuickServer
from support.process import Command
from support.raw_client import challenge_login, connect, py_code, run
from support.scripted_server import ScriptedServer
from support.usage import Usage, memory_of, usage_of
from support.waiting import wait_until

GROWTH_MAX_SERVER = 64 * MIB
GROWTH_MAX_CLIENT = 16 * MIB  # also with -vvv, and for a message in order whose text fills a frame
SECONDS_MAX = 1.0  # of the process's own time: how busy the machine is proves nothing
large = pytest.mark.parametrize("name", LARGE)


# In memory

BEFORE_WELCOME = [
    "",
    "login:osuser",
    "login:challenge",
    "login:challenge challenge",
    "login:challenge challenge response",
]
AFTER_WELCOME = [
    "login:osuser welcome",
    "login:challenge challenge response welcome:signed",
    "login:osuser welcome jobs",
    "login:osuser welcome jobs accepted",
    "login:osuser welcome jobs accepted started:1",
    "login:osuser welcome jobs accepted started:1 finished:1:failed",
]


@pytest.mark.parametrize("end", ["client", "server"])
@pytest.mark.parametrize("history", [*BEFORE_WELCOME, *AFTER_WELCOME])
def test_each_end_refuses_hostile_bytes_at_every_stage_and_receives_nothing_after_them(history, end):
    for name, data in SMALL.items():
        conversation = getattr(ConnectionPair(*history.split()), end)
        with pytest.raises(RemoteProtocolError):
            pytest.fail(f"{name}: {receive(conversation, data)}")
        assert receive(conversation, frame("<alive/>"), frame("<logout/>")) == []


@large
def test_each_end_refuses_hostile_frames_as_large_as_may_be(name):
    for end, history, limit in (
        ("client", "login:osuser welcome jobs accepted started:1", LIMIT_OF_SERVER),
        ("server", "login:osuser welcome", LIMIT_OF_CLIENT),
    ):
        with pytest.raises(RemoteProtocolError):
            receive(getattr(ConnectionPair(*history.split()), end), frame(LARGE[name](limit)))


# The client as a process


def call(server: ScriptedServer, *argv: str, stdout: int | IO[bytes] = subprocess.DEVNULL) -> Usage:
    """Runs the command against this server, with one job."""
    return usage_of("-s", server.address, "-c", "pass", *argv, stdout=stdout)


@pytest.fixture(scope="module")
def honest_peak() -> int:
    """What the client needs for a good run."""
    server = ScriptedServer(serving(*DONE))
    usage = call(server, "-t", "-1")
    server.close()
    assert usage.code == 0
    return usage.peak


def sending(stage: str, data: bytes):
    """A script: sends this at a stage, and at once all that would make a good end of what is left."""

    def script(peer):
        login = peer.receive()
        if stage == "after the login":
            peer.sock.sendall(data + frame(WELCOME))
        elif stage == "after the response":
            peer.send(f'<challenge nonce="{attribute(login, "nonce")}{"x" * 24}" salt="{SALT}"/>')
            peer.receive()
            peer.sock.sendall(data)
        else:
            peer.send(WELCOME)
            peer.receive()
            before, after = ([], [ACCEPTED, *DONE]) if stage == "after the jobs" else ([ACCEPTED, STARTED], DONE[1:])
            peer.sock.sendall(b"".join(map(frame, before)) + data + b"".join(map(frame, after)))
        peer.wait_for_disconnect()

    return script


def assert_refused(usage: Usage, honest_peak: int) -> None:
    assert usage.code == 1
    assert usage.seconds < SECONDS_MAX
    assert usage.peak - honest_peak < GROWTH_MAX_CLIENT


@pytest.mark.parametrize("stage", ["after the login", "while a job runs"])
@pytest.mark.parametrize("name", FOR_THE_CLIENT)
def test_the_client_ends_with_1(scripted, honest_peak, name, stage):
    server = scripted(sending(stage, FOR_THE_CLIENT[name]))
    assert_refused(call(server, "-t", "-1"), honest_peak)


@pytest.mark.parametrize("stage", ["after the response", "after the jobs"])
@pytest.mark.parametrize("name", ["a length of 4 GiB", "not XML", "a billion laughs", "two documents", "a bomb"])
def test_the_client_ends_with_1_at_other_stages_too(tmp_path, scripted, honest_peak, name, stage):
    login = ("-u", "R41", "-p", Command(tmp_path).secret_file()) if stage == "after the response" else ()
    server = scripted(sending(stage, SMALL[name]))
    assert_refused(call(server, "-t", "-1", *login), honest_peak)


@large
def test_the_client_ends_with_1_for_a_frame_as_large_as_may_be(scripted, honest_peak, name):
    server = scripted(sending("while a job runs", frame(LARGE[name](LIMIT_OF_SERVER))))
    assert_refused(call(server, "-t", "-1"), honest_peak)


@pytest.mark.parametrize("name", SHOWN)
def test_the_client_ends_with_1_even_if_it_shows_such_a_frame(tmp_path, scripted, honest_peak, name):
    server = scripted(sending("while a job runs", frame(LARGE[name](LIMIT_OF_SERVER))))
    with (tmp_path / "shown").open("wb") as shown:
        usage = call(server, "-t", "-1", "-vvv", stdout=shown)
    assert_refused(usage, honest_peak)


@pytest.mark.parametrize("level", ["-v", "-vvv"])
@pytest.mark.parametrize("text", ["\n", "\x85", "x", "\U0010ffff"], ids=ascii)
def test_the_time_out_holds_whatever_a_job_prints(tmp_path, scripted, honest_peak, text, level):
    output = '<output job="1" stream="stdout">' + text * ((LIMIT_OF_SERVER - 50) // len(text.encode())) + "</output>"
    with (tmp_path / "shown").open("wb") as shown:
        usage = call(scripted(serving(STARTED, output)), level, "-t", "1", stdout=shown)
    assert usage.code == 3
    assert usage.peak - honest_peak < GROWTH_MAX_CLIENT
    # Never early by the clock of the wall, never late by the process's own.
    with (tmp_path / "shown").open("rb") as shown:
        accepted = next(line for line in shown if b"accepted the jobs" in line)
        shown.seek(max(0, shown.seek(0, 2) - 1000))
        last = shown.readlines()[-1]
    assert b"jobs: submitted" in last
    assert (clock(last) - clock(accepted)).total_seconds() % 86400 >= 0.99
    assert usage.seconds < 1.5 + 0.5  # and what it takes to start


def clock(line: bytes) -> datetime:
    return datetime.strptime(line[:23].decode(), "%Y-%m-%d %H:%M:%S.%f")


# The server as a process


class MeasuredServer(QuickServer):
    """A server that has served an honest client, and what it needed for that."""

    def __enter__(self) -> MeasuredServer:
        super().__enter__()
        run(self, py_code("1"))
        self.honest_peak = used_by(self.process).peak
        return self


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with MeasuredServer(tmp_path_factory.mktemp("server") / "home") as server:
        yield server


@pytest.fixture
def own_server(tmp_path):
    """A server whose most is that of one test alone: what was needed once hides what is needed later."""
    with MeasuredServer(tmp_path / "home") as server:
        yield server


def used_by(process: subprocess.Popen[str]) -> Usage:
    if not Path(f"/proc/{process.pid}/status").exists():
        pytest.skip("this machine does not show what a process uses")
    peak = memory_of(process, "VmHWM")
    utime, stime = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return Usage(0, (int(utime) + int(stime)) / 100, peak)


def assert_refuses(server: MeasuredServer, client, data: bytes) -> None:
    """The server refuses this, closes, and serves the next client, at little cost."""
    before = used_by(server.process)
    with client:
        client.sock.sendall(data)
        client.expect_refusal("protocol")
    after = used_by(server.process)
    assert after.seconds - before.seconds < SECONDS_MAX
    assert after.peak - server.honest_peak < GROWTH_MAX_SERVER
    assert run(server, py_code("1")).ended == "ok"


@pytest.mark.parametrize("name", FOR_THE_SERVER)
def test_the_server_refuses_before_the_login(server, name):
    assert_refuses(server, connect(server), FOR_THE_SERVER[name])


@pytest.mark.parametrize("name", FOR_THE_SERVER)
def test_the_server_refuses_after_welcome(server, name):
    assert_refuses(server, connect(server).log_in(), FOR_THE_SERVER[name])


@pytest.mark.parametrize("name", ["a length of 4 GiB", "not XML", "a billion laughs", "two documents"])
def test_the_server_refuses_in_the_place_of_a_response(server, name):
    client = connect(server)
    assert client.ask(challenge_login("R42")).tag == "challenge"
    assert_refuses(server, client, SMALL[name])


@large
def test_the_server_refuses_a_frame_as_large_as_may_be(own_server, name):
    assert_refuses(own_server, connect(own_server).log_in(), frame(LARGE[name](LIMIT_OF_CLIENT)))


def test_the_server_keeps_nothing_of_the_frames_that_it_has_refused(own_server):
    data = frame(LARGE["white space"](LIMIT_OF_CLIENT))
    for _ in range(8):
        assert_refuses(own_server, connect(own_server).log_in(), data)


def test_the_server_does_not_fill_its_log_with_what_it_refuses(own_server):
    with connect(own_server).log_in() as client:
        client.send(f"<jobs><module>{'x' * 30_000}</module></jobs>")
        client.expect_refusal("jobs")
    own_server.stop()
    assert max(map(len, own_server.log.splitlines())) < 5000


# What the bytes name is not touched


class Bait:
    """A file and an address that nobody may touch, and a Python whose system calls are written down."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.file = folder / "bait.dtd"
        self.file.write_text('<!ENTITY x "y">')
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.urls = [
            str(self.file),
            self.file.as_uri(),
            f"http://127.0.0.1:{self.listener.getsockname()[1]}/bait.dtd",
        ]
        self._log = folder / "calls"
        traced = folder / "python"
        trace = f"strace -D -f -s 512 -o '{self._log}' -e trace=%file,connect"
        traced.write_text(f"#!/bin/sh\nexec {trace} '{sys.executable}' \"$@\"\n")
        traced.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(traced))

    def assert_untouched(self) -> None:
        """Looks once the log tells of the end of the process."""
        wait_until(lambda: "+++ exited" in self._log.read_text())
        calls = self._log.read_text()
        assert "/headless/protocol/" in calls  # so what is opened can be seen
        assert "bait" not in calls
        assert f"htons({self.listener.getsockname()[1]})" not in calls
        with pytest.raises(BlockingIOError):
            self.listener.accept()


@pytest.fixture
def bait(tmp_path, monkeypatch):
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")
    bait = Bait(tmp_path, monkeypatch)
    with bait.listener:
        yield bait


@pytest.mark.parametrize("kind", NAMING)
def test_the_client_touches_nothing_that_the_bytes_name(command, scripted, bait, kind):
    for url in bait.urls:
        server = scripted(sending("after the login", frame(NAMING[kind].format(tag="welcome", url=url))))
        assert command("-s", server.address, "-c", "pass").returncode == 1
        bait.assert_untouched()


def test_the_server_touches_nothing_that_the_bytes_name(tmp_path, bait):
    with QuickServer(tmp_path / "home") as server:
        for document in NAMING.values():
            for url in bait.urls:
                with connect(server) as client:
                    client.send(document.format(tag="login", url=url))
                    client.expect_refusal("protocol")
    bait.assert_untouched()
