"""The settings of a server: what can be chosen, and what it is if nothing is. No rule that uses them is here.

How they come from a command line is in commands/serve.py.
"""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple

LOGIN_SECONDS = 10.0
HEARTBEAT_SECONDS = 30


class Settings(NamedTuple):
    """What can be chosen for a server. Times are in seconds.

    host, port       where it listens; port 0 is a free one
    workers          batches that run at a time
    grace            what running batches have left when the server stops
    heartbeat        a client is told something at least this often
    retention_days   how long what is over stays, None for ever
    trust_osuser     believe anybody on this machine who they say they are, where the platform does not tell
    tls              how connections are encrypted, None not at all
    login_timeout    what a connection has to log in
    """

    host: str = "127.0.0.1"
    port: int = 20000
    workers: int = os.cpu_count() or 1
    grace: float = 30.0
    heartbeat: int = HEARTBEAT_SECONDS
    retention_days: float | None = None
    trust_osuser: bool = False
    tls: ssl.SSLContext | None = None
    login_timeout: float = LOGIN_SECONDS
