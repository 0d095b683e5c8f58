"""The folder of a server: who may read it, what makes one, and what cannot be one."""

from __future__ import annotations

import os

import pytest

from support.in_process import run_here
from support.job_server import JobServer
from support.management import fails, prints
from support.process import current_user, manage


def listed(home: str) -> list[str]:
    return prints("user", "list", "--home", home)


READING = [("user", "list"), ("user", "remove", "R41"), ("jobs",)]


@pytest.mark.parametrize("argv", READING, ids=" ".join)
def test_what_only_reads_makes_no_home(tmp_path, argv):
    fails("absent", *argv, "--home", str(tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", READING, ids=" ".join)
def test_what_only_reads_leaves_nothing_in_a_folder_that_is_no_home(tmp_path, argv):
    run_here(*argv, "--home", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [*READING, ("serve", "--listen", "127.0.0.1:0"), ("user", "add", "R41", "--os-user", "jdoe")], ids=" ".join
)
def test_a_home_that_is_a_file_cannot_be_used(tmp_path, argv):
    (tmp_path / "file").write_text("keep me")
    fails("file", *argv, "--home", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "keep me"


def test_a_database_that_is_none_cannot_be_used(home):
    with open(os.path.join(home, "planta.sqlite"), "wb") as file:
        file.write(b"no database" * 1000)
    done = manage("jobs", "--home", home, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "planta.sqlite" in done.stderr


def test_the_home_is_planta_home_if_nothing_else_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prints("user", "add", "R41", "--os-user", "jdoe")
    assert prints("user", "list") == listed(str(tmp_path / "planta-home")) == ["R41 osuser=jdoe"]


def test_a_home_is_its_owners_alone_whatever_the_umask(tmp_path):
    server = JobServer(tmp_path / "home")
    server.manage("user", "add", "R41", "--os-user", current_user(), umask=0)
    assert server.home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in server.home.iterdir() if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in server.home.glob("planta.sqlite*")} == {0o600}
