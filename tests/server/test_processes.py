"""Jobs as processes: a job finds what `python -u SCRIPT` finds, however it is started, and ends with all that it has
started. Each script runs three times: as that command, forked and spawned. What is told of it must be the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from raw_client import R41, RawClient, is_free, make_home, py_code, wait_until
from support import PATIENCE, ROOT

from headless.server.forked import ForkedProcesses
from headless.server.jobs import environment
from headless.server.process import LOST, ProcessSpec
from headless.server.spawned import SpawnedProcesses

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="here jobs are not forked")

WAYS = {
    "forked": lambda: ForkedProcesses(environment(), None),
    "spawned": lambda: SpawnedProcesses(environment()),
}


class Told(NamedTuple):
    """What a process tells of itself."""

    status: int
    stdout: bytes
    stderr: bytes


class Folder:
    """Where jobs find their files, `py`, and where their output goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.py = path / "py"
        self.py.mkdir()
        self.environment = {"PYTHONPATH": str(self.py), "PLANTA_SESSION": "5f0c"}

    def script(self, source: str | bytes, name: str = "script.py") -> Path:
        (self.path / "scripts").mkdir(exist_ok=True)
        script = self.path / "scripts" / name
        script.write_bytes(textwrap.dedent(source).encode() if isinstance(source, str) else source)
        return script

    def order(self, script: Path, way: str) -> ProcessSpec:
        stdout, stderr = (str(self.path / f"{way}.{stream}") for stream in ("stdout", "stderr"))
        return ProcessSpec(str(script), str(self.py), stdout, stderr, self.environment)

    def told(self, order: ProcessSpec, status: int) -> Told:
        return Told(status, Path(order.stdout).read_bytes(), Path(order.stderr).read_bytes())

    def by_hand(self, script: Path) -> Told:
        """What `python -u SCRIPT` tells."""
        order = self.order(script, "by hand")
        with open(order.stdout, "wb") as stdout, open(order.stderr, "wb") as stderr:
            done = subprocess.run(
                [sys.executable, "-u", order.script],
                cwd=order.folder,
                env={**environment(), **order.environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                timeout=PATIENCE,
                check=False,
            )
        return self.told(order, done.returncode)

    async def as_job(self, script: Path, way: str) -> Told:
        order = self.order(script, way)
        async with opened(way) as processes:
            process = await processes.start(order)
            return self.told(order, await in_time(process.wait()))

    def in_every_way(self, script: Path) -> dict[str, Told]:
        async def run_all() -> list[Told]:
            by_hand = asyncio.get_running_loop().run_in_executor(None, self.by_hand, script)
            return await asyncio.gather(by_hand, *(self.as_job(script, way) for way in WAYS))

        return dict(zip(["by hand", *WAYS], asyncio.run(run_all())))


@asynccontextmanager
async def opened(way: str):
    """Processes of this kind, closed in the end."""
    processes = WAYS[way]()
    await processes.open()
    try:
        yield processes
    finally:
        await in_time(processes.close())


async def in_time(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# What a job finds. Each script prints what is compared.

THE_INTERPRETER = {
    "arguments": "import sys; print(sys.argv, sys.executable, sys.flags, sys.warnoptions, sys._xoptions)",
    "path": "import sys; print(sys.path, *map(type, sys.meta_path), sys.path_hooks[0])",
    "modules": "import sys; print(sorted(sys.modules))",
    "main": """
        import __main__, sys
        for name in sorted(vars(__main__)):
            if name not in ("__loader__", "__main__", "sys"):
                print(name, getattr(__main__, name))
        print(type(__loader__), type(__main__), vars(__main__) is globals(), sys.modules[__name__] is __main__)
        """,
    "docstring": "'What it does'\nprint(__doc__)",
    "its source": "import inspect\ndef f(): 'here'\nprint(inspect.getsource(f), inspect.getfile(f))",
    "environment": "import os; print(sorted(os.environ.items()), os.popen('printenv PLANTA_SESSION').read())",
    "folder and umask": "import os; print(os.getcwd(), os.umask(0), os.getpgrp() == os.getsid(0) == os.getpid())",
    "descriptors": "import os; print(sorted(os.listdir('/dev/fd')), [os.get_inheritable(n) for n in range(3)])",
    "signals": """
        import signal
        for signum in sorted(signal.valid_signals()):
            print(signum, signal.getsignal(signum))
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1))
        """,
    "signals of the kernel": """
        for line in open("/proc/self/status"):
            if line[:6] in ("SigBlk", "SigIgn", "SigCgt"): print(line)
        """,
    "limits": """
        import gc, resource, sys, threading
        print(sys.getrecursionlimit(), gc.get_threshold(), gc.isenabled(), threading.active_count())
        print([resource.getrlimit(number) for number in range(10)], sys.getswitchinterval())
        """,
    "standard files": """
        import sys
        for file in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__):
            print(file.name, file.mode, file.encoding, file.errors, file.isatty(), file.line_buffering)
            print(file.write_through, type(file.buffer), file.fileno())
        """,
    "locale": "import locale, sys; print(locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding())",
    "hooks": "import sys; print(sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile(), exit, copyright)",
    "no features of the future": "def f(a: print('evaluated')): pass\nprint(f.__annotations__)",
    "faulthandler": "import faulthandler; print(faulthandler.is_enabled())",
}  # fmt: skip

HOW_IT_ENDS = {
    **{
        f"exit {status!r}": f"raise SystemExit({status!r})"
        for status in (None, 0, 3, 256, 257, -1, 2**40, True, 1.5, "no such table", (1, 2))
    },
    "exit in a thread": "import sys, threading; t = threading.Thread(target=sys.exit, args=[3]); t.start(); t.join()",
    "exit after an exception": "try: 1 / 0\nfinally: raise SystemExit('text')",
    "exit with what stderr cannot say": "raise SystemExit('Z\\xfcrich \\udc80')",
    "os._exit": "import os; print('.', end=''); os._exit(7)",
    "KeyboardInterrupt": "import atexit; atexit.register(print, 'last words'); raise KeyboardInterrupt",
    "SIGINT": "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(10)",
    **{
        f"signal {number}": f"import os; os.kill(os.getpid(), {number})"
        for number in map(int, (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1))
    },
    "exception": "raise KeyError('R41')",
    "exception in a function": "def f(x):\n    return 1 / x\ndef g():\n    f(0)\ng()",
    "exception in a module": "import json\njson.loads('{')",
    "exception in asyncio": "import asyncio\nasync def f(): 1 / 0\nasyncio.run(f())",
    "exception with a cause": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e",
    "exception with a context": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}['x']",
    "exception that is no Exception": "class Stop(BaseException): pass\nraise Stop",
    "exception that cannot be shown": "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
    "exception that stderr cannot say": "raise ValueError('Z\\xfcrich \\udc80')",
    "syntax error": "def f():\n    return\n  x = 1\n",
    "indentation error": "def f():\nreturn 1",
    "tab error": "if 1:\n        x = 1\n\ty = 2\n",
    "nothing": "",
    "byte order mark": b"\xef\xbb\xbfprint('Z\xc3\xbcrich')\n",
    "Latin-1": b"# -*- coding: latin-1 -*-\nprint('Z\xfcrich')\n",
    "line ends of Windows": b"print('''a\r\nb''')\r\nraise ValueError(1)\r\n",
    "line ends of old": b"print(1)\rprint(2)\r",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print(a[:2], a[2] is a[1].__traceback__)\n1 / 0",
    "excepthook that shows": "import sys, traceback\nsys.excepthook = lambda *a: traceback.print_exception(*a)\n1 / 0",
    "excepthook that exits": "import sys\nsys.excepthook = lambda *_: sys.exit(5)\n1 / 0",
    "atexit": "import atexit\natexit.register(print, 1)\natexit.register(print, 2)\nraise SystemExit(3)",
    "atexit that fails": "import atexit\natexit.register(int, 'x')",
    "a thread that goes on": """
        import atexit, threading
        atexit.register(print, "at exit")
        main = threading.main_thread()
        threading.Thread(target=lambda: (main.join(), print("after the end"))).start()
        print("at the end")
        """,
    "a daemon thread": "import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()",
    "an exception in a thread": "import threading\nt = threading.Thread(target=int, args='x'); t.start(); t.join()",
    "unflushed": "import io, sys\nsys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w', closefd=False)))\n"
    "print('kept')",
    "a closed stdout": "import os; os.close(1); print(1)",
    "a full stdout": "import sys; sys.stdout = open('/dev/full', 'w'); print(1)",
    **{
        f"deleted after {end!r}": f"class D:\n    def __del__(self): print('deleted')\nd = D()\n{end}"
        for end in ("pass", "1 / 0", "raise SystemExit(2)")
    },
    "a fork": "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('parent' if pid else 'child')",
    "deep recursion": """
        def depth(n):
            try: return depth(n + 1)
            except RecursionError: return n
        print(900 < depth(0) < 1000)
        """,
    "no input": "import sys; print(repr(sys.stdin.read()), input())",
    "warnings": """
        import logging, warnings
        for category in (UserWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.warn("careful", category)
        logging.warning("careful")
        '\\d' is 'x'
        """,
}

WHAT_IT_USES = {
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, pickle.dumps(A()))",
    "dataclasses": "from dataclasses import *\n@dataclass\nclass A:\n    x: 'int' = 1\nprint(A(1), fields(A)[0].type)",
    "typing": "import typing\nx: int = 1\nclass A: y: 'A'\nprint(__annotations__, typing.get_type_hints(A))",
    "enum": "import enum\nclass C(enum.Enum): A = 1\nprint(repr(C.A), C.__module__)",
    **{
        f"multiprocessing, {method}": f"""
            import multiprocessing
            def square(x): return x * x
            if __name__ == "__main__":
                with multiprocessing.get_context("{method}").Pool(2) as pool: print(pool.map(square, range(5)))
            """
        for method in ("fork", "spawn", "forkserver")
    },
    "a process of multiprocessing": """
        import multiprocessing, sys
        def ask(queue): queue.put((__name__, __file__, sys.argv, sys.path))
        if __name__ == "__main__":
            multiprocessing.set_start_method("spawn")
            queue = multiprocessing.Queue()
            process = multiprocessing.Process(target=ask, args=[queue])
            process.start(); print(queue.get()); process.join(); print(process.exitcode)
        """,
    "concurrent.futures": """
        from concurrent.futures import *
        def square(x): return x * x
        if __name__ == "__main__":
            for executor in (ThreadPoolExecutor(2), ProcessPoolExecutor(2)):
                with executor: print(list(executor.map(square, range(5))))
        """,
    "subprocess": """
        import os, subprocess, sys
        print(subprocess.run([sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"], capture_output=True))
        print(subprocess.call("exit 3", shell=True), os.waitstatus_to_exitcode(os.system("exit 4")))
        """,
    "asyncio": """
        import asyncio
        async def main():
            process = await asyncio.create_subprocess_exec("echo", "1", stdout=-1)
            print(await process.communicate(), process.returncode, await asyncio.to_thread(lambda: 2))
        asyncio.run(main())
        """,
    "signal handlers": """
        import signal
        signal.signal(signal.SIGALRM, lambda signum, _: print(repr(signal.Signals(signum))))
        signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
        """,
    "libraries": """
        import ctypes, decimal, hashlib, lxml.etree, bcrypt, select, signal, socket, sqlite3, ssl, struct, time, zlib
        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
        def following(x): return x + 1
        class Pair(ctypes.Structure): _fields_ = [("a", ctypes.c_int), ("p", ctypes.POINTER(ctypes.c_char))]
        print(ctypes.CDLL(None).abs(-3), following(1), Pair(3).a, ctypes.sizeof(Pair), ctypes.c_char_p(b"x").value)
        print(decimal.Decimal(1) / 3, sqlite3.connect(":memory:").execute("SELECT 1").fetchone())
        print(select.select([], [], [], 0), ssl.create_default_context().verify_mode)
        print(hashlib.sha256(b"").hexdigest(), struct.pack("i", 1), time.tzname)
        """,
    "doctest": r"""
        def f(): '>>> 1 + 1'
        f.__doc__ += "\n3\n"
        import doctest
        doctest.testmod()
        """,
    "unittest": """
        import sys, unittest
        class Test(unittest.TestCase):
            def test(self): self.assertEqual(1, 2)
        unittest.main(testRunner=unittest.TextTestRunner(open("/dev/null", "w")))
        """,
    "itself as a module": "import script; print(script.__name__, script.__file__)",
    "its own data": "import pkgutil; print(pkgutil.get_data('__main__', __file__)[:6])",
    "a program of its own": "import os, sys\nif 'X' not in os.environ:\n    os.environ['X'] = ''\n"
    "    os.execv(sys.executable, [sys.executable, *sys.argv])\nprint(sys.argv)",
}  # fmt: skip
SCRIPTS = {**THE_INTERPRETER, **HOW_IT_ENDS, **WHAT_IT_USES}


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_a_job_finds_what_a_script_finds(folder, source):
    told = folder.in_every_way(folder.script(source))
    assert told["forked"] == told["by hand"]
    assert told["spawned"] == told["by hand"]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("x = (", id="unexpected end"),
        pytest.param(b"# -*- coding: klingon -*-\nprint(1)\n", id="unknown encoding"),
        pytest.param(b"print('Z\xfcrich')\n", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf# coding: latin-1\nprint('Z\xc3\xbcrich')\n", id="two encodings"),
    ],
)
def test_what_cannot_be_read_is_a_syntax_error_if_in_other_words(folder, source):
    for status, stdout, stderr in folder.in_every_way(folder.script(source)).values():
        assert (status, stdout) == (1, b"")
        assert stderr.splitlines()[-1].startswith(b"SyntaxError: ")
        assert b"Traceback" not in stderr


def test_an_excepthook_that_fails_hides_neither_error(folder):
    source = "import sys\ndef hook(*_): raise ValueError('in hook')\nsys.excepthook = hook\n1 / 0"
    for status, _, stderr in folder.in_every_way(folder.script(source)).values():
        assert status == 1
        assert b"ValueError: in hook\n" in stderr
        assert stderr.endswith(b"\nZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("name", ["signal", "select", "enum", "ctypes", "struct", "time", "marshal", "os", "jobs"])
def test_a_module_beside_the_script_hides_the_same_modules_as_elsewhere(folder, name):
    folder.script("found = 'beside the script'", f"{name}.py")
    script = folder.script(f"import {name}; print({name}, getattr({name}, 'found', None))")
    told = folder.in_every_way(script)
    assert told["forked"] == told["spawned"] == told["by hand"]


def test_a_module_that_is_the_servers_own_is_not_found(folder):
    script = folder.script("import accounts")
    told = folder.in_every_way(script)
    assert told["forked"] == told["spawned"] == told["by hand"]
    assert told["forked"].stderr.endswith(b"ModuleNotFoundError: No module named 'accounts'\n")


def test_the_links_target_says_where_a_script_imports_from(folder):
    script = folder.script("import sys; print(__file__, sys.argv, sys.path[:2])")
    (folder.py / "link.py").symlink_to(script)
    told = folder.in_every_way(folder.py / "link.py")
    assert told["forked"] == told["spawned"] == told["by hand"]


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_of_the_servers_environment_is_to_be_found(folder, monkeypatch, way):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "hunter2")
    script = folder.script(
        "import os; print(open('/proc/self/environ').read(), open(f'/proc/{os.getppid()}/environ').read(), os.environ)"
        if way == "forked"
        else "import os; print(open('/proc/self/environ').read(), os.environ)"
    )
    told = asyncio.run(folder.as_job(script, way))
    assert told.status == 0
    assert b"PATH=" in told.stdout
    assert b"hunter2" not in told.stdout


def test_jobs_leave_each_other_nothing(folder):
    """Not even what they forget: what one does to its interpreter is not in the next one's."""

    async def two() -> list[Told]:
        async with opened("forked") as processes:
            told = []
            for source in ("import os, sys; sys.path.append('x'); os.environ['X'] = ''; os.umask(0o77)", LOOK):
                order = folder.order(folder.script(source), "forked")
                told.append(folder.told(order, await in_time((await processes.start(order)).wait())))
            return told

    assert asyncio.run(two())[1] == folder.by_hand(folder.script(LOOK))


LOOK = "import os, sys; print(sys.path, sorted(os.environ), os.umask(0), sorted(os.listdir('/dev/fd')))"


# Starting


def test_many_jobs_start_at_once(folder):
    async def run_one(processes, number: int) -> Told:
        order = folder.order(folder.script(f"print({number})", f"{number}.py"), str(number))
        return folder.told(order, await in_time((await processes.start(order)).wait()))

    async def run_all() -> list[Told]:
        async with opened("forked") as processes:
            return await asyncio.gather(*(run_one(processes, number) for number in range(50)))

    assert asyncio.run(run_all()) == [Told(0, b"%d\n" % number, b"") for number in range(50)]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("way", WAYS)
def test_without_files_for_its_output_no_job_starts_and_the_next_one_does(folder, way, stream):
    async def start() -> Told:
        order = folder.order(folder.script(LOOK), way)
        async with opened(way) as processes:
            for _ in range(3):
                with pytest.raises(OSError, match="absent"):
                    await in_time(processes.start(order._replace(**{stream: str(folder.path / "absent" / "file")})))
            return folder.told(order, await in_time((await processes.start(order)).wait()))

    assert asyncio.run(start()) == folder.by_hand(folder.script(LOOK))


# The end of a job and of all that it has started


class Lock:
    """A lock that a process of a job holds as long as it lives. `code` takes it and says so, then goes on as told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = path.with_suffix(".taken")

    def code(self, then: str = "time.sleep(60)") -> str:
        return (
            "import fcntl, os, signal, sys, time\n"
            f"lock = open({str(self._path)!r}, 'a'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
            f"open({str(self._taken)!r}, 'w').close()\n{then}\n"
        )

    def wait_for(self) -> str:
        """Code of a parent that waits until its child has it."""
        return f"import os, time\nwhile not os.path.exists({str(self._taken)!r}): time.sleep(0.01)\n"

    @property
    def is_taken(self) -> bool:
        return self._taken.exists()

    def is_free(self) -> bool:
        return is_free(self._path)


@pytest.fixture
def lock(tmp_path):
    return Lock(tmp_path / "lock")


IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def with_child(lock: Lock, code: str, **options) -> str:
    """A job that starts a child which holds the lock, and then ends."""
    return (
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {code!r}], **{options!r})\n{lock.wait_for()}"
    )


def test_what_a_job_leaves_behind_is_gone_when_its_end_is_told(folder, lock):
    told = asyncio.run(folder.as_job(folder.script(with_child(lock, lock.code())), "forked"))
    assert lock.is_free()
    assert told == (0, b"", b"")


def test_what_a_job_leaves_behind_may_clean_up(folder, lock):
    clean_up = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('cleaned up')))\n"
    child = lock.code(clean_up + "time.sleep(60)").replace("open", clean_up + "open", 1)
    told = asyncio.run(folder.as_job(folder.script(with_child(lock, child)), "forked"))
    assert lock.is_free()
    assert told == (0, b"cleaned up\n", b"")


def test_what_a_job_leaves_behind_is_killed_if_it_does_not_end(folder, lock):
    script = folder.script(with_child(lock, IGNORE_SIGTERM + lock.code()))
    told = asyncio.run(folder.as_job(script, "forked"))  # whose patience ends long before the child's minute
    wait_until(lock.is_free)
    assert told == (0, b"", b"")


def test_what_has_left_the_job_lives_on(folder, lock, tmp_path):
    gate = tmp_path / "gate"
    then = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    try:
        asyncio.run(folder.as_job(folder.script(with_child(lock, lock.code(then), start_new_session=True)), "forked"))
        assert not lock.is_free()
    finally:
        gate.touch()
    wait_until(lock.is_free)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("before", "status"),
    [
        pytest.param("", -signal.SIGTERM, id="which ends it"),
        pytest.param(
            "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n", 3, id="to clean up at"
        ),
        pytest.param(IGNORE_SIGTERM, -signal.SIGKILL, id="and killed if it takes no notice"),
    ],
)
def test_a_job_that_is_ended_gets_sigterm(folder, lock, way, before, status):
    async def start_and_end() -> int:
        async with opened(way) as processes:
            process = await processes.start(folder.order(folder.script(before + lock.code()), way))
            while not lock.is_taken:
                await asyncio.sleep(0.01)
            await in_time(process.end())
            return await in_time(process.wait())

    assert asyncio.run(asyncio.wait_for(start_and_end(), PATIENCE)) == status
    assert lock.is_free()


@pytest.mark.parametrize("way", WAYS)
def test_ending_a_job_ends_its_children(folder, lock, way):
    async def start_and_end() -> None:
        async with opened(way) as processes:
            code = with_child(lock, IGNORE_SIGTERM + lock.code()) + "time.sleep(60)"
            process = await processes.start(folder.order(folder.script(code), way))
            while not lock.is_taken:
                await asyncio.sleep(0.01)
            await in_time(process.end())

    asyncio.run(asyncio.wait_for(start_and_end(), PATIENCE))
    wait_until(lock.is_free)


@pytest.mark.parametrize("way", WAYS)
def test_a_job_may_be_ended_as_soon_as_it_is_started_and_again_when_it_is_over(folder, way):
    async def start_and_end() -> set[int]:
        async with opened(way) as processes:
            order = folder.order(folder.script("import time; time.sleep(60)"), way)
            statuses = set()
            for _ in range(20):  # the process may be anywhere between its first instruction and the script
                process = await processes.start(order)
                await in_time(asyncio.gather(process.end(), process.end()))
                await in_time(process.end())
                statuses.add(await in_time(process.wait()))
            return statuses

    assert asyncio.run(start_and_end()) == {-signal.SIGTERM}


# The process that jobs are forked from


def test_orders_wait_while_it_takes_none(folder):
    """More of them than a socket holds: with hundreds of workers, after a restart, so many batches begin at once."""

    async def start_many() -> list[int]:
        async with opened("forked") as processes:
            order = folder.order(folder.script(""), "forked")
            os.kill(processes._process.pid, signal.SIGSTOP)
            starting = [asyncio.ensure_future(processes.start(order)) for _ in range(500)]
            await asyncio.sleep(0.1)
            os.kill(processes._process.pid, signal.SIGCONT)
            return await asyncio.gather(*[process.wait() for process in await asyncio.gather(*starting)])

    assert asyncio.run(asyncio.wait_for(start_many(), PATIENCE)) == [0] * 500


def test_closing_ends_what_still_runs(folder, lock):
    async def start_and_close() -> int:
        async with opened("forked") as processes:
            process = await processes.start(folder.order(folder.script(lock.code()), "forked"))
            while not lock.is_taken:
                await asyncio.sleep(0.01)
        return await in_time(process.wait())

    assert asyncio.run(asyncio.wait_for(start_and_close(), PATIENCE)) != 0
    assert lock.is_free()


async def kill_what_forks(folder: Folder, lock: Lock, code: str) -> tuple[int, Told]:
    """The exit status of a job with this code, and what the next job tells."""
    async with opened("forked") as processes:
        process = await processes.start(folder.order(folder.script(code), "forked"))
        while not lock.is_taken:
            await asyncio.sleep(0.01)
        processes._process.kill()
        status = await in_time(process.wait())
        order = folder.order(folder.script("print(42)", "next.py"), "forked")
        return status, folder.told(order, await in_time((await processes.start(order)).wait()))


def test_if_it_is_killed_its_jobs_are_lost_and_the_next_one_gets_another(folder, lock):
    code = with_child(lock, IGNORE_SIGTERM + lock.code()) + "time.sleep(60)"
    told = asyncio.run(asyncio.wait_for(kill_what_forks(folder, lock, code), PATIENCE))
    assert told == (LOST, (0, b"42\n", b""))
    wait_until(lock.is_free)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the kernel does not end the jobs")
def test_if_the_server_is_killed_as_well_the_kernel_ends_the_jobs(folder, lock, monkeypatch):
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    asyncio.run(asyncio.wait_for(kill_what_forks(folder, lock, IGNORE_SIGTERM + lock.code()), PATIENCE))
    wait_until(lock.is_free)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_everybody_is_no_signal_to_the_jobs(folder, tmp_path, signum):
    """Ending them is the server's business, whose terminal or service manager signals all its processes."""

    async def signal_it() -> int:
        async with opened("forked") as processes:
            gate = tmp_path / "gate"
            code = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
            process = await processes.start(folder.order(folder.script(code), "forked"))
            processes._process.send_signal(signum)
            second = await processes.start(folder.order(folder.script("", "second.py"), "second"))
            assert await in_time(second.wait()) == 0
            gate.touch()
            return await in_time(process.wait())

    assert asyncio.run(signal_it()) == 0


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_a_job_has_its_standard_files_whichever_of_them_the_server_lacks(tmp_path, closed):
    home = make_home(tmp_path / "home", R41).folder
    serve = [sys.executable, "-m", "headless", "serve", "--home", str(home), "--listen", "127.0.0.1:0", "--grace", "0"]
    with subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *serve],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            address = server.stdout.readline().split()[-1]
            with RawClient(address).log_in() as client:
                client.submit(py_code("import sys; print(sys.stdin.read() + 'out'); print('err', file=sys.stderr)"))
                story = client.story()
        finally:
            server.terminate()
    assert story == ({(1, "stdout"): "out\n", (1, "stderr"): "err\n"}, [("ok", "")], "ok")
