"""What each end does not believe: the client a challenge and a signature, the server a login and a proof."""

from __future__ import annotations

import pytest

from headless.dialects.base import Refused
from headless.dialects.own import scram as package_scram
from headless.dialects.own.connection import ClientConnection
from headless.dialects.own.messages import Jobs, Logout, Response
from headless.dialects.own.server_connection import ServerConnection
from headless.dialects.vocabulary import Job
from headless.errors import LocalProtocolError, RemoteProtocolError
from support import scram
from support.conversations import KEYS, ConnectionPair, receive
from support.credentials import HASH, SALT
from support.frames import frame
from support.literal_messages import CLIENT_NAME, CLIENT_NONCE, NONCE, PROOF, SERVER_NONCE, SIGNATURE, frames_of


class TestTheClientsDoubts:
    @pytest.mark.parametrize(
        "welcome",
        [
            '<welcome session="S1"/>',
            '<welcome session="S1" signature=""/>',
            f'<welcome session="S1" signature="{SIGNATURE[:-1]}"/>',
            f'<welcome session="S1" signature=" {SIGNATURE}"/>',
            f'<welcome session="S1" signature="{SIGNATURE.swapcase()}"/>',
            f'<welcome session="S1" signature="{PROOF}"/>',
            '<welcome session="S1" signature="\N{GREEK SMALL LETTER ALPHA}"/>',
        ],
    )
    def test_a_server_that_does_not_prove_itself_is_not_welcomed(self, welcome):
        pair = ConnectionPair("login:challenge", "challenge", "response")
        with pytest.raises(RemoteProtocolError, match="password"):
            receive(pair.client, frame(welcome))

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
            (SERVER_NONCE + CLIENT_NONCE, SALT, "nonce"),
            (CLIENT_NONCE + SERVER_NONCE[1:], SALT, "nonce"),
            (CLIENT_NONCE + "," + SERVER_NONCE, SALT, "nonce"),
            ("", SALT, "nonce"),
            (NONCE, SALT.replace("10", "09"), "cost"),
            (NONCE, SALT.replace("10", "16"), "cost"),
            (NONCE, SALT.replace("2b", "2x"), "salt"),
            (NONCE, SALT[:-1] + "v", "salt"),
            (NONCE, HASH, "salt"),
            (NONCE, "", "salt"),
        ],
    )
    def test_a_challenge_with_a_wrong_nonce_or_salt_is_a_protocol_error(self, nonce, salt, reason):
        pair = ConnectionPair("login:challenge")
        with pytest.raises(RemoteProtocolError, match=reason):
            receive(pair.client, frame(f'<challenge nonce="{nonce}" salt="{salt}"/>'))

    def test_the_client_sends_nothing_to_a_server_that_it_does_not_believe_but_that_it_leaves(self):
        pair = ConnectionPair("login:challenge", "challenge", "response")
        with pytest.raises(RemoteProtocolError):
            receive(pair.client, frames_of("welcome"))
        with pytest.raises(LocalProtocolError):
            pair.client.send(Jobs((Job("module", "A"),)))
        assert pair.client.send(Logout()) == frame("<logout/>")


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

    def test_a_right_proof_is_answered_with_the_servers_own(self):
        server = self.challenged()
        receive(server, frames_of("response"))
        assert server.signature(KEYS) == SIGNATURE

    def test_a_proof_proves_nothing_for_other_keys(self):
        server = self.challenged()
        receive(server, frames_of("response"))
        other = package_scram.keys_from(HASH.replace("Xu", "Xy").encode())
        assert server.signature(package_scram.Keys(SALT, *other)) is None

    @pytest.mark.parametrize("nonce", [CLIENT_NONCE, SERVER_NONCE, NONCE + "x", NONCE[::-1], ""])
    def test_a_right_proof_with_another_nonce_proves_nothing(self, nonce):
        server = self.challenged()
        receive(server, frame(f'<response nonce="{nonce}" proof="{PROOF}"/>'))
        assert server.signature(KEYS) is None

    def test_a_proof_for_a_nonce_of_the_clients_choice_proves_nothing(self):
        server = self.challenged()
        nonce = CLIENT_NONCE + SERVER_NONCE[::-1]
        proof = scram.proof(HASH.encode(), scram.auth_message("R41", CLIENT_NONCE, nonce, SALT))
        receive(server, frame(f'<response nonce="{nonce}" proof="{proof}"/>'))
        assert server.signature(KEYS) is None

    @pytest.mark.parametrize("proof", [SIGNATURE, PROOF.swapcase(), PROOF[4:], "", "?", "\N{GREEK SMALL LETTER ALPHA}"])
    def test_a_wrong_proof_proves_nothing_and_is_no_protocol_error(self, proof):
        server = self.challenged()
        assert isinstance(receive(server, frame(f'<response nonce="{NONCE}" proof="{proof}"/>'))[0], Response)
        assert server.signature(KEYS) is None
        assert server.send(Refused("login", "no")) == frame('<refused reason="login">no</refused>')
