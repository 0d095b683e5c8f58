"""Words and numbers that more than one room uses, each named once. What they mean is in PROTOCOL.md; no library is
needed here.
"""

from __future__ import annotations

from headless.protocol.values import Value

# Ways to log in
OSUSER = "osuser"
CHALLENGE = "challenge"

# Kinds of jobs
MODULE = "module"
PY_FILE = "py_file"
PY_CODE = "py_code"

# How a job, or a session, ended
OK = "ok"
FAILED = "failed"
SKIPPED = "skipped"

# Where a job prints
STDOUT = "stdout"
STDERR = "stderr"

# Why a server refuses
LOGIN = "login"
JOBS = "jobs"
VERSION = "version"
PROTOCOL = "protocol"
BUSY = "busy"
SESSION = "session"

# How far a batch has come, where it is not one of the ends above
QUEUED = "queued"
RUNNING = "running"
OVER = "over"

# Limits
MAX_NAME_LENGTH = 256  # characters
MAX_JOBS = 10_000  # of one batch
MAX_LOGIN_FRAME = 4096  # bytes, in both directions, up to and including `welcome`
MAX_SERVER_FRAME = 1024 * 1024  # bytes, after `welcome`
MAX_CLIENT_FRAME = 16 * 1024 * 1024  # bytes, after `welcome`: a batch is one frame
KEY_BYTES = 16  # of randomness in the key of a batch, at least


class Job(Value):
    """One job of a batch: its kind (MODULE, PY_FILE or PY_CODE) and the ID, the path or the code that belongs to it."""

    kind: str
    text: str


class Offset(Value):
    """How far somebody has heard of a batch: `job` is the first job whose end is not known, `stdout` and `stderr` count
    the characters of its output that are."""

    job: int = 1
    stdout: int = 0
    stderr: int = 0
