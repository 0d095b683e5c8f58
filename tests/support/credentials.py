"""The password of the tests, its bcrypt hash, and the salt in it."""

from __future__ import annotations

PASSWORD = "correct horse"
# bcrypt of PASSWORD, made once: a hash of cost 12 takes a quarter of a second.
HASH = "$2b$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu"
SALT = HASH[:29]
