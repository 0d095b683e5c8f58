"""What several tests of the check start from."""

from __future__ import annotations

import pytest

from support.credentials import HASH


@pytest.fixture
def folder(tmp_path):
    """A folder with a password file, in which everything else of a case is written."""
    secret = tmp_path / "secret"
    secret.write_text(HASH + "\n")
    secret.chmod(0o400)
    return tmp_path
