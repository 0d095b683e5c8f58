"""Lists the messages of this project's protocol, version 1. What a server says after the login are the events of the
seam; the other messages are defined here.

A message is an XML element. Its attributes are the fields of the class; `text` or `title` is its content.
"""

from __future__ import annotations

from headless.dialects.base import (
    Accepted,
    Attached,
    Cancelled,
    Ended,
    JobFinished,
    JobStarted,
    Listed,
    Output,
    Refused,
)
from headless.dialects.vocabulary import Job, Offset, Value

VERSION_NUMBER = 1

Message = Value  # an event of the seam, or an object of a class below

# Client to server


class Login(Value):
    version: int
    client: str
    auth_type: str
    user: str | None = None
    os_user: str | None = None
    nonce: str | None = None


class UnsupportedLogin(Value):
    """Is a `login` in a version that is not spoken here, whatever else it has."""


class Response(Value):
    nonce: str
    proof: str


class Jobs(Value):
    jobs: tuple[Job, ...]
    key: str | None = None


class Attach(Value):
    """Asks for a session. Without an offset the client wants what happens from now on."""

    session: str
    offset: Offset | None = None


class Cancel(Value):
    session: str


class Sessions(Value):
    pass


class Logout(Value):
    pass


# Server to client


class Challenge(Value):
    nonce: str
    salt: str


class Welcome(Value):
    session: str
    heartbeat: int | None = None
    signature: str | None = None
    journal: str | None = None


class Alive(Value):
    pass


FROM_CLIENT: dict[type[Message], str] = {
    Login: "login",
    UnsupportedLogin: "login",
    Response: "response",
    Jobs: "jobs",
    Attach: "attach",
    Cancel: "cancel",
    Sessions: "sessions",
    Logout: "logout",
}
FROM_SERVER: dict[type[Message], str] = {
    Challenge: "challenge",
    Welcome: "welcome",
    Accepted: "accepted",
    Attached: "attached",
    JobStarted: "started",
    Output: "output",
    JobFinished: "finished",
    Ended: "ended",
    Cancelled: "cancelled",
    Listed: "listed",
    Refused: "refused",
    Alive: "alive",
}


def name_of(message: Message) -> str:
    """Returns the name of the element that carries this message."""
    kind = type(message)
    return FROM_CLIENT.get(kind) or FROM_SERVER[kind]
