"""PLANTA_WIRE: another wire than ours, loaded from a file or a module, and kept from doing harm.

Whatever it does wrong is an error with a name: it raises, returns nonsense, ends the process or never ends. What it
tells is judged as with every wire, in verdict.py.
"""

from __future__ import annotations

import os
import sys

from headless.client.alarm import bounded
from headless.client.waiting import DeadlinePassed, Waiter
from headless.outcome import Interrupted, ParameterError, SessionError, fault_of_file, is_missing
from headless.protocol import wire
from headless.protocol.errors import LocalProtocolError, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from headless.protocol.vocabulary import Offset

VARIABLE = "PLANTA_WIRE"
_NAME = "Wire"  # of the class
METHOD_SECONDS = 30.0  # for one method, where there is no deadline: an endless one would hold up the call for ever
# Where an error is raised that is none of the wire's own lines.
_NOT_THEIRS = (
    "<frozen",
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    os.path.join(os.path.dirname(os.__file__), "importlib"),
)
_EVENTS = (
    wire.Received,
    wire.SaltReceived,
    wire.LoggedIn,
    wire.Accepted,
    wire.Attached,
    wire.JobStarted,
    wire.Output,
    wire.JobFinished,
    wire.Ended,
    wire.Cancelled,
    wire.Listed,
    wire.Refused,
)


def load(name: str, waiter: Waiter) -> type[wire.Wire]:
    """The class `Wire` of a Python file (a name with a path or `.py`) or a module. Raises ParameterError for what is
    not there, cannot be loaded or is no wire, SessionError for what is not loaded by the deadline or cannot be loaded
    now."""
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
    if not (isinstance(found, type) and issubclass(found, wire.Wire) and found is not wire.Wire):
        raise ParameterError(
            f"{VARIABLE}: {name!r} is not a wire: it has no class {_NAME} derived from headless.protocol.wire.Wire"
        )
    return found


def _load_file(path: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    with open(path, "rb"):  # for the reason, if it cannot be read
        pass
    spec = spec_from_file_location("planta_wire", path)
    if spec is None or spec.loader is None:
        raise ImportError("its name does not end with .py")
    module = sys.modules["planta_wire"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    """The module may stand beside the package, whatever started this process."""
    from importlib import import_module

    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return import_module(name)


class GuardedWire(wire.Wire):
    """Another's wire. Each of its methods ends by the deadline or METHOD_SECONDS, and raises nothing but ProtocolError,
    UnsupportedCall and Interrupted."""

    def __init__(self, wire_class: type[wire.Wire], call: wire.Call, waiter: Waiter) -> None:
        super().__init__(call)
        self._waiter = waiter
        self._wire: wire.Wire = self._run(wire_class, call)

    def log_in(self) -> None:
        self._run(self._wire.log_in)

    def answer_salt(self, hash_: bytes) -> None:
        self._run(self._wire.answer_salt, hash_)

    def submit(self) -> None:
        self._run(self._wire.submit)

    def attach(self, session: str, offset: Offset | None) -> None:
        self._run(self._wire.attach, session, offset)

    def cancel(self, session: str) -> None:
        self._run(self._wire.cancel, session)

    def list_sessions(self) -> None:
        self._run(self._wire.list_sessions)

    def leave(self) -> None:
        self._run(self._wire.leave)

    def receive(self, data: bytes) -> None:
        self._run(self._wire.receive, data)

    def part_left(self) -> None:
        self._run(self._wire.part_left)

    def next_event(self) -> wire.Event | None:
        event = self._run(self._wire.next_event)
        if event is not None:
            if type(event) not in _EVENTS:
                raise LocalProtocolError(f"the wire told what is no event: a value of {type(event).__name__}")
            _check(event)
        return event  # type: ignore[no-any-return]

    def next_part(self) -> wire.Part | None:
        part = self._run(self._wire.next_part)
        if part is not None:
            if type(part) is not wire.Part:
                raise LocalProtocolError(f"the wire wants to send what is no Part: a value of {type(part).__name__}")
            _check(part)
        return part  # type: ignore[no-any-return]

    def _run(self, function: Callable[..., Any], *arguments: object) -> Any:
        try:
            with self._waiter.at_most(METHOD_SECONDS), bounded(self._waiter):
                return function(*arguments)
        except (ProtocolError, wire.UnsupportedCall, Interrupted):
            raise
        except DeadlinePassed:
            raise LocalProtocolError("the wire did not come to an end in time") from None
        except BaseException as error:
            # Without its text, in which there may be a hash.
            raise LocalProtocolError(f"the wire failed: {type(error).__name__}{_place_of(error)}") from None


def _check(value: wire.Event | wire.Part) -> None:
    try:
        value.check_types()
    except TypeError as error:
        raise LocalProtocolError(f"the wire is wrong: {error}") from None


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}{_place_of(error)}"


def _place_of(error: BaseException) -> str:
    """The last line of the wire's that the error came through, if any."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_NOT_THEIRS):
            place = f" (line {trace.tb_lineno} of {file})"
        trace = trace.tb_next
    return place
