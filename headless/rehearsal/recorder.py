"""What stands in for the module ppms in the jobs of a rehearsal, if nobody gives a file: it prints what is called.

Each attribute, item and result is another one of the same kind. As a value it is false, empty and zero, so that loops
over it end.
"""

# ruff: noqa: SIM105  # contextlib could be a file beside the job

import sys

_MAX_LENGTH = 200  # characters of a value, and of a name


class _Recorder:
    _name: str

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name if len(name) <= _MAX_LENGTH else f"...{name[-_MAX_LENGTH:]}"

    def __repr__(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> "_Recorder":
        if name.startswith("__"):  # what Python itself asks for
            raise AttributeError(name)
        attribute = self.__dict__[name] = _Recorder(f"{self._name}.{name}")
        return attribute

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value
        _print(f"{self._name}.{name} = {_shown(value)}")

    def __call__(self, *values: object, **named: object) -> "_Recorder":
        given = [*map(_shown, values), *(f"{name}={_shown(value)}" for name, value in named.items())]
        call = f"{self._name}({', '.join(given)})"
        _print(call)
        return _Recorder(call)

    def __getitem__(self, key: object) -> "_Recorder":
        return _Recorder(f"{self._name}[{_shown(key)}]")

    def __setitem__(self, key: object, value: object) -> None:
        _print(f"{self._name}[{_shown(key)}] = {_shown(value)}")

    def __delitem__(self, key: object) -> None:
        _print(f"del {self._name}[{_shown(key)}]")

    def __iter__(self):
        return iter(())

    def __mro_entries__(self, _bases: object) -> "tuple[()]":
        return ()

    def __int__(self) -> int:
        return 0

    __len__ = __index__ = __int__

    def __float__(self) -> float:
        return 0.0

    def _is_false(self, *_: object) -> bool:
        return False

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __exit__ = _is_false

    def _itself(self, *_: object) -> "_Recorder":
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _itself
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __neg__ = __abs__ = __enter__ = _itself


def _shown(value: object) -> str:
    try:
        text = " ".join(repr(value).splitlines())
    except Exception as error:
        text = f"<{type(value).__name__} whose repr fails: {type(error).__name__}>"
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def _print(text: str) -> None:
    """To the stdout that the job began with: what it collects in another one is its own."""
    try:
        print(text.encode("utf-8", "backslashreplace").decode(), file=sys.__stdout__, flush=True)
    except (OSError, ValueError):
        pass  # the job has closed it


_module = _Recorder("ppms")


def __getattr__(name: str) -> _Recorder:  # of the module
    attribute: _Recorder = getattr(_module, name)
    return attribute
