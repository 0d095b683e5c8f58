"""What a client may take for a good end, from PROTOCOL.md alone. This shares no code with the package, and no parser.

The client's side is known: it sends literal_messages.CLIENT_MESSAGES, as user R41 with credentials.HASH. What it
receives is bytes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from support import scram

_DECLARATION = re.compile(
    rb"""<\?xml\s+version=["']1\.0["'](\s+encoding=["']utf-8["'])?(\s+standalone=["'](yes|no)["'])?\s*\?>""", re.I
)
_CDATA = re.compile(rb"<!\[CDATA\[.*?\]\]>", re.DOTALL)
_OWN_NONCE = re.compile(r"[!-+\--~]{24,}")  # each side's part
_SALT = re.compile(r"\$2[aby]\$1[0-5]\$[./A-Za-z0-9]{21}[.Oeu]")
_STREAMS = ("stdout", "stderr")


def documents_of(data: bytes) -> list[bytes] | None:
    """The payloads of these frames; None if they are not whole, or of a length that is never allowed."""
    documents = []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length or not 0 < length <= 1 << 20:
            return None
        documents.append(data[4 : 4 + length])
        data = data[4 + length :]
    return documents


def split_at_last_frame(data: bytes) -> tuple[bytes, bytes]:
    """The whole frames, and the beginning of another: a message is there once the last byte of it is."""
    end = 0
    while end + 4 <= len(data) and end + 4 + int.from_bytes(data[end : end + 4], "big") <= len(data):
        end += 4 + int.from_bytes(data[end : end + 4], "big")
    return data[:end], data[end:]


def parsed(document: bytes) -> ET.Element | None:
    """The root of a plain document; None for any other."""
    markup = _CDATA.sub(b"", _DECLARATION.sub(b"", document, count=1))
    if any(banned in markup for banned in (b"<!", b"<?", b"\0")) or document.startswith(b"\xef\xbb\xbf"):
        return None
    try:
        document.decode("utf-8")
        root = ET.fromstring(document)
    except (UnicodeDecodeError, ET.ParseError):
        return None
    names = [name for element in root.iter() for name in (element.tag, *element.attrib)]
    return root if all(re.fullmatch("[a-z_]{1,32}", name) for name in names) and b"xmlns" not in markup else None


# Of each message that belongs to a transcript: its attributes, those of them that matter, and whether it has a text.
_MESSAGES: dict[str, tuple[set[str], list[str], bool]] = {
    "accepted": (set(), [], False),
    "alive": (set(), [], False),
    "started": ({"job"}, ["job"], False),
    "output": ({"job", "stream"}, ["job"], True),
    "finished": ({"job", "status"}, ["job", "status"], True),
    "ended": ({"status"}, ["status"], False),
}


def label_of(document: bytes) -> str:
    """Which message this is, with the values that matter: "finished:1:ok". "?" for everything that is no part of a
    transcript with a good end."""
    root = parsed(document)
    if root is None or len(root) or root.tag not in _MESSAGES:
        return "?"
    attributes, decisive, has_text = _MESSAGES[root.tag]
    is_known = set(root.attrib) == attributes and root.get("stream", "stdout") in _STREAMS
    return (
        ":".join([root.tag, *(root.attrib.get(name, "") for name in decisive)])
        if is_known and (has_text or not root.text)
        else "?"
    )


def is_welcome(document: bytes, signature: str | None) -> bool:
    """Whether this lets the client in, with this signature (None: with none)."""
    root = parsed(document)
    if root is None or root.tag != "welcome" or len(root) or root.text or len(document) > 4096:
        return False
    value = dict(root.attrib)
    return (
        1 <= len(value.pop("session", "")) <= 256
        and re.fullmatch("[1-9][0-9]{0,8}", value.pop("heartbeat", "1")) is not None
        and value.pop("signature", None) == signature
        and 1 <= len(value.pop("journal", "9ae1")) <= 256
        and not value
    )


def signature_for(document: bytes, client_nonce: str, secret: str) -> str | None:
    """What the server has to sign with if its challenge is this one; None if that is no challenge to answer."""
    root = parsed(document)
    if root is None or root.tag != "challenge" or len(root) or root.text or len(document) > 4096:
        return None
    nonce, salt = root.get("nonce", ""), root.get("salt", "")
    own = nonce[len(client_nonce) :]
    is_right = (
        nonce.startswith(client_nonce) and _OWN_NONCE.fullmatch(own) and len(nonce) <= 512 and _SALT.fullmatch(salt)
    )
    if not is_right or set(root.attrib) != {"nonce", "salt"}:
        return None
    return scram.signature(secret.encode(), scram.auth_message("R41", client_nonce, nonce, salt))


def is_a_good_transcript(labels: Sequence[str], jobs: int) -> bool:
    """Whether these messages, all that came after the session was submitted, prove that its jobs have ended well."""
    each = (f"started:{job} ((output:{job}|alive) )*finished:{job}:ok (alive )*" for job in range(1, jobs + 1))
    return re.fullmatch("(alive )*accepted (alive )*" + "".join(each) + "ended:ok", " ".join(labels)) is not None


def is_a_good_end(answers: Sequence[bytes], jobs: int, client_nonce: str = "", secret: str = "") -> bool:
    """Whether the answers to all that the client has sent prove a good end: to its login, to its response if it has a
    `secret` and so asks for a challenge, and to its session."""
    received = [documents_of(answer) or [] for answer in answers]
    if len(received) != (3 if secret else 2) or not all(received):
        return False
    *challenge, let_in, transcript = received
    signature = signature_for(challenge[0][0], client_nonce, secret) if secret else None
    if secret and (len(challenge[0]) != 1 or signature is None):
        return False
    return (
        is_welcome(let_in[0], signature)
        and all(label_of(document) == "alive" for document in let_in[1:])
        and is_a_good_transcript([label_of(document) for document in transcript], jobs)
    )
