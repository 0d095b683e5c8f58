"""Makes, parses and searches the XML of messages whose vocabulary others have defined.

What comes may be hostile: no DTD, entity or file is loaded, and time grows with the length of a message alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

from lxml import etree
from lxml.etree import _Element

from headless.dialects.display import is_secret
from headless.errors import RemoteProtocolError, UnsupportedCall

Element = _Element
Matches = Callable[[str], bool]  # whether a pattern means the element at hand

_MAX_TAGS = 500_000  # of a message that comes
_MAX_ATTRIBUTES = 10_000  # of an element: older versions of libxml2 compare each with each
_MAX_CHILDREN = 100  # that are searched at once: XPath may take time by the square of their number
_MAX_SHOWN = 200  # characters of what came, in the text of an error
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16, at the beginning
_MARKS = (b"\xef\xbb\xbf", *_WIDE_MARKS)  # and of UTF-8


def element(name: str, /, text: str | None = None, **attributes: str | None) -> Element:
    """Returns an element with the attributes that are not None. Raises ValueError for what XML cannot carry."""
    made = etree.Element(name, {key: value for key, value in attributes.items() if value is not None})
    made.text = text
    return made


def filled(xml: str, jobs: Iterable[Element] = (), **values: str) -> list[Element]:
    """Returns the elements of this XML, with values in the place of their {names}, and the elements of the jobs in that
    of <?jobs?>. Raises ValueError for what XML cannot carry."""
    root = etree.fromstring(f"<all>{xml}</all>")

    def fill(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)

    for each in list(root.iter()):
        if isinstance(each.tag, str):
            each.text = fill(each.text) if each.text else each.text
            for name, value in each.attrib.items():
                each.set(name, fill(str(value)))
        else:
            parent = each.getparent()
            assert parent is not None
            place = parent.index(each)
            parent[place : place + 1] = list(jobs)
    return list(root)


# What comes


def parse(message: bytes, encoding: str) -> Element:
    """Returns the root of a message. The encoding counts where the message does not name its own. Raises
    RemoteProtocolError for what is no XML, or has a DTD."""
    stripped = message.lstrip()
    message = stripped if stripped.startswith(b"<") else message  # else it may be UTF-16
    _check_markup(message)
    is_declared = message.startswith(_MARKS) or (message.startswith(b"<?xml") and b"encoding" in message[:128])
    parser = etree.XMLParser(
        encoding=None if is_declared else encoding,
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(message, parser)
    except etree.XMLSyntaxError as error:
        raise RemoteProtocolError(f"a message that is not XML: {shorten(str(error))}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise RemoteProtocolError("a message with a DTD")
    return root


def has_hidden_part(document: bytes) -> bool:
    """Returns whether a NUL byte stands in a document: older versions of libxml2 take it for the end. In UTF-16 and
    UTF-32 each character may have one, the first ones included (XML 1.0, appendix F)."""
    return b"\0" in document and b"\0" not in document[:4] and not document.startswith(_WIDE_MARKS)


def _check_markup(message: bytes) -> None:
    if has_hidden_part(message):
        raise RemoteProtocolError("a message with a NUL byte")
    if message.count(b"<") > _MAX_TAGS:
        raise RemoteProtocolError(f"a message with more than {_MAX_TAGS} tags")
    if message.count(b"=") > _MAX_ATTRIBUTES:
        for tag in re.finditer(rb"""<[^<>"']*(?:(?:"[^"]*"|'[^']*')[^<>"']*)*""", message):
            if (
                tag[0].count(b"=") > _MAX_ATTRIBUTES
                and len(re.findall(rb""""[^"]*"|'[^']*'""", tag[0])) > _MAX_ATTRIBUTES
            ):
                raise RemoteProtocolError(f"a message with more than {_MAX_ATTRIBUTES} attributes in a tag")


def text_of(found: Element) -> str:
    """Returns the text of an element, or else the values of its attributes; no part that has the name of a secret."""
    texts = []
    walker = etree.iterwalk(found, events=("start", "end"))
    for event, each in walker:
        if event == "end":
            texts.append(each.tail if each is not found else "")
        elif each is not found and is_secret(str(each.tag)):
            walker.skip_subtree()
        else:
            texts.append(each.text)
    text = " ".join("".join(filter(None, texts)).split())
    return text or " ".join(str(value) for name, value in found.items() if not is_secret(str(name)))


def start_tag(found: Element) -> str:
    """Returns the start tag of an element as a document has it."""
    copied: Any = found
    bare = etree.Element(copied.tag, copied.attrib, nsmap=copied.nsmap)
    return etree.tostring(bare, encoding="unicode").replace("/>", ">")


def shorten(text: str) -> str:
    """Returns the text, or the beginning of a long one, for an error."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


# What patterns mean


def search(root: Element) -> Iterator[tuple[Element, Matches]]:
    """Yields each child of a message, with what says whether a pattern means the child, or something in it. A message
    without children is taken for a child."""
    for part in _parts_of(root):
        meant = cache(partial(_meant, part))
        for child in list(part) or [part]:
            yield child, lambda pattern, child=child, meant=meant: child in meant(pattern)  # type: ignore[misc]


def _parts_of(root: Element) -> Iterator[Element]:
    """Yields the message with some of its children after the other."""
    children = list(root)
    if len(children) <= _MAX_CHILDREN:
        yield root
        return
    for begin in range(0, len(children), _MAX_CHILDREN):
        root[:] = children[begin : begin + _MAX_CHILDREN]
        yield root


def _meant(root: Element, pattern: str) -> set[Element]:
    """Returns the children that the pattern means."""
    return {_child_of(root, found) for found in _compiled(pattern)(root)}


def _child_of(root: Element, found: Any) -> Any:
    """Returns the child that has it, which may be an attribute or a text."""
    while found is not root and found.getparent() is not root:
        found = found.getparent()
    return found


@cache
def _compiled(pattern: str) -> Any:
    """Returns what finds the elements of a pattern. Raises etree.XPathSyntaxError."""
    return etree.XPath(pattern) if pattern else lambda _root: []


def check_pattern(pattern: str) -> None:
    """Raises UnsupportedCall for what is not one for elements."""
    try:
        found = _compiled(pattern)(etree.Element("Message"))
    except etree.XPathError as error:
        raise UnsupportedCall(f"{pattern!r} is no expression of XPath: {error}") from None
    if not isinstance(found, list):
        raise UnsupportedCall(f"{pattern!r} does not find elements")
