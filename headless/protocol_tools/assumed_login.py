"""Compares recordings with what headless.dialects.planta assumes of bytes and login: A1 to A8."""

from __future__ import annotations

from collections.abc import Sequence

from lxml.etree import _Element as Element

from headless.dialects import planta
from headless.dialects.framing import Compression, Transport
from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.protocol_tools.assumptions import OPEN, OTHERWISE, SETTLED, Assumption, method, returned, told
from headless.protocol_tools.code import (
    classes_in,
    element_expression,
    literal_of,
    modules_in,
    one_line,
    text_code,
    transport_code,
)
from headless.protocol_tools.contrast import FAILED, GOOD, LATE, LEFT, REFUSED, WRONG, pattern_of
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.explained import Explained
from headless.protocol_tools.formulas import Formed, Hash, Hmac, Key, Said
from headless.protocol_tools.login_search import values_of
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.templates import Slot, Template
from headless.protocol_tools.trees import values_in

_RIGHT = (GOOD, LEFT, LATE, FAILED, REFUSED)


def login_assumptions(found: Explained) -> list[Assumption]:
    """Returns A1 to A8."""
    makers = (_framing, _encoding, _compression, _tls, _first, _handshake, _login, _formula)
    return [make(found) for make in makers]


# A1 to A5: below the messages


def _framing(found: Explained) -> Assumption:
    answers = found.survey.answers
    lines: list[str] = []
    needs: set[str] = set()
    evidence = []
    is_certain = True
    for name, sender in (("to_server", CLIENT), ("to_client", SERVER)):
        answer = answers[sender]
        if answer.transport is None:
            return Assumption("A1", OPEN, f"nothing that was tried explains what the {sender} sent")
        is_certain = is_certain and answer.is_certain
        evidence.append(f"{answer.evidence.messages} messages of the {sender}")
        if answer.transport != Transport(planta.Dialect.to_server.framing):
            lines.append(f"{name} = {transport_code(answer.transport)}")
            needs.update(classes_in(answer.transport))
    is_same = all(
        each.transport.framing == planta.Dialect.to_server.framing for each in answers.values() if each.transport
    )
    state = (SETTLED if is_same else OTHERWISE) if is_certain else OPEN
    doubts = [
        doubt for answer in answers.values() for doubt in (*answer.doubts, *(text for _, text in answer.alternatives))
    ]
    text = f"{' and '.join(evidence)} bear it out" + "".join(f"; {doubt}" for doubt in dict.fromkeys(doubts))
    return Assumption("A1", state, text, lines, needs)


def _encoding(found: Explained) -> Assumption:
    encoding, prolog = found.encodings[CLIENT], found.survey.styles[CLIENT].prolog
    server = found.encodings[SERVER]
    lines = []
    if encoding.name.lower() != planta.Dialect.encoding.lower():
        lines.append(f"encoding = {encoding.name!r}")
    if prolog != planta.Dialect.prolog.replace("{encoding}", encoding.name):
        lines.append(f"prolog = {prolog!r}")
    is_same_prolog = len(found.survey.styles[CLIENT].prologs) == 1
    is_certain = encoding.is_certain and server.is_certain and is_same_prolog
    text = f"client: {encoding.name}, {encoding.text}; server: {server.name}, {server.text}"
    return Assumption("A2", (OTHERWISE if lines else SETTLED) if is_certain else OPEN, text, lines)


def _compression(found: Explained) -> Assumption:
    transports = [answer.transport for answer in found.survey.answers.values()]
    if not found.is_framed:
        return Assumption("A3", OPEN, "the framing is not known")
    kinds = [each.compression for each in transports if each is not None]
    text = "; ".join(f"{sender}: {_packing(each)}" for sender, each in zip(found.survey.answers, kinds))
    return Assumption("A3", OTHERWISE if any(kinds) else SETTLED, text)


def _packing(compression: Compression | None) -> str:
    if compression is None:
        return "none"
    return f"{compression.kind}, scope {compression.scope!r}, not the first {compression.after} messages"


def _tls(_found: Explained) -> Assumption:
    return Assumption("A4", OPEN, "a recording does not say it: you know whether the relay was given tls://")


def _first(found: Explained) -> Assumption:
    first = found.survey.first
    text = ", ".join(f"the {sender} in {count} connections" for sender, count in first.most_common())
    if len(first) != 1:
        return Assumption("A5", OPEN, text)
    is_server = SERVER in first
    state = OPEN if sum(first.values()) < 2 else OTHERWISE if is_server else SETTLED
    greetings = _greetings(found)
    lines = ["server_speaks_first = True"] if is_server else []
    if greetings:
        lines.append(f"greeted = {' | '.join([planta.Dialect.greeted, *greetings])!r}")
        text += f"; {', '.join(greetings)} came before the challenge"
    return Assumption("A5", state, text, lines)


def _greetings(found: Explained) -> list[str]:
    """Returns patterns of what the server says before the challenge, besides what is known."""
    patterns: dict[str, None] = {}
    known = {planta.Dialect.greeted, *planta.Dialect.ignored}
    for facts in found.survey.facts:
        if facts.call.login == CHALLENGE:
            for root in _before_challenge(found, facts):
                new = [child for child in root if isinstance(child.tag, str) and child.tag not in known]
                patterns.update(
                    {f"{child.tag}{''.join(f'[@{name!s}]' for name in child.attrib)}": None for child in new}
                )
    return list(patterns)[:4]


def _before_challenge(found: Explained, facts: Facts) -> list[Element]:
    """Returns the messages of the server before the one that the client answered with the proof."""
    roots: list[Element] = []
    for message in (message for messages in facts.kept.values() for message in messages):
        root = parse_leniently(message.data)
        if message.sender == SERVER:
            roots.append(root)
        elif found.proof is not None and any((CLIENT, *value[:2]) == found.proof for value in values_in(root)):
            return roots[:-1]
    return []


# A6 to A8: the login


def _handshake(found: Explained) -> Assumption:
    steps = [steps[0] for steps in found.client.login.values() if steps and not steps[0].has_jobs]
    envs = [child for step in steps for child in step.template.children if child.tag == "Env"]
    if not envs:
        return Assumption("A6", OPEN, "the client's first message has no Env")
    doubts = [doubt for env in envs for doubt in env.doubts()]
    text = f"{sum(step.times for step in steps)} handshakes have <Env> with {_children_named(envs)}"
    missing = [login for login in (CHALLENGE, OSUSER) if login not in found.client.login]
    if missing:
        text += f"; none with {' and '.join(missing)}"
    lines = _known_handshake(envs)
    if lines is None:
        lines = _extended_handshake(found, envs)
    if lines is None:
        lines = _written_handshake(found)
        text += f"; {'; '.join(doubts)}" if doubts else ""
    return Assumption("A6", OPEN if doubts else OTHERWISE if lines else SETTLED, text, lines)


def _children_named(envs: Sequence[Template]) -> str:
    return " ".join(dict.fromkeys(child.tag for env in envs for child in env.children))


def _known_handshake(envs: Sequence[Template]) -> list[str] | None:
    """Returns attributes with which the default makes these handshakes, None if it cannot."""
    lines: dict[str, None] = {}
    defaults = {"program": dict(planta.Dialect.program), "locale": dict(planta.Dialect.locale)}
    for env in envs:
        names = [child.tag for child in env.children]
        is_known = names in (["Program", "TimeZone", "Locale"], ["Program", "TimeZone", "Locale", "OSuser"])
        if not is_known or env.attributes or any(child.children or child.text for child in env.children):
            return None
        program, zone, locale = (_constants(child) for child in env.children[:3])
        if program is None or zone is None or locale is None or set(zone) != {"utc_offset"} or "version" not in program:
            return None
        if len(names) == 4 and {name: slot.code for name, slot in env.children[3].attributes.items()} != {
            "name": "self.call.os_user"
        }:
            return None
        del program["version"]
        for name, value in (("program", program), ("locale", locale)):
            if value != defaults[name]:
                lines[f"{name} = {value!r}"] = None
        if zone["utc_offset"] != planta.Dialect.utc_offset:
            lines[f"utc_offset = {zone['utc_offset']!r}"] = None
    return list(lines) if len({line.partition(" ")[0] for line in lines}) == len(lines) else None


def _extended_handshake(found: Explained, envs: Sequence[Template]) -> list[str] | None:
    """Returns what adds elements to the default handshake; None if there is more to it."""
    bare = [Template(env.tag, env.nsmap, env.attributes, env.text, env.children[: _known_parts(env)]) for env in envs]
    lines = _known_handshake(bare)
    first = found.client.first
    env = next((child for child in first.template.children if child.tag == "Env"), None) if first else None
    if lines is None or env is None:
        return None
    added = [child for child in env.children if child.tag not in ("Program", "TimeZone", "Locale", "OSuser")]
    expressions = [element_expression(child) for child in added]
    if not added or None in expressions:
        return None
    extended = [f"    env.append({expression})" for expression in expressions]
    return [*lines, "def handshake(self):", "    (env,) = super().handshake()", *extended, "    return [env]"]


def _known_parts(env: Template) -> int:
    """Counts the first children that the default handshake has."""
    names = [child.tag for child in env.children]
    return 4 if names[3:4] == ["OSuser"] else 3


def _constants(template: Template) -> dict[str, str] | None:
    found = {}
    for name, slot in template.attributes.items():
        text = literal_of(slot)
        if text is None:
            return None
        found[name] = text
    return found


def _written_handshake(found: Explained) -> list[str]:
    lines = ["def handshake(self):"]
    flows = [(login, steps[0].template) for login, steps in found.client.login.items() if steps]
    for number, (login, template) in enumerate(flows):
        indent = "    "
        if len(flows) > 1:
            lines.append(f"    {'elif' if number else 'if'} self.call.login == {login!r}:")
            indent = "        "
        lines += [f"{indent}{line}" for line in returned([each for each in template.children if each.tag != "Login"])]
    return lines


def _login(found: Explained) -> Assumption:
    steps = found.client.login.get(CHALLENGE, [])
    proof = next((step for step in steps if step.has_proof), None)
    if proof is None:
        return Assumption("A7", OPEN, "no login with a challenge was recorded whose proof is known")
    lines: list[str] = []
    is_in_handshake = any(child.tag == "Login" for child in steps[0].template.children)
    if not is_in_handshake:
        lines.append("is_login_in_handshake = False")
    lines += _request(found)
    challenge = _challenge_pattern(found)
    if challenge and challenge != planta.Dialect.challenge:
        lines.append(f"challenge = {challenge!r}")
    default = {"user": "self.call.user", "response": "proof"}
    if len(proof.template.children) != 1 or not _is_login(proof.template.children[0], default):
        lines += [
            line.replace("proof", "response")
            for line in method("login_response(self, response)", proof.template.children)
        ]
    granted = _granted(found)
    text = f"{proof.times} logins: {' / '.join(told(step) for step in steps)}"
    if not granted:
        return Assumption(
            "A7",
            OPEN,
            f"{text}; nothing of the server is in each login that was granted, and in none that was not",
            lines,
        )
    if granted[0] != planta.Dialect.granted:
        others = f"  # or {', '.join(granted[1:4])}" if granted[1:] else ""
        lines.append(f"granted = {granted[0]!r}{one_line(others) and '  ' + one_line(others)}")
    if not found.contrast.count(WRONG):
        return Assumption(
            "A7", OPEN, f"{text}; no wrong password was recorded, so what grants a login is not known", lines
        )
    is_too_long = len(steps) > 2 + (not is_in_handshake)
    text += f"; granted by {granted[0]}" + ("; the login has more steps than the dialect knows" if is_too_long else "")
    doubts = [
        doubt for step in steps for child in step.template.children if child.tag == "Login" for doubt in child.doubts()
    ]
    is_open = bool(doubts) or is_too_long
    return Assumption("A7", OPEN if is_open else OTHERWISE if lines else SETTLED, "; ".join([text, *doubts]), lines)


def _request(found: Explained) -> list[str]:
    """Returns what asks for the login, if it is not as assumed. Where no user is named, the os-user may be."""
    asked = {}
    for login, steps in found.client.login.items():
        children = [child for step in steps if not step.has_proof for child in step.template.children]
        asked[login] = next((child for child in children if child.tag == "Login"), None)
    challenge, osuser = asked.get(CHALLENGE), asked.get(OSUSER)
    if challenge is None or (osuser is None and _is_login(challenge, {"user": "self.call.user"})):
        return []
    if osuser is not None:
        for name, slot in list(osuser.attributes.items()):
            if slot.code == "self.call.os_user" and challenge.attributes.get(name) == Slot("self.call.user"):
                challenge.attributes[name] = Slot("self.call.user or self.call.os_user")
    return method("login_request(self)", [challenge])


def _is_login(template: Template, attributes: dict[str, str]) -> bool:
    given = {name: slot.code for name, slot in template.attributes.items()}
    return template.tag == "Login" and given == attributes and not template.children and template.text is None


def _challenge_pattern(found: Explained) -> str:
    keys = _received(found)
    if not keys:
        return ""
    _, path, name = keys[0]
    if len(path) < 2:
        return ""
    return f"{path[1]}[@{name}]" if name and len(path) == 2 else path[1]


def _received(found: Explained) -> list[Key]:
    """Returns what the server has said that the formula needs."""
    if found.login is None or found.login.formula is None:
        return []
    return [key for key in values_of(found.login.formula) if key[0] == SERVER]


def _granted(found: Explained) -> list[str]:
    """Returns patterns of what comes before the jobs in each login that was granted, and in none that was not."""
    candidates = found.contrast.login_granted()
    patterns = [pattern_of(each.feature) for each in candidates if each.feature[0].depth == 1]
    default = planta.Dialect.granted

    def rank(pattern: str) -> tuple[bool, bool]:
        return pattern != default, not pattern.startswith("Login")

    return sorted(patterns, key=rank)


def _formula(found: Explained) -> Assumption:
    login = found.login
    if login is None:
        return Assumption("A8", OPEN, "give the password file with -p, and it is searched")
    if login.formula is None:
        return Assumption("A8", OPEN, login.problem or f"tried {login.tried} formulas: none fits")
    keys = values_of(login.formula)
    places = {key[1][1] for key in keys if len(key[1]) > 1}
    names = {key: "challenge" if number == 0 else _in_challenge(key) for number, key in enumerate(keys)}
    code = text_code(login.formula, names)
    lines = []
    if login.formula != _default_formula(keys):
        lines += ["def response(self, hash_, challenge):", f"    return {code}"]
    is_default_place = keys and keys[0] == (SERVER, ("Message", "Login"), "challenge")
    if keys and (len(keys) > 1 or not is_default_place):
        lines += ["def challenge_in(self, challenge):"]
        lines += ["    self._challenge_message = challenge"] if len(keys) > 1 else []
        lines += [f"    return {_in_challenge(keys[0], 'challenge')}"]
    text = f"{len(login.fits)} logins bear it out: {code}"
    text += f"; {len(login.wrong)} with a wrong password do not have it" if login.wrong else ""
    is_together = len(places) <= 1 and all(key[0] == SERVER for key in keys)
    doubts = [*login.doubts, *([] if is_together else ["it needs what comes in several messages: finish it by hand"])]
    is_open = bool(login.doubts) or not is_together
    state = OPEN if is_open else OTHERWISE if lines else SETTLED
    return Assumption("A8", state, "; ".join([text, *doubts]), lines, set(modules_in(code)) if lines else set())


def _default_formula(keys: Sequence[Key]) -> Formed:
    return Formed("hex", Hmac("sha256", Hash(), Said(keys[0] if keys else None)))


def _in_challenge(key: Key, variable: str = "self._challenge_message") -> str:
    """Returns an expression for what is said in the element with the challenge."""
    _, path, name = key
    below = "/".join(path[2:])
    if not name:
        return f"({variable}.findtext({below!r}) or '')" if below else f"({variable}.text or '')"
    element = f"{variable}.find({below!r})" if below else variable
    return f"{element}.get({name!r}, '')"
