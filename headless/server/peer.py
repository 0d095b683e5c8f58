"""Which user owns the other end of a loopback connection. The kernel of Linux knows: it is asked by netlink, or by the
table in /proc."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
import threading
from collections.abc import Iterable

from headless import system
from headless.errors import Busy, HeadlessError

_IS_CLOSED = "the client has closed the connection, so the kernel does not know who owns it"
_ESTABLISHED = "01"  # a socket in another state may have lost its owner, and be shown as root's

# netlink(7), sock_diag(7)
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER_BYTES = 16
_NO_COOKIE = b"\xff" * 8
_SOCKET_ID = struct.Struct("!HH16s16sI8s")
# Set once netlink has shown a connection. From then on "no such socket" means just that, and not that the kernel was
# built without the part that looks for it.
_netlink_answers = threading.Event()


class OwnerUnknown(HeadlessError):
    """Means that this platform never knows the owner of a connection."""


class NotConnected(HeadlessError):
    """Means that the kernel does not know the owner of this connection: the peer's end is closed, or being closed."""


def is_loopback(host: str) -> bool:
    """Returns whether the peer's address is one of this machine alone."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def knows_owners() -> bool:
    """Returns whether this platform knows who owns a connection."""
    return sys.platform.startswith("linux")


def owner_uid(peer: tuple[str, int], local: tuple[str, int]) -> int:
    """Returns the uid of the user whose socket is the peer's end of this connection, for the addresses of both ends as
    this end sees them. Raises OwnerUnknown, NotConnected, Busy."""
    if not knows_owners():
        raise OwnerUnknown("this platform does not know who owns a connection")
    try:
        return _uid_via_netlink(peer, local)
    except OSError:  # not every kernel answers, and the table takes longer the more connections there are
        return _uid_via_proc_net_tcp(peer, local)


def is_user(uid: int, name: str) -> bool:
    """Returns whether the user of this name has this uid, by the name service, which may take long. Not on Windows.
    Raises Busy if it does not answer."""
    try:
        user = system.user_by_name(name)
    except OSError as error:
        raise Busy(str(error.strerror)) from None
    return user is not None and user.pw_uid == uid


def _uid_via_netlink(peer: tuple[str, int], local: tuple[str, int]) -> int:
    """Asks the kernel for this one socket: sock_diag(7), inet_diag_req_v2 and inet_diag_msg.

    Raises NotConnected, and OSError if the kernel gives no answer of that kind.
    """
    family, source = _packed(peer)
    _, destination = _packed(local)
    socket_id = _SOCKET_ID.pack(peer[1], local[1], source, destination, 0, _NO_COOKIE)
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + socket_id
    header = struct.pack("=IHHII", _HEADER_BYTES + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)  # it answers at once, or never
        kernel.sendto(header + request, (0, 0))
        answer = kernel.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind != _SOCK_DIAG_BY_FAMILY and not _netlink_answers.is_set():
        raise OSError("no such socket, or no such service")
    if kind != _SOCK_DIAG_BY_FAMILY or answer[_HEADER_BYTES + 1] != int(_ESTABLISHED, 16):
        raise NotConnected(_IS_CLOSED)
    _netlink_answers.set()
    (uid,) = struct.unpack_from("=I", answer, _HEADER_BYTES + 4 + _SOCKET_ID.size + 12)
    return int(uid)


def _uid_via_proc_net_tcp(peer: tuple[str, int], local: tuple[str, int]) -> int:
    """Looks for the socket in the kernel's table of all connections. Raises NotConnected, Busy."""
    table = "/proc/net/tcp6" if ":" in peer[0] else "/proc/net/tcp"
    try:
        with open(table, encoding="ascii") as rows:
            uid = _uid_in(rows, _proc_format(peer), _proc_format(local))
    except OSError as error:
        raise Busy(f"the kernel cannot be asked who owns the connection: {table}: {error.strerror}") from None
    if uid is None:
        raise NotConnected(_IS_CLOSED)
    return uid


def _uid_in(rows: Iterable[str], local: str, remote: str) -> int | None:
    # proc(5), /proc/net/tcp: sl, local_address, rem_address, st, queues, timer, retrnsmt, uid, ...
    for row in rows:
        fields = row.split(maxsplit=8)
        if fields[1:4] == [local, remote, _ESTABLISHED]:
            return int(fields[7])
    return None


def _proc_format(address: tuple[str, int]) -> str:
    """Returns the address as the table has it: words of four bytes, each a number of this machine, in hexadecimal."""
    _, packed = _packed(address)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


def _packed(address: tuple[str, int]) -> tuple[int, bytes]:
    """Returns the family and the bytes of an address."""
    host = address[0].partition("%")[0]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.inet_pton(family, host)
