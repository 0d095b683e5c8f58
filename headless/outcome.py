"""How a run can end: the return codes, the family of errors, and the one table that leads from error to code.

Nothing here prints, exits or knows a socket. An error says by its class whose fault it is, by its text what
happened, and the client adds how far the jobs had come (`Submission`).
"""

from __future__ import annotations

from enum import Enum

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
    """A run that did not end well. The text is one sentence for the administrator."""


class ParameterError(HeadlessError):
    """Something in the call must be corrected; trying again does not help."""


class SessionError(HeadlessError):
    """The session could not be had, or did not end as it should."""


class ProtocolError(SessionError):
    """The other side said what the protocol does not allow it to say."""


class JobFailed(SessionError):
    """The session ended in order, and the server reported a job that failed."""


class TimedOut(HeadlessError):
    """`-t` ran out after the server had accepted the jobs, which go on."""


class Interrupted(HeadlessError):
    """A signal asked the process to end. It ends by that signal and so has no return code."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.signum = signum


# An error has the code of the first class here that it is an instance of. What is not foreseen is no success, and
# nothing that the caller could correct.
_RETURN_CODES = (
    (ParameterError, PARAMETER_ERROR),
    (TimedOut, TIMED_OUT),
    (SessionError, CONNECTION_ERROR),
    (Exception, CONNECTION_ERROR),
)


def return_code(error: Exception) -> int:
    """The return code for a run that ended with this error: 1, 2 or 3, never 0."""
    return next(code for kind, code in _RETURN_CODES if isinstance(error, kind))
