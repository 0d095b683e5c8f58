"""Says what recordings settle of the assumptions A9 to A18 of PLANTA.md: the jobs. What accepts, ends, judges and
refuses them stays a comment: a person decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lxml.etree import _Element as Element

from headless.dialects import planta
from headless.dialects.vocabulary import MODULE, PY_CODE, PY_FILE
from headless.protocol_tools.client_side import EACH, TOGETHER, Step
from headless.protocol_tools.contrast import (
    ACCEPTED,
    BROKEN,
    FAILED,
    GOOD,
    NOT_KNOWN,
    REFUSED,
    WRONG,
    Candidate,
    is_meant,
)
from headless.protocol_tools.documents import outline
from headless.protocol_tools.findings import Findings
from headless.protocol_tools.recordings import CLIENT
from headless.protocol_tools.writing import OPEN, OTHERWISE, SETTLED, Assumption, method, method_by, one_line, state_of

_MAX_CANDIDATES = 3
_LONG_SILENCE = 150.0  # seconds in which a keep-alive comes, if there is any
_KINDS = (MODULE, PY_FILE, PY_CODE)


def job_assumptions(found: Findings) -> list[Assumption]:
    """Returns A9 to A18."""
    makers = (_starts, _order, _acceptance, _output, _end, _result, _refusal, _keep_alive, _ignored, _person)
    return [make(found) for make in makers]


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
    after, follow_ups = _after_jobs(found)
    lines += after
    starts = ", ".join(f"{kind or 'each kind'}: {' '.join(map(outline, elements[kind]))}" for kind in units)
    return Assumption("A9", state_of(not doubts, lines), "; ".join([starts, *follow_ups, *doubts]), lines)


def _start_lines(codes: dict[str, str], missing: Sequence[str]) -> list[str]:
    refusing = [
        f"    if job.kind in {tuple(missing)!r}:",
        '        raise UnsupportedCall(f"no job of the kind {job.kind} was recorded")',
    ]
    return method_by("start_of(self, job)", "job.kind", codes, refusing if missing else ())


def _after_jobs(found: Findings) -> tuple[list[str], list[str]]:
    """Returns what the client sends once behind the jobs, and words for it."""
    codes, follow_ups = dict[str, str](), []
    for step in found.client.after:
        is_most = step.calls > found.contrast.count(*ACCEPTED) // 2
        if 2 * sum(sent.is_last for sent in step.sent) > len(step.sent):
            name = "goodbye"
        elif is_most and _follows_result(found, step):
            name = "finish"
        elif is_most and _asks(found, step):
            name = "ask"
        elif is_most and step.calls == len(step.sent):
            name = "go"
        else:
            continue
        code = step.template.code(found.parts(step.template.root))
        is_written = codes.setdefault(name, code) == code
        follow_ups.append(f"then {len(step.sent)} times {step.summary}" + ("" if is_written else ": finish it by hand"))
    return [line for name, code in codes.items() for line in method(f"{name}(self)", code)], follow_ups


def _asks(found: Findings, step: Step) -> bool:
    """Returns whether the message asks how the jobs are: it follows an acceptance where all jobs go together."""
    is_possible = not found.is_planta and found.client.style != EACH
    return is_possible and all(sent.before for sent in step.sent)


def _follows_result(found: Findings, step: Step) -> bool:
    """Returns whether the message comes when the last job has ended well, and not before."""
    results = found.results
    return all(
        sent.before and any(_is_in(found, each, root) for each in results for root in sent.before) for sent in step.sent
    )


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
        "AFTER_RESULT": [*found.results[:1], *found.contrast.failed()],
        "AFTER_ACCEPTANCE": found.contrast.accepted()[:1],
    }
    for order, candidates in orders.items():
        if all(
            any(_is_in(found, each, root) for each in candidates for root in sent.before) for sent in client.next_jobs
        ):
            named = " or ".join(each.pattern for each in candidates[:_MAX_CANDIDATES])
            return Assumption("A10", OTHERWISE, f"{seen}: {named}", [f"order = planta.{order}"])
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
    tags = found.tags_with_meaning
    parts = [part for part in found.said(found.contrast.calls(*ACCEPTED)) if not found.is_planta or part.tag in tags]
    patterns = found.patterns(found.unmeant(parts))
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
    good, bad = found.results, found.contrast.failed()
    missing = "nothing is in each good recording, and in no failed one", "nothing is in a failed recording alone"
    groups = [("ok", good, missing[0]), ("failed", bad, missing[1])]
    if not found.contrast.count(FAILED):
        groups = [("ok", [], "nothing tells a success from a failure: record a job that fails, with --expect 1")]
    broken = found.contrast.count(BROKEN)
    question = "the result" + f" ({broken} calls that were broken off do not count)" * bool(broken)
    assumption = _decide("A14", question, groups, found)
    if not groups[0][1] or good[0].is_output:
        with_failed = "with `failed`, " * bool(bad)
        assumption.lines.append(
            f"# no_result = planta.ORDERLY_END  # {with_failed}if the server tells no success: PLANTA.md, section 4"
        )
    elif good[0].instead and _values_in_good(found, good[0]) == {good[0].feature[2]}:
        opposite = good[0].pattern.replace("=", "!=", 1)
        assumption.lines.append(f"# failed = {opposite!r}  # whatever is not as in the good ones")
    if any(each.is_for_each for each in good[:_MAX_CANDIDATES]):
        assumption.lines.append("# result_of = planta.JOB  # if it comes once for each job")
    return assumption


def _values_in_good(found: Findings, candidate: Candidate) -> set[str | None]:
    """Returns all values that good recordings have at its place."""
    said = (facts.before + facts.after for facts in found.contrast.calls(GOOD))
    return {each[2] for features in said for each in features if each[:2] == candidate.feature[:2]} - {None}


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
    pattern, seconds, answer = found.heartbeat
    for each in found.keep_alives:
        where = f"{each.times} times in {each.connections} connections"
        parts.append(f"the {each.sender} sends {each.kind} each {each.seconds:.0f} s of silence, {where}")
        doubts += ["that is little"] * (each.times < 3)
        for step in found.client.after if each.sender == CLIENT else ():
            code = step.template.code(found.parts(step.template.root))
            if outline(step.template.root) == each.kind and code != answer:
                lines += [f"heartbeat_seconds = {round(each.seconds)}", *method("heartbeat_message(self)", code)]
    if pattern:
        lines.append(f"server_heartbeat, heartbeat = {pattern!r}, {seconds}")
        lines += method("answer_heartbeat(self)", answer) if answer else []
        doubts += [f"the client answered {pattern} more than once"] * (seconds is None)
    longest = found.survey.longest_silence
    if not found.keep_alives:
        parts.append(f"nothing came again and again in {longest:.0f} s of silence")
        doubts += ["record a job of 180 s"] * (longest < _LONG_SILENCE)
    return Assumption("A16", state_of(not doubts, lines), "; ".join([*parts, *doubts]), lines)


def _ignored(found: Findings) -> Assumption:
    if not found.is_planta:
        return Assumption("A17", OPEN, "what means nothing else is taken for output (A12)")
    parts = found.unmeant(found.said(found.contrast.calls(*ACCEPTED)))
    tags = found.tags_with_meaning
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
