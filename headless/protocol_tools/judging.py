"""Judges how recordings, and cases made from them, go with a dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from xml.sax.saxutils import escape

from lxml.etree import _Element as Element

from headless.dialects.base import Accepted, Ended, Event, JobFinished, JobStarted, LoggedIn, Output
from headless.dialects.vocabulary import CHALLENGE, FAILED
from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, TIMED_OUT, ParameterError, Submission
from headless.protocol_tools.cases import (
    CUT,
    CUT_INSIDE,
    EARLY,
    MISSING,
    SWAPPED,
    Case,
    cases,
    cause_of,
    in_pieces,
    places,
    unchanged,
    with_unknown,
)
from headless.protocol_tools.comparison import (
    DIGESTS,
    Comparison,
    Likeness,
    Ours,
    likeness_of,
    of_password,
    ours,
    place_text,
    values_of,
)
from headless.protocol_tools.documents import holds_job, normal, values_in
from headless.protocol_tools.exchanges import Exchange, Exchanges
from headless.protocol_tools.player import ENDLESS, Chunk, Play, Player, Secrets, Watchdog
from headless.protocol_tools.recordings import RecordedCall
from headless.protocol_tools.secrecy import LEAST_KNOWN

_MAX_DIVIDED = 20_000  # bytes
_MAX_VALUES = 100_000  # of a message, in which jobs are looked for
_MAX_ENDS, _MAX_END = 3, 20  # calls that ended well, and the last messages of each, that are taken for an end
_LEAST_TEXT = 2  # characters of a job's text that may be anywhere
_PROVING = (Accepted, JobFinished, Ended)
_OF_RUNNING_JOBS = (Accepted, JobStarted, JobFinished)
_OUR_FAULT = "(this is a fault of the client or its dialect"
_UNBROUGHT = "no bytes have brought"
_NUMBER = re.compile(rb"[0-9]+")


class Findings:
    """Collects what is found, each once, with how often it was, and remarks. `cases` counts what was tried."""

    def __init__(self) -> None:
        self._where: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._remarks: dict[str, None] = {}
        self.cases = 0

    def __len__(self) -> int:
        return len(self._where)

    def add(self, where: str, text: str) -> None:
        self._where.setdefault(text, where)
        self._counts[text] = self._counts.get(text, 0) + 1

    def remark(self, text: str) -> None:
        self._remarks[text] = None

    def lines(self) -> Iterator[str]:
        for text, where in self._where.items():
            more = self._counts[text] - 1
            yield f"{where}: {text}" + (f" (and in {more} more)" if more else "")
        yield from (f"remark: {text}" for text in self._remarks)


class Judge:
    """Judges a dialect by all exchanges. `hash_` is that of the right password, None if it is not known."""

    def __init__(
        self, player: Player, exchanges: Exchanges, hash_: bytes | None, findings: Findings, watchdog: Watchdog
    ) -> None:
        self._player = player
        self._exchanges = exchanges
        self._recorded = list(exchanges)
        self._hash = hash_
        self._findings = findings
        self._watchdog = watchdog
        self._comparison = Comparison(exchanges, self._recorded)
        self._waits: dict[str, list[bool]] = {}  # what is sent without the answer that the old client has waited for
        self._unchecked: list[str] = []  # recordings
        self._has_failure = False
        self._has_result = False  # some call ended well, and the server has told it
        self._left: list[tuple[Exchange, Secrets]] = []  # by an old client that has seen a failure; this one waits
        self._lost_failures: list[tuple[str, str]] = []  # where an end without a result hides one, and words for it

    def judge(self) -> None:
        """Raises ParameterError if nothing can be judged."""
        if not any(exchange.call.login and exchange.call.jobs for exchange in self._recorded):
            raise ParameterError(
                "of no recording it is known which call it was: record with the old command line or --call"
            )
        for exchange in self._recorded:
            if exchange.call.login and exchange.call.jobs:
                self._judge(exchange)
            else:
                self._findings.remark(f"{exchange.title}: it is not known which call this was, so it is not checked")
        self._judge_all()

    # One exchange

    def _judge(self, exchange: Exchange) -> None:
        if self._exchanges.to_client is None:
            self._divide(exchange)
        like = likeness_of(exchange, lambda secrets: self._say(exchange, secrets), self._hash)
        usual = self._play(exchange, unchanged(exchange), like.secrets, "unchanged")
        hidden = self._compare(exchange, usual, like)
        if not self._is_as_expected(exchange, usual, like.secrets):
            return
        if len(places(exchange, usual)) < min(usual.last + 1, len(exchange.server)):
            self._findings.remark(f"{exchange.title} is long: cases are made of some of its messages")
        self._judge_pieces(exchange, usual, like.secrets)
        self._judge_unknown(exchange, usual, like.secrets)
        is_challenge = exchange.call.login == CHALLENGE
        if is_challenge:
            self._judge_shown(exchange, unchanged(exchange), "unchanged", like.secrets)
        login = next((number for number, event in usual.events if isinstance(event, LoggedIn)), usual.last)
        for case in cases(exchange, usual):
            what = f"if this message {case.what}"
            play = self._play(exchange, case.chunks, like.secrets, what)
            self._judge_case(exchange, case, play, usual, like.secrets)
            if any(secret in text for text in play.shown for secret in hidden):
                self._findings.add(self._where(exchange, case.number), f"{what} a hash or a proof is shown")
            if is_challenge and case.number <= login + 1 and case.kind != CUT_INSIDE:
                self._judge_shown(exchange, case.chunks, what, like.secrets)

    def _divide(self, exchange: Exchange) -> None:
        """Finds the server's messages, whose framing is not known: where the dialect says something when it gets one
        byte after the other."""
        data = b"".join(said.data for said in exchange.server)
        if len(data) > _MAX_DIVIDED:
            return
        chunks = [Chunk(data[number : number + 1], number) for number in range(len(data))]
        play = self._play(exchange, chunks, Secrets(self._hash or DIGESTS[0]), "byte by byte")
        exchange.divide({number + 1 for number in (*play.read, *(after for after, _ in play.parts))})

    def _say(self, exchange: Exchange, secrets: Secrets) -> list[Ours] | None:
        try:
            return ours(self._exchanges, self._play(exchange, unchanged(exchange), secrets, "unchanged"))
        except ValueError:
            return None

    def _play(self, exchange: Exchange, chunks: Sequence[Chunk], secrets: Secrets, what: str) -> Play:
        self._findings.cases += 1
        with self._watchdog.watch(f"{exchange.title}, {what}", len(chunks)):
            return self._player.play(exchange.call, chunks, secrets)

    def _where(self, exchange: Exchange, number: int) -> str:
        if number >= len(exchange.server):
            return f"{exchange.title}, at the end"
        said = exchange.server[number]
        connection = "" if said.connection == exchange.name else f" of {said.connection}"
        return f"{exchange.title}, the server's message {said.number}{connection}"

    # Findings

    def _is_as_expected(self, exchange: Exchange, play: Play, secrets: Secrets) -> bool:
        """Returns whether the call goes as it should."""
        call, where = exchange.call, self._where(exchange, max(0, play.last))
        expected = _expected(call)
        self._has_failure = self._has_failure or expected == CONNECTION_ERROR
        if _has_no_result(play):
            self._findings.remark("an orderly end counts as success: a job that fails may be a 0")
        elif play.code == OK and any(isinstance(event, Ended) for _, event in play.events):
            self._has_result = True
        if play.unsent:
            self._findings.remark("something is still to be sent when the jobs are accepted: a 0 waits for that")
        if _OUR_FAULT in play.text:
            end = self._end_of(exchange, unchanged(exchange), secrets, play)
            self._findings.add(where, f"the dialect is wrong{end}")
            return False
        if expected is None:
            self._findings.remark(
                f"{exchange.title}: it is not known what to expect (record --expect); it is {play.code}"
            )
        elif play.code != expected:
            is_logged_in = any(isinstance(event, LoggedIn) for _, event in play.events)
            if self._hash is None and call.login == CHALLENGE and not is_logged_in and play.code == CONNECTION_ERROR:
                self._unchecked.append(exchange.name)
                return False
            end = self._end_of(exchange, unchanged(exchange), secrets, play)
            self._findings.add(where, f"the call ends with {_code(play.code)}, and {expected} is expected{end}")
            return False
        elif expected == CONNECTION_ERROR and exchange.is_left and play.has_waited:
            self._left.append((exchange, secrets))
            if not any(isinstance(event, JobFinished) and event.status == FAILED for _, event in play.events):
                self._findings.remark(f"{where}: the old client leaves here, and this dialect waits for more")
        return True

    def _end_of(self, exchange: Exchange, chunks: Sequence[Chunk], secrets: Secrets, play: Play) -> str:
        """Returns what the call has ended with, for the end of a finding."""
        texts = {play.text}
        if exchange.call.login == CHALLENGE:
            texts |= {self._play(exchange, chunks, of_password(secrets, each), "unchanged").text for each in (0, 1)}
        if len(texts) > 1:
            return ": (not shown, for it changes with the password)"
        return f": {play.text}" if play.text else ""

    def _judge_pieces(self, exchange: Exchange, play: Play, secrets: Secrets) -> None:
        for how, chunks in in_pieces(exchange, play):
            other = self._play(exchange, chunks, secrets, how)
            where = self._where(exchange, max(0, other.last))
            if other.code != play.code:
                text = f"{how} the call ends with {_code(other.code)}, message by message with {_code(play.code)}"
                self._findings.add(where, text + self._end_of(exchange, chunks, secrets, other))
            elif _joined(other.events) != _joined(play.events):
                self._findings.add(where, f"{how} the dialect reports other events than message by message")
            elif [(each.data, each.jobs) for _, each in other.parts] != [
                (each.data, each.jobs) for _, each in play.parts
            ]:
                self._findings.add(where, f"{how} the dialect sends something else than message by message")

    def _judge_unknown(self, exchange: Exchange, usual: Play, secrets: Secrets) -> None:
        """Puts a message that nobody knows in the place of each one of a call that fails: it may be the failure."""
        transport = self._exchanges.to_client
        if usual.code == OK or transport is None or any(said.connection != exchange.name for said in exchange.server):
            return
        what = "if a message that nobody knows comes in the place of this one"
        for number in places(exchange, usual):
            with suppress(ValueError):
                play = self._play(exchange, with_unknown(exchange, number, transport), secrets, what)
                if play.code == OK:
                    text = f"{what} the call ends with 0, and unchanged with {_code(usual.code)}"
                    self._findings.add(self._where(exchange, number), text)

    def _judge_case(self, exchange: Exchange, case: Case, play: Play, usual: Play, secrets: Secrets) -> None:
        where = self._where(exchange, case.number)
        if _OUR_FAULT in play.text or _UNBROUGHT in play.text:
            end = self._end_of(exchange, case.chunks, secrets, play)
            self._findings.add(where, f"if this message {case.what} the dialect is wrong{end}")
        if play.code == OK and usual.code != OK:
            text = f"if this message {case.what} the call ends with 0, and unchanged with {_code(usual.code)}"
            if _has_no_result(play):
                self._lost_failures.append((where, text))
            else:
                self._findings.add(where, text)
        elif play.code == OK and (lost := _lost(exchange, case, usual)):
            text = f"if this message {case.what} the call ends with 0, and the message proves it ({lost})"
            self._findings.add(where, text)
        if case.kind == CUT and play.submission is Submission.NOT_SUBMITTED and _runs_at(case.number, usual):
            text = "when the server accepts or runs jobs, the dialect has not yet marked them as handed over (jobs=...)"
            self._findings.add(where, text)

    def _judge_shown(self, exchange: Exchange, chunks: Sequence[Chunk], what: str, secrets: Secrets) -> None:
        """Compares what is shown with one password and with another one."""
        one, other = (self._play(exchange, chunks, of_password(secrets, each), what).shown for each in (0, 1))
        for mine, its in zip(one, other):
            if mine != its:
                text = "what is shown changes with the password: a hash, a proof or a part of it is in a text"
                self._findings.add(exchange.title, text)
                return

    def _compare(self, exchange: Exchange, play: Play, like: Likeness) -> list[str]:
        """Compares what is sent. Returns what must not be shown."""
        hidden = [like.secrets.hash[-31:].decode("ascii")]
        if not self._exchanges.to_server or exchange.client is None:
            self._findings.remark("what frames the messages of the old client is not known: they are not compared")
            return hidden
        try:
            sent = ours(self._exchanges, play)
        except ValueError as error:
            self._findings.add(exchange.title, f"what is sent is not framed as the old client's messages are: {error}")
            return hidden
        for number, text in self._comparison.compare(exchange, play, sent, like):
            self._findings.add(f"{exchange.title}, our message {number}", text)
        self._judge_marks(exchange, play, sent)
        self._note_waits(exchange, play, sent)
        values = [value for message in sent for place, value in values_of(message.root).items() if place in like.proofs]
        hidden += [value for value in values if len(value) >= LEAST_KNOWN]
        if any(secret in text for text in play.shown for secret in hidden):
            self._findings.add(exchange.title, "a hash or a proof is shown")
        return hidden

    def _judge_marks(self, exchange: Exchange, play: Play, sent: Sequence[Ours]) -> None:
        """Compares the jobs that are marked as handed over with those whose texts have been sent."""
        jobs = exchange.call.jobs
        seen: set[int] = set()
        marked = 0
        found: list[tuple[int, str]] = []
        roots: dict[int, list[Element]] = {}
        for message in sent:
            if message.root is not None:
                roots.setdefault(message.part, []).append(message.root)
        for number, (_, part) in enumerate(play.parts):
            before, late = len(seen), len(seen) > marked
            values = {normal(value) for root in roots.get(number, ()) for _, _, value in values_in(root, _MAX_VALUES)}
            texts = "\n".join([*values, normal(part.shown)])
            for job in set(range(len(jobs))) - seen:
                text = normal(jobs[job].text)
                if text in values or (len(text) > _LEAST_TEXT and (text in texts or escape(text) in texts)):
                    seen.add(job)
            marked += part.jobs
            if marked > len(seen):
                found.append((number, f"{marked} jobs are marked as handed over, and {len(seen)} have been sent"))
            elif late and part.jobs > len(seen) - before > 0:
                found.append((number, "jobs are marked as handed over with a later job: the server had them before"))
        if not seen and marked:
            self._findings.remark("jobs are not recognised in what is sent: whether `jobs` is right is not checked")
        elif found:
            self._findings.add(f"{exchange.title}, our part {found[0][0] + 1}", found[0][1])

    def _note_waits(self, exchange: Exchange, play: Play, sent: Sequence[Ours]) -> None:
        """Notes what is sent before something for which the old client has waited."""
        client = exchange.client or []
        texts = [normal(job.text) for job in exchange.call.jobs]
        theirs = [said.before for said in client if said.root is not None and holds_job(said.root, texts)]
        mine = [each.after + 1 for each in sent if each.root is not None and holds_job(each.root, texts)]
        login = next((number for number, event in play.events if isinstance(event, LoggedIn)), None)
        if sent and client:
            self._note_wait(
                "speaks first, and the old client waits for a greeting", sent[0].after < 0 < client[0].before
            )
        if theirs and mine and login is not None:
            what = "sends jobs before the login is granted, and the old client waits for that"
            self._note_wait(what, mine[0] <= login < theirs[0])
        if len(theirs) > 1 and len(mine) > 1:
            what = "sends the second job at once, and the old client waits for an answer to the first one"
            self._note_wait(what, mine[1] <= mine[0] and theirs[0] < theirs[1])

    def _note_wait(self, what: str, is_early: bool) -> None:
        self._waits.setdefault(what, []).append(is_early)

    # All exchanges

    def _judge_all(self) -> None:
        for what, found in self._waits.items():
            if all(found):
                self._findings.add("all recordings", f"the dialect {what}")
        self._judge_lost_failures()
        for exchange, secrets in self._left:
            self._judge_stay(exchange, secrets)
        for exchange, text in self._comparison.never_sent():
            self._findings.add(exchange.title, text)
        for place, reason in self._comparison.may_differ.items():
            self._findings.remark(f"may differ: {place_text(place)} ({reason})")
        if self._hash is None and any(exchange.call.login == CHALLENGE for exchange in self._recorded):
            self._findings.remark("proofs not checked: give -p")
        if self._unchecked:
            names = ", ".join(self._unchecked)
            self._findings.remark(f"without -p not checked at all, for the login needs the password: {names}")
        if not self._has_failure:
            self._findings.remark(
                "no recording of a job that fails (--expect 1): a failure that is taken for a success is not found"
            )

    def _judge_stay(self, exchange: Exchange, secrets: Secrets) -> None:
        """Lets the server go on as in calls that ended well: what it says to a client that stays is not recorded."""
        good = [each for each in self._recorded if _expected(each.call) == OK and each.call.timeout]
        good.sort(key=lambda each: abs(len(each.call.jobs) - len(exchange.call.jobs)))
        count = len(exchange.server)
        for other in good[:_MAX_ENDS]:
            chunks = [replace(chunk, number=count, wait=0.0, silence=0.0) for chunk in unchanged(other)]
            for begin in range(max(0, len(chunks) - _MAX_END), len(chunks)):
                what = f"going on as {other.title} does"
                play = self._play(exchange, [*unchanged(exchange), *chunks[begin:]], secrets, what)
                if play.code == OK:
                    text = "the old client leaves here, and the call ends with 0 if the server goes on as in a good one"
                    self._findings.add(self._where(exchange, count - 1), text)
                    return

    def _judge_lost_failures(self) -> None:
        """Takes the site's decision that an orderly end counts for a mistake only if the server tells a success."""
        if self._has_result:
            for where, text in self._lost_failures:
                self._findings.add(where, text)
        elif self._lost_failures:
            where, text = self._lost_failures[0]
            self._findings.remark(f"{where}: {text}: the server tells a failure, and no success")


def _expected(call: RecordedCall) -> int | None:
    if call.expected is not None:
        return call.expected
    if not call.is_password_right:
        return PARAMETER_ERROR
    return call.status if call.status in (OK, PARAMETER_ERROR, TIMED_OUT) else None


def _has_no_result(play: Play) -> bool:
    """Returns whether the session has ended well by a decision of the site alone."""
    return any(isinstance(event, Ended) and not event.has_result for _, event in play.events)


def _code(code: int) -> str:
    return "no code: it waits for ever" if code == ENDLESS else str(code)


def _joined(events: Sequence[tuple[int, Event]]) -> list[Event]:
    """Returns the events, with output that came in pieces as one."""
    joined: list[Event] = []
    for _, event in events:
        last = joined[-1] if joined else None
        if isinstance(event, Output) and isinstance(last, Output) and event.replace(text=last.text) == last:
            joined[-1] = last.replace(text=last.text + event.text)
        else:
            joined.append(event)
    return joined


def _lost(exchange: Exchange, case: Case, usual: Play) -> str:
    """Returns which events the case takes the ground from, "" if none."""
    brought: dict[int, list[str]] = {}
    for number, event in usual.events:
        if isinstance(event, _PROVING):
            brought.setdefault(number, []).append(type(event).__name__)
    number = case.number
    names: list[str] = []
    if case.kind == MISSING or (case.kind == EARLY and not _is_repeated(exchange, number, usual)):
        names = brought.get(number, [])
    elif case.kind == SWAPPED:
        first, second = brought.get(number, []), brought.get(number + 1, [])
        is_end_first = Ended.__name__ in second and first and Ended.__name__ not in first
        is_early = cause_of(number + 1, usual) == number and not _is_repeated(exchange, number + 1, usual)
        names = second if is_end_first or is_early else []
    elif case.kind in (CUT, CUT_INSIDE):
        begin = number + (case.kind == CUT_INSIDE and _is_whole(exchange, case))
        names = [name for each in range(begin, usual.last + 1) for name in brought.get(each, [])]
    return ", ".join(dict.fromkeys(names))


def _is_repeated(exchange: Exchange, number: int, usual: Play) -> bool:
    """Returns whether there is another message that differs in numbers alone: a dialect may just count them."""
    shapes = [_NUMBER.sub(b"0", said.payload) for said in exchange.server[: usual.last + 1]]
    return shapes.count(shapes[number]) > 1


def _is_whole(exchange: Exchange, case: Case) -> bool:
    """Returns whether the document of the message that was cut may have come, and only what frames it has not. Of what
    is compressed that is not known."""
    said = exchange.server[case.number]
    payload = said.payload.rstrip()
    start = said.data.find(payload)
    return start < 0 or case.came >= start + len(payload)


def _runs_at(number: int, usual: Play) -> bool:
    """Returns whether the message says that the server has jobs."""
    accepted = next((each for each, event in usual.events if isinstance(event, Accepted)), usual.last + 1)
    kinds = (*_OF_RUNNING_JOBS, Output) if number >= accepted else _OF_RUNNING_JOBS
    return any(each == number and isinstance(event, kinds) for each, event in usual.events)
