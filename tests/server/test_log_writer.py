"""The log has a thread of its own: what logs does not wait for it, and what is dropped is counted."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from headless.server import log_writer
from headless.server.log_writer import LogWriter
from support.process import PATIENCE, ROOT
from support.waiting import wait_until

pytestmark = pytest.mark.slow


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes and pipes")


@contextmanager
def logging_to(target):
    writer = LogWriter(target)
    writer.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.Logger("test")  # one of its own
    logger.addHandler(writer)
    try:
        yield logger, writer
    finally:
        writer.close(PATIENCE)


class Pipe:
    """A pipe that is read when the test says so. `lines` is what was read so far."""

    def __init__(self) -> None:
        read_end, self.write_end = os.pipe()
        self.lines: list[str] = []
        self._file = open(read_end, encoding="utf-8")  # noqa: SIM115 (the reader closes it)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._is_closed = False

    def read_from_now_on(self) -> None:
        self._reader.start()

    def read_to_end(self) -> list[str]:
        """Returns all lines, once there is no writer any more."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self.write_end)
            if not self._reader.ident:
                self.read_from_now_on()
            self._reader.join(PATIENCE)
        return self.lines

    def _read(self) -> None:
        with self._file:
            for line in self._file:
                self.lines.append(line.rstrip("\n"))


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.read_to_end()


@pytest.fixture
def small(monkeypatch, pipe):
    """A pipe for a log in which a tenth of the lines may wait."""
    monkeypatch.setattr(log_writer, "_LINES_MAX", 1000)
    return pipe


def reported_as_lost(lines: list[str]) -> int:
    """Returns how many lines are lost, as the log says."""
    found = (re.fullmatch(r"ERROR (\d+) lines? of the log (?:was|were) lost: .+", line) for line in lines)
    return sum(int(match[1]) for match in found if match)


@posix
def test_what_logs_does_not_wait_for_a_log_that_is_not_read_and_what_is_lost_is_counted(small):
    with logging_to(small.write_end) as (log, writer):
        for number in range(3000):  # none of which could go on by itself
            log.info("line %d %s", number, "x" * 80)
        assert 1000 < writer.dropped < 3000
        small.read_from_now_on()
        wait_until(lambda: reported_as_lost(small.lines) == writer.dropped)
        log.info("the last one")
    lines = small.read_to_end()
    assert lines[-1] == "INFO the last one"
    assert all(line.endswith(" lost: they came faster than they were read") for line in lines if "ERROR" in line)
    assert len([line for line in lines if " line " in line]) + writer.dropped == 3000


@posix
def test_a_pipe_that_others_have_made_non_blocking_is_waited_for(pipe):
    os.set_blocking(pipe.write_end, False)
    with logging_to(pipe.write_end) as (log, writer):
        for number in range(3000):
            log.info("line %d %s", number, "x" * 50)
        time.sleep(0.1)
        pipe.read_from_now_on()
    assert [int(line.split()[2]) for line in pipe.read_to_end()] == list(range(3000))
    assert writer.dropped == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no device that is always full")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_what_a_full_disk_does_not_take_is_counted_when_there_is_room_again(tmp_path):
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    with logging_to(str(path)) as (log, writer):
        log.info("lost")
        wait_until(lambda: writer.dropped == 1)
        for _ in range(99):
            log.info("lost")
        wait_until(lambda: writer.dropped == 100)
        path.unlink()
        log.info("written")
    assert path.read_text() == (
        "INFO written\nERROR 100 lines of the log were lost: they cannot be written: No space left on device\n"
    )
    assert writer.dropped == 100


@posix
def test_a_pipe_whose_reader_has_gone_only_loses_lines():
    read_end, write_end = os.pipe()
    os.close(read_end)
    with logging_to(write_end) as (log, writer):
        log.info("one")
        wait_until(lambda: writer.dropped == 1)
        log.info("two")
        wait_until(lambda: writer.dropped == 2)
        used = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - used < 0.1  # what was lost is not tried again and again
    os.close(write_end)


def test_after_half_a_line_the_next_one_begins_on_its_own(tmp_path, monkeypatch):
    write = os.write
    sizes = [8, 0]  # that a disk takes which is full after that

    def full_disk(descriptor: int, data: bytes) -> int:
        size = sizes.pop(0) if sizes else len(data)
        if not size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:size])

    monkeypatch.setattr(os, "write", full_disk)
    with logging_to(str(tmp_path / "log")) as (log, writer):
        log.info("first")
        wait_until(lambda: writer.dropped == 1)
        log.info("second")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ["INFO fir", "INFO second"]
    assert reported_as_lost(lines[2:]) == 1


@posix
def test_what_waits_has_a_limit_in_bytes_too(pipe):
    with logging_to(pipe.write_end) as (log, writer):
        for _ in range(100):
            log.info("x" * 100_000)
        assert 50 < writer.dropped < 70  # about 4 MiB are kept
        log.info("x" * 5_000_000)
        pipe.read_from_now_on()


# What is written


def test_lines_are_appended_in_order_in_the_format_of_the_handler_by_a_thread_that_ends(tmp_path, capfd):
    path, threads = tmp_path / "log", threading.active_count()
    path.write_text("before\n")
    with logging_to(str(path)) as (log, writer):
        for number in range(1000):
            log.info("line %d", number)
        log.info("a lone surrogate: \udcff")
        log.info("%d", "no number\n")
        try:
            raise KeyError("fünf")
        except KeyError:
            log.exception("given up")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:1001] == ["before", *(f"INFO line {number}" for number in range(1000))]
    assert lines[1001] == "INFO a lone surrogate: \\udcff"
    assert re.fullmatch(r"ERROR a line of the log cannot be made: TypeError\(.*\)", lines[1002])
    assert lines[1003:1005] == ["ERROR given up", "Traceback (most recent call last):"]
    assert lines[-1] == "KeyError: 'fünf'"
    assert writer.dropped == 0
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == threads


@posix
def test_a_new_file_is_for_us_alone(tmp_path):
    before = os.umask(0)
    try:
        with logging_to(str(tmp_path / "log")):
            assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_what_cannot_be_opened_is_an_error_at_once(tmp_path):
    with pytest.raises(OSError, match="directory"):
        LogWriter(str(tmp_path / "missing" / "log"))
    if os.name != "nt":
        os.mkfifo(tmp_path / "fifo")  # without a reader
        with pytest.raises(OSError, match="No such device"):
            LogWriter(str(tmp_path / "fifo"))


# A file that is rotated


renames = pytest.mark.skipif(os.name == "nt", reason="Windows does not let an open file be renamed")


@renames
def test_a_file_that_was_moved_is_made_anew_and_leaves_no_descriptor(tmp_path):
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _):
        open_files = len(os.listdir("/dev/fd"))
        for number in range(5):
            log.info("%d", number)
            wait_until(lambda: path.exists() and path.read_text())
            path.rename(tmp_path / f"log.{number}")
        assert len(os.listdir("/dev/fd")) == open_files
    assert [(tmp_path / f"log.{number}").read_text() for number in range(5)] == [f"INFO {n}\n" for n in range(5)]


@renames
def test_what_cannot_be_made_anew_goes_on_in_the_old_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with logging_to(str(folder / "log")) as (log, writer):
        folder.rename(tmp_path / "moved")
        log.info("on")
    assert (tmp_path / "moved" / "log").read_text() == "INFO on\n"
    assert writer.dropped == 0


# The end


@posix
def test_close_waits_for_a_log_that_is_not_read_no_longer_than_it_may(pipe):
    with logging_to(pipe.write_end) as (log, writer):
        for _ in range(5000):
            log.info("x" * 100)
        before = time.monotonic()
        writer.close(0.1)
        assert time.monotonic() >= before + 0.1
        log.info("too late")
        assert writer.dropped == 1
        pipe.read_from_now_on()


SCRIPT = """
import logging, sys
from headless.server.log_writer import LogWriter
logging.getLogger().addHandler(LogWriter())
for _ in range(int(sys.argv[1])):
    logging.error("x" * 100)
"""


@pytest.mark.version("how an interpreter ends")
@posix
def test_the_interpreter_ends_although_its_log_is_not_read(pipe):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "12000"],
        cwd=ROOT, stderr=pipe.write_end, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0


def test_what_was_logged_last_is_written_before_the_interpreter_ends():
    lines = 500 if os.name == "nt" else 5000  # within a second
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(lines)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stderr == ("x" * 100 + "\n") * lines
