"""What a bcrypt hash, its salt and a password must look like, and the salts for users that do not exist."""

from __future__ import annotations

import bcrypt
import pytest

from headless.dialects import bcrypt_hash
from headless.server.accounts import decoy_salt
from support.credentials import HASH, PASSWORD, SALT


def test_a_salt_of_each_algorithm_and_of_cost_10_to_15_is_taken():
    for algorithm in ("2a", "2b", "2y"):
        for cost in range(10, 16):
            for last in ".Oeu":  # which has no bits to spare
                bcrypt_hash.check_salt(f"${algorithm}${cost}$abcdefghijklmnopqrstu{last}")


@pytest.mark.parametrize("cost", ["00", "09", "16", "99"])
def test_a_salt_of_another_cost_is_refused(cost):
    with pytest.raises(ValueError, match=rf"cost of {int(cost)}\b"):
        bcrypt_hash.check_salt(f"$2b${cost}$abcdefghijklmnopqrstuu")


def test_what_is_no_bcrypt_salt_is_refused():
    for salt in (
        "", "$2x$10$abcdefghijklmnopqrstuu", "$2$10$abcdefghijklmnopqrstuu", "$2b$9$abcdefghijklmnopqrstuu",
        "$2b$+9$abcdefghijklmnopqrstuu", "$2b$\N{ARABIC-INDIC DIGIT ONE}0$abcdefghijklmnopqrstuu", SALT[:-1],
        SALT + "u", SALT[:-1] + "v", SALT[:-2] + "=u", " " + SALT, SALT + "\n", HASH,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="salt"):
            bcrypt_hash.check_salt(salt)


def test_a_hash_is_what_a_bcrypt_library_would_write():
    for text in (HASH, HASH.replace("2b", "2a"), HASH.replace("2b", "2y"), HASH[:-1] + "."):
        assert bcrypt_hash.is_hash(text), text
    for text in (
        "", SALT, HASH[:-1], HASH + "u", HASH + "\n", " " + HASH, HASH.replace("2b", "2x"), HASH[:-1] + "v",
        HASH[:-2] + "=u", HASH[:28] + "v" + HASH[29:], HASH * 2,
    ):  # fmt: skip
        assert not bcrypt_hash.is_hash(text), text


@pytest.mark.version("bcrypt writes")
def test_what_bcrypt_writes_is_a_hash_with_a_salt_that_is_taken():
    secret = bcrypt.hashpw(bcrypt_hash.password_bytes(PASSWORD), SALT.encode())
    assert (secret, bcrypt_hash.salt_of(secret)) == (HASH.encode(), SALT)


def test_a_decoy_salt_uses_every_character_that_a_real_one_uses():
    salts = [decoy_salt(b"key", str(number), {"$2b$12$": 3, "$2a$10$": 3})[7:] for number in range(500)]
    assert set("".join(salts)) == set("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    assert {salt[-1] for salt in salts} == set(".Oeu")
    assert sum(salt[0] > "T" for salt in salts) == pytest.approx(250, abs=50)  # the choice leaves no trace


@pytest.mark.parametrize(
    ("password", "data"),
    [
        (" a b ", b" a b "),
        ("x", b"x"),
        ("e\u0301", b"\xc3\xa9"),  # typed with a combining accent
        ("\u212b", b"\xc3\x85"),  # the sign for angstrom
        ("\ufb01", b"\xef\xac\x81"),  # a ligature is no letters (NFKC would make it some)
        ("x" * 72, b"x" * 72),
        ("e\u0301" * 36, b"\xc3\xa9" * 36),  # 108 bytes before the normalisation
    ],
)
def test_a_password_is_nfc_normalised_utf_8_of_1_to_72_bytes(password, data):
    assert bcrypt_hash.password_bytes(password) == data


@pytest.mark.parametrize(
    ("password", "word"),
    [("", "0 bytes"), ("x" * 73, "73 bytes"), ("\u00e9" * 37, "74 bytes"), ("se\0cret", "NUL"), ("\udc80", "UTF-8")],
)
def test_a_password_that_bcrypt_would_not_look_at_is_refused_without_being_shown(password, word):
    with pytest.raises(ValueError, match=word) as caught:
        bcrypt_hash.password_bytes(password)
    assert not isinstance(caught.value, UnicodeError)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("content", [HASH.encode() + b"\0" * 4, HASH.encode() + b"\n\0\0\0", b"\0" + HASH.encode()])
def test_nul_bytes_after_a_hash_are_not_called_utf_16(content):
    """What a crash leaves of a file that was being written."""
    with pytest.raises(ValueError, match="holds NUL bytes besides the hash") as caught:
        bcrypt_hash.hash_in(content)
    assert not isinstance(caught.value, bcrypt_hash.WrongEncoding)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("text", [HASH, f"{HASH}\r\n", f" {HASH}\n"])
def test_a_hash_in_an_encoding_of_windows_is_to_be_saved_in_another_one(text, encoding):
    with pytest.raises(bcrypt_hash.WrongEncoding, match="save it as ASCII") as caught:
        bcrypt_hash.hash_in(text.encode(encoding))
    assert HASH[29:] not in str(caught.value)
