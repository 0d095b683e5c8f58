"""What holds for any bytes, any pieces, any order of messages and any damage: both conversations, judged by
legal_transcript.py, which knows the order of messages from PROTOCOL.md alone. Drawn at random: PLANTA_SEED makes the
same again, PLANTA_EXHAUSTIVE=1 more of them; and what the fuzzer has found worth keeping."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from headless.dialects.base import Ended, Refused
from headless.dialects.own.messages import Logout
from robustness.fuzz.target import CLIENT_STAGES, SERVER_STAGES, make_input, one_input, received_from, talk_to_client
from support.conversations import ConnectionPair
from support.frames import frame
from support.legal_transcript import is_a_good_transcript, label_of
from support.literal_messages import MESSAGES, SERVER_MESSAGES, frames_of
from support.sampling import EXHAUSTIVE, REPEAT, draws

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
JOBS = 2  # in the session of literal_messages.MESSAGES
GOOD = ["accepted", "started:1", "output:1", "finished:1:ok", "alive", "started:2", "finished:2:ok", "ended:ok"]
STAGES = sorted({*CLIENT_STAGES, *SERVER_STAGES})
LAST = (Ended, Refused, Logout)

TIMES = 20 if EXHAUSTIVE else 1


def some_bytes(chance: Random) -> bytes:
    """Random bytes, or a few frames of messages and of random bytes, of which another one may have begun."""
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(40))
    labels = sorted(MESSAGES)
    payloads = [
        MESSAGES[chance.choice(labels)] if chance.random() < 0.7 else chance.randbytes(chance.randrange(9))
        for _ in range(chance.randrange(7))
    ]
    return b"".join(map(frame, payloads)) + chance.randbytes(chance.choice((0, 0, 1, 5)))


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in zip(bounds, bounds[1:]) if begin < end]


@pytest.mark.version("what lxml takes for a document")
def test_any_bytes_are_messages_or_one_protocol_error_whatever_the_pieces():
    assert_is_the_same_in_pieces("", "client", frame(MESSAGES["refused:protocol"]) + b"\x00", [-2])
    chance = draws()
    for _ in range(400 * TIMES):
        stage, end, data = chance.choice(STAGES), chance.choice(("client", "server")), some_bytes(chance)
        cuts = [chance.randrange(len(data) + 1) for _ in range(chance.randrange(6))]
        assert_is_the_same_in_pieces(stage, end, data, cuts)


def assert_is_the_same_in_pieces(stage: str, end: str, data: bytes, cuts: list[int]) -> None:
    whole, error = received_from(getattr(ConnectionPair(*stage.split()), end), data)
    again, error_again = received_from(getattr(ConnectionPair(*stage.split()), end), *in_pieces(data, cuts))
    case = (REPEAT, stage, end, data, cuts)
    assert bool(error) == bool(error_again), case
    if again and isinstance(again[-1], LAST) and error:
        # What comes with the last message, and what comes after it, is wrong: in one piece the message is not received.
        assert whole in (again, again[:-1]), case
    else:
        assert (whole, error) == (again, error_again), case


def test_the_oracle_knows_a_good_transcript_and_these_messages():
    assert is_a_good_transcript(GOOD, JOBS)
    assert not any(is_a_good_transcript(GOOD[:i] + GOOD[i + 1 :], JOBS) for i in range(len(GOOD)) if i not in (2, 4))
    plain = {
        label: label_of(xml.encode())
        for label, xml in SERVER_MESSAGES.items()
        if not label.startswith(("refused", "w", "c", "attached", "accepted:", "listed"))
    }
    assert plain == {label: label for label in plain}


def mutated(chance: Random, data: bytes) -> bytes:
    """The data with one to three faults: a bit flipped, a stretch cut out, doubled or moved, random bytes put in."""
    for _ in range(chance.randrange(1, 4)):
        begin, end = sorted((an_offset(chance, data), an_offset(chance, data)))
        head, middle, tail = data[:begin], data[begin:end], data[end:]
        flipped = bytes([middle[0] ^ 1 << chance.randrange(8)]) + middle[1:] if middle else b""
        new = chance.randbytes(chance.randrange(7))
        data = chance.choice((head + flipped, head, head + middle * 2, middle + head, head + new)) + tail
    return data


def an_offset(chance: Random, data: bytes) -> int:
    """Anywhere, and often where a frame begins or ends."""
    begins = [match.start() for match in re.finditer(rb"\0\0", data)]
    return chance.choice([0, len(data), *begins]) if chance.random() < 0.5 else chance.randrange(len(data) + 1)


@pytest.mark.version("what lxml takes for a document")
@pytest.mark.parametrize(
    ("login", "answers"),
    [("osuser", (["welcome"], GOOD)), ("challenge", (["challenge"], ["welcome:signed"], GOOD))],
    ids=["osuser", "challenge"],
)
def test_no_damage_makes_a_good_end_of_what_is_no_good_transcript(login, answers):
    chance = draws()
    for _ in range(400 * TIMES):
        pieces = [frames_of(*part) for part in answers]
        number = chance.randrange(len(pieces))
        pieces[number] = mutated(chance, pieces[number])
        print(REPEAT)  # which pytest shows if this fails
        talk_to_client(f"login:{login}", pieces)


@pytest.mark.version("what lxml takes for a document")
def test_no_input_that_the_fuzzer_has_found_breaks_a_promise():
    inputs = sorted(CORPUS.iterdir())
    assert len(inputs) >= 50
    for path in inputs:
        print(path.name)
        one_input(path.read_bytes())


@pytest.mark.parametrize("piece", [0, 1, 40])
def test_the_target_sees_a_false_0(monkeypatch, piece):
    good = make_input("client", "login:osuser welcome jobs", *(MESSAGES[label] for label in GOOD), piece=piece)
    one_input(good)
    monkeypatch.setattr("robustness.fuzz.target.is_a_good_end", lambda *_: False)
    with pytest.raises(AssertionError):
        one_input(good)
