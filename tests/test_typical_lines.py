"""`rehearse` for lines as they stand in crontabs: files of the server, and jobs that the command leaves."""

from __future__ import annotations

import errno
import locale
import os

import pytest

from headless.outcome import SessionError
from headless.protocol.vocabulary import PY_FILE, Job
from headless.rehearsal import arguments, places
from support.in_process import run_here
from support.rehearsal import notes

# Files


@pytest.mark.parametrize(
    ("name", "found"),
    [
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
    ],
)
def test_a_file_of_the_server_is_found_below_the_folder_of_files(rehearse, name, found):
    for file in ("close.py", "nightly/close.py", "open.py", "py/open.py"):
        rehearse.write(f"files/{file}", "import os; print('ran %s %s' % (__file__, os.getcwd()))")
    rehearse.write("close.py", "")
    done = rehearse("--files-from", "files", "-v", "-t", "-1", "-f", name)
    assert done.returncode == (0 if found else 2)
    files = rehearse.folder / "files"
    assert not found or f"job 1 stdout: ran {files / found} {files}\n" in done.stdout
    assert (f"-f {name!r} is " in done.stdout) == (found not in (None, name.replace(os.sep, "/")))


def test_without_a_folder_of_files_a_path_of_the_server_is_refused(rehearse):
    rehearse.write("close.py", "")
    assert rehearse("-t", "-1", "-f", "/planta/py/close.py").returncode == 2
    assert rehearse("-t", "-1", "-f", str(rehearse.folder / "close.py")).returncode == 0


def test_the_files_below_the_folder_are_run_where_those_of_the_server_are_here_too(rehearse):
    servers = rehearse.write("planta/py/close.py", "1 / 0")
    rehearse.write("copies/close.py", "")
    assert rehearse("--files-from", "copies", "-t", "-1", "-f", str(servers)).returncode == 0
    assert rehearse("--files-from", "planta/py", "-t", "-1", "-f", str(servers)).returncode == 1


def test_a_link_out_of_the_folder_of_files_is_refused(rehearse):
    rehearse.write("close.py", "")
    (rehearse.folder / "files").mkdir()
    (rehearse.folder / "files" / "close.py").symlink_to(rehearse.folder / "close.py")
    assert rehearse("--files-from", "files", "-t", "-1", "-f", "/planta/close.py").returncode == 2


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EIO, SessionError), (errno.ESTALE, SessionError), (errno.EMFILE, SessionError), (errno.EACCES, None)],
)
def test_a_fault_that_may_pass_is_no_file_that_is_not_there(monkeypatch, tmp_path, number, kind):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "stat", fail)
    job = Job(PY_FILE, "close.py")
    if kind is None:
        assert places.find([job], str(tmp_path)) == ((job,), [])
        return
    with pytest.raises(kind, match=os.strerror(number)):
        places.find([job], str(tmp_path))


@pytest.mark.parametrize(("number", "status"), [(errno.EIO, 1), (errno.ENFILE, 1), (errno.EACCES, 2)])
@pytest.mark.parametrize("option", ["--stand-in", "--files-from"])
def test_a_fault_that_may_pass_is_no_mistake_in_the_own_options(monkeypatch, option, number, status):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(arguments, "read_regular", fail)
    monkeypatch.setattr(os, "stat", fail)
    done = run_here("rehearse", option, "x", "-c", "pass")
    assert (done.status, done.stderr.count("\n")) == (status, 1)


# Jobs that the command leaves


def test_a_reason_is_shown_as_one_line_of_what_can_be_printed(rehearse):
    (_, told) = notes(rehearse("-c", r"import sys; sys.exit('\x1b[31mred\u202e' + 'x' * 300)"))
    replaced = "\ufffd".encode(locale.getpreferredencoding(False), "backslashreplace").decode()
    assert f"after that: job 1 failed: {replaced}[31mred\\u202exxx" in told
    assert len(told) < 340


def test_jobs_that_outlive_their_time_out_are_ended_and_that_is_said(rehearse):
    done = rehearse("-t", "1", "-c", "1", "-c", "import time; time.sleep(600)", "-c", "1")
    assert done.returncode == 3
    assert notes(done)[1] == (
        "the command has returned 3 after 1 s, when a server lets the jobs go on; the rehearsal has ended them: "
        "job 1 ok, job 2 interrupted, job 3 skipped"
    )
