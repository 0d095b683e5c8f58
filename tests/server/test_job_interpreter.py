"""A job is what `python -u SCRIPT` is: the same interpreter, in a process of which the shim and the server have changed
nothing. Each script runs twice, as that command and as a job, with the same result."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import signal
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fcntl", reason="what is tested here only platforms have that can fork")

from support.job_processes import by_hand, new_shims, result_of
from support.waiting import in_time

pytestmark = [pytest.mark.slow, pytest.mark.version("the job's interpreter")]

AT_A_TIME = 4

# Parts of one script, each of which prints what is compared.
WHAT_IT_FINDS = {
    "modules": "import sys; print(list(sys.modules))",
    "main": "print(list(globals()), __name__, __file__, __spec__, __loader__.path)",
    "no children": "import os\ntry: print(os.wait())\nexcept OSError as e: print(e)",
    "arguments": "import sys; print(sys.argv, sys.orig_argv if hasattr(sys, 'orig_argv') else '', sys.executable)",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions, sys.pycache_prefix)",
    "the command line": "print(open('/proc/self/cmdline').read(), open('/proc/self/comm').read())",
    "path": "import sys; print(sys.path, *map(type, sys.meta_path), sys.path_hooks[0], sys.prefix, sys.exec_prefix)",
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
    "limits": "import resource; print([resource.getrlimit(number) for number in range(16)])",
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
            print(file.write_through, type(file.buffer), file.fileno(), file.readable(), file.seekable())
        """,
    "no terminal": "import os, shutil; print([os.isatty(n) for n in range(3)], shutil.get_terminal_size())\n"
    "try: open('/dev/tty')\nexcept OSError as e: print(e)",
    "no buffer": "import os, sys\nprint(1, end=''); os.write(1, b'2'); sys.stdout.write('3'); os.write(1, b'4\\n')",
    "both streams": "import sys\nfor n in range(1000): print(n, file=[sys.stdout, sys.stderr][n % 2])",
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)",
    "locale": "import locale, sys; print(locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding())",
    "the kernel's threads": "import os; print(len(os.listdir('/proc/self/task')))",
}  # fmt: skip

DESCRIPTORS = """
    import fcntl, os
    print(sorted(os.listdir('/proc/self/fd')), [os.get_inheritable(n) for n in range(3)])
    print([fcntl.fcntl(n, fcntl.F_GETFL) for n in range(3)], [oct(os.fstat(n).st_mode)[:4] for n in range(3)])
    print(os.readlink('/proc/self/fd/0'), os.fstat(1).st_ino == os.fstat(2).st_ino)
    """

# What the shim could change: it waits for the end, passes it on, and has the other ends of the pipes.
ENDS = {
    **{f"exit {status!r}": f"raise SystemExit({status!r})" for status in (0, 3, 256, -1, "no such table")},
    **{
        f"signal {number}": f"import os; os.kill(os.getpid(), {number})"
        for number in map(int, (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGINT, signal.SIGPIPE, 40))
    },
    "os._exit": "import os; print('.', end=''); os._exit(7)",
    "os.abort": "import os; os.abort()",
    "KeyboardInterrupt": "import atexit; atexit.register(print, 'at exit'); raise KeyboardInterrupt",
    "its own group": "import os, signal; os.killpg(0, signal.SIGTERM)",
    "an exception": "def f(x):\n    return 1 / x\nf(0)",
    "syntax error": "def f():\n    return\n  x = 1\n",
    "a thread that goes on": """
        import atexit, threading
        atexit.register(print, "at exit")
        main = threading.main_thread()
        threading.Thread(target=lambda: (main.join(), print("after the end"))).start()
        print("at the end")
        """,
    "a daemon thread": "import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()",
    "a fork": "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('parent' if pid else 'child')",
    "another program": "import os; os.execv('/bin/sh', ['sh', '-c', 'echo $0; exit 5'])",
    "a closed stdout": "import os; os.close(1); print(1)",
    "a closed stderr": "import os; os.close(2); 1 / 0",
    "a pipe that nobody reads": "import os\nr, w = os.pipe(); os.close(r); os.write(w, b'x')",
    "no input": "import sys; print(repr(sys.stdin.read()), repr(sys.stdin.buffer.read()), input())",
    "a standard file, opened again": """
        import sys
        print("before", file=sys.stderr)
        open("/dev/stderr", "w").write("again\\n"); open("/dev/stdout", "w").write("out\\n")
        print("after", file=sys.stderr)
        """,
}  # fmt: skip

NAMES = ("a b 'c'.py", "Zürich.py", "\udcff.py", "script")


@pytest.fixture(autouse=True)
def _not_in_the_background():
    """A shell lets SIGQUIT be ignored there, which a script inherits that is run by hand."""
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, lambda *_: None)


def assert_same(specs):
    """Runs each by hand and as a job."""
    results = asyncio.run(as_jobs(specs))
    with ThreadPoolExecutor(AT_A_TIME) as executor:
        expected = dict(zip(specs, executor.map(by_hand, specs.values())))
    differ = []
    for name, result in results.items():
        wanted, found = lines_of(expected[name]), lines_of(result)
        if found != wanted:
            differ.append(name)
            print(f"{name}: by hand, and as a job", *difflib.unified_diff(wanted, found, n=2), sep="\n")
    assert not differ
    return results


async def as_jobs(specs):
    shims, turns = new_shims(), asyncio.Semaphore(AT_A_TIME)

    async def run(spec):
        async with turns:
            return result_of(spec, await in_time((await shims.start(spec)).wait()))

    return dict(zip(specs, await asyncio.gather(*map(run, specs.values()))))


def lines_of(result):
    """All but what differs from one process to the next."""
    status, *streams = result
    printed = (re.sub(rb"0x[0-9a-f]+", b"0x", stream) for stream in streams)
    return [str(status), *(ascii(line) for stream in printed for line in (b"--", *stream.splitlines(keepends=True)))]


def test_a_job_finds_what_a_script_finds(folder):
    parts = "".join(f"print({name!r})\n{textwrap.dedent(part)}\n" for name, part in WHAT_IT_FINDS.items())
    results = assert_same({"all": folder.spec(parts, 1), "descriptors": folder.spec(DESCRIPTORS, 2)})
    assert {result.status for result in results.values()} == {0}  # to the end


def test_a_job_ends_as_a_script_does(folder):
    assert_same({name: folder.spec(source, number) for number, (name, source) in enumerate(ENDS.items(), 1)})


def test_a_script_may_have_any_name_or_be_missing(folder):
    scripts = [folder.script("print(ascii(__file__))\n1 / 0", name) for name in NAMES] + [folder.scripts / "absent.py"]
    assert_same({script: folder.spec_of(script, number) for number, script in enumerate(scripts, 1)})


@pytest.mark.parametrize("names", [("sys", "select", "resource", "headless", "sitecustomize", "_ctypes"), ("os",)])
def test_what_lies_in_the_folder_of_jobs_does_not_come_into_the_shim(folder, names):
    for name in names:
        (folder.py / f"{name}.py").write_text("import os; os.write(1, b'here\\n')\n")
    (folder.py / "headless").mkdir()
    assert_same({names: folder.spec(f"for name in {names}: print(getattr(__import__(name), '__file__', None))")})


# The environment

# What the shim's own interpreter would change, or be changed by.
ENVIRONMENTS = {
    "nothing": {},
    "the C locale for letters": {"LC_CTYPE": "C"},
    "no letters": {"LC_CTYPE": ""},
    "UTF-8": {"LC_CTYPE": "C.UTF-8"},
    "an unknown locale": {"LC_ALL": "tlh_QO"},
    "what the interpreter asks for": {
        "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "latin-1:replace", "PYTHONWARNINGS": "error",
        "PYTHONNOUSERSITE": "1", "PYTHONPROFILEIMPORTTIME": "", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONOPTIMIZE": "2", "PYTHONFAULTHANDLER": "1", "PYTHONUTF8": "1", "PYTHONCOERCECLOCALE": "warn",
    },
    "a home that is none": {"PYTHONHOME": "/absent"},
    "what is no text, and much": {"X": "\udcff\udc80", "\udcfe": "Zürich", "Y": "y" * 100000},
}  # fmt: skip
LOOK_AT_ENVIRONMENT = """
    import faulthandler, locale, os, sys
    print(ascii(list(os.environb.items())), ascii(open("/proc/self/environ", "rb").read()))
    print(sys.flags, locale.setlocale(locale.LC_CTYPE), sys.stdout.encoding, sys.stdout.errors, sys.path)
    print(faulthandler.is_enabled(), sys.warnoptions, hash("x") if "PYTHONHASHSEED" in os.environ else "", __debug__)
    """


def test_the_environment_is_the_jobs_and_all_of_it(folder):
    script, path = folder.script(LOOK_AT_ENVIRONMENT), os.environ["PATH"]
    assert_same(
        {
            name: folder.spec_of(script, number, environment={"PATH": path, **environment})
            for number, (name, environment) in enumerate(ENVIRONMENTS.items(), 1)
        }
    )


# What the server does to itself is not done to a job, and what it has is not to be found


def test_no_secret_of_the_servers_environment_is_to_be_found(folder, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "hunter2")
    script = folder.script(
        "import os; print(open('/proc/self/environ').read(), open(f'/proc/{os.getppid()}/environ').read(), os.environ)"
    )
    result = folder.as_job(script)
    assert result.status == 0
    assert b"PATH=" in result.stdout
    assert b"hunter2" not in result.stdout


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
    script = folder.script(WHAT_IT_FINDS["signals of the kernel"])
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
