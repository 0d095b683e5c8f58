"""Messages <-> XML, both ways against literal bytes, and the other ways to write a message. Not who sends what when."""

from __future__ import annotations

import pytest

from headless.dialects.base import Ended, Output
from headless.dialects.own.codec import decode, encode
from headless.dialects.own.messages import Alive, Jobs, Welcome
from headless.dialects.vocabulary import Job
from support.encoded_messages import ENCODED, MESSAGE_TYPES, output_document

pytestmark = pytest.mark.version("lxml parses")


def test_every_message_is_written_and_read_as_the_protocol_wants():
    for message, payload in ENCODED:
        assert encode(message) == payload
        assert decode(payload) == message


def test_every_message_has_its_literal_bytes_here():
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
        "payload",
        [b"<ended status='ok'/>", b'<ended\n  status\t= \r"ok" />', b"<ended status='&#111;&#x6b;'></ended>"],
    )
    def test_attributes_may_be_quoted_spaced_and_escaped_in_any_way(self, payload):
        assert decode(payload) == Ended("ok")

    def test_the_order_of_attributes_means_nothing(self):
        assert decode(b'<output stream="stderr" job="7">x</output>') == Output(7, "stderr", "x")

    def test_the_other_quote_and_the_end_of_a_tag_may_stand_in_an_attribute(self):
        assert decode(b"<welcome session='\"/>'/>") == Welcome('"/>')
        assert decode(b'<welcome session="\'/>"/>') == Welcome("'/>")

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

    def test_white_space_between_jobs_means_nothing(self):
        assert decode(b"<jobs>\n  <module>A</module>\n</jobs>") == Jobs((Job("module", "A"),))
