"""The challenge login: SCRAM against the vector of RFC 7677, nonces, and what neither end believes of the other."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from base64 import b64decode, b64encode

import pytest

from headless.dialects.base import Refused
from headless.dialects.bcrypt_hash import salt_of
from headless.dialects.own import scram
from headless.dialects.own.connection import ClientConnection
from headless.dialects.own.messages import Jobs, Logout, Response
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import Job
from headless.errors import LocalProtocolError, RemoteProtocolError
from support import scram as known_scram
from support.conversations import KEYS, ConnectionPair, receive
from support.credentials import HASH, SALT
from support.frames import frame
from support.literal_messages import (
    AUTH_MESSAGE,
    CLIENT_NAME,
    CLIENT_NONCE,
    NONCE,
    PROOF,
    SERVER_NONCE,
    SIGNATURE,
    frames_of,
)
from support.process import ROOT

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
    def test_the_vector_of_rfc_7677_gives_its_proof_and_its_signature_which_are_taken_as_right(self):
        stored_key, server_key = scram.keys_from(RFC_SECRET)
        assert scram.client_proof(RFC_SECRET, RFC_MESSAGE) == RFC_PROOF
        assert scram.server_signature(server_key, RFC_MESSAGE) == RFC_SIGNATURE
        assert scram.proof_is_right(stored_key, RFC_MESSAGE, RFC_PROOF)
        assert scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, RFC_SIGNATURE)

    def test_the_bcrypt_hash_takes_the_place_of_the_salted_password(self):
        secret = HASH.encode()
        assert scram.auth_message("R41", CLIENT_NONCE, NONCE, SALT) == AUTH_MESSAGE
        assert scram.client_proof(secret, AUTH_MESSAGE) == PROOF
        assert scram.server_signature(KEYS.server_key, AUTH_MESSAGE) == SIGNATURE
        assert scram.Keys(salt_of(secret), *scram.keys_from(secret)) == KEYS

    def test_any_flipped_bit_makes_a_proof_and_a_signature_wrong(self):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        assert not any(scram.proof_is_right(stored_key, RFC_MESSAGE, proof) for proof in flipped(RFC_PROOF))
        assert not any(scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, other) for other in flipped(RFC_SIGNATURE))

    @pytest.mark.parametrize("nonsense", [*NO_BASE64, *WRONG_LENGTH, *TOO_MUCH, RFC_PROOF[:-1], RFC_SIGNATURE[:-1]])
    def test_what_is_no_base64_of_32_bytes_is_wrong_and_raises_nothing(self, nonsense):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        assert scram.proof_is_right(stored_key, RFC_MESSAGE, nonsense) is False
        assert scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, nonsense) is False

    def test_proof_and_signature_belong_to_one_secret_and_one_message_and_are_not_the_same(self):
        stored_key, _ = scram.keys_from(RFC_SECRET)
        other_key, _ = scram.keys_from(HASH.encode())
        assert not scram.proof_is_right(other_key, RFC_MESSAGE, RFC_PROOF)
        assert not scram.proof_is_right(stored_key, RFC_MESSAGE + b"0", RFC_PROOF)
        assert not scram.proof_is_right(stored_key, RFC_MESSAGE, RFC_SIGNATURE)
        assert not scram.signature_is_right(HASH.encode(), RFC_MESSAGE, RFC_SIGNATURE)
        assert not scram.signature_is_right(RFC_SECRET, RFC_MESSAGE, RFC_PROOF)

    @pytest.mark.parametrize(
        ("user", "name"), [("a=b,c", b"a=3Db=2Cc"), ("=2C", b"=3D2C"), ("J\xf6rg", b"J\xc3\xb6rg")]
    )
    def test_the_user_is_written_as_rfc_5802_does(self, user, name):
        assert scram.auth_message(user, "cn", "cnsn", SALT) == (
            b"n=" + name + b",r=cn,r=cnsn,f=$2b$10$abcdefghijklmnopqrstuu,c=biws,r=cnsn"
        )


@pytest.mark.slow
@pytest.mark.version("how hashlib is loaded")
def test_an_algorithm_that_cannot_be_loaded_now_is_no_traceback():
    code = "import sys; sys.modules['_blake2'] = None; from headless.dialects.own.scram import *; print(NONCE_BYTES)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "24\n", "")


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
        assert scram.NONCE_BYTES >= 18  # which are 24 characters of base64

    @pytest.mark.parametrize("nonce", ["!" * 24, "+-~" * 8, "x" * 1000])
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


class TestTheClientsDoubts:
    @pytest.mark.parametrize(
        "signature",
        [None, "", SIGNATURE[:-1], f" {SIGNATURE}", SIGNATURE.swapcase(), PROOF, "\N{GREEK SMALL LETTER ALPHA}"],
    )
    def test_a_server_that_does_not_prove_itself_is_left(self, signature):
        client = ConnectionPair("login:challenge", "challenge", "response").client
        attribute = "" if signature is None else f' signature="{signature}"'
        with pytest.raises(RemoteProtocolError, match="password"):
            receive(client, frame(f'<welcome session="S1"{attribute}/>'))
        with pytest.raises(LocalProtocolError):
            client.send(Jobs((Job("module", "A"),)))
        assert client.send(Logout()) == frame("<logout/>")

    def test_the_signature_of_an_earlier_session_proves_nothing(self):
        client = ClientConnection(CLIENT_NAME)
        client.send(client.challenge_login("R41", CLIENT_NONCE[::-1]))
        receive(client, frame(f'<challenge nonce="{CLIENT_NONCE[::-1]}{SERVER_NONCE}" salt="{SALT}"/>'))
        client.send(client.response(HASH.encode()))
        with pytest.raises(RemoteProtocolError, match="password"):
            receive(client, frames_of("welcome:signed"))

    def test_a_signature_where_there_is_no_secret_is_a_protocol_error(self):
        pair = ConnectionPair("login:osuser")
        with pytest.raises(RemoteProtocolError, match="signed"):
            receive(pair.client, frames_of("welcome:signed"))

    @pytest.mark.parametrize(
        ("nonce", "salt", "reason"),
        [
            (CLIENT_NONCE, SALT, "nonce"),
            (SERVER_NONCE, SALT, "nonce"),
            (SERVER_NONCE + CLIENT_NONCE, SALT, "nonce"),
            (" " + NONCE, SALT, "nonce"),
            (CLIENT_NONCE.swapcase() + SERVER_NONCE, SALT, "nonce"),
            (CLIENT_NONCE[:-1] + SERVER_NONCE * 2, SALT, "nonce"),
            (CLIENT_NONCE + SERVER_NONCE[1:], SALT, "nonce"),
            (CLIENT_NONCE + "," + SERVER_NONCE, SALT, "nonce"),
            ("", SALT, "nonce"),
            (NONCE, SALT.replace("10", "09"), "cost"),
            (NONCE, HASH, "salt"),
            (NONCE, "", "salt"),
        ],
    )
    def test_a_challenge_with_a_wrong_nonce_or_salt_is_a_protocol_error(self, nonce, salt, reason):
        pair = ConnectionPair("login:challenge")
        with pytest.raises(RemoteProtocolError, match=reason):
            receive(pair.client, frame(f'<challenge nonce="{nonce}" salt="{salt}"/>'))


class TestTheServersDoubts:
    @pytest.mark.parametrize(
        "attributes",
        [
            f'auth_type="challenge" nonce="{CLIENT_NONCE}"',
            'auth_type="challenge" user="R41"',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE}" os_user="jdoe"',
            'auth_type="challenge" user="R41" nonce=""',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE[1:]}"',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE},"',
            f'auth_type="challenge" user="R41" nonce="{CLIENT_NONCE} "',
            'auth_type="osuser"',
            'auth_type="osuser" user="R41"',
            f'auth_type="osuser" os_user="jdoe" nonce="{CLIENT_NONCE}"',
        ],
    )
    def test_a_login_that_its_kind_does_not_allow_is_a_protocol_error(self, attributes):
        with pytest.raises(RemoteProtocolError):
            receive(ServerConnection(), frame(f'<login version="1" client="c" {attributes}/>'))

    def challenged(self) -> ServerConnection:
        return ConnectionPair("login:challenge", "challenge").server

    def test_a_right_proof_is_answered_with_the_servers_own_and_proves_nothing_for_other_keys(self):
        server = self.challenged()
        receive(server, frames_of("response"))
        assert server.signature(KEYS) == SIGNATURE
        other = scram.keys_from(HASH.replace("Xu", "Xy").encode())
        assert server.signature(scram.Keys(SALT, *other)) is None

    @pytest.mark.parametrize("nonce", [CLIENT_NONCE, SERVER_NONCE, NONCE + "x", NONCE[::-1], ""])
    def test_a_right_proof_with_another_nonce_proves_nothing(self, nonce):
        server = self.challenged()
        receive(server, frame(f'<response nonce="{nonce}" proof="{PROOF}"/>'))
        assert server.signature(KEYS) is None

    def test_a_proof_for_a_nonce_of_the_clients_choice_proves_nothing(self):
        server = self.challenged()
        nonce = CLIENT_NONCE + SERVER_NONCE[::-1]
        proof = known_scram.proof(HASH.encode(), known_scram.auth_message("R41", CLIENT_NONCE, nonce, SALT))
        receive(server, frame(f'<response nonce="{nonce}" proof="{proof}"/>'))
        assert server.signature(KEYS) is None

    @pytest.mark.parametrize("proof", [SIGNATURE, PROOF.swapcase(), PROOF[4:], "", "?", "\N{GREEK SMALL LETTER ALPHA}"])
    def test_a_wrong_proof_proves_nothing_and_is_no_protocol_error(self, proof):
        server = self.challenged()
        assert isinstance(receive(server, frame(f'<response nonce="{NONCE}" proof="{proof}"/>'))[0], Response)
        assert server.signature(KEYS) is None
        assert server.send(Refused("login", "no")) == frame('<refused reason="login">no</refused>')
