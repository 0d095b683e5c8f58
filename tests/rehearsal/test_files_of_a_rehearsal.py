"""`rehearse` for lines as they are in crontabs: files of the server, and jobs that the command leaves. Which file a
name is, is found out in this process."""

from __future__ import annotations

import errno
import locale
import os
from pathlib import Path

import pytest

from headless.dialects.vocabulary import PY_FILE, Job
from headless.errors import SessionError
from headless.rehearsal import server
from headless.rehearsal.options import OwnOptions
from headless.server.home import Home
from support.command_here import headless
from support.rehearsal import notes

# Files


FILES = [  # a name, and the file that it is
    ("close.py", "close.py"),
    ("nightly/close.py", "nightly/close.py"),
    ("/planta/py/nightly/close.py", "nightly/close.py"),
    ("/planta/py/close.py", "close.py"),
    ("/planta/py/open.py", "py/open.py"),
    (r"C:\PLANTA\py\nightly\close.py", "nightly/close.py"),
    (r"\\server\share\nightly\close.py", "nightly/close.py"),
    (r"nightly\close.py", "nightly/close.py"),
    ("nightly/open.py", None),
    (r"nightly\open.py", None),
    ("/planta/absent.py", None),
    ("/planta/py/../close.py", None),
    ("../close.py", None),
    ("/", None),
]


def found(name: str, folder: Path) -> str:
    """The file that this name is, as it is said."""
    ((job,), remarks) = server.find_files([Job(PY_FILE, name)], str(folder))
    assert (f"-f {name!r} is " in "".join(remarks)) == (job.text != name)
    return job.text


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("import os; print('ran %s %s' % (__file__, os.getcwd()))")


def test_a_file_of_the_server_is_found_below_the_folder_of_files(tmp_path):
    files = tmp_path / "files"
    write(files, "close.py", "nightly/close.py", "open.py", "py/open.py")
    write(tmp_path, "close.py")
    assert [(name, found(name, files)) for name, _ in FILES] == [(name, file or name) for name, file in FILES]


@pytest.mark.slow
def test_the_files_that_are_found_are_run_and_named(rehearse):
    files = rehearse.folder / "files"
    write(files, "close.py", "nightly/close.py", "py/open.py")
    named = {
        "close.py": "close.py",
        "/planta/py/nightly/close.py": "nightly/close.py",
        r"C:\PLANTA\py\nightly\close.py": "nightly/close.py",
        "/planta/py/open.py": "py/open.py",
    }
    done = rehearse("--files-from", "files", "-v", "-t", "-1", *(word for name in named for word in ("-f", name)))
    assert done.returncode == 0
    for number, (name, file) in enumerate(named.items(), start=1):
        assert f"job {number} stdout: ran {files / file} {files}\n" in done.stdout
        assert (f"-f {name!r} is " in done.stdout) == (file != name)


@pytest.mark.slow
def test_without_a_folder_of_files_a_path_of_the_server_is_refused(rehearse):
    rehearse.write("close.py", "")
    assert rehearse("-t", "-1", "-f", "/planta/py/close.py").returncode == 2  # those below it: see the last test


def test_the_files_below_the_folder_are_run_where_those_of_the_server_are_here_too(tmp_path):
    write(tmp_path, "planta/py/close.py", "copies/close.py")
    servers = str(tmp_path / "planta/py/close.py")
    assert found(servers, tmp_path / "copies") == "close.py"
    # What the server is given as it is, it runs as it is, if that is below its folder.
    assert found(servers, tmp_path / "planta/py") == servers


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for few")
def test_a_link_out_of_the_folder_of_files_is_refused(tmp_path):
    write(tmp_path, "close.py")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "close.py").symlink_to(tmp_path / "close.py")
    assert found("/planta/close.py", tmp_path / "files") == "/planta/close.py"


@pytest.fixture
def failing(monkeypatch):
    """Makes each look at a file fail with this error."""

    def fail(number):
        def stat(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "stat", stat)

    return fail


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE])
def test_a_fault_that_may_pass_is_no_mistake(failing, tmp_path, number):
    failing(number)
    with pytest.raises(SessionError, match=os.strerror(number)):
        server.find_files([Job(PY_FILE, "close.py")], str(tmp_path))
    for option in ("--stand-in", "--files-from"):
        done = headless("rehearse", option, "x", "-c", "pass")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_file_that_may_not_be_read_is_one(failing, tmp_path):
    failing(errno.EACCES)
    job = Job(PY_FILE, "close.py")
    assert server.find_files([job], str(tmp_path)) == ((job,), [])
    assert headless("rehearse", "--files-from", "x", "-c", "pass").returncode == 2


# Jobs that the command leaves


@pytest.mark.slow
def test_a_reason_is_shown_as_one_line_of_what_can_be_printed(rehearse):
    (_, note) = notes(rehearse("-c", r"import sys; sys.exit('\x1b[31mred\u202e' + 'x' * 300)"))
    replaced = "\ufffd".encode(locale.getpreferredencoding(False), "backslashreplace").decode()
    assert f"they ended like this: job 1 failed: {replaced}[31mred\\u202exxx" in note
    assert len(note) < 340


@pytest.mark.slow
def test_jobs_that_outlive_their_time_out_are_ended_and_that_is_said(rehearse):
    own = str(rehearse.write("close.py", ""))  # which is below the folder of files, without an option for it
    done = rehearse("-v", "-t", "1", "-f", own, "-c", "import time; time.sleep(600)", "-c", "1")
    assert done.returncode == 3
    assert "to resume" not in done.stdout  # nothing is left to resume
    assert notes(done)[1] == (
        "the command returned 3 after 1 s; a real server lets the jobs run on, this rehearsal has ended them: "
        "job 1 ok, job 2 interrupted, job 3 skipped"
    )


def test_the_home_of_a_rehearsal_may_be_where_temporary_files_are_also_on_the_network(tmp_path):
    home = Home(str(tmp_path / "home"))
    home.create()
    assert "--trust-network-home" in server._options(home, OwnOptions(()))
