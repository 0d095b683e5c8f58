"""A stream of bytes to the server, over TCP or TLS. Every wait ends at the deadline. An error is a ConnectionLost where
another connection may be a better one, else a SessionError."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from functools import partial

from headless.client.waiting import READ, WRITE
from headless.errors import ConnectionLost, HeadlessError, ParameterError, SessionError, fault_of_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from headless.client.waiting import Waiter
    from headless.options import Service

    Address = tuple[int, tuple[Any, ...]]  # the family, and what socket.connect takes

_RECEIVE_BYTES = 65536
_NEXT_ADDRESS_SECONDS = 0.25
_LOST = "the connection was lost"
_NO_ISSUER = (2, 18, 19, 20, 21)  # X509_V_ERR_: no issuer of it is trusted
_BLOCKED = object()


class Stream:
    """Sends and receives the bytes of an open connection. `peer` says with whom."""

    def __init__(self, sock: socket.socket, waiter: Waiter) -> None:
        self._socket = sock
        self._waiter = waiter
        # What a TLS socket raises where a plain one raises BlockingIOError.
        self._wants_read: tuple[type[OSError], ...] = ()
        self._wants_write: tuple[type[OSError], ...] = ()
        self._wanted = 0  # READ and WRITE: what the last operations could not be done without
        host, port = sock.getpeername()[:2]
        self.peer = f"{host} port {port}"

    def start_tls(self, host: str) -> None:
        """Raises SessionError if the server's certificate is not one for this host that the system trusts,
        ParameterError if what the environment trusts is not there, ConnectionLost."""
        import ssl  # costs more than all other imports together, so only when asked for

        self._wants_read, self._wants_write = (ssl.SSLWantReadError,), (ssl.SSLWantWriteError,)
        try:
            _check_trusted_paths()
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            tls = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise SessionError(f"TLS cannot be used: {error}") from None
        self._socket = tls
        while self._try(READ, f"no TLS connection with {host}", tls.do_handshake) is _BLOCKED:
            self._waiter.wait(self._socket, self._wanted)
            self._wanted = 0

    def receive_now(self) -> bytes | None:
        """Returns what has come already: b"" if the server has closed, None if there is nothing. Raises
        ConnectionLost."""
        self._wanted = 0
        data = self._try(READ, _LOST, self._socket.recv, _RECEIVE_BYTES)
        return None if data is _BLOCKED else data

    def send_now(self, data: memoryview) -> int:
        """Returns how many bytes went without waiting. Raises ConnectionLost."""
        count = self._try(WRITE, _LOST, self._socket.send, data)
        return 0 if count is _BLOCKED else count

    def wait(self, timeout: float | None) -> bool:
        """Returns whether it is worth another try, within `timeout` seconds, at what could not be done since the last
        `receive_now`, which is the first of them. Raises DeadlinePassed, Interrupted."""
        return self._waiter.wait(self._socket, self._wanted, timeout)

    def close(self) -> None:
        with suppress(OSError):  # what was proved stays proved
            self._socket.close()

    def _try(self, event: int, failure: str, operation: Callable[..., Any], *arguments: object) -> Any:
        """Returns what the operation does; _BLOCKED if it has to wait, with what it waits for noted."""
        try:
            return operation(*arguments)
        except BlockingIOError:
            self._wanted |= event
        except self._wants_read:
            self._wanted |= READ
        except self._wants_write:
            self._wanted |= WRITE
        except OSError as error:
            if _is_of_certificate(error):
                raise _of_certificate(failure, error) from None
            raise ConnectionLost(f"{failure}: {_reason(error)}") from None
        return _BLOCKED


def connect(service: Service, waiter: Waiter) -> Stream:
    """Returns a stream to the first address of the service that answers. Raises ConnectionLost if there is none,
    SessionError, DeadlinePassed, Interrupted."""
    stream = _first_to_answer(service, waiter)
    try:
        if service.tls:
            stream.start_tls(service.host)
    except BaseException:
        stream.close()
        raise
    return stream


def _first_to_answer(service: Service, waiter: Waiter) -> Stream:
    """Tries the addresses one after the other, each as soon as one has failed or has not answered for a while (RFC
    8305, section 5)."""
    untried = _resolve(service, waiter)
    trying: dict[socket.socket, Address] = {}
    failures: list[str] = []
    try:
        while untried or trying:
            if untried:
                address = untried.pop(0)
                try:
                    trying[_begin(address)] = address
                except OSError as error:
                    failures.append(_failure(address, error))
                    continue
            for sock in waiter.wait_for_any(trying, WRITE, _NEXT_ADDRESS_SECONDS if untried else None):
                address = trying.pop(sock)
                try:
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number:
                        raise OSError(number, _text_of(number))
                    return Stream(sock, waiter)
                except OSError as error:
                    sock.close()
                    failures.append(_failure(address, error))
    finally:
        for sock in trying:
            sock.close()
    raise ConnectionLost(f"no connection to {service.host} port {service.port} ({'; '.join(failures)})")


def _resolve(service: Service, waiter: Waiter) -> list[Address]:
    """Returns the addresses of the service. The families take turns, in their order (RFC 8305, section 4)."""
    # As bytes: a str would be encoded as IDNA once more, with a codec that costs milliseconds to load.
    host, port, is_stream = service.host.encode("ascii"), service.port, {"type": socket.SOCK_STREAM}
    try:
        found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, **is_stream)
    except socket.gaierror:  # a name, and the resolver knows no deadline
        try:
            found = waiter.run_in_thread(partial(socket.getaddrinfo, host, port, flags=0, **is_stream))
        except OSError as error:
            raise ConnectionLost(f"the host name {service.host} cannot be resolved: {_reason(error)}") from None
    counts: dict[int, int] = {}
    turns = []
    for position, (family, _, _, _, address) in enumerate(found):
        counts[family] = counts.get(family, 0) + 1
        turns.append((counts[family], position, (family, address)))
    return [address for _, _, address in sorted(turns)]


def _begin(address: Address) -> socket.socket:
    """Returns a socket that will be ready to write when it is connected, or has failed. Raises OSError."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def _text_of(number: int) -> str:
    """Returns the system's text for this error; of those of Winsock only Python's socket module has them."""
    texts: dict[int, str] = getattr(socket, "errorTab", {})
    return texts.get(number, "").rstrip(".") or os.strerror(number)


def _failure(address: Address, error: OSError) -> str:
    return f"{address[1][0]}: {_reason(error)}"


def _is_of_certificate(error: OSError) -> bool:
    return hasattr(error, "verify_message")  # of ssl.SSLCertVerificationError


def _of_certificate(failure: str, error: Any) -> HeadlessError:
    text = f"{failure}: its certificate is not accepted: {error.verify_message}"
    if error.verify_code in _NO_ISSUER:
        for variable, path in _trusted_paths():
            try:
                os.listdir(path) if variable == "SSL_CERT_DIR" else open(path, "rb").close()
            except OSError as unreadable:
                return fault_of_file(f"{text}; {variable}: {path!r} cannot be read", unreadable)
    return SessionError(text)


def _trusted_paths() -> list[tuple[str, str]]:
    """Returns what the environment makes OpenSSL trust (SSL_CTX_load_verify_locations(3)), which it skips without a
    word if it cannot read it: the variable, and a path that it names."""
    named = [("SSL_CERT_FILE", path) for path in [os.environ.get("SSL_CERT_FILE")] if path]
    return named + [("SSL_CERT_DIR", path) for path in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep) if path]


def _check_trusted_paths() -> None:
    """Raises ParameterError for a FIFO, which OpenSSL would wait for, up to Python 3.10 with all threads."""
    for variable, path in _trusted_paths():
        with suppress(OSError, ValueError):
            if stat.S_ISFIFO(os.stat(path).st_mode):
                raise ParameterError(f"{variable}: {path!r} is a FIFO, and not a file with certificates")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
