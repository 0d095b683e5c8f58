"""PLANTA_PROTOCOL: another dialect than ours, loaded from a file or a module, and kept from doing harm.

Whatever it does wrong is an error with a name: it raises, returns nonsense, ends the process or never ends. What it
tells is judged as with every dialect, in verdict.py.
"""

from __future__ import annotations

import os
import sys

from headless.client.alarm import bounded
from headless.client.waiting import DeadlinePassed, Waiter
from headless.dialects import base
from headless.errors import (
    Interrupted,
    LocalProtocolError,
    ParameterError,
    ProtocolError,
    SessionError,
    UnsupportedCall,
    fault_of_file,
)
from headless.libraries import is_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from headless.dialects.vocabulary import Offset

VARIABLE = "PLANTA_PROTOCOL"
_NAME = "Dialect"  # of the class
METHOD_SECONDS = 30.0  # for one method, where there is no deadline: an endless one would hold up the call for ever
# Where an error is raised that is none of the dialect's own lines.
_NOT_THEIRS = (
    "<frozen",
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    os.path.join(os.path.dirname(os.__file__), "importlib"),
)
_EVENTS = (
    base.Received,
    base.SaltReceived,
    base.LoggedIn,
    base.Accepted,
    base.Attached,
    base.JobStarted,
    base.Output,
    base.JobFinished,
    base.Ended,
    base.Cancelled,
    base.Listed,
    base.Refused,
)


def load(name: str, waiter: Waiter) -> type[base.Dialect]:
    """The class `Dialect` of a Python file (a name with a path or `.py`) or a module. Raises ParameterError for what is
    not there, cannot be loaded or is no dialect, SessionError for what is not loaded by the deadline or cannot be
    loaded now."""
    is_file = name.endswith(".py") or os.sep in name or (os.altsep is not None and os.altsep in name)
    try:
        with bounded(waiter):
            module = _load_file(name) if is_file else _load_module(name)
    except Interrupted:
        raise
    except DeadlinePassed:
        raise SessionError(f"{VARIABLE}: {name!r} was not loaded in time") from None
    except OSError as error:
        raise fault_of_file(f"{VARIABLE}: {name!r} cannot be loaded", error) from None
    except BaseException as error:
        may_pass = isinstance(error, MemoryError) or (isinstance(error, ImportError) and not is_missing(error))
        kind = SessionError if may_pass else ParameterError
        raise kind(f"{VARIABLE}: {name!r} cannot be loaded: {_describe(error)}") from None
    found = getattr(module, _NAME, None)
    if not (isinstance(found, type) and issubclass(found, base.Dialect) and found is not base.Dialect):
        raise ParameterError(
            f"{VARIABLE}: {name!r} is not a dialect: it has no class "
            f"{_NAME} derived from headless.dialects.base.Dialect"
        )
    return found


def _load_file(path: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    with open(path, "rb"):  # for the reason, if it cannot be read
        pass
    spec = spec_from_file_location("planta_dialect", path)
    if spec is None or spec.loader is None:
        raise ImportError("its name does not end with .py")
    module = sys.modules["planta_dialect"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    """The module may stand beside the package, whatever started this process."""
    from importlib import import_module

    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return import_module(name)


class GuardedDialect(base.Dialect):
    """Another's dialect. Each of its methods ends by the deadline or METHOD_SECONDS, and raises nothing but
    ProtocolError, UnsupportedCall and Interrupted."""

    def __init__(self, dialect_class: type[base.Dialect], call: base.Call, waiter: Waiter) -> None:
        super().__init__(call)
        self._waiter = waiter
        self._dialect: base.Dialect = self._run(dialect_class, call)

    def log_in(self) -> None:
        self._run(self._dialect.log_in)

    def answer_salt(self, hash_: bytes) -> None:
        self._run(self._dialect.answer_salt, hash_)

    def submit(self) -> None:
        self._run(self._dialect.submit)

    def attach(self, session: str, offset: Offset | None) -> None:
        self._run(self._dialect.attach, session, offset)

    def cancel(self, session: str) -> None:
        self._run(self._dialect.cancel, session)

    def list_sessions(self) -> None:
        self._run(self._dialect.list_sessions)

    def leave(self) -> None:
        self._run(self._dialect.leave)

    def receive(self, data: bytes) -> None:
        self._run(self._dialect.receive, data)

    def part_left(self) -> None:
        self._run(self._dialect.part_left)

    def next_event(self) -> base.Event | None:
        event = self._run(self._dialect.next_event)
        if event is not None:
            if type(event) not in _EVENTS:
                raise LocalProtocolError(f"the dialect told what is no event: a value of {type(event).__name__}")
            _check(event)
        return event  # type: ignore[no-any-return]

    def next_part(self) -> base.Part | None:
        part = self._run(self._dialect.next_part)
        if part is not None:
            if type(part) is not base.Part:
                raise LocalProtocolError(f"the dialect wants to send what is no Part: a value of {type(part).__name__}")
            _check(part)
        return part  # type: ignore[no-any-return]

    def _run(self, function: Callable[..., Any], *arguments: object) -> Any:
        try:
            with self._waiter.at_most(METHOD_SECONDS), bounded(self._waiter):
                return function(*arguments)
        except (ProtocolError, UnsupportedCall, Interrupted):
            raise
        except DeadlinePassed:
            raise LocalProtocolError("the dialect did not come to an end in time") from None
        except BaseException as error:
            # Without its text, in which there may be a hash.
            raise LocalProtocolError(f"the dialect failed: {type(error).__name__}{_place_of(error)}") from None


def _check(value: base.Event | base.Part) -> None:
    try:
        value.check_types()
    except TypeError as error:
        raise LocalProtocolError(f"the dialect is wrong: {error}") from None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}{_place_of(error)}"


def _place_of(error: BaseException) -> str:
    """The last line of the dialect's that the error came through, if any."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_NOT_THEIRS):
            place = f" (line {trace.tb_lineno} of {file})"
        trace = trace.tb_next
    return place
