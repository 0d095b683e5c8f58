"""What is no message: other XML than plain one, unknown and missing parts, much of anything, and other versions."""

from __future__ import annotations

import gzip

import pytest

from headless.dialects.own.codec import decode
from headless.dialects.own.messages import UnsupportedLogin
from headless.errors import RemoteProtocolError
from support.literal_messages import output_document

pytestmark = pytest.mark.version("lxml parses")

DTD = b"<!DOCTYPE alive>"
BOMB = b'<!DOCTYPE output [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = b'<!DOCTYPE output [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
NO_PLAIN_XML = {
    "a DTD": DTD + b"<alive/>",
    "entities": BOMB + output_document("&b;"),
    "an external entity": FILE + output_document("&a;"),
    "an undefined entity": output_document("&nbsp;"),
    "a comment": b"<alive><!-- x --></alive>",
    "a comment behind": b"<alive/><!-- x -->",
    "a processing instruction": b"<alive><?x y?></alive>",
    "a processing instruction behind": b"<alive/><?x y?>",
    "a default namespace": b'<alive xmlns="urn:x"/>',
    "a prefixed namespace": b'<x:alive xmlns:x="urn:x"/>',
    "a namespace within": b'<jobs><module xmlns="urn:x">A</module></jobs>',
    "a schema location": b'<alive xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="x file:///x"/>',
    "xml:lang": b'<alive xml:lang="en"/>',
    "UTF-16": "<alive/>".encode("utf-16"),
    "UTF-16, declared": '<?xml version="1.0" encoding="UTF-16"?><alive/>'.encode("utf-16"),
    "another encoding, declared": b'<?xml version="1.0" encoding="ISO-8859-1"?>' + output_document(b"\xe4"),
    "another encoding, not declared": output_document(b"\xe4"),
    "an overlong sequence": output_document(b"\xc0\xbc"),
    "a surrogate": output_document(b"\xed\xa0\x80"),
    "a sequence cut off": output_document(b"\xe2\x82"),
    "bad UTF-8 in an attribute": b'<welcome session="\xff"/>',
    "a byte order mark": b"\xef\xbb\xbf<alive/>",
    "XML 1.1": b'<?xml version="1.1"?><alive/>',
    "a declaration in the wrong place": b' <?xml version="1.0"?><alive/>',
    "two documents": b"<alive/><alive/>",
    "text behind": b"<alive/>x",
    "a NUL behind": b"<alive/>\x00",
    "a control character": output_document(b"\x1b"),
    "a reference to a control character": output_document("&#27;"),
    "a reference to a surrogate": output_document("&#xD800;"),
    "a lone ampersand": output_document("a & b"),
    "the end of CDATA without its beginning": output_document("]]>"),
    "CDATA without an end": output_document("<![CDATA[x"),
    "an attribute twice": b'<ended status="failed" status="ok"/>',
    "an attribute without quotes": b"<ended status=ok/>",
    "a tag in an attribute": b'<welcome session="<b/>"/>',
    "no end": b"<alive>",
    "another end": b"<alive></logout>",
    "capitals": b"<ALIVE/>",
    "a gzip file": gzip.compress(b"<alive/>"),
    "nothing": b"",
    "text": b"alive",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n<html/>",
}
UNKNOWN = {
    "an element": b"<hello/>",
    "an attribute": b'<alive x="1"/>',
    "a text where none belongs": b"<alive>x</alive>",
    "white space where nothing belongs": b"<alive> </alive>",
    "markup in a text": output_document("a<b>c</b>d"),
    "a message in a message": b"<jobs><alive/></jobs>",
    "text between jobs": b"<jobs>x<module>A</module></jobs>",
    "markup in a job": b"<jobs><module>A<b/></module></jobs>",
    "an empty job": b"<jobs><module/></jobs>",
    "no job": b"<jobs/>",
    "a kind of job": b"<jobs><sql>x</sql></jobs>",
    "a stream": b'<output job="1" stream="stdlog">x</output>',
    "a status of a job": b'<finished job="1" status="done"/>',
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
    **{
        f"the key {key!r}": f'<jobs key="{key}"><module>A</module></jobs>'.encode()
        for key in ("", "0" * 31, "0" * 65, "A" * 32, "g" * 32, "0" * 31 + " ")
    },
    **{
        f"the offset {offset}": f'<attach session="S0" {offset}/>'.encode()
        for offset in (
            'job="1"',
            'job="1" stdout="0"',
            'job="0" stdout="0" stderr="0"',
            'job="1" stdout="-1" stderr="0"',
            f'job="1" stdout="{10**15}" stderr="0"',
        )
    },
}
OFFSET = (b'jobs="2"', b'job="1"', b'stdout="0"', b'stderr="0"')
LISTED = (b'session="S1"', b'state="ok"', b'accepted="2026-11-25T02:00:00.000+00:00"', b'job="1"', b'jobs="2"')
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
    b"<attach/>",
    b"<cancel/>",
    b"<cancelled/>",
    *(b"<attached %s/>" % b" ".join(each for each in OFFSET if each != left_out) for left_out in OFFSET),
    *(b"<listed %s>x</listed>" % b" ".join(each for each in LISTED if each != left_out) for left_out in LISTED),
]


def is_message(payload: bytes) -> bool:
    try:
        decode(payload)
    except RemoteProtocolError:
        return False
    return True


class TestWhatIsNoMessage:
    def test_only_one_document_of_plain_xml_in_utf_8_is_a_message(self):
        assert [name for name, payload in NO_PLAIN_XML.items() if is_message(payload)] == []

    def test_an_unknown_element_attribute_or_value_is_refused(self):
        assert [name for name, payload in UNKNOWN.items() if is_message(payload)] == []

    def test_a_missing_attribute_is_refused(self):
        assert [payload for payload in MISSING if is_message(payload)] == []

    def test_what_is_wrong_is_explained_in_a_text_of_bounded_length(self):
        with pytest.raises(RemoteProtocolError) as caught:
            decode(b'<ended status="' + b"x" * 100_000 + b'"/>')
        assert len(str(caught.value)) < 500


class TestAnotherVersion:
    def test_a_login_of_another_version_is_known_as_that_whatever_it_carries(self):
        for payload in (
            b'<login version="2" client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="2"/>',
            b"<login version='10' tenant='x' auth_type='token'/>",
            b'<login colour="red" version="2"><token>x</token> text</login>',
            b'<login version="1.1" client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="one" client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="01" client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="" client="c" auth_type="osuser" os_user="jdoe"/>',
        ):
            assert decode(payload) == UnsupportedLogin(), payload

    def test_what_is_wrong_in_every_version_is_no_other_version(self):
        for payload in (
            b'<login client="c" auth_type="osuser" os_user="jdoe"/>',
            b'<login version="1" client="c" auth_type="osuser" os_user="jdoe" colour="red"/>',
            b'<alive version="2"/>',
            b'<login version="2">',
            b'<login version="2" a="" b="" c="" d="" e="" f="" g="" h=""/>',  # 8 may be
            b'<!DOCTYPE login><login version="2"/>',
        ):
            assert not is_message(payload), payload
