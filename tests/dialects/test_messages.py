"""Messages <-> XML, both ways against literal bytes; messages as values; what of them is shown; and the schema."""

from __future__ import annotations

from itertools import combinations

import pytest

from headless.dialects import base
from headless.dialects.base import (
    Accepted,
    Attached,
    Cancelled,
    Ended,
    JobFinished,
    JobStarted,
    Listed,
    Output,
    Part,
    Refused,
)
from headless.dialects.own import messages
from headless.dialects.own.codec import decode, encode, for_display
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
from support.literal_messages import CLIENT_NAME, output_document

pytestmark = pytest.mark.version("lxml parses")

# Those that are encoded: a login that is not supported is only ever received.
MESSAGE_TYPES = tuple(kind for kind in (*FROM_CLIENT, *FROM_SERVER) if kind is not UnsupportedLogin)
ENCODED = [
    (Login(1, CLIENT_NAME, "challenge", user="R41", nonce="abc"),
     b'<login version="1" client="planta_headless.py 39 Mars" auth_type="challenge" user="R41" nonce="abc"/>'),
    (Login(1, CLIENT_NAME, "osuser", os_user="jdoe"),
     b'<login version="1" client="planta_headless.py 39 Mars" auth_type="osuser" os_user="jdoe"/>'),
    (Login(1, CLIENT_NAME, "osuser", user="R41", os_user="jdoe"),
     b'<login version="1" client="planta_headless.py 39 Mars" auth_type="osuser" user="R41" os_user="jdoe"/>'),
    (Response("abc+/=", "cHJvb2Y="), b'<response nonce="abc+/=" proof="cHJvb2Y="/>'),
    (Jobs((Job("module", "009ABC"), Job("py_file", "nightly/close.py"), Job("py_code", "print(1)"))),
     b"<jobs><module>009ABC</module><py_file>nightly/close.py</py_file><py_code>print(1)</py_code></jobs>"),
    (Jobs((Job("py_code", 'if a < 1 & b > 2:\n\tprint("]]>")'), Job("module", " x "))),
     b'<jobs><py_code>if a &lt; 1 &amp; b &gt; 2:\n\tprint("]]&gt;")</py_code><module> x </module></jobs>'),
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
    (Listed("S1", "ok", "2026-11-25T02:00:00.000+00:00", 1, 2, "009ABC"),
     b'<listed session="S1" state="ok" accepted="2026-11-25T02:00:00.000+00:00" job="1" jobs="2">009ABC</listed>'),
    *(
        (Refused(reason, "text"), f'<refused reason="{reason}">text</refused>'.encode())
        for reason in ("login", "jobs", "version", "protocol", "busy", "session")
    ),
    (Refused("busy"), b'<refused reason="busy"></refused>'),
    (Alive(), b"<alive/>"),
]  # fmt: skip


def test_every_message_is_written_and_read_as_the_protocol_wants():
    for message, payload in ENCODED:
        assert encode(message) == payload
        assert decode(payload) == message
    assert {type(message) for message, _ in ENCODED} == set(MESSAGE_TYPES)


class TestOtherWaysToWriteAMessage:
    @pytest.mark.parametrize(
        "payload",
        [
            b'<?xml version="1.0"?><alive/>',
            b"<?xml version='1.0' encoding='utf-8'?>\n<alive/>",
            b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n<alive/>',
            b"<alive></alive>",
            b"<alive />",
            b"<alive\n></alive\t>",
            b" \t\r\n<alive/>\r\n\t ",
        ],
    )
    def test_a_declaration_of_utf_8_and_white_space_around_are_taken(self, payload):
        assert type(decode(payload)) is Alive

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            (b"<ended status='ok'/>", Ended("ok")),
            (b'<ended\n  status\t= \r"ok" />', Ended("ok")),
            (b"<ended status='&#111;&#x6b;'></ended>", Ended("ok")),
            (b'<output stream="stderr" job="7">x</output>', Output(7, "stderr", "x")),
            (b"<welcome session='\"/>'/>", Welcome('"/>')),
            (b'<welcome session="\'/>"/>', Welcome("'/>")),
            (b"<jobs>\n  <module>A</module>\n</jobs>", Jobs((Job("module", "A"),))),
        ],
    )
    def test_attributes_may_be_quoted_spaced_escaped_and_ordered_in_any_way(self, payload, message):
        assert decode(payload) == message

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            ("&lt;&gt;&amp;&apos;&quot;", "<>&'\""),
            ("&#65;&#x42;&#x20AC;&#128512;", "AB\u20ac\U0001f600"),
            ("&amp;lt;&#38;lt;", "&lt;&lt;"),
            ("<![CDATA[<b>&amp;<!-- --><?x?>]]>", "<b>&amp;<!-- --><?x?>"),
            ("a<![CDATA[b]]>c<![CDATA[]]><![CDATA[]]]]><![CDATA[>]]>d", "abc]]>d"),
            ("a\r\nb\rc\nd", "a\nb\nc\nd"),
            ("&#13;&#10;&#9;", "\r\n\t"),
            ("  \n ", "  \n "),
        ],
    )
    def test_references_cdata_and_line_ends_mean_what_xml_says(self, content, text):
        assert decode(output_document(content)) == Output(1, "stdout", text)


# Messages and events as values: equal only if they mean the same, never false, never changed


EVERY_MESSAGE = [*(message for message, _ in ENCODED), messages.UnsupportedLogin()]


def test_two_messages_are_equal_only_if_they_mean_the_same():
    distinct = {repr(message): message for message in EVERY_MESSAGE}.values()
    assert all(distinct)
    assert [pair for pair in combinations(distinct, 2) if pair[0] == pair[1]] == []
    assert Challenge("a", "b") != Response("a", "b")
    assert Ended("ok") != ("ok",)
    assert Login(1, "c", "osuser", os_user="x") == Login(1, "c", "osuser", None, "x", None)
    assert (Ended("ok"), hash(Ended("ok"))) == (Ended(status="ok"), hash(Ended(status="ok")))


@pytest.mark.parametrize(
    "make",
    [
        Ended,
        lambda: Ended("ok", "x", True, "y"),  # type: ignore[call-arg]
        lambda: Ended("ok", status="ok"),  # type: ignore[misc]
        lambda: Ended("ok", reason="x"),  # type: ignore[call-arg]
        lambda: Logout("x"),
    ],
)
def test_a_field_too_many_or_too_few_is_an_error(make):
    with pytest.raises(TypeError, match=r"Ended has the fields status, text|Logout has the fields \(none\)"):
        make()


def test_a_value_cannot_be_changed_and_shows_its_fields():
    ended = Ended("ok")
    with pytest.raises(AttributeError):
        ended.status = "failed"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del ended.status
    assert (ended.replace(status="failed"), ended) == (Ended("failed"), Ended("ok"))
    assert repr(Part(b"x", 1)) == "Part(data=b'x', jobs=1, shown='')"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Part("x"), "Part.data has to be bytes, and is a value of str"),  # type: ignore[arg-type]
        (Part(b"x", True), "Part.jobs has to be int, and is a value of bool"),
        (base.LoggedIn("s", "1"), "LoggedIn.heartbeat has to be int | None, and is a value of str"),  # type: ignore
        (base.SaltReceived(1), "SaltReceived.salt has to be str | None, and is a value of int"),  # type: ignore
    ],
)
def test_a_field_of_a_wrong_type_is_named(value, named):
    with pytest.raises(TypeError) as caught:
        value.check_types()
    assert str(caught.value) == named
    for right in (Part(b"x"), base.LoggedIn("s"), base.LoggedIn("s", 3, True), base.SaltReceived(None)):
        right.check_types()


# What of a message may be shown: everything but proofs and signatures


SECRET = "c2VjcmV0+/="


class TestWhatMayBeShown:
    @pytest.mark.parametrize(
        "payload",
        [
            f'<response nonce="abc" proof="{SECRET}"/>',
            f'<response proof="{SECRET}" nonce="abc"/>',
            f"<response nonce='abc' proof='{SECRET}'/>",
            f"<response nonce='\"' proof='{SECRET}'/>",
            f'<response nonce="\'" proof="{SECRET}"/>',
            f'<response nonce="abc" proof\n=\t"{SECRET}"></response>',
            f'<response nonce="the-server-chose-this!proof=" proof="{SECRET}"/>',
            f'<response nonce="a>b" proof="{SECRET}"/>',
            f'<?xml version="1.0"?><response nonce="abc" proof="{SECRET}"/>',
            f'<?xml version="1.0" encoding="utf-8"?>\n<response nonce="abc" proof="{SECRET}"/>',
            f'<response nonce="abc" proof="\n{SECRET}"/>',
            f'<welcome session="S1" heartbeat="30" signature="{SECRET}"/>',
            f"<welcome session='a>b' signature='{SECRET}'/>",
            f'<?xml version="1.0"?><welcome session="S1" signature="{SECRET}"/>',
        ],
    )
    def test_no_proof_and_no_signature_is_shown_however_it_is_written(self, payload):
        shown = for_display(payload.encode())
        assert SECRET not in shown
        assert "response" in shown or "welcome" in shown

    @pytest.mark.parametrize(
        "payload",
        [
            '<login version="1" client="c" auth_type="challenge" user="proof" nonce="abc"/>',
            "<output job='1' stream='stdout'>proof=\"1\" signature='2' &gt; <![CDATA[ signature=\"3\"]]></output>",
            "no XML at all",
            "",
        ],
    )
    def test_everything_else_is_shown_as_it_is(self, payload):
        assert for_display(payload.encode()) == payload

    def test_bytes_that_are_no_utf_8_are_shown_escaped(self):
        assert for_display(b"<alive>\xff</alive>") == r"<alive>\xff</alive>"
        assert SECRET not in for_display(b'<response nonce="\xff" proof="' + SECRET.encode() + b'"/>')
