"""Servers in processes of their own, and a home without one."""

from __future__ import annotations

from contextlib import closing

import pytest

from headless.server.accounts import Account
from support.homes import R41, make_home
from support.job_server import QuickServer
from support.journals import Record
from support.process import current_user


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests of a file, which leave it as it is. The user of the tests has two accounts there."""
    accounts = (Account("R43", current_user(), None),)
    with QuickServer(tmp_path_factory.mktemp("server") / "home", "--workers", "8", accounts=accounts) as server:
        yield server


@pytest.fixture
def own_server(tmp_path):
    """A server for one test, which may end it."""
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        yield server


@pytest.fixture
def home(tmp_path):
    """A home with the account R41, and no server."""
    return make_home(tmp_path / "home", R41)


@pytest.fixture
def home_path(home):
    """The same as text, as a command takes it."""
    return str(home.folder)


@pytest.fixture
def record(home):
    """The journal. Commits each change at once, so that other processes see it."""
    with closing(home.database()) as database:
        database.isolation_level = None
        yield Record(database)


@pytest.fixture
def folder(tmp_path):
    """The folder of a job that no server has started."""
    from support.job_processes import Folder  # not on Windows

    return Folder(tmp_path)


@pytest.fixture
def lock(tmp_path):
    """A lock for such a job."""
    from support.job_processes import Lock

    return Lock(tmp_path / "lock")


@pytest.fixture
def above(tmp_path):
    """The folder above a home, which is `above / "home"`."""
    folder = tmp_path / "above"
    folder.mkdir(mode=0o755)
    make_home(folder / "home", R41)
    return folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """An authority, and the files of a certificate that it has issued for 127.0.0.1."""
    import trustme  # which is slow to import

    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    return authority, str(folder / "cert.pem"), str(folder / "key.pem")
