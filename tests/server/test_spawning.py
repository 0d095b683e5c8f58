"""A shim that the system does not start."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")

from headless.server import posix_shims


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.ENOENT], ids=errno.errorcode.get)
def test_a_shim_that_cannot_be_started_is_the_error_of_the_system_and_leaves_nothing_open(folder, monkeypatch, number):
    def fail(*_command, **_options):
        raise OSError(number, "why")

    spec = folder.spec("print(1)")
    monkeypatch.setattr(subprocess, "Popen", fail)
    before = os.open(os.devnull, os.O_RDONLY)
    os.close(before)
    with pytest.raises(OSError, match="why") as error:
        posix_shims.spawn(spec, "-")
    assert error.value.errno == number
    after = os.open(os.devnull, os.O_RDONLY)
    os.close(after)
    assert after == before  # the lowest one that is free
    assert not posix_shims.is_locked(spec.output)
