"""The folder of a server and those of the code: who may read and write there, and what makes a home."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from headless.dialects.vocabulary import MODULE, PY_FILE, Job
from headless.errors import HomeError
from headless.server import home_trust
from headless.server.home import Home
from headless.server.jobs import JobRefused, script_of
from support.command_here import headless
from support.homes import by_root, fails, give_away, posix, prints
from support.process import current_user

pytestmark = pytest.mark.slow


READ_ONLY = [("user", "list"), ("user", "remove", "R41"), ("jobs",)]
ADD = ("user", "add", "R50", "--os-user", "jdoe")
OPENING = [ADD, ("serve", "--listen", "127.0.0.1:0"), *READ_ONLY]


def listed(home_path: object) -> list[str]:
    return prints("user", "list", "--home", str(home_path))


def test_what_only_reads_makes_no_home(tmp_path):
    for argv in READ_ONLY:
        fails("absent", *argv, "--home", str(tmp_path / "absent"))
        assert list(tmp_path.iterdir()) == [], argv
        headless(*argv, "--home", str(tmp_path))
        assert list(tmp_path.iterdir()) == [], argv


def test_what_is_no_home_cannot_be_used_and_stays_as_it_is(tmp_path):
    (tmp_path / "file").write_text("keep me")
    for argv in OPENING:
        fails("file", *argv, "--home", str(tmp_path / "file"))
        assert (tmp_path / "file").read_text() == "keep me", argv
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "planta.sqlite").write_bytes(b"no database" * 1000)
    fails("planta.sqlite", "jobs", "--home", str(tmp_path / "home"))


def mounted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says of the file system of this folder that it is of this type."""
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = f"22 27 0:9999 / /proc rw - proc proc rw\n30 27 {number} / /srv rw,relatime shared:7 - {kind} nas:/srv rw\n"
    (tmp_path / "mountinfo").write_text(lines)
    monkeypatch.setattr(home_trust, "_MOUNTS", str(tmp_path / "mountinfo"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the type of a file system")
@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs"])
def test_serve_refuses_a_home_on_the_network_before_it_makes_one(tmp_path, monkeypatch, kind):
    mounted(kind, tmp_path, monkeypatch)
    home = tmp_path / "new" / "home"
    fails(f"is on {kind}", "serve", "--listen", "127.0.0.1:0", "--home", str(home))
    assert not home.parent.exists()
    options = ("--trust-network-home", "--until-eof", "--listen", "127.0.0.1:0")
    assert headless("serve", *options, "--home", str(home)).returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the type of a file system")
def test_a_home_on_a_disk_or_on_what_is_not_known_is_not_refused(tmp_path, monkeypatch):
    home_trust.check_file_system(tmp_path / "home")  # as it really is
    mounted("ext4", tmp_path, monkeypatch)
    home_trust.check_file_system(tmp_path / "home")
    monkeypatch.setattr(home_trust, "_MOUNTS", str(tmp_path / "none"))
    home_trust.check_file_system(tmp_path / "home")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells the type of a file system")
def test_the_type_of_a_file_system_is_what_the_kernel_calls_it(monkeypatch):
    monkeypatch.setattr(home_trust, "_OF_THE_NETWORK", {"proc"})
    with pytest.raises(HomeError, match="is on proc, "):
        home_trust.check_file_system(Path("/proc/sys/home"))


def test_the_home_is_planta_home_if_nothing_else_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prints("user", "add", "R41", "--os-user", current_user())
    assert prints("user", "list") == listed(tmp_path / "planta-home") == [f"R41 osuser={current_user()}"]


@posix
def test_a_new_home_is_its_owners_alone_whatever_the_umask_and_the_folders_above_it_can_be_trusted(tmp_path):
    home = tmp_path / "new" / "newer" / "home"
    before = os.umask(0)
    try:
        prints("user", "add", "R41", "--os-user", current_user(), "--home", str(home))
    finally:
        os.umask(before)
    assert listed(home) == [f"R41 osuser={current_user()}"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.iterdir() if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in home.glob("planta.sqlite*")} == {0o600}


# What others could have made, or can write to


def refuses(path, home, *commands: tuple[str, ...]) -> None:
    """Expects of these commands, by default all, that they refuse this home, name the path, and advise nothing that
    harms a home in use."""
    for argv in commands or OPENING:
        done = headless(*argv, "--home", str(home))
        assert (done.returncode, done.stdout) == (1, ""), argv
        (complaint,) = done.stderr.splitlines()
        assert " error: " in complaint
        assert repr(str(path)) in complaint
        assert "another --home" in complaint
        assert not any(word in complaint for word in ("chown", "rm ", "remove it", "number 0"))


@by_root
def test_what_another_user_has_made_is_not_used(above):
    """The home, one in a sticky folder, the folder above, and parts of it."""
    home = above / "home"
    for path in (home, above):
        give_away(path)
        refuses(path, home)
        os.chown(path, os.geteuid(), -1)
    for part in ("planta.sqlite", "planta.sqlite-wal", "lock", "output", "modules", "py"):
        path = home / part
        was_there = path.exists()
        if not was_there:
            path.touch()
        give_away(path)
        refuses(path, home)
        os.chown(path, os.geteuid(), -1)
        if not was_there:
            path.unlink()
    above.chmod(0o1777)
    (above / "bait").mkdir()
    give_away(above / "bait")
    refuses(above / "bait", above / "bait", ADD)
    assert list((above / "bait").iterdir()) == []


@posix
def test_what_others_can_write_to_is_not_used_and_what_they_can_only_read_is_closed_to_them(above):
    home = above / "home"
    for mode in (0o720, 0o702, 0o777, 0o1777):
        home.chmod(mode)
        refuses(home, home)
        assert home.stat().st_mode & 0o7777 == mode
    for argv in (ADD, *READ_ONLY):
        home.chmod(0o755)
        headless(*argv, "--home", str(home))
        assert home.stat().st_mode & 0o777 == 0o700, argv
    for mode in (0o775, 0o757, 0o777):
        above.chmod(mode)
        refuses(above, home)
        refuses(above, above / "new" / "home", ADD)
        assert not (above / "new").exists()
    above.chmod(0o1777)  # where others cannot replace the home
    assert listed(home)


@posix
def test_what_the_server_writes_is_behind_no_link(above, tmp_path):
    for part in ("planta.sqlite", "planta.sqlite-wal", "planta.sqlite-shm", "lock", "output"):
        path, elsewhere = above / "home" / part, tmp_path / part
        was_there = path.exists()
        if was_there:
            path.rename(elsewhere)
        else:
            elsewhere.touch()
        path.symlink_to(elsewhere)
        refuses(path, above / "home")
        path.unlink()
        if was_there:
            elsewhere.rename(path)


@posix
@pytest.mark.parametrize("path", ["link", "absolute", "way/home", "way/../above/home", "link/../home", "home/py/.."])
def test_a_link_of_our_own_leads_to_a_home(above, path):
    (above / "link").symlink_to("./home/.")
    (above / "absolute").symlink_to(above / "home")
    (above / "way").symlink_to("../above")
    prints("user", "add", "R50", "--os-user", current_user(), "--home", str(above / path))
    assert listed(above / path)[1:] == [f"R50 osuser={current_user()}"]


@by_root
@pytest.mark.parametrize("path", ["link", "link/home"])
def test_no_link_of_another_user_leads_to_a_home(above, path):
    (above / "link").symlink_to(above / "home" if path == "link" else above)
    give_away(above / "link")
    refuses(above / "link", above / path, ("user", "list"), ADD)


@posix
def test_a_link_leads_through_no_folder_that_others_can_write_to_and_in_no_circle(above, tmp_path):
    (tmp_path / "link").symlink_to("above/home")
    above.chmod(0o777)
    refuses(above, tmp_path / "link", ("user", "list"))
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    fails("links", *ADD, "--home", str(tmp_path / "a"))


@by_root
def test_who_is_not_the_user_of_the_home_learns_how_to_be(above, monkeypatch):
    import pwd  # not on Windows

    os.chown(above / "home", pwd.getpwnam("nobody").pw_uid, -1)
    monkeypatch.setattr(
        "headless.server.home_trust._walk", lambda *_: pytest.fail("who is not root may not come there")
    )
    done = headless("jobs", "--home", str(above / "home"))
    advice = "run this as nobody (sudo -u nobody ...), or use another --home\n"
    assert done.stderr.endswith(f" belongs to nobody, and you are root: {advice}")


def test_a_home_that_may_not_be_looked_into_is_not_said_to_be_none(home, monkeypatch):
    def fail(_path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "stat", fail)
    number = errno.EACCES
    assert home.is_used
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        _ = home.is_used


def test_on_windows_owners_and_modes_are_not_asked_for_and_a_new_home_is_for_its_user_alone(above, monkeypatch):
    made = []

    def create_private_folder(path: str) -> None:
        made.append(path)
        os.mkdir(path)

    stand_in = ModuleType("headless.windows")
    stand_in.create_private_folder = create_private_folder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    (above / "home").chmod(0o777)
    monkeypatch.setattr(sys, "platform", "win32")
    Home(str(above / "home")).create()
    Home(str(above / "home")).check_trust()
    Home(str(above / "new" / "home")).create()
    assert (above / "new" / "home").is_dir()
    assert made == [str(above / "home"), str(above / "new" / "home")]


# Code


@pytest.fixture(params=["--modules", "--py", "--import-from", "modules", "py"])
def code(request, above, tmp_path):
    """A folder of code, and the option that names it. Without one it is a link in the home."""
    folder = tmp_path / "elsewhere" / "code"
    folder.mkdir(parents=True)
    if request.param.startswith("--"):
        return folder, (request.param, str(folder))
    (above / "home" / request.param).rmdir()
    (above / "home" / request.param).symlink_to(folder)
    return folder, ()


def serving(above, *options: str):
    """Returns the error of a server whose address is none of ours: that of the home comes first."""
    done = headless("serve", "--home", str(above / "home"), "--listen", "192.0.2.1:1", *options)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


def is_refused(code, above) -> bool:
    said = serving(above, *code[1])
    assert "cannot listen" in said or ("another --" in said and "chown" not in said and "rm " not in said)
    return "cannot listen" not in said


@posix
def test_no_server_takes_code_from_where_others_can_put_it(above, code):
    folder, _ = code
    assert not is_refused(code, above)
    for mode in (0o775, 0o757, 0o777, 0o1777, 0o2775):
        folder.chmod(mode)
        assert is_refused(code, above)
        folder.chmod(0o755)
        folder.parent.chmod(mode)
        assert is_refused(code, above) == (not mode & 0o1000)
        folder.parent.chmod(0o755)
    for path in (folder, folder.parent) if os.geteuid() == 0 else ():
        give_away(path)
        assert is_refused(code, above)
        os.chown(path, os.geteuid(), -1)


@posix
def test_a_link_to_code_is_followed_step_by_step(above, code, tmp_path):
    folder, _ = code
    (tmp_path / "open").mkdir()
    folder.rmdir()
    folder.symlink_to(tmp_path / "open" / "link")
    (tmp_path / "open" / "link").symlink_to(tmp_path / "code")
    (tmp_path / "code").mkdir()
    assert not is_refused(code, above)
    (tmp_path / "open").chmod(0o777)
    assert is_refused(code, above)


@posix
def test_a_folder_that_others_can_write_to_is_to_be_closed_unless_it_is_for_all_and_an_option_trusts_it(above, code):
    folder, options = code
    folder.chmod(0o775)
    assert f"chmod go-w {folder}" in serving(above, *options)
    folder.chmod(0o1777)  # such as /tmp
    assert "chmod" not in serving(above, *options)
    assert "cannot listen" in serving(above, *options, "--trust-folders")


@pytest.fixture
def scripts(above, tmp_path):
    """A home with its modules elsewhere, and the module 009ABC."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "009ABC.py").touch(mode=0o644)
    return Home(str(above / "home"), modules=str(tmp_path / "modules"))


def is_run(home: Home, kind: str = MODULE, text: str = "009ABC") -> bool:
    try:
        script_of(home, "", 1, Job(kind, text))
    except JobRefused as error:
        assert "others can change" in str(error)
        assert str(home.folder.parent.parent) not in str(error)
        return False
    return True


@posix
def test_a_script_that_others_can_write_to_or_own_is_not_run(scripts):
    assert is_run(scripts)
    for mode in (0o664, 0o646):
        (scripts.modules / "009ABC.py").chmod(mode)
        assert not is_run(scripts)
    if os.geteuid() == 0:
        (scripts.modules / "009ABC.py").chmod(0o644)
        give_away(scripts.modules / "009ABC.py")
        assert not is_run(scripts)


@posix
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_script_behind_a_link_is_looked_at_there_with_the_folder_that_it_imports_from(scripts, tmp_path, mode):
    """Python imports from the folder of the script first. A sticky folder protects only what is in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (scripts.modules / "009ABC.py").rename(folder / "abc.py")
    (scripts.modules / "009ABC.py").symlink_to(folder / "abc.py")
    assert is_run(scripts)
    folder.chmod(mode)
    assert not is_run(scripts)


@posix
def test_no_other_user_comes_to_a_script_in_the_home_whatever_its_mode(scripts):
    (scripts.py / "nightly").mkdir()
    (scripts.py / "nightly" / "close.py").touch()
    for path in (scripts.py, scripts.py / "nightly", scripts.py / "nightly" / "close.py"):
        path.chmod(0o777)
    scripts.check_code()
    assert is_run(scripts, PY_FILE, "nightly/close.py")
