"""The module `ppms` of the jobs of a rehearsal, and that nothing else of a job is changed by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headless.rehearsal.stand_in import make_folder
from support.process import PATIENCE


def output(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout
    return [line.partition(" stdout: ")[2] for line in done.stdout.splitlines() if " stdout: " in line]


def job(rehearse, code, *own):
    return rehearse(*own, "-v", "-t", "-1", "-c", code)


def test_ppms_is_there_without_an_import_and_with_one(rehearse):
    code = "import sys\nfirst = ppms\nimport ppms\nprint(ppms is first is sys.modules['ppms'])\nfrom ppms import x"
    assert output(job(rehearse, code)) == ["True"]


def test_what_is_called_on_it_is_printed(rehearse):
    code = """
ppms.uf_dialog("text")
ppms.a.b(1, c=[2]).d()
ppms.x
print("mine")
ppms.f("\\n\\udc80", ppms.x, "x" * 1000)
"""
    *lines, last = output(job(rehearse, code))
    assert lines == ["ppms.uf_dialog('text')", "ppms.a.b(1, c=[2])", "ppms.a.b(1, c=[2]).d()", "mine"]
    assert last.startswith(r"ppms.f('\n\udc80', ppms.x, 'xxx")
    assert len(last) < 300


def test_what_it_returns_can_be_used_further(rehearse):
    code = """
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
    assert output(job(rehearse, code))[-1].startswith("ppms.x, ...")


def test_a_job_that_closes_or_collects_its_stdout_goes_on(rehearse):
    code = "import sys, io; out = sys.stdout; sys.stdout = io.StringIO(); ppms.f(); print('mine', file=out)"
    assert output(job(rehearse, code)) == ["ppms.f()", "mine"]
    assert output(job(rehearse, "import sys; sys.stdout.close(); ppms.f()")) == []


def test_a_file_of_the_site_takes_its_place(rehearse):
    rehearse.write("helper.py", "x = 42")
    file = rehearse.write("ours/stand_in.py", "import helper\ndef f(): return f'{helper.x} {__name__} {__file__}'")
    for name in (str(file), "ours/stand_in.py"):
        done = job(rehearse, "print(ppms.f()); import ppms; print(hasattr(ppms, 'g'))", "--stand-in", name)
        assert output(done) == [f"42 ppms {file}", "False"]
    assert [path.name for path in file.parent.iterdir()] == ["stand_in.py"]


def test_so_does_a_module_of_that_name_that_a_job_could_import_anyway(rehearse):
    rehearse.write("ppms.py", "x = 42")
    assert output(job(rehearse, "print(ppms.x); import ppms")) == ["42"]


@pytest.mark.parametrize("end", ["1 / 0", "raise SystemExit(0)", "import absent", "raise KeyboardInterrupt"])
def test_a_job_does_not_begin_without_it(rehearse, end):
    rehearse.write("ours.py", f"print('begun')\n{end}")
    trace = rehearse.folder / "trace"
    done = rehearse("--stand-in", "ours.py", "-c", f"open({str(trace)!r}, 'w')")
    assert "after that: job 1 failed: the stand-in for the module ppms failed: " in done.stderr
    assert not trace.exists()


def test_a_server_that_does_not_rehearse_has_none(job_server, command):
    done = command("-s", job_server.address, "-v", "-t", "-1", "-c", "print(hasattr(__builtins__, 'ppms'))")
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


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_a_script_finds_everything_else_as_without_it(tmp_path, site):
    jobs, ours = tmp_path / "jobs", tmp_path / "ours"
    jobs.mkdir()
    make_folder(ours, "")
    (jobs / "script.py").write_text(LOOK if sys.version_info >= (3, 10) else LOOK.replace(", sys.orig_argv[1:]", ""))
    if site is not None:
        (jobs / "sitecustomize.py").write_text(site)
    (jobs / "ppms.py").write_text("")  # which a script could import as well

    def run(*path: Path) -> tuple[int, str, str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-u", "script.py"],
            cwd=jobs, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    expected = run(jobs)
    assert (expected[0], "ZeroDivisionError" in expected[2]) == (1, True)
    assert run(ours, jobs) == expected


def test_none_of_the_files_in_the_folder_of_jobs_is_imported_by_it(rehearse):
    for name in ("__future__", "traceback", "typing"):
        rehearse.write(f"{name}.py", "import os; os.write(1, b'imported\\n')")
    assert output(job(rehearse, "ppms.f()")) == ["ppms.f()"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such FIFO")
def test_a_stand_in_that_is_a_fifo_is_a_2_and_no_hang(rehearse):
    os.mkfifo(rehearse.folder / "fifo")
    done = rehearse("--stand-in", "fifo", "-c", "pass")
    said = "headless rehearse: error: --stand-in: 'fifo' cannot be used: it is no regular file\n"
    assert (done.returncode, done.stderr) == (2, said)
