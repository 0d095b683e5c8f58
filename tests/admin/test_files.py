"""headless check: what it opens, how long it takes, and that a fault which passes is no verdict."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from headless.admin import files
from headless.admin.files import File, Kind
from support import checks
from support.command_here import headless
from support.process import PATIENCE, ROOT, SCRIPT
from support.sampling import EXHAUSTIVE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")


def call(folder):
    return f"{sys.executable} {SCRIPT} -s planta:20000 -u R41 -p {folder}/secret -t -1 -v -m 009ABC > {folder}/log"


def check(folder, content):
    (folder / "crontab").write_text(content)
    return checks.check(folder / "crontab")


def make(path, what):
    """Something that is no file: to read it would wait for ever, have no end, or do something."""
    if what == "a FIFO":
        os.mkfifo(path)
    elif what == "a socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif what == "a folder":
        path.mkdir()
    else:
        path.symlink_to(what)


NO_FILES = ["a FIFO", "a socket", "a folder", "/dev/zero", "/dev/null", "/dev/tty"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("what", NO_FILES)
def test_a_file_that_is_none_is_one_plain_line(tmp_path, what):
    make(tmp_path / "x", what)
    for command in (("check",), ("rehearse", "--crontab")):
        done = headless(*command, str(tmp_path / "x"))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), command
        reason = "Is a directory" if what == "a folder" else "it is not a regular file"
        assert done.stderr.endswith(f"{str(tmp_path / 'x')!r} cannot be read: {reason}\n"), command


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("what", NO_FILES)
def test_what_a_line_names_and_is_no_file_is_not_opened(folder, what):
    make(folder / "planta_headless.py", what)
    other = f"{folder}/planta_headless.py"
    line = f"0 2 * * * {other}; sh {other}; . {other}; {call(folder)} || echo $?\n"
    assert {each["rule"] for each in check(folder, line)[1]} <= {
        "no-script", "no-program", "options", "code-lost", "not-checked",
    }  # fmt: skip
    found = check(folder, f"0 2 * * * {call(folder).replace('/secret', '/planta_headless.py')} || echo $?\n")
    assert [each["rule"] for each in found[1]] == ["password-file"]
    found = check(folder, f"0 2 * * * {call(folder).replace(str(SCRIPT), other)} || echo $?\n")
    assert [each["rule"] for each in found[1]] == ["no-script"]


@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_file_that_only_the_caller_can_write_stays_so_behind_links_of_the_caller(folder, is_absolute):
    real, link = folder / "real", folder / "link"
    real.mkdir()
    (real / "crontab").touch(mode=0o600)
    link.symlink_to(real if is_absolute else "real")
    assert files.read(str(link / "crontab"), None).is_own
    real.chmod(0o757)
    assert not files.read(str(link / "crontab"), None).is_own


def test_a_file_that_is_too_large_is_not_read_in_part(tmp_path):
    with open(tmp_path / "x.sh", "wb") as file:
        file.truncate((4 << 20) + 1)
    done = headless("check", str(tmp_path / "x.sh"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("cannot be read: it has more than 4 MiB\n")
    ((found,),) = check(tmp_path, f"# planta_headless.py\n0 2 * * * {tmp_path}/x.sh\n")[1:]
    assert (found["line"], found["rule"]) == (2, "not-looked-at")


def test_standard_input_is_read_by_either_name(folder):
    reader, writer = os.pipe()
    line = f"0 2 * * * {call(folder)} || echo $?\n".encode()
    os.write(writer, line)
    os.close(writer)
    for name, stdin in ((f"/dev/fd/{reader}", b""), ("-", line)):
        done = headless("check", name, stdin=stdin)
        assert (done.returncode, done.stdout) == (0, "1 call of planta_headless.py in 1 file: 0 errors, 0 warnings\n")
    os.close(reader)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "option"), [("check", ""), ("rehearse", "--crontab")], ids=["check", "rehearse --crontab"]
)
def test_the_command_reads_standard_input_and_a_closed_one_is_a_2(command, option):
    call = [sys.executable, str(ROOT / "headless"), command, *filter(None, [option]), "-"]
    done = subprocess.run(call, input="# x\n", text=True, stdout=subprocess.PIPE, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1 if option else 5)
    closed = ["sh", "-c", f"exec {shlex.join(call)} <&-"]
    done = subprocess.run(closed, capture_output=True, text=True, check=False, timeout=PATIENCE)
    what = f"{option}: '-'" if option else "'-'"
    said = f"headless {command}: error: {what} cannot be read: standard input is closed\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crontab", "nightly.sh"])
def test_a_file_of_many_equal_lines_takes_a_time_that_grows_as_the_file(folder, name):
    few, many = (300, 1500) if EXHAUSTIVE else (40, 200)

    def seconds(count: int) -> float:
        line = f"0 2 * * * {call(folder)} || echo $?\n" if name == "crontab" else f"{call(folder)} &\n"
        (folder / name).write_text(f"{'' if name == 'crontab' else '#!/bin/sh'}\n{line * count}")
        began = time.process_time()
        done = headless("check", "--json", str(folder / name))
        seconds = time.process_time() - began
        found = [json.loads(each) for each in done.stdout.splitlines()]
        if name == "crontab":
            assert [each["line"] for each in found] == list(range(3, count + 2))
            assert all(" in the same minute by line 2" in each["text"] for each in found)
        return seconds

    # Five times as many lines: five times as long, and not 25 times. The best of some tries: others use the processor.
    ratios = (seconds(many) / seconds(few) for _ in range(3))
    assert any(ratio < 10 for ratio in ratios)


# A fault that passes


@pytest.fixture
def failing(monkeypatch):
    """Makes each look at what has this name fail with an error, as a disk or a server of NFS does."""

    @contextmanager
    def fail(name, number):
        with monkeypatch.context() as patch:
            for each in ("stat", "open", "listdir"):
                real = getattr(os, each)

                def function(path, *argv, real=real, **options):
                    if isinstance(path, (str, os.PathLike)) and os.path.basename(path) == name:
                        raise OSError(number, os.strerror(number), os.fspath(path))
                    return real(path, *argv, **options)

                patch.setattr(os, each, function)
            yield

    return fail


PASSING = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT]
NAMES = ["secret", "planta_headless.py", "log-folder", "python3", "nightly.sh"]


def test_a_fault_that_passes_is_no_verdict(folder, failing):
    (folder / "log-folder").mkdir()
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").touch()
    for library in ("lxml", "bcrypt"):
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        (folder / "lib" / version / "site-packages" / library).mkdir(parents=True)
    (folder / "nightly.sh").write_text("#!/bin/sh\ntrue\n")
    line = call(folder).replace("/log", "/log-folder/log").replace(sys.executable, f"{folder}/bin/python3")
    content = f"0 2 * * * sh {folder}/nightly.sh && {line} || echo $?\n"
    assert check(folder, content) == (0, [])
    for name, number in itertools.product(NAMES, PASSING if EXHAUSTIVE else PASSING[:2]):
        with failing(name, number):
            status, found = check(folder, content)
        seen = [(each["rule"], each["severity"], os.strerror(number) in each["text"]) for each in found]
        assert (status, seen) == (1, [("not-looked-at", "warning", True)]), (name, number)


def test_what_stays_so_is_a_verdict(folder, failing):
    for number in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
        with failing("secret", number):
            ((found,),) = check(folder, f"0 2 * * * {call(folder)} || echo $?\n")[1:]
        assert (found["rule"], found["severity"]) == ("password-file", "error"), number


def test_a_file_that_cannot_be_read_now_is_no_mistake_of_the_command_line(folder, failing):
    for number in PASSING:
        with failing("crontab", number):
            done = headless("check", str(folder / "crontab"))
        said = f"headless check: error: {str(folder / 'crontab')!r} cannot be read: {os.strerror(number)}\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said), number


HEADER = """\
# DO NOT EDIT THIS FILE - edit the master and reinstall.
# (/tmp/crontab.yIR4sU/crontab installed on Tue Dec  1 02:00:00 2026)
# (Cron version -- $Id: crontab.c,v 2.13 1994/01/17 03:20:37 vixie Exp $)
"""


def test_the_copy_that_crontab_has_made_has_the_line_of_crontab_l_too():
    file = File("/var/spool/cron/crontabs/planta", f"{HEADER}A=1\n\n", Kind.CRONTAB)
    assert file.position(len(HEADER) + 4) == "/var/spool/cron/crontabs/planta:5 (2 in crontab -l)"
    assert (file.position(0), file.position(None)) == (f"{file.path}:1", file.path)
    for other in (HEADER.replace("# (Cron", "A=1 (Cron"), HEADER.replace("DO NOT", "Do not")):
        assert File("x", f"{other}A=1\n\n", Kind.CRONTAB).position(len(other) + 4) == "x:5"
