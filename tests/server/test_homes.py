"""The folder of a server: who may read it, what makes one, what cannot be one, and whose hands it must not have been
in."""

from __future__ import annotations

import errno
import os
import sys
from types import ModuleType

import pytest

from headless.server.home import Home
from support.command_here import headless
from support.homes import by_root, fails, give_away, posix, prints
from support.process import current_user

pytestmark = pytest.mark.slow


def listed(home: str) -> list[str]:
    return prints("user", "list", "--home", home)


READING = [("user", "list"), ("user", "remove", "R41"), ("jobs",)]


ADD = ("user", "add", "R50", "--os-user", "jdoe")
OPENING = [ADD, ("serve", "--listen", "127.0.0.1:0"), *READING]


def test_what_only_reads_makes_no_home(tmp_path):
    for argv in READING:
        fails("absent", *argv, "--home", str(tmp_path / "absent"))
        assert list(tmp_path.iterdir()) == [], argv


def test_what_only_reads_leaves_nothing_in_a_folder_that_is_no_home(tmp_path):
    for argv in READING:
        headless(*argv, "--home", str(tmp_path))
        assert list(tmp_path.iterdir()) == [], argv


def test_a_home_that_is_a_file_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("keep me")
    for argv in OPENING:
        fails("file", *argv, "--home", str(tmp_path / "file"))
        assert (tmp_path / "file").read_text() == "keep me", argv


def test_a_database_that_is_none_cannot_be_used(home):
    with open(os.path.join(home, "planta.sqlite"), "wb") as file:
        file.write(b"no database" * 1000)
    fails("planta.sqlite", "jobs", "--home", home)


def test_the_home_is_planta_home_if_nothing_else_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prints("user", "add", "R41", "--os-user", current_user())
    assert prints("user", "list") == listed(str(tmp_path / "planta-home")) == [f"R41 osuser={current_user()}"]


@pytest.mark.skipif(os.name == "nt", reason="owners and modes mean little on Windows")
def test_a_home_is_its_owners_alone_whatever_the_umask(tmp_path):
    home = tmp_path / "home"
    add_without_a_umask(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.iterdir() if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in home.glob("planta.sqlite*")} == {0o600}


def add_without_a_umask(home) -> None:
    before = os.umask(0)
    try:
        prints("user", "add", "R41", "--os-user", current_user(), "--home", str(home))
    finally:
        os.umask(before)


# What others could have made, or can write to


def refuses(path, home, *commands: tuple[str, ...]) -> None:
    """Each of these commands, by default all, refuses this home, names the path, and says what can be done: nothing
    that harms a home in use."""
    for argv in commands or OPENING:
        done = headless(*argv, "--home", str(home))
        assert (done.returncode, done.stdout) == (1, ""), argv
        (complaint,) = done.stderr.splitlines()
        assert " error: " in complaint
        assert repr(str(path)) in complaint
        assert "another --home" in complaint
        assert not any(word in complaint for word in ("chown", "rm ", "remove it", "number 0"))


@by_root
def test_a_home_of_another_user_is_not_used(above):
    give_away(above / "home")
    refuses(above / "home", above / "home")


@by_root
def test_a_home_that_another_user_has_made_in_a_sticky_folder_is_not_used(above):
    above.chmod(0o1777)
    (above / "bait").mkdir()
    give_away(above / "bait")
    refuses(above / "bait", above / "bait", ADD)
    assert list((above / "bait").iterdir()) == []


@posix
def test_a_home_that_others_can_write_to_is_not_used(above):
    for mode in (0o720, 0o702, 0o777, 0o1777):
        (above / "home").chmod(mode)
        refuses(above / "home", above / "home")
        assert (above / "home").stat().st_mode & 0o7777 == mode


@posix
def test_a_home_that_others_can_only_read_is_closed_to_them(above):
    for argv in (ADD, *READING):
        (above / "home").chmod(0o755)
        headless(*argv, "--home", str(above / "home"))
        assert (above / "home").stat().st_mode & 0o777 == 0o700, argv


@by_root
def test_a_home_with_a_part_of_another_user_is_not_used(above):
    for part in ("planta.sqlite", "planta.sqlite-wal", "lock", "output", "modules", "py"):
        path = above / "home" / part
        was_there = path.exists()
        if not was_there:
            path.touch()
        give_away(path)
        refuses(path, above / "home")
        os.chown(path, os.geteuid(), -1)
        if not was_there:
            path.unlink()


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
def test_a_home_below_a_folder_that_others_can_write_to_is_not_used(above):
    for mode in (0o775, 0o757):
        above.chmod(mode)
        refuses(above, above / "home")


@posix
def test_a_sticky_folder_above_is_none_where_others_can_replace_the_home(above):
    above.chmod(0o1777)
    assert listed(str(above / "home"))


@by_root
def test_a_home_below_a_folder_of_another_user_is_not_used(above):
    give_away(above)
    refuses(above, above / "home")


@posix
@pytest.mark.parametrize("place", ["link", "absolute", "way/home", "way/../above/home", "link/../home", "home/py/.."])
def test_a_link_of_our_own_leads_to_a_home(above, place):
    (above / "link").symlink_to("./home/.")
    (above / "absolute").symlink_to(above / "home")
    (above / "way").symlink_to("../above")
    prints("user", "add", "R50", "--os-user", current_user(), "--home", str(above / place))
    assert listed(str(above / place))[1:] == [f"R50 osuser={current_user()}"]


@by_root
@pytest.mark.parametrize("place", ["link", "link/home"])
def test_no_link_of_another_user_leads_to_a_home(above, place):
    (above / "link").symlink_to(above / "home" if place == "link" else above)
    give_away(above / "link")
    refuses(above / "link", above / place, ("user", "list"), ADD)


@posix
def test_what_a_link_leads_through_is_asked_as_well(above, tmp_path):
    (tmp_path / "link").symlink_to("above/home")
    above.chmod(0o777)
    refuses(above, tmp_path / "link", ("user", "list"))


@posix
def test_links_in_a_circle_are_no_home(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    fails("links", "user", "add", "R41", "--os-user", "jdoe", "--home", str(tmp_path / "a"))


@posix
def test_nothing_is_made_behind_what_is_not_to_be_trusted(above):
    above.chmod(0o777)
    refuses(above, above / "new" / "home", ADD)
    assert not (above / "new").exists()


@posix
def test_folders_that_are_made_above_a_home_can_be_trusted_whatever_the_umask(tmp_path):
    home = tmp_path / "new" / "newer" / "home"
    add_without_a_umask(home)
    assert listed(str(home)) == [f"R41 osuser={current_user()}"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


# Who runs the command


def raising(number: int):
    def fail(_path) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@by_root
def test_who_is_not_the_user_of_the_home_learns_how_to_be(above, monkeypatch):
    import pwd  # not on Windows

    os.chown(above / "home", pwd.getpwnam("nobody").pw_uid, -1)
    monkeypatch.setattr(sys, "argv", ["/opt/planta/headless", "jobs", "--home", str(above / "home"), "--user", "R 41"])
    done = headless("jobs", "--home", str(above / "home"))
    command = f"sudo -u nobody {sys.executable} /opt/planta/headless jobs --home {above / 'home'} --user 'R 41'\n"
    assert done.stderr.endswith(f" belongs to nobody, and you are root: use another --home; or as nobody: {command}")


def test_a_home_that_may_not_be_looked_into_is_not_said_to_be_none(above, monkeypatch):
    home = Home(str(above / "home"))
    monkeypatch.setattr(os, "stat", raising(errno.EACCES))
    assert home.is_used
    monkeypatch.setattr(os, "stat", raising(errno.EIO))
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


@by_root
def test_no_user_is_sent_to_one_who_does_not_have_the_home_either(above):
    """The owner of a folder of code, of a link on the way, or of a file in the home."""
    home, modules, link = above / "home", above / "modules", above / "link"
    modules.mkdir()
    link.symlink_to(home)
    for path in (modules, link, home / "planta.sqlite"):
        os.chown(path, 65534, -1, follow_symlinks=False)
    for line in (
        ("jobs", "--home", str(link)),
        ("jobs", "--home", str(home)),
        ("serve", "--home", str(above / "new"), "--modules", str(modules)),
    ):
        fails("belongs to nobody, and you are root: use another", *line)
        assert "sudo" not in headless(*line).stderr
