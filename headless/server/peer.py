"""Who is at the other end of a loopback connection, as the kernel knows it. Only Linux tells."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Optional

_ESTABLISHED = "01"  # a socket in another state may have lost its owner, and be shown as root's


class OwnerUnknown(Exception):
    """This platform does not tell, or the connection is gone."""


def is_loopback(host: str) -> bool:
    """Whether the peer's address is one of this machine alone."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def owner(peer: tuple[str, int], own: tuple[str, int]) -> int:
    """The number of the user whose socket is the peer's end of this connection. Raises OwnerUnknown."""
    if not sys.platform.startswith("linux"):
        raise OwnerUnknown("this platform does not tell who owns a connection")
    table = "/proc/net/tcp6" if ":" in peer[0] else "/proc/net/tcp"
    try:
        with open(table, encoding="ascii") as rows:
            uid = _owner_in(rows, _in_table(peer), _in_table(own))
    except OSError as error:
        raise OwnerUnknown(f"{table} cannot be read: {error.strerror}") from None
    if uid is None:
        raise OwnerUnknown("the connection is not in the kernel's table")
    return uid


def is_user(uid: int, name: str) -> bool:
    """Whether the user of this name has this number."""
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid == uid
    except KeyError:
        return False


def _owner_in(rows: Iterable[str], local: str, remote: str) -> Optional[int]:
    # proc(5), /proc/net/tcp: sl, local_address, rem_address, st, queues, timer, retrnsmt, uid, ...
    for row in rows:
        fields = row.split(maxsplit=8)
        if fields[1:4] == [local, remote, _ESTABLISHED]:
            return int(fields[7])
    return None


def _in_table(address: tuple[str, int]) -> str:
    """The address as the table writes it: words of four bytes, each as a number of this machine, in hexadecimal."""
    host, port = address
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
