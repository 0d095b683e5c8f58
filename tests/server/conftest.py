"""What the tests of the server share: servers in processes of their own, and a home without one."""

from __future__ import annotations

import pytest

from support.homes import R41, make_home
from support.job_server import QuickServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests of a file, which leave it as it is."""
    with QuickServer(tmp_path_factory.mktemp("server") / "home", "--workers", "8") as server:
        yield server


@pytest.fixture
def own_server(tmp_path):
    """A server for one test, which may end it."""
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        yield server


@pytest.fixture
def home(tmp_path):
    """A home with the account R41, and no server."""
    make_home(tmp_path / "home", R41)
    return str(tmp_path / "home")
