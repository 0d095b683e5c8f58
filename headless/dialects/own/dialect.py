"""The dialect of this project, version 1, as a plug: commands to messages, and messages to events. PROTOCOL.md
describes it.

What is sent and checked is in client_connection.py. It is imported when it is needed, so that a mistake in the call is
found without lxml.
"""

from __future__ import annotations

from collections import deque

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
        self._unsent: deque[Message] = deque()  # the messages of the parts that have not left
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
        places = () if offset is None else (offset.job, offset.stdout, offset.stderr)
        self._send(messages.Attach(session, *places))

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
        self._unsent.append(message)

    def part_left(self) -> None:
        super().part_left()
        self._connection.mark_sent(self._unsent.popleft())

    # Events

    def receive(self, data: bytes) -> None:
        if not data:
            return
        self._connection.receive(data)
        while (payload := self._connection.next_payload()) is not None:
            if self.call.is_traced:
                self.tell(base.Received(self._for_display(payload)))
            message = self._connection.message_of(payload)
            if isinstance(message, messages.Welcome):
                self._can_attach = message.journal is not None
            event = _event_of(message)
            if event is not None:
                self.tell(event)

    def _for_display(self, payload: bytes) -> str:
        if not self.call.is_traced:
            return ""
        from headless.dialects.own import codec

        return codec.for_display(payload)


def _event_of(message: Message) -> base.Event | None:  # noqa: C901, PLR0911 (one for each message)
    if isinstance(message, messages.Challenge):
        return base.SaltReceived(message.salt)
    if isinstance(message, messages.Welcome):
        is_proved, can_attach = message.signature is not None, message.journal is not None
        return base.LoggedIn(message.session, message.heartbeat, is_proved, can_attach, message.journal or "")
    if isinstance(message, messages.Accepted):
        return base.Accepted(message.session or "")
    if isinstance(message, messages.Attached):
        return base.Attached(message.jobs, Offset(message.job, message.stdout, message.stderr))
    if isinstance(message, messages.Started):
        return base.JobStarted(message.job)
    if isinstance(message, messages.Output):
        return base.Output(message.job, message.stream, message.text)
    if isinstance(message, messages.Finished):
        return base.JobFinished(message.job, message.status, message.text)
    if isinstance(message, messages.Ended):
        return base.Ended(message.status)
    if isinstance(message, messages.Cancelled):
        return base.Cancelled(message.state)
    if isinstance(message, messages.Listed):
        return base.Listed(message.session, message.state, message.accepted, message.job, message.jobs, message.text)
    if isinstance(message, messages.Refused):
        return base.Refused(message.reason, message.text)
    return None  # alive


def _check(call: base.Call) -> None:
    if len(call.jobs) > MAX_JOBS:
        raise UnsupportedCall(f"there are {len(call.jobs)} jobs, at most {MAX_JOBS} are allowed at a time")
    if call.user is not None and len(call.user) > MAX_NAME_LENGTH:
        raise UnsupportedCall(f"-u has {len(call.user)} characters, at most {MAX_NAME_LENGTH} are allowed")
    for option, text in (("-u", call.user or ""), *((f"--{job.kind}", job.text) for job in call.jobs)):
        if not is_xml_text(text):
            raise UnsupportedCall(f"{option} has a control character, which XML cannot carry")
