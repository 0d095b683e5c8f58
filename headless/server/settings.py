"""What can be chosen for a server, and its limits."""

from __future__ import annotations

import os
import ssl
import sys
from typing import NamedTuple

MIB = 1024 * 1024


class Settings(NamedTuple):
    """Times are in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 20000  # 0 is a free one
    workers: int = os.cpu_count() or 1  # sessions that run at a time
    grace: float = 30.0  # for running sessions when the server stops
    end_jobs: bool = False  # whether jobs that still run then are ended; otherwise they go on
    heartbeat: int = 30  # a client gets a message at least this often
    retention_days: float | None = None  # how long what is over stays, None for ever
    time_limit: float | None = None  # for a job, None for ever
    dry_run: bool = False  # compile the jobs and do not run them
    import_from: str = ""  # a folder from which jobs can import, before that of their files; "" for none
    trust_osuser: bool = False  # believe every client on this machine, where the platform does not know its user
    tls: ssl.SSLContext | None = None
    login_timeout: float = 10.0  # for each message of a login
    message_timeout: float = 60.0  # from the first byte of a message to its last
    max_connections: int = 10_000
    max_connections_per_address: int = 8_000
    max_connections_per_account: int = 2_000  # that have logged in to it
    max_strangers: int = 2_000  # connections that have not logged in
    max_strangers_per_address: int = 1_000
    max_waiting: int = 20_000  # sessions
    max_waiting_per_account: int = 10_000
    max_bytes_in_flight: int = 64 * MIB  # of messages that are not whole, or not journaled yet
    output_limit: int = 64 * MIB  # of a job's stdout or stderr that is stored
    disk_floor: int = 8 * MIB  # that accepted sessions and stored output leave free


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
