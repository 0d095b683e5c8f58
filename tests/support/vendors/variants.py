"""The servers of `planta_variants`, as vendors whose old client is the dialect of their site."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from headless.protocol_tools.recordings import RecordedCall
from support.planta_server import PlantaServer
from support.planta_variants import BARE, LENGTH, PACKED, ZERO, Variant
from support.vendors.driven import client, dialect_in
from support.vendors.talk import Receive, Side, Sleep


def vendor_of(variant: Variant) -> SimpleNamespace:
    kind = dialect_in(Path(variant.site).read_text(encoding="utf-8"))

    class Server:
        def __init__(self, _seed: int) -> None:
            self._server = PlantaServer(variant.habits)

        def serve(self) -> Side:
            greeting = self._server.greeting()
            if greeting:
                yield greeting
            while True:
                data = yield Receive()
                for answer in self._server.answers_to(data):
                    if answer.seconds:
                        yield Sleep(answer.seconds)
                    if answer.role == "close":
                        return
                    yield answer.say()

    def old_client(call: RecordedCall, _hash: bytes, seed: int) -> Side:
        return client(kind, call, seed)

    return SimpleNamespace(__name__=f"vendors.{variant.name}", Server=Server, client=old_client)


length, zero, bare, packed = map(vendor_of, (LENGTH, ZERO, BARE, PACKED))
