"""How a call can end: the return codes, the errors behind them, and the one table that leads from error to code.

Nothing here prints, exits or knows a socket. An error says by its class whose fault it is, by its text what happened;
how far the jobs had come is a `Submission`.
"""

from __future__ import annotations

import errno
import os
from enum import Enum

from headless.protocol.errors import LocalProtocolError, ProtocolError
from headless.protocol.wire import UnsupportedCall

# Page "Headless Client", section "Return Codes".
OK = 0
CONNECTION_ERROR = 1
PARAMETER_ERROR = 2
TIMED_OUT = 3


class Submission(Enum):
    """Whether the server has the jobs; the value is how the administrator is told."""

    NOT_SUBMITTED = "not submitted"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"


class HeadlessError(Exception):
    """A call that did not end well. The text is one sentence for the administrator."""


class ParameterError(HeadlessError):
    """Something in the call must be corrected; trying again does not help."""


class SessionError(HeadlessError):
    """The session could not be had, or did not end as it should."""


class ConnectionLost(SessionError):
    """The connection ended, or there was none, before all was told. Another one may bring the rest."""


class JobFailed(SessionError):
    """The session ended in order, and the server reported a job that failed."""


class TimedOut(HeadlessError):
    """`-t` ran out after the server had accepted the jobs, which go on."""


class CommandFailed(HeadlessError):
    """A command of `headless` cannot do what it is asked."""


class Interrupted(HeadlessError):
    """A signal asked the process to end. It ends by that signal and so has no return code."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.signum = signum


# An error has the code of the first class here that it is an instance of. What is not foreseen is no success, and
# nothing that the caller could correct.
_RETURN_CODES = (
    (ParameterError, PARAMETER_ERROR),
    (UnsupportedCall, PARAMETER_ERROR),
    (TimedOut, TIMED_OUT),
    (Exception, CONNECTION_ERROR),
)


# errno(3): what a person has to change.
_FINAL = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
if os.name == "nt":
    _FINAL.add(errno.EINVAL)  # of a name that no file can have


def is_final(error: OSError) -> bool:
    """Whether the error says of a file that it is not there, or not allowed, which only a person changes. Any other one
    is a fault that may have passed a moment later."""
    return error.errno in _FINAL


def fault_of_file(text: str, error: OSError) -> ParameterError | SessionError:
    """What a call ends with that needs the file. `text` says what cannot be done."""
    is_for_a_person = is_final(error) or isinstance(error, IsADirectoryError)
    return (ParameterError if is_for_a_person else SessionError)(f"{text}: {error.strerror or error}")


def is_missing(error: ImportError) -> bool:
    """Whether only a person can bring the module; else the system could not read or load what is there."""
    if isinstance(error, ModuleNotFoundError):  # as importlib says also where it cannot look
        return not _is_there(str(error.name))
    name = str(error).partition("cannot import name '")[2].partition("'")[0]
    if name:  # a module of a package, say
        return not _is_out_of_reach(f"{error.name}.{name}")
    # Of the reason of the dynamic loader there is nothing but the text (dlerror(3)).
    passing = {os.strerror(number) for number in errno.errorcode if number not in _FINAL}
    return not str(error).endswith(tuple(passing))


def _is_there(module: str) -> bool:
    import sys
    from importlib.util import find_spec

    try:
        sys.path_importer_cache.clear()  # of folders that could not be listed
        return find_spec(module) is not None or _is_out_of_reach(module)
    except (ImportError, ValueError):  # the package that it belongs to is not there
        return False
    except OSError as error:
        return not is_final(error)


def _is_out_of_reach(module: str) -> bool:
    """Whether something may be there for it that cannot be looked at now, which importlib takes for nothing."""
    import sys
    from importlib.machinery import all_suffixes

    package, _, name = module.rpartition(".")
    folders = getattr(sys.modules.get(package), "__path__", ()) if package else sys.path
    for path in (os.path.join(folder, name + suffix) for folder in folders for suffix in ("", *all_suffixes())):
        try:
            os.stat(path)
        except OSError as error:
            if not is_final(error):
                return True
        except ValueError:  # a NUL
            pass
    return False


def explain(error: Exception) -> tuple[int, str]:
    """The return code for a call that ended with this error, and the sentence for the administrator. The code is 1, 2
    or 3, never 0; for Interrupted it is the negative number of the signal."""
    if isinstance(error, ImportError) and error.name:
        if not is_missing(error):
            return CONNECTION_ERROR, f"{error.name} cannot be loaded now ({error})"
        return PARAMETER_ERROR, _missing(error)
    if isinstance(error, Interrupted):
        return -error.signum, str(error)
    code = next(code for kind, code in _RETURN_CODES if isinstance(error, kind))
    if isinstance(error, LocalProtocolError):
        return code, f"{error} (this is a fault of the client or its wire, not of the server)"
    if isinstance(error, (HeadlessError, ProtocolError, UnsupportedCall)):
        return code, str(error)
    return code, f"unforeseen: {error!r}"


def _missing(error: ImportError) -> str:
    package = str(error.name).partition(".")[0]
    if package == "headless":
        return f"the folder 'headless', which must stand beside the script, is not whole ({error})"
    from headless.libraries import how_to_install, library_of

    library = library_of(package, error.path or "")
    if not library:  # a stranger may have given this name to a package of his
        return f"this Python has no module {package} ({error}): use one that has it"
    return f"the library {library} cannot be loaded ({error}); install it with: {how_to_install(library)}"
