"""Frames, messages, hashes and salts of any input, drawn by hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.dialects import bcrypt_hash
from headless.dialects.own.codec import decode
from headless.dialects.own.frames import FrameReader
from headless.dialects.own.messages import Message
from headless.errors import RemoteProtocolError
from headless.server.accounts import decoy_salt
from support.hypothesis_settings import examples

pytestmark = [pytest.mark.slow, pytest.mark.version("lxml parses")]


@examples
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.data())
def test_any_split_of_any_frames_gives_the_same_payloads(sent, data):
    stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)])]
    reader = FrameReader()
    received: list[bytes] = []
    for piece in pieces:
        reader.receive(piece)
        received += iter(lambda: reader.next_payload(4096), None)
    assert received == sent


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
