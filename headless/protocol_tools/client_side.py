"""Finds out what the recorded client has sent, in which order, and what the server had said before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Optional

from lxml.etree import _Element as Element

from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.documents import JOB, normal, outline, texts_of, values_in
from headless.protocol_tools.login_search import Key
from headless.protocol_tools.recordings import SERVER, RecordedCall
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.templates import Instance, Template, template_of

# How jobs are sent.
TOGETHER = "all jobs in one message"
EACH = "each job in a message of its own"
UNKNOWN = "no call with several jobs was recorded"


@dataclass
class Sent:
    """Is one message of the client. `before` are the messages of the server since the client's last, `jobs` the numbers
    of those whose text is in it. `is_last` says that the server says nothing after it on the connection."""

    root: Element
    call: RecordedCall
    said: dict[Key, str]
    before: list[Element]
    jobs: list[int]
    proof: Optional[str] = None
    is_last: bool = True

    def instance(self, job: int | None = None) -> Instance:
        return Instance(self.root, self.call, self.said, self.proof, job)


@dataclass
class Step:
    """Is a message that the client sends, as several calls show it."""

    sent: list[Sent]
    template: Template

    @property
    def calls(self) -> int:
        return len({id(each.call) for each in self.sent})

    @property
    def has_proof(self) -> bool:
        return any(each.proof for each in self.sent)

    @property
    def has_jobs(self) -> bool:
        return any(each.jobs for each in self.sent)

    def causes(self) -> Counter[str]:
        """Counts the outlines of what came before it."""
        return Counter(outline(each.before[-1]) if each.before else "nothing" for each in self.sent)

    @property
    def summary(self) -> str:
        """Outlines the message, and what came before it."""
        listed = ", ".join(f"{cause} ({count})" for cause, count in self.causes().most_common(2))
        return f"{outline(self.template.root)} after {listed}"


@dataclass
class ClientSide:
    """Describes the client. `login` are the steps up to the jobs, for each way to log in. `jobs` is the message with
    all jobs, `units` what starts one job of each kind, or under the name "" of all `kinds`. `next_jobs` are the
    messages with a job that is not the first, and `after` the steps behind the jobs."""

    style: str = UNKNOWN
    login: dict[str, list[Step]] = field(default_factory=dict)
    jobs: Optional[Step] = None
    units: dict[str, Template] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    next_jobs: list[Sent] = field(default_factory=list)
    after: list[Step] = field(default_factory=list)
    has_jobs_in_login: bool = False


def client_side(facts: Sequence[Facts], proof: Key | None) -> ClientSide:
    """Returns what is known of the client. `proof` is where it proves the password."""
    calls = [list(_sent(each, proof)) for each in facts]
    # A call whose jobs are in a message that was too long to be kept says nothing of their place.
    pairs = [(each, call) for each, call in zip(facts, calls) if not each.has_jobs_left or any(s.jobs for s in call)]
    calls = [call for _, call in pairs]
    found = ClientSide(_style(calls))
    found.has_jobs_in_login = any(sent.jobs for call in calls for sent in _login(call))
    logins: dict[str, dict[int, list[Sent]]] = {}
    with_jobs: list[Sent] = []
    after: dict[tuple[str, ...], list[Sent]] = {}
    for call in calls:
        for number, sent in enumerate(_login(call, found.has_jobs_in_login)):
            logins.setdefault(sent.call.login, {}).setdefault(number, []).append(sent)
        with_jobs += [sent for sent in call if sent.jobs]
        last = max((number for number, sent in enumerate(call) if sent.jobs or sent.proof), default=len(call))
        for sent in call[last + 1 :] if any(each.jobs for each in call) else ():
            after.setdefault(_names(sent.root), []).append(sent)
    units = _units(with_jobs, found.style)
    found.login = {name: [_step(steps[each], units) for each in sorted(steps)] for name, steps in logins.items()}
    found.units, found.kinds = _of_kinds([*units.values()] or [sent.instance(sent.jobs[0]) for sent in with_jobs])
    if found.style != EACH and with_jobs:
        found.jobs = _step(with_jobs, units)
    found.next_jobs = [sent for sent in with_jobs if found.style == EACH and sent.jobs[0] > 0]
    found.after = [_step(group, {}) for group in after.values()]
    return found


def _sent(facts: Facts, proof: Key | None) -> Iterator[Sent]:
    """Yields the messages of the client in one call."""
    said: dict[Key, str] = {}
    before: list[Element] = []
    left = {number: normal(job.text) for number, job in enumerate(facts.call.jobs)}
    last = {each.connection: each.number for each in facts.kept if each.sender == SERVER}
    for kept in facts.kept:
        values = {(kept.sender, path, name): text.strip() for path, name, text in values_in(kept.root)}
        if kept.sender == SERVER:
            said.update(values)
            before.append(kept.root)
            continue
        jobs = _jobs_in(kept.root, left, facts.call)
        proved = values.get(proof) if proof is not None and facts.call.login == CHALLENGE else None
        is_last = last.get(kept.connection, -1) < kept.number
        yield Sent(kept.root, facts.call, dict(said), before, jobs, proved, is_last)
        before = []


def _jobs_in(root: Element, left: dict[int, str], call: RecordedCall) -> list[int]:
    """Returns the numbers of the jobs whose text is in the message, and takes them out of what is `left`."""
    spoken = [normal(text) for _, _, text in values_in(root)]
    known = {text for what, text in texts_of(call) if what == JOB}
    found = []
    for number, text in list(left.items()):
        place = next((each for each in spoken if each == text or (text in known and text in each)), None)
        if place is not None:
            spoken.remove(place)
            found.append(number)
            del left[number]
    return found


def _style(calls: Sequence[Sequence[Sent]]) -> str:
    several = [[len(sent.jobs) for sent in call if sent.jobs] for call in calls if call and len(call[0].call.jobs) > 1]
    if any(max(each) > 1 for each in several if each):
        return TOGETHER
    return EACH if any(len(each) > 1 for each in several) else UNKNOWN


def _login(call: Sequence[Sent], has_jobs: bool = False) -> list[Sent]:
    """Returns the messages of the login: those before the first job, and that one if it `has_jobs`; or up to the proof,
    if that is later."""
    first = next((number for number, sent in enumerate(call) if sent.jobs), len(call))
    proof = next((number for number, sent in enumerate(call) if sent.proof), -1)
    return [*call[: max(first + has_jobs, proof + 1)]]


def _step(group: Sequence[Sent], units: dict[Element, Instance]) -> Step:
    usual = Counter(str(sent.root.tag) for sent in group).most_common(1)[0][0]
    group = [sent for sent in group if sent.root.tag == usual]
    return Step(group, template_of([sent.instance() for sent in group], units))


def _names(root: Element) -> tuple[str, ...]:
    return str(root.tag), *dict.fromkeys(f"{'/'.join(path)}@{name}" for path, name, _ in values_in(root))


# What is about one job


def _of_kinds(instances: Sequence[Instance]) -> tuple[dict[str, Template], set[str]]:
    """Returns a template for each kind of job, under the name "" if one is enough; and which kinds there are."""
    groups: dict[str, list[Instance]] = {}
    for each in instances:
        groups.setdefault(each.call.jobs[each.job or 0].kind, []).append(each)
    if len(groups) > 1 and len({each.element.tag for each in instances}) == 1:
        joined = template_of(instances)
        if not joined.doubts:
            return {"": joined}, set(groups)
    return {kind: template_of(group) for kind, group in groups.items()}, set(groups)


def _units(with_jobs: Sequence[Sent], style: str) -> dict[Element, Instance]:
    """Returns the elements that are each about one job: those at the depth at which several jobs have different ones;
    none if each job has a message."""
    if style == EACH:
        return {}
    chains = [(sent, _chains(sent)) for sent in with_jobs]
    depths = [_depth([*each.values()]) for _, each in chains if len(each) > 1]
    depth = min((each for each in depths if each), default=0)
    return {
        chain[depth or -1]: sent.instance(job).at(chain[depth or -1])
        for sent, each in chains
        for job, chain in each.items()
        if len(chain) > max(depth, 1)
    }


def _chains(sent: Sent) -> dict[int, list[Element]]:
    """Returns for each job the elements from the root to the one that holds its text."""
    found: dict[int, list[Element]] = {}
    for number in sent.jobs:
        text = normal(sent.call.jobs[number].text)
        taken = [chain[-1] for chain in found.values()]
        for element in sent.root.iter("*"):
            values = (normal(str(value)) for value in (*element.attrib.values(), element.text or ""))
            if element not in taken and text in values:
                found[number] = [*reversed(list(element.iterancestors())), element]
                break
    return found


def _depth(chains: Sequence[list[Element]]) -> int:
    """Returns where the chains part, 0 if they do not."""
    levels = range(min(map(len, chains)))
    return next((level for level in levels if len({chain[level] for chain in chains}) == len(chains)), 0)
