"""Makes messages of the bytes of a recorded connection, parses them, walks through them, and says how they are written.

They are hostile input: no entities, no network, no DTD.
"""

from __future__ import annotations

import codecs
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects.framing import Receiver
from headless.dialects.xml_messages import has_hidden_part
from headless.errors import ProtocolError
from headless.protocol_tools.recordings import Piece, RecordedCall

_UNDECLARED = "utf-8"  # what XML is without a declaration (XML 1.0, 4.3.3)
_ANY_BYTES = "iso-8859-1"
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
_DECLARATION = re.compile(r"""<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)["']""")
_MAX_UNPACKED = 64 * 1024 * 1024  # bytes of messages of one connection
_ENCODINGS = ("utf-8", "windows-1252", "iso-8859-15", "iso-8859-1")  # that are asked for letters beyond ASCII
_PROLOG = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*(?:<\?xml\s(?:[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)["'])?[^>]*\?>\s*)?"""
)
_USER, _OS_USER, JOB = "the user", "the os-user", "a job's text"  # texts of a call
_LEAST = 3  # characters of a text that is looked for in others
_MAX_TAGS, _MAX_DEPTH = 6, 3  # of an outline
_MAX_VALUES = 2000  # of a message that are looked at

Path = tuple[str, ...]  # names of elements, from the root on


def parse(message: bytes, encoding: str | None = None) -> Element:
    """Returns the root of a document. `encoding` is for what declares none. Raises ValueError for what is none."""
    if encoding is not None:
        is_declared = message.startswith(tuple(mark for mark, _ in _BYTE_ORDER_MARKS)) or declared(message) is not None
        encoding = None if is_declared else encoding
    if has_hidden_part(message):
        raise ValueError("no XML: a NUL byte")
    try:
        root = etree.fromstring(message, _parser(encoding))
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
        if is_decodable(message, _UNDECLARED) or has_hidden_part(message):
            raise
    try:
        return etree.fromstring(message, _parser(_ANY_BYTES))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"no XML: {error}") from None


def is_document(message: bytes) -> bool:
    """Returns whether it is one in some encoding."""
    return root_of(message) is not None


def root_of(message: bytes) -> Element | None:
    """Returns the root of a document in some encoding, None for what is none."""
    try:
        return parse_leniently(message)
    except ValueError:
        return None


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


# Messages


@dataclass
class Message:
    """Is one message. `number` is that of the piece of the connection that completed it."""

    number: int
    sender: str
    data: bytes


def split(pieces: Sequence[Piece], receiver: Receiver) -> list[Message]:
    """Returns the messages in these pieces; their numbers are those of the pieces. Raises ValueError for what can be
    none."""
    found: list[Message] = []
    size = 0
    next_message = receiver.next_message
    try:
        for number, piece in enumerate(pieces):
            receiver.receive(piece.data)
            while (text := next_message()) is not None:
                found.append(Message(number, piece.sender, text))
                size += len(text)
                if size > _MAX_UNPACKED:
                    raise ValueError(f"its messages have more than {_MAX_UNPACKED} bytes")
    except ProtocolError as error:
        raise ValueError(f"message {len(found) + 1}: {without_content(error)}") from None
    return found


def without_content(error: ProtocolError) -> str:
    """Returns what is wrong, without what was sent there, which may prove a password."""
    return re.sub(r"^.* where ", "something else where ", str(error), flags=re.DOTALL)


def parse_all(messages: Sequence[bytes]) -> list[Element]:
    """Returns the root of each message. Raises ValueError."""
    roots: list[Element] = []
    for message in messages:
        try:
            roots.append(parse_leniently(message))
        except ValueError as error:
            raise ValueError(f"message {len(roots) + 1}: {error}") from None
    return roots


# What is in them


def values_in(root: Element, limit: int = _MAX_VALUES) -> list[tuple[Path, str, str]]:
    """Returns path, attribute ("" for the text) and value of what a message says; of a long one, of its beginning."""
    found: list[tuple[Path, str, str]] = []
    _add_values(root, (str(root.tag),), found, limit)
    return found


def _add_values(element: Element, path: Path, found: list[tuple[Path, str, str]], limit: int) -> None:
    for name, value in element.items():
        found.append((path, str(name), str(value)))
    text = element.text
    if text and not text.isspace():
        found.append((path, "", text))
    for child in element:
        if len(found) >= limit:
            break
        tag = child.tag
        if isinstance(tag, str):
            _add_values(child, (*path, tag), found, limit)


def local(name: str) -> str:
    """Returns a name without its namespace."""
    return name.rpartition("}")[2]


def outline(root: Element) -> str:
    """Returns in a few words which message it is: names of elements and attributes."""
    tags: list[str] = []
    _add_tags(root, tags, 0)
    return "".join(tags[:_MAX_TAGS]) + "..." * (len(tags) > _MAX_TAGS)


def _add_tags(element: Element, tags: list[str], depth: int) -> None:
    tags.append(f"<{' '.join([local(str(element.tag)), *(local(str(name)) for name in element.attrib)])}>")
    for child in element:
        if len(tags) > _MAX_TAGS or depth >= _MAX_DEPTH:
            break
        if isinstance(child.tag, str):
            _add_tags(child, tags, depth + 1)


def normal(text: str) -> str:
    """Returns the text with single spaces for white space, which attributes do not keep (XML 1.0, 3.3.3)."""
    return " ".join(text.split())


def texts_of(call: RecordedCall) -> list[tuple[str, str]]:
    """Returns the texts of a call that may be found in messages, each with what it is."""
    found = [(_USER, call.user or ""), (_OS_USER, call.os_user)]
    for text in dict.fromkeys(normal(job.text) for job in call.jobs):
        found += [(JOB, text), (JOB, b64encode(text.encode()).decode())]
    return [(what, text) for what, text in found if len(text) >= _LEAST]


def holds_job(root: Element, texts: Sequence[str]) -> bool:
    """Returns whether the message has the text of a job in it. `texts` are normal ones."""
    for value in (normal(value) for _, _, value in values_in(root)):
        if any(text == value or (len(text) >= _LEAST and text in value) for text in texts):
            return True
    return False


# How they are written


class Encoding(NamedTuple):
    name: str
    is_certain: bool
    text: str  # for people


class Style:
    """Counts how messages are written."""

    def __init__(self) -> None:
        self.messages = 0
        self.prologs: Counter[str] = Counter()
        self._declared: Counter[str] = Counter()  # "" for none
        self._wide: Counter[str] = Counter()  # two bytes for a character
        self._beyond_ascii = 0
        self._misdeclared = 0
        self._possible = set(_ENCODINGS)  # that all messages may be in
        self._confirmed: Counter[str] = Counter()  # in which letters of a call's own text were found

    def add(self, messages: Iterable[bytes], letters: Iterable[str] = ()) -> None:
        """Counts messages. `letters` beyond ASCII are those of the call's texts."""
        for message in messages:
            self.messages += 1
            wide = wide_encoding(message[:4])
            head = message
            if wide in ("utf-16le", "utf-16be"):
                text = message[:512].decode(wide, "ignore")
                wide = "utf-16" if text.startswith("\ufeff") else wide
                head = text.lstrip("\ufeff").encode("latin-1", "replace")
            found = _PROLOG.match(head)
            assert found is not None  # everything in it is optional
            name = (found[1] or b"").decode()
            self.prologs[found[0].decode("utf-8", "replace").lstrip()] += 1
            self._declared[name] += 1
            self._wide[wide if wide and head is not message else ""] += 1
            if head is message and not message.isascii():
                self._add_letters(message, name, letters)

    def _add_letters(self, message: bytes, declared: str, letters: Iterable[str]) -> None:
        self._beyond_ascii += 1
        self._misdeclared += declared != "" and not is_decodable(message, declared)
        self._possible = {each for each in self._possible if is_decodable(message, each)}
        for encoding in _ENCODINGS if letters else ():
            encoded = [letter.encode(encoding, "ignore") for letter in letters]
            self._confirmed[encoding] += all(each and each in message for each in encoded)

    @property
    def prolog(self) -> str:
        """Returns the one that most messages have."""
        return self.prologs.most_common(1)[0][0] if self.prologs else ""

    def encoding(self) -> Encoding:
        """Returns the encoding of messages, and how sure that is."""
        names = [name for name, _ in self._declared.most_common()]
        if len({name.lower() for name in names}) > 1 or len(self._wide) > 1:
            listed = ", ".join(f"{count} {name or 'none'}" for name, count in self._declared.most_common())
            return Encoding(names[0] or "utf-8", False, f"not the same in all messages (declared: {listed})")
        wide = next(iter(self._wide), "")
        if wide:
            return Encoding(wide, True, f"two bytes for each character in all {self.messages} messages")
        return self._of_declaration(names[0]) if names and names[0] else self._of_letters()

    def _of_declaration(self, name: str) -> Encoding:
        try:
            usual = next((each for each in _ENCODINGS if codecs.lookup(each) == codecs.lookup(name)), name)
        except LookupError:
            return Encoding(name, False, "declared, and not known here")
        if self._misdeclared:
            return Encoding(name, False, f"declared, but {self._misdeclared} messages are not written in it")
        others = [each for each in _ENCODINGS if self._confirmed[each] > self._confirmed[usual]]
        if others:
            return Encoding(name, False, f"declared, but the call's own letters came in {others[0]}")
        beyond = f"{self._beyond_ascii} of them with letters beyond ASCII" if self._beyond_ascii else "all in ASCII"
        return Encoding(name, True, f"declared in all {self.messages} messages, {beyond}")

    def _of_letters(self) -> Encoding:
        if not self._beyond_ascii:
            return Encoding("utf-8", False, "not declared, and nothing beyond ASCII was said: not borne out")
        if "utf-8" in self._possible:
            text = f"not declared; {self._beyond_ascii} messages with letters beyond ASCII are in it"
            return Encoding("utf-8", True, text)
        possible = [each for each in _ENCODINGS if each in self._possible]
        most = max((self._confirmed[each] for each in possible), default=0)
        likely = [each for each in possible if self._confirmed[each] == most]
        if most and len(likely) == 1:
            text = f"not declared; the call's own letters came in it {most} times"
            return Encoding(likely[0], True, text)
        if not possible:
            return Encoding("utf-8", False, "not declared, and none of those that were tried")
        text = f"not declared; {', '.join(likely)} are possible: record a text with \u20ac"
        return Encoding(likely[0], False, text)
