"""Every message as literal XML, by a label such as "finished:1:ok": those of the client and those of the server."""

from __future__ import annotations

from support import scram
from support.credentials import HASH, SALT
from support.frames import frame

CLIENT_NAME = "planta_headless.py 39 Mars"
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO0123"
SERVER_NONCE = "hvYDpWUa2RaTCAfuxFIlj)hN"
NONCE = CLIENT_NONCE + SERVER_NONCE
# What belongs to user R41, credentials.HASH and these nonces.
AUTH_MESSAGE = scram.auth_message("R41", CLIENT_NONCE, NONCE, SALT)
PROOF = scram.proof(HASH.encode(), AUTH_MESSAGE)
KEY = "0123456789abcdef" * 2
SIGNATURE = scram.signature(HASH.encode(), AUTH_MESSAGE)

CLIENT_MESSAGES = {
    "login:osuser": f'<login version="1" client="{CLIENT_NAME}" auth_type="osuser" os_user="jdoe"/>',
    "login:challenge": f'<login version="1" client="{CLIENT_NAME}" auth_type="challenge" user="R41" '
    f'nonce="{CLIENT_NONCE}"/>',
    "response": f'<response nonce="{NONCE}" proof="{PROOF}"/>',
    "jobs": "<jobs><module>009ABC</module><py_code>print(1)</py_code></jobs>",
    "jobs:key": f'<jobs key="{KEY}"><module>009ABC</module><py_code>print(1)</py_code></jobs>',
    "attach": '<attach session="S0" job="2" stdout="12" stderr="0"/>',
    "attach:now": '<attach session="S0"/>',
    "cancel": '<cancel session="S0"/>',
    "sessions": "<sessions/>",
    "logout": "<logout/>",
}
SERVER_MESSAGES = {
    "challenge": f'<challenge nonce="{NONCE}" salt="{SALT}"/>',
    "welcome": '<welcome session="S1" heartbeat="30"/>',
    "welcome:signed": f'<welcome session="S1" heartbeat="30" signature="{SIGNATURE}"/>',
    "welcome:attach": '<welcome session="S1" heartbeat="30" journal="9ae1"/>',
    "accepted": "<accepted/>",
    "accepted:session": '<accepted session="S0"/>',
    "attached:1": '<attached jobs="2" job="1" stdout="0" stderr="0"/>',
    "attached:2": '<attached jobs="2" job="2" stdout="12" stderr="0"/>',
    "attached:3": '<attached jobs="2" job="3" stdout="0" stderr="0"/>',
    "attached:4": '<attached jobs="2" job="4" stdout="0" stderr="0"/>',
    "cancelled": '<cancelled state="running"/>',
    "listed": '<listed session="S0" state="ok" accepted="2026-11-25T02:00:00+00:00" job="1" jobs="2">009ABC</listed>',
    **{f"started:{job}": f'<started job="{job}"/>' for job in (1, 2, 3)},
    **{f"output:{job}": f'<output job="{job}" stream="stdout">text</output>' for job in (1, 2, 3)},
    **{
        f"finished:{job}:{status}": f'<finished job="{job}" status="{status}"/>'
        for job in (1, 2, 3)
        for status in ("ok", "failed", "skipped")
    },
    **{f"ended:{status}": f'<ended status="{status}"/>' for status in ("ok", "failed")},
    **{
        f"refused:{reason}": f'<refused reason="{reason}">text</refused>'
        for reason in ("login", "jobs", "version", "protocol", "busy", "session")
    },
    "alive": "<alive/>",
}
MESSAGES = {**CLIENT_MESSAGES, **SERVER_MESSAGES}


def frames_of(*labels: str) -> bytes:
    """The frames of these messages, in one piece."""
    return b"".join(frame(MESSAGES[label]) for label in labels)


def output_document(content: str | bytes) -> bytes:
    """An output message with this content, not escaped."""
    content = content.encode() if isinstance(content, str) else content
    return b'<output job="1" stream="stdout">' + content + b"</output>"
