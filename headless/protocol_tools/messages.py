"""Makes messages of the bytes of a recorded connection: split by a transport, parsed, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects.framing import Receiver
from headless.errors import ProtocolError
from headless.protocol_tools.documents import UNDECLARED, declared, parse, parse_leniently, prolog_of, wide_encoding
from headless.protocol_tools.recordings import Piece

_MARK = "planta-message"  # between the messages of a document that holds many
_BATCH = 1024 * 1024  # bytes that are parsed at once
MAX_UNPACKED = 64 * 1024 * 1024  # bytes of messages of one connection


_count_marks: Any = etree.XPath("count(processing-instruction()[name() = $mark])")
_count_elements: Any = etree.XPath("count(*)")
_count_nodes: Any = etree.XPath("count(node())")


@dataclass
class Message:
    """Is one message. `number` is that of the piece of the connection that completed it."""

    number: int
    seconds: float
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
                found.append(Message(number, piece.seconds, piece.sender, text))
                size += len(text)
                if size > MAX_UNPACKED:
                    raise ValueError(f"its messages have more than {MAX_UNPACKED} bytes")
    except ProtocolError as error:
        # What was sent there may prove a password.
        reason = re.sub(r"^.* where ", "something else where ", str(error), flags=re.DOTALL)
        raise ValueError(f"message {len(found) + 1}: {reason}") from None
    return found


def parse_all(messages: Sequence[bytes]) -> list[Element]:
    """Returns the root of each message. Raises ValueError."""
    roots: list[Element] = []
    for batch in _batches(messages):
        at_once = _parse_at_once(batch) if len(batch) > 1 else None
        if at_once is not None:
            roots += at_once
            continue
        for message in batch:
            try:
                roots.append(parse_leniently(message))
            except ValueError as error:
                raise ValueError(f"message {len(roots) + 1}: {error}") from None
    return roots


def _batches(messages: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for number, message in enumerate(messages):
        if size > _BATCH:
            yield messages[start:number]
            start, size = number, 0
        size += len(message)
    if messages:
        yield messages[start:]


def _parse_at_once(messages: Sequence[bytes]) -> list[Element] | None:
    """Returns the same, quickly, for messages that begin alike; None if they do not. Between two messages is a mark: as
    one element is between each two of the marks, no message is part of another."""
    wide = wide_encoding(messages[0])
    encoding = declared(messages[0]) or wide or UNDECLARED
    try:
        prolog = prolog_of(messages[0][:256].decode(wide or encoding, "ignore")).encode(wide or encoding)
        if not all(message.startswith(prolog) for message in messages):
            return None
        mark = f"<?{_MARK}?>".encode(wide or encoding)
        body = mark.join([message[len(prolog) :] for message in messages])
        text = (mark + body).decode(wide or encoding)
        if text.count(_MARK) != len(messages):
            return None
        root = parse(f"<{_MARK}>{text}</{_MARK}>".encode(), UNDECLARED)
    except (ValueError, LookupError):
        return None
    # Each message has at least one node, for none is empty: as there are no others, it has one element.
    counts = (_count_marks(root, mark=_MARK), _count_elements(root), _count_nodes(root))
    return list(root.iterchildren("*")) if counts == (len(messages), len(messages), 2 * len(messages)) else None
