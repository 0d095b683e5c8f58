"""PLANTA_PROTOCOL: another dialect than ours, loaded from a file or a module.

What cannot be loaded, or is no dialect, is an error with a name. A file that never comes to its end holds up the call:
only a signal ends it.
"""

from __future__ import annotations

import os
import stat
import sys

from headless.client.connection import place_of
from headless.dialects import base
from headless.errors import Interrupted, ParameterError, SessionError, fault_of_file
from headless.libraries import is_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from headless.client.waiting import Waiter

VARIABLE = "PLANTA_PROTOCOL"
_NAME = "Dialect"  # of the class
_OURS = {"planta": "headless.dialects.planta"}


def load(name: str, waiter: Waiter) -> type[base.Dialect]:
    """Returns the class `Dialect` of a Python file (a name with a path or `.py`) or a module; "planta" is one of ours.

    Raises ParameterError for what is not there, cannot be loaded or is no dialect, SessionError for what cannot be
    loaded now."""
    is_file = name.endswith(".py") or os.sep in name or (os.altsep is not None and os.altsep in name)
    found: Any
    try:
        with waiter.interruptible():
            found = getattr(_load_file(name) if is_file else _load_module(_OURS.get(name, name)), _NAME, None)
    except Interrupted:
        raise
    except OSError as error:
        raise fault_of_file(f"{VARIABLE}: {name!r} cannot be loaded", error) from None
    except BaseException as error:
        may_pass = isinstance(error, MemoryError) or (isinstance(error, ImportError) and not is_missing(error))
        kind = SessionError if may_pass else ParameterError
        text = f"{type(error).__name__}: {error}{place_of(error)}"
        raise kind(f"{VARIABLE}: {name!r} cannot be loaded: {text}") from None
    if not (type in type(found).__mro__ and issubclass(found, base.Dialect) and found is not base.Dialect):
        raise ParameterError(
            f"{VARIABLE}: {name!r} is not a dialect: it has no class "
            f"{_NAME} derived from headless.dialects.base.Dialect"
        )
    loaded: type[base.Dialect] = found
    return loaded


def _load_file(path: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would be waited for
        raise ImportError("it is no regular file")
    with open(path, "rb"):  # for the reason, if it cannot be read
        pass
    spec = spec_from_file_location("planta_dialect", path)
    if spec is None or spec.loader is None:
        raise ImportError("its name does not end with .py")
    module = sys.modules["planta_dialect"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    """Finds a module beside the package, too, whatever started this process."""
    from importlib import import_module

    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return import_module(name)
