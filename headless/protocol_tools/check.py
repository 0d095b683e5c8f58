"""check: holds a dialect to what this program promises, by recordings of the old client and cases made from them."""

from __future__ import annotations

import argparse
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from headless import password_file
from headless.arguments import path
from headless.client.loading import load
from headless.client.waiting import Waiter
from headless.dialects.base import Ended, Event, JobFinished, LoggedIn, Output
from headless.dialects.vocabulary import CHALLENGE, FAILED
from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, TIMED_OUT, ParameterError, Submission
from headless.protocol_tools.cases import (
    CUT,
    CUT_INSIDE,
    Case,
    altered,
    cases,
    in_pieces,
    lost,
    places,
    runs_at,
    unchanged,
)
from headless.protocol_tools.checklist import counted
from headless.protocol_tools.comparison import (
    DIGESTS,
    Comparison,
    Likeness,
    Ours,
    Waits,
    likeness_of,
    of_password,
    ours,
    place_text,
    values_of,
    wrong_marks,
)
from headless.protocol_tools.exchanges import Exchange, Exchanges
from headless.protocol_tools.player import ENDLESS, Chunk, Play, Player, Secrets, Watchdog
from headless.protocol_tools.recordings import Folder, RecordedCall
from headless.protocol_tools.reported import Findings
from headless.protocol_tools.secrecy import LEAST_KNOWN, shown

PROGRAM = "headless protocol check"
_MAX_DIVIDED = 20_000  # bytes
_MAX_ENDS, _MAX_END = 3, 20  # calls that ended well, and the last messages of each, that are taken for an end
_OUR_FAULT = "(this is a fault of the client or its dialect"
_UNBROUGHT = "no bytes have brought"
_UNCHANGED = "unchanged"
_ATTRIBUTE = re.compile(r'([\w.:-]+)="([^"]*)"')


def add(commands: Any) -> None:
    """Adds the command to those of `headless protocol`."""
    text = "hold a dialect to recordings, and to what could go wrong"
    parser = commands.add_parser("check", help=text, description=_DESCRIPTION)
    parser.set_defaults(command=run, program=PROGRAM)
    parser.add_argument("dialect", metavar="FILE", help="the dialect: what PLANTA_PROTOCOL names")
    parser.add_argument("folder", type=path, metavar="DIR", help="the folder of the recordings")
    parser.add_argument("-p", "--secret", metavar="SECRET_FILE", help="the password file of the recorded client")


_DESCRIPTION = """Plays recordings to a dialect, and cases in which something is missing, early, twice or cut off. It
compares what the dialect sends with what the old client has sent, and the outcome with what was expected. Exit status:
0 if it finds nothing, 1 if it does, 2 if it cannot check."""


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status. Raises HeadlessError."""
    folder = Folder(arguments.folder)
    if not folder.has_calls:
        raise ParameterError(f"there are no recordings in {arguments.folder}")
    hash_ = password_file.read(arguments.secret).hash if arguments.secret is not None else None
    player = Player(load(arguments.dialect, Waiter()))
    exchanges = Exchanges(folder)
    findings = Findings()

    for place in _open_to_others(arguments.dialect):
        findings.add(
            "the dialect", f"others may write to {place}, and it runs with the rights of each caller: chmod go-w"
        )

    def report_endless(doing: str) -> None:
        findings.add(doing, "the dialect never ends")
        findings.print(len(exchanges.calls))

    with Watchdog(report_endless) as watchdog:
        Judge(player, exchanges, hash_, findings, watchdog).judge()
    wished = [wish.what for wish, found in counted(folder) if found < wish.count]
    if wished:
        findings.remark(f"never recorded (record --talk {arguments.folder}): {'; '.join(wished)}")
    findings.print(len(exchanges.calls))
    return 1 if len(findings) else 0


def _open_to_others(file: str) -> Iterator[str]:
    """Yields the file of a dialect, and its folder, if other users may change it. A group with the number of the user
    is his own (useradd)."""
    for place in (file, os.path.dirname(os.path.abspath(file))) if os.name == "posix" and os.path.isfile(file) else ():
        status = os.stat(place)
        is_open = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != status.st_uid)
        if is_open and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
            yield place


class Judge:
    """Judges a dialect by all exchanges. `hash_` is that of the right password, None if it is not known."""

    def __init__(
        self, player: Player, exchanges: Exchanges, hash_: bytes | None, findings: Findings, watchdog: Watchdog
    ) -> None:
        self.exchanges, self.hash, self.findings = exchanges, hash_, findings
        self._player, self._watchdog = player, watchdog
        self._recorded = list(exchanges)
        self.comparison, self.waits = Comparison(exchanges, self._recorded), Waits()
        self.unchecked: list[str] = []  # recordings
        self.has_end = self.has_result = False  # some call ended well, and the server has reported the result
        self.has_failure = False  # some call failed, and ended in order
        self.left: list[_Trial] = []  # where an old client that has seen a failure has left, and this one waits
        self.lost_failures: list[tuple[str, str]] = []  # where an end without a result hides one, and words for it

    def judge(self) -> None:
        """Raises ParameterError if nothing can be judged."""
        known = [exchange for exchange in self._recorded if exchange.call.login and exchange.call.jobs]
        if not known:
            raise ParameterError(
                "of no recording it is known which call it was: record with the old command line or --call"
            )
        for exchange in self._recorded:
            if any(exchange is each for each in known):
                _Trial(self, exchange).judge()
            else:
                self.findings.remark(f"{exchange.title}: it is not known which call this was, so it is not checked")
        self._judge_all()
        self._judge_recordings()

    def play(self, exchange: Exchange, chunks: Sequence[Chunk], secrets: Secrets, what: str) -> Play:
        self.findings.cases += 1
        with self._watchdog.watch(f"{exchange.title}, {what}", len(chunks)):
            return self._player.play(exchange.call, chunks, secrets)

    def _judge_all(self) -> None:
        add, remark = self.findings.add, self.findings.remark
        for what in self.waits.missing():
            add("all recordings", f"the dialect {what}")
        # That an orderly end counts is a mistake only if the server tells a success.
        for where, text in self.lost_failures if self.has_result else ():
            add(where, text)
        for where, text in self.lost_failures[:1] if not self.has_result else ():
            remark(f"{where}: {text}: the server tells a failure, and no success")
        good = [exchange for exchange in self._recorded if _expected(exchange.call) == OK and exchange.call.timeout]
        for trial in self.left:
            trial.judge_stay(good)
        for exchange, text in self.comparison.never_sent():
            add(exchange.title, text)
        for place, reason in self.comparison.may_differ.items():
            remark(f"may differ: {place_text(place)} ({reason})")

    def _judge_recordings(self) -> None:
        """Says what they are not enough for."""
        remark = self.findings.remark
        if self.hash is None and any(exchange.call.login == CHALLENGE for exchange in self._recorded):
            remark("proofs not checked: give -p")
        if self.unchecked:
            remark(f"without -p not checked at all, for the login needs the password: {', '.join(self.unchecked)}")
        if self.has_failure:
            return
        text = "no recording of a job that fails and ends in order (--expect 1): a 0 of one is not found"
        if self.has_end and not self.unchecked:
            self.findings.add("all recordings", text)
        else:
            remark(text)


class _Trial:
    """Judges a dialect by one exchange, with the secrets with which it is most like the old client."""

    def __init__(self, judge: Judge, exchange: Exchange) -> None:
        self._judge, self._exchange, self._findings = judge, exchange, judge.findings
        self._secrets = Secrets(judge.hash or DIGESTS[0])
        self._is_challenge = exchange.call.login == CHALLENGE

    def judge(self) -> None:
        exchange = self._exchange
        if self._judge.exchanges.to_client is None:
            self._divide()
        like = likeness_of(exchange, self._say, self._judge.hash)
        self._secrets = like.secrets
        usual = self._play(unchanged(exchange))
        hidden = self._compare(usual, like)
        if not self._is_as_expected(usual):
            return
        if len(places(exchange, usual)) < min(usual.last + 1, len(exchange.server)):
            self._findings.remark(f"{exchange.title} is long: cases are made of some of its messages")
        self._judge_pieces(usual)
        self._judge_altered(usual)
        self._judge_shown(unchanged(exchange), _UNCHANGED)
        login = next((number for number, event in usual.events if isinstance(event, LoggedIn)), usual.last)
        for case in cases(exchange, usual):
            what = f"if this message {case.what}"
            play = self._play(case.chunks, what)
            self._judge_case(case, what, play, usual)
            if any(secret in text for text in play.shown for secret in hidden):
                self._add(case.number, f"{what} a hash or a proof is shown")
            if case.number <= login + 1 and case.kind != CUT_INSIDE:
                self._judge_shown(case.chunks, what)

    def _divide(self) -> None:
        """Finds the server's messages, whose framing is not known: where the dialect says something when it gets one
        byte after the other."""
        data = b"".join(said.data for said in self._exchange.server)
        if len(data) > _MAX_DIVIDED:
            return
        chunks = [Chunk(data[number : number + 1], number) for number in range(len(data))]
        play = self._play(chunks, "byte by byte")
        self._exchange.divide({number + 1 for number in (*play.read, *(after for after, _ in play.parts))})

    def _say(self, secrets: Secrets) -> list[Ours] | None:
        try:
            return ours(self._judge.exchanges, self._play(unchanged(self._exchange), secrets=secrets))
        except ValueError:
            return None

    def _play(self, chunks: Sequence[Chunk], what: str = _UNCHANGED, secrets: Secrets | None = None) -> Play:
        return self._judge.play(self._exchange, chunks, secrets or self._secrets, what)

    def _of_passwords(self, chunks: Sequence[Chunk], what: str) -> list[Play]:
        """Returns how the call goes with one password, and with another one."""
        return [self._play(chunks, what, of_password(self._secrets, each)) for each in (0, 1)]

    # Findings

    def _where(self, number: int) -> str:
        exchange = self._exchange
        if number >= len(exchange.server):
            return f"{exchange.title}, at the end"
        said = exchange.server[number]
        connection = "" if said.connection == exchange.name else f" of {said.connection}"
        return f"{exchange.title}, the server's message {said.number}{connection}"

    def _add(self, number: int, text: str) -> None:
        """Adds a finding at the server's message of this number; -1 stands for the first one, too."""
        self._findings.add(self._where(max(0, number)), text)

    def _note(self, play: Play, expected: int | None) -> None:
        """Notes what the recordings are enough for."""
        exchange, judge = self._exchange, self._judge
        if _has_no_result(play):
            self._findings.remark("an orderly end counts as success: a job that fails may be a 0")
        if play.code == OK and any(isinstance(event, Ended) for _, event in play.events):
            judge.has_end = True
            judge.has_result = judge.has_result or not _has_no_result(play)
            judge.has_failure = judge.has_failure or exchange.call.fails_untold
        if expected == CONNECTION_ERROR:  # with another code it is a finding by itself
            is_broken_off = play.code == expected and (play.has_waited or play.last >= len(exchange.server))
            judge.has_failure = judge.has_failure or exchange.is_left or not is_broken_off

    def _is_as_expected(self, play: Play) -> bool:
        """Returns whether the call goes as it should."""
        exchange, expected = self._exchange, _expected(self._exchange.call)
        if self._needs_password(play):
            self._judge.unchecked.append(exchange.name)
            return False
        self._note(play, expected)
        if play.unsent:
            self._findings.remark("something is still to be sent when the jobs are accepted: a 0 waits for that")
        if _OUR_FAULT in play.text:
            self._add(play.last, f"the dialect is wrong{self._end_of(unchanged(exchange), play)}")
            return False
        if expected is None:
            self._findings.remark(
                f"{exchange.title}: it is not known what to expect (record --expect); it is {play.code}"
            )
        elif play.code != expected:
            end = self._end_of(unchanged(exchange), play)
            self._add(play.last, f"the call ends with {_code(play.code)}, and {expected} is expected{end}")
            return False
        elif expected == CONNECTION_ERROR and exchange.is_left and play.has_waited:
            self._judge.left.append(self)
            if not any(isinstance(event, JobFinished) and event.status == FAILED for _, event in play.events):
                where = self._where(max(0, play.last))
                self._findings.remark(f"{where}: the old client leaves here, and this dialect waits for more")
        return True

    def _needs_password(self, play: Play) -> bool:
        """Returns whether the call has come no further because the password is not known."""
        is_known = self._judge.hash is not None or not self._is_challenge
        return not (is_known or _is_logged_in(play)) and play.code == CONNECTION_ERROR

    def _end_of(self, chunks: Sequence[Chunk], play: Play) -> str:
        """Returns what the call has ended with, for the end of a finding."""
        others = self._of_passwords(chunks, _UNCHANGED) if self._is_challenge else []
        if any(other.text != play.text for other in others):
            return ": (not shown, for it changes with the password)"
        text = _ATTRIBUTE.sub(lambda found: f'{found[1]}="{shown(found[1], found[2])}"', play.text)
        return f": {text}" if text else ""

    def _judge_pieces(self, usual: Play) -> None:
        for how, chunks in in_pieces(self._exchange, usual):
            play = self._play(chunks, how)
            if play.code != usual.code:
                text = f"{how} the call ends with {_code(play.code)}, message by message with {_code(usual.code)}"
                self._add(play.last, text + self._end_of(chunks, play))
            elif _joined(play.events) != _joined(usual.events):
                self._add(play.last, f"{how} the dialect reports other events than message by message")
            elif _marked(play) != _marked(usual):
                self._add(play.last, f"{how} the dialect sends something else than message by message")

    def _judge_altered(self, usual: Play) -> None:
        """Puts another message in the place of each one of a call that fails: it may be the failure."""
        exchange, transport = self._exchange, self._judge.exchanges.to_client
        if usual.code == OK or transport is None or any(said.connection != exchange.name for said in exchange.server):
            return
        for number in places(exchange, usual):
            with suppress(ValueError):
                for what, chunks in altered(exchange, number, transport):
                    if self._play(chunks, what).code == OK:
                        self._add(number, f"{what} the call ends with 0, and unchanged with {_code(usual.code)}")

    def judge_stay(self, good: Sequence[Exchange]) -> None:
        """Lets the server go on as in calls that ended well: what it says to a client that stays is not recorded."""
        count = len(self._exchange.server)
        jobs = len(self._exchange.call.jobs)
        for other in sorted(good, key=lambda each: abs(len(each.call.jobs) - jobs))[:_MAX_ENDS]:
            chunks = [replace(chunk, number=count, wait=0.0, silence=0.0) for chunk in unchanged(other)]
            for begin in range(max(0, len(chunks) - _MAX_END), len(chunks)):
                played = [*unchanged(self._exchange), *chunks[begin:]]
                if self._play(played, f"going on as {other.title} does").code == OK:
                    text = "the old client leaves here, and the call ends with 0 if the server goes on as in a good one"
                    self._add(count - 1, text)
                    return

    def _judge_case(self, case: Case, what: str, play: Play, usual: Play) -> None:
        if _OUR_FAULT in play.text or _UNBROUGHT in play.text:
            self._add(case.number, f"{what} the dialect is wrong{self._end_of(case.chunks, play)}")
        if play.code == OK and usual.code != OK:
            text = f"{what} the call ends with 0, and unchanged with {_code(usual.code)}"
            if _has_no_result(play):
                self._judge.lost_failures.append((self._where(case.number), text))
            else:
                self._add(case.number, text)
        elif play.code == OK and (events := lost(self._exchange, case, usual)):
            self._add(case.number, f"{what} the call ends with 0, and the message proves it ({events})")
        if case.kind == CUT and play.submission is Submission.NOT_SUBMITTED and runs_at(case.number, usual):
            text = "when the server accepts or runs jobs, the dialect has not yet marked them as handed over (jobs=...)"
            self._add(case.number, text)

    def _judge_shown(self, chunks: Sequence[Chunk], what: str) -> None:
        """Compares what is shown with one password and with another one."""
        if not self._is_challenge:
            return
        one, other = self._of_passwords(chunks, what)
        if what == _UNCHANGED and _is_logged_in(one) and _marked(one) == _marked(other):
            text = "what is sent does not change with the password: it proves nothing (A8)"
            self._findings.add(self._exchange.title, text)
        if any(mine != its for mine, its in zip(one.shown, other.shown)):
            text = "what is shown changes with the password: a hash, a proof or a part of it is in a text"
            self._findings.add(self._exchange.title, text)

    def _compare(self, play: Play, like: Likeness) -> list[str]:
        """Compares what is sent. Returns what must not be shown."""
        exchange, findings = self._exchange, self._findings
        hidden = [like.secrets.hash[-31:].decode("ascii")]
        if not self._judge.exchanges.to_server or exchange.client is None:
            findings.remark("what frames the messages of the old client is not known: they are not compared")
            return hidden
        try:
            sent = ours(self._judge.exchanges, play)
        except ValueError as error:
            findings.add(exchange.title, f"what is sent is not framed as the old client's messages are: {error}")
            return hidden
        for number, text in self._judge.comparison.compare(exchange, play, sent, like):
            findings.add(f"{exchange.title}, our message {number}", text)
        for number, text in wrong_marks(exchange, play, sent)[:1]:
            if number:
                findings.add(f"{exchange.title}, our part {number}", text)
            else:
                findings.remark("jobs are not recognised in what is sent: whether `jobs` is right is not checked")
        self._judge.waits.note(exchange, play, sent)
        values = [value for message in sent for place, value in values_of(message.root).items() if place in like.proofs]
        hidden += [value for value in values if len(value) >= LEAST_KNOWN]
        if any(secret in text for text in play.shown for secret in hidden):
            findings.add(exchange.title, "a hash or a proof is shown")
        return hidden


def _expected(call: RecordedCall) -> int | None:
    if call.expected is not None:
        return call.expected
    if not call.is_password_right:
        return PARAMETER_ERROR
    return call.status if call.status in (OK, PARAMETER_ERROR, TIMED_OUT) else None


def _has_no_result(play: Play) -> bool:
    """Returns whether the session has ended well by a decision of the site alone."""
    return any(isinstance(event, Ended) and not event.has_result for _, event in play.events)


def _is_logged_in(play: Play) -> bool:
    return any(isinstance(event, LoggedIn) for _, event in play.events)


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


def _marked(play: Play) -> list[tuple[bytes, int]]:
    return [(part.data, part.jobs) for _, part in play.parts]
