"""How a job ends: as a script that is run by `python -u SCRIPT`. Each script runs three times: as that command, forked
and spawned. The results must be the same."""

from __future__ import annotations

import os
import signal

import pytest

from support.job_processes import Folder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="here jobs are not forked")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


HOW_IT_ENDS = {
    **{
        f"exit {status!r}": f"raise SystemExit({status!r})"
        for status in (None, 0, 3, 256, 257, -1, 2**40, True, 1.5, "no such table", (1, 2))
    },
    "exit in a thread": "import sys, threading; t = threading.Thread(target=sys.exit, args=[3]); t.start(); t.join()",
    "exit after an exception": "try: 1 / 0\nfinally: raise SystemExit('text')",
    "exit with what stderr cannot say": "raise SystemExit('Z\\xfcrich \\udc80')",
    "os._exit": "import os; print('.', end=''); os._exit(7)",
    "KeyboardInterrupt": "import atexit; atexit.register(print, 'at exit'); raise KeyboardInterrupt",
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


@pytest.mark.parametrize("source", HOW_IT_ENDS.values(), ids=HOW_IT_ENDS)
def test_a_job_ends_as_a_script_ends(folder, source):
    result = folder.in_every_way(folder.script(source))
    assert result["forked"] == result["by hand"]
    assert result["spawned"] == result["by hand"]


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
