"""Frames, messages, texts, hashes and salts of any input, drawn by hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.dialects import bcrypt_hash
from headless.dialects.base import JobFinished, Output, Refused
from headless.dialects.own.codec import decode, encode
from headless.dialects.own.messages import Challenge, Jobs, Login, Message, Response, Welcome
from headless.dialects.vocabulary import Job, is_xml_text, replace_invalid_xml_chars
from headless.errors import RemoteProtocolError
from headless.server.accounts import decoy_salt
from headless.terminal import escape_control_chars
from support.hypothesis_settings import examples

pytestmark = [pytest.mark.slow, pytest.mark.version("lxml parses")]


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
def test_arbitrary_bytes_are_a_message_or_a_protocol_error(payload):
    try:
        message = decode(payload)
    except RemoteProtocolError:
        return
    assert isinstance(message, Message)


@examples
@given(st.binary(min_size=bcrypt_hash.RANDOM_BYTES, max_size=bcrypt_hash.RANDOM_BYTES))
def test_what_random_bytes_make_looks_like_a_hash_and_has_all_of_them(random):
    made = bcrypt_hash.hash_from(random, 12)
    assert bcrypt_hash.is_hash(made)
    bcrypt_hash.check_salt(made[:29])
    other = bcrypt_hash.hash_from(bytes(byte ^ 1 for byte in random), 12)
    assert sum(one != another for one, another in zip(made, other)) == bcrypt_hash.RANDOM_BYTES


@examples
@given(st.binary(min_size=16, max_size=40), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_decoy_salt_looks_like_a_real_one_and_stays_the_same(key, user):
    salt = decoy_salt(key, user, {})
    bcrypt_hash.check_salt(salt)
    assert salt.startswith("$2b$12$")
    assert salt == decoy_salt(key, user, {})
    assert salt != decoy_salt(key, user + "x", {})
    assert salt != decoy_salt(key + b"x", user, {})


# Text in messages: what XML can carry, and how it is shown on one line


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
    st.builds(JobFinished, number, st.sampled_from(["ok", "failed", "skipped"]), xml_text),
    st.builds(Refused, st.sampled_from(["login", "jobs", "version", "protocol", "busy"]), xml_text),
)


def arrived(text: str) -> str:
    """The text of an output when it has been encoded and decoded."""
    output = decode(encode(Output(1, "stdout", text)))
    assert isinstance(output, Output)
    return output.text


@examples
@given(message)
def test_any_text_that_xml_can_carry_arrives_unchanged(message):
    again = decode(encode(message))
    assert again == message
    assert type(again) is type(message)


@pytest.mark.parametrize(
    "message",
    [
        Output(1, "stdout", "x" * 12_000_000),
        Output(1, "stdout", "<&\r\u20ac" * 600_000),
        Jobs((Job("module", "009ABC"),) * 10_000),
    ],
    ids=["plain", "escaped", "jobs"],
)
def test_an_output_may_fill_a_frame_and_a_session_may_have_ten_thousand_jobs(message):
    payload = encode(message)
    assert len(payload) < 16 * 1024 * 1024
    assert decode(payload) == message


@examples
@given(any_text)
def test_a_text_that_xml_cannot_carry_is_known_beforehand_and_can_be_replaced(text):
    fit = replace_invalid_xml_chars(text)
    assert (arrived(fit), len(fit)) == (fit, len(text))
    if is_xml_text(text):
        assert fit == text
    else:
        with pytest.raises(ValueError):
            encode(Output(1, "stdout", text))


def test_only_what_xml_cannot_carry_is_replaced():
    assert replace_invalid_xml_chars("a\x00\x1b\ud800\ufffe\uffff\t\n\r\x7f\x9f\ud7ff\ue000\U0001fffe") == (
        "a\ufffd\ufffd\ufffd\ufffd\ufffd\t\n\r\x7f\x9f\ud7ff\ue000\U0001fffe"
    )


@examples
@given(any_text)
def test_what_is_shown_on_one_line_moves_no_cursor(text):
    assert escape_control_chars(text).isprintable()


def test_what_could_end_a_line_or_reorder_it_is_shown_escaped():
    text = "J\u00f6rg \u20ac a\r\nb\tc\x1b[2J\x07\x85\u2028\u202e\ud800"
    assert escape_control_chars(text) == "J\u00f6rg \u20ac" + r" a\r\nb\tc\x1b[2J\x07\x85\u2028\u202e\ud800"
