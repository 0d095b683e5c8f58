"""What a job finds in its interpreter and in the libraries that it uses, and how it ends: the same as a script that is
run by `python -u SCRIPT`. Each script runs twice, as that command and as a job. The results must be the same."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import zipfile

import pytest

pytest.importorskip("resource", reason="what is tested here only platforms have that can fork")
import resource

from headless.server import posix_shims
from support.job_processes import by_hand, new_shims, result_of
from support.waiting import in_time


@pytest.fixture(autouse=True)
def _not_in_the_background():
    """There a shell lets more be ignored than conftest.py knows of, and a script that is run by hand inherits that."""
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, lambda *_: None)


# Each script prints what is compared.
THE_INTERPRETER = {
    "arguments": "import sys; print(sys.argv, sys.orig_argv if hasattr(sys, 'orig_argv') else '', sys.executable)",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions, sys.pycache_prefix)",
    "the command line": "print(open('/proc/self/cmdline').read(), open('/proc/self/comm').read())",
    "path": "import sys; print(sys.path, *map(type, sys.meta_path), sys.path_hooks[0], sys.prefix, sys.exec_prefix)",
    "modules": "import sys; print(list(sys.modules))",
    "builtins": "import builtins; print(sorted(vars(builtins)))",
    "main": """
        import __main__, sys
        for name in sorted(vars(__main__)):
            if name not in ("__loader__", "__main__", "sys"):
                print(name, getattr(__main__, name))
        print(type(__loader__), type(__main__), vars(__main__) is globals(), sys.modules[__name__] is __main__)
        """,
    "the order of main": "print(list(globals()))",
    "the loader": "print(__loader__.name, __loader__.path, __spec__, __loader__.get_source('__main__'))",
    "docstring": "'What it does'\nprint(__doc__)",
    "its source": "import inspect\ndef f(): 'here'\nprint(inspect.getsource(f), inspect.getfile(f))",
    "the stack": """
        import inspect, sys, traceback
        def f(): traceback.print_stack(); print([frame.filename for frame in inspect.stack()], sys._getframe(1).f_back)
        f()
        """,
    "a dump of faulthandler": "import faulthandler\ndef f(): faulthandler.dump_traceback(all_threads=False)\nf()",
    "faulthandler": "import faulthandler; print(faulthandler.is_enabled())",
    "environment": "import os; print(list(os.environ.items()), os.popen('printenv PLANTA_SESSION').read())",
    "the kernel's environment": "print(open('/proc/self/environ', 'rb').read())",
    "folder and umask": "import os; print(os.getcwd(), os.umask(0), os.getpgrp() == os.getsid(0) == os.getpid())",
    "descriptors": """
        import fcntl, os
        print(sorted(os.listdir('/proc/self/fd')), [os.get_inheritable(n) for n in range(3)])
        print([fcntl.fcntl(n, fcntl.F_GETFL) for n in range(3)], [oct(os.fstat(n).st_mode)[:4] for n in range(3)])
        print(os.readlink('/proc/self/fd/0'), os.fstat(1).st_ino == os.fstat(2).st_ino)
        """,
    "what a child inherits": "import os; os.system('ls /proc/self/fd; ulimit -a; umask; trap')",
    "signals": """
        import signal
        for signum in sorted(signal.valid_signals()):
            print(signum, signal.getsignal(signum))
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending(), signal.set_wakeup_fd(-1))
        """,
    "signals of the kernel": """
        for line in open("/proc/self/status"):
            if line[:6] in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "NoNewP", "Seccom", "CapEff"): print(line)
        """,
    "the signals of a child": "import os; os.system('grep Sig[PBIC] /proc/self/status')",
    "limits": """
        import gc, resource, sys, threading
        print(sys.getrecursionlimit(), gc.get_threshold(), gc.isenabled(), threading.active_count())
        print([resource.getrlimit(number) for number in range(16)], sys.getswitchinterval(), threading.stack_size())
        """,
    "priority": """
        import os
        print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0))
        print(open("/proc/self/oom_score_adj").read(), os.getuid(), os.getgroups())
        """,
    "timers": "import signal; print([signal.getitimer(which) for which in range(3)], signal.alarm(0))",
    "standard files": """
        import sys
        for file in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__):
            print(file.name, file.mode, file.encoding, file.errors, file.isatty(), file.line_buffering, file.newlines)
            print(file.write_through, type(file.buffer), file.fileno(), file.readable(), file.writable())
        """,
    "what can be sought": "import sys; print(sys.stdin.seekable(), sys.stdout.seekable(), sys.stderr.seekable())",
    "no terminal": "import os, shutil; print([os.isatty(n) for n in range(3)], shutil.get_terminal_size())\n"
    "try: open('/dev/tty')\nexcept OSError as e: print(e)",
    "no buffer": "import os, sys\nprint(1, end=''); os.write(1, b'2'); sys.stdout.write('3'); os.write(1, b'4\\n')",
    "both streams": "import sys\nfor n in range(1000): print(n, file=[sys.stdout, sys.stderr][n % 2])",
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)",
    "much": "import sys; sys.stdout.write('Zürich\\n' * 500000)",
    "locale": "import locale, sys; print(locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding())\n"
    "print(sys.getdefaultencoding(), sys.getfilesystemencodeerrors(), locale.localeconv(), open(__file__).encoding)",
    "hooks": """
        import sys, threading
        print(sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile(), exit, copyright, sys.breakpointhook)
        print(sys.unraisablehook, threading.excepthook, sys.get_asyncgen_hooks())
        """,
    "no features of the future": "def f(a: print('evaluated')): pass\nprint(f.__annotations__)",
    "tracemalloc": "import tracemalloc; print(tracemalloc.is_tracing())",
    "garbage": "import gc; print(gc.get_debug(), gc.get_freeze_count(), gc.garbage, gc.get_count()[2])",
    "threads": "import threading as t; print(t.main_thread() is t.current_thread(), t.enumerate())",
    "the kernel's threads": "import os; print(len(os.listdir('/proc/self/task')))",
    "no children": "import os\ntry: print(os.wait())\nexcept OSError as e: print(e)",
    "hashes": "import sys; print(sys.flags.hash_randomization, sys.hash_info)",
    "random": "import random; random.seed(1); print(random.random())",
    "warning filters": "import warnings; print(warnings.filters)",
    "the site": "import site, sys; print(site.ENABLE_USER_SITE, site.getsitepackages(), 'site' in sys.modules)",
    "its name": "import sys; print(__name__, __file__, __package__, __spec__, globals().get('__cached__'))",
    "what it compiles to": "import sys; f = sys._getframe(); print(f.f_code.co_filename, f.f_code.co_name, f.f_lineno)",
    "no cache of its own": "import os; print(os.listdir(os.path.dirname(__file__)))",
    "a cache of others": "import os, helper; print(os.path.exists(helper.__cached__), helper.x)",
    "annotations": "x: int = 1\nprint(__annotations__)",
}  # fmt: skip

WHAT_IT_USES = {
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, pickle.dumps(A()))",
    "dataclasses": "from dataclasses import *\n@dataclass\nclass A:\n    x: 'int' = 1\nprint(A(1), fields(A)[0].type)",
    "typing": "import typing\nclass A: y: 'A'\nprint(typing.get_type_hints(A))",
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
    "shared memory": """
        from multiprocessing import shared_memory
        memory = shared_memory.SharedMemory(create=True, size=10)
        memory.buf[0] = 1; print(memory.buf[0]); memory.close(); memory.unlink()
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
    "a pipe of a shell": "import os; print(os.system('yes | head -1; exit 5'))",
    "what another program prints": "import os; os.system('echo out; echo err >&2'); print('after')",
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
    "a limit of files": """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try: open("big", "wb", 0).write(bytes(20)); open("big", "ab", 0).write(bytes(20))
        except OSError as e: print(e)
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
    "logging": "import logging; logging.basicConfig(format='%(module)s %(process)d'[:10]); logging.error('x')",
    "argparse": "import argparse; argparse.ArgumentParser().parse_args(['--absent'])",
    "runpy": "import runpy; print(runpy.run_module('helper')['__file__'])",
    "importlib": "import importlib, helper; helper.x = 2; print(importlib.reload(helper).x, helper.__spec__)",
    "itself as a module": "import script; print(script.__name__, script.__file__)",
    "its own data": "import pkgutil; print(pkgutil.get_data('__main__', __file__)[:6])",
    "a program of its own": "import os, sys\nif 'X' not in os.environ:\n    os.environ['X'] = ''\n"
    "    os.execv(sys.executable, [sys.executable, *sys.argv])\nprint(sys.argv)",
    "a standard file, opened again": """
        import sys
        print("before", file=sys.stderr)
        open("/dev/stderr", "w").write("again\\n"); open("/dev/stdout", "w").write("out\\n")
        print("after", file=sys.stderr)
        """,
    "a timer": "import threading; threading.Timer(0.01, print, ['later']).start()",
    "weak references": "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'gone')",
}  # fmt: skip

HOW_IT_ENDS = {
    **{
        f"exit {status!r}": f"raise SystemExit({status!r})"
        for status in (None, 0, 3, 256, 257, -1, 2**40, True, 1.5, "no such table", (1, 2))
    },
    "exit without an argument": "import sys; sys.exit()",
    "exit in a thread": "import sys, threading; t = threading.Thread(target=sys.exit, args=[3]); t.start(); t.join()",
    "exit after an exception": "try: 1 / 0\nfinally: raise SystemExit('text')",
    "exit with what stderr cannot say": "raise SystemExit('Z\\xfcrich \\udc80')",
    "quit": "quit(4)",
    "os._exit": "import os; print('.', end=''); os._exit(7)",
    "os.abort": "import os; os.abort()",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "a crash that is shown": "import ctypes, faulthandler; faulthandler.enable(all_threads=False); ctypes.string_at(0)",
    "KeyboardInterrupt": "import atexit; atexit.register(print, 'at exit'); raise KeyboardInterrupt",
    "SIGINT": "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(10)",
    **{
        f"signal {number}": f"import os; os.kill(os.getpid(), {number})"
        for number in map(
            int,
            (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR1, signal.SIGALRM, signal.SIGPIPE, 24, 40),
        )
    },
    "its own group": "import os, signal; os.killpg(0, signal.SIGTERM)",
    "exception": "raise KeyError('R41')",
    "exception in a function": "def f(x):\n    return 1 / x\ndef g():\n    f(0)\ng()",
    "exception in a module": "import json\njson.loads('{')",
    "exception in asyncio": "import asyncio\nasync def f(): 1 / 0\nasyncio.run(f())",
    "exception with a cause": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e",
    "exception with a context": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}['x']",
    "exception that is no Exception": "class Stop(BaseException): pass\nraise Stop",
    "exception that cannot be shown": "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
    "exception that stderr cannot say": "raise ValueError('Z\\xfcrich \\udc80')",
    "a name that is nearly one": "value = 1\nprint(valeu)",
    "no such module": "import absent",
    "no such file": "open('absent')",
    "a module of the server": "import accounts",
    "syntax error": "def f():\n    return\n  x = 1\n",
    "indentation error": "def f():\nreturn 1",
    "tab error": "if 1:\n        x = 1\n\ty = 2\n",
    "unexpected end": "x = (",
    "unknown encoding": b"# -*- coding: klingon -*-\nprint(1)\n",
    "not UTF-8": b"print('Z\xfcrich')\n",
    "two encodings": b"\xef\xbb\xbf# coding: latin-1\nprint('Z\xc3\xbcrich')\n",
    "a byte that is null": b"print(1)\n\0print(2)\n",
    "nothing": "",
    "only a comment": "# nothing",
    "no line end": "print(1)\nif 1: print(2)",
    "byte order mark": b"\xef\xbb\xbfprint('Z\xc3\xbcrich')\n",
    "Latin-1": b"# -*- coding: latin-1 -*-\nprint('Z\xfcrich')\n",
    "line ends of Windows": b"print('''a\r\nb''')\r\nraise ValueError(1)\r\n",
    "line ends of old": b"print(1)\rprint(2)\r",
    "a line for the shell": "#!/bin/false\nprint(1)",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print(a[:2], a[2] is a[1].__traceback__)\n1 / 0",
    "excepthook that shows": "import sys, traceback\nsys.excepthook = lambda *a: traceback.print_exception(*a)\n1 / 0",
    "excepthook that exits": "import sys\nsys.excepthook = lambda *_: sys.exit(5)\n1 / 0",
    "excepthook that fails": "import sys\ndef hook(*_): raise ValueError('in hook')\nsys.excepthook = hook\n1 / 0",
    "no excepthook": "import sys\ndel sys.excepthook\n1 / 0",
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
    "a closed stdout that is flushed": "import sys; sys.stdout.close(); print(1)",
    "a closed stderr": "import os; os.close(2); 1 / 0",
    "a full stdout": "import sys; sys.stdout = open('/dev/full', 'w'); print(1)",
    "a pipe that nobody reads": "import os\nr, w = os.pipe(); os.close(r); os.write(w, b'x')",
    **{
        f"deleted after {end!r}": f"class D:\n    def __del__(self): print('deleted')\nd = D()\n{end}"
        for end in ("pass", "1 / 0", "raise SystemExit(2)")
    },
    "an exception while deleted": "class D:\n    def __del__(self): 1 / 0\nd = D(); del d",
    "a fork": "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('parent' if pid else 'child')",
    "deep recursion": """
        def depth(n):
            try: return depth(n + 1)
            except RecursionError: return n
        print(depth(0))
        """,
    "endless recursion": "def f(): f()\nf()",
    "no input": "import sys; print(repr(sys.stdin.read()), repr(sys.stdin.buffer.read()), input())",
    "a generator that is not closed": "def f():\n    try: yield\n    finally: print('closed')\ng = f(); next(g)",
    "a coroutine that nobody awaits": "async def f(): pass\nf()",
    "a file that is not closed": "import warnings; warnings.simplefilter('always'); f = open(__file__); del f",
    "warnings": """
        import logging, warnings
        for category in (UserWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.warn("careful", category)
        logging.warning("careful")
        '\\d' is 'x'
        """,
}
SCRIPTS = {**THE_INTERPRETER, **WHAT_IT_USES, **HOW_IT_ENDS}


def assert_same(folder, script, **changes):
    expected = by_hand(folder.spec_of(script, **changes))
    assert without_addresses(folder.as_job(script, **changes)) == without_addresses(expected)


def without_addresses(result):
    """What differs from one process to the next."""
    status, *streams = result
    return (status, *(re.sub(rb"0x[0-9a-f]+|started [0-9]+", b"0x", stream) for stream in streams))


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS)
def test_a_job_is_what_a_script_is(folder, source):
    (folder.py / "helper.py").write_text("x = 1\n")
    assert_same(folder, folder.script(source))


def test_these_are_more_than_a_hundred():
    assert len(SCRIPTS) >= 150


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


def unreadable(folder, name):
    path = folder.scripts / name
    path.mkdir()
    return path


OTHER_FILES = {
    "a zip application": (zip_of, "app.pyz"),
    "a folder": (folder_of, "app"),
    "a link": (link_of, "link.py"),
    "a compiled file": (compiled, "script.pyc"),
    "no file": (lambda folder, name: folder.scripts / name, "absent.py"),
    "a folder without a program": (unreadable, "empty"),
    "a name with blanks": (lambda folder, name: folder.script("print(__file__)\n1 / 0", name), "a b 'c'.py"),
    "a name of other letters": (lambda folder, name: folder.script("print(__file__)\n1 / 0", name), "Zürich.py"),
    "a name that is no text": (lambda folder, name: folder.script("print(ascii(__file__))\n1 / 0", name), "\udcff.py"),
    "a name without a suffix": (lambda folder, name: folder.script("print(__file__)\n1 / 0", name), "script"),
}


@pytest.mark.parametrize(("make", "name"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_so_are_other_files(folder, make, name):
    assert_same(folder, make(folder, name))


@pytest.mark.parametrize(
    "name", ["signal", "select", "enum", "ctypes", "struct", "time", "posix", "os", "jobs", "shim"]
)
def test_a_module_beside_the_script_hides_the_same_modules_as_elsewhere(folder, name):
    folder.script("found = 'beside the script'", f"{name}.py")
    assert_same(folder, folder.script(f"import {name}; print({name}, getattr({name}, 'found', None))"))


@pytest.mark.parametrize("name", ["os", "sys", "select", "resource", "headless", "sitecustomize", "_ctypes"])
def test_what_lies_in_the_folder_of_jobs_does_not_come_into_the_shim(folder, name):
    (folder.py / f"{name}.py").write_text("import os; os.write(1, b'here\\n')\n")
    (folder.py / "headless").mkdir(exist_ok=True)
    assert_same(folder, folder.script(f"import {name}; print(getattr({name}, '__file__', None))"))


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
    "a hash seed": {"PYTHONHASHSEED": "7"},
    "an encoding": {"PYTHONIOENCODING": "latin-1:replace"},
    "warnings": {"PYTHONWARNINGS": "error"},
    "no user site": {"PYTHONNOUSERSITE": "1"},
    "verbose": {"PYTHONPROFILEIMPORTTIME": "", "PYTHONDONTWRITEBYTECODE": "1"},
    "optimized": {"PYTHONOPTIMIZE": "2"},
    "a home that is none": {"PYTHONHOME": "/absent"},
    "development": {"PYTHONDEVMODE": "1"},
    "faulthandler": {"PYTHONFAULTHANDLER": "1"},
    "no text": {"X": "\udcff\udc80", "\udcfe": "Zürich"},
    "much": {"X": "x" * 100000},
}
LOOK_AT_ENVIRONMENT = """
    import faulthandler, locale, os, sys
    print(ascii(list(os.environb.items())), ascii(open("/proc/self/environ", "rb").read()))
    print(sys.flags, locale.setlocale(locale.LC_CTYPE), sys.stdout.encoding, sys.stdout.errors, sys.path)
    print(faulthandler.is_enabled(), sys.warnoptions, hash("x") if "PYTHONHASHSEED" in os.environ else "", __debug__)
    """


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_environment_is_the_jobs_and_all_of_it(folder, environment):
    assert_same(folder, folder.script(LOOK_AT_ENVIRONMENT), environment={"PATH": os.environ["PATH"], **environment})


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


def test_a_job_may_open_as_many_files_as_before_the_server_allowed_itself_more(folder, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(posix_shims, "_DESCRIPTORS", soft - 100)  # what this process was started with
    script = folder.script("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))")
    assert folder.as_job(script).stdout == f"({soft - 100}, {hard})\n".encode()


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
    assert len({folder.as_job(script).stdout for _ in range(4)}) > 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an older Python does not show where in a line")
def test_a_traceback_shows_nothing_of_this_package(folder):
    result = folder.as_job(folder.script("def f(): return 1 + None\nf()"))
    assert b"headless" not in result.stderr
    assert b"~~^~~" in result.stderr
