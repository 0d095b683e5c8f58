"""Holds the words and numbers that dialects, client and server share, and `Value`, the base of small values."""

from __future__ import annotations

import re
from functools import cache

TYPE_CHECKING = False  # as in typing, which --help does not need
if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


# Ways to log in
OSUSER = "osuser"
CHALLENGE = "challenge"

# Kinds of jobs
MODULE = "module"
PY_FILE = "py_file"
PY_CODE = "py_code"

# How a job, or a session, ended
OK = "ok"
FAILED = "failed"
SKIPPED = "skipped"

ENDED_WITHOUT_RESULT = "ended, no result told"  # what a 0 is worth if the server reports an end alone

# Where a job prints
STDOUT = "stdout"
STDERR = "stderr"

# Why a server refuses
LOGIN = "login"
JOBS = "jobs"
VERSION = "version"
PROTOCOL = "protocol"
BUSY = "busy"
SESSION = "session"

# States of a session that is not over, and the word for one that is
QUEUED = "queued"
RUNNING = "running"
OVER = "over"

# Limits
MAX_NAME_LENGTH = 256  # characters
MAX_JOBS = 10_000  # of one session
MAX_LOGIN_FRAME = 4096  # bytes, in both directions, up to and including `welcome`
MAX_SERVER_FRAME = 1024 * 1024  # bytes, after `welcome`
MAX_CLIENT_FRAME = 16 * 1024 * 1024  # bytes, after `welcome`: a session is one frame
KEY_BYTES = 16  # of randomness in the key of a session, at least
TITLE_LENGTH = 60  # characters of a job's code that are shown and logged


@dataclass_transform(frozen_default=True)
class Value:
    """Does what a frozen dataclass does; to import dataclasses would cost each call milliseconds.

    A subclass names its fields by annotations, in their order, behind those that it inherits, and may give them
    defaults.

    Two values are equal only if they are of the same class and all their fields are equal. Every value is true.
    """

    def __init_subclass__(cls) -> None:
        names = (*getattr(cls, "field_names", ()), *getattr(cls, "__annotations__", ()))
        cls.field_names = tuple(dict.fromkeys(names))  # type: ignore[attr-defined]

    def __init__(self, *values: object, **named: object) -> None:
        """Raises TypeError for a field too many or too few."""
        names: tuple[str, ...] = type(self).field_names  # type: ignore[attr-defined]
        given = dict(zip(names, values))
        is_wrong = len(values) > len(names) or not given.keys().isdisjoint(named) or not named.keys() <= set(names)
        given.update(named)
        missing = [name for name in names if name not in given and not hasattr(type(self), name)]
        if is_wrong or missing:
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(names) or '(none)'}")
        self.__dict__.update(given)

    def fields(self) -> tuple[tuple[str, object], ...]:
        """Returns name and value of each field, in their order."""
        return tuple((name, getattr(self, name)) for name in type(self).field_names)  # type: ignore[attr-defined]

    def check_types(self) -> None:
        """Raises TypeError, with a text that names the field, if one has not the type of its annotation. It is for
        values of a dialect that others have written."""
        for name, content in self.fields():
            owner = next(cls for cls in type(self).__mro__ if name in getattr(cls, "__annotations__", ()))
            annotation = owner.__annotations__[name]
            if type(content).__name__ not in annotation.replace("None", "NoneType").split(" | "):
                raise TypeError(
                    f"{type(self).__name__}.{name} has to be {annotation}, and is a value of {type(content).__name__}"
                )

    def replace(self, **changes: object) -> Self:
        """Returns the same value with other contents in these fields."""
        return type(self)(**{**dict(self.fields()), **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), self.fields()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.fields())})"


class Job(Value):
    """Is one job: `kind` is MODULE, PY_FILE or PY_CODE, `text` its ID, its path or its code."""

    kind: str
    text: str


class Offset(Value):
    """Says how much of a session has been received. `job` is the first job whose end is not known; `stdout` and
    `stderr` count the characters of its output that are."""

    job: int = 1
    stdout: int = 0
    stderr: int = 0


def is_xml_text(text: str) -> bool:
    """Returns whether an XML document can hold every character of the text."""
    return text.isprintable() or _invalid_chars().search(text) is None


def replace_invalid_xml_chars(text: str) -> str:
    """Returns the text with U+FFFD for each character that an XML document cannot hold."""
    return text if text.isprintable() else _invalid_chars().sub("\ufffd", text)


def title_of(kind: str, text: str) -> str:
    """Returns what people are shown of a job: the module, the file, or the beginning of the code."""
    if kind != PY_CODE:
        return text
    return next(iter(text.lstrip()[:TITLE_LENGTH].splitlines()), "").rstrip()


@cache
def _invalid_chars() -> re.Pattern[str]:
    """Matches what XML 1.0, production 2 (Char), leaves out. To compile it takes a millisecond."""
    return re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
