"""Reading the password file: what is believed, what is refused, and that no connection is made before."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys

import pytest

from headless import password_file
from headless.errors import ParameterError, SessionError
from headless.password_file import NewFile
from support.checks import assert_harmless
from support.credentials import HASH
from support.dialogues import challenging, serving
from support.process import PATIENCE

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes mean nothing on Windows")


@pytest.fixture
def listener():
    """A socket to which no call may connect; the test checks that none has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def refused(here, listener, path):
    done = here("-s", f"127.0.0.1:{listener.getsockname()[1]}", "-u", "R41", "-p", path, "-c", "pass")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert_harmless(done.stderr)
    with pytest.raises(BlockingIOError):
        listener.accept()
    return done.stderr


@pytest.mark.parametrize("algorithm", ["2a", "2b", "2y"])
def test_a_hash_of_each_algorithm_is_used_with_white_space_around_it(here, scripted, algorithm):
    wanted = f"${algorithm}{HASH[3:]}"
    for number, space in enumerate(("", "\n", "\r\n", " \t\n\n")):
        path = here.secret_file(space + wanted + space, name=str(number))
        assert password_file.read(path).hash == wanted.encode(), repr(space)
    server = scripted(challenging(secret=wanted, salt=wanted[:29]))
    assert here("-s", server.address, "-u", "R41", "-p", path, "-c", "pass").returncode == 0


def test_a_file_in_an_encoding_of_windows_is_not_to_be_deleted(here):
    with pytest.raises(ParameterError, match="save it as ASCII") as caught:
        password_file.read(here.secret_file(f"\ufeff{HASH}\r\n"))
    assert "make" not in str(caught.value)


def test_anything_but_one_hash_is_refused_before_any_connection(here, listener):
    contents = (
        "", "\n", "secret", HASH[:-1], HASH + "x", HASH + "\n" + HASH, "$2x" + HASH[3:], HASH[:-1] + "v",
        "\ufeff" + HASH, HASH[:30] + "\x00" + HASH[31:], HASH + " " * 5000, "x" * 100_000,
    )  # fmt: skip
    for number, content in enumerate(contents):
        error = refused(here, listener, here.secret_file(content, name=f"secret{number}"))
        assert "secret" in error, content[:70]
        assert HASH[29:] not in error


@posix_only
def test_a_file_that_is_open_to_others_is_refused_with_the_mode_and_the_mend(here, listener):
    for mode in (0o404, 0o402, 0o401, 0o420, 0o644, 0o666, 0o777):
        error = refused(here, listener, here.secret_file(mode=mode, name=f"{mode:o}"))
        assert f"(mode {mode:04o})" in error
        assert "other users who need it make one first; then: chmod g-wx,o= " in error


@posix_only
def test_the_mend_of_a_file_whose_name_begins_like_an_option_works_through_a_link(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(here.secret_file(mode=0o644), "-x")
    with pytest.raises(ParameterError, match=r"mode 0644.* then: (chmod .*)") as caught:
        password_file.read("-x")
    subprocess.run(str(caught.value).rpartition("then: ")[2], shell=True, check=True)
    assert password_file.read("-x").hash == HASH.encode()


@posix_only
@pytest.mark.parametrize(("mode", "is_remarked"), [(0o400, False), (0o600, False), (0o440, True), (0o640, True)])
def test_a_file_for_its_owner_and_at_most_its_group_is_fine(here, mode, is_remarked):
    found = password_file.read(here.secret_file(mode=mode))
    assert found.hash == HASH.encode()
    assert ("group" in found.remark) == is_remarked


@posix_only
def test_a_file_of_another_user_is_refused(here, monkeypatch):
    path = here.secret_file()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    if own == 0:
        assert password_file.read(path).hash  # root's file is as good as one's own
    else:
        with pytest.raises(ParameterError, match="make a file of your own: headless password-file"):
            password_file.read(path)


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can give a file away")
def test_root_reads_whose_file_it_is_and_to_give_it_to_no_one(here):
    path = here.secret_file()
    as_nobody = r"call this as nobody \(sudo -u nobody \.\.\.\), or make"
    for owner, name, advice in ((12345, "user number 12345", "make a file"), (65534, "nobody", as_nobody)):
        os.chown(path, owner, -1)
        with pytest.raises(ParameterError, match=f"belongs to {name}, and you are root: {advice}") as caught:
            password_file.read(path)
        assert_harmless(str(caught.value))


@posix_only
def test_what_is_no_regular_file_is_refused_and_nothing_hangs(here, listener, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o400)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
    for path in (str(fifo), str(tmp_path), "/dev/zero", "/dev/null", str(tmp_path / "socket")):
        assert "regular" in refused(here, listener, path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENFILE, errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("step", ["open", "fstat", "read"])
def test_a_fault_that_passes_is_no_mistake_in_the_call(here, monkeypatch, step, number):
    path = here.secret_file()

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as context, pytest.raises(SessionError, match=os.strerror(number)):
        context.setattr(os, step, fail)
        password_file.read(path)


@pytest.mark.slow
def test_a_missing_file_is_refused_at_once_without_a_terminal(command, here, listener, tmp_path):
    for path in (str(tmp_path / "missing"), str(tmp_path / "no" / "such" / "folder"), "x" * 5000, "two\nlines\x1b[2J"):
        error = refused(here, listener, path)
        assert ("does not exist" in error or len(path) == 5000 or "\n" in path, "\x1b" in error) == (True, False)
    with command.start(
        "-s", "127.0.0.1:1", "-u", "R41", "-p", "missing", "-c", "pass", stdin=subprocess.PIPE
    ) as process:
        assert process.wait(timeout=PATIENCE) == 2  # though the pipe stays open
        process.communicate()
    if os.name != "nt":  # which cannot start a program without standard input
        closed = {"preexec_fn": lambda: os.close(0)}
        assert command("-s", "127.0.0.1:1", "-u", "R41", "-p", "missing", "-c", "pass", **closed).returncode == 2


def test_an_osuser_login_does_not_look_at_the_file(here, scripted):
    done = here("-s", scripted(serving()).address, "-a", "osuser", "-p", "missing", "-c", "pass")
    assert done.returncode == 0


# Access control lists, as Linux stores them: linux/posix_acl_xattr.h

USER, GROUP = 0x02, 0x08  # that are named
_NOBODY = 2**32 - 1


def set_access_list(path, *named, group, mask, owner=4, is_default=False):
    """Gives the file or folder this list; with `is_default` it is for what is made in the folder. `named` has tag,
    rights and number. Skips the test where there are none."""
    entries = sorted(
        [(0x01, owner, _NOBODY), *named, (0x04, group, _NOBODY), (0x10, mask, _NOBODY), (0x20, 0, _NOBODY)]
    )
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    if sys.platform != "linux":
        pytest.skip("access control lists are Linux's here")
    try:
        os.setxattr(path, f"system.posix_acl_{'default' if is_default else 'access'}", content)
    except OSError as error:
        pytest.skip(f"there are none in this file system: {error}")


@pytest.fixture
def listed(here):
    """Makes a password file with an access control list."""

    def make(*named, mode=0o400, group=0, mask=4):
        path = here.secret_file(mode=mode)
        set_access_list(path, *named, group=group, mask=mask)
        return path

    return make


def test_a_file_that_a_list_opens_to_another_user_is_refused_before_any_connection(here, listener, listed):
    error = refused(here, listener, listed((USER, 4, 12345), (USER, 4, 0), (USER, 4, 12346)))
    assert "opens it to user number 12345, user number 12346: make a file of your own: headless password-file" in error


@pytest.mark.parametrize(
    ("named", "group", "mask", "remark"),
    [
        ((), 0, 0, ""),
        ([(USER, 4, 12345)], 4, 0, ""),
        ([(USER, 6, 12345)], 0, 0, ""),
        ([(USER, 4, 0)], 0, 4, ""),
        ([(USER, 0, 12345)], 0, 4, ""),
        ([(USER, 1, 12345)], 0, 4, ""),
        ([(USER, 4, 0)], 4, 4, "the group can read"),
        ([(GROUP, 4, 12345)], 0, 4, "group number 12345 can read"),
        ([(GROUP, 6, 12345), (GROUP, 1, 12346)], 4, 4, "the group and group number 12345 can read"),
    ],
)
def test_a_list_that_opens_the_file_to_root_and_groups_at_most_is_fine(listed, named, group, mask, remark):
    found = password_file.read(listed(*named, group=group, mask=mask))
    assert found.hash == HASH.encode()
    assert found.remark.startswith(remark)
    assert ("can read" in found.remark) == bool(remark)


@pytest.mark.parametrize("named", [(USER, 6, 0), (GROUP, 6, 12345)])
def test_a_list_that_lets_anybody_write_is_refused_with_the_mode(listed, named):
    with pytest.raises(ParameterError, match=r"open to others \(mode 0460\): .*chmod g-wx,o= "):
        password_file.read(listed(named, mask=6))


def test_a_list_opens_roots_file_to_who_runs_the_command(listed, monkeypatch):
    path = listed((USER, 4, 0), (USER, 4, 12345))
    if os.stat(path).st_uid != 0:
        pytest.skip("only root has files of root")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert password_file.read(path).hash == HASH.encode()
    monkeypatch.setattr(os, "geteuid", lambda: 12346)
    with pytest.raises(ParameterError, match="opens it to user number 12345"):
        password_file.read(path)


def test_a_list_that_is_not_understood_is_refused(here, monkeypatch):
    if not hasattr(os, "getxattr"):
        pytest.skip("access control lists are Linux's here")
    path = here.secret_file(mode=0o440)
    for content in (b"", b"\2\0\1\0", b"\3\0\0\0", b"\2\0\0\0\1\0"):
        monkeypatch.setattr(os, "getxattr", lambda *_, content=content: content)  # no kernel has another version yet
        with pytest.raises(ParameterError, match="not understood: make a file of your own"):
            password_file.read(path)


def test_a_file_that_is_made_where_a_list_is_inherited_can_be_used(tmp_path):
    set_access_list(tmp_path, (USER, 7, 12345), group=5, mask=7, owner=7, is_default=True)
    path = tmp_path / "secret"
    NewFile(str(path)).write(HASH.encode() + b"\n")
    found = password_file.read(str(path))
    assert (found.hash, found.remark) == (HASH.encode(), "")
