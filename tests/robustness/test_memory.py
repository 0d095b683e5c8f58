"""What a client takes of memory while a job prints without end: no more than for a job that prints one line, but for
the message that it has in hand."""

from __future__ import annotations

import os
import sys

import pytest

from support.dialogues import ACCEPTED, ENDED, FINISHED, STARTED, WELCOME
from support.frames import frame
from support.usage import usage_of

KIB, MIB = 1024, 1024 * 1024
PRINTED = 128 * MIB
LEEWAY = 32 * MIB  # what the client may take more than for one line
LEEWAY_GREAT_MESSAGES = 12 * MIB  # for the greatest message that there is, 1 MiB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak has another unit, or none")


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


def peak_of(scripted, message, times, *options):
    printing = Printing(message, times)
    ended = usage_of("-s", scripted(printing).address, "-t", "-1", *options, "-c", "pass")
    assert (ended.code, printing.sent) == (0, times)
    return ended.peak


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["silent", "-v"])
def test_a_job_that_prints_without_end_costs_no_more_memory_than_one_that_prints_a_line(scripted, options):
    message = output(64 * KIB, 32 * KIB)
    one_line = peak_of(scripted, ONE_LINE, 1, *options)
    peak = peak_of(scripted, message, PRINTED // len(message), *options)
    assert peak - one_line <= LEEWAY


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["silent", "-v"])
def test_the_greatest_message_costs_no_more_than_a_few_times_its_length(scripted, options):
    one_line = peak_of(scripted, ONE_LINE, 1, *options)
    peak = peak_of(scripted, output(MIB, 2000), 48, *options)
    assert peak - one_line <= LEEWAY_GREAT_MESSAGES


def test_a_client_that_nobody_reads_from_takes_no_more_than_it_can_show(scripted):
    one_line = peak_of(scripted, ONE_LINE, 1, "-v")
    printing = Printing(output(64 * KIB, 1000), 2**30)
    reader, writer = os.pipe()
    try:
        ended = usage_of("-s", scripted(printing).address, "-t", "1", "-v", "-c", "pass", stdout=writer)
    finally:
        os.close(reader)
        os.close(writer)
    assert ended.code == 3
    assert ended.peak - one_line <= LEEWAY
    assert printing.sent * len(printing.message) <= LEEWAY
