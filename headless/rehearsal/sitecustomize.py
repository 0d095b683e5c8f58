"""Makes the module ppms known in the process of a job, before the job's own code: genuine jobs use it without importing
it. A copy of this file stands in a folder of PYTHONPATH, beside `recorder.py` and the file `ppms`, which names the
code.

Python imports the first sitecustomize that it finds: this one takes its folder away again, and then imports the next
one, so that a job finds everything else as it is without this file.
"""

# Nothing is imported that is not there already: a module of that name beside the job would be taken for it.
import builtins
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _run(path):
    """The module, from this file. Not by an import, which would leave compiled code beside the file."""
    module = sys.modules["ppms"] = type(sys)("ppms")
    module.__file__ = path
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec", dont_inherit=True), module.__dict__)
    return sys.modules["ppms"]


def _stand_in():
    with open(os.path.join(_FOLDER, "ppms"), encoding="utf-8", errors="surrogateescape") as file:
        path = file.read()
    if path:
        return _run(path)
    try:
        return __import__("ppms")  # one that the job could import anyway
    except ModuleNotFoundError as error:
        if error.name != "ppms":
            raise
    return _run(os.path.join(_FOLDER, "recorder.py"))


def _fail():
    """What the job would do without the module is nothing that anybody wants to see."""
    import traceback

    traceback.print_exc()
    print(f"the stand-in for the module ppms failed: {sys.exc_info()[1]!r}", file=sys.stderr, flush=True)
    os._exit(1)


def _prepare():
    os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
    sys.path[:] = [place for place in sys.path if place != _FOLDER]
    sys.path_importer_cache.pop(_FOLDER, None)
    try:
        builtins.ppms = _stand_in()
    except BaseException:
        _fail()
    del sys.modules["sitecustomize"]
    __import__("sitecustomize")  # where there is no other one, the error says so to Python, as always


if __name__ == "sitecustomize":
    _prepare()
