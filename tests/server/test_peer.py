"""The owner of the other end of a connection, as the kernel knows it."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import threading

import pytest

from headless.errors import Busy
from headless.server import peer
from support.process import current_user, other_user


def test_loopback_is_this_machine_alone():
    assert all(map(peer.is_loopback, ["127.0.0.1", "127.8.9.10", "::1"]))
    assert not any(map(peer.is_loopback, ["192.0.2.1", "0.0.0.0", "2001:db8::1", "fe80::1%lo"]))


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux knows who owns a connection")


@pytest.fixture(params=["127.0.0.1", "::1"])
def connection(request):
    """A client's socket, its address, and the server's."""
    host = request.param
    try:
        listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        pytest.skip(f"there is no {host} here")
    with listening, socket.create_connection(listening.getsockname()[:2]) as client:
        server, _ = listening.accept()
        with server:
            yield client, client.getsockname()[:2], client.getpeername()[:2]


@pytest.fixture(params=["netlink", "the table"])
def _kernel(request, monkeypatch):
    """The kernel, as it is asked by netlink and by its table."""
    monkeypatch.setattr(peer, "_netlink_answers", threading.Event())
    if request.param == "the table":
        monkeypatch.setattr(peer, "_uid_via_netlink", unanswered)


def unanswered(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


@on_linux
@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("leave", [lambda client: client.close(), lambda client: client.shutdown(socket.SHUT_WR)])
def test_the_kernel_knows_the_owner_until_the_client_closes_or_has_sent_its_last_byte(connection, leave):
    client, theirs, ours = connection
    assert peer.knows_owners()
    assert peer.owner_uid(theirs, ours) == os.geteuid()
    leave(client)
    with pytest.raises(peer.NotConnected):
        peer.owner_uid(theirs, ours)


@on_linux
def test_a_kernel_that_cannot_be_asked_now_is_no_platform_that_never_knows(connection, monkeypatch):
    """A client that uses up all descriptors must not become another user by that."""
    _, theirs, ours = connection
    monkeypatch.setattr(socket, "socket", unanswered)
    monkeypatch.setattr(peer, "open", unanswered, raising=False)
    with pytest.raises(Busy, match="Too many open files"):
        peer.owner_uid(theirs, ours)
    assert not issubclass(peer.NotConnected, peer.OwnerUnknown)
    assert not issubclass(Busy, peer.OwnerUnknown)


@on_linux
def test_the_table_is_not_read_for_a_connection_that_netlink_does_not_know(connection, monkeypatch):
    client, theirs, ours = connection
    monkeypatch.setattr(peer, "_netlink_answers", threading.Event())
    try:
        peer._uid_via_netlink(theirs, ours)
    except OSError:
        pytest.skip("this kernel has the table alone")
    client.close()
    monkeypatch.setattr(peer, "_uid_via_proc_net_tcp", lambda *_: pytest.fail("the table takes long"))
    with pytest.raises(peer.NotConnected):
        peer.owner_uid(theirs, ours)
    with pytest.raises(peer.NotConnected):
        peer.owner_uid(("127.0.0.1", 1), ("127.0.0.1", 2))


# /proc/net/tcp: 20000 listens; a connection from 40000, with its other end; one from 40001 that is being closed.
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 100 1 0 100 0 0 10 0
   1: 0100007F:4E20 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     7        0 101 1 0 20 4 30 10 -1
   2: 0100007F:9C40 0200007F:4E20 01 00000000:00000000 00:00000000 00000000     8        0 102 1 0 20 4 30 10 -1
   3: 0100007F:9C40 0100007F:4E20 01 00000000:00000000 00:00000000 00000000  1001        9 103 1 0 20 4 30 10 -1
   4: 0100007F:9C41 0100007F:4E20 06 00000000:00000000 03:000017A4 00000000     0        0 0 3 0
"""


@on_linux
@pytest.mark.skipif(sys.byteorder != "little", reason="the table above was written by a little-endian machine")
def test_the_owner_is_that_of_the_peers_end_of_an_open_connection(monkeypatch):
    monkeypatch.setattr(peer, "_netlink_answers", threading.Event())
    monkeypatch.setattr(peer, "open", lambda *_, **__: io.StringIO(TABLE), raising=False)
    assert peer.owner_uid(("127.0.0.1", 40000), ("127.0.0.1", 20000)) == 1001
    with pytest.raises(peer.NotConnected):
        peer.owner_uid(("127.0.0.1", 40001), ("127.0.0.1", 20000))


def test_elsewhere_the_owner_is_unknown(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not peer.knows_owners()
    with pytest.raises(peer.OwnerUnknown):
        peer.owner_uid(("127.0.0.1", 1), ("127.0.0.1", 2))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such numbers")
def test_a_number_belongs_to_the_user_of_that_name_alone():
    assert peer.is_user(os.geteuid(), current_user())
    assert not peer.is_user(os.geteuid(), other_user())
    assert not peer.is_user(os.geteuid(), "no-such-user")
