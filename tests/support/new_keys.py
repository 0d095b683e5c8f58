"""What is stored of a password, whom that lets in, and password files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from headless.dialects import bcrypt_hash
from headless.dialects.own import scram
from headless.server import accounts
from headless.server.accounts import Accounts
from headless.server.home import Home
from support.credentials import HASH

OTHER_HASH = b"$2b$10$abcdefghijklmnopqrstuu3OXnChv9rsS38y2T8H/NPI6EHTr4uGS"  # of another password


def make_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """New salts have the lowest cost there is."""
    monkeypatch.setattr(accounts, "COST", 4)
    monkeypatch.setattr(bcrypt_hash, "MIN_COST", 4)


def keys_of(home: str, user: str) -> scram.Keys | None:
    with closing(Home(home).database()) as database:
        account = Accounts(database).of_user(user)
    assert account is not None
    return account.keys


def lets_in(keys: scram.Keys | None, secret: bytes) -> bool:
    """Whether the server would believe, with these keys, whoever has this hash."""
    assert keys is not None
    return scram.proof_is_right(keys.stored_key, b"message", scram.client_proof(secret, b"message"))


def secret_file_in(folder: Path, content: str | bytes = HASH + "\n", mode: int = 0o400, name: str = "secret") -> str:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return str(path)
