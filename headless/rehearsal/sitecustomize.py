"""Makes the module ppms known in the process of a job, before the job's own code: genuine jobs use it without importing
it. A copy of this file stands in a folder of PYTHONPATH, beside the file `ppms`, which names the code.

Python imports the first sitecustomize that it finds; the next one, which is the machine's own, is run from here.
"""

# Nothing is imported that is not there already: a module of that name beside the job would be taken for it.
import builtins
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _run(path, module):
    """Not by an import, which would leave compiled code beside the file."""
    module.__file__ = path
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec", dont_inherit=True), module.__dict__)


def _stand_in(path):
    module = sys.modules["ppms"] = type(sys)("ppms")
    _run(path, module)
    return module


def _run_the_machines_own():
    for place in sys.path:
        path = os.path.join(place, "sitecustomize.py")
        if os.path.abspath(place) != _FOLDER and os.path.isfile(path):
            _run(path, sys.modules["sitecustomize"])
            return


if os.path.exists(os.path.join(_FOLDER, "ppms")):
    with open(os.path.join(_FOLDER, "ppms"), encoding="utf-8", errors="surrogateescape") as _file:
        builtins.ppms = _stand_in(_file.read())
    _run_the_machines_own()
