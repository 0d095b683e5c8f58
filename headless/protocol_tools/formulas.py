"""Describes how a proof of a password may be computed: a small tree, that can be evaluated, and written as Python."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Optional

from headless.protocol_tools.trees import Path

ALGORITHMS = ("md5", "sha1", "sha256", "sha512", "sha224", "sha384")
MAX_BCRYPT = 72  # bytes that bcrypt reads

Key = tuple[str, Path, str]  # who has said a value, path, and attribute or ""


@dataclass(frozen=True)
class Known:
    """Holds what is known when a proof is made. `values` are the last ones that were said at each place."""

    hash_: bytes
    user: str
    values: Mapping[Key, str]


class Formula:
    """Is the base of all parts. `evaluate` raises ValueError where something is missing, or of a wrong form."""

    def evaluate(self, known: Known) -> bytes:
        raise NotImplementedError

    def code(self, names: Mapping[Key, str]) -> str:
        """Returns an expression for bytes. `names` are the expressions of the values, which are texts."""
        raise NotImplementedError


# Forms of a text, and of bytes: the name, what makes it, and the expression that does.
TEXT_FORMS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "as it is": (lambda text: text.encode(), "{}.encode()"),
    "lower case": (lambda text: text.lower().encode(), "{}.lower().encode()"),
    "upper case": (lambda text: text.upper().encode(), "{}.upper().encode()"),
    "unhexed": (lambda text: bytes.fromhex(_compact(text)), "bytes.fromhex({})"),
    "base64 decoded": (lambda text: base64.b64decode(_compact(text), validate=True), "base64.b64decode({})"),
}
BYTE_FORMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "raw": (lambda data: data, "{}"),
    "hex": (lambda data: data.hex().encode(), "{}.hex().encode()"),
    "HEX": (lambda data: data.hex().upper().encode(), "{}.hex().upper().encode()"),
    "base64": (base64.b64encode, "base64.b64encode({})"),
    "base64 without =": (lambda data: base64.b64encode(data).rstrip(b"="), 'base64.b64encode({}).rstrip(b"=")'),
    "base64 for URLs": (base64.urlsafe_b64encode, "base64.urlsafe_b64encode({})"),
}


def _compact(text: str) -> str:
    if not text or any(each.isspace() for each in text):
        raise ValueError("white space")
    return text


@dataclass(frozen=True)
class Hash(Formula):
    """Is the bcrypt hash from `start` on: as a whole, without the cost, or without the salt."""

    start: int = 0

    def evaluate(self, known: Known) -> bytes:
        return known.hash_[self.start :]

    def code(self, names: Mapping[Key, str]) -> str:  # noqa: ARG002
        return f"hash_[{self.start}:]" if self.start else "hash_"


@dataclass(frozen=True)
class Said(Formula):
    """Is a value that was said before, or with the key None the user, in a form."""

    key: Optional[Key]
    form: str = "as it is"

    def evaluate(self, known: Known) -> bytes:
        text = known.user if self.key is None else known.values.get(self.key)
        if text is None:
            raise ValueError("nothing was said there")
        try:
            return TEXT_FORMS[self.form][0](text)
        except binascii.Error as error:
            raise ValueError(str(error)) from None

    def code(self, names: Mapping[Key, str]) -> str:
        return TEXT_FORMS[self.form][1].format("self.call.user" if self.key is None else names[self.key])


@dataclass(frozen=True)
class Digest(Formula):
    algorithm: str
    of: Formula

    def evaluate(self, known: Known) -> bytes:
        return hashlib.new(self.algorithm, self.of.evaluate(known)).digest()

    def code(self, names: Mapping[Key, str]) -> str:
        return f"hashlib.{self.algorithm}({self.of.code(names)}).digest()"


@dataclass(frozen=True)
class Hmac(Formula):
    algorithm: str
    key: Formula
    message: Formula

    def evaluate(self, known: Known) -> bytes:
        return hmac.digest(self.key.evaluate(known), self.message.evaluate(known), self.algorithm)

    def code(self, names: Mapping[Key, str]) -> str:
        return f"hmac.new({self.key.code(names)}, {self.message.code(names)}, hashlib.{self.algorithm}).digest()"


@dataclass(frozen=True)
class Formed(Formula):
    """Is bytes in a form of text."""

    form: str
    of: Formula

    def evaluate(self, known: Known) -> bytes:
        return BYTE_FORMS[self.form][0](self.of.evaluate(known))

    def code(self, names: Mapping[Key, str]) -> str:
        return BYTE_FORMS[self.form][1].format(self.of.code(names)).replace(".digest().hex()", ".hexdigest()")


@dataclass(frozen=True)
class Joined(Formula):
    separator: bytes
    parts: tuple[Formula, ...]

    def evaluate(self, known: Known) -> bytes:
        return self.separator.join(part.evaluate(known) for part in self.parts)

    def code(self, names: Mapping[Key, str]) -> str:
        parts = [part.code(names) for part in self.parts]
        return "(" + (f" + {self.separator!r} + " if self.separator else " + ").join(parts) + ")"


@dataclass(frozen=True)
class Xor(Formula):
    one: Formula
    other: Formula

    def evaluate(self, known: Known) -> bytes:
        return xor(self.one.evaluate(known), self.other.evaluate(known))

    def code(self, names: Mapping[Key, str]) -> str:
        return f"bytes(a ^ b for a, b in zip({self.one.code(names)}, {self.other.code(names)}))"


@dataclass(frozen=True)
class Bcrypt(Formula):
    """Is the bcrypt hash of something with a salt that was said, from `start` on."""

    of: Formula
    salt: Said
    start: int = 0

    def evaluate(self, known: Known) -> bytes:
        return bcrypt_of(self.of.evaluate(known), self.salt.evaluate(known))[self.start :]

    def code(self, names: Mapping[Key, str]) -> str:
        end = f"[{self.start}:]" if self.start else ""
        return f"bcrypt.hashpw({self.of.code(names)}[:{MAX_BCRYPT}], {self.salt.code(names)}){end}"


def xor(one: bytes, other: bytes) -> bytes:
    """Raises ValueError if they have not the same length."""
    if len(one) != len(other):
        raise ValueError("different lengths")
    return bytes(a ^ b for a, b in zip(one, other))


@cache
def bcrypt_of(data: bytes, salt: bytes) -> bytes:
    """Raises ValueError for what is no salt, or has a NUL."""
    import bcrypt

    return bcrypt.hashpw(data[:MAX_BCRYPT], salt[:29])
