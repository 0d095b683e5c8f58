"""Every message of the package with its literal bytes."""

from __future__ import annotations

from headless.dialects.base import (
    Accepted,
    Attached,
    Cancelled,
    Ended,
    JobFinished,
    JobStarted,
    Listed,
    Output,
    Refused,
)
from headless.dialects.own.messages import (
    FROM_CLIENT,
    FROM_SERVER,
    Alive,
    Attach,
    Cancel,
    Challenge,
    Jobs,
    Login,
    Logout,
    Response,
    Sessions,
    UnsupportedLogin,
    Welcome,
)
from headless.dialects.vocabulary import Job, Offset
from support.credentials import SALT
from support.literal_messages import CLIENT_NAME

# Those that are encoded: a login that is not supported is only ever received.
MESSAGE_TYPES = tuple(kind for kind in (*FROM_CLIENT, *FROM_SERVER) if kind is not UnsupportedLogin)
ENCODED = [
    (
        Login(1, CLIENT_NAME, "challenge", user="R41", nonce="abc"),
        b'<login version="1" client="planta_headless.py 39 Mars" auth_type="challenge" user="R41" nonce="abc"/>',
    ),
    (
        Login(1, CLIENT_NAME, "osuser", os_user="jdoe"),
        b'<login version="1" client="planta_headless.py 39 Mars" auth_type="osuser" os_user="jdoe"/>',
    ),
    (
        Login(1, CLIENT_NAME, "osuser", user="R41", os_user="jdoe"),
        b'<login version="1" client="planta_headless.py 39 Mars" auth_type="osuser" user="R41" os_user="jdoe"/>',
    ),
    (Response("abc+/=", "cHJvb2Y="), b'<response nonce="abc+/=" proof="cHJvb2Y="/>'),
    (
        Jobs((Job("module", "009ABC"), Job("py_file", "nightly/close.py"), Job("py_code", "print(1)"))),
        b"<jobs><module>009ABC</module><py_file>nightly/close.py</py_file><py_code>print(1)</py_code></jobs>",
    ),
    (
        Jobs((Job("py_code", 'if a < 1 & b > 2:\n\tprint("]]>")'), Job("module", " x "))),
        b'<jobs><py_code>if a &lt; 1 &amp; b &gt; 2:\n\tprint("]]&gt;")</py_code><module> x </module></jobs>',
    ),
    (Jobs((Job("module", "A"),), "ab" * 16), b'<jobs key="abababababababababababababababab"><module>A</module></jobs>'),
    (Attach("S1"), b'<attach session="S1"/>'),
    (Attach("S1", Offset(1, 0, 999)), b'<attach session="S1" job="1" stdout="0" stderr="999"/>'),
    (Cancel("S1"), b'<cancel session="S1"/>'),
    (Sessions(), b"<sessions/>"),
    (Logout(), b"<logout/>"),
    (Challenge("abcdef", SALT), b'<challenge nonce="abcdef" salt="$2b$10$abcdefghijklmnopqrstuu"/>'),
    (Welcome("S1"), b'<welcome session="S1"/>'),
    (Welcome("S1", 30), b'<welcome session="S1" heartbeat="30"/>'),
    (Welcome("S1", 30, "c2ln"), b'<welcome session="S1" heartbeat="30" signature="c2ln"/>'),
    (Welcome("S1", signature="c2ln"), b'<welcome session="S1" signature="c2ln"/>'),
    (Welcome("S1", journal="9ae1"), b'<welcome session="S1" journal="9ae1"/>'),
    (Accepted(), b"<accepted/>"),
    (Accepted("S0"), b'<accepted session="S0"/>'),
    (Attached(2, Offset(1, 0, 999999999999999)), b'<attached jobs="2" job="1" stdout="0" stderr="999999999999999"/>'),
    (JobStarted(1), b'<started job="1"/>'),
    (JobStarted(999999999), b'<started job="999999999"/>'),
    (Output(1, "stdout", "text"), b'<output job="1" stream="stdout">text</output>'),
    (Output(2, "stderr", "\u20ac\r\n"), b'<output job="2" stream="stderr">\xe2\x82\xac&#13;\n</output>'),
    (JobFinished(1, "ok"), b'<finished job="1" status="ok"></finished>'),
    (JobFinished(2, "failed", "why"), b'<finished job="2" status="failed">why</finished>'),
    (JobFinished(3, "skipped", "<&"), b'<finished job="3" status="skipped">&lt;&amp;</finished>'),
    (Ended("ok"), b'<ended status="ok"/>'),
    (Ended("failed"), b'<ended status="failed"/>'),
    *((Cancelled(state), f'<cancelled state="{state}"/>'.encode()) for state in ("queued", "running", "over")),
    (
        Listed("S1", "ok", "2026-11-25T02:00:00.000+00:00", 1, 2, "009ABC"),
        b'<listed session="S1" state="ok" accepted="2026-11-25T02:00:00.000+00:00" job="1" jobs="2">009ABC</listed>',
    ),
    *(
        (Refused(reason, "text"), f'<refused reason="{reason}">text</refused>'.encode())
        for reason in ("login", "jobs", "version", "protocol", "busy", "session")
    ),
    (Refused("busy"), b'<refused reason="busy"></refused>'),
    (Alive(), b"<alive/>"),
]


def output_document(content: str | bytes) -> bytes:
    """An output message with this content, as it stands."""
    content = content.encode() if isinstance(content, str) else content
    return b'<output job="1" stream="stdout">' + content + b"</output>"
