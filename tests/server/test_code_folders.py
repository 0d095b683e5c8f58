"""Where a server takes the code of its jobs from: no other user can put code there, or change it."""

from __future__ import annotations

import os

import pytest

from headless.dialects.vocabulary import MODULE, PY_FILE, Job
from headless.server.home import Home
from headless.server.jobs import JobRefused, script_of
from support.command_here import headless
from support.homes import by_root, give_away, posix

pytestmark = pytest.mark.slow


@pytest.fixture(params=["--modules", "--py", "--import-from", "modules", "py"])
def code(request, above, tmp_path):
    """A folder that jobs take code from, and how a server is started that does: by an option, or by a link in the
    home."""
    folder = tmp_path / "elsewhere" / "code"
    folder.mkdir(parents=True)
    if request.param.startswith("--"):
        return folder, (request.param, str(folder))
    (above / "home" / request.param).rmdir()
    (above / "home" / request.param).symlink_to(folder)
    return folder, ()


def serving(above, *options: str):
    """What a server says that would start with this home: it ends before that, for its address is none of ours."""
    done = headless("serve", "--home", str(above / "home"), "--listen", "192.0.2.1:1", *options)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


def is_refused(code, above) -> bool:
    _, options = code
    said = serving(above, *options)
    if "cannot listen" in said:
        return False
    assert "another --" in said
    assert not any(word in said for word in ("chown", "rm "))
    return True


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


@by_root
def test_no_server_takes_code_from_a_folder_of_another_user(above, code):
    folder, _ = code
    for place in (folder, folder.parent):
        give_away(place)
        assert is_refused(code, above)
        os.chown(place, os.geteuid(), -1)


@posix
def test_a_folder_is_trusted_where_an_option_says_so(above, code):
    folder, options = code
    folder.chmod(0o777)
    assert "cannot listen" in serving(above, *options, "--trust-folders")


@posix
def test_a_folder_for_all_is_not_to_be_closed(above, code):
    """Such as /tmp."""
    folder, options = code
    folder.chmod(0o775)
    assert f"chmod go-w {folder}" in serving(above, *options)
    folder.chmod(0o1777)
    assert "chmod" not in serving(above, *options)


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
def test_a_script_that_others_can_write_to_is_not_run(scripts):
    assert is_run(scripts)
    for mode in (0o664, 0o646):
        (scripts.modules / "009ABC.py").chmod(mode)
        assert not is_run(scripts)


@posix
def test_a_script_behind_a_link_is_looked_at_there(scripts, tmp_path):
    (tmp_path / "open").mkdir()
    (scripts.modules / "009ABC.py").rename(tmp_path / "open" / "abc.py")
    (scripts.modules / "009ABC.py").symlink_to(tmp_path / "open" / "abc.py")
    assert is_run(scripts)
    (tmp_path / "open").chmod(0o777)
    assert not is_run(scripts)


@posix
def test_a_script_is_not_run_from_a_folder_where_others_can_put_what_it_imports(scripts, tmp_path):
    """Python imports from the folder of the script first, wherever a link to it is; a sticky folder protects only what
    is in it."""
    (tmp_path / "sticky").mkdir()
    (scripts.modules / "009ABC.py").rename(tmp_path / "sticky" / "abc.py")
    (scripts.modules / "009ABC.py").symlink_to(tmp_path / "sticky" / "abc.py")
    assert is_run(scripts)
    (tmp_path / "sticky").chmod(0o1777)
    assert not is_run(scripts)


@by_root
def test_a_script_of_another_user_is_not_run(scripts, caplog):
    give_away(scripts.modules / "009ABC.py")
    assert not is_run(scripts)
    assert "sudo" not in caplog.text  # their home is another one


@posix
def test_no_other_user_comes_to_a_script_in_the_home_whatever_its_mode(scripts):
    (scripts.py / "nightly").mkdir()
    (scripts.py / "nightly" / "close.py").touch()
    for path in (scripts.py, scripts.py / "nightly", scripts.py / "nightly" / "close.py"):
        path.chmod(0o777)
    scripts.check_code()
    assert is_run(scripts, PY_FILE, "nightly/close.py")
