"""Frames' payloads <-> messages: one class for each word of the wire, and the XML that carries it.

The words themselves stand here and in protocol.xsd, nowhere else: an attribute has the name of its field, a text is
the field `text`. When a message may be said is the business of conversation.py. What comes from the other side goes
through three gates before it is a message: the lexical one here, libxml2's parser, and the schema.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any, NamedTuple, Optional, Union

from lxml import etree

from headless.outcome import ProtocolError

VERSION = 1


class Login(NamedTuple):
    version: int
    client: str
    auth_type: str
    user: Optional[str] = None
    os_user: Optional[str] = None
    nonce: Optional[str] = None


class Response(NamedTuple):
    nonce: str
    proof: str


class Job(NamedTuple):
    """One job of a batch. The kind is `module`, `py_file` or `py_code`, the text what belongs to it."""

    kind: str
    text: str


class Jobs(NamedTuple):
    jobs: tuple[Job, ...]


class Logout(NamedTuple):
    pass


class Challenge(NamedTuple):
    nonce: str
    salt: str


class Welcome(NamedTuple):
    session: str
    heartbeat: Optional[int] = None
    signature: Optional[str] = None


class Accepted(NamedTuple):
    pass


class Started(NamedTuple):
    job: int


class Output(NamedTuple):
    job: int
    stream: str
    text: str


class Finished(NamedTuple):
    job: int
    status: str
    text: str = ""


class Ended(NamedTuple):
    status: str


class Refused(NamedTuple):
    reason: str
    text: str = ""


class Alive(NamedTuple):
    pass


Message = Union[
    Login, Response, Jobs, Logout,
    Challenge, Welcome, Accepted, Started, Output, Finished, Ended, Refused, Alive,
]  # fmt: skip

# The word for a message is the name of its class.
_CLASSES: dict[str, type[Message]] = {
    kind.__name__.lower(): kind
    for kind in (Login, Response, Jobs, Logout,
                 Challenge, Welcome, Accepted, Started, Output, Finished, Ended, Refused, Alive)
}  # fmt: skip
_NUMBERS = {"version", "heartbeat", "job"}


class VersionMismatch(ProtocolError):
    """A login in a version of the protocol that is not spoken here."""


def name_of(message: Message) -> str:
    """The word for a message on the wire."""
    return type(message).__name__.lower()


def encode(message: Message) -> bytes:
    """The payload that carries this message. Raises ValueError for characters that XML cannot carry."""
    element = etree.Element(name_of(message))
    if isinstance(message, Jobs):
        for job in message.jobs:
            etree.SubElement(element, job.kind).text = job.text
    else:
        for field, value in zip(message._fields, message):
            if field == "text":
                element.text = str(value)
            elif value is not None:
                element.set(field, str(value))
    return etree.tostring(element, encoding="utf-8", xml_declaration=False)


def decode(payload: bytes) -> Message:
    """The message in this payload. Raises ProtocolError if it is none, VersionMismatch if it is a login of another
    version, whatever other words and attributes it has."""
    root = _parse(payload)
    if root.tag == "login" and root.get("version", str(VERSION)) != str(VERSION):
        raise VersionMismatch(f"this is protocol version {VERSION}")
    try:
        _schema().assertValid(root)
    except etree.DocumentInvalid as error:
        raise ProtocolError(f"a message that the protocol does not know: {str(error)[:200]}") from None
    if root.tag == "jobs":
        return Jobs(tuple(Job(child.tag, child.text or "") for child in root))
    kind: Any = _CLASSES[root.tag]
    fields: dict[str, Any] = {
        str(name): int(value) if name in _NUMBERS else value for name, value in root.attrib.items()
    }
    if "text" in kind._fields:
        fields["text"] = root.text or ""
    message: Message = kind(**fields)
    return message


# A name is tried at its beginning alone: within it, too, would take time by the square of its length.
_ATTRIBUTE = re.compile(r"""(?<![^\s=<>"'])([^\s=<>"']+)(\s*=\s*)("[^"]*"|'[^']*')""")
_SECRETS = ("proof", "signature")
_SHOWN_MAX = 128 * 1024


def for_display(payload: bytes) -> str:
    """The payload, or the beginning of a very long one, as text that may be shown to anybody: without what proves that
    somebody knows a password."""
    root = _ROOT.match(payload, 0, _ROOT_END_MAX)
    head = root.end() if root else _ROOT_END_MAX  # nothing secret is said in longer frames
    # Attribute by attribute, so that a value that looks like one is not taken for it.
    shown = _ATTRIBUTE.sub(_without_secret, payload[:head].decode("utf-8", "backslashreplace"))
    shown += payload[head:_SHOWN_MAX].decode("utf-8", "backslashreplace")
    return shown if len(payload) <= _SHOWN_MAX else f"{shown}... ({len(payload)} bytes)"


def _without_secret(attribute: re.Match[str]) -> str:
    name, equals, _ = attribute.groups()
    return f'{name}{equals}"(not shown)"' if name in _SECRETS else attribute[0]


# The lexical gate. An XML document in which only the root has attributes, and few of them, and in which no `<` begins
# anything but a tag without attributes or a CDATA section: so a DTD, a comment, a processing instruction or a namespace
# has no place to be in, and nothing that costs libxml2 more time than its length reaches it.
_ROOT = re.compile(
    rb"""
    (?: <\?xml \s+ version=["']1\.0["'] (?: \s+ encoding=["'][Uu][Tt][Ff]-8["'] )?
        (?: \s+ standalone=["'](?:yes|no)["'] )? \s* \?> )?
    \s* < [a-z_]{1,32}
    (?: \s+ (?!xmlns) [a-z_]{1,32} \s* = \s* (?: "[^"<]*" | '[^'<]*' ) ){0,8}
    \s* /?>
    """,
    re.VERBOSE,
)
_ROOT_END_MAX = 4096  # libxml2 copies an attribute's value several times to complain of it
_INNER = re.compile(rb"<!\[CDATA\[.*?\]\]>|</?[a-z_]{1,32}\s*/?>", re.DOTALL)
_MARKUP_MAX = 40_000


def _parse(payload: bytes) -> etree._Element:
    _check_markup(payload)
    # A gzip or UTF-16 payload cannot pass the gate; huge_tree lifts a limit of 10 MB that a frame may exceed.
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, huge_tree=True)
    try:
        return etree.fromstring(payload, parser)
    except etree.XMLSyntaxError as error:
        raise ProtocolError(f"a message that is not well-formed XML in UTF-8: {error.msg}") from None


def _check_markup(payload: bytes) -> None:
    match = _ROOT.match(payload, 0, _ROOT_END_MAX)
    for _ in range(_MARKUP_MAX):
        if match is None:
            raise ProtocolError("a message that is not plain XML")
        start = payload.find(b"<", match.end())
        if start < 0:
            return
        match = _INNER.match(payload, start)
    raise ProtocolError(f"a message with more than {_MARKUP_MAX} tags")


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(os.path.join(os.path.dirname(__file__), "protocol.xsd")))
