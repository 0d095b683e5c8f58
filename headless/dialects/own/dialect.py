"""Speaks this project's protocol, version 1, as a dialect: commands become messages, and messages are events.

What needs lxml is imported late: a mistake in the call is found without it.
"""

from __future__ import annotations

from headless.dialects import base
from headless.dialects.own import messages
from headless.dialects.own.messages import Message
from headless.dialects.vocabulary import CHALLENGE, MAX_JOBS, MAX_NAME_LENGTH, Offset, is_xml_text
from headless.errors import UnsupportedCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from headless.dialects.own.connection import ClientConnection


class Dialect(base.Dialect):
    """Raises UnsupportedCall for a call that XML, or the schema, cannot carry."""

    counts_osuser_logins = False

    def __init__(self, call: base.Call) -> None:
        super().__init__(call)
        _check(call)
        self._can_attach = False

    # Commands

    def log_in(self) -> None:
        from headless.dialects.own.connection import ClientConnection

        call = self.call
        self._connection: ClientConnection = ClientConnection(call.client)
        if call.login == CHALLENGE:
            from headless.dialects.own import scram

            assert call.user is not None
            nonce = scram.new_nonce(call.random[: scram.NONCE_BYTES])
            self._send(self._connection.challenge_login(call.user, nonce))
        else:
            self._send(self._connection.osuser_login(call.os_user, call.user))

    def answer_salt(self, hash_: bytes) -> None:
        self._send(self._connection.response(hash_))

    def submit(self) -> None:
        from headless.dialects.own.frames import FrameTooLong

        try:
            key = self.call.key if self._can_attach else ""
            self._send(messages.Jobs(self.call.jobs, key or None), len(self.call.jobs))
        except FrameTooLong as error:
            raise UnsupportedCall(f"the jobs are too long for the server: {error}") from None

    def attach(self, session: str, offset: Offset | None) -> None:
        self._send(messages.Attach(session, offset))

    def cancel(self, session: str) -> None:
        self._send(messages.Cancel(session))

    def list_sessions(self) -> None:
        self._send(messages.Sessions())

    def leave(self) -> None:
        if not self._connection.is_over:
            self._send(messages.Logout())

    def _send(self, message: Message, jobs: int = 0) -> None:
        data = self._connection.frame_of(message)
        self.send(data, self._for_display(data[4:]), jobs)

    def part_left(self) -> None:
        super().part_left()
        self._connection.mark_sent()

    # Events

    def receive(self, data: bytes) -> None:
        if not data:
            return
        self._connection.receive(data)
        while (payload := self._connection.next_payload()) is not None:
            if self.call.is_traced:
                self.report(base.Received(self._for_display(payload)))
            self._take(self._connection.message_of(payload))

    def _take(self, message: Message) -> None:
        if isinstance(message, base.Event):
            self.report(message)
        elif isinstance(message, messages.Challenge):
            self.report(base.SaltReceived(message.salt))
        elif isinstance(message, messages.Welcome):
            self._can_attach = message.journal is not None
            is_proved = message.signature is not None
            journal = message.journal or ""
            self.report(base.LoggedIn(message.session, message.heartbeat, is_proved, self._can_attach, journal))

    def _for_display(self, payload: bytes) -> str:
        if not self.call.is_traced:
            return ""
        from headless.dialects.own import codec

        return codec.for_display(payload)


def _check(call: base.Call) -> None:
    if len(call.jobs) > MAX_JOBS:
        raise UnsupportedCall(f"there are {len(call.jobs)} jobs, at most {MAX_JOBS} are allowed at a time")
    if call.user is not None and len(call.user) > MAX_NAME_LENGTH:
        raise UnsupportedCall(f"-u has {len(call.user)} characters, at most {MAX_NAME_LENGTH} are allowed")
    for option, text in (("-u", call.user or ""), *((f"--{job.kind}", job.text) for job in call.jobs)):
        if not is_xml_text(text):
            raise UnsupportedCall(f"{option} has a control character, which XML cannot carry")
