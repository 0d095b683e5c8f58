"""headless check, run by root over the files of others: it lends no other user the rights of root, and
what it advises to type does no harm."""

from __future__ import annotations

import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from support import checks
from support.command_here import headless
from support.credentials import HASH
from support.job_server import JobServer
from support.process import PATIENCE, ROOT

if os.name == "nt" or os.geteuid() != 0:
    pytest.skip("only root has the rights that are at stake", allow_module_level=True)

NOBODY, OTHER = 65534, 12345


@pytest.fixture
def folder():
    """A folder of root's that everybody can enter, which pytest's own are not, with what a call needs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        os.chmod(name, 0o711)
        for each in ("headless", "venv/bin", "venv/lib/python3.9/site-packages/lxml"):
            (folder / each).mkdir(parents=True)
        (folder / "venv/lib/python3.9/site-packages/bcrypt").mkdir()
        (folder / "venv/pyvenv.cfg").touch()
        give(folder / "venv/bin/python", 0, "")
        give(folder / "planta_headless.py", 0, "")
        yield folder


@pytest.fixture
def home(folder):
    """A folder in it, of the user `nobody`."""
    return give(folder / "home", NOBODY)


@pytest.fixture
def listener():
    """A server of another user, which root must not connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def give(path, owner, content=None, mode=0o755):
    path.mkdir() if content is None else path.write_text(content)
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def call(folder, port=20000, secret="secret"):
    """With the password file in this folder, and all else in the one above it, or in it if it is root's."""
    top = folder.parent if folder.name == "home" else folder
    command = f"{top}/venv/bin/python {top}/planta_headless.py"
    return f"{command} -s 127.0.0.1:{port} -u R41 -p {folder}/{secret} -t -1 -v -m 009ABC || echo $?\n"


def check(*argv):
    return checks.check(*argv)[1]


def not_tried(listener, *argv):
    """The texts and advices, after a check that has made no connection."""
    found = check("--connect", *argv)
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert {each["rule"] for each in found} == {"not-tried"}
    return [(each["text"], each["to_do"]) for each in found]


# Whose logins are tried


def test_no_protocol_and_no_login_of_another_user_is_tried(home, listener):
    give(home / "evil.py", NOBODY, f"open({str(home / 'marker')!r}, 'w').close()\n")
    give(home / "secret", NOBODY, HASH, 0o400)
    line = "0 2 * * * " + call(home, listener.getsockname()[1])
    crontab = give(home / "it's a crontab", NOBODY, f"{line}PLANTA_PROTOCOL={home}/evil.py\n1{line[1:]}")
    (first, second) = not_tried(listener, crontab)
    command = f"{shlex.join([sys.executable, str(ROOT / 'headless')])} check --connect --as nobody /dev/stdin"
    behind = f"{command} < {shlex.quote(str(crontab))}"
    assert first == ("this login was not tried: nobody runs it", f"sudo -u nobody {behind}")
    assert second[1] == f"sudo -u nobody env PLANTA_PROTOCOL={home}/evil.py {behind}"
    assert not (home / "marker").exists()


def test_roots_crontab_is_tried_by_no_protocol_but_that_of_the_environment(folder, listener):
    give(folder / "dialect.py", 0, f"open({str(folder / 'marker')!r}, 'w').close()\n")
    give(folder / "secret", 0, HASH, 0o400)
    line = f"0 2 * * * {call(folder, listener.getsockname()[1])}"
    crontab = give(folder / "crontab", 0, f"PLANTA_PROTOCOL={folder}/dialect.py\n{line}", 0o600)
    ((text, advice),) = not_tried(listener, crontab)
    assert f"its PLANTA_PROTOCOL is '{folder}/dialect.py', and yours is ''" in text
    assert advice.startswith(f"env PLANTA_PROTOCOL={folder}/dialect.py ")
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("whose", ["another user's", "in another user's folder", "open to all", "of a group"])
def test_what_others_can_write_is_not_tried_though_root_runs_it(folder, home, listener, whose):
    give(folder / "secret", 0, HASH, 0o400)
    top = home if whose == "in another user's folder" else folder
    owner = NOBODY if whose == "another user's" else 0
    mode = {"open to all": 0o757, "of a group": 0o775}.get(whose, 0o755)
    script = give(top / "nightly.sh", owner, f"#!/bin/sh\n{call(folder, listener.getsockname()[1])}", mode)
    crontab = give(folder / "crontab", 0, f"# planta_headless.py\n0 2 * * * {script}\n", 0o600)
    ((text, _),) = not_tried(listener, crontab)
    assert text == f"this login was not tried: it is not certain that no other user can write to {str(script)!r}"


def test_a_crontab_in_whose_name_a_script_of_roots_is_started_is_not_roots(folder, home, listener):
    give(home / "secret", NOBODY, HASH, 0o400)
    script = give(folder / "nightly.sh", 0, f"#!/bin/sh\n{call(home, listener.getsockname()[1])}")
    crontab = give(home / "crontab", NOBODY, f"# planta_headless.py\n0 2 * * * {script}\n")
    ((text, advice),) = not_tried(listener, crontab)
    assert (text, advice.rpartition(" < ")[2]) == ("this login was not tried: nobody runs it", str(crontab))


def test_a_file_that_says_root_and_is_somebody_elses_is_not_believed(folder, home, listener):
    give(folder / "secret", 0, HASH, 0o400)
    line = f"0 2 * * * root {call(folder, listener.getsockname()[1])}"
    (home / "cron.d").mkdir()
    crontab = give(home / "cron.d" / "planta", 0, line, 0o644)
    ((text, _),) = not_tried(listener, crontab)
    assert "no other user can write" in text


@pytest.mark.parametrize("way", ["through their folder", "their folder's link", "theirs in a sticky folder"])
def test_a_link_of_another_user_leads_to_nothing_that_is_tried(folder, home, listener, way):
    """They would choose which file of root's is read: one that has their text, say."""
    give(folder / "secret", 0, HASH, 0o400)
    crontab = give(folder / "crontab", 0, f"0 2 * * * {call(folder, listener.getsockname()[1])}", 0o600)
    named, theirs = folder / "named", home / "link"
    if way == "theirs in a sticky folder":
        theirs = named = give(folder / "sticky", 0) / "link"
        named.parent.chmod(0o1777)
    theirs.symlink_to(crontab if way != "their folder's link" else folder)
    os.chown(theirs, NOBODY, NOBODY, follow_symlinks=False)
    if not named.is_symlink():
        named.symlink_to(theirs)
    path = named / "crontab" if way == "their folder's link" else named
    ((text, _),) = not_tried(listener, path)
    assert "no other user can write" in text


@pytest.mark.parametrize("front", ["su - nobody -c", "runuser -u nobody -- sh -c", "sudo -u nobody sh -c"])
def test_what_is_started_as_another_user_is_neither_judged_for_root_nor_tried(folder, home, listener, front):
    give(home / "secret", NOBODY, HASH, 0o400)
    inner = call(home, listener.getsockname()[1]).replace(" || echo $?\n", "")
    crontab = give(folder / "crontab", 0, f"PATH={os.environ['PATH']}\n0 2 * * * {front} '{inner}' || echo $?\n", 0o600)
    found = [each for each in check("--connect", crontab) if each["rule"] != "no-program"]  # sudo is not everywhere
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert {each["rule"] for each in found} <= {"not-tried"}


@pytest.fixture
def as_others(folder):
    """The environment in which another user runs this checkout: by a Python that they may use, and by a `sudo` that
    does as sudo does, for many machines have none."""
    give(folder / "sudo", 0, '#!/bin/sh\nuser=$2\nshift 2\nexec setpriv --reuid "$user" --clear-groups "$@"\n')
    libraries = sysconfig.get_path("purelib")
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": libraries}
    for python in (sys.executable, "/usr/bin/python3"):
        code = f"import sys, lxml.etree, bcrypt; sys.path.insert(0, {str(ROOT)!r}); import headless.admin.files"
        line = shlex.join(["sudo", "-u", "nobody", python, "-c", code])
        if subprocess.run(line, shell=True, env=environment, capture_output=True, check=False).returncode == 0:
            return python, environment
    pytest.skip("another user cannot run this checkout")


@pytest.mark.slow
def test_the_command_that_is_named_tries_the_login_as_its_user(folder, home, tmp_path, as_others, monkeypatch):
    python, environment = as_others
    monkeypatch.setattr(sys, "executable", python)

    spool = folder / "spool"  # which the user cannot enter
    spool.mkdir(mode=0o700)
    with JobServer(tmp_path / "home") as server:
        give(home / "secret", NOBODY, server.hash_of_password() + "\n", 0o400)
        give(home / "wrong", NOBODY, HASH[:-3] + "a" + HASH[-2:] + "\n", 0o400)
        good, bad = (call(home, server.address.rpartition(":")[2], name) for name in ("secret", "wrong"))
        lines = f"0 2 * * * {good}30 2 * * * {bad}".replace("R41", "R42").replace("009ABC", "009ABD", 1)
        (found,) = check("--connect", give(spool / "cron tab", NOBODY, lines, 0o600))
        done = subprocess.run(
            found["to_do"], shell=True, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert (done.returncode, done.stdout.rpartition(": ")[2], done.stderr) == (1, "1 error, 0 warnings\n", "")
        assert re.match(r"/dev/stdin:2\n.*\[login\]\n", done.stdout)


# What root opens


def test_a_link_of_another_user_leads_to_nothing_that_only_root_may_read(folder, home):
    hidden = give(folder / "hidden.sh", 0, f"#!/bin/sh\n{call(folder).replace('-t -1', '')}# SECRET\n", 0o700)
    (home / "link.sh").symlink_to(hidden)
    started = f"# planta_headless.py\n0 2 * * * sh {home}/link.sh\n"
    for argv in (
        [give(home / "crontab", NOBODY, started)],
        [give(home / "by.sh", NOBODY, f"# planta_headless.py\n. {home}/link.sh\n")],
        [give(folder / "of-root", 0, f"# planta_headless.py\n0 2 * * * sh {home}/by.sh\n")],  # by a file of `nobody`
    ):
        new = folder / f"fixed-{argv[0].name}"
        assert [each["rule"] for each in check("--fix", new, *argv)] == ["no-call"]
        assert not list(new.rglob("*.sh"))
    assert check(give(folder / "own", 0, f"# planta_headless.py\n0 2 * * * sh {hidden}\n"))


@pytest.mark.parametrize("owner", [NOBODY, 0])
def test_a_drop_in_of_another_user_leads_to_nothing_that_only_root_may_read(folder, home, owner):
    hidden = give(folder / "hidden", 0, "[Service]\nRestart=always\n", 0o600)
    unit = give((home if owner else folder) / "x.service", owner, f"[Service]\nExecStart=/bin/sh -c '{call(folder)}'\n")
    drop_ins = give(unit.with_name("x.service.d"), NOBODY)
    give(drop_ins / "open.conf", NOBODY, "[Service]\nType=forking\n")
    (drop_ins / "hidden.conf").symlink_to(hidden)
    found = [(Path(each["file"]).name, each["rule"]) for each in check(unit)]
    assert ("open.conf", "type") in found
    assert [rule for name, rule in found if name == "hidden.conf"] == ["not-looked-at"]
    hidden.chmod(0o644)
    assert ("hidden.conf", "restart") in [(Path(each["file"]).name, each["rule"]) for each in check(unit)]


def test_password_files_are_looked_at_with_the_rights_of_their_user(folder, home):
    give(folder / "roots", 0, "not a hash", 0o600)
    give(home / "own", NOBODY, HASH, 0o400)
    give(home / "open", NOBODY, HASH, 0o644)
    give(home / "anothers", OTHER, HASH, 0o644)
    (home / "link").symlink_to(folder / "roots")
    crontab = home / "crontab"
    problems = {}
    for name in ("own", "open", "anothers", "link", "missing"):
        found = check(give(crontab, NOBODY, f"0 2 * * * {call(home, secret=name)}"))
        problems[name] = [(each["text"].partition(f"/{name}' ")[2], each["to_do"]) for each in found]
    make = f"sudo -u nobody {sys.executable} {ROOT}/headless password-file -s 127.0.0.1:20000 -u R41 -p "
    another = f"make another one, and name it here: {make}NEW_FILE"
    who = "belongs to user number 12345, neither to root nor to nobody, who calls this"
    first = "other users who need it make one first; then: "
    assert problems == {
        "own": [],
        "open": [("is open to others (mode 0644)", f"{first}sudo -u nobody chmod g-wx,o= {home}/open")],
        "anothers": [(who, another)],
        "link": [("cannot be opened: Permission denied", another)],
        "missing": [("does not exist", f"{make}{home}/missing")],
    }


def test_rights_are_given_back_after_each_look(home):
    check(give(home / "crontab", NOBODY, "0 2 * * * " + call(home)))
    assert (os.geteuid(), os.getegid()) == (0, 0)


# What root writes


@pytest.mark.parametrize("what", ["a folder", "a link to a folder", "a link that leads nowhere"])
def test_a_folder_for_corrections_that_is_there_is_not_used(home, what):
    crontab = give(home / "crontab", NOBODY, "0 2 * * * " + call(home).replace("-t -1", ""))
    new, target = home / "fixed", home / "target"
    if what != "a link that leads nowhere":
        give(target, NOBODY)
    target.rename(new) if what == "a folder" else new.symlink_to(target)
    done = headless("check", "--fix", str(new), str(crontab))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"headless check: error: --fix: {str(new)!r} is there already: name a new folder\n"
    assert not list(home.rglob("fixed/*"))


def test_a_folder_that_is_exchanged_while_it_is_made_gets_nothing(home, monkeypatch):
    """As who owns the folder above may do, between two steps of root."""
    crontab = give(home / "crontab", NOBODY, "0 2 * * * " + call(home).replace("-t -1", ""))
    theirs, mkdir = give(home / "theirs", NOBODY), os.mkdir

    def exchanging(path, mode=0o777, *, dir_fd=None):
        mkdir(path, mode, dir_fd=dir_fd)
        if dir_fd is None:
            os.rename(path, f"{path}.away")
            exchange(path)

    for exchange in (lambda path: os.symlink(theirs, path), lambda path: os.rename(theirs, path)):  # noqa: B007
        with monkeypatch.context() as patch:
            patch.setattr(os, "mkdir", exchanging)
            done = headless("check", "--fix", str(home / "fixed"), str(crontab))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert not any(path.name == "crontab" for path in home.rglob("*/crontab"))
        (home / "fixed").unlink() if (home / "fixed").is_symlink() else None
        (home / "fixed.away").rmdir()


@pytest.mark.parametrize("umask", [0, 0o077])
def test_corrections_are_closed_from_the_moment_at_which_they_are_made(folder, home, umask):
    crontab = give(
        home / "crontab", NOBODY, f"0 2 * * * {home}/a.sh\n0 2 * * * {call(home)}".replace("-t -1", ""), 0o600
    )
    give(home / "a.sh", NOBODY, "#!/bin/sh\n" + call(home).replace("-t -1", ""), 0o755)
    before = os.umask(umask)
    try:
        check("--fix", folder / "fixed", crontab)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder / "fixed").rglob("*")}
    assert stat.S_IMODE((folder / "fixed").stat().st_mode) == 0o700
    assert (modes["crontab"], modes["a.sh"]) == (0o600, 0o755)
    assert {mode for name, mode in modes.items() if name not in ("crontab", "a.sh")} == {0o700}
