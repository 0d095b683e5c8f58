"""What a job finds in its interpreter and in the libraries that it uses: the same as a script that is run by
`python -u SCRIPT`. Each script runs three times: as that command, forked and spawned. The results must be the same."""

from __future__ import annotations

import asyncio
import os

import pytest

from support.job_processes import LOOK, WAYS, Folder, Result, in_time, opened

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="here jobs are not forked")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# Each script prints what is compared.
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
SCRIPTS = {**THE_INTERPRETER, **WHAT_IT_USES}


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_a_job_finds_what_a_script_finds(folder, source):
    result = folder.in_every_way(folder.script(source))
    assert result["forked"] == result["by hand"]
    assert result["spawned"] == result["by hand"]


@pytest.mark.parametrize("name", ["signal", "select", "enum", "ctypes", "struct", "time", "marshal", "os", "jobs"])
def test_a_module_beside_the_script_hides_the_same_modules_as_elsewhere(folder, name):
    folder.script("found = 'beside the script'", f"{name}.py")
    script = folder.script(f"import {name}; print({name}, getattr({name}, 'found', None))")
    result = folder.in_every_way(script)
    assert result["forked"] == result["spawned"] == result["by hand"]


def test_a_module_that_is_the_servers_own_is_not_found(folder):
    script = folder.script("import accounts")
    result = folder.in_every_way(script)
    assert result["forked"] == result["spawned"] == result["by hand"]
    assert result["forked"].stderr.endswith(b"ModuleNotFoundError: No module named 'accounts'\n")


def test_the_links_target_says_where_a_script_imports_from(folder):
    script = folder.script("import sys; print(__file__, sys.argv, sys.path[:2])")
    (folder.py / "link.py").symlink_to(script)
    result = folder.in_every_way(folder.py / "link.py")
    assert result["forked"] == result["spawned"] == result["by hand"]


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_of_the_servers_environment_is_to_be_found(folder, monkeypatch, way):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "hunter2")
    script = folder.script(
        "import os; print(open('/proc/self/environ').read(), open(f'/proc/{os.getppid()}/environ').read(), os.environ)"
        if way == "forked"
        else "import os; print(open('/proc/self/environ').read(), os.environ)"
    )
    result = asyncio.run(folder.as_job(script, way))
    assert result.status == 0
    assert b"PATH=" in result.stdout
    assert b"hunter2" not in result.stdout


def test_jobs_leave_each_other_nothing(folder):
    """Not even what they forget: what one does to its interpreter is not in the next one's."""

    async def two() -> list[Result]:
        async with opened("forked") as processes:
            result = []
            for source in ("import os, sys; sys.path.append('x'); os.environ['X'] = ''; os.umask(0o77)", LOOK):
                order = folder.spec_of(folder.script(source), "forked")
                result.append(folder.result_of(order, await in_time((await processes.start(order)).wait())))
            return result

    assert asyncio.run(two())[1] == folder.by_hand(folder.script(LOOK))
