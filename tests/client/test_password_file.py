"""Reading the password file: what is believed, what is refused, and that no connection is made before."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from headless.client import password_file
from headless.outcome import ParameterError
from support.credentials import HASH
from support.dialogues import challenging, serving
from support.process import PATIENCE

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")


@pytest.fixture
def listener():
    """A socket that nobody may connect to; the test asks whether somebody did."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def refused(command, listener, path):
    done = command("-s", f"127.0.0.1:{listener.getsockname()[1]}", "-u", "R41", "-p", path, "-c", "pass")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    with pytest.raises(BlockingIOError):
        listener.accept()
    return done.stderr


@pytest.mark.parametrize("algorithm", ["2a", "2b", "2y"])
@pytest.mark.parametrize("space", ["", "\n", "\r\n", " \t\n\n"])
def test_a_hash_is_read_with_white_space_around_it(command, algorithm, space):
    wanted = f"${algorithm}{HASH[3:]}"
    assert password_file.read(command.secret_file(space + wanted + space)).hash == wanted.encode()


@pytest.mark.parametrize(
    "content",
    ["", "\n", "secret", HASH[:-1], HASH + "x", HASH + "\n" + HASH, "$2x" + HASH[3:], "$1" + HASH[2:],
     HASH[:-1] + "v", HASH[:28] + "v" + HASH[29:], HASH.replace("$10$", "$1x$"), "\ufeff" + HASH,
     HASH[:30] + "\x00" + HASH[31:],
     HASH + " " * 5000, "x" * 100_000],
)  # fmt: skip
def test_anything_but_one_hash_is_refused_before_any_connection(command, listener, content):
    error = refused(command, listener, command.secret_file(content))
    assert "secret" in error
    assert HASH[29:] not in error


@posix_only
@pytest.mark.parametrize("mode", [0o404, 0o402, 0o401, 0o420, 0o644, 0o666, 0o777])
def test_a_file_that_is_open_to_others_is_refused_with_the_mode_and_the_mend(command, listener, mode):
    error = refused(command, listener, command.secret_file(mode=mode))
    assert f"{mode:04o}" in error
    assert "chmod 0400" in error


@posix_only
@pytest.mark.parametrize(("mode", "is_remarked"), [(0o400, False), (0o600, False), (0o440, True), (0o640, True)])
def test_a_file_for_its_owner_and_at_most_its_group_is_fine(command, mode, is_remarked):
    found = password_file.read(command.secret_file(mode=mode))
    assert found.hash == HASH.encode()
    assert ("group" in found.remark) == is_remarked


@posix_only
def test_a_file_of_another_user_is_refused(command, monkeypatch):
    path = command.secret_file()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    if own == 0:
        assert password_file.read(path).hash  # root's file is as good as one's own
    else:
        with pytest.raises(ParameterError, match="chown"):
            password_file.read(path)


@posix_only
def test_a_link_is_followed_and_what_it_leads_to_is_checked(command, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(command.secret_file())
    assert password_file.read(str(link)).hash == HASH.encode()
    link.unlink()
    link.symlink_to(command.secret_file(mode=0o444, name="open"))
    with pytest.raises(ParameterError, match="0444"):
        password_file.read(str(link))


@posix_only
def test_what_is_no_regular_file_is_refused_and_nothing_hangs(command, listener, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o400)
    for path in (str(fifo), str(tmp_path), "/dev/zero", "/dev/null"):
        assert "regular" in refused(command, listener, path)


def test_a_missing_file_is_refused_at_once_without_a_terminal(command, listener, tmp_path):
    assert "does not exist" in refused(command, listener, str(tmp_path / "missing"))
    with command.start(
        "-s", "127.0.0.1:1", "-u", "R41", "-p", "missing", "-c", "pass", stdin=subprocess.PIPE
    ) as process:
        assert process.wait(timeout=PATIENCE) == 2  # though the pipe stays open
        process.communicate()


def test_a_folder_that_is_missing_or_a_name_that_cannot_be_is_refused(command, listener, tmp_path):
    refused(command, listener, str(tmp_path / "no" / "such" / "folder"))
    refused(command, listener, "x" * 5000)


def test_an_osuser_login_does_not_look_at_the_file(command, scripted):
    done = command("-s", scripted(serving()).address, "-a", "osuser", "-p", "missing", "-c", "pass")
    assert done.returncode == 0


def test_an_error_names_the_file_with_control_characters_escaped(command, listener):
    error = refused(command, listener, "two\nlines\x1b[2J")
    assert "\x1b" not in error


def test_the_challenge_login_works_with_every_prefix(command, scripted):
    for algorithm in ("2a", "2y"):
        own = f"${algorithm}{HASH[3:]}"
        server = scripted(challenging(secret=own, salt=own[:29]))
        path = command.secret_file(own, name=algorithm)
        assert command("-s", server.address, "-u", "R41", "-p", path, "-c", "pass").returncode == 0
