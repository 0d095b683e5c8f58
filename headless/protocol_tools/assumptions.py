"""Says what recordings settle of the assumptions of PLANTA.md, and writes them as lines of a dialect's class. What
accepts, ends, judges and refuses jobs stays a comment: a person decides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects import base, planta
from headless.dialects.framing import Compression, Transport
from headless.dialects.vocabulary import CHALLENGE, MODULE, OSUSER, PY_CODE, PY_FILE, Value
from headless.protocol_tools.client_side import EACH, TOGETHER, Sent, Step
from headless.protocol_tools.contrast import (
    ACCEPTED,
    FAILED,
    NOT_KNOWN,
    REFUSED,
    WRONG,
    Candidate,
)
from headless.protocol_tools.findings import Findings, is_meant
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.secrecy import shown
from headless.protocol_tools.templates import Instance, Template, place_name, template_of
from headless.protocol_tools.trees import outline

SETTLED, OTHERWISE, OPEN = "settled", "settled, not as assumed", "open"
_MAX_CANDIDATES = 3
_MAX_PATTERNS = 6
_FEW = 0.2  # of the messages may be missing, for some recordings are cut
_LONG_SILENCE = 150.0  # seconds in which a keep-alive comes, if there is any
_KINDS = (MODULE, PY_FILE, PY_CODE)


@dataclass
class Assumption:
    """Is one of A1 to A18. `lines` are those of a class that override the default, or comments."""

    number: str
    state: str
    evidence: str
    lines: list[str] = field(default_factory=list)


def assumptions(found: Findings) -> list[Assumption]:
    """Returns all of them."""
    makers = (
        *(_framing, _encoding, _compression, _tls, _first, _handshake, _login, _formula, _starts, _order),
        *(_acceptance, _output, _end, _result, _refusal, _keep_alive, _ignored, _person),
    )
    return [make(found) for make in makers]


def _state(is_certain: bool, lines: Sequence[str]) -> str:
    return (OTHERWISE if lines else SETTLED) if is_certain else OPEN


def one_line(text: str) -> str:
    """Returns a text that cannot end a comment."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def value_code(value: object) -> str:
    """Returns an expression that makes this framing, compression or transport."""
    if not isinstance(value, Value):
        return repr(value)
    kind = type(value)
    parts = []
    for name, content in value.fields():
        if isinstance(content, Value) or not hasattr(kind, name):
            parts.append(value_code(content))
        elif content != getattr(kind, name) or name in ("size", "order", "end", "kind", "scope", "base"):
            parts.append(f"{name}={content!r}")
    return f"{kind.__name__}({', '.join(parts)})"


# A1 to A5: below the messages


def _framing(found: Findings) -> Assumption:
    lines, evidence, doubts = [], [], []
    for name, sender in (("to_server", CLIENT), ("to_client", SERVER)):
        answer = found.survey.answers[sender]
        if answer.transport is None:
            return Assumption("A1", OPEN, f"nothing that was tried explains what the {sender} sent")
        evidence.append(f"{answer.evidence.messages} messages of the {sender}")
        doubts += [*answer.doubts, *(text for _, text in answer.alternatives)]
        if answer.transport != getattr(found.base, name):
            lines.append(f"{name} = {value_code(answer.transport)}")
    text = "; ".join([f"{' and '.join(evidence)} bear it out", *dict.fromkeys(doubts)])
    return Assumption("A1", _state(not doubts, lines), text, lines)


def _encoding(found: Findings) -> Assumption:
    encoding, style = found.encodings[CLIENT], found.survey.styles[CLIENT]
    prolog = style.prolog
    lines = []
    if encoding.name.lower() != found.base.encoding.lower():
        lines.append(f"encoding = {encoding.name!r}")
    if prolog != found.base.prolog.replace("{encoding}", encoding.name):
        lines.append(f"prolog = {prolog!r}")
    server = found.encodings[SERVER]
    if found.survey.vocabularies[SERVER].messages and server.name.lower() != encoding.name.lower():
        lines.append(f"server_encoding = {server.name!r}")
    is_certain = all(each.is_certain for each in found.encodings.values()) and len(style.prologs) == 1
    text = "; ".join(f"{sender}: {each.name}, {each.text}" for sender, each in found.encodings.items())
    return Assumption("A2", _state(is_certain, lines), text, lines)


def _compression(found: Findings) -> Assumption:
    transports = {sender: answer.transport for sender, answer in found.survey.answers.items()}
    if None in transports.values():
        return Assumption("A3", OPEN, "the framing is not known")
    used: dict[str, Compression | None] = {
        sender: each.compression for sender, each in transports.items() if isinstance(each, Transport)
    }
    text = "; ".join(f"{sender}: {value_code(each) if each else 'none'}" for sender, each in used.items())
    return Assumption("A3", OTHERWISE if any(used.values()) else SETTLED, text)


def _tls(_found: Findings) -> Assumption:
    return Assumption("A4", OPEN, "a recording does not say it: you know whether the relay was given tls://")


def _first(found: Findings) -> Assumption:
    first = found.survey.first
    text = ", ".join(f"the {sender} in {count} connections" for sender, count in first.most_common())
    lines = ["server_speaks_first = True"] if list(first) == [SERVER] else []
    steps = [step for steps in found.client.login.values() for step in steps]
    early = [part for step in steps for sent in step.sent for root in sent.before for part in found.parts(root)]
    tags = _tags_with_meaning(found)
    greetings = _patterns(found, [part for part in _unmeant(found, early) if not found.is_planta or part.tag in tags])
    without_challenge = [each for each in found.survey.facts if each.call.login == OSUSER]
    if any(is_meant(_challenge(found), part) for part in found.said(without_challenge)):
        greetings.append(_challenge(found))
    if greetings:
        lines.append(f"greeted = {' | '.join(filter(None, [found.base.greeted, *greetings]))!r}")
        text += f"; {', '.join(greetings)} came before the login was granted"
    return Assumption("A5", _state(len(first) == 1 and sum(first.values()) > 1, lines), text, lines)


# A6 to A8: the login


class _Default(planta.Dialect):
    """Makes what the published vocabulary's dialect sends if nothing is overridden."""

    settled = planta.ASSUMPTIONS

    @classmethod
    def of(cls, sent: Sent) -> _Default:
        call = sent.call
        version = next((str(each.get("version")) for each in sent.root.iter("Program")), "")
        return cls(base.Call(version, call.login, call.user, call.os_user, (), bytes(32)))


def _are_same(elements: Iterable[Element], others: Iterable[Element]) -> bool:
    texts = [[etree.tostring(each, method="c14n", with_tail=False) for each in group] for group in (elements, others)]
    return texts[0] == texts[1]


def _children(root: Element, is_login: bool) -> list[Element]:
    """Returns the children of a message that ask for the login or prove the password; or all others."""
    return [each for each in root if (each.tag == "Login") == is_login]


def method(signature: str, code: str) -> list[str]:
    return [f"def {signature}:", f"    return {code}"]


def _by_login(signature: str, codes: dict[str, str]) -> list[str]:
    """Returns a method that returns this for each login."""
    if len(set(codes.values())) == 1:
        return method(signature, next(iter(codes.values())))
    lines = [f"def {signature}:"]
    *others, last = codes.items()
    for login, code in others:
        lines += [f"    if self.call.login == {login!r}:", f"        return {code}"]
    return [*lines, f"    return {last[1]}"]


def _jobs_code(found: Findings) -> str:
    return "self.job_parts()" if found.client.has_jobs_in_login else ""


def _handshake(found: Findings) -> Assumption:
    steps = {login: steps[0] for login, steps in found.client.login.items() if steps}
    if not steps:
        return Assumption("A6", OPEN, "no login was recorded")
    codes, doubts, is_default = {}, [], found.is_planta
    for login, step in steps.items():
        root = step.template.root
        elements = _children(root, False) if found.is_planta else [root] * (not step.has_proof)
        codes[login] = step.template.code(elements, _jobs_code(found)) if elements else "[]"
        doubts += step.template.doubts if elements else []
        is_default = is_default and all(
            _are_same(_children(sent.root, False), _Default.of(sent).handshake()) for sent in step.sent
        )
    doubts += [f"no login with {login} was recorded" for login in (CHALLENGE, OSUSER) if login not in steps]
    lines = [] if is_default else _by_login("handshake(self)", codes)
    told = " / ".join(f"{len(step.sent)} times {step.told}" for step in steps.values())
    return Assumption("A6", _state(not doubts, lines), "; ".join([told, *dict.fromkeys(doubts)]), lines)


def _login(found: Findings) -> Assumption:
    steps = found.client.login.get(CHALLENGE, [])
    proof = next((step for step in steps if step.has_proof), None)
    if proof is None:
        return Assumption("A7", OPEN, "no login with a challenge was recorded whose proof is known")
    before = steps[: steps.index(proof)]
    lines, doubts = [], [*proof.template.doubts]
    is_in_handshake = not before or bool(found.is_planta and _children(before[0].template.root, True))
    if len(before) > 1 or not (is_in_handshake or not found.is_planta):
        lines.append("is_login_in_handshake = False")
    lines += _request(found, is_in_handshake)
    if len(before) > 2 or len(steps) > len(before) + 1:
        doubts.append("the login has more steps than the dialect knows")
    challenge = _challenge(found)
    lines += [f"challenge = {challenge!r}"] if challenge != found.base.challenge else []
    if not found.is_planta or not all(
        _are_same(sent.root, _Default.of(sent).login_response(sent.proof or "")) for sent in proof.sent
    ):
        code = proof.template.code(found.parts(proof.template.root), _jobs_code(found))
        lines += method("login_response(self, response)", code)
    granted = _granted(found)
    if granted and granted != [found.base.granted]:
        others = f"  # or {one_line(', '.join(granted[1:4]))}" if granted[1:] else ""
        lines.append(f"granted = {granted[0]!r}{others}")
    if not granted:
        doubts.append("nothing of the server is in each login that was granted, and in none that was not")
    if not found.contrast.count(WRONG):
        doubts.append("no wrong password was recorded, so what grants a login is not known")
    text = f"{len(proof.sent)} logins: {' / '.join(step.told for step in steps)}"
    text += f"; granted by {granted[0]}" if granted else ""
    return Assumption("A7", _state(not doubts, lines), "; ".join([text, *doubts]), lines)


def _request(found: Findings, is_in_handshake: bool) -> list[str]:
    """Returns what asks for the login, if it is not as assumed."""
    asked: dict[str, list[Instance]] = {}
    is_default = found.is_planta
    for login, steps in found.client.login.items():
        for step in steps[not (is_in_handshake and found.is_planta) :][:1]:
            for sent in step.sent if not step.has_proof else ():
                elements = _children(sent.root, True) if found.is_planta else [sent.root]
                asked.setdefault(login, []).extend(sent.instance().at(each) for each in elements)
                is_default = is_default and _are_same(elements, _Default.of(sent).login_request())
    asked = {login: instances for login, instances in asked.items() if instances}
    if is_default or not asked:
        return []
    joined = template_of([each for instances in asked.values() for each in instances])
    if not joined.doubts:
        return method("login_request(self)", joined.code([joined.root]))
    templates = {login: template_of(instances) for login, instances in asked.items()}
    codes = {login: template.code([template.root]) for login, template in templates.items()}
    return _by_login("login_request(self)", {OSUSER: "[]", **codes})


def _proved(found: Findings) -> list[Sent]:
    steps = found.client.login.get(CHALLENGE, [])
    return [sent for step in steps for sent in step.sent if sent.proof and sent.before]


@lru_cache(maxsize=1)
def _challenge(found: Findings) -> str:
    """Returns a pattern for what the client answers with the proof."""
    mine = [found.parts(sent.before[-1]) for sent in _proved(found)]
    if not mine or all(any(is_meant(found.base.challenge, part) for part in parts) for parts in mine):
        return found.base.challenge
    keys = found.login.formula.keys if found.login is not None and found.login.formula is not None else ()
    names = {key[1][1] for key in keys if found.is_planta and len(key[1]) > 1}
    chosen = [part for parts in mine for part in parts if part.tag in names or len(parts) == 1]
    return found.pattern_for(chosen) or found.base.challenge


def _granted(found: Findings) -> list[str]:
    """Returns patterns of what grants a login, the best first."""
    candidates = found.contrast.accepted() if found.client.has_jobs_in_login else found.contrast.login_granted()
    patterns = [each.pattern for each in candidates if len(each.feature[0]) <= 2]
    return sorted(patterns, key=lambda pattern: (pattern != found.base.granted, not pattern.startswith("Login")))


def _formula(found: Findings) -> Assumption:
    login = found.login
    if login is None:
        return Assumption("A8", OPEN, "give the password file with -p, and it is searched")
    if login.formula is None or login.key is None:
        text = f"{login.problem}; " if login.problem else ""
        return Assumption("A8", OPEN, f"{text}tried {login.tried} formulas: none fits")
    names = {key: f"self.said({place_name(key, 1)!r})" for key in login.formula.keys}
    names.update({key: "challenge" for key in names if key == (SERVER, ("Message", "Login"), "challenge")})
    doubts = list(login.doubts)
    for key in names:
        if key[0] == CLIENT:
            names[key] = "self.call.random.hex()[:16]"
            doubts.append(f"{place_name(key)} of the client is in it: send what is in `response`")
    code = login.formula.written(names)
    default = "hmac.new(hash_, challenge.encode(), hashlib.sha256).hexdigest()"
    lines = method("response(self, hash_, challenge)", code) if code != default else []
    told = login.formula.written({key: f"<{place_name(key)}>" for key in names})
    text = f"{place_name(login.key)} is {told}; the same in {len(login.fits)} logins"
    text += f"; not so in {len(login.wrong)} with a wrong password" if login.wrong else ""
    return Assumption("A8", _state(not doubts, lines), "; ".join([text, *doubts]), lines)


# A9, A10: the jobs


def _starts(found: Findings) -> Assumption:
    client = found.client
    units = client.units
    if not units:
        return Assumption("A9", OPEN, "the texts of the calls' jobs were not found in what the client sent")
    doubts = [doubt for unit in units.values() for doubt in unit.doubts]
    missing = [kind for kind in _KINDS if kind not in client.kinds]
    doubts += [f"no {kind} was recorded" for kind in missing]
    is_message = client.style == EACH and found.is_planta
    elements = {kind: [*unit.root] if is_message else [unit.root] for kind, unit in units.items()}
    codes = {kind: unit.code(elements[kind]) for kind, unit in units.items()}
    default = {
        "": "",
        MODULE: "filled('<ModC id=\"{job}\"/>', job=job.text)",
        PY_FILE: "filled('<ExecPythonScript file=\"{job}\"/>', job=job.text)",
        PY_CODE: "filled('<ExecPythonScript>{job}</ExecPythonScript>', job=job.text)",
    }
    is_default = found.is_planta and all(codes[kind] == default[kind] for kind in codes)
    lines = [] if is_default else _start_lines(codes, missing)
    if client.jobs is not None and not client.has_jobs_in_login:
        root = client.jobs.template.root
        if not found.is_planta or any(isinstance(each.tag, str) for each in root):
            wrapper = client.jobs.template.code([*root] if found.is_planta else [root], "starts")  # with <?jobs?>
            lines += method("together(self, starts)", wrapper)
            doubts += client.jobs.template.doubts
    after, told = _after_jobs(found)
    lines += after
    starts = ", ".join(f"{kind or 'each kind'}: {' '.join(map(outline, elements[kind]))}" for kind in units)
    return Assumption("A9", _state(not doubts, lines), "; ".join([starts, *told, *doubts]), lines)


def _start_lines(codes: dict[str, str], missing: Sequence[str]) -> list[str]:
    lines = ["def start_of(self, job):"]
    if missing:
        lines.append(f"    if job.kind in {tuple(missing)!r}:")
        lines.append('        raise UnsupportedCall(f"no job of the kind {job.kind} was recorded")')
    *others, last = codes.items()
    for kind, code in others:
        lines += [f"    if job.kind == {kind!r}:", f"        return {code}"]
    return [*lines, f"    return {last[1]}"]


def _after_jobs(found: Findings) -> tuple[list[str], list[str]]:
    """Returns what the client sends once behind the jobs, and words for it."""
    lines, told = [], []
    for step in found.client.after:
        code = step.template.code(found.parts(step.template.root))
        is_most = step.calls > found.contrast.count(*ACCEPTED) // 2
        if 2 * sum(sent.is_last for sent in step.sent) > len(step.sent):
            lines += method("goodbye(self)", code)
        elif _asks(found, step):
            lines += method("ask(self)", code)
        elif is_most and step.calls == len(step.sent):
            lines += method("go(self)", code)
        else:
            continue
        told.append(f"then {len(step.sent)} times {step.told}")
    return lines, told


def _asks(found: Findings, step: Step) -> bool:
    """Returns whether the message asks how the jobs are: it follows an acceptance where all jobs go together."""
    is_possible = not found.is_planta and found.client.style != EACH
    return is_possible and all(sent.before for sent in step.sent)


def _order(found: Findings) -> Assumption:
    client = found.client
    if client.has_jobs_in_login:
        return Assumption("A10", OTHERWISE, "the jobs are in the login", ["has_jobs_in_login = True"])
    if client.style == TOGETHER:
        return Assumption("A10", SETTLED, client.style)
    if client.style != EACH or not client.next_jobs:
        return Assumption("A10", OPEN, "no call with several jobs was recorded")
    between = Counter(outline(sent.before[-1]) if sent.before else "nothing" for sent in client.next_jobs)
    seen = f"{client.style}; before the next one came {', '.join(f'{k} ({n})' for k, n in between.most_common(3))}"
    if "nothing" in between:
        return Assumption("A10", OTHERWISE, seen, ["order = planta.IN_A_ROW"])
    orders = {
        "AFTER_RESULT": [*found.contrast.ended_well(), *found.contrast.failed()],
        "AFTER_ACCEPTANCE": found.contrast.accepted(),
    }
    for order, candidates in orders.items():
        for each in candidates[:1]:
            if all(any(_is_in(found, each, root) for root in sent.before) for sent in client.next_jobs):
                return Assumption("A10", OTHERWISE, f"{seen}: {each.pattern}", [f"order = planta.{order}"])
    lines = [
        "# order = planta.AFTER_RESULT  # the next job waits for the result of the one before, or",
        "# order = planta.AFTER_ACCEPTANCE  # for its acceptance: the recordings do not tell",
    ]
    return Assumption("A10", OPEN, seen, lines)


def _is_in(found: Findings, candidate: Candidate, root: Element) -> bool:
    return any(is_meant(candidate.pattern, part) for part in found.parts(root))


# A11 to A15: what a person decides


def _decide(
    number: str, question: str, groups: Iterable[tuple[str, list[Candidate], str]], found: Findings
) -> Assumption:
    """Returns an assumption that stays open, with candidates as comments: an attribute, what it may be, and what is
    missing if there is none."""
    lines, texts = [], [question]
    for attribute, candidates, missing in groups:
        if not candidates:
            texts.append(missing)
            lines.append(f"# {attribute} = ...  # no candidate: {missing}")
        for each in candidates[:_MAX_CANDIDATES]:
            lines.append(f"# {attribute} = {each.pattern!r}  # {one_line(each.evidence)}")
    unclear = found.contrast.count(NOT_KNOWN)
    if unclear:
        texts.append(f"of {unclear} recordings it is not known how they ended: record them with --expect")
    return Assumption(number, OPEN, "; ".join(texts), lines)


def _acceptance(found: Findings) -> Assumption:
    candidates = found.contrast.accepted()
    missing = "no call that was accepted was recorded with --expect 0"
    if not found.contrast.count(REFUSED):
        missing = "nothing tells an acceptance from a refusal: record a job that is unknown, with --expect 2"
    assumption = _decide("A11", "what accepts", [("accepted", candidates, missing)], found)
    if candidates and found.client.next_jobs and not candidates[0].is_for_each:
        assumption.lines.append("# acceptance_of = planta.SESSION  # if it comes once for all jobs")
    return assumption


def _output(found: Findings) -> Assumption:
    """What means nothing else is output; of the published vocabulary only what has the name of something that does."""
    tags = _tags_with_meaning(found)
    parts = [part for part in found.said(found.contrast.calls(*ACCEPTED)) if not found.is_planta or part.tag in tags]
    patterns = _patterns(found, _unmeant(found, parts))
    lines = [f"output = {' | '.join(filter(None, [found.base.output, *patterns]))!r}"] if patterns else []
    known = [part.tag for part in found.said(found.survey.facts) if is_meant(found.base.output, part)]
    text = (
        f"{', '.join(map(str, dict.fromkeys(known)))} came" if known else "nothing of what is assumed to be output came"
    )
    if patterns:
        text += f"; {', '.join(patterns)} came in good recordings, and nothing else is known of it"
    return Assumption("A12", OPEN, text, lines)


def _end(found: Findings) -> Assumption:
    missing = "no call with -t that ended well was recorded with --expect 0"
    return _decide("A13", "what ends the session", [("ended", found.contrast.ended(), missing)], found)


def _result(found: Findings) -> Assumption:
    good, bad = found.contrast.ended_well(), found.contrast.failed()
    if not found.contrast.count(FAILED):
        missing = "nothing tells a success from a failure: record a job that fails, with --expect 1"
        return _decide("A14", "the result", [("ok", [], missing)], found)
    assumption = _decide("A14", "the result", [
        ("ok", good, "nothing is in each good recording, and in no failed one"),
        ("failed", bad, "nothing is in a failed recording alone"),
    ], found)  # fmt: skip
    if not good:
        assumption.lines.append(
            "# no_result = planta.ORDERLY_END  # if the server tells no result: PLANTA.md, section 4"
        )
    elif good[0].instead:
        opposite = good[0].pattern.replace("=", "!=", 1)
        assumption.lines.append(f"# failed = {opposite!r}  # whatever is not as in the good ones")
    if any(each.is_for_each for each in good[:_MAX_CANDIDATES]):
        assumption.lines.append("# result_of = planta.JOB  # if it comes once for each job")
    return assumption


def _refusal(found: Findings) -> Assumption:
    contrast = found.contrast
    groups = {"login": contrast.login_refused(), "jobs": contrast.refused()}
    first = {reason: candidates[0].pattern for reason, candidates in groups.items() if candidates}
    lines = [f"# refused = {first!r}"] if first else []
    texts = ["what refuses"]
    for reason, outcome, asked in (("login", WRONG, "a wrong password"), ("jobs", REFUSED, "a job that is unknown")):
        if not contrast.count(outcome):
            texts.append(f"record {asked}, with --expect 2")
        elif not groups[reason]:
            texts.append(f"nothing shows {asked} alone")
        for each in groups[reason][:_MAX_CANDIDATES]:
            lines.append(f"#   {reason}: {each.pattern}  {one_line(each.evidence)}")
    return Assumption("A15", OPEN, "; ".join(texts), lines)


# A16 to A18


def _keep_alive(found: Findings) -> Assumption:
    lines, parts, doubts = [], [], []
    pattern, seconds, answer = _heartbeat(found)
    for each in found.keep_alives:
        answered = f", answered at once with {each.answer}" if each.answer else ""
        where = f"{each.times} times in {each.connections} connections"
        parts.append(f"the {each.sender} sends {each.kind} each {each.seconds:.0f} s of silence, {where}{answered}")
        doubts += ["that is little"] * (each.times < 3)
        code = _code_like(found, each.kind) if each.sender == CLIENT else ""
        if code and code != answer:
            lines += [f"heartbeat_seconds = {round(each.seconds)}", *method("heartbeat_message(self)", code)]
    if pattern:
        lines.append(f"server_heartbeat, heartbeat = {pattern!r}, {seconds}")
        lines += method("answer_heartbeat(self)", answer) if answer else []
        doubts += [f"the client answered {pattern} more than once"] * (seconds is None)
    longest = found.survey.longest_silence
    if not found.keep_alives:
        parts.append(f"nothing came again and again in {longest:.0f} s of silence")
        doubts += ["record a job of 180 s"] * (longest < _LONG_SILENCE)
    return Assumption("A16", _state(not doubts, lines), "; ".join([*parts, *doubts]), lines)


@lru_cache(maxsize=1)
def _heartbeat(found: Findings) -> tuple[str, int | None, str]:
    """Returns the pattern of the server's keep-alive, its seconds, and code for the answer. One without seconds is
    what came as often as the client sent, more than once in a call, something of the same name."""
    repeated = [step for step in found.client.after if len(step.sent) > step.calls]
    for each in found.keep_alives:
        root = _first_of(found, SERVER, each.kind) if each.sender == SERVER else None
        if root is not None:
            kind = outline(found.parts(root)[0])
            pattern = found.pattern_for([part for part in found.said(found.survey.facts) if outline(part) == kind])
            answers = [
                step
                for step in repeated
                if any(map(each.kind.__eq__, (outline(root) for sent in step.sent for root in sent.before[-1:])))
            ]
            kinds = [each.answer] * bool(each.answer) + [outline(step.template.root) for step in answers]
            return pattern, round(each.seconds), _code_like(found, kinds[0]) if kinds else ""
    said = list(found.said(found.survey.facts))
    calls = [Counter(map(outline, found.said([each]))) for each in found.survey.facts]
    counts = {kind: sum(call[kind] for call in calls) for call in calls for kind in call if call[kind] > 1}
    for step in repeated:
        tag = found.parts(step.template.root)[0].tag
        often = [kind for kind, count in counts.items() if abs(count - len(step.sent)) <= _FEW * len(step.sent)]
        pattern = found.pattern_for([part for part in said if part.tag == tag and outline(part) in often])
        if pattern:
            return pattern, None, step.template.code(found.parts(step.template.root))
    return "", None, ""


def _code_like(found: Findings, kind: str) -> str:
    """Returns an expression for such a message of the client, "" if there is none."""
    roots = [step.template for step in found.client.after if outline(step.template.root) == kind]
    first = _first_of(found, CLIENT, kind)
    template = roots[0] if roots else Template(deepcopy(first)) if first is not None else None
    if template is None:
        return ""
    for each in template.root.iter("*"):
        for name, value in each.attrib.items():
            each.set(name, shown(str(name), str(value)))
        each.text = shown(str(each.tag), each.text) if each.text else None
    return template.code(found.parts(template.root))


def _first_of(found: Findings, sender: str, kind: str) -> Element | None:
    """Returns the first message of this side that is outlined so."""
    kept = (each for facts in found.survey.facts for each in facts.kept if each.sender == sender)
    return next((each.root for each in kept if outline(each.root) == kind), None)


def _ignored(found: Findings) -> Assumption:
    if not found.is_planta:
        return Assumption("A17", OPEN, "what means nothing else is taken for output (A12)")
    parts = _unmeant(found, found.said(found.contrast.calls(*ACCEPTED)))
    tags = _tags_with_meaning(found)
    names = [name for name in dict.fromkeys(str(part.tag) for part in parts) if name not in tags]
    if not names:
        return Assumption("A17", SETTLED, "nothing came in good recordings that the other assumptions do not explain")
    text = f"{', '.join(names)} came in good recordings, and nothing else is known of them"
    listed = ", ".join(map(repr, names))
    return Assumption("A17", OPEN, text, [f"ignored = (*planta.Dialect.ignored, {listed})"])


def _person(found: Findings) -> Assumption:
    parts = [part for part in found.said(found.survey.facts) if is_meant(planta.Dialect.asks_person, part)]
    names = ", ".join(dict.fromkeys(str(part.tag) for part in parts))
    return Assumption(
        "A18", OPEN, f"{names} came: see which calls" if names else "nothing that is assumed to ask a person came"
    )


# What is not explained


@lru_cache(maxsize=1)
def _explaining(found: Findings) -> tuple[str, ...]:
    """Returns the patterns of what has a meaning."""
    known = (found.base.greeted, found.base.output, found.base.asks_person, _challenge(found), *_granted(found)[:1])
    decided = (each.pattern for each in _decided(found))
    return (*filter(None, (*known, *decided, _heartbeat(found)[0])),)


def _decided(found: Findings) -> list[Candidate]:
    """Returns the first candidates for what a person decides."""
    contrast = found.contrast
    firsts = (contrast.accepted()[:1], contrast.ended()[:1], contrast.ended_well()[:1])
    groups = (*firsts, contrast.failed(), contrast.refused(), contrast.login_refused())
    return [each for group in groups for each in group]


def _tags_with_meaning(found: Findings) -> set[str]:
    patterns = " | ".join(each for each in _explaining(found) if each not in (found.base.output, found.base.greeted))
    return set(re.findall(r"(?:^|\| )(\w+)", patterns))


def _unmeant(found: Findings, parts: Iterable[Element]) -> list[Element]:
    """Returns those to which no assumption gives a meaning."""
    left = [part for part in parts if part.tag not in found.base.ignored]
    return [part for part in left if not any(is_meant(pattern, part) for pattern in _explaining(found))]


def _patterns(found: Findings, unmeant: Sequence[Element]) -> list[str]:
    """Returns patterns that mean these parts, and no others that the server has sent."""
    groups: dict[str, list[Element]] = {}
    for part in unmeant:
        groups.setdefault(outline(part), []).append(part)
    patterns = map(found.pattern_for, groups.values())
    return list(dict.fromkeys(filter(None, patterns)))[:_MAX_PATTERNS]
