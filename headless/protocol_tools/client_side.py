"""Finds out what the recorded client has sent, in which order, and what the server had said before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Optional

from lxml.etree import _Element as Element

from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.formulas import Key
from headless.protocol_tools.recordings import SERVER, RecordedCall
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.templates import Instance, Template, template_of, units_of
from headless.protocol_tools.trees import JOB, Path, normal, outline, texts_of, values_in

# How jobs are sent, and what the next one waits for.
TOGETHER = "all jobs in one message"
EACH = "each job in a message of its own"
UNKNOWN = "no call with several jobs was recorded"
NOTHING = "nothing"
ACCEPTANCE = "the acceptance of the one before"
RESULT = "the result of the one before"


@dataclass
class Sent:
    """Is one message of the client. `cause` is the label of the last message of the server, "" if there was none since
    the client's last; `seen` are the labels of all that came since then, and `waited` how many seconds passed after the
    first and after the last of them. `jobs` are the numbers of those whose text is in it."""

    connection: str
    root: Element
    call: RecordedCall
    values: dict[Key, str]
    number: int
    cause: str
    jobs: list[int]
    seen: list[str]
    waited: tuple[float, float] = (0.0, 0.0)
    proof: Optional[str] = None
    is_keep_alive: bool = False


@dataclass
class Step:
    """Is a message that the client sends, as several calls show it. `causes` are labels of what the server had said."""

    template: Template
    times: int
    calls: int
    causes: Counter[str]
    has_jobs: bool = False
    has_proof: bool = False
    counts: dict[str, int] = field(default_factory=dict)  # how often on each connection


@dataclass
class ClientSide:
    """Describes the client. `login` are the steps before the jobs, for each way to log in. `between` counts what the
    server says between two jobs of a call, "" for nothing."""

    style: str = UNKNOWN
    login: dict[str, list[Step]] = field(default_factory=dict)
    first: Optional[Step] = None  # of all ways to log in together
    jobs: Optional[Step] = None
    units: dict[str, Template] = field(default_factory=dict)
    between: Counter[str] = field(default_factory=Counter)
    next_jobs: list[Sent] = field(default_factory=list)
    first_job: Counter[str] = field(default_factory=Counter)  # what the server had said before the first job
    after: list[Step] = field(default_factory=list)
    has_jobs_in_login: bool = False


def client_side(
    facts: Sequence[Facts], proof: Key | None, keep_alives: Iterable[str], label_of: Callable[[Element], str]
) -> ClientSide:
    """Returns what is known of the client. `proof` is where it proves the password; `keep_alives` outline those of its
    messages that only say that it lives; `label_of` tells messages of the server apart."""
    alive = set(keep_alives)
    calls = [list(_sent(each, proof, alive, label_of)) for each in facts]
    # A call whose jobs are in a message that was too long to be kept says nothing of their place.
    whole = [not each.has_jobs_left or any(sent.jobs for sent in call) for each, call in zip(facts, calls)]
    calls = [call for call, is_whole in zip(calls, whole) if is_whole]
    found = ClientSide(_style(calls))
    _find_login(found, calls)
    _find_jobs(found, calls)
    _find_after(found, calls)
    return found


def _sent(facts: Facts, proof: Key | None, alive: set[str], label_of: Callable[[Element], str]) -> Iterator[Sent]:
    """Yields the messages of the client in one call."""
    values: dict[Key, str] = {}
    numbers: Counter[str] = Counter()
    seen: list[tuple[str, float]] = []
    texts = [normal(job.text) for job in facts.call.jobs]
    left = dict(enumerate(texts))
    for connection, messages in facts.kept.items():
        for message in messages:
            root = parse_leniently(message.data)
            said = {(message.sender, path, name): text.strip() for path, name, text in values_in(root)}
            if message.sender == SERVER:
                values.update(said)
                seen.append((label_of(root), message.seconds))
                continue
            jobs = _jobs_in(root, left, facts.call)
            proved = said.get(proof) if proof is not None and facts.call.login == CHALLENGE else None
            is_alive = outline(root) in alive
            labels = [label for label, _ in seen]
            waited = (message.seconds - seen[0][1], message.seconds - seen[-1][1]) if seen else (0.0, 0.0)
            yield Sent(
                connection,
                root,
                facts.call,
                dict(values),
                numbers[connection],
                labels[-1] if labels else "",
                jobs,
                labels,
                waited,
                proved,
                is_alive,
            )
            numbers[connection] += 1
            seen = []


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


def _find_login(found: ClientSide, calls: Sequence[Sequence[Sent]]) -> None:
    groups: dict[tuple[str, int], list[Sent]] = {}
    for call in calls:
        before = _before_jobs(call)
        found.has_jobs_in_login = found.has_jobs_in_login or any(sent.jobs for sent in before)
        for number, sent in enumerate(before):
            groups.setdefault((sent.call.login, number), []).append(sent)
    for (login, _), group in groups.items():
        found.login.setdefault(login, []).append(_step(group, found.style))
    first = [sent for (_, number), group in groups.items() if number == 0 for sent in group]
    if first:
        found.first = _step(first, found.style)


def _before_jobs(call: Sequence[Sent]) -> list[Sent]:
    """Returns the messages of the login: those before the first job; or up to the proof, if that is later."""
    first = next((number for number, sent in enumerate(call) if sent.jobs), len(call))
    proof = next((number for number, sent in enumerate(call) if sent.proof), -1)
    return [sent for sent in call[: max(first, proof + 1)] if not sent.is_keep_alive]


def _step(group: Sequence[Sent], style: str) -> Step:
    usual = Counter(str(sent.root.tag) for sent in group).most_common(1)[0][0]
    group = [sent for sent in group if sent.root.tag == usual]
    units = {} if style == EACH else _units(group)
    instances = [Instance(each.root, each.call, each.values, each.proof, None, each.number) for each in group]
    template = template_of(instances, units)
    causes = Counter(sent.cause for sent in group)
    calls = len({id(sent.call) for sent in group})
    return Step(
        template,
        len(group),
        calls,
        causes,
        any(sent.jobs for sent in group),
        any(sent.proof for sent in group),
        dict(Counter(sent.connection for sent in group)),
    )


def _units(group: Sequence[Sent]) -> dict[Element, int]:
    """Returns the elements that are each about one job: those at the depth at which several jobs have different
    ones."""
    chains = [(number, chain) for sent in group for number, chain in _chains(sent).items()]
    depths = [_depth([*_chains(sent).values()]) for sent in group if len(sent.jobs) > 1]
    depth = min((each for each in depths if each), default=0)
    return {chain[depth or -1]: number for number, chain in chains if len(chain) > max(depth, 1)}


def _chains(sent: Sent) -> dict[int, list[Element]]:
    """Returns for each job the elements from the root to the one that holds its text."""
    found: dict[int, list[Element]] = {}
    for number in sent.jobs:
        text = normal(sent.call.jobs[number].text)
        taken = [chain[-1] for chain in found.values()]
        element = next((each for each in _holding(sent.root, text) if each not in taken), None)
        if element is not None:
            found[number] = [*reversed(list(element.iterancestors())), element]
    return found


def _depth(chains: Sequence[list[Element]]) -> int:
    """Returns where the chains part, 0 if they do not."""
    levels = range(min(map(len, chains), default=0))
    return next((level for level in levels if len({chain[level] for chain in chains}) == len(chains) > 1), 0)


def _holding(root: Element, text: str) -> Iterator[Element]:
    for element in root.iter():
        if isinstance(element.tag, str):
            values = [str(value) for value in element.attrib.values()] + [element.text or ""]
            if any(normal(value) == text for value in values):
                yield element


def _find_jobs(found: ClientSide, calls: Sequence[Sequence[Sent]]) -> None:
    with_jobs = [sent for call in calls for sent in call[len(_before_jobs(call)) :] if sent.jobs]
    if not with_jobs:
        return
    if found.style != EACH:
        found.jobs = _step(with_jobs, found.style)
        return
    by_kind: dict[str, list[Instance]] = {}
    for sent in with_jobs:
        number = sent.jobs[0]
        instance = Instance(sent.root, sent.call, sent.values, sent.proof, number, sent.number)
        by_kind.setdefault(sent.call.jobs[number].kind, []).append(instance)
    found.units = units_of(by_kind, {})
    found.first_job.update(sent.cause for sent in with_jobs if sent.jobs[0] == 0)
    found.next_jobs = [sent for sent in with_jobs if sent.jobs[0] > 0]
    found.between.update(sent.cause for sent in with_jobs if sent.jobs[0] > 0)


def _find_after(found: ClientSide, calls: Sequence[Sequence[Sent]]) -> None:
    groups: dict[tuple[str, ...], list[Sent]] = {}
    for call in calls:
        last = max((number for number, sent in enumerate(call) if sent.jobs or sent.proof), default=-1)
        for sent in call[last + 1 :] if any(sent.jobs for sent in call) else ():
            if not sent.is_keep_alive:
                groups.setdefault(_names(sent.root), []).append(sent)
    found.after = [_step(group, EACH) for group in groups.values()]


def _names(root: Element) -> tuple[str, ...]:
    paths: dict[Path, None] = {path: None for path, _, _ in values_in(root)}
    return (str(root.tag), *dict.fromkeys("/".join(path) for path in paths))
