"""Says what recordings settle of the assumptions A1 to A8 of PLANTA.md: bytes and login."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects import base, planta
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.protocol_tools.client_side import Instance, Sent, Template, place_name, template_of
from headless.protocol_tools.contrast import WRONG, is_meant
from headless.protocol_tools.findings import Findings
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.writing import (
    OPEN,
    OTHERWISE,
    SETTLED,
    Assumption,
    method,
    method_by,
    one_line,
    state_of,
    value_code,
)

_WITH_USER = " if self.call.user else "


def login_assumptions(found: Findings) -> list[Assumption]:
    """Returns A1 to A8."""
    makers = (_framing, _encoding, _compression, _tls, _first, _handshake, _login, _formula)
    return [make(found) for make in makers]


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
    return Assumption("A1", state_of(not doubts, lines), text, lines)


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
    return Assumption("A2", state_of(is_certain, lines), text, lines)


def _compression(found: Findings) -> Assumption:
    used = {sender: each.transport.compression for sender, each in found.survey.answers.items() if each.transport}
    if len(used) < len(found.survey.answers):
        return Assumption("A3", OPEN, "the framing is not known")
    text = "; ".join(f"{sender}: {value_code(each)}" for sender, each in used.items())
    return Assumption("A3", OTHERWISE if any(used.values()) else SETTLED, text)


def _tls(_found: Findings) -> Assumption:
    return Assumption("A4", OPEN, "a recording does not say it: you know whether the relay was given tls://")


def _first(found: Findings) -> Assumption:
    first = found.survey.first
    text = ", ".join(f"the {sender} in {count} connections" for sender, count in first.most_common())
    lines = ["server_speaks_first = True"] if list(first) == [SERVER] else []
    steps = [step for steps in found.client.login.values() for step in steps]
    early = [part for step in steps for sent in step.sent for root in sent.before for part in found.parts(root)]
    tags = found.tags_with_meaning
    greetings = found.patterns([part for part in found.unmeant(early) if not found.is_planta or part.tag in tags])
    without_challenge = [each for each in found.survey.facts if each.call.login == OSUSER]
    if any(is_meant(found.challenge, part) for part in found.said(without_challenge)):
        greetings.append(found.challenge)
    if greetings:
        lines.append(f"greeted = {' | '.join(filter(None, [found.base.greeted, *greetings]))!r}")
        text += f"; {', '.join(greetings)} came before the login was granted"
    return Assumption("A5", state_of(len(first) == 1 and sum(first.values()) > 1, lines), text, lines)


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


def _by_login(signature: str, codes: dict[str, str]) -> list[str]:
    """Returns a method that returns this for each login."""
    is_same = len(set(codes.values())) == 1
    return method_by(signature, "self.call.login", dict(list(codes.items())[:1]) if is_same else codes)


def _by_user(group: Sequence[Sent]) -> list[Template]:
    """Returns a template of the messages with a user, which plain osuser has not, and one of those without."""
    groups = [[sent.instance() for sent in group if bool(sent.call.user) == given] for given in (True, False)]
    return [template_of(each) for each in groups if each]


def _jobs_code(found: Findings) -> str:
    return "self.job_parts()" if found.client.has_jobs_in_login else ""


def _handshake(found: Findings) -> Assumption:
    steps = {login: steps[0] for login, steps in found.client.login.items() if steps}
    if not steps:
        return Assumption("A6", OPEN, "no login was recorded")
    codes, doubts, is_default = {}, [], found.is_planta
    for login, step in steps.items():
        groups = [step.template]
        if login == OSUSER and step.template.doubts and not found.client.has_jobs_in_login:
            groups = _by_user(step.sent)
        parts = []
        for template in groups:
            elements = _children(template.root, False) if found.is_planta else [template.root] * (not step.has_proof)
            parts.append(template.code(elements, _jobs_code(found)) if elements else "[]")
            doubts += template.doubts if elements else []
        codes[login] = _WITH_USER.join(parts)
        is_default = is_default and all(
            _are_same(_children(sent.root, False), _Default.of(sent).handshake()) for sent in step.sent
        )
    doubts += [f"no login with {login} was recorded" for login in (CHALLENGE, OSUSER) if login not in steps]
    lines = [] if is_default else _by_login("handshake(self)", codes)
    steps_taken = " / ".join(f"{len(step.sent)} times {step.summary}" for step in steps.values())
    return Assumption("A6", state_of(not doubts, lines), "; ".join([steps_taken, *dict.fromkeys(doubts)]), lines)


def _login(found: Findings) -> Assumption:
    steps = found.client.login.get(CHALLENGE, [])
    proof = next((step for step in steps if step.has_proof), None)
    if proof is None:
        return Assumption("A7", OPEN, "no login with a challenge was recorded whose proof is known")
    before = steps[: steps.index(proof)]
    lines, doubts = [], [*proof.template.doubts]
    is_in_handshake = len(before) < 2 or bool(found.is_planta and _children(before[0].template.root, True))
    if len(before) > 1:
        lines.append("is_login_in_handshake = False")
    lines += _request(found, is_in_handshake)
    if len(before) > 2 or len(steps) > len(before) + 1:
        doubts.append("the login has more steps than the dialect knows")
    challenge = found.challenge
    lines += [f"challenge = {challenge!r}"] if challenge != found.base.challenge else []
    if not found.is_planta or not all(
        _are_same(sent.root, _Default.of(sent).login_response(sent.proof or "")) for sent in proof.sent
    ):
        code = proof.template.code(found.parts(proof.template.root), _jobs_code(found))
        lines += method("login_response(self, response)", code)
    granted = found.granted
    if granted and granted != [found.base.granted]:
        others = f"  # or {one_line(', '.join(granted[1:4]))}" if granted[1:] else ""
        lines.append(f"granted = {granted[0]!r}{others}")
    if not granted:
        doubts.append("nothing of the server is in each login that was granted, and in none that was not")
    if not found.contrast.count(WRONG):
        doubts.append("no wrong password was recorded, so what grants a login is not known")
    text = f"{len(proof.sent)} logins: {' / '.join(step.summary for step in steps)}"
    text += f"; granted by {granted[0]}" if granted else ""
    return Assumption("A7", state_of(not doubts, lines), "; ".join([text, *doubts]), lines)


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
        return [] if is_default or not found.is_planta else method("login_request(self)", "[]")
    recorded = found.client.login.get(OSUSER, [])
    joined = template_of([each for instances in asked.values() for each in instances])
    is_conditional = OSUSER in asked and len(asked[OSUSER]) < max(len(step.sent) for step in recorded)
    if not joined.doubts and not is_conditional and (OSUSER in asked or not recorded):
        return method("login_request(self)", joined.code([joined.root]))
    templates = {login: template_of(instances) for login, instances in asked.items()}
    codes = {login: template.code([template.root]) for login, template in templates.items()}
    if is_conditional:
        codes[OSUSER] = f"{codes[OSUSER]}{_WITH_USER}[]"
    return _by_login("login_request(self)", {OSUSER: "[]", **codes})


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
    written = login.formula.written({key: f"<{place_name(key)}>" for key in names})
    text = f"{place_name(login.key)} is {written}; the same in {len(login.fits)} logins"
    text += f"; not so in {len(login.wrong)} with a wrong password" if login.wrong else ""
    return Assumption("A8", state_of(not doubts, lines), "; ".join([text, *doubts]), lines)
