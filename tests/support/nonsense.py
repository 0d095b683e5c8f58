"""What a server sends that the protocol does not allow, as literal bytes and XML."""

from __future__ import annotations

import struct

from support.dialogues import ACCEPTED, DONE, ENDED, FAILED, FINISHED, STARTED, WELCOME
from support.frames import frame

# Instead of the answer to a login, as bytes.
NONSENSE = [
    struct.pack(">I", 0),
    struct.pack(">I", 4097) + b"x",
    struct.pack(">I", 2**32 - 1),
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    frame("no xml"),
    frame("<welcome"),
    frame("<hello/>"),
    frame('<welcome session="s1" colour="red"/>'),
    frame("<welcome/>"),
    frame('<!DOCTYPE welcome [<!ENTITY x SYSTEM "file:///etc/passwd">]><welcome session="s1"/>'),
    frame('<welcome session="&x;"/>'),
    frame('<welcome session="s1"/>'.encode("utf-16")),
    frame(b'<welcome session="\xff"/>'),
    frame('<welcome session="s1" signature="x"/>'),
    frame('<welcome session="s1" heartbeat="0"/>'),
    frame('<challenge nonce="n" salt="s"/>'),
    frame(ACCEPTED),
    frame("<alive/>"),
    frame("<login/>"),
]

# Instead of a good report of one job, after its acceptance.
OUT_OF_ORDER = [
    (ENDED,),
    (STARTED, ENDED),
    (STARTED, FINISHED, FINISHED, ENDED),
    (STARTED, STARTED, FINISHED, ENDED),
    (FINISHED, ENDED),
    (STARTED, FAILED, ENDED),
    (STARTED, '<finished job="1" status="skipped"/>', ENDED),
    (ACCEPTED, *DONE),
    (WELCOME, *DONE),
    ('<started job="2"/>', '<finished job="2" status="ok"/>', ENDED),
    (STARTED, '<output job="2" stream="stdout">x</output>', FINISHED, ENDED),
    (STARTED, FINISHED, '<started job="2"/>', '<finished job="2" status="ok"/>', ENDED),
    (STARTED, FINISHED, '<output job="1" stream="stdout">x</output>', ENDED),
    (STARTED, FINISHED, '<ended status="ok" more="1"/>'),
    (STARTED, FINISHED, "<ended/>"),
    (STARTED, FINISHED, '<ended status="OK"/>'),
    (STARTED, FINISHED, '<ended status="ok">all well</ended>'),
]

# Instead of the challenge of a server that has taken our nonce and the salt of our password.
WRONG_CHALLENGES = [
    (WELCOME,),
    ('<challenge nonce="{nonce}" salt="{salt}"/>',),
    ('<challenge nonce="{nonce}xxxxxxxxxxxxxxxxxxxxxxx" salt="{salt}"/>',),
    ('<challenge nonce="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" salt="{salt}"/>',),
    ('<challenge nonce="{nonce}xxxxxxxxxxxxxxxxxxxxxxxxxxxx" salt="$2b$09$abcdefghijklmnopqrstuu"/>',),
    ('<challenge nonce="{nonce}xxxxxxxxxxxxxxxxxxxxxxxxxxxx" salt="$2b$16$abcdefghijklmnopqrstuu"/>',),
    ('<challenge nonce="{nonce}xxxxxxxxxxxxxxxxxxxxxxxxxxxx" salt="$2x$10$abcdefghijklmnopqrstuu"/>',),
    ('<challenge nonce="{nonce}xxxxxxxxxxxxxxxxxxxxxxxxxxxx" salt="{salt}"/>', WELCOME),
]
