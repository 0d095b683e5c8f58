"""Scripts that print what a process finds in its interpreter and in the libraries that it uses, and that end in every
way. They run on platforms that can fork."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Mapping

# Each prints what is compared.
THE_INTERPRETER = {
    "modules": "import sys; print(list(sys.modules))",
    "the order of main": "print(list(globals()))",
    "garbage": "import gc; print(gc.get_debug(), gc.get_freeze_count(), gc.garbage, gc.get_count()[2])",
    "no children": "import os\ntry: print(os.wait())\nexcept OSError as e: print(e)",
    "arguments": "import sys; print(sys.argv, sys.orig_argv if hasattr(sys, 'orig_argv') else '', sys.executable)",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions, sys.pycache_prefix)",
    "the command line": "print(open('/proc/self/cmdline').read(), open('/proc/self/comm').read())",
    "path": "import sys; print(sys.path, *map(type, sys.meta_path), sys.path_hooks[0], sys.prefix, sys.exec_prefix)",
    "builtins": "import builtins; print(sorted(vars(builtins)))",
    "main": """
        import __main__, sys
        for name in sorted(vars(__main__)):
            if name not in ("__loader__", "__main__", "sys"):
                print(name, getattr(__main__, name))
        print(type(__loader__), type(__main__), vars(__main__) is globals(), sys.modules[__name__] is __main__)
        """,
    "the loader": "print(__loader__.name, __loader__.path, __spec__, __loader__.get_source('__main__'))",
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
    "what a child inherits": "import os; os.system('ls /proc/self/fd; ulimit -a; umask; trap')",
    "folder and umask": "import os; print(os.getcwd(), os.umask(0), os.getpgrp() == os.getsid(0) == os.getpid())",
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
    "much": "import sys; sys.stdout.write('Zürich\\n' * 100000)",
    "locale": "import locale, sys; print(locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding())\n"
    "print(sys.getdefaultencoding(), sys.getfilesystemencodeerrors(), locale.localeconv(), open(__file__).encoding)",
    "hooks": """
        import sys, threading
        print(sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile(), exit, copyright, sys.breakpointhook)
        print(sys.unraisablehook, threading.excepthook, sys.get_asyncgen_hooks())
        """,
    "no features of the future": "def f(a: print('evaluated')): pass\nprint(f.__annotations__)",
    "tracemalloc": "import tracemalloc; print(tracemalloc.is_tracing())",
    "threads": "import threading as t; print(t.main_thread() is t.current_thread(), t.enumerate())",
    "the kernel's threads": "import os; print(len(os.listdir('/proc/self/task')))",
    "hashes": "import sys; print(sys.flags.hash_randomization, sys.hash_info)",
    "random": "import random; random.seed(1); print(random.random())",
    "warning filters": "import warnings; print(warnings.filters)",
    "the site": "import site, sys; print(site.ENABLE_USER_SITE, site.getsitepackages(), 'site' in sys.modules)",
    "its name": "import sys; print(__name__, __file__, __package__, __spec__, globals().get('__cached__'))",
    "what it compiles to": "import sys; f = sys._getframe(); print(f.f_code.co_filename, f.f_code.co_name, f.f_lineno)",
    "no cache of its own": "import os; print(os.listdir(os.path.dirname(__file__)))",
    "a cache of others": "import os, helper; print(os.path.exists(helper.__cached__), helper.x)",
    "annotations": "x: int = 1\nprint(globals().get('__annotations__'))",
}  # fmt: skip

# They change little for those behind them, and so can be parts of one script.
WHAT_IT_USES = {
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, pickle.dumps(A()))",
    "dataclasses": "from dataclasses import *\n@dataclass\nclass A:\n    x: 'int' = 1\nprint(A(1), fields(A)[0].type)",
    "typing": "import typing\nclass A: y: 'A'\nprint(typing.get_type_hints(A))",
    "enum": "import enum\nclass C(enum.Enum): A = 1\nprint(repr(C.A), C.__module__)",
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
        import signal, time
        seen = []
        signal.signal(signal.SIGALRM, lambda signum, _: seen.append(signal.Signals(signum)))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not seen: time.sleep(0.01)
        print(repr(seen))
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
    "logging": "import logging; logging.basicConfig(format='%(module)s %(process)d'[:10]); logging.error('x')",
    "runpy": "import runpy; print(runpy.run_module('helper')['__file__'])",
    "importlib": "import importlib, helper; helper.x = 2; print(importlib.reload(helper).x, helper.__spec__)",
    "its own data": "import pkgutil\ntry: print(pkgutil.get_data('__main__', __file__)[:6])\n"
    "except ValueError as e: print(e)",
    "a standard file, opened again": """
        import sys
        print("before", file=sys.stderr)
        open("/dev/stderr", "w").write("again\\n"); open("/dev/stdout", "w").write("out\\n")
        print("after", file=sys.stderr)
        """,
}  # fmt: skip

# The children read the script, too, and what is behind the guard is not for them.
PROCESSES = {
    "a process of multiprocessing": """
        import multiprocessing, sys
        def ask(queue): queue.put((__name__, __file__, sys.argv, sys.path))
        if __name__ == "__main__":
            multiprocessing.set_start_method("spawn")
            queue = multiprocessing.Queue()
            process = multiprocessing.Process(target=ask, args=[queue])
            process.start(); print(queue.get()); process.join(); print(process.exitcode)
        """,
    "multiprocessing, fork": """
        import multiprocessing
        def square(x): return x * x
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(1) as pool: print(pool.map(square, range(5)))
        """,
    "shared memory": """
        from multiprocessing import shared_memory
        if __name__ == "__main__":
            memory = shared_memory.SharedMemory(create=True, size=10)
            memory.buf[0] = 1; print(memory.buf[0]); memory.close(); memory.unlink()
        """,
}  # fmt: skip

# What takes as many processes again.
POOLS = {
    "concurrent.futures": """
        from concurrent.futures import *
        def square(x): return x * x
        if __name__ == "__main__":
            for executor in (ThreadPoolExecutor(2), ProcessPoolExecutor(1)):
                with executor: print(list(executor.map(square, range(5))))
        """,
    **{
        f"multiprocessing, {method}": f"""
            import multiprocessing
            def square(x): return x * x
            if __name__ == "__main__":
                with multiprocessing.get_context("{method}").Pool(1) as pool: print(pool.map(square, range(5)))
            """
        for method in ("spawn", "forkserver")
    },
}  # fmt: skip

# What needs a process of its own: it ends it, or changes it, or depends on its name.
ALONE = {
    # What another script has left open is closed at no certain time.
    "descriptors": """
        import fcntl, os
        print(sorted(os.listdir('/proc/self/fd')), [os.get_inheritable(n) for n in range(3)])
        print([fcntl.fcntl(n, fcntl.F_GETFL) for n in range(3)], [oct(os.fstat(n).st_mode)[:4] for n in range(3)])
        print(os.readlink('/proc/self/fd/0'), os.fstat(1).st_ino == os.fstat(2).st_ino)
        """,
    "a limit of files": """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        try: open("big", "wb", 0).write(bytes(20)); open("big", "ab", 0).write(bytes(20))
        except OSError as e: print(e)
        """,
    "unittest": """
        import sys, unittest
        class Test(unittest.TestCase):
            def test(self): self.assertEqual(1, 2)
        unittest.main(testRunner=unittest.TextTestRunner(open("/dev/null", "w")))
        """,
    "argparse": "import argparse; argparse.ArgumentParser().parse_args(['--absent'])",
    "itself as a module": "import script; print(script.__name__, script.__file__)",
    "a program of its own": "import os, sys\nif 'X' not in os.environ:\n    os.environ['X'] = ''\n"
    "    os.execv(sys.executable, [sys.executable, *sys.argv])\nprint(sys.argv)",
    "a docstring, a timer and weak references": """
        'What it does'
        import threading, weakref
        class A: pass
        a = A(); weakref.finalize(a, print, 'gone')
        print(__doc__)
        threading.Timer(0.01, print, ['later']).start()
        """,
}  # fmt: skip

HOW_IT_ENDS: dict[str, str | bytes] = {
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


def together(scripts: Mapping[str, str], guard: str = "") -> str:
    """One script of all, which prints the name of each before it."""
    return "".join(f"{guard}print({name!r})\n{textwrap.dedent(script)}\n" for name, script in scripts.items())
