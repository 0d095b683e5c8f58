"""Makes the module ppms known in the process of a job, before the code of the job: genuine jobs use it without
importing it. A copy of this file is in a folder of PYTHONPATH, beside the file `ppms`, which names the code.

Python imports the first sitecustomize that it finds. This one removes its folder from the path, and then imports the
next one, so that a job finds everything else as it is without this file.
"""

# Nothing is imported that is not there already: a module of that name beside the job would be taken for it.
import builtins
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_MAX_LENGTH = 200  # characters of a value, and of a name


class _Stub:
    """Prints what is called. Each attribute, item and result is another stub. As a value it is false, empty and zero,
    so that loops over it end."""

    def __init__(self, name):
        self.__dict__["_name"] = name if len(name) <= _MAX_LENGTH else f"...{name[-_MAX_LENGTH:]}"

    def __repr__(self):
        return self._name

    def __getattr__(self, name):
        if name.startswith("__"):  # of Python itself
            raise AttributeError(name)
        attribute = self.__dict__[name] = _Stub(f"{self._name}.{name}")
        return attribute

    def __setattr__(self, name, value):
        self.__dict__[name] = value
        _print(f"{self._name}.{name} = {_shown(value)}")

    def __call__(self, *values, **named):
        given = [*map(_shown, values), *(f"{name}={_shown(value)}" for name, value in named.items())]
        call = f"{self._name}({', '.join(given)})"
        _print(call)
        return _Stub(call)

    def __getitem__(self, key):
        return _Stub(f"{self._name}[{_shown(key)}]")

    def __setitem__(self, key, value):
        _print(f"{self._name}[{_shown(key)}] = {_shown(value)}")

    def __delitem__(self, key):
        _print(f"del {self._name}[{_shown(key)}]")

    def __iter__(self):
        return iter(())

    def __mro_entries__(self, _bases):
        return ()

    def __float__(self):
        return 0.0

    def __int__(self):
        return 0

    __len__ = __index__ = __int__

    def _is_false(self, *_):
        return False

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __exit__ = _is_false

    def _itself(self, *_):
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _itself
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __neg__ = __abs__ = __enter__ = _itself


def _shown(value):
    try:
        text = " ".join(repr(value).splitlines())
    except Exception:  # the job may never have asked for it
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def _print(text):
    """Prints to the stdout that the job began with: what the job collects in another one is its own."""
    try:
        print(text.encode("utf-8", "backslashreplace").decode(), file=sys.__stdout__, flush=True)
    except (OSError, ValueError):
        return  # the job has closed it


def _ppms():
    """Returns the module: of the file that is named, or one that the job could import anyway, or else a stub."""
    with open(os.path.join(_FOLDER, "ppms"), encoding="utf-8", errors="surrogateescape") as file:
        path = file.read()
    if not path:
        try:
            return __import__("ppms")
        except ModuleNotFoundError as error:
            if error.name != "ppms":
                raise
    module = sys.modules["ppms"] = type(sys)("ppms")
    if not path:
        stub = _Stub("ppms")
        module.__dict__["__getattr__"] = lambda name: getattr(stub, name)
        return module
    module.__file__ = path
    with open(path, "rb") as file:  # an import would leave compiled code beside the file
        exec(compile(file.read(), path, "exec", dont_inherit=True), module.__dict__)
    return sys.modules["ppms"]


def _prepare():
    os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
    sys.path[:] = [folder for folder in sys.path if folder != _FOLDER]
    sys.path_importer_cache.pop(_FOLDER, None)
    try:
        builtins.ppms = _ppms()
    except BaseException as error:  # the job needs the module
        import traceback

        traceback.print_exc()
        print(f"the stand-in for the module ppms failed: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    del sys.modules["sitecustomize"]
    __import__("sitecustomize")  # where there is no other one, the error says so to Python, as always


if __name__ == "sitecustomize":
    _prepare()
