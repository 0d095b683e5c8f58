"""Parses the documents of a recording, which are hostile input: no entities, no network, no DTD."""

from __future__ import annotations

import codecs
import re
from functools import cache

from lxml import etree
from lxml.etree import _Element as Element

UNDECLARED = "utf-8"  # what XML is without a declaration (XML 1.0, 4.3.3)
ANY_BYTES = "iso-8859-1"
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
_DECLARATION = re.compile(r"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)["']""")
_PROLOG = re.compile(r"\ufeff?\s*(?:<\?xml\s[^>]*\?>\s*)?")


def parse(message: bytes, encoding: str | None = None) -> Element:
    """Returns the root of a document. `encoding` is for what declares none. Raises ValueError for what is none."""
    is_declared = message.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS)) or declared(message) is not None
    try:
        root = etree.fromstring(message, _parser(None if is_declared else encoding))
    except (etree.XMLSyntaxError, LookupError) as error:
        raise ValueError(f"no XML: {error}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("a document with a DTD")
    return root


def parse_leniently(message: bytes) -> Element:
    """Does the same for a document in an encoding that it does not declare, or declares wrongly: its letters beyond
    ASCII may be other ones then."""
    try:
        return parse(message, wide_encoding(message))
    except ValueError:
        if is_decodable(message, UNDECLARED):
            raise
    try:
        return etree.fromstring(message, _parser(ANY_BYTES))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"no XML: {error}") from None


def is_document(message: bytes) -> bool:
    """Returns whether it is one in some encoding."""
    try:
        parse_leniently(message)
    except ValueError:
        return False
    return True


def is_decodable(message: bytes, encoding: str) -> bool:
    try:
        message.decode(encoding)
    except (ValueError, LookupError):
        return False
    return True


@cache
def _parser(encoding: str | None) -> etree.XMLParser:
    return etree.XMLParser(encoding=encoding, resolve_entities=False, no_network=True, load_dtd=False)


def declared(message: bytes) -> str | None:
    """Returns the encoding that the declaration of the document names, None without one."""
    encoding = wide_encoding(message)
    head = message[:256].decode(encoding or "latin-1", "replace")
    found = _DECLARATION.search(head)
    return found[1] if found else None


def wide_encoding(message: bytes) -> str | None:
    """Returns the encoding that a byte order mark tells, or NUL bytes in the first characters; None if nothing does."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if message.startswith(mark):
            return encoding
    if len(message) >= 4 and message[0] == message[2] == 0 != message[1]:
        return "utf-16be"
    if len(message) >= 4 and message[1] == message[3] == 0 != message[0]:
        return "utf-16le"
    return None


def prolog_of(text: str) -> str:
    """Returns what is before the root element: a byte order mark, a declaration, white space."""
    found = _PROLOG.match(text)
    return found[0] if found else ""
