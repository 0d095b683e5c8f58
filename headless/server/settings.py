"""What can be chosen for a server, and its limits."""

from __future__ import annotations

import os
import ssl
import sys
from typing import NamedTuple

MIB = 1024 * 1024

LOGIN_SECONDS = 10.0
MESSAGE_SECONDS = 60.0
HEARTBEAT_SECONDS = 30


class Settings(NamedTuple):
    """Times are in seconds, sizes in bytes. SERVER.md, section "Limits", has them for administrators.

    host, port           where it listens; port 0 is a free one
    workers              sessions that run at a time
    grace                what running sessions have left when the server stops
    end_jobs             whether jobs that still run then are ended; otherwise they go on
    heartbeat            a client gets a message at least this often
    retention_days       how long what is over stays, None for ever
    time_limit           how long a job may run, None for ever
    dry_run              compile the jobs and do not run them
    import_from          a folder from which jobs can import, before that of their files; "" for none
    trust_osuser         believe every client on this machine, where the platform does not know its user
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


_DESCRIPTORS_SET_ASIDE = 128  # for the journal, files and connections that are not counted yet, or are being refused
_DESCRIPTORS_PER_WORKER = 8  # for a job that starts, and for one that runs
_MANY = 1_000_000  # more than any server here needs; some systems have no limit at all

if sys.platform == "win32":
    DESCRIPTORS_AT_START = _MANY

    def _raise_limit() -> int:
        return _MANY

else:
    import resource

    DESCRIPTORS_AT_START = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # when this was imported: that of the jobs

    def _raise_limit() -> int:
        """Raises this process's limit of open files as far as it may be raised, and returns the limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):  # macOS allows less than it says
                return int(soft)
        return int(wanted)


def possible_connections(workers: int) -> int:
    """Raises the limit of open files, and returns for how many connections it is enough, besides jobs and journal."""
    return max(1, _raise_limit() - _DESCRIPTORS_SET_ASIDE - workers * _DESCRIPTORS_PER_WORKER)
