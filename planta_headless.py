#!/usr/bin/env python3
# The command. Nothing but the checks that must come before the package is imported: a script's own code is
# compiled again at every start, and this much even Python 2 can parse, to say which Python is needed.
import gc
import os
import sys

gc.set_threshold(10000)  # else it looks for garbage while modules are loaded, some forty times: 2 ms of each call

try:
    import _signal as signal  # built in: `signal` itself is read from files, and Ctrl-C may come meanwhile
except ImportError:
    import signal

try:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process by the signal, not by a traceback
except Exception:  # which only makes a Ctrl-C less quiet
    pass


def give_up(reason):
    try:
        sys.stderr.write("planta_headless.py: error: %s\n" % reason)
        sys.stderr.flush()
    except Exception:  # stderr may be closed or full, which changes no return code
        pass
    os._exit(2)


def may_pass(problem):
    # As headless.errors.is_missing, which cannot be asked here: only "not there" and "not allowed" are for a person.
    import errno

    names = ("ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EPERM", "ENAMETOOLONG")
    final = [getattr(errno, name) for name in names]
    texts = [os.strerror(number) for number in errno.errorcode if number not in final]
    is_of_system = isinstance(problem, (OSError, ImportError)) and any(text in str(problem) for text in texts)
    return is_of_system or isinstance(problem, MemoryError)


if sys.version_info < (3, 9):
    give_up("this is Python %d.%d, Python 3.9 or later is needed" % sys.version_info[:2])
try:
    from headless.cli import end_process, main, receive_signals_as_first_process
except Exception as problem:
    if may_pass(problem):
        os._exit(1)  # without a word, as for every 1
    give_up("the folder 'headless', which must stand beside this script, cannot be loaded (%s)" % problem)

if __name__ == "__main__":
    receive_signals_as_first_process()
    end_process(main(sys.argv[1:]))
