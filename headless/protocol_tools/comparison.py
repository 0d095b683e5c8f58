"""Compares what a dialect sends with what the old client has sent, as XML: with the hash of the password, the random
bytes, and the key of the session with which it is most like the recorded one.

What a client says when it is not asked (keep-alives, their answers, goodbyes) is compared, and not counted.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from xml.sax.saxutils import escape

from lxml.etree import _Element as Element

from headless.dialects.base import LoggedIn
from headless.dialects.framing import Http
from headless.dialects.vocabulary import CHALLENGE
from headless.options import VERSION
from headless.protocol_tools.documents import (
    Path,
    declared,
    holds_job,
    is_decodable,
    local,
    normal,
    outline,
    root_of,
    values_in,
    wide_encoding,
)
from headless.protocol_tools.exchanges import Exchange, Exchanges, Said
from headless.protocol_tools.player import Play, Secrets
from headless.protocol_tools.recordings import SILENCE
from headless.protocol_tools.secrecy import SECRET_HEADERS, shown
from headless.terminal import shorten

_MAX_SHOWN = 60  # characters of a value
_MAX_VALUES = 100_000  # of a message, in which jobs are looked for
_LEAST_TEXT = 2  # characters of a job's text that may be anywhere
_DATE = r"\d\d\.\d\d\.\d{4}|\d{4}-\d\d-\d\d"
_TIME = re.compile(rf"(?:{_DATE})?[ T]?(?:\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|1\d{{9}}|1\d{{12}}")
PROOF = "proves the password"
_OF_CLIENT = "Program"  # whose attributes name the client
DIGESTS = (b"u23JPZtHcGhwXSF41f93o/7vBdDut3u", b"T1SaQeW6c9mRz.kHj2LpVbN8yXoAf0C")  # of passwords that are made up
_RANDOM, _OTHER_RANDOM = bytes(range(32)), bytes(range(100, 132))
_KEY, _OTHER_KEY = _RANDOM[:16].hex(), _OTHER_RANDOM[:16].hex()
_ENCODINGS: tuple[tuple[Callable[[bytes], bytes], Callable[[str], bytes]], ...] = (
    (base64.b64encode, base64.b64decode),
    (base64.urlsafe_b64encode, base64.urlsafe_b64decode),
    (binascii.hexlify, binascii.unhexlify),
    (lambda data: binascii.hexlify(data).upper(), binascii.unhexlify),
)

Place = tuple[Path, str]  # of a value: the elements, from the root on, and the attribute; "" is the text
Difference = tuple[Path, str, str, str]  # a place, and what this side and the old client have there
Say = Callable[[Secrets], "list[Ours] | None"]  # plays the exchange, and returns what was sent, if that is known


@dataclass(frozen=True)
class Ours:
    """Is a message that the dialect has sent, when the server's message `after` had come. `part` counts the parts."""

    part: int
    after: int
    data: bytes
    payload: bytes
    root: Element | None


@dataclass
class Likeness:
    """Holds the secrets with which a dialect is most like the recorded client. What is `changing` may still differ, for
    this reason. `proofs` are the places whose values change with the password."""

    secrets: Secrets
    changing: dict[Place, str] = field(default_factory=dict)
    proofs: set[Place] = field(default_factory=set)


def ours(exchanges: Exchanges, play: Play) -> list[Ours]:
    """Returns the messages of a play. Raises ValueError if they are not framed as those of the old client, or if it is
    not known how those are."""
    found = exchanges.messages_of([part.data for _, part in play.parts])
    return [Ours(part, play.parts[part][0], data, payload, root_of(payload)) for part, data, payload in found]


def differences(one: Element, other: Element, path: Path = ()) -> Iterator[Difference]:
    """Yields what differs. An element that the other one has not, or has elsewhere, is a difference of the name "*"."""
    path = (*path, str(one.tag))
    children = [[child for child in each if isinstance(child.tag, str)] for each in (one, other)]
    tags = ["".join(f"<{local(str(child.tag))}>" for child in each) for each in children]
    if one.tag != other.tag or tags[0] != tags[1]:
        shown_one, shown_other = (f"<{local(str(each.tag))}>{tag}" for each, tag in zip((one, other), tags))
        yield path, "*", shown_one, shown_other
        return
    for name in dict.fromkeys([*one.keys(), *other.keys()]):
        if one.get(name) != other.get(name):
            yield path, str(name), str(one.get(name, "")), str(other.get(name, ""))
    if _text(one) != _text(other):
        yield path, "", _text(one), _text(other)
    for child, its in zip(*children):
        yield from differences(child, its, path)


def _text(element: Element) -> str:
    text = "".join([element.text or "", *(child.tail or "" for child in element)])
    return "" if text.isspace() else text


# Likeness


def likeness_of(exchange: Exchange, say: Say, hash_: bytes | None) -> Likeness:
    """Returns it. `hash_` is the one of the right password, if it is known."""
    call = exchange.call
    secrets = Secrets(hash_ or DIGESTS[0], _RANDOM, _KEY)
    found = Likeness(secrets if call.is_password_right else of_password(secrets, 1))
    for other in ({"random": _OTHER_RANDOM}, {"key": _OTHER_KEY}):
        places = _varying(say, found.secrets, replace(found.secrets, **other))
        for number, place in places:
            found.secrets = _adapted(found.secrets, places[number, place], _recorded(exchange, number, place))
        found.changing.update((place, "is random") for _, place in places)
    if call.login == CHALLENGE:
        found.proofs = {place for _, place in _varying(say, *(of_password(found.secrets, each) for each in (0, 1)))}
    for place in found.proofs:
        if hash_ is None or not call.is_password_right:
            found.changing[place] = PROOF
        elif found.secrets.random != _RANDOM:  # it depends on what is as it was
            found.changing.pop(place, None)
    return found


def of_password(secrets: Secrets, number: int) -> Secrets:
    """Returns the secrets with another password: the made-up one of this number."""
    digest = DIGESTS[number]
    return replace(secrets, hash=secrets.hash[: -len(digest)] + digest)


def _varying(say: Say, secrets: Secrets, other: Secrets) -> dict[tuple[int, Place], str]:
    """Returns the numbers of messages, and the places in them, in which the dialect says something else with the other
    secrets; with what it says with the first ones."""
    found = {}
    for number, (mine, its) in enumerate(zip(say(secrets) or (), say(other) or ())):
        if mine.root is not None and its.root is not None:
            places = differences(mine.root, its.root)
            found.update({(number, (path, name)): value for path, name, value, _ in places})
    return found


def _recorded(exchange: Exchange, number: int, place: Place) -> str:
    client = exchange.client or []
    return values_of(client[number].root).get(place, "") if number < len(client) else ""


def _adapted(secrets: Secrets, value: str, recorded: str) -> Secrets:
    """Returns the secrets with which the dialect says the recorded value in the place of this one."""
    if value == secrets.key and len(recorded) == len(value):
        return replace(secrets, key=recorded)
    for encode, decode in _ENCODINGS:
        for size in range(1, len(secrets.random) + 1):
            if encode(secrets.random[:size]).decode() == value:
                try:
                    begin = decode(recorded)
                except ValueError:
                    return secrets
                return replace(secrets, random=begin[:32] + secrets.random[len(begin) :])
    return secrets


# Messages


class Comparison:
    """Compares each exchange with its play, and in the end all of them. `may_differ` are the places that were not
    compared, with the reason."""

    def __init__(self, exchanges: Exchanges, recorded: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._volatile = _volatile(recorded)
        self._unasked = _unasked(recorded)
        self._missing: dict[str, Exchange] = {}
        self._sent: set[str] = set()
        self.may_differ: dict[Place, str] = {}

    def compare(
        self, exchange: Exchange, play: Play, sent: Sequence[Ours], like: Likeness
    ) -> Iterator[tuple[int, str]]:
        """Yields findings: the number of our message, from 1, and what is wrong with it."""
        due: dict[str, list[Said]] = {kind: [] for kind in self._unasked}
        asked: list[Said] = []
        for said in exchange.client or ():
            if said.before <= play.last:
                due.get(_kind(said.root), asked).append(said)
        for kind in (kind for kind, some in due.items() if some):
            self._missing.setdefault(kind, exchange)
        number = 0
        for count, message in enumerate(sent, 1):
            kind = _kind(message.root)
            self._sent.add(kind)
            if kind in due:  # each one of them may be the example
                found = min((list(self._differences(message, said, like)) for said in due[kind]), key=len, default=[])
                yield from ((count, text) for text in found)
            elif number < len(asked):
                number += 1
                found = list(self._differences(message, asked[number - 1], like))
                yield from ((count, text) for text in found)
                if found and _kind(asked[number - 1].root) != kind:
                    return
            elif message.after < play.last:  # else it is a goodbye, or what a server that says no more would answer
                yield count, f"the old client does not send {kind} here"
                return
        if number < len(asked):
            yield len(sent) + 1, f"the old client sends {_kind(asked[number].root)} here, and this dialect nothing"

    def never_sent(self) -> Iterator[tuple[Exchange, str]]:
        """Yields findings of all exchanges."""
        for kind in self._missing.keys() - self._sent:
            text = f"the old client sends {kind}, and this dialect never does: a keep-alive, or its answer?"
            yield self._missing[kind], text

    def _differences(self, message: Ours, said: Said, like: Likeness) -> Iterator[str]:
        if message.root is None or said.root is None:
            if message.root is not None or said.root is not None:
                yield "this is no XML that can be parsed: are & and < escaped, is the encoding right?"
            return
        yield from self._of_http(message)
        encodings = _encoding(message.payload), _encoding(said.payload)
        if None not in encodings and encodings[0] != encodings[1]:
            yield f"it is written in {encodings[0]}, the old client's in {encodings[1]}"
        for path, name, mine, its in differences(message.root, said.root):
            place = (path, name)
            reason = like.changing.get(place)
            if place in like.proofs and not reason:
                yield f"{place_text(place)} is not the old client's proof of the password (A8)"
                continue
            reason = reason or self._reason(path, name, mine, its)
            if reason:
                if reason != PROOF:
                    self.may_differ.setdefault(place, reason)
                continue
            values = [shorten(repr(shown(name or path[-1], value)), _MAX_SHOWN) for value in (mine, its)]
            yield f"{place_text(place)} is {values[0]}, the old client's {values[1]}"

    def _of_http(self, message: Ours) -> Iterator[str]:
        framing = self._exchanges.to_server[0].framing
        if not isinstance(framing, Http):
            return
        lines = message.data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        for line in (framing.start, *framing.headers):
            if line not in lines and line.partition(":")[0].lower() not in SECRET_HEADERS:
                yield f"its header has no line {line!r}, which the old client's has"

    def _reason(self, path: Path, name: str, mine: str, its: str) -> str:
        """Returns why a value may differ, "" if it may not."""
        if (path, name) in self._volatile:
            return "differs between two recordings of the same call"
        if name != "*" and (VERSION in mine or local(path[-1]) == _OF_CLIENT):
            return "names the client"
        if mine and its and _TIME.fullmatch(mine) and _TIME.fullmatch(its):
            return "a time"
        return ""


def _volatile(recorded: Sequence[Exchange]) -> set[Place]:
    """Returns the places where the old client says something else in the same call."""
    same: dict[object, Exchange] = {}
    found: set[Place] = set()
    for exchange in recorded:
        first = same.setdefault(exchange.call.asked, exchange)
        for one, other in zip(first.client or (), exchange.client or ()):
            if one.root is not None and other.root is not None and first is not exchange:
                found.update((path, name) for path, name, _, _ in differences(one.root, other.root) if name != "*")
    return found


def _unasked(recorded: Sequence[Exchange]) -> set[str]:
    """Returns the kinds of messages that the old client sends by itself when the jobs have left."""
    found: set[str] = set()
    of_login: set[str] = set()
    for exchange in recorded:
        client = exchange.client or []
        jobs = [normal(job.text) for job in exchange.call.jobs]
        texts = [*jobs, *(text for text in (exchange.call.user, exchange.call.os_user) if text)]
        with_job = [
            number for number, said in enumerate(client) if said.root is not None and holds_job(said.root, jobs)
        ]
        first = with_job[0] if with_job else len(client)
        of_login |= {_kind(said.root) for said in client[: first + 1]}
        contents: defaultdict[bytes, int] = defaultdict(int)
        for number in range(first + 1, len(client)):
            said = client[number]
            contents[said.payload] += 1
            following = client[number + 1].before if number + 1 < len(client) else len(exchange.server)
            is_unasked = contents[said.payload] > 1 or following == said.before or said.wait >= SILENCE
            if is_unasked and said.root is not None and not holds_job(said.root, texts):
                found.add(_kind(said.root))
    return found - of_login


def _kind(root: Element | None) -> str:
    return "what is no XML" if root is None else outline(root)


def _encoding(payload: bytes) -> str | None:
    """Returns the name of the encoding, None if any would do."""
    wide = wide_encoding(payload[:4])
    if wide is None and payload.isascii():
        return None
    name = declared(payload) or wide or ("utf-8" if is_decodable(payload, "utf-8") else "an encoding of one byte")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return name.lower()


# Jobs


def wrong_marks(exchange: Exchange, play: Play, sent: Sequence[Ours]) -> list[tuple[int, str]]:
    """Returns findings: the number of a part, from 1, whose mark does not agree with the jobs whose texts have left. 0
    stands for all parts, if jobs are marked and no text of one is found."""
    roots: defaultdict[int, list[Element]] = defaultdict(list)
    for message in sent:
        if message.root is not None:
            roots[message.part].append(message.root)
    left = dict(enumerate(normal(job.text) for job in exchange.call.jobs))
    seen = marked = 0
    found: list[tuple[int, str]] = []
    for number, (_, part) in enumerate(play.parts):
        before, is_late = seen, seen > marked
        values = {normal(value) for root in roots[number] for _, _, value in values_in(root, _MAX_VALUES)}
        texts = "\n".join([*values, normal(part.shown)])
        left = {job: text for job, text in left.items() if not _holds(values, texts, text)}
        seen = len(exchange.call.jobs) - len(left)
        marked += part.jobs
        if marked > seen:
            found.append((number + 1, f"{marked} jobs are marked as handed over, and {seen} have been sent"))
        elif is_late and part.jobs > seen - before > 0:
            found.append((number + 1, "jobs are marked as handed over with a later job: the server had them before"))
    return found if seen or not marked else [(0, "")]


def _holds(values: set[str], texts: str, text: str) -> bool:
    return text in values or (len(text) > _LEAST_TEXT and (text in texts or escape(text) in texts))


class Waits:
    """Notes what a dialect sends before something for which the old client has waited."""

    def __init__(self) -> None:
        self._found: dict[str, list[bool]] = {}

    def note(self, exchange: Exchange, play: Play, sent: Sequence[Ours]) -> None:
        client = exchange.client or []
        texts = [normal(job.text) for job in exchange.call.jobs]
        theirs = [said.before for said in client if said.root is not None and holds_job(said.root, texts)]
        mine = [each.after + 1 for each in sent if each.root is not None and holds_job(each.root, texts)]
        login = next((number for number, event in play.events if isinstance(event, LoggedIn)), None)
        if sent and client:
            self._add("speaks first, and the old client waits for a greeting", sent[0].after < 0 < client[0].before)
        if theirs and mine and login is not None:
            what = "sends jobs before the login is granted, and the old client waits for that"
            self._add(what, mine[0] <= login < theirs[0])
        if len(theirs) > 1 and len(mine) > 1:
            what = "sends the second job at once, and the old client waits for an answer to the first one"
            self._add(what, mine[1] <= mine[0] and theirs[0] < theirs[1])

    def _add(self, what: str, is_early: bool) -> None:
        self._found.setdefault(what, []).append(is_early)

    def missing(self) -> list[str]:
        """Returns what was so in all recordings."""
        return [what for what, found in self._found.items() if all(found)]


# Places


def place_text(place: Place) -> str:
    path, name = place
    element = "/".join(map(local, path))
    return f"<{element}>" if name == "*" else f"{local(name)} of <{element}>" if name else f"the text of <{element}>"


def values_of(root: Element | None) -> dict[Place, str]:
    return {} if root is None else {(path, name): value for path, name, value in values_in(root)}
