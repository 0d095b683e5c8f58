"""The two logins as pure functions: randomness comes in as arguments, nothing is kept.

The challenge login is SCRAM (RFC 5802) with SHA-256 (RFC 7677), the 60 ASCII bytes of the bcrypt hash in the place of
SaltedPassword. What is said when is in conversation.py, where the password file lies in secret.py.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from contextlib import redirect_stderr
from functools import cache
from typing import Any, NamedTuple

from headless.outcome import ProtocolError

NONCE_BYTES = 24
NONCE_LENGTH_MIN = 24  # characters of randomness from each side
COST_MIN, COST_MAX = 10, 15
SALT_LENGTH = 29
PASSWORD_BYTES_MAX = 72

# bcrypt writes 16 bytes of salt as 22 characters and 23 bytes of digest as 31, in an alphabet of its own. The last
# character of each has bits to spare, which are zero in what a bcrypt library writes.
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_BASE64_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SALT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu]")
_DIGEST = re.compile(r"[./A-Za-z0-9]{30}[.CGKOSWaeimquy26]")
_NONCE = re.compile(r"[!-+\--~]+")  # RFC 5802, section 7: printable


class Keys(NamedTuple):
    """What a server keeps of a password: enough to check a proof and to prove itself, not enough to log in."""

    salt: str
    stored_key: bytes
    server_key: bytes


def password_bytes(password: str) -> bytes:
    """What bcrypt gets: NFC-normalised UTF-8, so that every way to type a password gives one hash. Raises ValueError,
    with a text that does not show it, for a password that bcrypt would not look at as a whole."""
    import unicodedata  # most logins begin with a hash

    try:
        data = unicodedata.normalize("NFC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the password is not text in UTF-8") from None
    if not 1 <= len(data) <= PASSWORD_BYTES_MAX:
        raise ValueError(f"the password has {len(data)} bytes, 1 to {PASSWORD_BYTES_MAX} are allowed")
    if 0 in data:
        raise ValueError("the password has a NUL character, which is not allowed")
    return data


def new_nonce(random: bytes) -> str:
    """A nonce, or one side's part of it, from NONCE_BYTES random bytes."""
    return b64encode(random).decode("ascii")


def check_client_nonce(nonce: str) -> None:
    """Raises ProtocolError for a nonce that no login may begin with."""
    if not _NONCE.fullmatch(nonce) or len(nonce) < NONCE_LENGTH_MIN:
        raise ProtocolError(f"the client's nonce is not {NONCE_LENGTH_MIN} or more printable characters without comma")


def check_server_nonce(nonce: str, client_nonce: str) -> None:
    """Raises ProtocolError unless the nonce is the client's, followed by enough of the server's own."""
    own = nonce[len(client_nonce) :]
    if not nonce.startswith(client_nonce) or not _NONCE.fullmatch(own) or len(own) < NONCE_LENGTH_MIN:
        raise ProtocolError("the server's nonce does not continue the client's as it must")


def check_salt(salt: str) -> None:
    """Raises ProtocolError for a salt that is malformed, or whose cost lies outside COST_MIN to COST_MAX."""
    match = _SALT.fullmatch(salt)
    if match is None:
        raise ProtocolError("the salt is not a bcrypt salt")
    if not COST_MIN <= int(match[1]) <= COST_MAX:
        raise ProtocolError(f"the salt has a cost of {int(match[1])}, {COST_MIN} to {COST_MAX} are allowed")


def is_hash(text: str) -> bool:
    """Whether the text is one complete bcrypt hash, as a bcrypt library writes it."""
    return bool(_SALT.fullmatch(text[:SALT_LENGTH]) and _DIGEST.fullmatch(text[SALT_LENGTH:]))


def salt_of(secret: bytes) -> str:
    """Algorithm, cost and salt of a bcrypt hash."""
    return secret[:SALT_LENGTH].decode("ascii")


def made_up_salt(key: bytes, user: str, cost: int) -> str:
    """The salt for a user that does not exist: always the same, and of the same looks as a real one."""
    random = _hmac(key, user.encode("utf-8"))[:16]
    to_bcrypt = str.maketrans(_BASE64_ALPHABET, _BCRYPT_ALPHABET)
    return f"$2b${cost:02d}$" + b64encode(random).decode("ascii").rstrip("=").translate(to_bcrypt)


def auth_message(user: str, client_nonce: str, nonce: str, salt: str) -> bytes:
    """AuthMessage (RFC 5802, section 3), with `f=`salt where SCRAM has its own salt and iteration count."""
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n={name},r={client_nonce},r={nonce},f={salt},c=biws,r={nonce}".encode()


def keys_from(secret: bytes) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey for a SaltedPassword (RFC 5802, section 3)."""
    return _sha256(_hmac(secret, b"Client Key")), _hmac(secret, b"Server Key")


def client_proof(secret: bytes, message: bytes) -> str:
    """ClientProof for an AuthMessage, in base64 (RFC 5802, section 3)."""
    client_key = _hmac(secret, b"Client Key")
    return _base64(_xor(client_key, _hmac(_sha256(client_key), message)))


def server_signature(server_key: bytes, message: bytes) -> str:
    """ServerSignature for an AuthMessage, in base64 (RFC 5802, section 3)."""
    return _base64(_hmac(server_key, message))


def proof_is_right(stored_key: bytes, message: bytes, proof: str) -> bool:
    """Whether whoever made the proof has the ClientKey behind this StoredKey (RFC 5802, section 3)."""
    try:
        given = b64decode(proof.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        given = b""
    client_key = _xor(given, _hmac(stored_key, message))
    is_exact = len(given) == len(stored_key) and _base64(given) == proof
    return _are_equal(_sha256(client_key), stored_key) and is_exact


def signature_is_right(secret: bytes, message: bytes, signature: str) -> bool:
    """Whether whoever made the signature has the ServerKey of this SaltedPassword (RFC 5802, section 3)."""
    _, server_key = keys_from(secret)
    right = server_signature(server_key, message).encode("ascii")
    return _are_equal(right, signature.encode("utf-8", "replace"))


def _hmac(key: bytes, message: bytes) -> bytes:
    hashlib, hmac = _libraries()
    digest: bytes = hmac.new(key, message, hashlib.sha256).digest()
    return digest


def _sha256(data: bytes) -> bytes:
    hashlib, _ = _libraries()
    digest: bytes = hashlib.sha256(data).digest()
    return digest


def _are_equal(a: bytes, b: bytes) -> bool:
    """In the same time, wherever they differ."""
    _, hmac = _libraries()
    return bool(hmac.compare_digest(a, b))


@cache
def _libraries() -> tuple[Any, Any]:
    """hashlib and hmac. Imported when a hash is needed, as osuser needs none, and without a word: where one of its many
    algorithms cannot be loaded, hashlib logs a traceback for each of them."""
    with redirect_stderr(None):
        import hashlib
        import hmac
    return hashlib, hmac


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b))


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
