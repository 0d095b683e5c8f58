"""What a bcrypt hash, its salt and a password must look like, and the salts for users that do not exist."""

from __future__ import annotations

import bcrypt
import pytest

from headless.dialects import bcrypt_hash
from headless.server.accounts import decoy_salt
from support.credentials import HASH, PASSWORD, SALT


class TestSaltsAndHashes:
    def test_a_salt_of_each_algorithm_and_of_cost_10_to_15_is_taken(self):
        for algorithm in ("2a", "2b", "2y"):
            for cost in range(10, 16):
                bcrypt_hash.check_salt(f"${algorithm}${cost}$abcdefghijklmnopqrstuu")

    @pytest.mark.parametrize("cost", ["00", "04", "09", "16", "31", "99"])
    def test_a_salt_of_another_cost_is_refused(self, cost):
        with pytest.raises(ValueError, match=rf"cost of {int(cost)}\b"):
            bcrypt_hash.check_salt(f"$2b${cost}$abcdefghijklmnopqrstuu")

    @pytest.mark.parametrize("last", ".Oeu")
    def test_the_last_character_of_a_salt_has_no_bits_to_spare(self, last):
        bcrypt_hash.check_salt("$2b$10$abcdefghijklmnopqrstu" + last)

    def test_what_is_no_bcrypt_salt_is_refused(self):
        for salt in (
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
        ):
            with pytest.raises(ValueError, match="salt"):
                bcrypt_hash.check_salt(salt)

    def test_a_whole_bcrypt_hash_is_a_hash(self):
        for secret in (HASH, HASH.replace("2b", "2a"), HASH.replace("2b", "2y"), HASH[:-1] + "."):
            assert bcrypt_hash.is_hash(secret), secret

    def test_what_a_bcrypt_library_would_not_write_is_no_hash(self):
        for text in (
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
        ):
            assert not bcrypt_hash.is_hash(text), text

    @pytest.mark.version("bcrypt writes")
    def test_what_bcrypt_writes_is_a_hash_with_a_salt_that_is_taken(self):
        secret = bcrypt.hashpw(bcrypt_hash.password_bytes(PASSWORD), SALT.encode())
        assert secret == HASH.encode()
        assert bcrypt_hash.salt_of(secret) == SALT

    def test_a_decoy_salt_uses_every_character_that_a_real_one_uses(self):
        salts = [decoy_salt(b"key", str(number), {"$2b$12$": 3, "$2a$10$": 3})[7:] for number in range(500)]
        assert set("".join(salts)) == set("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
        assert {salt[-1] for salt in salts} == set(".Oeu")
        assert sum(salt[0] > "T" for salt in salts) == pytest.approx(250, abs=50)  # the choice leaves no trace


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
        assert bcrypt_hash.password_bytes(password) == data

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
            bcrypt_hash.password_bytes(password)
        assert not isinstance(caught.value, UnicodeError)
        assert not password or password not in str(caught.value)


@pytest.mark.parametrize("content", [HASH.encode() + b"\0" * 4, HASH.encode() + b"\n\0\0\0", b"\0" + HASH.encode()])
def test_nul_bytes_after_a_hash_are_not_called_utf_16(content):
    """What a crash leaves of a file that was being written."""
    with pytest.raises(ValueError, match="holds NUL bytes besides the hash") as caught:
        bcrypt_hash.hash_in(content)
    assert not isinstance(caught.value, bcrypt_hash.WrongEncoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [HASH, f"{HASH}\r\n", f" {HASH}\n"])
def test_a_hash_in_utf_16_is(text, encoding):
    with pytest.raises(bcrypt_hash.WrongEncoding, match="UTF-16"):
        bcrypt_hash.hash_in(text.encode(encoding))
