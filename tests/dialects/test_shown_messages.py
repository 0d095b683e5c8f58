"""What of a message may be shown: everything but proofs and signatures."""

from __future__ import annotations

import pytest

from headless.dialects.own.codec import for_display

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
