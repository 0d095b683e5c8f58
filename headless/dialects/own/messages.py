"""The messages of the dialect, version 1: one class each. Its name is the word for it, its fields are the attributes,
and `text` is the content.

How they look as XML is in codec.py, who may send which when in order.py, what they mean in PROTOCOL.md.
"""

from __future__ import annotations

from headless.dialects.vocabulary import Job, Value

VERSION_NUMBER = 1


class Message(Value):
    """Something that one side sends to the other."""


# Client to server


class Login(Message):
    version: int
    client: str
    auth_type: str
    user: str | None = None
    os_user: str | None = None
    nonce: str | None = None


class UnsupportedLogin(Message):
    """A `login` in a version that is not spoken here, whatever else it has."""


class Response(Message):
    nonce: str
    proof: str


class Jobs(Message):
    jobs: tuple[Job, ...]
    key: str | None = None


class Attach(Message):
    """Without the last three, which come together, the client wants to hear what happens from now on."""

    session: str
    job: int | None = None
    stdout: int | None = None
    stderr: int | None = None


class Cancel(Message):
    session: str


class Sessions(Message):
    pass


class Logout(Message):
    pass


# Server to client


class Challenge(Message):
    nonce: str
    salt: str


class Welcome(Message):
    session: str
    heartbeat: int | None = None
    signature: str | None = None
    journal: str | None = None


class Accepted(Message):
    session: str | None = None


class Attached(Message):
    jobs: int
    job: int
    stdout: int
    stderr: int


class Cancelled(Message):
    state: str


class Listed(Message):
    session: str
    state: str
    accepted: str
    job: int
    jobs: int
    text: str = ""


class Started(Message):
    job: int


class Output(Message):
    job: int
    stream: str
    text: str


class Finished(Message):
    job: int
    status: str
    text: str = ""


class Ended(Message):
    status: str


class Refused(Message):
    reason: str
    text: str = ""


class Alive(Message):
    pass


FROM_CLIENT: tuple[type[Message], ...] = (
    Login, UnsupportedLogin, Response, Jobs, Attach, Cancel, Sessions, Logout,
)  # fmt: skip
FROM_SERVER: tuple[type[Message], ...] = (
    Challenge, Welcome, Accepted, Attached, Started, Output, Finished, Ended, Cancelled, Listed, Refused, Alive,
)  # fmt: skip


def name_of(message: Message) -> str:
    """Returns the name of a message in XML."""
    return "login" if isinstance(message, UnsupportedLogin) else type(message).__name__.lower()
