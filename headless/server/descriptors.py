"""How many files and connections a process may have open. Where the platform has such a limit, a server takes all it
may; its jobs get what the server was started with."""

from __future__ import annotations

import sys

_MANY = 1_000_000  # more than any server here needs; some systems have no limit at all

if sys.platform == "win32":
    AT_START = _MANY

    def raise_limit() -> int:
        return _MANY

else:
    import resource

    AT_START = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # the limit of the process when this was imported

    def raise_limit() -> int:
        """Raises this process's limit as far as it may be raised. Returns the limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):  # macOS allows less than it says
                return int(soft)
        return int(wanted)
