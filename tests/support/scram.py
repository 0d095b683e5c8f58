"""The proofs of a challenge login, once more: from RFC 5802 and PROTOCOL.md, without the package."""

from __future__ import annotations

import base64
import hashlib
import hmac

WRONG_PROOF = base64.b64encode(bytes(32)).decode()


def auth_message(user: str, client_nonce: str, nonce: str, salt: str) -> bytes:
    """What both ends sign."""
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n={name},r={client_nonce},r={nonce},f={salt},c=biws,r={nonce}".encode()


def stored_key(secret: bytes) -> bytes:
    """What the server checks a proof with. The secret is the bcrypt hash."""
    return hashlib.sha256(_sign(secret, b"Client Key")).digest()


def server_key(secret: bytes) -> bytes:
    return _sign(secret, b"Server Key")


def proof(secret: bytes, message: bytes) -> str:
    """What shows the server that the client knows the secret."""
    key, signature = _sign(secret, b"Client Key"), _sign(stored_key(secret), message)
    return base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()


def signature(secret: bytes, message: bytes) -> str:
    """What shows the client that the server knows the secret, too."""
    return base64.b64encode(_sign(server_key(secret), message)).decode()


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
