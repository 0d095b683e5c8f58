"""One session over one socket, from the name of the server to the end of the jobs.

The only file of the client that has a socket. What may be said when is in protocol/conversation.py; how long things may
take is decided here, and every wait is in waiting.py. Errors of the operating system become ours in `_Connection`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Callable, Optional, TypeVar

from headless.console import Console
from headless.options import CHALLENGE, NO_TIMEOUT, OSUSER, VERSION, Options, Service
from headless.osuser import effective_user
from headless.outcome import OK, JobFailed, ParameterError, SessionError, Submission, TimedOut
from headless.protocol import login, messages
from headless.protocol.characters import shortened
from headless.protocol.conversation import ClientConversation
from headless.protocol.frames import FrameTooLong
from headless.protocol.messages import (
    Accepted,
    Alive,
    Challenge,
    Ended,
    Finished,
    Job,
    Jobs,
    Logout,
    Message,
    Output,
    Refused,
    Started,
    Welcome,
)
from headless.secret import Secret
from headless.waiting import READ, WRITE, DeadlinePassed, Waiter

ACCEPTANCE_SECONDS = 30  # for connecting, logging in and being accepted together
_HEARTBEATS_MISSED_MAX = 3
_RECEIVE_BYTES = 65536
_LOST = "the connection was lost"
_Result = TypeVar("_Result")


class Client:
    """One call of the command. `submission` says at any moment whether the server has the jobs."""

    def __init__(self, options: Options, secret: Optional[Secret], console: Console, waiter: Waiter) -> None:
        self._options = options
        self._secret = secret
        self._console = console
        self._waiter = waiter
        self._os_user = effective_user() if options.auth_type == OSUSER else ""
        self._conversation = ClientConversation(VERSION, self._show if console.shows_frames() else None)
        self._jobs = Jobs(tuple(Job(kind, text) for kind, text in options.jobs))
        self._connection: Optional[_Connection] = None
        self._silence: Optional[float] = None  # seconds without a byte that mean a lost connection
        self._failure = ""  # why the first job that failed did
        self.submission = Submission.NOT_SUBMITTED

    def run(self) -> int:
        """OK on the server's word, and on nothing else: all jobs ended well, or, without a time-out, were accepted.

        Raises HeadlessError for every other end: ParameterError, SessionError, TimedOut, Interrupted.
        """
        timeout = self._options.timeout
        self._waiter.allow(min(timeout, ACCEPTANCE_SECONDS) if timeout > 0 else ACCEPTANCE_SECONDS)
        try:
            self._log_in()
            self._submit()
            if timeout == 0:
                self._leave()
                return OK
            self._waiter.allow(None if timeout == NO_TIMEOUT else timeout)
            return self._follow_jobs()
        except DeadlinePassed:
            raise self._out_of_time() from None
        finally:
            self._leave()

    # The stages of a session

    def _log_in(self) -> None:
        self._console.info(f"connecting to {self._options.service.host} port {self._options.service.port}")
        connection = self._connection = connect(self._options.service, self._waiter)
        self._console.info(f"connected to {connection.peer}")
        self._hear_what_is_here()
        if self._options.auth_type == CHALLENGE:
            assert self._options.user is not None
            nonce = login.new_nonce(os.urandom(login.NONCE_BYTES))
            connection.send(self._conversation.login_with_challenge(self._options.user, nonce))
            self._answer_challenge(connection)
        else:
            connection.send(self._conversation.login_as_osuser(self._os_user, self._options.user))
        welcome = self._hear()
        assert isinstance(welcome, Welcome)
        if welcome.heartbeat is not None:
            self._silence = float(_HEARTBEATS_MISSED_MAX * welcome.heartbeat)
        self._console.info(f"logged in, session {welcome.session}")
        kept = self._secret.keep() if self._secret else ""
        if kept:
            self._console.info(kept)

    def _answer_challenge(self, connection: _Connection) -> None:
        challenge = self._hear()
        assert isinstance(challenge, Challenge)
        assert self._secret is not None
        secret_hash = self._secret.hash_for(challenge.salt)
        self._hear_what_is_here()
        connection.send(self._conversation.respond(secret_hash))

    def _submit(self) -> None:
        assert self._connection is not None
        try:
            batch = self._conversation.frame_of(self._jobs)
        except FrameTooLong as error:
            raise ParameterError(f"the jobs are too long for the server: {error}") from None
        # Until its last byte has left, the server cannot have the batch, nor answer it.
        self._connection.send(batch, self._hear_what_is_here, self._silence)
        self.submission = Submission.UNKNOWN
        self._conversation.said(self._jobs)
        accepted = self._hear()
        assert isinstance(accepted, Accepted)
        self.submission = Submission.SUBMITTED
        self._console.info("the server has accepted the jobs")

    def _follow_jobs(self) -> int:
        while True:
            message = self._hear()
            if isinstance(message, Ended):
                self._console.info(f"session ended: {message.status}")
                if message.status == "ok":
                    return OK
                raise JobFailed(self._failure or "the server ended the session as failed")
            self._tell(message)
            del message  # which may be large, and the next one, too

    def _tell(self, message: Message) -> None:
        if isinstance(message, Started):
            self._console.info(f"job {message.job} started: {self._options.jobs[message.job - 1][0]}")
        elif isinstance(message, Output):
            for line in _lines(message.text):
                self._waiter.check()
                self._console.info(f"job {message.job} {message.stream}: {line}")
        elif isinstance(message, Finished):
            text = f"job {message.job} {message.status}" + (f": {shortened(message.text)}" if message.text else "")
            self._console.info(text)
            if message.status != "ok":
                self._failure = self._failure or text

    def _leave(self) -> None:
        """Says goodbye if that is still possible, and closes. Accepted jobs go on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.is_between_frames and not self._conversation.is_over:
                connection.send_at_once(self._conversation.say(Logout()))
            connection.close()

    # Hearing

    def _hear(self) -> Message:
        """The next message but `alive`. Raises what a refusal means."""
        assert self._connection is not None
        while True:
            self._waiter.check()
            message = self._conversation.next_message()
            if message is None:
                self._conversation.feed(self._connection.receive(self._silence))
            elif isinstance(message, Refused):
                raise self._refusal(message)
            elif not isinstance(message, Alive):
                return message

    def _hear_what_is_here(self) -> None:
        """Before something is said: what has come already is no answer to it, and only `alive` passes as that."""
        assert self._connection is not None
        data = b""
        while True:
            self._conversation.feed(data)
            for message in iter(self._conversation.next_message, None):
                self._waiter.check()
                if isinstance(message, Refused):
                    raise self._refusal(message)
            data = self._connection.receive_at_once()
            if not data:
                return

    def _refusal(self, refused: Refused) -> ParameterError | SessionError:
        if self.submission is Submission.UNKNOWN:  # a batch is refused as a whole, before anything of it has run
            self.submission = Submission.NOT_SUBMITTED
        reason = f": {shortened(refused.text)}" if refused.text else ""
        if refused.reason in ("login", "jobs"):
            return ParameterError(f"the server refused the {refused.reason}{reason}")
        if self.submission is Submission.SUBMITTED:
            return SessionError(f"the server ended the session ({refused.reason}){reason}")
        return SessionError(f"the server refused the session ({refused.reason}){reason}")

    def _out_of_time(self) -> SessionError | TimedOut:
        if self.submission is Submission.SUBMITTED:
            return TimedOut(f"the jobs have not ended within {self._options.timeout} s, and go on")
        return SessionError("the server has not accepted the jobs in time")

    def _show(self, direction: str, payload: bytes) -> None:
        show = self._console.sent if direction == "sent" else self._console.received
        show(messages.for_display(payload))


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, one at a time: as a list they could take many times the text's memory."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        yield text[begin:end].removesuffix("\r")
        begin = end + 1


class _Connection:
    """A stream of bytes whose every wait ends at the deadline. All its errors are SessionError."""

    def __init__(self, sock: socket.socket, waiter: Waiter) -> None:
        self._socket = sock
        self._waiter = waiter
        # What a TLS socket raises where a plain one raises BlockingIOError.
        self._wants_read: tuple[type[OSError], ...] = ()
        self._wants_write: tuple[type[OSError], ...] = ()
        self.is_between_frames = True
        host, port = sock.getpeername()[:2]
        self.peer = f"{host} port {port}"

    def start_tls(self, host: str) -> None:
        """Raises SessionError if the server's certificate is not one for this host that the system trusts."""
        import ssl  # costs more than all other imports together, so only when asked for

        self._wants_read, self._wants_write = (ssl.SSLWantReadError,), (ssl.SSLWantWriteError,)
        try:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            tls = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise SessionError(f"TLS cannot be used: {error}") from None
        self._socket = tls
        self._until_done(tls.do_handshake, READ, failure=f"no TLS connection with {host}")

    def receive(self, silence: Optional[float]) -> bytes:
        """At least one byte. Silence longer than this many seconds is a lost connection, as its end is."""
        return _not_empty(self._until_done(self._receive, READ, at_most=silence))

    def receive_at_once(self) -> bytes:
        """What has come already, b"" if that is nothing."""
        nothing_yet: tuple[type[OSError], ...] = (BlockingIOError, *self._wants_read, *self._wants_write)
        self._waiter.check()
        try:
            return _not_empty(self._receive())
        except nothing_yet:
            return b""
        except OSError as error:
            raise SessionError(f"{_LOST}: {_reason(error)}") from None

    def send(self, frame: bytes, listen: Optional[Callable[[], None]] = None, silence: Optional[float] = None) -> None:
        """All of the frame. `listen` is called before each part leaves, and whenever something comes; a server that
        neither reads nor says anything for longer than `silence` (seconds) is a lost connection."""
        rest = memoryview(frame)

        def send_part() -> int:
            if listen:
                listen()
            return self._socket.send(rest)

        while rest:
            rest = rest[self._until_done(send_part, READ | WRITE if listen else WRITE, at_most=silence) :]
            self.is_between_frames = not rest

    def send_at_once(self, data: bytes) -> None:
        """As much of the data as goes without waiting."""
        with suppress(OSError):  # a goodbye that nobody hears
            self._socket.send(data)

    def close(self) -> None:
        with suppress(OSError):  # what was proved stays proved
            self._socket.close()

    def _receive(self) -> bytes:
        return self._socket.recv(_RECEIVE_BYTES)

    def _until_done(
        self, operation: Callable[[], _Result], event: int, at_most: Optional[float] = None, failure: str = _LOST
    ) -> _Result:
        while True:
            self._waiter.check()
            try:
                return operation()
            except BlockingIOError:
                wanted = event
            except self._wants_read:
                wanted = READ
            except self._wants_write:
                wanted = WRITE
            except OSError as error:
                raise SessionError(f"{failure}: {_reason(error)}") from None
            if not self._waiter.wait(self._socket, wanted, at_most):
                raise SessionError(f"the server has been silent for more than {at_most:.0f} s")


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise SessionError("the server closed the connection")
    return data


def connect(service: Service, waiter: Waiter) -> _Connection:
    """A connection to the first address of the service that answers; each of them gets an equal part of what is left
    of the time. Raises SessionError if there is none, DeadlinePassed, Interrupted."""
    addresses = _addresses(service, waiter)
    failures = []
    for position, (family, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            connection = _connect(sock, address, waiter, waiter.share(len(addresses) - position))
        except OSError as error:
            failures.append(f"{address[0]}: {_reason(error)}")
            continue
        try:
            if service.tls:
                connection.start_tls(service.host)
        except BaseException:
            connection.close()
            raise
        return connection
    raise SessionError(f"no connection to {service.host} port {service.port} ({'; '.join(failures)})")


def _addresses(service: Service, waiter: Waiter) -> list[tuple[int, tuple[object, ...]]]:
    def look_up(flags: int) -> list[tuple[int, tuple[object, ...]]]:
        # As bytes: a str would be encoded as IDNA once more, with a codec that costs milliseconds to load.
        found = socket.getaddrinfo(service.host.encode("ascii"), service.port, type=socket.SOCK_STREAM, flags=flags)
        return [(family, address) for family, _, _, _, address in found]

    try:
        return look_up(socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name, and the resolver knows no deadline
    try:
        return waiter.in_thread(look_up, 0)
    except OSError as error:
        raise SessionError(f"the host name {service.host} cannot be resolved: {_reason(error)}") from None


def _connect(sock: socket.socket, address: tuple[object, ...], waiter: Waiter, seconds: float) -> _Connection:
    """Raises OSError if there is no connection within this many seconds."""
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(address)
        except BlockingIOError:
            if not waiter.wait(sock, WRITE, seconds):
                raise TimeoutError(None, "no answer") from None
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error)) from None
        return _Connection(sock, waiter)
    except BaseException:
        sock.close()
        raise


def _reason(error: OSError) -> str:
    certificate = getattr(error, "verify_message", "")  # of ssl.SSLCertVerificationError
    if certificate:
        return f"its certificate is not accepted: {certificate}"
    return error.strerror or str(error)
