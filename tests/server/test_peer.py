"""Who owns the other end of a connection, as the kernel knows it."""

from __future__ import annotations

import io
import os
import socket
import sys

import pytest

from headless.server import peer
from support.process import current_user, other_user


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("0.0.0.0", False),
        ("2001:db8::1", False),
        ("fe80::1%lo", False),
    ],
)
def test_loopback_is_this_machine_alone(host, is_loopback):
    assert peer.is_loopback(host) == is_loopback


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who owns a connection")


@on_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_knows_the_owner_as_long_as_the_connection_is_there(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"there is no {host} here")
    with listening, socket.create_connection(listening.getsockname()[:2]) as client:
        theirs, ours = client.getsockname()[:2], client.getpeername()[:2]
        assert peer.owner_uid(theirs, ours) == os.geteuid()
        client.close()
        with pytest.raises(peer.OwnerUnknown):
            peer.owner_uid(theirs, ours)


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
    monkeypatch.setattr(peer, "open", lambda *_, **__: io.StringIO(TABLE), raising=False)
    assert peer.owner_uid(("127.0.0.1", 40000), ("127.0.0.1", 20000)) == 1001
    with pytest.raises(peer.OwnerUnknown):
        peer.owner_uid(("127.0.0.1", 40001), ("127.0.0.1", 20000))


def test_elsewhere_the_owner_is_unknown(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(peer.OwnerUnknown):
        peer.owner_uid(("127.0.0.1", 1), ("127.0.0.1", 2))


def test_a_number_belongs_to_the_user_of_that_name_alone():
    assert peer.is_user(os.geteuid(), current_user())
    assert not peer.is_user(os.geteuid(), other_user())
    assert not peer.is_user(os.geteuid(), "nobody-has-this-name")
