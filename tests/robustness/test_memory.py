"""What a client takes of memory while a job prints without end: no more than for a job that prints one line, but for
the message that it has in hand."""

from __future__ import annotations

import os
import sys

import pytest

from support.dialogues import ACCEPTED, ENDED, FINISHED, STARTED, WELCOME
from support.frames import frame
from support.usage import MeasuredCalls

KIB, MIB = 1024, 1024 * 1024
PRINTED = 32 * MIB
LEEWAY = 12 * MIB  # what the client may take more than for one line
TAKEN = 32 * MIB  # of what nobody reads, by the client and by what is between it and its server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak has another unit, or none"),
]


def output(size, line):
    """The frame of a message that is about so long, in lines that are so long."""
    lines = ("x" * (line - 1) + "\n") * (size // line - 1)
    return frame(f'<output job="1" stream="stdout">{lines}</output>')


ONE_LINE = output(100, 50)


class Printing:
    """A script: a job that prints this frame so many times. `sent` is how many it has taken."""

    def __init__(self, message, times):
        self.message = message
        self.times = times
        self.sent = 0

    def __call__(self, peer):
        peer.receive()
        peer.send(WELCOME)
        peer.receive()
        peer.send(ACCEPTED, STARTED)
        while self.sent < self.times:
            peer.sock.sendall(self.message)
            self.sent += 1
        peer.send(FINISHED, ENDED)
        peer.wait_for_disconnect()


class Client:
    """Calls of the command in one process, each against a server of its own."""

    def __init__(self, scripted, calls):
        self.scripted = scripted
        self.calls = calls

    def call(self, printing, *options):
        """The return code, and what was needed of memory at most until its end."""
        code, _, peak = self.calls("-s", self.scripted(printing).address, *options, "-c", "pass")
        return code, peak

    def peak_of(self, message, times, *options):
        printing = Printing(message, times)
        code, peak = self.call(printing, "-t", "-1", *options)
        assert (code, printing.sent) == (0, times)
        return peak


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["silent", "-v"])
def test_a_job_that_prints_without_end_costs_no_more_memory_than_one_that_prints_a_line(scripted, options):
    """Nor do the greatest messages that there are, but for a few times the length of one."""
    with MeasuredCalls() as calls:
        client = Client(scripted, calls)
        one_line = client.peak_of(ONE_LINE, 1, *options)
        for message in (output(64 * KIB, 32 * KIB), output(MIB, 2000)):
            peak = client.peak_of(message, PRINTED // len(message), *options)
            assert peak - one_line <= LEEWAY, len(message)


def test_a_client_that_nobody_reads_from_takes_no_more_than_it_can_show(scripted):
    printing = Printing(output(64 * KIB, 1000), 2**30)
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb") as stdout, MeasuredCalls(stdout) as calls:
        client = Client(scripted, calls)
        one_line = client.peak_of(ONE_LINE, 1, "-v")
        code, peak = client.call(printing, "-t", "1", "-v")
    assert code == 3
    assert peak - one_line <= LEEWAY
    assert printing.sent * len(printing.message) <= TAKEN
