"""The password of the tests, its bcrypt hash, the salt in it, and how to make others."""

from __future__ import annotations

import functools

import bcrypt

PASSWORD = "correct horse"
# bcrypt of PASSWORD, made once: a hash of cost 12 takes a quarter of a second.
HASH = "$2b$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu"
SALT = HASH[:29]


@functools.cache
def hash_of(password: str, salt: str) -> bytes:
    return bcrypt.hashpw(password.encode(), salt.encode())
