"""What the service manager is told: that the server is ready, or stops. See sd_notify(3).

Here is how it is told. When, and what, is in commands/serve.py.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

_SECONDS = 1.0  # that a service manager may take to make room for the message


def notify(state: str) -> None:
    """Sends the state, `READY=1` say, to the service manager. Does nothing where there is none, and never raises."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    address = os.fsencode(path)
    if address.startswith(b"@"):  # a name that is not in the file system
        address = b"\0" + address[1:]
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(_SECONDS)
        manager.sendto(state.encode("utf-8"), address)
