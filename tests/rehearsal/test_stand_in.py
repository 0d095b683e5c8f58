"""The module `ppms` of the jobs of a rehearsal, and that nothing else of a job is changed by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headless.rehearsal.options import parse
from headless.rehearsal.server import make_stand_in
from support.job_server import QuickServer
from support.process import PATIENCE

pytestmark = pytest.mark.slow


def output(done: subprocess.CompletedProcess[str], number: int = 1) -> list[str]:
    """The lines of a job on stdout."""
    assert done.returncode == 0, done.stdout
    begin = f" job {number} stdout: "
    return [line.partition(begin)[2] for line in done.stdout.splitlines() if begin in line]


def run(rehearse, codes, *own):
    return rehearse(*own, "-v", "-t", "-1", *(word for code in codes for word in ("-c", code)))


WITHOUT_IMPORT = """import sys
print(own)
first = ppms
import ppms
print(ppms is first is sys.modules['ppms'])
from ppms import x"""
CALLED = """
ppms.uf_dialog("text")
ppms.a.b(1, c=[2])[0].d()
ppms.x.user = 'R41'
print("mine")
ppms.f("\\n\\udc80", ppms.x, "x" * 1000)
"""
USED = """
value = ppms.get()
assert not value and len(value) == 0 and list(value) == [] and int(value) == 0 and float(value) == 0
assert "x" not in value
assert value == value and value != 1 and not value < 1 and not 1 < value and sorted([value, 1])
assert {value: 1} and str(value + 1) and 1 + value is not None and -value is not None and value % 2 is not None
value[0]; value["x"] = 1; del value["x"]; value.x = 3
assert value.x == 3 and ppms.A is ppms.A and range(5)[value] == 0
while value.next(): pass
with value.open() as file: pass
class Mine(ppms.Base):
    def f(self): return 1
assert Mine().f() == 1 and not hasattr(value, "__path__")
@ppms.event("x")
def g(): pass
import copy; copy.copy(value)
for _ in range(10000): value = value.parent
import sys
sys.stdout.write("%s, %.20s %s\\n" % (ppms.x, value, f"{ppms.y}"))
"""
WITHOUT_REPR = "class Mine:\n    def __repr__(self): 1 / 0\nppms.f(Mine())"
CLOSES = "import sys; sys.stdout.close(); ppms.f()"
COLLECTS = "import sys, io; out = sys.stdout; sys.stdout = io.StringIO(); ppms.f(); print('mine', file=out)"


@pytest.mark.version("what a job's interpreter imports first")
def test_ppms_is_there_and_what_is_called_on_it_is_printed_and_can_be_used_further(rehearse):
    """In a folder of jobs of whose files it imports none, but for the sitecustomize that Python would import."""
    for name in ("__future__", "traceback", "typing"):
        rehearse.write(f"{name}.py", "import os; os.write(1, b'imported\\n')")
    rehearse.write("sitecustomize.py", "import builtins; builtins.own = 'of this machine'")
    done = run(rehearse, [WITHOUT_IMPORT, CALLED, USED, COLLECTS, CLOSES, WITHOUT_REPR])
    assert "imported" not in done.stdout
    assert output(done, 1) == ["of this machine", "True"]
    *lines, last = output(done, 2)
    assert lines == [
        "ppms.uf_dialog('text')", "ppms.a.b(1, c=[2])", "ppms.a.b(1, c=[2])[0].d()", "ppms.x.user = 'R41'", "mine",
    ]  # fmt: skip
    assert last.startswith(r"ppms.f('\n\udc80', ppms.x, 'xxx")
    assert len(last) < 300
    assert output(done, 3)[-1].startswith("ppms.x, ...")
    assert output(done, 4) == ["ppms.f()", "mine"]
    assert output(done, 5) == []
    assert output(done, 6) == ["ppms.f(<Mine>)"]


def test_a_file_of_the_site_takes_its_place(rehearse, monkeypatch):
    rehearse.write("helper.py", "x = 42")
    file = rehearse.write("ours/stand_in.py", "import helper\ndef f(): return f'{helper.x} {__name__} {__file__}'")
    done = run(rehearse, ["print(ppms.f()); import ppms; print(hasattr(ppms, 'g'))"], "--stand-in", "ours/stand_in.py")
    assert output(done) == [f"42 ppms {file}", "False"]
    assert [path.name for path in file.parent.iterdir()] == ["stand_in.py"]
    monkeypatch.chdir(rehearse.folder)
    for name in ("ours/stand_in.py", str(file)):
        assert parse(["--stand-in", name, "-c", "1"]).stand_in == str(file)


def test_a_job_does_not_begin_without_it(rehearse):
    rehearse.write("ours.py", "print('begun')\nraise SystemExit(0)")
    trace = rehearse.folder / "trace"
    done = rehearse("--stand-in", "ours.py", "-c", f"open({str(trace)!r}, 'w')")
    assert "they ended like this: job 1 failed: the stand-in for the module ppms failed: " in done.stderr
    assert not trace.exists()


def run_script(folder: Path, *path: Path) -> tuple[int, str, str]:
    """script.py of this folder, as a job runs, with this PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-u", "script.py"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_so_does_a_module_of_that_name_that_a_job_could_import_anyway(tmp_path):
    (tmp_path / "script.py").write_text("print(ppms.x); import ppms; print(ppms.x)")
    (tmp_path / "ppms.py").write_text("x = 42")
    make_stand_in(tmp_path / "folder", "")
    assert run_script(tmp_path, tmp_path / "folder", tmp_path) == (0, "42\n42\n", "")


@pytest.mark.parametrize("end", ["1 / 0", "raise SystemExit(0)", "import absent", "raise KeyboardInterrupt"])
def test_a_script_does_not_begin_without_it(tmp_path, end):
    (tmp_path / "script.py").write_text("print('mine')")
    (tmp_path / "ours.py").write_text(f"print('begun')\n{end}")
    make_stand_in(tmp_path / "folder", str(tmp_path / "ours.py"))
    code, stdout, stderr = run_script(tmp_path, tmp_path / "folder")
    assert (code, stdout) == (1, "begun\n")
    assert stderr.splitlines()[-1].startswith("the stand-in for the module ppms failed: ")


def test_a_server_that_does_not_rehearse_has_none(tmp_path, command):
    with QuickServer(tmp_path / "home") as server:
        done = command("-s", server.address, "-v", "-t", "-1", "-c", "print(hasattr(__builtins__, 'ppms'))")
    assert (done.returncode, "job 1 stdout: False" in done.stdout) == (0, True)


# Everything else is as without it


LOOK = """
import os, sys
print(sys.argv, sys.path, sys.flags, sorted(sys.path_importer_cache), sys.warnoptions, sys.orig_argv[1:])
print(sorted(os.environ.items()), os.getcwd(), sorted(set(sys.modules) - {"ppms"}), sorted(globals()))
print([name for name in vars(__builtins__) if name not in ("ppms", "_")])
1 / 0
"""
SITES = {
    "none": None,
    "one": "import builtins; builtins.found = 'sitecustomize'",
    "one that looks": "import sys; print(__file__, __name__, sys.path, sys.modules[__name__].__spec__.origin)",
    "one that fails": "1 / 0",
    "one that imports what is not there": "import absent",
}


@pytest.mark.version("what an interpreter does before a script")
@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_a_script_finds_everything_else_as_without_it(tmp_path, site):
    jobs, ours = tmp_path / "jobs", tmp_path / "ours"
    jobs.mkdir()
    make_stand_in(ours, "")
    (jobs / "script.py").write_text(LOOK if sys.version_info >= (3, 10) else LOOK.replace(", sys.orig_argv[1:]", ""))
    if site is not None:
        (jobs / "sitecustomize.py").write_text(site)
    (jobs / "ppms.py").write_text("")  # which a script could import as well

    expected = run_script(jobs, jobs)
    assert (expected[0], "ZeroDivisionError" in expected[2]) == (1, True)
    assert run_script(jobs, ours, jobs) == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such FIFO")
def test_a_stand_in_that_is_a_fifo_is_a_2_and_no_hang(rehearse):
    os.mkfifo(rehearse.folder / "fifo")
    done = rehearse("--stand-in", "fifo", "-c", "pass")
    said = "headless rehearse: error: --stand-in: 'fifo' cannot be used: it is no regular file\n"
    assert (done.returncode, done.stderr) == (2, said)
