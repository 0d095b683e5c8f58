"""Lets a dialect talk to the server of a made-up vendor, in memory: what the client does, without sockets."""

from __future__ import annotations

from typing import Any

from headless.client.verdict import Verdict
from headless.dialects import base
from headless.dialects.vocabulary import CHALLENGE, JOBS, LOGIN
from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, TIMED_OUT, ProtocolError
from headless.protocol_tools.recordings import RecordedCall
from support.credentials import HASH
from support.vendors.recorded import KILLED, OTHER_HASH
from support.vendors.talk import Receive, Side, Talk


def dialect_in(code: str) -> type[base.Dialect]:
    """The class in the text of a site's file."""
    names: dict[str, object] = {}
    exec(compile(code, "site.py", "exec"), names)
    found = names["Dialect"]
    assert isinstance(found, type) and issubclass(found, base.Dialect)
    return found


def code_of_call(dialect: type[base.Dialect], vendor: Any, call: RecordedCall, seed: int = 7) -> int:
    """The return code that the events prove."""
    server = vendor.Server(seed)
    killed_at = 4.0 if call.label == KILLED else None
    code = Talk(client(dialect, call, seed), server.serve, seed, killed_at).status
    assert isinstance(code, int)
    return code


def client(kind: type[base.Dialect], call: RecordedCall, seed: int) -> Side:
    """What the client does with this dialect; returns the code."""
    driver = _Driver(kind, call, seed)
    try:
        driver.dialect.log_in()
        while driver.code is None:
            yield from driver.send()
            if driver.code is None:
                yield from driver.receive()
    except (EOFError, ProtocolError):
        return CONNECTION_ERROR
    return driver.code


class _Driver:
    def __init__(self, kind: type[base.Dialect], call: RecordedCall, seed: int) -> None:
        self._call = call
        self._hash = (HASH if call.is_password_right else OTHER_HASH).encode()
        waits = call.timeout != 0
        os_user = "" if call.login == CHALLENGE else call.os_user
        asked = base.Call(
            "test 1", call.login, call.user, os_user, call.jobs, bytes([seed % 256] * 32), True, "0" * 32, waits
        )
        self.dialect = kind(asked)
        self._verdict = Verdict(len(call.jobs), call.login == CHALLENGE)
        self.code: int | None = None

    def send(self) -> Side:
        """Sends what is due, takes events, and does what they ask for."""
        while True:
            self._take_events(False)
            part = self.dialect.next_part()
            if part is None:
                break
            self._verdict.check_part(part)
            yield part.data
            self.dialect.part_left()
            self._verdict.part_left(part)
        if self._verdict.was_accepted and self._call.timeout == 0 and self.code is None:
            self.code = CONNECTION_ERROR if self._verdict.failure else OK
            self.dialect.leave()
            while (part := self.dialect.next_part()) is not None:
                yield part.data
                self.dialect.part_left()

    def receive(self) -> Side:
        limit = self._call.timeout if self._call.timeout > 0 and self._verdict.was_accepted else 600
        data = yield Receive(limit)
        if not data:
            self.code = TIMED_OUT
            return
        self._verdict.bytes_came()
        self.dialect.receive(data)
        self._take_events(True)

    def _take_events(self, is_brought: bool) -> None:
        while self.code is None and (event := self.dialect.next_event()) is not None:
            if isinstance(event, base.Received):
                continue
            self._verdict.judge(event, is_brought)
            if isinstance(event, base.SaltReceived):
                self.dialect.answer_salt(self._hash)
            elif isinstance(event, base.LoggedIn):
                self.dialect.submit()
            elif isinstance(event, base.Ended):
                self.code = CONNECTION_ERROR if self._verdict.failure else OK
            elif isinstance(event, base.Refused):
                self.code = PARAMETER_ERROR if event.reason in (LOGIN, JOBS) else CONNECTION_ERROR
