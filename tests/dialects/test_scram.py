"""The pure functions of the challenge login: SCRAM against the vector of RFC 7677, and what a nonce must look like."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from pathlib import Path

import bcrypt
import pytest

from headless.dialects.bcrypt_hash import salt_of
from headless.dialects.own import scram
from headless.errors import RemoteProtocolError
from support.conversations import KEYS
from support.credentials import HASH, PASSWORD, SALT
from support.literal_messages import AUTH_MESSAGE, CLIENT_NONCE, NONCE, PROOF, SERVER_NONCE, SIGNATURE

# RFC 7677, section 3
RFC_SECRET = hashlib.pbkdf2_hmac("sha256", b"pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
RFC_MESSAGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
RFC_PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
RFC_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


# The last one is right, but for a line's end.
NO_BASE64 = ["", "=", "A", "====", "not base64", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\x00", RFC_PROOF + "\n"]
WRONG_LENGTH = [b64encode(bytes(length)).decode() for length in (1, 31, 33, 64)]
TOO_MUCH = [b64encode(b64decode(right) + b"\x00").decode() for right in (RFC_PROOF, RFC_SIGNATURE)]


class TestScram:
    def test_the_vector_of_rfc_7677_gives_its_proof_and_its_signature(self):
        _, server_key = scram.keys_from(RFC_SECRET)
        assert scram.client_proof(RFC_SECRET, RFC_MESSAGE) == RFC_PROOF
        assert scram.server_signature(server_key, RFC_MESSAGE) == RFC_SIGNATURE

    def test_the_vector_of_rfc_7677_is_taken_as_right(self):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        assert scram.proof_is_right(stored_key, RFC_MESSAGE, RFC_PROOF)
        assert scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, RFC_SIGNATURE)

    def test_the_bcrypt_hash_takes_the_place_of_the_salted_password(self):
        secret = HASH.encode()
        assert scram.auth_message("R41", CLIENT_NONCE, NONCE, SALT) == AUTH_MESSAGE
        assert scram.client_proof(secret, AUTH_MESSAGE) == PROOF
        assert scram.server_signature(KEYS.server_key, AUTH_MESSAGE) == SIGNATURE
        assert scram.Keys(salt_of(secret), *scram.keys_from(secret)) == KEYS

    def test_the_example_of_the_protocols_page_is_right(self):
        page = Path(scram.__file__).with_name("PROTOCOL.md").read_text(encoding="utf-8")
        ((user, client_nonce),) = re.findall(r'^login +user="(.*)" nonce="(.*)"$', page, re.MULTILINE)
        ((nonce, salt),) = re.findall(r'^challenge +nonce="(.*)" salt="(.*)"$', page, re.MULTILINE)
        (secret,) = (found.encode() for found in re.findall(r"^hash +(\S+)$", page, re.MULTILINE))
        scram.check_client_nonce(client_nonce)
        scram.check_server_nonce(nonce, client_nonce)
        message = scram.auth_message(user, client_nonce, nonce, salt)
        assert secret == bcrypt.hashpw(PASSWORD.encode(), salt.encode())
        assert f'proof="{scram.client_proof(secret, message)}"' in page
        assert f'signature="{scram.server_signature(scram.keys_from(secret)[1], message)}"' in page

    def test_any_flipped_bit_makes_a_proof_and_a_signature_wrong(self):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        assert not any(scram.proof_is_right(stored_key, RFC_MESSAGE, proof) for proof in flipped(RFC_PROOF))
        assert not any(scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, other) for other in flipped(RFC_SIGNATURE))

    @pytest.mark.parametrize("nonsense", [*NO_BASE64, *WRONG_LENGTH, *TOO_MUCH, RFC_PROOF[:-1], RFC_SIGNATURE[:-1]])
    def test_what_is_no_base64_of_32_bytes_is_wrong_and_raises_nothing(self, nonsense):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        assert scram.proof_is_right(stored_key, RFC_MESSAGE, nonsense) is False
        assert scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, nonsense) is False

    def test_proof_and_signature_belong_to_one_secret_and_one_message(self):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        other_key, _ = scram.keys_from(HASH.encode())
        assert not scram.proof_is_right(other_key, RFC_MESSAGE, RFC_PROOF)
        assert not scram.proof_is_right(stored_key, RFC_MESSAGE + b"0", RFC_PROOF)
        assert not scram.signature_is_right(HASH.encode(), RFC_MESSAGE, RFC_SIGNATURE)
        assert not scram.signature_is_right(RFC_SECRET, RFC_MESSAGE + b"0", RFC_SIGNATURE)

    def test_neither_is_taken_for_the_other(self):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        assert not scram.proof_is_right(stored_key, RFC_MESSAGE, RFC_SIGNATURE)
        assert not scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, RFC_PROOF)

    @pytest.mark.parametrize(
        ("user", "name"),
        [
            ("R41", b"R41"),
            ("a=b,c", b"a=3Db=2Cc"),
            ("=2C", b"=3D2C"),
            (",=", b"=2C=3D"),
            ("J\N{LATIN SMALL LETTER O WITH DIAERESIS}rg", b"J\xc3\xb6rg"),
        ],
    )
    def test_the_user_is_written_as_rfc_5802_does(self, user, name):
        assert scram.auth_message(user, "cn", "cnsn", SALT) == (
            b"n=" + name + b",r=cn,r=cnsn,f=$2b$10$abcdefghijklmnopqrstuu,c=biws,r=cnsn"
        )


def flipped(text: str) -> list[str]:
    """The text, in base64, with each of its 256 bits flipped in turn."""
    number = int.from_bytes(b64decode(text), "big")
    return [b64encode((number ^ 1 << bit).to_bytes(32, "big")).decode() for bit in range(256)]


class TestNonces:
    @pytest.mark.parametrize("random", [bytes(24), b"\xff" * 24, bytes(range(200, 224))])
    def test_a_nonce_of_ours_is_one_that_both_ends_take(self, random):
        nonce = scram.new_nonce(random)
        scram.check_client_nonce(nonce)
        scram.check_server_nonce(CLIENT_NONCE + nonce, CLIENT_NONCE)
        assert len(nonce) >= 24
        assert nonce != scram.new_nonce(random[:-1] + b"x")

    def test_a_nonce_is_made_of_enough_random_bytes(self):
        assert scram.NONCE_BYTES >= 18  # which are 24 characters of base64

    @pytest.mark.parametrize("nonce", ["x" * 24, "!" * 24, "+-~" * 8, "x" * 1000])
    def test_printable_characters_without_comma_are_a_nonce(self, nonce):
        scram.check_client_nonce(nonce)
        scram.check_server_nonce(CLIENT_NONCE + nonce, CLIENT_NONCE)

    @pytest.mark.parametrize(
        "nonce", ["", "x" * 23, *("x" * 23 + c + "x" for c in ", \t\n\x00\x7f\x80\xe9\uff21"), "x" * 24 + "\n"]
    )
    def test_what_is_too_short_or_not_printable_is_no_nonce(self, nonce):
        with pytest.raises(RemoteProtocolError, match="nonce"):
            scram.check_client_nonce(nonce)
        with pytest.raises(RemoteProtocolError, match="nonce"):
            scram.check_server_nonce(CLIENT_NONCE + nonce, CLIENT_NONCE)

    @pytest.mark.parametrize(
        "nonce",
        [
            SERVER_NONCE,
            SERVER_NONCE + CLIENT_NONCE,
            " " + NONCE,
            CLIENT_NONCE.swapcase() + SERVER_NONCE,
            CLIENT_NONCE[:-1] + SERVER_NONCE * 2,
        ],
    )
    def test_a_servers_nonce_that_does_not_begin_with_the_clients_is_refused(self, nonce):
        with pytest.raises(RemoteProtocolError, match="nonce"):
            scram.check_server_nonce(nonce, CLIENT_NONCE)
