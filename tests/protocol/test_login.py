"""The pure functions of the two logins: SCRAM against the vector of RFC 7677, and what nonces, salts, hashes and
passwords must look like."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headless.outcome import ProtocolError
from headless.protocol import login
from support.conversations import KEYS
from support.credentials import HASH, PASSWORD, SALT
from support.hypothesis_settings import examples
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
        _, server_key = login.keys_from(RFC_SECRET)
        assert login.client_proof(RFC_SECRET, RFC_MESSAGE) == RFC_PROOF
        assert login.server_signature(server_key, RFC_MESSAGE) == RFC_SIGNATURE

    def test_the_vector_of_rfc_7677_is_taken_as_right(self):
        stored_key, _ = login.keys_from(RFC_SECRET)
        assert login.proof_is_right(stored_key, RFC_MESSAGE, RFC_PROOF)
        assert login.signature_is_right(RFC_SECRET, RFC_MESSAGE, RFC_SIGNATURE)

    def test_the_bcrypt_hash_takes_the_place_of_the_salted_password(self):
        secret = HASH.encode()
        assert login.auth_message("R41", CLIENT_NONCE, NONCE, SALT) == AUTH_MESSAGE
        assert login.client_proof(secret, AUTH_MESSAGE) == PROOF
        assert login.server_signature(KEYS.server_key, AUTH_MESSAGE) == SIGNATURE
        assert (login.salt_of(secret), *login.keys_from(secret)) == KEYS

    def test_the_example_of_the_protocols_page_is_right(self):
        page = Path(login.__file__).with_name("PROTOCOL.md").read_text(encoding="utf-8")
        ((user, client_nonce),) = re.findall(r'^login +user="(.*)" nonce="(.*)"$', page, re.MULTILINE)
        ((nonce, salt),) = re.findall(r'^challenge +nonce="(.*)" salt="(.*)"$', page, re.MULTILINE)
        (secret,) = (found.encode() for found in re.findall(r"^hash +(\S+)$", page, re.MULTILINE))
        login.check_client_nonce(client_nonce)
        login.check_server_nonce(nonce, client_nonce)
        message = login.auth_message(user, client_nonce, nonce, salt)
        assert secret == bcrypt.hashpw(PASSWORD.encode(), salt.encode())
        assert f'proof="{login.client_proof(secret, message)}"' in page
        assert f'signature="{login.server_signature(login.keys_from(secret)[1], message)}"' in page

    def test_any_flipped_bit_makes_a_proof_and_a_signature_wrong(self):
        stored_key, _ = login.keys_from(RFC_SECRET)
        assert not any(login.proof_is_right(stored_key, RFC_MESSAGE, proof) for proof in flipped(RFC_PROOF))
        assert not any(login.signature_is_right(RFC_SECRET, RFC_MESSAGE, other) for other in flipped(RFC_SIGNATURE))

    @pytest.mark.parametrize("nonsense", [*NO_BASE64, *WRONG_LENGTH, *TOO_MUCH, RFC_PROOF[:-1], RFC_SIGNATURE[:-1]])
    def test_what_is_no_base64_of_32_bytes_is_wrong_and_raises_nothing(self, nonsense):
        stored_key, _ = login.keys_from(RFC_SECRET)
        assert login.proof_is_right(stored_key, RFC_MESSAGE, nonsense) is False
        assert login.signature_is_right(RFC_SECRET, RFC_MESSAGE, nonsense) is False

    def test_proof_and_signature_belong_to_one_secret_and_one_message(self):
        stored_key, _ = login.keys_from(RFC_SECRET)
        other_key, _ = login.keys_from(HASH.encode())
        assert not login.proof_is_right(other_key, RFC_MESSAGE, RFC_PROOF)
        assert not login.proof_is_right(stored_key, RFC_MESSAGE + b"0", RFC_PROOF)
        assert not login.signature_is_right(HASH.encode(), RFC_MESSAGE, RFC_SIGNATURE)
        assert not login.signature_is_right(RFC_SECRET, RFC_MESSAGE + b"0", RFC_SIGNATURE)

    def test_neither_is_taken_for_the_other(self):
        stored_key, _ = login.keys_from(RFC_SECRET)
        assert not login.proof_is_right(stored_key, RFC_MESSAGE, RFC_SIGNATURE)
        assert not login.signature_is_right(RFC_SECRET, RFC_MESSAGE, RFC_PROOF)

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
        assert login.auth_message(user, "cn", "cnsn", SALT) == (
            b"n=" + name + b",r=cn,r=cnsn,f=$2b$10$abcdefghijklmnopqrstuu,c=biws,r=cnsn"
        )


def flipped(text: str) -> list[str]:
    """The text, in base64, with each of its 256 bits flipped in turn."""
    number = int.from_bytes(b64decode(text), "big")
    return [b64encode((number ^ 1 << bit).to_bytes(32, "big")).decode() for bit in range(256)]


class TestNonces:
    @pytest.mark.parametrize("random", [bytes(24), b"\xff" * 24, bytes(range(200, 224))])
    def test_a_nonce_of_ours_is_one_that_both_ends_take(self, random):
        nonce = login.new_nonce(random)
        login.check_client_nonce(nonce)
        login.check_server_nonce(CLIENT_NONCE + nonce, CLIENT_NONCE)
        assert len(nonce) >= 24
        assert nonce != login.new_nonce(random[:-1] + b"x")

    def test_a_nonce_is_made_of_enough_random_bytes(self):
        assert login.NONCE_BYTES >= 18  # which are 24 characters of base64

    @pytest.mark.parametrize("nonce", ["x" * 24, "!" * 24, "+-~" * 8, "x" * 1000])
    def test_printable_characters_without_comma_are_a_nonce(self, nonce):
        login.check_client_nonce(nonce)
        login.check_server_nonce(CLIENT_NONCE + nonce, CLIENT_NONCE)

    @pytest.mark.parametrize(
        "nonce", ["", "x" * 23, *("x" * 23 + c + "x" for c in ", \t\n\x00\x7f\x80\xe9\uff21"), "x" * 24 + "\n"]
    )
    def test_what_is_too_short_or_not_printable_is_no_nonce(self, nonce):
        with pytest.raises(ProtocolError, match="nonce"):
            login.check_client_nonce(nonce)
        with pytest.raises(ProtocolError, match="nonce"):
            login.check_server_nonce(CLIENT_NONCE + nonce, CLIENT_NONCE)

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
        with pytest.raises(ProtocolError, match="nonce"):
            login.check_server_nonce(nonce, CLIENT_NONCE)


class TestSaltsAndHashes:
    @pytest.mark.parametrize("algorithm", ["2a", "2b", "2y"])
    @pytest.mark.parametrize("cost", range(10, 16))
    def test_a_salt_of_each_algorithm_and_of_cost_10_to_15_is_taken(self, algorithm, cost):
        login.check_salt(f"${algorithm}${cost}$abcdefghijklmnopqrstuu")

    @pytest.mark.parametrize("cost", ["00", "04", "09", "16", "31", "99"])
    def test_a_salt_of_another_cost_is_refused(self, cost):
        with pytest.raises(ProtocolError, match=rf"cost of {int(cost)}\b"):
            login.check_salt(f"$2b${cost}$abcdefghijklmnopqrstuu")

    @pytest.mark.parametrize("last", ".Oeu")
    def test_the_last_character_of_a_salt_has_no_bits_to_spare(self, last):
        login.check_salt("$2b$10$abcdefghijklmnopqrstu" + last)

    @pytest.mark.parametrize(
        "salt",
        [
            "",
            "$2x$10$abcdefghijklmnopqrstuu",
            "$2$10$abcdefghijklmnopqrstuu",
            "$2b$9$abcdefghijklmnopqrstuu",
            "$2b$+9$abcdefghijklmnopqrstuu",
            "$2b$010$abcdefghijklmnopqrstuu",
            "$2b$\N{ARABIC-INDIC DIGIT ONE}0$abcdefghijklmnopqrstuu",
            "$2b$10$abcdefghijklmnopqrstu",
            "$2b$10$abcdefghijklmnopqrstuuu",
            "$2b$10$abcdefghijklmnopqrstuv",
            "$2b$10$abcdefghijklmnopqrst=u",
            " $2b$10$abcdefghijklmnopqrstuu",
            "$2b$10$abcdefghijklmnopqrstuu\n",
            HASH,
        ],
    )
    def test_what_is_no_bcrypt_salt_is_refused(self, salt):
        with pytest.raises(ProtocolError, match="salt"):
            login.check_salt(salt)

    @pytest.mark.parametrize("secret", [HASH, HASH.replace("2b", "2a"), HASH.replace("2b", "2y"), HASH[:-1] + "."])
    def test_a_whole_bcrypt_hash_is_a_hash(self, secret):
        assert login.is_hash(secret)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            SALT,
            HASH[:-1],
            HASH + "u",
            HASH + "\n",
            " " + HASH,
            HASH.replace("2b", "2x"),
            HASH[:-1] + "v",
            HASH[:-2] + "=u",
            HASH[:28] + "v" + HASH[29:],
            HASH * 2,
        ],
    )
    def test_what_a_bcrypt_library_would_not_write_is_no_hash(self, text):
        assert not login.is_hash(text)

    def test_what_bcrypt_writes_is_a_hash_with_a_salt_that_is_taken(self):
        secret = bcrypt.hashpw(login.password_bytes(PASSWORD), SALT.encode())
        assert secret == HASH.encode()
        assert login.salt_of(secret) == SALT

    @examples
    @given(st.binary(min_size=16, max_size=40), st.text(st.characters(exclude_categories=["Cs"])))
    def test_a_made_up_salt_looks_like_a_real_one_and_stays_the_same(self, key, user):
        salt = login.made_up_salt(key, user, 12)
        login.check_salt(salt)
        assert salt.startswith("$2b$12$")
        assert salt == login.made_up_salt(key, user, 12)
        assert salt != login.made_up_salt(key, user + "x", 12)
        assert salt != login.made_up_salt(key + b"x", user, 12)

    def test_a_made_up_salt_uses_every_character_that_a_real_one_uses(self):
        salts = [login.made_up_salt(b"key", str(number), 12)[7:] for number in range(500)]
        assert set("".join(salts)) == set("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
        assert {salt[-1] for salt in salts} == set(".Oeu")


class TestPasswords:
    @pytest.mark.parametrize(
        ("password", "data"),
        [
            ("pencil", b"pencil"),
            (" a b ", b" a b "),
            ("\u00e9", b"\xc3\xa9"),
            ("e\u0301", b"\xc3\xa9"),  # typed with a combining accent
            ("\u212b", b"\xc3\x85"),  # the sign for angstrom
            ("\ufb01", b"\xef\xac\x81"),  # a ligature is no letters (NFKC would make it some)
            ("x" * 72, b"x" * 72),
            ("\u00e9" * 36, b"\xc3\xa9" * 36),
            ("e\u0301" * 36, b"\xc3\xa9" * 36),  # 108 bytes before the normalisation
        ],
    )
    def test_a_password_is_nfc_normalised_utf_8_of_1_to_72_bytes(self, password, data):
        assert login.password_bytes(password) == data

    @pytest.mark.parametrize(
        ("password", "word"),
        [
            ("", "0 bytes"),
            ("x" * 73, "73 bytes"),
            ("\u00e9" * 37, "74 bytes"),
            ("se\0cret", "NUL"),
            ("\udc80", "UTF-8"),
        ],
    )
    def test_a_password_that_bcrypt_would_not_look_at_is_refused_without_being_shown(self, password, word):
        with pytest.raises(ValueError, match=word) as caught:
            login.password_bytes(password)
        assert not isinstance(caught.value, UnicodeError)
        assert not password or password not in str(caught.value)
