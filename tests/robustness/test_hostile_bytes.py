"""Bytes that no honest peer sends, and output without end: against calls of the client in one process, and a server as
a process. They are refused, soon, in little memory, and no file or address that they name is touched. That they are
refused at all, at every stage, is asked of the dialect in dialects/."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from support.command_here import SteeredCommand
from support.dialogues import ACCEPTED, DONE, ENDED, FINISHED, STARTED, WELCOME, answering_login, serving
from support.frames import frame
from support.job_server import QuickServer
from support.raw_client import RawClient, connect, py_code, run
from support.scripted_server import Peer, Script, ScriptedServer
from support.usage import MeasuredCalls, Usage, memory_of
from support.waiting import wait_until

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
LIMIT_OF_CLIENT, LIMIT_OF_SERVER = 16 * MIB, MIB  # bytes of what each of them may send after `welcome`

# Payloads that are about as large as the limit. Made when they are used: together they are a quarter of a gigabyte.
LARGE = {
    "letters": lambda limit: b"x" * limit,
    "letters and one of four bytes": lambda limit: b"x" * (limit - 4) + "\U0010ffff".encode(),
    "bytes that are no UTF-8": lambda limit: b"\xff" * limit,
    "brackets": lambda limit: b"<" * limit,
    "white space": lambda limit: b" " * limit,
    "much depth": lambda limit: b"<a>" * (limit // 3),
    "depth that ends": lambda limit: b"<a>" * 20_000 + b"x" * (limit * 3 // 4) + b"</a>" * 20_000,
    "many attributes": lambda limit: (
        b"<alive " + b" ".join(b'a%d="1"' % number for number in range(limit // 16)) + b"/>"
    ),
    "a long name": lambda limit: b"<" + b"a" * (limit * 5 // 8) + b"/>",
    "a long attribute": lambda limit: b'<ended status="' + b"x" * (limit * 5 // 8) + b'"/>',
    "an attribute that never ends": lambda limit: b'<ended status="' + b"x=" * (limit // 2 - 8),
    "a text where none belongs": lambda limit: b"<alive>" + b"x" * (limit - 15) + b"</alive>",
    "many jobs too many": lambda _limit: b"<jobs>" + b"<module>A</module>" * 19_000 + b"</jobs>",
    "CDATA without end": lambda limit: b"<alive>" + b"<![CDATA[" * (limit // 9 - 1),
    "references": lambda limit: b"<alive>" + b"&#65;" * (limit // 5 - 3) + b"</alive>",
    "a large DTD": lambda limit: (
        b"<!DOCTYPE a [" + b"".join(b'<!ENTITY a%d "x">' % number for number in range(limit // 33)) + b"]><alive/>"
    ),
    "text after the end": lambda limit: b"<alive/>" + b"x" * (limit - 8),
    # And what would be larger than the limit:
    "a billion laughs": lambda _limit: (
        b'<!DOCTYPE alive [<!ENTITY a0 "ha">'
        + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 10))
        + b"]><alive>&a9;</alive>"
    ),
    "a bomb": lambda limit: gzip.compress(b" " * 3 * limit),
}
# Those that cost most to show: quadratic patterns, characters that take more room as text.
SHOWN = [
    "letters",
    "letters and one of four bytes",
    "bytes that are no UTF-8",
    "brackets",
    "an attribute that never ends",
]

NAMING = {
    "a DTD": '<!DOCTYPE {tag} SYSTEM "{url}"><{tag}/>',
    "an external entity": '<!DOCTYPE {tag} [<!ENTITY x SYSTEM "{url}">]><{tag} session="1">&x;</{tag}>',
    "a parameter entity": '<!DOCTYPE {tag} [<!ENTITY % x SYSTEM "{url}"> %x;]><{tag}/>',
    "XInclude": '<{tag} xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{url}" parse="text"/></{tag}>',
    "a schema": '<{tag} xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:x {url}" '
    'xsi:noNamespaceSchemaLocation="{url}"/>',
    "a style sheet": '<?xml-stylesheet type="text/xsl" href="{url}"?><{tag}/>',
    "a base": '<{tag} xml:base="{url}"/>',
}

GROWTH_MAX_SERVER = 64 * MIB
GROWTH_MAX_CLIENT = 16 * MIB  # also with -vvv, and for a message in order whose text fills a frame
SECONDS_MAX = 1.0  # of the process's own time: how busy the machine is proves nothing

# The client: calls in one process


class Client:
    """Calls of the command with one job, each against a server of its own. None needs much more than an honest one."""

    def __init__(self, scripted: Callable[[Script], ScriptedServer], calls: MeasuredCalls) -> None:
        self._scripted = scripted
        self._calls = calls
        honest = self.call(serving(*DONE), "-t", "-1")
        assert honest.code == 0
        self.honest_peak = honest.peak

    def call(self, script: Script, *argv: str) -> Usage:
        server = self._scripted(script)
        usage = self._calls("-s", server.address, "-c", "pass", *argv)
        server.close()
        return usage

    def assert_refuses(self, name: str, script: Script, *argv: str) -> None:
        usage = self.call(script, "-t", "-1", *argv)
        assert usage.code == 1, name
        assert usage.seconds < SECONDS_MAX, name
        assert usage.peak - self.honest_peak < GROWTH_MAX_CLIENT, name


@pytest.fixture
def client(tmp_path, scripted):
    with (tmp_path / "shown").open("wb") as shown, MeasuredCalls(shown) as calls:
        yield Client(scripted, calls)


def sending(data: bytes) -> Script:
    """A script: sends this while a job runs, and at once all that would make a good end of what is left."""

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.sock.sendall(b"".join(map(frame, (ACCEPTED, STARTED))) + data + b"".join(map(frame, DONE[1:])))
        peer.wait_for_disconnect()

    return script


@pytest.mark.parametrize(("names", "options"), [(list(LARGE), ()), (SHOWN, ("-vvv",))], ids=["unseen", "-vvv"])
def test_the_client_ends_with_1_for_a_frame_as_large_as_may_be(client, names, options):
    for name in names:
        client.assert_refuses(name, sending(frame(LARGE[name](LIMIT_OF_SERVER))), *options)


def printed(text: str, limit: int = LIMIT_OF_SERVER) -> str:
    """As much of it as one message of so many bytes carries."""
    return '<output job="1" stream="stdout">' + text * ((limit - 50) // len(text.encode())) + "</output>"


PRINTED = ["\n", "\x85", "x", "\U0010ffff"]


def test_the_client_needs_little_memory_whatever_a_job_prints(client):
    for text, level, limit in (
        ("\n", "-v", LIMIT_OF_SERVER // 4),
        ("\x85", "-vvv", LIMIT_OF_SERVER // 2),
        ("\U0010ffff", "-vvv", LIMIT_OF_SERVER),
    ):
        usage = client.call(serving(STARTED, printed(text, limit), *DONE[1:]), level, "-t", "-1")
        assert usage.code == 0, ascii(text)
        assert usage.peak - client.honest_peak < GROWTH_MAX_CLIENT, ascii(text)


@pytest.mark.parametrize(("text", "level"), [*zip(PRINTED, ("-v", "-vvv", "-vvv", "-v")), ("\n", "-vvv")], ids=ascii)
def test_the_time_out_holds_whatever_a_job_prints(tmp_path, scripted, text, level):
    """Never early by the clock of the wall, never late by the process's own."""
    call = SteeredCommand(tmp_path, 1, 0.02)
    server = scripted(serving(STARTED, printed(text)))
    begun = time.process_time()
    ended = call("-s", server.address, "-c", "pass", level, "-t", "10")
    assert time.process_time() - begun < 0.3 + SECONDS_MAX
    accepted, *_ = (line for line in ended.stdout.split("\n") if "accepted the jobs" in line)
    last = ended.stdout[-1000:].splitlines()[-1]
    assert (ended.returncode, last.rpartition("; ")[2]) == (3, "jobs: submitted")
    assert (clock(last) - clock(accepted)).total_seconds() % 86400 >= 0.19


def clock(line: str) -> datetime:
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f")


# Output without end

LEEWAY = 12 * MIB  # what the client may need more than for one line
UNREAD_MAX = 32 * MIB  # of output that is not read: in the client, and between it and its server
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak has another unit, or none")


def output(size: int, line: int) -> bytes:
    """The frame of a message of about this size, in lines of this length."""
    lines = ("x" * (line - 1) + "\n") * (size // line - 1)
    return frame(f'<output job="1" stream="stdout">{lines}</output>')


class Printing:
    """A script: a job that prints this frame so many times. `sent` is how many have left."""

    def __init__(self, message: bytes, times: int) -> None:
        self.message = message
        self.times = times
        self.sent = 0

    def __call__(self, peer: Peer) -> None:
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED, STARTED)
        while self.sent < self.times:
            peer.sock.sendall(self.message)
            self.sent += 1
        peer.send(FINISHED, ENDED)
        peer.wait_for_disconnect()


def peak_of(client: Client, message: bytes, times: int, *argv: str) -> int:
    printing = Printing(message, times)
    usage = client.call(printing, "-t", "-1", *argv)
    assert (usage.code, printing.sent) == (0, times)
    return usage.peak


@linux_only
@pytest.mark.parametrize("options", [[], ["-v"]], ids=["silent", "-v"])
def test_a_job_that_prints_without_end_costs_no_more_memory_than_one_that_prints_a_line(client, options):
    """Nor do the greatest messages that there are, but for a few times the length of one."""
    one_line = peak_of(client, output(100, 50), 1, *options)
    for message in (output(64 * 1024, 32 * 1024), output(MIB, 2000)):
        assert peak_of(client, message, 32 * MIB // len(message), *options) - one_line <= LEEWAY, len(message)


@linux_only
def test_a_client_whose_output_is_not_read_needs_no_more_than_it_can_show(scripted):
    printing = Printing(output(64 * 1024, 1000), 2**30)
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb") as stdout, MeasuredCalls(stdout) as calls:
        client = Client(scripted, calls)
        one_line = peak_of(client, output(100, 50), 1, "-v")
        usage = client.call(printing, "-t", "1", "-v")
    assert usage.code == 3
    assert usage.peak - one_line <= LEEWAY
    assert printing.sent * len(printing.message) <= UNREAD_MAX


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


def used_by(process: subprocess.Popen[str]) -> Usage:
    if not Path(f"/proc/{process.pid}/status").exists():
        pytest.skip("this machine does not show what a process uses")
    peak = memory_of(process, "VmHWM")
    utime, stime = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return Usage(0, (int(utime) + int(stime)) / 100, peak)


def assert_refuses(server: MeasuredServer, name: str, client: RawClient, data: bytes) -> None:
    """The server refuses this, closes, and lets the next client in, at little cost."""
    before = used_by(server.process)
    with client:
        client.sock.sendall(data)
        client.expect_refusal("protocol")
    after = used_by(server.process)
    assert after.seconds - before.seconds < SECONDS_MAX, name
    assert after.peak - server.honest_peak < GROWTH_MAX_SERVER, name
    with connect(server) as another:
        another.log_in()


LARGE_FOR_THE_SERVER = [
    "a billion laughs",
    "a bomb",
    "letters and one of four bytes",
    "white space",
    "depth that ends",
    "many attributes",
    "references",
    "text after the end",
]


@pytest.mark.parametrize("names", [LARGE_FOR_THE_SERVER, pytest.param(list(LARGE), marks=pytest.mark.large)], ids=len)
def test_the_server_refuses_frames_as_large_as_may_be_and_keeps_nothing_of_them(server, names):
    """What they need together is no more than what one may."""
    for name in names:
        assert_refuses(server, name, connect(server).log_in(), frame(LARGE[name](LIMIT_OF_CLIENT)))
    assert run(server, py_code("1")).ended == "ok"


def test_the_server_does_not_fill_its_log_with_what_it_refuses(tmp_path):
    with QuickServer(tmp_path / "home") as server:
        with connect(server).log_in() as client:
            client.send(f"<jobs><module>{'x' * 30_000}</module></jobs>")
            client.expect_refusal("jobs")
        server.stop()
    assert max(map(len, server.log.splitlines())) < 5000


# What the bytes name is not touched


class Bait:
    """A file and an address that must not be touched, and a Python whose system calls are written down."""

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
        monkeypatch.setenv("PYTHONHASHSEED", "0")  # a process with its own is started by this Python, and not forked

    def assert_untouched(self) -> None:
        """Looks when the log has the end of the process."""
        wait_until(lambda: "+++ exited" in self._log.read_text())
        calls = self._log.read_text()
        assert "/headless/dialects/" in calls  # so what is opened can be seen
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


def test_the_client_touches_nothing_that_the_bytes_name(scripted, bait):
    with MeasuredCalls() as calls:
        for kind, document in NAMING.items():
            for url in bait.urls:
                server = scripted(answering_login(document.format(tag="welcome", url=url), WELCOME))
                assert calls("-s", server.address, "-c", "pass").code == 1, (kind, url)
    bait.assert_untouched()


def test_the_server_touches_nothing_that_the_bytes_name(tmp_path, bait):
    with QuickServer(tmp_path / "home") as server:
        for document in NAMING.values():
            for url in bait.urls:
                with connect(server) as client:
                    client.send(document.format(tag="login", url=url))
                    client.expect_refusal("protocol")
    bait.assert_untouched()
