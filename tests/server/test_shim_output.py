"""What of a job's output is stored: up to the limit, on a disk that is full, with a line about what is missing."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")


from headless.server import shim
from headless.server.shim import StoredOutput
from support.job_processes import end_of, is_running, run, shim_of, start, stored
from support.waiting import until

LINE = b"[planta-headless: %d bytes of output were not stored: %s]\n"
LIMIT = b"the limit is %d bytes"
NO_FLOOR = 0


def by_a_shim(test):
    linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is tested here needs /proc")
    return pytest.mark.slow(linux(test))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.stdout"


@pytest.mark.parametrize("piece", [1, 7, 1 << 20], ids="pieces of {} bytes".format)
def test_as_much_is_stored_as_the_limit_says(path, piece):
    for printed, limit, expected in [
        (b"x" * 99, 100, b"x" * 99),
        (b"x" * 100, 100, b"x" * 100),
        (b"x" * 101, 100, b"x" * 100 + b"\n" + LINE % (1, LIMIT % 100)),
        (b"x" * 99 + b"\n" + b"y" * 1000, 100, b"x" * 99 + b"\n" + LINE % (1000, LIMIT % 100)),
        (b"x", 0, LINE % (1, LIMIT % 0)),
        (b"", 0, b""),
    ]:
        output = StoredOutput(str(path), limit, NO_FLOOR)
        for begin in range(0, len(printed), piece):
            output.store(printed[begin : begin + piece])
        output.complete()
        assert path.read_bytes() == expected, (printed, limit)
        assert output.lost == max(0, len(printed) - limit), (printed, limit)


def test_what_is_there_from_an_earlier_try_goes_and_what_others_append_stays(path):
    path.write_bytes(b"old, and longer than the new one")
    output = StoredOutput(str(path), 100, NO_FLOOR)
    output.store(b"new\n")
    with open(path, "ab") as file:
        file.write(b"another's\n")
    output.store(b"newer\n")
    assert path.read_bytes() == b"new\nanother's\nnewer\n"


class Disk:
    """Takes so many bytes of each write. `refusals` are the errors of the next ones."""

    def __init__(self) -> None:
        self.takes = 1 << 20
        self.refusals: list[OSError] = []

    def write(self, descriptor: int, data: bytes) -> int:
        if self.refusals:
            raise self.refusals.pop(0)
        return os.write(descriptor, data[: self.takes])

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(shim, "os", disk)
    return disk


@pytest.mark.parametrize("before", [b"one\n", b"one"], ids=["between lines", "in a line"])
def test_a_line_is_where_something_is_missing(path, disk, before):
    output = StoredOutput(str(path), 1000, NO_FLOOR)
    output.store(before)
    disk.refusals = [OSError(28, "")] * 2
    output.store(b"two\n")
    output.store(b"too\n")
    output.store(b"three\n")
    output.complete()
    line = LINE % (8, os.strerror(28).encode())
    assert path.read_bytes() == before + (b"" if before.endswith(b"\n") else b"\n") + line + b"three\n"
    assert output.lost == 8


def test_what_is_missing_at_the_end_has_its_line_there_however_little_the_disk_takes_at_a_time(path, disk):
    output = StoredOutput(str(path), 1000, NO_FLOOR)
    disk.takes = 3
    output.store(b"one\ntwo\nthree\n")
    disk.refusals = [OSError(5, "")]
    output.store(b"four\n")
    output.complete()
    assert path.read_bytes() == b"one\ntwo\nthree\n" + LINE % (5, os.strerror(5).encode())
    assert output.lost == 5


def test_it_leaves_some_of_the_disk_to_others(path, disk):
    free = 1000
    disk.fstatvfs = lambda _: SimpleNamespace(f_bavail=free, f_frsize=1)
    output = StoredOutput(str(path), 1 << 20, 990)
    output.store(b"x" * 10)
    output.store(b"y" * 11)
    free = 2000
    output.store(b"z\n")
    output.complete()
    assert path.read_bytes() == b"x" * 10 + b"\n" + LINE % (11, b"the disk is full") + b"z\n"
    assert output.lost == 11


def test_the_end_is_known_where_the_disk_cannot_be_asked_and_takes_nothing(path, disk):
    def fail(*_):
        raise OSError(5, "Input/output error")

    output = StoredOutput(str(path), 100, NO_FLOOR)
    output.store(b"one\n")
    disk.fstatvfs = disk.fsync = fail
    disk.refusals = [OSError(5, "")] * 3
    output.store(b"two\n")
    output.store(b"three\n")
    output.complete()
    assert (path.read_bytes(), output.lost) == (b"one\n", 10)


# By a real shim


@by_a_shim
def test_each_stream_has_its_own_limit_and_what_is_lost_of_both_is_counted(folder):
    code = "import sys; sys.stdout.buffer.write(b'x' * 1000000); sys.stderr.buffer.write(b'y' * 101)"
    end = run(end_of(folder, code, output_limit=100))
    spec = folder.spec("")
    assert stored(spec) == b"x" * 100 + b"\n" + LINE % (999900, LIMIT % 100)
    assert stored(spec, "stderr") == b"y" * 100 + b"\n" + LINE % (1, LIMIT % 100)
    assert (end.status, end.lost) == (0, 999901)
    end = run(end_of(folder, "print('x' * 999)", disk_floor=1 << 62))
    assert stored(spec) == LINE % (1000, b"the disk is full")
    assert (end.status, end.lost) == (0, 1000)


@by_a_shim
def test_what_a_job_prints_before_it_ends_is_stored_after_that(folder):
    """More than one read takes, and all of it while the shim does nothing."""
    code = "import fcntl, os; os.kill(os.getppid(), 19); fcntl.fcntl(1, 1031, 1 << 20); os.write(1, b'x' * (1 << 20))"

    async def run_it():
        process = await start(folder, code)
        await until(lambda: not is_running(process.pid))
        os.kill(shim_of(process), 18)
        return await process.wait()

    assert run(run_it()).status == 0
    assert stored(folder.spec("")) == b"x" * (1 << 20)
