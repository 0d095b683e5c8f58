"""Compares recordings with what headless.dialects.planta assumes of jobs: A9 to A18. What proves an acceptance, an end,
a result or a refusal is for a person to decide: there are candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from lxml.etree import _Element as Element

from headless.dialects import planta
from headless.dialects.vocabulary import MODULE, PY_CODE, PY_FILE
from headless.protocol_tools.assumptions import (
    OPEN,
    OTHERWISE,
    SETTLED,
    Assumption,
    element_lines,
    method,
    returned,
    told,
)
from headless.protocol_tools.client_side import ACCEPTANCE, EACH, NOTHING, TOGETHER, Step
from headless.protocol_tools.code import element_expression, one_line
from headless.protocol_tools.contrast import FAILED, GOOD, LATE, LEFT, NOT_KNOWN, REFUSED, WRONG, Candidate, pattern_of
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.explained import Explained
from headless.protocol_tools.recordings import CLIENT, SERVER
from headless.protocol_tools.secrecy import shown
from headless.protocol_tools.templates import Slot, Template
from headless.protocol_tools.trees import outline
from headless.protocol_tools.vocabulary import Feature, Place

_MAX_CANDIDATES = 3
_MOST = 0.8  # of the connections
_LONG_SILENCE = 150.0  # seconds in which a keep-alive comes, if there is any
_RIGHT = (GOOD, LEFT, LATE, FAILED, REFUSED)
_KINDS = (MODULE, PY_FILE, PY_CODE)


def job_assumptions(found: Explained) -> list[Assumption]:
    """Returns A9 to A18."""
    makers = (_starts, _order, _acceptance, _output, _end, _result, _refusal, _keep_alive, _ignored, _person)
    return [make(found) for make in makers]


# A9, A10: the jobs


def _starts(found: Explained) -> Assumption:
    client = found.client
    units = client.units or _units_in(client.jobs)
    if not units:
        return Assumption("A9", OPEN, "the texts of the calls' jobs were not found in what the client sent")
    doubts = [doubt for unit in units.values() for doubt in unit.doubts()]
    recorded = {job.kind for each in found.survey.facts for job in each.call.jobs if each.has_jobs_left}
    doubts += [f"no {kind} was recorded" for kind in _KINDS if kind not in recorded]
    lines: list[str] = []
    if not _are_default(units, client.style):
        lines += _start_lines(units, client.style)
    lines += _wrapper_lines(client.jobs) if client.style != EACH else []
    go = [step for step in client.after if step.calls == step.times > found.contrast.count(GOOD, LEFT, LATE) // 2]
    if go:
        lines += method("go(self)", [child for step in go for child in step.template.children])
    started = ", ".join(f"{kind or 'each kind'}: {_unit_told(unit, client.style)}" for kind, unit in units.items())
    followed = "".join(f"; then {told(step)}" for step in go)
    text = "; ".join([f"{started}{followed}", *doubts])
    return Assumption("A9", OPEN if doubts else OTHERWISE if lines else SETTLED, text, lines)


def _units_in(step: Step | None) -> dict[str, Template]:
    """Returns the templates for one job in a message with all jobs."""
    return next((each.units for each in _below(step.template) if each.units), {}) if step is not None else {}


def _below(template: Template) -> Iterator[Template]:
    yield template
    for child in template.children:
        yield from _below(child)


def _parts_of(unit: Template, style: str) -> list[Template]:
    """Returns the elements that start a job: the children of a message, or one of them."""
    return unit.children if style == EACH else [unit]


def _unit_told(unit: Template, style: str) -> str:
    return " ".join(f"<{' '.join([part.tag, *part.attributes])}>" for part in _parts_of(unit, style))


def _are_default(units: dict[str, Template], style: str) -> bool:
    defaults = {
        MODULE: "planta.element('ModC', id=job.text)",
        PY_FILE: "planta.element('ExecPythonScript', file=job.text)",
    }
    defaults[PY_CODE] = "planta.element('ExecPythonScript', job.text)"
    parts = {kind: _parts_of(unit, style) for kind, unit in units.items()}
    return all(
        kind in defaults and len(each) == 1 and element_expression(each[0]) == defaults[kind]
        for kind, each in parts.items()
    )


def _start_lines(units: dict[str, Template], style: str) -> list[str]:
    body: list[str] = []
    for number, (kind, unit) in enumerate(units.items()):
        made = list(returned(_parts_of(unit, style)))
        is_last = number == len(_KINDS) - 1
        if kind and not is_last:
            body += [f"if job.kind == {kind!r}:", *(f"    {line}" for line in made)]
        else:
            body += made
    if "" not in units and len(units) < len(_KINDS):
        body.append('raise UnsupportedCall(f"no job of the kind {job.kind} was recorded")')
    if any("number" in line for line in body):
        body.insert(0, "number = self.call.jobs.index(job)")
    return ["def start_of(self, job):", *(f"    {line}" for line in body)]


def _wrapper_lines(step: Step | None) -> list[str]:
    """Returns what puts the parts of all jobs into an element of the message."""
    if step is None or step.template.units:
        return []
    child = next((child for child in step.template.children if any(each.units for each in _below(child))), None)
    if child is None:
        return []
    inner = next(each for each in _below(child) if each.units)
    units, inner.units = inner.units, {}
    name = child.tag.lower()
    lines = list(element_lines(child, name))
    inner.units = units
    place = name if inner is child else f"{name}.find({_path_to(child, inner)!r})"
    return [
        "def together(self, starts):",
        *(f"    {line}" for line in lines),
        f"    {place}.extend(starts)",
        f"    return [{name}]",
    ]


def _path_to(above: Template, below: Template) -> str:
    for child in above.children:
        if child is below:
            return child.tag
        if below in _below(child):
            return f"{child.tag}/{_path_to(child, below)}"
    return ""


def _order(found: Explained) -> Assumption:
    client = found.client
    if client.style == TOGETHER:
        return Assumption("A10", SETTLED, "all jobs are in one message")
    if client.style != EACH:
        return Assumption("A10", OPEN, "no call with several jobs was recorded")
    waits_for = found.next_job_waits_for
    if waits_for == NOTHING:
        text = f"{client.between['']} times the next job went at once"
        return Assumption("A10", OTHERWISE, text, ["order = planta.IN_A_ROW"])
    seen = ", ".join(f"{kind} ({count})" for kind, count in client.between.most_common(3))
    if not waits_for:
        lines = [
            "# order = planta.AFTER_RESULT  # the next job waits for the result of the one before, or",
            "# order = planta.AFTER_ACCEPTANCE  # for its acceptance: the recordings do not tell",
        ]
        missing = "record -t 1, and a job of some seconds before another one"
        return Assumption("A10", OPEN, f"before the next job came {seen}: {missing}", lines)
    is_early = waits_for == ACCEPTANCE
    how = (
        "which comes also when nothing has ended" if is_early else "long after the first answer, and at once before it"
    )
    text = f"before the next job came {seen}, {how}"
    return Assumption("A10", OTHERWISE, text, [f"order = planta.{'AFTER_ACCEPTANCE' if is_early else 'AFTER_RESULT'}"])


# A11 to A15: what a person decides


def _decide(
    number: str, question: str, groups: Iterable[tuple[str, list[Candidate], str]], found: Explained
) -> Assumption:
    """Returns an assumption that stays open, with candidates as comments: an attribute, what it may be, and what is
    missing if there is none."""
    lines, told = [], []
    for attribute, candidates, missing in groups:
        if not candidates:
            told.append(missing)
            lines.append(f"# {attribute.format('...')}  # no candidate: {missing}")
        for candidate in candidates[:_MAX_CANDIDATES]:
            lines.append(f"# {attribute.format(repr(pattern_of(candidate.feature)))}  # {one_line(candidate.told)}")
        if len(candidates) > _MAX_CANDIDATES:
            told.append(
                f"{len(candidates)} candidates for {attribute.partition(' ')[0]}, of which {_MAX_CANDIDATES} are shown"
            )
    unclear = found.contrast.count(NOT_KNOWN)
    if unclear:
        told.append(f"of {unclear} recordings it is not known how they ended: record them with --expect")
    return Assumption(number, OPEN, "; ".join([question, *told]), lines)


def _acceptance(found: Explained) -> Assumption:
    candidates = found.contrast.accepted()
    missing = "no call that was accepted was recorded with --expect 0"
    if not found.contrast.count(REFUSED):
        missing = "nothing tells an acceptance from a refusal: record a job that is unknown, with --expect 2"
        candidates = []
    assumption = _decide("A11", "what accepts", [("accepted = {}", candidates, missing)], found)
    if candidates and found.client.style == EACH and not candidates[0].is_for_each and found.client.next_jobs:
        assumption.code.append("# acceptance_of = planta.SESSION  # if it comes once for all jobs")
    return assumption


def _output(found: Explained) -> Assumption:
    children = _server_children(found)
    known = [name for name in ("StatusBar", "EvLogMsg") if name in children]
    text = f"{', '.join(known)} came" if known else "nothing of what is assumed to be output came"
    others = _other_values(found)
    if others:
        text += f"; {', '.join(others)} came in good recordings, and nothing else is known of it"
    lines = [f"output = {' | '.join([planta.Dialect.output, *others])!r}"] if others else []
    return Assumption("A12", OPEN, text, lines)


def _other_values(found: Explained) -> list[str]:
    """Returns patterns for children of messages that came in good recordings behind the jobs, of a name that means
    something else with other values."""
    contrast = found.contrast
    likely = [*contrast.accepted()[:1], *contrast.ended()[:1], *contrast.ended_well()[:1]]
    likely += [*contrast.failed(), *contrast.refused(), *contrast.login_refused()]
    whole = {each.feature[0] for each in likely if each.feature[1] is None}
    valued = {each.feature[:2] for each in likely if each.feature[1]}
    meant = {each.feature for each in likely}
    good = Counter[Feature]()
    for facts in (facts for outcome in (GOOD, LEFT, LATE) for facts in found.contrast.groups[outcome]):
        good.update(facts.after)
    patterns = []
    for place, name, value in sorted(good, key=lambda feature: (feature[0].path, str(feature[1]), str(feature[2]))):
        is_other = (place, name) in valued and (place, name, value) not in meant
        if (
            place.depth == 1
            and place not in whole
            and is_other
            and value is not None
            and not place.attributes[name or ""].is_many
        ):
            patterns.append(pattern_of((place, name, value)))
    return patterns[:4]


def _end(found: Explained) -> Assumption:
    candidates = found.contrast.ended()
    missing = "no call with -t that ended well was recorded with --expect 0"
    return _decide("A13", "what ends the session", [("ended = {}", candidates, missing)], found)


def _result(found: Explained) -> Assumption:
    contrast = found.contrast
    good = contrast.ended_well()
    bad = contrast.failed()
    if not contrast.count(FAILED):
        missing = "nothing tells a success from a failure: record a job that fails, with --expect 1"
        return _decide("A14", "the result", [("ok = {}", [], missing)], found)
    assumption = _decide("A14", "the result", [
        ("ok = {}", good, "nothing is in each good recording, and in no failed one"),
        ("failed = {}", bad, "nothing is in a failed recording alone"),
    ], found)  # fmt: skip
    if not good and contrast.count(GOOD):
        assumption.code.append(
            "# no_result = planta.ORDERLY_END  # if the server tells no result: PLANTA.md, section 4"
        )
    opposite = _opposite(found, good[0]) if good else ""
    if opposite:
        assumption.code = [line for line in assumption.code if "no candidate" not in line]
        assumption.code.append(f"# failed = {opposite!r}  # whatever is not as in the good ones")
    if any(each.is_for_each for each in good[:_MAX_CANDIDATES]):
        assumption.code.append("# result_of = planta.JOB  # if it comes once for each job")
    return assumption


def _opposite(found: Explained, candidate: Candidate) -> str:
    """Returns a pattern for all other values than that of a success, "" if good recordings have others there, too."""
    place, name, value = candidate.feature
    if value is None or name is None or not candidate.instead:
        return ""
    good = [facts.before + facts.after for facts in found.contrast.groups[GOOD]]
    values = {each[2] for counts in good for each in counts if each[:2] == (place, name)}
    return pattern_of(candidate.feature).replace("=", "!=", 1) if values == {value} else ""


def _refusal(found: Explained) -> Assumption:
    contrast = found.contrast
    login = contrast.login_refused()
    jobs = contrast.refused()
    missing = []
    if not login:
        missing.append(
            "record a wrong password" if not contrast.count(WRONG) else "nothing shows a wrong password alone"
        )
    if not jobs:
        is_recorded = contrast.count(REFUSED)
        missing.append(
            "nothing shows a refusal alone" if is_recorded else "record a job that is unknown, with --expect 2"
        )
    first = {reason: pattern_of(each[0].feature) for reason, each in (("login", login), ("jobs", jobs)) if each}
    lines = [f"# refused = {first!r}"] if first else []
    for reason, candidates in (("login", login), ("jobs", jobs)):
        for candidate in candidates[:_MAX_CANDIDATES]:
            lines.append(f"#   {reason}: {pattern_of(candidate.feature)}  {one_line(candidate.told)}")
    return Assumption("A15", OPEN, "; ".join(["what refuses", *missing]), lines)


# A16 to A18


def _keep_alive(found: Explained) -> Assumption:
    lines, parts = _answered(found)
    if not found.keep_alives:
        longest = found.survey.longest_silence
        is_open = bool(parts) or longest < _LONG_SILENCE
        parts.append(f"nothing came again and again in {longest:.0f} s of silence")
        return Assumption("A16", OPEN if is_open else SETTLED, "; ".join(parts), lines)
    is_certain = not parts
    for each in found.keep_alives:
        parts.append(f"the {each.sender} sends {each.kind} each {each.seconds:.0f} s ({each.times} times)")
        root = _first(found, each.sender, lambda root, kind=each.kind: outline(root) == kind)  # type: ignore[misc]
        pattern = _pattern_for(root)
        is_certain = is_certain and each.times > 2 and pattern != ""
        if each.sender == SERVER and pattern:
            lines += [f"server_heartbeat, heartbeat = {pattern!r}, {round(each.seconds)}"]
            if each.answer:
                parts.append(f"the client answers with {each.answer}")
                answer = _first(found, CLIENT, lambda root, kind=each.answer: outline(root) == kind)  # type: ignore[misc]
                lines += _sending("answer_heartbeat(self)", answer)
        elif each.sender == CLIENT and pattern:
            lines.append(f"heartbeat_seconds = {round(each.seconds)}")
            lines += _sending("heartbeat_message(self)", root)
    return Assumption("A16", OTHERWISE if is_certain else OPEN, "; ".join(parts), lines)


def _answered(found: Explained) -> tuple[list[str], list[str]]:
    """Returns what takes a message of the server for a keep-alive: one that came as often as the client has sent
    something of the same name, more than once in a call; and words for it."""
    for step in found.client.after:
        for kind in found.kinds.all if step.times > step.calls else ():
            root = _first(found, SERVER, lambda root, kind=kind: found.kinds.label_of(root) == kind.label)  # type: ignore[misc]
            names = [child.tag for child in step.template.children]
            is_alike = root is not None and [child.tag for child in root] == names
            if is_alike and _is_as_often(step.counts, kind.counts) and _pattern_for(root):
                lines = [f"server_heartbeat = {_pattern_for(root)!r}"]
                lines += method("answer_heartbeat(self)", step.template.children)
                return lines, [f"{kind.label} came {kind.times} times, and the client sent as many {told(step)}"]
        if step.times > step.calls:
            return [], [f"the client sent {told(step)} {step.times} times in {step.calls} calls"]
    return [], []


def _is_as_often(counts: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """Returns whether two messages came equally often on most connections; some are cut."""
    names = {*counts, *others}
    return sum(counts.get(name) == others.get(name) for name in names) >= _MOST * len(names)


def _first(found: Explained, sender: str, is_meant: Callable[[Element], bool]) -> Element | None:
    """Returns the first message of this side that is meant."""
    for facts in found.survey.facts:
        for message in (each for messages in facts.kept.values() for each in messages if each.sender == sender):
            root = parse_leniently(message.data)
            if is_meant(root):
                return root
    return None


def _pattern_for(root: Element | None) -> str:
    """Returns a pattern for the only child of such messages, "" if they have others."""
    if root is None or len(root) != 1:
        return ""
    return str(root[0].tag) + "".join(f"[@{name!s}]" for name in root[0].attrib)


def _sending(signature: str, root: Element | None) -> list[str]:
    return method(signature, [] if root is None else [_literal(child) for child in root])


def _literal(element: Element) -> Template:
    made = Template(str(element.tag), {})
    made.attributes = {str(name): Slot(repr(shown(str(name), str(value)))) for name, value in element.attrib.items()}
    text = str(element.text or "").strip()
    made.text = Slot(repr(shown(made.tag, text))) if text else None
    made.children = [_literal(child) for child in element]
    return made


def _ignored(found: Explained) -> Assumption:
    names = [place.name for place in _unexplained(found)]
    if not names:
        return Assumption("A17", SETTLED, "nothing came in good recordings that the other assumptions do not explain")
    listed = ", ".join(map(repr, names))
    text = f"{', '.join(names)} came in good recordings, and nothing else is known of them"
    return Assumption("A17", OPEN, text, [f"ignored = (*planta.Dialect.ignored, {listed})"])


def _unexplained(found: Explained) -> list[Place]:
    """Returns children of messages that came in good recordings, and that nothing else explains."""
    contrast = found.contrast
    decided = _decided(found)
    known = {each.feature[0].path[1] for each in decided if each.feature[0].depth}
    known |= {"Env", "Login", "StatusBar", "EvLogMsg", "MessageBox", "PasswordChange", *planta.Dialect.ignored}
    known |= {
        line.partition("= '")[2].partition("[")[0] for line in _keep_alive(found).code if "server_heartbeat" in line
    }
    good = {
        each[0]
        for outcome in (GOOD, LEFT, LATE)
        for facts in contrast.groups[outcome]
        for each in facts.before + facts.after
    }
    return [place for place in _server_children(found).values() if place.name not in known and place in good]


def _decided(found: Explained) -> list[Candidate]:
    """Returns all candidates for what a person decides."""
    contrast = found.contrast
    lists = (contrast.accepted(), contrast.ended(), contrast.ended_well(), contrast.failed(), contrast.refused())
    return [each for candidates in (*lists, contrast.login_refused()) for each in candidates]


def _server_children(found: Explained) -> dict[str, Place]:
    roots = found.survey.vocabularies[SERVER].roots.values()
    return {name: place for root in roots for name, place in root.children.items()}


def _person(found: Explained) -> Assumption:
    names = [name for name in ("MessageBox", "PasswordChange") if name in _server_children(found)]
    if names:
        return Assumption("A18", OPEN, f"{', '.join(names)} came: see which calls")
    return Assumption("A18", OPEN, "nothing that is assumed to ask a person came")
