"""What stands in for the module ppms in the jobs of a rehearsal, if nobody gives a file: it prints what is called.

Each attribute, item and result is another one of the same kind, which has no items, and is true.
"""


class _Recorder:
    _name: str

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def __getattr__(self, name: str) -> "_Recorder":
        if name.startswith("__"):  # what Python itself asks for
            raise AttributeError(name)
        return _Recorder(f"{self._name}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        print(f"{self._name}.{name} = {value!r}", flush=True)

    def __call__(self, *values: object, **named: object) -> "_Recorder":
        given = [*map(repr, values), *(f"{name}={value!r}" for name, value in named.items())]
        call = f"{self._name}({', '.join(given)})"
        print(call, flush=True)
        return _Recorder(call)

    def __getitem__(self, key: object) -> "_Recorder":
        return _Recorder(f"{self._name}[{key!r}]")

    def __setitem__(self, key: object, value: object) -> None:
        print(f"{self._name}[{key!r}] = {value!r}", flush=True)

    def __iter__(self):
        return iter(())

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        return self._name


def __getattr__(name: str) -> "_Recorder":  # of the module
    if name.startswith("__"):
        raise AttributeError(name)
    return _Recorder(f"ppms.{name}")
