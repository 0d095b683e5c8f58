"""A job is what `python -u SCRIPT` is: what it finds in its interpreter and in libraries, and how it ends. Each script
runs twice, as that command and as a job, with the same result."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import signal
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")

from support.job_processes import by_hand, new_shims, result_of
from support.job_scripts import ALONE, HOW_IT_ENDS, POOLS, PROCESSES, THE_INTERPRETER, WHAT_IT_USES, together
from support.sampling import EXHAUSTIVE, REPEAT, draws
from support.waiting import in_time

pytestmark = pytest.mark.slow
of_the_interpreter = pytest.mark.version("the job's interpreter")

AT_A_TIME = 4


@pytest.fixture(autouse=True)
def _not_in_the_background():
    """A shell lets SIGQUIT be ignored there, which a script inherits that is run by hand."""
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, lambda *_: None)


class Comparison:
    """Scripts that run by hand and as jobs, by what they are called."""

    def __init__(self, folder):
        self._folder = folder
        self._specs = {}
        (folder.py / "helper.py").write_text("x = 1\n")

    def script(self, source, name="script.py"):
        """The file of a script, in a folder of its own."""
        path = self._folder.scripts / str(len(self._specs))
        path.mkdir()
        return self._folder.script(source, f"{path.name}/{name}")

    def add(self, name, script, **changes):
        self._specs[name] = self._folder.spec_of(script, len(self._specs) + 1, **changes)

    def assert_same(self):
        """Returns what they result in."""
        results = asyncio.run(self._as_jobs())
        with ThreadPoolExecutor(AT_A_TIME) as executor:
            expected = dict(zip(self._specs, executor.map(by_hand, self._specs.values())))
        differ = []
        for name, result in results.items():
            wanted, found = lines_of(expected[name]), lines_of(result)
            if found != wanted:
                differ.append(name)
                print(f"{name}: by hand, and as a job", *difflib.unified_diff(wanted, found, n=2), sep="\n")
        assert not differ
        return results

    async def _as_jobs(self):
        shims, turns = new_shims(), asyncio.Semaphore(AT_A_TIME)

        async def run(spec):
            async with turns:
                return result_of(spec, await in_time((await shims.start(spec)).wait()))

        return dict(zip(self._specs, await asyncio.gather(*map(run, self._specs.values()))))


def lines_of(result):
    """All but what differs from one process to the next."""
    status, *streams = result
    printed = (re.sub(rb"0x[0-9a-f]+|started [0-9]+", b"0x", stream) for stream in streams)
    return [str(status), *(ascii(line) for stream in printed for line in (b"--", *stream.splitlines(keepends=True)))]


@pytest.fixture
def comparison(folder):
    return Comparison(folder)


def sample(table, always, count):
    """All of the table, or by default these and so many others."""
    print(REPEAT)
    others = sorted(set(table) - set(always))
    chosen = others if EXHAUSTIVE else draws().sample(others, count)
    return {name: table[name] for name in (*always, *chosen)}


@of_the_interpreter
def test_a_job_is_what_a_script_is(comparison):
    """Parts of one script, each of which prints what it finds."""
    comparison.add("all", comparison.script(together({**THE_INTERPRETER, **WHAT_IT_USES})))
    comparison.add("processes", comparison.script(together(PROCESSES, "if __name__ == '__main__': ")))
    for name, source in ALONE.items():
        comparison.add(name, comparison.script(source))
    results = comparison.assert_same()
    assert (results["all"].status, results["processes"].status) == (0, 0)  # to the end


@pytest.mark.large
def test_a_job_is_what_a_script_is_whatever_ran_before(comparison):
    for name, source in {**THE_INTERPRETER, **WHAT_IT_USES, **PROCESSES, **POOLS}.items():
        comparison.add(name, comparison.script(source))
    comparison.assert_same()


# What the shim may change: it waits for the end, passes it on, and has the other ends of the pipes.
THE_SHIMS = (
    "exit 3", "exit 'no such table'", "os._exit", "os.abort", "KeyboardInterrupt", "SIGINT", "its own group",
    *(f"signal {int(number)}" for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)), "a closed stdout",
    "a closed stderr", "a thread that goes on", "a daemon thread", "a fork", "no input", "a pipe that nobody reads",
)  # fmt: skip


def test_a_job_ends_as_a_script_does(comparison):
    for name, source in sample(HOW_IT_ENDS, THE_SHIMS, 6).items():
        comparison.add(name, comparison.script(source))
    comparison.assert_same()


# Other files than a script, and other names


def zip_of(folder, name):
    path = folder.scripts / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "__main__.py", "import sys, part; print(sys.argv, sys.path, __file__, vars(part)['__file__'])\n1 / 0"
        )
        archive.writestr("part.py", "")
    return path


def folder_of(folder, name):
    path = folder.scripts / name
    path.mkdir()
    (path / "__main__.py").write_text("import sys; print(sys.argv, sys.path, __file__, __package__, __spec__)\n1 / 0")
    return path


def link_of(folder, name):
    script = folder.script("import sys; print(__file__, sys.argv, sys.path[:2])\n1 / 0")
    (folder.py / name).symlink_to(script)
    return folder.py / name


def compiled(folder, name):
    import py_compile

    script = folder.script("import sys; print(__file__, sys.argv)\n1 / 0")
    return py_compile.compile(str(script), str(folder.scripts / name))


def empty_folder(folder, name):
    path = folder.scripts / name
    path.mkdir()
    return path


OTHER_FILES = {
    "a zip application": (zip_of, "app.pyz"),
    "a folder": (folder_of, "app"),
    "a link": (link_of, "link.py"),
    "a compiled file": (compiled, "script.pyc"),
    "no file": (lambda folder, name: folder.scripts / name, "absent.py"),
    "a folder without a program": (empty_folder, "empty"),
    "a name with blanks": (lambda folder, name: folder.script("print(__file__)\n1 / 0", name), "a b 'c'.py"),
    "a name of other letters": (lambda folder, name: folder.script("print(__file__)\n1 / 0", name), "Zürich.py"),
    "a name that is no text": (lambda folder, name: folder.script("print(ascii(__file__))\n1 / 0", name), "\udcff.py"),
    "a name without a suffix": (lambda folder, name: folder.script("print(__file__)\n1 / 0", name), "script"),
}


def test_so_are_other_files(comparison, folder):
    for name, (make, file_name) in sample(
        OTHER_FILES, ("a zip application", "no file", "a name that is no text"), 2
    ).items():
        comparison.add(name, make(folder, file_name))
    comparison.assert_same()


def test_a_module_beside_the_script_hides_the_same_modules_as_elsewhere(comparison):
    for names in (("signal", "select", "enum", "ctypes", "struct", "time", "posix", "jobs", "shim"), ("os",)):
        script = comparison.script(
            f"for name in {names}:\n    module = __import__(name)\n    print(module, getattr(module, 'found', None))"
        )
        for name in names:
            (script.parent / f"{name}.py").write_text("found = 'beside the script'")
        comparison.add(names, script)
    comparison.assert_same()


@pytest.mark.parametrize("names", [("sys", "select", "resource", "headless", "sitecustomize", "_ctypes"), ("os",)])
def test_what_lies_in_the_folder_of_jobs_does_not_come_into_the_shim(comparison, folder, names):
    for name in names:
        (folder.py / f"{name}.py").write_text("import os; os.write(1, b'here\\n')\n")
    (folder.py / "headless").mkdir()
    script = comparison.script(f"for name in {names}: print(getattr(__import__(name), '__file__', None))")
    comparison.add(names, script)
    comparison.assert_same()


# The environment

ENVIRONMENTS = {
    "nothing": {},
    "the C locale": {"LANG": "C"},
    "the C locale for all": {"LC_ALL": "C"},
    "the C locale for letters": {"LC_CTYPE": "C"},
    "no letters": {"LC_CTYPE": ""},
    "the POSIX locale": {"LC_CTYPE": "POSIX", "LANG": "C.UTF-8"},
    "UTF-8": {"LC_CTYPE": "C.UTF-8"},
    "an unknown locale": {"LC_ALL": "tlh_QO"},
    "no change of the locale": {"PYTHONCOERCECLOCALE": "0"},
    "a warning of it": {"PYTHONCOERCECLOCALE": "warn"},
    "the mode UTF-8": {"PYTHONUTF8": "1"},
    "not the mode UTF-8": {"PYTHONUTF8": "0", "LC_ALL": "C"},
    "what the interpreter asks for": {
        "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "latin-1:replace", "PYTHONWARNINGS": "error",
        "PYTHONNOUSERSITE": "1", "PYTHONPROFILEIMPORTTIME": "", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONOPTIMIZE": "2", "PYTHONFAULTHANDLER": "1",
    },
    "development": {"PYTHONDEVMODE": "1"},
    "a home that is none": {"PYTHONHOME": "/absent"},
    "what is no text, and much": {"X": "\udcff\udc80", "\udcfe": "Zürich", "Y": "y" * 100000},
}  # fmt: skip
# What the shim's own interpreter would change, or be changed by.
THE_SERVERS = (
    "nothing", "the C locale for letters", "no letters", "UTF-8", "an unknown locale", "what the interpreter asks for",
    "a home that is none", "what is no text, and much",
)  # fmt: skip
LOOK_AT_ENVIRONMENT = """
    import faulthandler, locale, os, sys
    print(ascii(list(os.environb.items())), ascii(open("/proc/self/environ", "rb").read()))
    print(sys.flags, locale.setlocale(locale.LC_CTYPE), sys.stdout.encoding, sys.stdout.errors, sys.path)
    print(faulthandler.is_enabled(), sys.warnoptions, hash("x") if "PYTHONHASHSEED" in os.environ else "", __debug__)
    """


@of_the_interpreter
def test_the_environment_is_the_jobs_and_all_of_it(comparison):
    script = comparison.script(LOOK_AT_ENVIRONMENT)
    for name, environment in sample(ENVIRONMENTS, THE_SERVERS, 2).items():
        comparison.add(name, script, environment={"PATH": os.environ["PATH"], **environment})
    comparison.assert_same()


def test_no_secret_of_the_servers_environment_is_to_be_found(folder, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "hunter2")
    script = folder.script(
        "import os; print(open('/proc/self/environ').read(), open(f'/proc/{os.getppid()}/environ').read(), os.environ)"
    )
    result = folder.as_job(script)
    assert result.status == 0
    assert b"PATH=" in result.stdout
    assert b"hunter2" not in result.stdout


# What the server does to itself is not done to a job


@pytest.fixture
def strange_signals():
    """This process ignores and blocks what it can."""
    signums = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGQUIT, signal.SIGTSTP)
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in signums}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGALRM])
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_no_signal_is_ignored_or_blocked_in_a_job(folder, request):
    script = folder.script(THE_INTERPRETER["signals of the kernel"])
    expected = by_hand(folder.spec_of(script))
    request.getfixturevalue("strange_signals")
    assert by_hand(folder.spec_of(script)) != expected
    assert folder.as_job(script) == expected


def test_what_this_process_has_open_is_not_open_in_a_job(folder, tmp_path):
    script = folder.script("import os; print(sorted(os.listdir('/proc/self/fd')))")
    expected = by_hand(folder.spec_of(script))
    with open(tmp_path / "inherited", "w") as file:
        os.set_inheritable(file.fileno(), True)
        assert folder.as_job(script) == expected


def test_jobs_leave_each_other_nothing(folder):
    async def two() -> list[bytes]:
        processes, outputs = new_shims(), []
        sources = ("import os, sys; sys.path.append('x'); os.environ['X'] = ''; os.umask(0o77); os.chdir('/')", LOOK)
        for number, source in enumerate(sources):
            spec = folder.spec(source, number)
            outputs.append(result_of(spec, await in_time((await processes.start(spec)).wait())).stdout)
        return outputs

    assert asyncio.run(two())[1] == by_hand(folder.spec(LOOK, 1)).stdout


LOOK = "import os, sys; print(sys.path, sorted(os.environ), os.umask(0), os.getcwd())"


def test_each_job_has_a_hash_seed_of_its_own(folder):
    script = folder.script("print(hash('x'))")
    assert len({folder.as_job(script).stdout for _ in range(2)}) > 1


@of_the_interpreter
@pytest.mark.skipif(sys.version_info < (3, 11), reason="an older Python does not show where in a line")
def test_a_traceback_shows_nothing_of_this_package(folder):
    result = folder.as_job(folder.script("def f(): return 1 + None\nf()"))
    assert b"headless" not in result.stderr
    assert b"~~^~~" in result.stderr
