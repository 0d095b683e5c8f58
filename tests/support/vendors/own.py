"""This project's own protocol, as if it were a vendor's: its old client is the dialect, and its server is in memory."""

from __future__ import annotations

import re

from headless.dialects.base import Accepted, Ended, JobFinished, JobStarted, Output, Refused
from headless.dialects.own import messages
from headless.dialects.own.dialect import Dialect
from headless.dialects.own.server_connection import ServerConnection
from headless.protocol_tools.recordings import RecordedCall
from support.conversations import KEYS
from support.credentials import SALT
from support.vendors.driven import client as driven_client
from support.vendors.talk import Receive, Side, Sleep

HEARTBEAT = 60


class Server:
    def __init__(self, seed: int) -> None:
        self._nonce = f"{seed:024d}"
        self._connection = ServerConnection()

    def serve(self) -> Side:
        while not self._connection.is_over:
            data = yield Receive()
            self._connection.receive(data)
            while not self._connection.is_over and (message := self._connection.next_message()) is not None:
                yield from self._answer(message)

    def _answer(self, message: object) -> Side:
        connection = self._connection
        if isinstance(message, messages.Login) and message.auth_type == "challenge":
            yield connection.send_challenge(SALT, self._nonce)
        elif isinstance(message, (messages.Login, messages.Response)):
            is_proof = isinstance(message, messages.Response)
            signature = connection.signature(KEYS) if is_proof else None
            if is_proof and signature is None:
                yield connection.send(Refused("login", "access denied"))
            else:
                yield connection.send(messages.Welcome("s1", HEARTBEAT, signature, "j1"))
        elif isinstance(message, messages.Jobs):
            yield from self._run([job.text for job in message.jobs])

    def _run(self, texts: list[str]) -> Side:
        send = self._connection.send
        for word, reason in (("nope", "jobs"), ("busy", "busy")):
            if any(word in text for text in texts):
                yield send(Refused(reason, f"{word}: no such job, or not now"))
                return
        yield send(Accepted("s1"))
        is_failed = False
        for number, text in enumerate(texts, 1):
            if is_failed:
                yield send(JobFinished(number, "skipped"))
                continue
            yield send(JobStarted(number))
            seconds = float((re.search(r"sleep (\d+)", text) or [0, 0])[1])
            while seconds > HEARTBEAT:
                yield Sleep(HEARTBEAT)
                seconds -= HEARTBEAT
                yield send(messages.Alive())
            yield Sleep(seconds)
            yield send(Output(number, "stdout", f"did {text}\n"))
            is_failed = "fail" in text
            yield send(JobFinished(number, "failed" if is_failed else "ok", "it failed" if is_failed else ""))
        yield send(Ended("failed" if is_failed else "ok"))


def client(call: RecordedCall, _hash: bytes, seed: int) -> Side:
    return driven_client(Dialect, call, seed)
