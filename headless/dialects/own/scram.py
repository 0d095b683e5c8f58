"""Computes the challenge login. All functions are pure: randomness is an argument.

It is SCRAM (RFC 5802) with SHA-256 (RFC 7677); the 60 ASCII bytes of the bcrypt hash take the place of SaltedPassword.
"""

from __future__ import annotations

import binascii
from contextlib import redirect_stderr

from headless.dialects.vocabulary import Value
from headless.errors import RemoteProtocolError

with redirect_stderr(None):  # hashlib logs a traceback for each algorithm that cannot be loaded
    import hashlib
    import hmac

NONCE_BYTES = 24
MIN_NONCE_LENGTH = 24  # characters of randomness from each side


class Keys(Value):
    """Is what a server keeps of a password: enough to check a proof and to prove itself, not enough to log in."""

    salt: str
    stored_key: bytes
    server_key: bytes


def new_nonce(random: bytes) -> str:
    """Returns one side's part of the nonce, from NONCE_BYTES random bytes."""
    return _base64(random)


def check_client_nonce(nonce: str) -> None:
    """Raises RemoteProtocolError for a nonce that no login may begin with."""
    if not _is_printable(nonce) or len(nonce) < MIN_NONCE_LENGTH:
        raise RemoteProtocolError(
            f"the client's nonce is not {MIN_NONCE_LENGTH} or more printable characters without comma"
        )


def check_server_nonce(nonce: str, client_nonce: str) -> None:
    """Raises RemoteProtocolError unless the nonce is the client's, followed by enough of the server's own."""
    part = nonce[len(client_nonce) :]
    if not nonce.startswith(client_nonce) or not _is_printable(part) or len(part) < MIN_NONCE_LENGTH:
        raise RemoteProtocolError("the server's nonce does not continue the client's as it must")


def auth_message(user: str, client_nonce: str, nonce: str, salt: str) -> bytes:
    """Returns AuthMessage (RFC 5802, section 3), with `f=`salt where SCRAM has its own salt and iteration count."""
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n={name},r={client_nonce},r={nonce},f={salt},c=biws,r={nonce}".encode()


def keys_from(secret: bytes) -> tuple[bytes, bytes]:
    """Returns StoredKey and ServerKey for a SaltedPassword (RFC 5802, section 3)."""
    return _sha256(_hmac(secret, b"Client Key")), _hmac(secret, b"Server Key")


def client_proof(secret: bytes, message: bytes) -> str:
    """Returns ClientProof for an AuthMessage, in base64 (RFC 5802, section 3)."""
    client_key = _hmac(secret, b"Client Key")
    return _base64(_xor(client_key, _hmac(_sha256(client_key), message)))


def server_signature(server_key: bytes, message: bytes) -> str:
    """Returns ServerSignature for an AuthMessage, in base64 (RFC 5802, section 3)."""
    return _base64(_hmac(server_key, message))


def proof_is_right(stored_key: bytes, message: bytes, proof: str) -> bool:
    """Returns whether the proof was made with the ClientKey of this StoredKey (RFC 5802, section 3)."""
    try:
        given = binascii.a2b_base64(proof.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        given = b""
    client_key = _xor(given, _hmac(stored_key, message))
    is_exact = len(given) == len(stored_key) and _base64(given) == proof  # base64 has other ways to write it
    return hmac.compare_digest(_sha256(client_key), stored_key) and is_exact


def signature_is_right(secret: bytes, message: bytes, signature: str) -> bool:
    """Returns whether the signature was made with the ServerKey of this SaltedPassword (RFC 5802, section 3)."""
    _, server_key = keys_from(secret)
    right = server_signature(server_key, message).encode("ascii")
    return hmac.compare_digest(right, signature.encode("utf-8", "replace"))


def _is_printable(nonce: str) -> bool:
    """Returns whether it is printable ASCII without space and comma (RFC 5802, section 7)."""
    return nonce.isascii() and nonce.isprintable() and " " not in nonce and "," not in nonce


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b))


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
