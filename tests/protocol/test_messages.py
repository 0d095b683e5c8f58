"""Messages <-> XML, both ways against literal bytes; what is no message; what may be shown. Not who sends what when."""

from __future__ import annotations

import gzip
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from headless.outcome import ProtocolError
from headless.protocol import messages
from headless.protocol.characters import carried_by_xml, made_fit_for_xml, on_one_line
from headless.protocol.messages import (
    Accepted,
    Alive,
    Challenge,
    Ended,
    Finished,
    Job,
    Jobs,
    Login,
    Logout,
    Output,
    Refused,
    Response,
    Started,
    VersionMismatch,
    Welcome,
    decode,
    encode,
    for_display,
    name_of,
)
from support.credentials import SALT
from support.hypothesis_settings import examples
from support.literal_messages import CLIENT_NAME

LITERAL = [
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
    (Logout(), b"<logout/>"),
    (Challenge("abcdef", SALT), b'<challenge nonce="abcdef" salt="$2b$10$abcdefghijklmnopqrstuu"/>'),
    (Welcome("S1"), b'<welcome session="S1"/>'),
    (Welcome("S1", 30), b'<welcome session="S1" heartbeat="30"/>'),
    (Welcome("S1", 30, "c2ln"), b'<welcome session="S1" heartbeat="30" signature="c2ln"/>'),
    (Welcome("S1", signature="c2ln"), b'<welcome session="S1" signature="c2ln"/>'),
    (Accepted(), b"<accepted/>"),
    (Started(1), b'<started job="1"/>'),
    (Started(999999999), b'<started job="999999999"/>'),
    (Output(1, "stdout", "text"), b'<output job="1" stream="stdout">text</output>'),
    (Output(2, "stderr", "\u20ac\r\n"), b'<output job="2" stream="stderr">\xe2\x82\xac&#13;\n</output>'),
    (Finished(1, "ok"), b'<finished job="1" status="ok"></finished>'),
    (Finished(2, "failed", "why"), b'<finished job="2" status="failed">why</finished>'),
    (Finished(3, "skipped", "<&"), b'<finished job="3" status="skipped">&lt;&amp;</finished>'),
    (Ended("ok"), b'<ended status="ok"/>'),
    (Ended("failed"), b'<ended status="failed"/>'),
    *(
        (Refused(reason, "text"), f'<refused reason="{reason}">text</refused>'.encode())
        for reason in ("login", "jobs", "version", "protocol", "busy")
    ),
    (Refused("busy"), b'<refused reason="busy"></refused>'),
    (Alive(), b"<alive/>"),
]


@pytest.mark.parametrize(("message", "payload"), LITERAL)
def test_every_message_is_written_and_read_as_the_protocol_wants(message, payload):
    assert encode(message) == payload
    assert decode(payload) == message
    assert type(decode(payload)) is type(message)


def test_every_message_has_its_literal_bytes_here():
    assert {type(message) for message, _ in LITERAL} == set(get_args(messages.Message))


def output(content: str | bytes) -> bytes:
    """An output message with this content, as it stands."""
    content = content.encode() if isinstance(content, str) else content
    return b'<output job="1" stream="stdout">' + content + b"</output>"


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
        assert decode(output(content)) == Output(1, "stdout", text)

    def test_white_space_between_jobs_means_nothing(self):
        assert decode(b"<jobs>\n  <module>A</module>\n</jobs>") == Jobs((Job("module", "A"),))


DTD = b"<!DOCTYPE alive>"
BOMB = b'<!DOCTYPE output [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = b'<!DOCTYPE output [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
NO_PLAIN_XML = {
    "a DTD": DTD + b"<alive/>",
    "a DTD after a declaration": b'<?xml version="1.0"?>' + DTD + b"<alive/>",
    "entities": BOMB + output("&b;"),
    "an external entity": FILE + output("&a;"),
    "an undefined entity": output("&nbsp;"),
    "an undefined entity in an attribute": b'<refused reason="&busy;"/>',
    "a comment": b"<alive><!-- x --></alive>",
    "a comment before": b"<!-- x --><alive/>",
    "a comment behind": b"<alive/><!-- x -->",
    "a comment in a text": output("a<!-- x -->b"),
    "a processing instruction": b"<alive><?x y?></alive>",
    "a processing instruction before": b"<?x y?><alive/>",
    "a processing instruction behind": b"<alive/><?x y?>",
    "a processing instruction in a text": output("a<?x y?>b"),
    "a default namespace": b'<alive xmlns="urn:x"/>',
    "no default namespace, written out": b'<alive xmlns=""/>',
    "a prefixed namespace": b'<x:alive xmlns:x="urn:x"/>',
    "an unused namespace": b'<alive xmlns:x="urn:x"/>',
    "a namespace within": b'<jobs><module xmlns="urn:x">A</module></jobs>',
    "a schema location": b'<alive xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="x file:///x"/>',
    "xml:lang": b'<alive xml:lang="en"/>',
    "UTF-16": "<alive/>".encode("utf-16"),
    "UTF-16 without a mark": "<alive/>".encode("utf-16-le"),
    "UTF-16, declared": '<?xml version="1.0" encoding="UTF-16"?><alive/>'.encode("utf-16"),
    "UTF-32": "<alive/>".encode("utf-32"),
    "another encoding, declared": b'<?xml version="1.0" encoding="ISO-8859-1"?>' + output(b"\xe4"),
    "another encoding, not declared": output(b"\xe4"),
    "an overlong sequence": output(b"\xc0\xbc"),
    "a surrogate": output(b"\xed\xa0\x80"),
    "a sequence cut off": output(b"\xe2\x82"),
    "bad UTF-8 in an attribute": b'<welcome session="\xff"/>',
    "a byte order mark": b"\xef\xbb\xbf<alive/>",
    "XML 1.1": b'<?xml version="1.1"?><alive/>',
    "a declaration in the wrong place": b' <?xml version="1.0"?><alive/>',
    "two documents": b"<alive/><alive/>",
    "text behind": b"<alive/>x",
    "text before": b"x<alive/>",
    "a NUL behind": b"<alive/>\x00",
    "a control character": output(b"\x1b"),
    "a reference to a control character": output("&#27;"),
    "a reference to a surrogate": output("&#xD800;"),
    "a lone ampersand": output("a & b"),
    "the end of CDATA without its beginning": output("]]>"),
    "CDATA without an end": output("<![CDATA[x"),
    "an attribute twice": b'<ended status="failed" status="ok"/>',
    "an attribute without quotes": b"<ended status=ok/>",
    "a tag in an attribute": b'<welcome session="<b/>"/>',
    "no end": b"<alive>",
    "another end": b"<alive></logout>",
    "capitals": b"<ALIVE/>",
    "a gzip file": gzip.compress(b"<alive/>"),
    "nothing": b"",
    "white space": b" \n",
    "text": b"alive",
    "JSON": b'{"alive": true}',
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n<html/>",
}
UNKNOWN = {
    "an element": b"<hello/>",
    "an attribute": b'<alive x="1"/>',
    "an attribute of another message": b'<logout job="1"/>',
    "a text where none belongs": b"<alive>x</alive>",
    "white space where nothing belongs": b"<alive> </alive>",
    "an element where none belongs": b"<alive><alive/></alive>",
    "markup in a text": output("a<b>c</b>d"),
    "a message in a text": output("<output/>"),
    "a message in a message": b"<jobs><alive/></jobs>",
    "a job alone": b"<module>A</module>",
    "text between jobs": b"<jobs>x<module>A</module></jobs>",
    "markup in a job": b"<jobs><module>A<b/></module></jobs>",
    "an empty job": b"<jobs><module/></jobs>",
    "no job": b"<jobs/>",
    "a kind of job": b"<jobs><sql>x</sql></jobs>",
    "a stream": b'<output job="1" stream="stdlog">x</output>',
    "a status of a job": b'<finished job="1" status="done"/>',
    "a status of the session": b'<ended status="skipped"/>',
    "a status in capitals": b'<ended status="OK"/>',
    "a status with a space": b'<ended status=" ok"/>',
    "a reason": b'<refused reason="mood"/>',
    "an auth_type": b'<login version="1" client="c" auth_type="none" os_user="x"/>',
    "an empty user": b'<login version="1" client="c" auth_type="osuser" os_user=""/>',
    "a user of 257 characters": b'<login version="1" client="c" auth_type="osuser" os_user="' + b"x" * 257 + b'"/>',
    **{
        f"a job {number!r}": f'<started job="{number}"/>'.encode()
        for number in ("0", "-1", "+1", "01", "1.0", "1 ", "", "x", "1000000000", "\u0661", "1e1", "1_0")
    },
    "a heartbeat of 0": b'<welcome session="S1" heartbeat="0"/>',
}
MISSING = [
    b'<login version="1" auth_type="osuser" os_user="jdoe"/>',
    b'<login version="1" client="c" os_user="jdoe"/>',
    b'<login client="c" auth_type="osuser" os_user="jdoe"/>',
    b'<response nonce="abc"/>',
    b'<response proof="abc"/>',
    b'<challenge nonce="abc"/>',
    b'<challenge salt="abc"/>',
    b'<welcome heartbeat="30"/>',
    b"<started/>",
    b'<output stream="stdout">x</output>',
    b'<output job="1">x</output>',
    b'<finished status="ok"/>',
    b'<finished job="1"/>',
    b"<ended/>",
    b"<refused/>",
]
NAMES = ["".join(letters).encode() for letters in product("abcdefghij", repeat=6)][:500_000]
# Far beyond what a message needs. Each is refused at once: the time-out is a hundred times what that takes.
MUCH = {
    "attributes": b"<alive " + b" ".join(b'a%d="1"' % number for number in range(500_000)) + b"/>",
    "attributes with names that may be": b"<alive " + b"".join(b'%s="" ' % name for name in NAMES) + b"/>",
    "one attribute again and again": b"<alive " + b'a="" ' * 500_000 + b"/>",
    "attributes of an inner element": b"<jobs><module " + b'a="" ' * 500_000 + b">A</module></jobs>",
    "namespaces": b"<alive " + b" ".join(b'xmlns:a%d="u"' % number for number in range(300_000)) + b"/>",
    "depth": output(b"<a>" * 1_000_000),
    "closed depth": output(b"<a>" * 10_000 + b"</a>" * 10_000),
    "depth that a parser takes": output(b"<a>" * 200 + b"</a>" * 200),
    "elements": output(b"<a/>" * 1_000_000),
    "jobs": b"<jobs>" + b"<module>A</module>" * 500_000 + b"</jobs>",
    "unfinished tags": b"<" * 5_000_000,
    "unfinished CDATA": output(b"<![CDATA[" * 500_000),
    "white space": b"<alive" + b" " * 5_000_000,
    "a name": b"<" + b"a" * 5_000_000,
}


class TestWhatIsNoMessage:
    @pytest.mark.parametrize("payload", NO_PLAIN_XML.values(), ids=NO_PLAIN_XML)
    def test_only_one_document_of_plain_xml_in_utf_8_is_a_message(self, payload):
        with pytest.raises(ProtocolError):
            decode(payload)

    @pytest.mark.parametrize("payload", UNKNOWN.values(), ids=UNKNOWN)
    def test_an_unknown_element_attribute_or_value_is_refused(self, payload):
        with pytest.raises(ProtocolError):
            decode(payload)

    @pytest.mark.parametrize("payload", MISSING, ids=bytes.decode)
    def test_a_missing_attribute_is_refused(self, payload):
        with pytest.raises(ProtocolError):
            decode(payload)

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("payload", MUCH.values(), ids=MUCH)
    def test_much_of_anything_is_refused_at_once(self, payload):
        with pytest.raises(ProtocolError):
            decode(payload)

    def test_what_is_wrong_is_sent_in_a_text_of_bounded_length(self):
        with pytest.raises(ProtocolError) as caught:
            decode(b'<ended status="' + b"x" * 100_000 + b'"/>')
        assert len(str(caught.value)) < 500

    # An arbitrary payload is hardly ever past the first bytes, one made of the pieces of messages often is.
    @examples
    @given(
        st.binary(max_size=50)
        | st.lists(
            st.sampled_from(
                b"<alive <ended <output <jobs> <module> /> > </jobs> </output> <![CDATA[ ]]> <!-- --> <? ?> & &#0; &lt;"
                b' status="ok" job="1" stream="stdout" xmlns="" xmlns="u" x="'.split(b" ")
            )
            | st.binary(max_size=2),
            max_size=12,
        ).map(b" ".join)
    )
    def test_arbitrary_bytes_are_a_message_or_a_protocol_error(self, payload):
        try:
            message = decode(payload)
        except ProtocolError:
            return
        assert isinstance(message, get_args(messages.Message))


class TestAnotherVersion:
    @pytest.mark.parametrize(
        "payload",
        [
            b'<login version="2" client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="2"/>',
            b"<login version='10' tenant='x' auth_type='token'/>",
            b'<login colour="red" version="2"><token>x</token> text</login>',
            b'<login version="1.1" client="c" auth_type="osuser" os_user="jdoe"/>',
        ],
    )
    def test_a_login_of_another_version_is_known_as_that_whatever_it_carries(self, payload):
        with pytest.raises(VersionMismatch, match="version 1"):
            decode(payload)

    @pytest.mark.parametrize(
        "payload",
        [
            b'<login client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="1" client="c" auth_type="osuser" os_user="jdoe" colour="red"/>',
            b'<alive version="2"/>',
            b'<login version="2">',
            b'<login version="2" a="" b="" c="" d="" e="" f="" g="" h=""/>',  # 8 may be
            b'<!DOCTYPE login><login version="2"/>',
        ],
    )
    def test_what_is_wrong_in_every_version_is_no_other_version(self, payload):
        with pytest.raises(ProtocolError) as caught:
            decode(payload)
        assert not isinstance(caught.value, VersionMismatch)


# Every character of XML 1.0, with those that are rare, and dangerous, more often.
xml_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r\x7f\x85\x9f\u2028\ufffd\U0010ffff<>&'\"]")
)
any_text = st.text(st.characters() | st.sampled_from("\x00\x0b\x1f\ud800\udfff\ufffe\uffff\n"))
name = xml_text.map(lambda text: f"x{text}"[:256])
number = st.integers(1, 999_999_999)
message = st.one_of(
    st.builds(Login, st.just(1), name, st.sampled_from(["osuser", "challenge"]), *[st.none() | name] * 3),
    st.builds(Response, name, xml_text),
    st.lists(st.builds(Job, st.sampled_from(["module", "py_file", "py_code"]), name), min_size=1).map(tuple).map(Jobs),
    st.builds(Challenge, name, xml_text),
    st.builds(Welcome, name, st.none() | number, st.none() | xml_text),
    st.builds(Output, number, st.sampled_from(["stdout", "stderr"]), xml_text),
    st.builds(Finished, number, st.sampled_from(["ok", "failed", "skipped"]), xml_text),
    st.builds(Refused, st.sampled_from(["login", "jobs", "version", "protocol", "busy"]), xml_text),
)


class TestText:
    @examples
    @given(message)
    def test_any_text_that_xml_can_carry_arrives_unchanged(self, message):
        arrived = decode(encode(message))
        assert arrived == message
        assert type(arrived) is type(message)

    @pytest.mark.parametrize("text", ["x" * 12_000_000, "<&\r\u20ac" * 600_000], ids=["plain", "escaped"])
    def test_an_output_may_fill_a_frame(self, text):
        payload = encode(Output(1, "stdout", text))
        assert 10_000_000 < len(payload) < 16 * 1024 * 1024
        assert decode(payload).text == text

    def test_a_batch_may_have_ten_thousand_jobs(self):
        jobs = Jobs((Job("module", "009ABC"),) * 10_000)
        assert decode(encode(jobs)) == jobs

    @examples
    @given(any_text)
    def test_a_text_that_xml_cannot_carry_is_a_value_error_and_known_beforehand(self, text):
        if carried_by_xml(text):
            assert decode(encode(Output(1, "stdout", text))).text == text == made_fit_for_xml(text)
        else:
            with pytest.raises(ValueError):
                encode(Output(1, "stdout", text))

    @examples
    @given(any_text)
    def test_a_text_made_fit_for_xml_arrives(self, text):
        fit = made_fit_for_xml(text)
        assert decode(encode(Output(1, "stdout", fit))).text == fit
        assert len(fit) == len(text)

    def test_only_what_xml_cannot_carry_is_replaced(self):
        assert made_fit_for_xml("a\x00\x1b\ud800\ufffe\uffff\t\n\r\x7f\x9f\ud7ff\ue000\U0001fffe") == (
            "a\ufffd\ufffd\ufffd\ufffd\ufffd\t\n\r\x7f\x9f\ud7ff\ue000\U0001fffe"
        )

    @examples
    @given(any_text)
    def test_what_is_shown_on_one_line_moves_no_cursor(self, text):
        assert on_one_line(text).isprintable()

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("J\u00f6rg \u20ac", "J\u00f6rg \u20ac"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\x1b[2J\x07", r"\x1b[2J\x07"),
            ("\x85\u2028\u202e\ud800", r"\x85\u2028\u202e\ud800"),
        ],
    )
    def test_what_could_end_a_line_or_reorder_it_is_shown_escaped(self, text, shown):
        assert on_one_line(text) == shown


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


class TestSchema:
    """protocol.xsd and the classes in messages.py are two places that must be the same."""

    XS = "{http://www.w3.org/2001/XMLSchema}"
    ROOT = etree.parse(str(Path(messages.__file__).with_name("protocol.xsd"))).getroot()
    CLASSES = get_args(messages.Message)

    def element(self, kind):
        return self.ROOT.find(f"{self.XS}element[@name='{kind.__name__.lower()}']")

    def test_there_is_a_class_for_each_element_and_the_other_way_round(self):
        names = {element.get("name") for element in self.ROOT.findall(f"{self.XS}element")}
        assert names == {kind.__name__.lower() for kind in self.CLASSES}

    @pytest.mark.parametrize("message", [message for message, _ in LITERAL], ids=name_of)
    def test_the_name_of_a_message_is_its_element(self, message):
        assert self.element(type(message)).get("name") == name_of(message)

    @pytest.mark.parametrize("kind", CLASSES)
    def test_fields_and_attributes_are_the_same_and_equally_required(self, kind):
        uses = {
            attribute.get("name"): attribute.get("use") for attribute in self.element(kind).iter(f"{self.XS}attribute")
        }
        fields = set(kind._fields) - {"text", "jobs"}
        assert uses == {field: None if field in kind._field_defaults else "required" for field in fields}

    @pytest.mark.parametrize("kind", CLASSES)
    def test_a_message_has_a_text_where_its_element_has_one(self, kind):
        assert ("text" in kind._fields) == (self.element(kind).find(f".//{self.XS}simpleContent") is not None)
