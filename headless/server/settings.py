"""The settings of a server: what can be chosen, its limits, and what they are if nothing is chosen. No rule that uses
them is here.

How they come from a command line is in commands/serve.py. SERVER.md, section "Limits", names them for administrators.
"""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple

MIB = 1024 * 1024

LOGIN_SECONDS = 10.0
MESSAGE_SECONDS = 60.0
HEARTBEAT_SECONDS = 30
DESCRIPTORS_SET_ASIDE = 128  # for the journal, files and connections that are not counted yet, or are being refused
DESCRIPTORS_PER_WORKER = 8  # for a job that starts, and for one that runs


class Settings(NamedTuple):
    """What can be chosen for a server, and its limits. Times are in seconds, sizes in bytes.

    host, port           where it listens; port 0 is a free one
    workers              sessions that run at a time
    grace                what running sessions have left when the server stops
    end_jobs             whether jobs that still run then are ended; otherwise they go on
    heartbeat            a client is told something at least this often
    retention_days       how long what is over stays, None for ever
    time_limit           how long a job may run, None for ever
    dry_run              compile the jobs and do not run them
    import_from          a folder from which jobs can import, before that of their files; "" for none
    trust_osuser         believe anybody on this machine who they say they are, where the platform does not tell
    tls                  how connections are encrypted, None not at all
    login_timeout        what a client has for each message of its login
    message_timeout      what a client has from the first byte of a message to its last
    max_connections      in all, from one address, and logged in to one account; and for those that have not logged in
    max_waiting          sessions that wait, in all and of one account
    max_bytes_in_flight  of messages that are not whole, or not journaled yet
    output_limit         of a job's stdout or stderr that is stored
    disk_floor           of the disk that accepted sessions and stored output leave free
    """

    host: str = "127.0.0.1"
    port: int = 20000
    workers: int = os.cpu_count() or 1
    grace: float = 30.0
    end_jobs: bool = False
    heartbeat: int = HEARTBEAT_SECONDS
    retention_days: float | None = None
    time_limit: float | None = None
    dry_run: bool = False
    import_from: str = ""
    trust_osuser: bool = False
    tls: ssl.SSLContext | None = None
    login_timeout: float = LOGIN_SECONDS
    message_timeout: float = MESSAGE_SECONDS
    max_connections: int = 10_000
    max_connections_per_address: int = 8_000
    max_connections_per_account: int = 2_000
    max_strangers: int = 2_000
    max_strangers_per_address: int = 1_000
    max_waiting: int = 20_000
    max_waiting_per_account: int = 10_000
    max_bytes_in_flight: int = 64 * MIB
    output_limit: int = 64 * MIB
    disk_floor: int = 8 * MIB
