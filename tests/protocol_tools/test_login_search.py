"""The formula of a login is found from recorded logins: digests, HMAC, xor, bcrypt and what they are made of. It counts
only if each login agrees, and it is said if too few were recorded."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

import bcrypt
import pytest

from headless.protocol_tools.login_search import Key, Login, LoginAnswer, search_login
from support.credentials import HASH
from support.sampling import one_of
from support.vendors.recorded import OTHER_HASH

KEY: Key = ("client", ("login",), "response")
NONCE: Key = ("server", ("hello",), "nonce")
SALT: Key = ("server", ("hello",), "salt")
MINE: Key = ("client", ("login",), "mine")
USER = "R41"


class Parts(NamedTuple):
    """What a formula may use: the hash, the nonces of server and client, the salt that the server has sent."""

    h: bytes
    n: str
    m: str
    s: str


def nonce_of(number: int) -> str:
    return hashlib.sha1(b"nonce %d" % number).hexdigest()[:24]


def login(formula, number: int, hash_: str = HASH, salt: str = "", has_mine: bool = False) -> Login:
    """A login in which this formula was used."""
    made = Login(f"login {number}", USER, hash_ == HASH)
    nonce, mine = nonce_of(number), hashlib.md5(b"mine %d" % number).hexdigest()[:10]
    text = formula(Parts(hash_.encode(), nonce, mine, salt))
    sent = {KEY: text, ("client", ("login",), "user"): USER, **({MINE: mine} if mine in text or has_mine else {})}
    made.add(sent, {NONCE: nonce, **({SALT: salt} if salt else {})}, {USER})
    return made


def search(formula, count: int = 2, wrong: int = 1, has_mine: bool = False) -> LoginAnswer:
    logins = [login(formula, number, has_mine=has_mine) for number in range(count)]
    logins += [login(formula, 90 + number, OTHER_HASH, has_mine=has_mine) for number in range(wrong)]
    return search_login(logins, HASH.encode())


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other))


FORMULAS = {
    "HMAC, the hash is the key": lambda x: hmac.new(x.h, x.n.encode(), "sha256").hexdigest(),
    "HMAC, the nonce is the key": lambda x: hmac.new(x.n.encode(), x.h, "sha1").hexdigest(),
    "HMAC of the unhexed nonce": lambda x: hmac.new(x.h, bytes.fromhex(x.n), "md5").hexdigest(),
    "HMAC with a digest as key, in capitals": lambda x: (
        hmac.new(sha256(x.h), x.n.encode(), "sha512").hexdigest().upper()
    ),
    "HMAC of nonce and user": lambda x: hmac.new(x.h, f"{x.n}:{USER}".encode(), "sha256").hexdigest(),
    "HMAC of both nonces": lambda x: hmac.new(x.h, f"{x.m}{x.n}".encode(), "sha256").hexdigest(),
    "nonce, hash": lambda x: hashlib.md5(x.n.encode() + x.h).hexdigest(),
    "hash, separator, nonce": lambda x: hashlib.sha1(x.h + b":" + x.n.encode()).hexdigest(),
    "hexadecimal digest of the hash, nonce": lambda x: hashlib.sha256(
        sha256(x.h).hex().encode() + x.n.encode()
    ).hexdigest(),
    "digest of the hash, in capitals": lambda x: hashlib.sha1(
        x.n.encode() + hashlib.md5(x.h).hexdigest().upper().encode()
    ).hexdigest(),
    "raw digest of the hash": lambda x: hashlib.sha384(x.n.encode() + sha256(x.h)).hexdigest(),
    "the nonce in capitals": lambda x: hashlib.sha256(x.n.upper().encode() + b"|" + x.h).hexdigest(),
    "user, nonce, hash": lambda x: hashlib.sha512(f"{USER}/{x.n}/".encode() + x.h).hexdigest(),
    "both nonces and the hash": lambda x: hashlib.sha256(f"{x.n},{x.m},".encode() + x.h).hexdigest(),
    "a digest of a digest": lambda x: hashlib.sha256(sha256(x.h, x.n.encode())).hexdigest(),
    "a digest of a hexadecimal digest": lambda x: hashlib.sha256(sha256(x.n.encode(), x.h).hex().encode()).hexdigest(),
    "base64 of a digest": lambda x: b64(sha256(x.n.encode(), x.h)),
    "base64 without =": lambda x: b64(sha256(x.n.encode(), x.h)).rstrip("="),
    "xor of two digests": lambda x: xor(sha256(x.h), sha256(x.n.encode())).hex(),
    "xor, as MySQL has it": lambda x: xor(
        hashlib.sha1(x.h).digest(),
        hashlib.sha1(x.n.encode() + hashlib.sha1(hashlib.sha1(x.h).digest()).digest()).digest(),
    ).hex(),
    "xor, as SCRAM has it": lambda x: b64(
        xor(sha256(x.h), hmac.new(sha256(sha256(x.h)), x.n.encode(), "sha256").digest())
    ),
    "hash and nonce as they are, in base64": lambda x: b64(x.n.encode() + b":" + x.h),
    "without the salt": lambda x: hashlib.sha256(x.h[29:] + x.n.encode()).hexdigest(),
}


@pytest.mark.parametrize("name", one_of(3, FORMULAS))
def test_a_formula_is_found(name):
    answer = search(FORMULAS[name], has_mine="both nonces" in name)
    assert answer.formula is not None, (name, answer)
    assert (answer.key, len(answer.fits), len(answer.wrong), answer.doubts) == (KEY, 2, 1, [])
    assert NONCE in answer.formula.keys


SALTED = {
    "bcrypt of the hash": lambda x: bcrypt.hashpw(x.h, x.s.encode()).decode(),
    "a digest of that": lambda x: hashlib.sha256(bcrypt.hashpw(x.h, x.s.encode())).hexdigest(),
    "HMAC with that": lambda x: hmac.new(bcrypt.hashpw(x.h, x.s.encode()), x.n.encode(), "sha256").hexdigest(),
    "that and the nonce": lambda x: hashlib.sha1(bcrypt.hashpw(x.h, x.s.encode()) + x.n.encode()).hexdigest(),
    "bcrypt of a digest": lambda x: bcrypt.hashpw(hashlib.md5(x.h).hexdigest().encode(), x.s.encode()).decode(),
}


@pytest.mark.parametrize("name", one_of(2, SALTED))
def test_bcrypt_with_a_salt_that_was_received_is_found(name):
    salts = ["$2b$04$" + letter * 21 + "u" for letter in "abc"]
    logins = [login(SALTED[name], number, HASH if number < 2 else OTHER_HASH, salts[number]) for number in range(3)]
    answer = search_login(logins, HASH.encode())
    assert answer.formula is not None, (name, answer)
    assert (len(answer.fits), len(answer.wrong)) == (2, 1)


def test_what_nothing_explains_is_said_with_the_number_of_formulas():
    answer = search(lambda x: hashlib.blake2s(x.h + x.n.encode()).hexdigest())
    assert answer.formula is None
    assert answer.tried > 10_000


def test_another_hash_explains_nothing():
    logins = [login(FORMULAS["nonce, hash"], number) for number in range(2)]
    assert search_login(logins, OTHER_HASH.encode()).formula is None


def test_a_formula_that_does_not_explain_a_second_login_is_none():
    logins = [login(FORMULAS["nonce, hash"], 1), login(FORMULAS["hash, separator, nonce"], 2)]
    answer = search_login(logins, HASH.encode())
    assert answer.formula is None
    assert "but not 'login 2'" in answer.problem


def test_one_login_alone_is_said_to_be_little():
    answer = search(FORMULAS["nonce, hash"], count=1)
    assert answer.formula is not None
    assert any("one login alone" in doubt for doubt in answer.doubts)


def test_the_same_login_twice_is_one():
    logins = [login(FORMULAS["nonce, hash"], 1), login(FORMULAS["nonce, hash"], 1)]
    assert any("one login alone" in doubt for doubt in search_login(logins, HASH.encode()).doubts)


def test_that_no_wrong_password_was_recorded_is_said():
    assert any("wrong password" in doubt for doubt in search(FORMULAS["nonce, hash"], wrong=0).doubts)


def test_what_explains_a_wrong_password_too_proves_nothing():
    def no_proof(x):
        return hashlib.md5(x.n.encode() + HASH.encode()).hexdigest()

    answer = search(no_proof)
    assert answer.formula is None
    assert "proves nothing" in answer.problem


def test_a_proof_that_is_the_same_each_time_is_said_to_be_one():
    answer = search(lambda x: hashlib.sha256(x.h).hexdigest())
    assert answer.formula is not None
    assert any("depends on nothing that the server sends" in doubt for doubt in answer.doubts)


def test_without_a_login_nothing_is_tried():
    assert search_login([], HASH.encode()).problem == "no login with a challenge and the right password was recorded"


def test_a_costly_salt_takes_no_hours():
    salt = "$2b$31$" + "a" * 21 + "u"
    answer = search_login([login(lambda _: "x" * 40, number, salt=salt) for number in range(2)], HASH.encode())
    assert answer.formula is None
