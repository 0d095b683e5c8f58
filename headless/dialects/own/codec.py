"""Encodes messages as XML, the payload of a frame, and decodes them.

What comes from the other side passes three gates before it is a message: the lexical one here, libxml2's parser, and
the schema. No other file of this package needs lxml.
"""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from typing import Any

from lxml import etree

from headless.dialects.base import Attached, JobFinished, Listed, Output, Refused
from headless.dialects.own import messages
from headless.dialects.own.messages import Attach, Jobs, Message, UnsupportedLogin, name_of
from headless.dialects.vocabulary import Job, Offset, Value
from headless.errors import RemoteProtocolError

_CLASSES: dict[str, type[Message]] = {
    name: kind
    for kind, name in (*messages.FROM_CLIENT.items(), *messages.FROM_SERVER.items())
    if kind is not UnsupportedLogin
}
_CONTENT: dict[type[Message], str] = {Output: "text", JobFinished: "text", Listed: "title", Refused: "text"}
_NUMBERS = {"version", "heartbeat", "job", "jobs", "stdout", "stderr"}


def encode(message: Message) -> bytes:
    """Returns the payload that carries this message. Raises ValueError for characters that XML cannot carry."""
    return _encode_output(message) if isinstance(message, Output) else _encode(message)


def _encode(message: Message) -> bytes:
    element = etree.Element(name_of(message))
    if isinstance(message, Jobs):
        if message.key is not None:
            element.set("key", message.key)
        for job in message.jobs:
            etree.SubElement(element, job.kind).text = job.text
    else:
        _set_fields(element, message, _CONTENT.get(type(message)))
    return etree.tostring(element, encoding="utf-8", xml_declaration=False)


def _set_fields(element: etree._Element, message: Value, content: str | None) -> None:
    for field, value in message.fields():
        if isinstance(value, Offset):
            for name, number in value.fields():
                element.set(name, str(number))
        elif field == content:
            element.text = str(value)
        elif value != getattr(type(message), field, None):  # what is left out has its default
            element.set(field, str(value))


_encode_output = lru_cache(maxsize=8)(_encode)  # the same is sent to all that follow a session


def decode(payload: bytes) -> Message:
    """Returns the message in this payload. Raises RemoteProtocolError if it is none."""
    root = _parse(payload)
    version = str(messages.VERSION_NUMBER)
    if root.tag == "login" and root.get("version", version) != version:
        return UnsupportedLogin()
    try:
        _schema().assertValid(root)
    except etree.DocumentInvalid as error:
        raise RemoteProtocolError(f"a message that the protocol does not know: {str(error)[:200]}") from None
    if root.tag == "jobs":
        return Jobs(tuple(Job(child.tag, child.text or "") for child in root), root.get("key"))
    kind: Any = _CLASSES[root.tag]
    fields: dict[str, Any] = {
        str(name): int(value) if name in _NUMBERS else value for name, value in root.attrib.items()
    }
    if kind in _CONTENT:
        fields[_CONTENT[kind]] = root.text or ""
    if kind in (Attach, Attached):
        fields["offset"] = _take_offset(fields)
    message: Message = kind(**fields)
    return message


def _take_offset(fields: dict[str, Any]) -> Offset | None:
    """Takes the three fields of an offset out; None if they are missing. Raises RemoteProtocolError."""
    numbers = [fields.pop(name) for name in ("job", "stdout", "stderr") if name in fields]
    if len(numbers) not in (0, 3):
        raise RemoteProtocolError("'attach' has job, stdout and stderr, or none of them")
    return Offset(*numbers) if numbers else None


_SECRETS = ("proof", "signature")
_MAX_SHOWN = 128 * 1024  # bytes


def for_display(payload: bytes) -> str:
    """Returns the payload, or the beginning of a very long one, as text that may be shown to anybody: without what
    proves a password."""
    root = _match_root(payload)
    head = root.end() if root else _MAX_ROOT_END  # nothing secret is in longer start tags
    # Attribute by attribute, so that a value that looks like one is not taken for it. A name is tried at its beginning
    # alone: within it, too, would take time by the square of its length.
    attribute = re.compile(r"""(?<![^\s=<>"'])([^\s=<>"']+)(\s*=\s*)("[^"]*"|'[^']*')""")
    shown = attribute.sub(_without_secret, payload[:head].decode("utf-8", "backslashreplace"))
    shown += payload[head:_MAX_SHOWN].decode("utf-8", "backslashreplace")
    return shown if len(payload) <= _MAX_SHOWN else f"{shown}... ({len(payload)} bytes)"


def _without_secret(attribute: re.Match[str]) -> str:
    name, equals, _ = attribute.groups()
    return f'{name}{equals}"(not shown)"' if name in _SECRETS else attribute[0]


# The lexical gate. An XML document in which only the root has attributes, and few of them, and in which no `<` begins
# anything but a tag without attributes or a CDATA section: so a DTD, a comment, a processing instruction or a namespace
# has no place to be in, and nothing that costs libxml2 more time than its length reaches it.
_ROOT = re.compile(rb"""\s*<[a-z_]{1,32}(?:\s+(?!xmlns)[a-z_]{1,32}\s*=\s*(?:"[^"<]*"|'[^'<]*')){0,8}\s*/?>""")
_MAX_ROOT_END = 4096  # bytes; libxml2 copies an attribute's value several times to complain of it
_MAX_MARKUP = 40_000


@cache
def _declaration() -> re.Pattern[bytes]:
    return re.compile(
        rb"""<\?xml\s+version=["']1\.0["'](?:\s+encoding=["'][Uu][Tt][Ff]-8["'])?"""
        rb"""(?:\s+standalone=["'](?:yes|no)["'])?\s*\?>"""
    )


@cache
def _inner_markup() -> re.Pattern[bytes]:
    return re.compile(rb"<!\[CDATA\[.*?\]\]>|</?[a-z_]{1,32}\s*/?>", re.DOTALL)


def _match_root(payload: bytes) -> re.Match[bytes] | None:
    """Matches the root's start tag, and the XML declaration before it. Few messages have that one, so it is compiled
    late."""
    declaration = _declaration().match(payload, 0, _MAX_ROOT_END) if payload.startswith(b"<?") else None
    return _ROOT.match(payload, declaration.end() if declaration else 0, _MAX_ROOT_END)


def _parse(payload: bytes) -> etree._Element:
    _check_markup(payload)
    # A gzip or UTF-16 payload cannot pass the gate; huge_tree lifts a limit of 10 MB that a client's frame may exceed.
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, huge_tree=True)
    try:
        return etree.fromstring(payload, parser)
    except etree.XMLSyntaxError as error:
        raise RemoteProtocolError(f"a message that is not well-formed XML in UTF-8: {error.msg}") from None


def _check_markup(payload: bytes) -> None:
    if b"\0" in payload:  # where older versions of libxml2 end the document
        raise RemoteProtocolError("a message with a NUL byte")
    match = _match_root(payload)
    for _ in range(_MAX_MARKUP):
        if match is None:
            raise RemoteProtocolError("a message that is not plain XML")
        start = payload.find(b"<", match.end())
        if start < 0:
            return
        match = _inner_markup().match(payload, start)
    raise RemoteProtocolError(f"a message with more than {_MAX_MARKUP} tags")


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(os.path.join(os.path.dirname(__file__), "protocol.xsd")))
