"""Lists how a call can end: the errors, the return codes, and the one table from an error to a code.

An error says by its class whose fault it is, and by its text what happened.
"""

from __future__ import annotations

from enum import Enum

from headless.system import is_final

# Page "Headless Client", section "Return Codes".
OK = 0
CONNECTION_ERROR = 1
PARAMETER_ERROR = 2
TIMED_OUT = 3


class Submission(Enum):
    """Says whether the server has the jobs. The value is the word in the last line of -v."""

    NOT_SUBMITTED = "not submitted"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"


class HeadlessError(Exception):
    """The root of all our errors. The text is one sentence for the administrator."""


class ParameterError(HeadlessError):
    """Something in the call must be corrected; trying again does not help."""


class OptionMissing(ParameterError):
    """An option is needed, -s say, that is neither given nor has a default in the environment."""

    def __init__(self, text: str, option: str) -> None:
        super().__init__(text)
        self.option = option


class UnsupportedCall(ParameterError):
    """A dialect cannot carry this call, whatever the server says. The text says what has to be changed."""


class SessionError(HeadlessError):
    """The session could not be had, or did not end as it should."""


class ConnectionLost(SessionError):
    """The connection ended, or there was none, before all was reported. Another one may bring the rest."""


class JobFailed(SessionError):
    """The session ended in order, and the server reported a job that failed."""


class TimedOut(HeadlessError):
    """`-t` ran out after the server had accepted the jobs, which go on."""


class CommandFailed(HeadlessError):
    """A command of `headless` cannot do what it is asked."""


class Busy(HeadlessError):
    """Not now: a limit is reached, or something that is needed does not answer. The same may succeed a minute later."""


class Refusal(HeadlessError):
    """The server does not do what a client asks for. `reason` is the protocol's word, the text is for the client."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class HomeError(HeadlessError):
    """The folder of a server cannot be used."""


class HomeReplaced(HomeError, OSError):
    """The folder of a running server, its lock or its database is not the one that the server has open. Another server
    may use it, and what is written to it may be lost."""


class Interrupted(HeadlessError):
    """A signal asked the process to end. It ends by that signal and so has no return code."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.signum = signum


class ProtocolError(HeadlessError):
    """Something was sent, or was to be sent, that the protocol does not allow. The text is one sentence."""


class LocalProtocolError(ProtocolError):
    """This side was about to do it: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The other side did it."""


# An error has the code of the first class here that it is an instance of. What is not foreseen is no success, and
# nothing that the caller could correct.
_RETURN_CODES = (
    (ParameterError, PARAMETER_ERROR),
    (TimedOut, TIMED_OUT),
    (BaseException, CONNECTION_ERROR),
)


def explain(error: BaseException) -> tuple[int, str]:
    """Returns the return code for a call that ended with this error, and the sentence for the administrator. The code
    is 1, 2 or 3, never 0; for Interrupted it is the negative number of the signal."""
    if isinstance(error, ImportError) and error.name:
        from headless.libraries import describe_missing, is_missing

        if not is_missing(error):
            return CONNECTION_ERROR, f"{error.name} cannot be loaded now ({error})"
        return PARAMETER_ERROR, describe_missing(error)
    if isinstance(error, Interrupted):
        return -error.signum, str(error)
    code = next(code for kind, code in _RETURN_CODES if isinstance(error, kind))
    if isinstance(error, LocalProtocolError):
        return code, f"{error} (this is a fault of the client or its dialect, not of the server)"
    if isinstance(error, (HeadlessError, OSError)) or type(error).__module__ == "sqlite3":
        return code, str(error) or repr(error)
    return code, f"unforeseen: {error!r}"


def fault_of_file(text: str, error: OSError) -> ParameterError | SessionError:
    """Returns the error of a call that needs the file. `text` says what cannot be done."""
    is_for_a_person = is_final(error) or isinstance(error, IsADirectoryError)
    return (ParameterError if is_for_a_person else SessionError)(f"{text}: {error.strerror or error}")
