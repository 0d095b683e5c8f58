"""Decides which values of a recording are shown: none that could prove a password."""

from __future__ import annotations

import re

from headless.dialects.bcrypt_hash import is_like_hash
from headless.dialects.display import HIDDEN
from headless.dialects.display import is_secret as is_name_of_secret
from headless.protocol_tools.trees import local

_LEAST = 16  # characters of what looks like a secret
_DIGITS = 3  # in it
_CHANGES = 0.33  # of its letters are followed by one of the other case
# Headers of HTTP that hold what proves who somebody is.
SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "set-cookie")


def is_secret(name: str, value: str) -> bool:
    """Returns whether the value of an attribute or element of this name must not be shown. What looks random is not
    either: it may be a proof that is the same each time."""
    if is_name_of_secret(local(name)) or is_like_hash(value):
        return True
    return any(map(_is_random, re.split(r"[\s:;,|]+", value)))


def _is_random(word: str) -> bool:
    if len(word) < _LEAST or not re.fullmatch(r"[A-Za-z0-9+/=_.$-]+", word):
        return False
    is_of_words = re.fullmatch(r"(?:[A-Za-z]{3,}[0-9]{0,4}[./_-]?)+", word) is not None
    changes = sum((a.islower() and b.isupper()) or (a.isupper() and b.islower()) for a, b in zip(word, word[1:]))
    return changes > len(word) * _CHANGES or (not is_of_words and sum(each.isdigit() for each in word) >= _DIGITS)


def shown(name: str, value: str) -> str:
    return HIDDEN if is_secret(name, value) else value
