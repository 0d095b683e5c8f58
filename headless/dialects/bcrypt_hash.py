"""Checks bcrypt hashes, salts and passwords. It hashes nothing."""

from __future__ import annotations

SALT_LENGTH = 29
RANDOM_BYTES = 16 + 23  # of salt and digest together
MIN_COST, MAX_COST = 10, 15
MAX_PASSWORD_LENGTH = 72  # bytes

_BASE64_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# bcrypt writes 16 bytes of salt as 22 characters and 23 bytes of digest as 31. The last character of each has bits to
# spare, which are zero in what a bcrypt library writes.
_LAST_OF_SALT = ".Oeu"
_LAST_OF_DIGEST = ".CGKOSWaeimquy26"
_DIGEST_LENGTH = 31
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SAVE_AS = "save it as ASCII (in Notepad as ANSI, in PowerShell with -Encoding ascii)"


def is_hash(text: str) -> bool:
    """Returns whether the text is one complete bcrypt hash, as a bcrypt library writes it."""
    digest = text[SALT_LENGTH:]
    return _is_salt(text[:SALT_LENGTH]) and len(digest) == _DIGEST_LENGTH and _is_encoded(digest, _LAST_OF_DIGEST)


def is_like_hash(text: str) -> bool:
    """Returns whether the text contains a hash, whole or nearly so, which belongs into a password file alone."""
    import re  # which nearly every call has loaded

    return bool(re.search(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{8}", text))


class WrongEncoding(ValueError):
    """Means that a file that may hold a hash was not saved as ASCII."""


def hash_in(content: bytes) -> bytes:
    """Returns the hash in the content of a password file. Raises ValueError, with the end of a sentence about the file
    that does not show what it holds; WrongEncoding if it is enough to save the file in another way."""
    hash_ = content.strip()
    if hash_.startswith(_BYTE_ORDER_MARKS):
        raise WrongEncoding(f"begins with a byte order mark (BOM), which an editor has put there: {_SAVE_AS}")
    if b"\0" in hash_ and is_hash(hash_.replace(b"\0", b"").strip().decode("ascii", "replace")):
        if any(hash_[::2]) and any(hash_[1::2]):
            raise ValueError("holds NUL bytes besides the hash")
        raise WrongEncoding(f"is text in UTF-16: {_SAVE_AS}")
    if not is_hash(hash_.decode("ascii", "replace")):
        raise ValueError("does not hold one bcrypt hash ($2a$, $2b$ or $2y$, 60 characters) and nothing else")
    try:
        check_salt(salt_of(hash_))
    except ValueError as error:
        raise ValueError(f"holds a hash that cannot be used: {error}") from None
    return hash_


def salt_of(hash_: bytes) -> str:
    """Returns algorithm, cost and salt of a bcrypt hash."""
    return hash_[:SALT_LENGTH].decode("ascii")


def check_salt(salt: str) -> None:
    """Raises ValueError for a salt that is malformed, or whose cost lies outside MIN_COST to MAX_COST."""
    if not _is_salt(salt):
        raise ValueError("the salt is not a bcrypt salt")
    cost = int(salt[4:6])
    if not MIN_COST <= cost <= MAX_COST:
        raise ValueError(f"the salt has a cost of {cost}, {MIN_COST} to {MAX_COST} are allowed")


def salt_from(random: bytes, cost: int) -> str:
    """Returns the salt that 16 random bytes make."""
    return f"$2b${cost:02d}$" + _encode(random)


def hash_from(random: bytes, cost: int) -> str:
    """Returns what looks like a hash, from RANDOM_BYTES random bytes: a secret that no password leads to."""
    return salt_from(random[:16], cost) + _encode(random[16:])


def password_bytes(password: str) -> bytes:
    """Returns what bcrypt gets: NFC-normalised UTF-8, so that every way to type a password gives one hash. Raises
    ValueError, with a text that does not show it, for a password that bcrypt would not read to its end."""
    import unicodedata  # most logins begin with a hash

    try:
        data = unicodedata.normalize("NFC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the password is not text in UTF-8") from None
    if not 1 <= len(data) <= MAX_PASSWORD_LENGTH:
        raise ValueError(f"the password has {len(data)} bytes, 1 to {MAX_PASSWORD_LENGTH} are allowed")
    if 0 in data:
        raise ValueError("the password has a NUL character, which is not allowed")
    return data


def _encode(data: bytes) -> str:
    from base64 import b64encode  # the client needs no salt of its own

    letters = b64encode(data).decode("ascii").rstrip("=")
    return letters.translate(str.maketrans(_BASE64_ALPHABET, _BCRYPT_ALPHABET))


def _is_salt(text: str) -> bool:
    """Returns whether it is `$2b$`, two digits of cost, `$`, and the encoded salt; `$2a$` and `$2y$` are older
    names."""
    algorithm, cost, encoded = text[:4], text[4:6], text[7:]
    is_headed = algorithm in ("$2a$", "$2b$", "$2y$") and cost.isascii() and cost.isdigit() and text[6:7] == "$"
    return is_headed and len(text) == SALT_LENGTH and _is_encoded(encoded, _LAST_OF_SALT)


def _is_encoded(text: str, allowed_last: str) -> bool:
    return not text.strip(_BCRYPT_ALPHABET) and text[-1] in allowed_last
