"""Writes a dialect for a vocabulary of its own, which a person finishes: what the client sends is written as far as it
is known. What a message of the server proves is left open, with what speaks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.protocol_tools.client_side import ACCEPTANCE, EACH, NOTHING, RESULT, Step
from headless.protocol_tools.code import (
    classes_in,
    element_code,
    modules_in,
    one_line,
    text_code,
    transport_code,
    unit_code,
)
from headless.protocol_tools.contrast import ACCEPTED, FAILED, GOOD, LATE, LEFT, OUTCOMES, REFUSED, WRONG
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.explained import Explained
from headless.protocol_tools.login_search import values_of
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.server_side import Kind, test_code
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.templates import KIND_NAMES, said_name

_HEAD = '''"""Speaks the protocol of recordings. `headless protocol explain` wrote it, and IT IS NOT FINISHED.

DECIDE marks what a person has to decide: what a message of the server means (PORTING.md, sections 4 and 5). Until then
such a message ends the call with 1.
"""

from __future__ import annotations
'''
_INIT = """
    def __init__(self, call: base.Call) -> None:
        super().__init__(call)
        self._sender, self._receiver = Sender(self.to_server), Receiver(self.to_client)
        self._said: dict[str, str] = {}  # what the server has said last, by its place
        self._sent = 0  # messages
        self._submitted = self._accepted = self._finished = 0  # jobs
        self._secrets: list[str] = []
"""
_TAIL = '''
    def _send(self, root: etree._Element, jobs: int = 0) -> None:
        text = etree.tostring(root, encoding="unicode")
        try:
            data = self._sender.bytes_of((self.prolog + text).encode(self.encoding, "xmlcharrefreplace"))
        except ValueError as error:
            raise UnsupportedCall(str(error)) from None
        self._sent += 1
        self.send(data, hide_secrets(text, self._secrets), jobs)

    # What the server sends

    def receive(self, data: bytes) -> None:
        self._receiver.receive(data)
        while (message := self._receiver.next_message()) is not None:
            if not message.strip():
                continue
            root = parse(message, self.parsed_encoding)
            if self.call.is_traced:
                self.report(base.Received(hide_secrets(etree.tostring(root, encoding="unicode"), self._secrets)))
            self._remember(root, etree.QName(root).localname)
            self._take(root)

    def _remember(self, element: etree._Element, place: str) -> None:
        """Keeps the texts of a message."""
        self._said[place] = (element.text or "").strip()
        for name, value in element.attrib.items():
            self._said[f"{place}@{etree.QName(name).localname}"] = value
        for child in element:
            self._remember(child, f"{place}/{etree.QName(child).localname}")

'''


def dialect_code(found: Explained) -> str:
    """Returns a whole dialect."""
    writer = _Writer(found)
    body = "".join(f"{line}\n" for line in writer.lines())
    return f"{_HEAD}{writer.imports(body)}\n\nclass Dialect(base.Dialect):\n{body}"


class _Writer:
    """Writes the body of the class."""

    def __init__(self, found: Explained) -> None:
        self._found = found
        self._client = found.client
        self._kinds = found.kinds.all
        self._kinds_by_order = sorted(self._kinds, key=lambda kind: kind.place / kind.times)
        self._functions: dict[tuple[str, ...], str] = {}  # by their lines: the name
        self._at_start: dict[str, list[str]] = {}  # by login: what is sent first
        self._after_kind: dict[int, dict[str, list[str]]] = {}  # by kind, by login: what is sent then
        self._salt_kinds: set[int] = set()
        self._proofs: dict[str, str] = {}  # what sends the proof
        for login in (CHALLENGE, OSUSER):
            self._plan(login)

    # What is sent when

    def _plan(self, login: str) -> None:
        steps = self._client.login.get(login, [])
        is_proved_later = any(step.has_proof for step in steps)
        if not steps and self._client.jobs is not None and any(step for step in self._client.login.values()):
            steps = [self._client.jobs]
        place: list[str] = self._at_start.setdefault(login, [])
        for number, step in enumerate(steps):
            usual = step.causes.most_common(1)[0][0] if step.causes else ""
            name = self._function(step, f"_{login}_{number + 1}")
            has_jobs = step.has_jobs and not (is_proved_later and not step.has_proof)
            has_jobs = has_jobs or (step.has_proof and any(each.has_jobs for each in steps))
            count = ", jobs=len(self.call.jobs)" if has_jobs else ""
            if usual:
                place = self._place_after(usual, login)
            if step.has_proof:
                self._proofs[login] = f"self._send(self.{name}(proof){count})"
                self._salt_kinds.update(self._numbers_of(usual))
            else:
                place.append(f"self._send(self.{name}(){count})")

    def _place_after(self, label: str, login: str) -> list[str]:
        """Returns the list of what is sent after this message of the server."""
        numbers = self._numbers_of(label)
        place: list[str] = []
        for number in numbers:
            place = self._after_kind.setdefault(number, {}).setdefault(login, place)
        return place

    def _numbers_of(self, label: str) -> list[int]:
        return [number for number, kind in enumerate(self._kinds) if label == kind.label]

    def _function(self, step: Step, name: str) -> str:
        """Returns the name of a method that makes this message."""
        lines = (*element_code(step.template), "return root")
        return self._functions.setdefault(lines, name)

    # The body

    def lines(self) -> Iterator[str]:
        yield from self._attributes()
        yield from _INIT.splitlines()
        recorded = {job.kind for each in self._found.survey.facts for job in each.call.jobs if each.has_jobs_left}
        if recorded and len(recorded) < len(KIND_NAMES):
            yield "        for job in call.jobs:"
            yield f"            if job.kind not in {tuple(sorted(recorded))!r}:"
            yield '                raise UnsupportedCall(f"no job of the kind {job.kind} was recorded")'
        yield ""
        yield "    # What is sent"
        yield from self._log_in()
        yield from self._answer_salt()
        yield from self._submit()
        after = [self._function(step, f"_after_{number}") for number, step in enumerate(self._client.after, 1)]
        for lines, name in self._functions.items():
            parameter = ", proof: str" if any("proof" in line for line in lines) else ""
            yield ""
            yield f"    def {name}(self{parameter}) -> etree._Element:"
            yield from (f"        {line}" for line in lines)
        yield from _TAIL.splitlines()
        yield from self._take(after)

    def imports(self, body: str) -> str:
        """Returns the lines that import what the body uses."""
        modules = modules_in(body)
        standard = [f"import {each}" for each in modules if each != "bcrypt"]
        lines = ["", *standard, *([""] if standard else [])]
        lines += ["import bcrypt"] if "bcrypt" in modules else []
        answers = self._found.survey.answers.values()
        framing = sorted({"Receiver", "Sender", *(name for each in answers for name in classes_in(each.transport))})
        words = [
            word
            for word in (
                "CHALLENGE",
                "FAILED",
                "JOBS",
                "OSUSER",
                "LOGIN",
                "OK",
                "STDOUT",
                "MODULE",
                "PY_CODE",
                "PY_FILE",
            )
            if word in body
        ]
        lines += [
            "from lxml import etree",
            "",
            "from headless.dialects import base",
            "from headless.dialects.display import hide_secrets",
            f"from headless.dialects.framing import {', '.join(framing)}",
            f"from headless.dialects.vocabulary import {', '.join(sorted(words))}",
            "from headless.dialects.xml_messages import parse, text_of",
            "from headless.errors import RemoteProtocolError, UnsupportedCall",
        ]
        return "\n".join(lines) + "\n"

    def _attributes(self) -> Iterator[str]:
        for name, sender in (("to_server", CLIENT), ("to_client", SERVER)):
            answer = self._found.survey.answers[sender]
            doubts = [
                *answer.doubts,
                *(f"{transport_code(other)} explains it as well" for other, _ in answer.alternatives),
            ]
            comment = f"  # DECIDE: {one_line('; '.join(doubts))}" if doubts else ""
            yield f"    {name} = {transport_code(answer.transport) if answer.transport else None}{comment}"
        style, encoding = self._found.survey.styles[CLIENT], self._found.encodings[CLIENT]
        doubt = "" if encoding.is_certain else f"  # {one_line(encoding.text)}"
        bare = style.prolog.lstrip("\ufeff") if encoding.name == "utf-16" else style.prolog
        yield f"    encoding, prolog = {encoding.name!r}, {bare!r}{doubt}"
        yield f"    parsed_encoding = {self._found.encodings[SERVER].name!r}  # where a message does not declare one"

    def _log_in(self) -> Iterator[str]:
        yield ""
        yield "    def log_in(self) -> None:"
        for login, name in ((CHALLENGE, "CHALLENGE"), (OSUSER, "OSUSER")):
            if not (self._client.login.get(login) or (self._client.jobs and self._client.login)):
                yield f"        if self.call.login == {name}:"
                yield f'            raise UnsupportedCall("no login with {login} was recorded")'
        lines = list(_by_login(self._at_start))
        yield from (f"        {line}" for line in lines or ["pass  # the server speaks first"])

    def _answer_salt(self) -> Iterator[str]:
        login = self._found.login
        yield ""
        yield "    def answer_salt(self, hash_: bytes) -> None:"
        if login is not None and login.formula is not None:
            names = {key: self._said_code(key) for key in values_of(login.formula)}
            doubt = f"  # {one_line('; '.join(login.doubts))}" if login.doubts else ""
            yield f"        proof = {text_code(login.formula, names)}{doubt}"
        else:
            yield '        proof = ""  # DECIDE: the formula was not found'
            yield '        raise UnsupportedCall("how the password is proved is not known")'
        yield '        self._secrets += [hash_.decode("ascii"), proof]'
        yield f"        {self._proofs.get(CHALLENGE, 'raise UnsupportedCall(chr(34) + chr(34))')}"

    def _said_code(self, key: tuple[str, tuple[str, ...], str]) -> str:
        if key[0] == SERVER:
            return f"self._said[{said_name(key)!r}]"
        return "self.call.random.hex()[:16]  # DECIDE: what the client has made up"

    def _submit(self) -> Iterator[str]:
        client = self._client
        yield ""
        yield "    def submit(self) -> None:"
        go = [
            self._function(step, f"_after_{number}")
            for number, step in enumerate(client.after, 1)
            if not step.causes.most_common(1)[0][0]
        ]
        sent = [f"self._send(self.{name}())" for name in go]
        if client.style == EACH and client.units:
            is_in_a_row = "" in client.between
            loop = ["for _ in self.call.jobs:", "    self._submit_next()"] if is_in_a_row else ["self._submit_next()"]
            yield from (f"        {line}" for line in [*loop, *(sent if is_in_a_row else [])])
            yield ""
            yield "    def _submit_next(self) -> None:"
            units = list(unit_code(client.units, "", (), "root"))
            yield "        job = self.call.jobs[self._submitted]"
            if any("number" in line for line in units):
                yield "        number = self._submitted"
            yield "        self._submitted += 1"
            yield from (f"        {line}" for line in units)
            yield "        self._send(root, jobs=1)"
            yield from self._helpers(sent)
        elif client.has_jobs_in_login or client.jobs is None:
            yield "        pass  # the jobs go with the login" if client.has_jobs_in_login else "        pass  # DECIDE"
        else:
            yield f"        self._send(self.{self._function(client.jobs, '_jobs')}(), jobs=len(self.call.jobs))"
            yield from (f"        {line}" for line in sent)

    def _helpers(self, go: Sequence[str]) -> Iterator[str]:
        """Yields methods that a person may use where the server speaks of one job."""
        waits_for = self._found.next_job_waits_for
        yield from (f"    {line}".rstrip() for line in _JOB_ACCEPTED.splitlines())
        if waits_for == ACCEPTANCE:
            yield "        if self._accepted < len(self.call.jobs):"
            yield "            self._submit_next()"
            yield "            return"
            yield from (f"        {line}" for line in go)
        else:
            yield "        if self._accepted < len(self.call.jobs):"
            yield "            return"
        yield "        self.report(base.Accepted())"
        yield from (f"    {line}".rstrip() for line in _JOB_ENDED.splitlines())
        if waits_for not in (NOTHING, ACCEPTANCE):
            if waits_for != RESULT:
                yield "        # DECIDE: or in _job_accepted? The recordings do not tell what the next job waits for"
            yield "        if status == OK and self._submitted < len(self.call.jobs):"
            yield "            self._submit_next()"

    # What the server sends

    def _take(self, after: Sequence[str]) -> Iterator[str]:
        yield "    def _take(self, root: etree._Element) -> None:"
        yield "        text = hide_secrets(text_of(root), self._secrets)"
        for number, kind in enumerate(self._kinds):
            yield f"        {'elif' if number else 'if'} {test_code(kind)}:"
            yield from (f"            {line}" for line in self._branch(number, kind, after))
        yield "        else:"
        yield '            raise RemoteProtocolError(f"a message that is not known: <{root.tag}> {text[:80]}")'

    def _branch(self, number: int, kind: Kind, after: Sequence[str]) -> Iterator[str]:
        contrast = self._found.contrast
        where = [f"{each}: {kind.count(each)} of {contrast.count(each)}" for each in OUTCOMES if kind.count(each)]
        yield f"# {'; '.join(where)}. The last message: {kind.last} of {kind.times} times"
        active = list(self._known(number, kind))
        yield from active
        decide = list(self._to_decide(kind))
        for step, name in zip(self._client.after, after):
            if step.causes.get(kind.label):
                decide.append(f"the client sent this next, {step.causes[kind.label]} times: self._send(self.{name}())")
        if decide or not active:
            yield from (
                f"# DECIDE: {line}" for line in decide or ["self.report(base.Output(None, STDOUT, text))? pass?"]
            )
            yield f'raise RemoteProtocolError("not decided what it means: " + {one_line(kind.label)!r})'

    def _known(self, number: int, kind: Kind) -> Iterator[str]:
        """Yields what is done without a decision: it proves nothing."""
        if number in self._salt_kinds:
            report = f"self.report(base.SaltReceived({self._salt_in(kind)}))"
            is_for_all = number in self._after_kind or any(
                each.call.login == OSUSER and kind.label in self._labels(each) for each in self._found.survey.facts
            )
            yield from ["if self.call.login == CHALLENGE:", f"    {report}"] if is_for_all else [report]
        yield from _by_login(self._after_kind.get(number, {}))
        if self._grants(kind):
            yield 'self.report(base.LoggedIn(""))'
        alive = [each for each in self._found.keep_alives if each.sender == SERVER and each.kind in kind.outlines]
        if alive and alive[0].answer:
            yield f"# DECIDE: a keep-alive, which the client answers with {one_line(alive[0].answer)}"
        if alive:
            yield "pass  # a keep-alive"

    def _labels(self, facts: Facts) -> set[str]:
        kept = (message for messages in facts.kept.values() for message in messages if message.sender == SERVER)
        return {self._found.kinds.label_of(parse_leniently(message.data)) for message in kept}

    def _grants(self, kind: Kind) -> bool:
        """Returns whether it grants the login, which proves nothing."""
        return self._is_accepting(kind) if self._client.has_jobs_in_login else self._grants_alone(kind)

    def _is_accepting(self, kind: Kind) -> bool:
        return kind is next((each for each in self._kinds_by_order if self._may_accept(each)), None)

    def _may_accept(self, kind: Kind) -> bool:
        contrast = self._found.contrast
        is_in_all = all(kind.count(each) == contrast.count(each) for each in ACCEPTED)
        return (
            is_in_all
            and contrast.count(*ACCEPTED) > 0
            and not kind.count(WRONG, REFUSED)
            and not self._grants_alone(kind)
        )

    def _grants_alone(self, kind: Kind) -> bool:
        """Returns whether the client sent the jobs after it."""
        client = self._client
        causes = client.jobs.causes if client.jobs is not None else client.first_job
        return kind.label in causes and not client.has_jobs_in_login and not kind.count(WRONG)

    def _to_decide(self, kind: Kind) -> Iterator[str]:
        """Yields what the message may mean, as code, by where it came and where it did not."""
        contrast, is_for_each = self._found.contrast, self._client.style == EACH
        in_good = contrast.count(GOOD) > 0 and kind.count(GOOD) == contrast.count(GOOD)
        in_accepted = kind.count(*ACCEPTED) == contrast.count(*ACCEPTED) > 0
        is_early = kind.count(LEFT, LATE) > 0
        is_in = {outcome for outcome in OUTCOMES if kind.count(outcome)}
        if self._grants(kind) and not self._client.has_jobs_in_login:
            return
        if self._is_accepting(kind) and not (is_for_each and self._found.next_job_waits_for != NOTHING):
            yield "self.report(base.Accepted())"
        elif is_for_each and in_accepted and WRONG not in is_in:
            yield "self._job_accepted()"
        elif in_good and not is_early and is_in <= {GOOD}:
            yield "self.report(base.Ended(OK))"
        elif in_good and kind.last and is_for_each and WRONG not in is_in:
            yield "self._job_ended(OK)  # and behind the last one self.report(base.Ended(OK))"
        elif in_good and kind.last and not is_early and WRONG not in is_in:
            yield "it ends good calls and failed ones. What tells them apart? Ended(OK), Ended(FAILED, text)"
        elif is_in == {FAILED}:
            yield "self.report(base.Ended(FAILED, text))" + (
                "  # or self._job_ended(FAILED, text)" if is_for_each else ""
            )
        elif is_in == {REFUSED}:
            yield "self.report(base.Refused(JOBS, text))"
        elif is_in == {WRONG}:
            yield "self.report(base.Refused(LOGIN, text))"

    def _salt_in(self, kind: Kind) -> str:
        """Returns an expression for the user's salt, None if there is none that is the same in each login."""
        places = [said_name(key) for key in self._found.salts if key[1][0] == kind.tag]
        return f"self._said.get({places[0]!r})" if places else "None"


_JOB_ACCEPTED = '''
def _job_accepted(self) -> None:
    """DECIDE whether a message says this of one job."""
    self._accepted += 1'''
_JOB_ENDED = '''
def _job_ended(self, status: str, text: str = "") -> None:
    """DECIDE whether a message says this of one job."""
    self._finished += 1
    self.report(base.JobFinished(self._finished, status, text))'''


def _by_login(sent: dict[str, list[str]]) -> Iterator[str]:
    """Yields lines that send what belongs to the login of the call."""
    challenge, osuser = sent.get(CHALLENGE, []), sent.get(OSUSER, [])
    if challenge == osuser:
        yield from challenge
    elif challenge:
        yield "if self.call.login == CHALLENGE:"
        yield from (f"    {line}" for line in challenge)
        if osuser:
            yield "else:"
            yield from (f"    {line}" for line in osuser)
    else:
        yield "if self.call.login != CHALLENGE:"
        yield from (f"    {line}" for line in osuser)
