"""Writes for people what was found out from recordings, with the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headless.dialects.framing import Compression, Delimiter, Digits, Documents, Framing, Http, Length, Transport
from headless.protocol_tools.assumptions import Assumption
from headless.protocol_tools.code import one_line, text_code, transport_code
from headless.protocol_tools.contrast import FAILED, GOOD, LATE, LEFT, NOT_KNOWN, OUTCOMES, REFUSED, WRONG, pattern_of
from headless.protocol_tools.explained import Explained
from headless.protocol_tools.formulas import Formula, Key
from headless.protocol_tools.framing_search import Answer
from headless.protocol_tools.login_search import values_of
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.templates import said_name
from headless.protocol_tools.trees import local
from headless.protocol_tools.vocabulary import Feature, Place, Values
from headless.terminal import escape_control_chars, shorten

_MAX_PLACES = 300  # of one side that are shown
_MAX_ALTERNATIVES = 4  # of a framing that are
_MAX_VALUES = 5  # of a place that are
_LEAST_SECRET = 16  # characters of what is not shown if it differs
_MAX_LINE = 600


def report(found: Explained, assumptions: Sequence[Assumption]) -> str:
    """Returns the whole text."""
    sections = (
        ("Calls", _calls(found)),
        ("Who speaks first", _first(found)),
        ("Framing and compression", _framing(found)),
        ("Encoding", _encoding(found)),
        ("Keep-alives", _keep_alives(found)),
        ("Vocabulary", _vocabulary(found)),
        ("Login", _login(found)),
        ("What the client sends", _client(found)),
        ("Assumptions of PLANTA.md", _assumptions(assumptions)) if assumptions else ("Candidates", _candidates(found)),
        ("Schema", _schema(found)),
    )
    lines = []
    for title, body in sections:
        lines += [title, *(f"  {line}" for line in body), ""]
    return "\n".join(escape_control_chars(line) if line.strip() else "" for line in lines)


def _short(text: str) -> str:
    return shorten(one_line(text), _MAX_LINE)


def _calls(found: Explained) -> Iterator[str]:
    contrast = found.contrast
    yield f"{len(found.survey.calls)} calls with {len(found.survey.names)} connections"
    yield from (f"{contrast.count(outcome):4} {outcome}" for outcome in OUTCOMES if contrast.count(outcome))
    if contrast.count(NOT_KNOWN):
        yield "How a call ended has to be known for what follows from it: record it with --expect"
    missing = {
        GOOD: "a call with -t that ends well",
        LEFT: "a call without -t",
        FAILED: "a job that fails",
        REFUSED: "a job that the server refuses",
        WRONG: "a wrong password",
    }
    yield from (f"   0 {text}: record one" for outcome, text in missing.items() if not contrast.count(outcome))


def _first(found: Explained) -> Iterator[str]:
    first = found.survey.first
    if not first:
        yield "Nothing was said"
    for sender, count in first.most_common():
        yield f"The {sender}, in {count} of {sum(first.values())} connections"


# Framing


def _framing(found: Explained) -> Iterator[str]:
    for sender, answer in found.survey.answers.items():
        if answer.transport is None:
            yield f"{sender}: tried {answer.tried} explanations: none fits"
            if answer.failure:
                yield f"    the best of them fails at {_short(answer.failure)}"
            if found.survey.is_tls:
                yield "    These are bytes of TLS. Record with --to tls://HOST:PORT, and the client without TLS"
            continue
        yield f"{sender}: {describe(answer.transport)}"
        yield f"    {transport_code(answer.transport)}"
        yield f"    {_evidence(answer)}"
        for other, difference in answer.alternatives[:_MAX_ALTERNATIVES]:
            yield f"    NOT CERTAIN: {describe(other)} explains it as well: {difference}"
        if len(answer.alternatives) > _MAX_ALTERNATIVES:
            yield f"    NOT CERTAIN: {len(answer.alternatives) - _MAX_ALTERNATIVES} more explain it as well"
        yield from (f"    NOT CERTAIN: {doubt}" for doubt in answer.doubts)


def _evidence(answer: Answer) -> str:
    evidence = answer.evidence
    cut = f"; the last frame was cut in {', '.join(evidence.cut[:3])}" if evidence.cut else ""
    cut += f" and {len(evidence.cut) - 3} more" if len(evidence.cut) > 3 else ""
    empty = f", and {evidence.empty} empty ones" if evidence.empty else ""
    lengths = f"of {len(evidence.lengths)} different lengths, {min(evidence.lengths)} to {max(evidence.lengths)} bytes"
    where = f"in {evidence.connections} connections, at most {evidence.most} in one"
    return f"every byte of {evidence.messages} messages {lengths}{empty}, {where}{cut}"


def describe(transport: Transport) -> str:
    """Returns in words how messages become bytes."""
    parts = [_described(transport.framing)]
    if transport.compression is not None:
        parts.append(_packing(transport.compression))
    if transport.beginning:
        what = f"anything that ends with {transport.beginning!r}" if transport.is_line else f"{transport.beginning!r}"
        parts.append(f"once, before the first message: {what}")
    return "; ".join(parts)


def _described(framing: Framing) -> str:
    if isinstance(framing, Documents):
        return "documents one after the other, without frames"
    if isinstance(framing, Delimiter):
        before = f"{framing.before!r} before each message, and " if framing.before else ""
        return f"{before}{framing.end!r} behind each message"
    if isinstance(framing, Http):
        return f"HTTP, {framing.start}; Authorization, Cookie and the like are left out"
    if isinstance(framing, Length):
        order = (
            ""
            if framing.size == 1
            else ", the most significant first"
            if framing.order == "big"
            else ", the least significant first"
        )
        number = f"a length of {framing.size} bytes{order}"
    elif isinstance(framing, Digits):
        width = f"of {framing.width} digits" if framing.width else "in digits"
        number = f"a length {width}, {'hexadecimal' if framing.base == 16 else 'decimal'}"
    else:
        return repr(framing)
    extra = f", {framing.extra:+} bytes" if framing.extra else ""
    around = [
        (framing.before, "before the length"),
        (framing.between, "behind the length"),
        (framing.after, "behind the message"),
    ]
    return number + extra + "".join(f"; {constant!r} {place}" for constant, place in around if constant)


def _packing(compression: Compression) -> str:
    scopes = {
        "message": "each message by itself",
        "messages": "all messages as one stream",
        "frames": "all frames as one stream",
    }
    behind = f", but not the first {compression.after}" if compression.after else ""
    return f"{compression.kind}, {scopes[compression.scope]}{behind}"


def _encoding(found: Explained) -> Iterator[str]:
    for sender, encoding in found.encodings.items():
        style = found.survey.styles[sender]
        if not style.messages:
            continue
        yield f"{sender}: {encoding.name}: {'' if encoding.is_certain else 'NOT CERTAIN: '}{encoding.text}"
        for prolog, count in style.prologs.most_common(3):
            yield (
                f"    {count} messages begin with {prolog!r}"
                if prolog
                else f"    {count} messages begin with the root element"
            )
        if style.indented:
            yield f"    {style.indented} messages are indented"


def _keep_alives(found: Explained) -> Iterator[str]:
    for each in found.keep_alives:
        answer = f"; answered at once with {each.answer}" if each.answer else ""
        where = f"{each.times} times in {each.connections} connections"
        yield f"{each.sender}: {each.kind}, each {each.seconds:.0f} s of silence, {where}{answer}"
    longest = found.survey.longest_silence
    if not found.keep_alives:
        yield f"None. The longest silence has {longest:.0f} s" + (": record a job of 180 s" if longest < 150 else "")


# Vocabulary


def _vocabulary(found: Explained) -> Iterator[str]:
    for sender, vocabulary in found.survey.vocabularies.items():
        yield f"{sender}: {vocabulary.messages} messages"
        features = [_features(each, sender) for each in found.survey.facts]
        pairs = _same_calls(found.survey.facts)
        places = list(vocabulary.places())
        for place in places[:_MAX_PLACES]:
            parts = [f"    {'/'.join(map(local, place.path))} ({place.elements})"]
            for name, values in [*place.attributes.items(), ("", place.texts)]:
                if sender == CLIENT and found.may_prove(place, name):
                    parts.append(f"{'@' + local(name) if name else 'text'} {len(values.found)} values (not shown)")
                elif values.count:
                    differs = any(
                        _values(place, name, features[a]) != _values(place, name, features[b]) for a, b in pairs
                    )
                    echo = _echo(found, place, name) if sender == SERVER else ""
                    parts.append(_place_told(place, name, values, differs, sender) + echo)
            yield _short("; ".join(parts).replace("    ", "", 1)).join(["    ", ""])
        if len(places) > _MAX_PLACES:
            yield f"    ... and {len(places) - _MAX_PLACES} more places"


def _features(facts: Facts, sender: str) -> set[Feature]:
    return set(facts.said) if sender == CLIENT else set(facts.before) | set(facts.after)


def _same_calls(facts: Sequence[Facts]) -> list[tuple[int, int]]:
    """Returns pairs of recordings of the same call."""
    first: dict[object, int] = {}
    pairs = []
    for number, each in enumerate(facts):
        call = each.call
        key = (call.login, call.user, call.os_user, call.jobs, call.timeout, call.is_password_right)
        if key in first and call.login:
            pairs.append((first[key], number))
        first.setdefault(key, number)
    return pairs[:50]


def _values(place: Place, name: str, features: set[Feature]) -> set[str | None]:
    values = place.attributes[name] if name else place.texts
    return {value for value in values.found if (place, name, value) in features}


def _place_told(place: Place, name: str, values: Values, differs: bool, sender: str) -> str:
    shown = f"@{local(name)}" if name else "text"
    count = f" ({values.count} times)" if values.count != place.elements else ""
    told = f"{shown}{count} {_listed(name or place.name, values, sender)}"
    return told + (", differs between recordings of the same call" if differs else "")


def _listed(name: str, values: Values, sender: str) -> str:
    if values.is_many or len(values.found) > _MAX_VALUES:
        return f"{'more than ' if values.is_many else ''}{len(values.found)} values"
    is_hidden = sender == CLIENT and len(values.found) > 1 and max(map(len, values.found)) >= _LEAST_SECRET
    if is_hidden or any(is_secret(name, value) for value in values.found):
        return f"{len(values.found)} values (not shown)"
    return ", ".join(f"{value!r} {count}" for value, count in values.found.items())


def _echo(found: Explained, place: Place, name: str) -> str:
    whats = dict.fromkeys(
        what for each in found.survey.facts for at, at_name, what in each.echoes if (at, at_name) == (place, name)
    )
    return "".join(f", {what} came back here" for what in whats)


# Login


def _login(found: Explained) -> Iterator[str]:
    right = [login for login in found.logins if login.is_right]
    yield f"{len(right)} logins with a challenge, and {len(found.logins) - len(right)} with a wrong password"
    if found.login is None:
        yield "With -p SECRET_FILE, the password file of the recorded client, the formula is searched"
        if found.proof is not None:
            yield f"The proof is likely {said_name(found.proof)}, by its name or because it differs"
        return
    answer = found.login
    if answer.formula is None:
        yield f"tried {answer.tried} formulas: none fits"
        if answer.problem:
            yield _short(answer.problem)
        return
    assert answer.key is not None
    yield f"{said_name(answer.key)} of the client is"
    yield f"    {formula_text(answer.formula)}"
    wrong = f"; not so in {len(answer.wrong)} with a wrong password" if answer.wrong else ""
    yield f"    the same in {len(answer.fits)} logins{wrong}; tried {answer.tried} formulas"
    yield from (f"    NOT CERTAIN: {doubt}" for doubt in answer.doubts)
    for other in answer.same[:4]:
        yield f"    the recorded logins do not tell it from {formula_text(other)}"


def formula_text(formula: Formula) -> str:
    """Returns a formula as Python, in which <...> is what was said at a place."""
    names: dict[Key, str] = {key: f"<{said_name(key)}>" for key in values_of(formula)}
    return text_code(formula, names)


# Messages of the client, and what the server's mean


def _client(found: Explained) -> Iterator[str]:
    client = found.client
    for login, steps in client.login.items():
        for number, step in enumerate(steps, 1):
            causes = ", ".join(f"{label or 'nothing'} ({count})" for label, count in step.causes.most_common(2))
            tags = " ".join(f"<{local(each.tag)}>" for each in [step.template, *step.template.children][:4])
            yield _short(f"{login} {number}: {tags} after {causes}")
            yield from (f"    NOT KNOWN: {_short(doubt)}" for doubt in step.template.doubts())
    waits = f", the next one after {found.next_job_waits_for}" if found.next_job_waits_for else ""
    yield f"jobs: {client.style}{waits}"
    templates = [*client.units.values(), *([client.jobs.template] if client.jobs else [])]
    yield from (f"    NOT KNOWN: {_short(doubt)}" for each in templates for doubt in each.doubts())
    for step in client.after:
        causes = ", ".join(f"{label or 'nothing'} ({count})" for label, count in step.causes.most_common(2))
        yield _short(f"then <{local(step.template.tag)}> {step.times} times, after {causes}")


def _assumptions(assumptions: Sequence[Assumption]) -> Iterator[str]:
    for each in assumptions:
        yield f"{each.number} {each.state}: {_short(each.evidence)}"
        yield from (f"    {_short(line) if not line.startswith(' ') else '    ' + _short(line)}" for line in each.code)


def _candidates(found: Explained) -> Iterator[str]:
    contrast = found.contrast
    yield "What is in each recording of a kind, and in none of the others. That proves nothing: a person decides"
    questions = (
        ("accepted", contrast.accepted(), (REFUSED,)),
        ("ended", contrast.ended(), (GOOD,)),
        ("ended well", contrast.ended_well(), (FAILED,)),
        ("failed", contrast.failed(), (FAILED,)),
        ("refused", contrast.refused(), (REFUSED,)),
        ("login refused", contrast.login_refused(), (WRONG,)),
    )
    for title, candidates, needed in questions:
        if not contrast.count(*needed) or not contrast.count(GOOD, LEFT, LATE):
            yield f"{title}: not enough was recorded"
        elif not candidates:
            yield f"{title}: no candidate"
        else:
            yield from (_short(f"{title}: {pattern_of(each.feature, True)}: {each.told}") for each in candidates[:4])


def _schema(found: Explained) -> Iterator[str]:
    for sender, schemas in found.survey.schemas.items():
        yield f"{sender}: {schemas.checked - schemas.failed} of {schemas.checked} messages pass"
        for text in schemas.texts.values():
            yield from (f"    {line}" for line in text.decode().splitlines())
