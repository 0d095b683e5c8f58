"""Finds out what the recorded client has sent, in which order, and what the server had said before.

Of messages that it has sent in several calls it makes templates: XML with a {name} where a text follows from the call,
from the login, or from what the server has said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Optional

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects.vocabulary import CHALLENGE, OSUSER
from headless.protocol_tools.documents import JOB, local, normal, outline, texts_of, values_in
from headless.protocol_tools.login_search import Key
from headless.protocol_tools.recordings import SERVER, RecordedCall
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.survey import Facts

# How jobs are sent.
TOGETHER = "all jobs in one message"
EACH = "each job in a message of its own"
UNKNOWN = "no call with several jobs was recorded"
_MAX_CHILDREN = 100  # of an element that are looked at
_JOB_NUMBER = "[each is job for each in self.call.jobs].index(True)"
_YES_AND_NO = (("true", "false"), ("1", "0"), ("yes", "no"))
_NAMES = {  # of what is written for these expressions
    "response": "response",
    "self.call.user": "user",
    "self.call.os_user": "os_user",
    "self.call.user or self.call.os_user": "user",
    "self.call.login": "login",
    "job.text": "job",
    "job.kind": "kind",
    "job.kind.upper()": "kind",
    f"str({_JOB_NUMBER} + 1)": "number",
    f"str({_JOB_NUMBER})": "number",
    "str(len(self.call.jobs))": "count",
}


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


# Templates


@dataclass(frozen=True)
class Instance:
    """Is a message that a client has sent, or the part of it that is about one job. `said` is what the server had said,
    `proof` is the proof of this login."""

    element: Element
    call: RecordedCall
    said: Mapping[Key, str]
    proof: Optional[str] = None
    job: Optional[int] = None

    def at(self, element: Element) -> Instance:
        return Instance(element, self.call, self.said, self.proof, self.job)

    def known(self) -> Iterator[tuple[str, str | None]]:
        """Yields expressions of Python for texts, and what they give for this message."""
        call = self.call
        yield "response", self.proof
        if call.login != OSUSER:
            yield "self.call.user", call.user
        yield "self.call.os_user", call.os_user
        yield "self.call.user or self.call.os_user", call.user or call.os_user
        yield "self.call.login", call.login
        if self.job is not None:
            job = call.jobs[self.job]
            yield "job.text", job.text
            yield "job.kind", job.kind
            yield "job.kind.upper()", job.kind.upper()

    def counted(self) -> Iterator[tuple[str, str | None]]:
        """Yields the same for what is worth a look only where texts differ."""
        if self.job is not None:
            yield f"str({_JOB_NUMBER} + 1)", str(self.job + 1)
            yield f"str({_JOB_NUMBER})", str(self.job)
        for yes, no in _YES_AND_NO:
            if self.job is not None:
                is_last = self.job == len(self.call.jobs) - 1
                yield f"{yes!r} if job is self.call.jobs[-1] else {no!r}", yes if is_last else no
            yield f"{yes!r} if self.call.waits else {no!r}", yes if self.call.timeout else no
        yield "str(len(self.call.jobs))", str(len(self.call.jobs))
        for key, text in self.said.items():
            if key[0] == SERVER:
                yield f"self.said({place_name(key, 1)!r})", text


def place_name(key: Key, skipped: int = 0) -> str:
    """Returns a name for the place of a value; it begins below the root `Message`, if there is one, if names are
    `skipped`."""
    path = key[1][skipped:] if key[1][0] == "Message" else key[1]
    return "/".join(map(local, path)) + (f"@{local(key[2])}" if key[2] else "")


@dataclass
class Template:
    """Is a message. `values` are expressions of Python for its {names}; `doubts` say what is not known."""

    root: Element
    values: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def code(self, elements: Sequence[Element], jobs: str = "") -> str:
        """Returns an expression for a list of these elements of it. `jobs` is one for those of the jobs."""
        xml = "".join(etree.tostring(each, encoding="unicode") for each in elements).replace("<?jobs ?>", "<?jobs?>")
        values = [f"{name}={code}" for name, code in self.values.items() if f"{{{name}}}" in xml]
        return f"filled({', '.join([repr(xml), *([jobs] if '<?jobs?>' in xml else []), *values])})"


def template_of(instances: Sequence[Instance], units: Collection[Element] = ()) -> Template:
    """Returns the template of these elements, which have the same name. `units` are the elements in them that are the
    part of one job."""
    found = Template(instances[0].element)
    found.root = _merged(instances, units, found)
    return found


def _merged(instances: Sequence[Instance], units: Collection[Element], found: Template) -> Element:
    first = instances[0].element
    made = etree.Element(first.tag, nsmap=first.nsmap)  # type: ignore[arg-type]
    shown = local(str(first.tag))
    for name in dict.fromkeys(str(name) for each in instances for name in each.element.attrib):
        having = [(str(each.element.attrib[name]), each) for each in instances if name in each.element.attrib]
        made.set(name, _text_of(name, f"<{shown} {local(name)}>", having, len(instances), found))
    having = [(str(each.element.text).strip(), each) for each in instances if (each.element.text or "").strip()]
    if having:
        made.text = _text_of(str(first.tag), f"the text of <{shown}>", having, len(instances), found)
    groups: dict[tuple[str, int], list[Instance]] = {}
    has_units = False
    for each in instances:
        counts: dict[str, int] = {}
        for child in islice(each.element.iterchildren("*"), _MAX_CHILDREN):
            tag = str(child.tag)
            if child in units:
                has_units = True
            else:
                counts[tag] = counts.get(tag, 0) + 1
                groups.setdefault((tag, counts[tag]), []).append(each.at(child))
    if any(len(each.element) > _MAX_CHILDREN for each in instances):
        found.doubts.append(f"<{shown}>: only {_MAX_CHILDREN} of its parts are here")
    for group in groups.values():
        made.append(_merged(group, units, found))
        _note_missing(f"<{local(str(group[0].element.tag))}>", len(group), len(instances), found)
    if has_units:
        made.append(etree.ProcessingInstruction("jobs"))
    return made


def _note_missing(place: str, count: int, of: int, found: Template) -> None:
    if count < of:
        found.doubts.append(f"{place}: it is in {count} of {of} messages only")


def _text_of(name: str, place: str, pairs: Sequence[tuple[str, Instance]], of: int, found: Template) -> str:
    """Returns the text that is the same in all messages, or the {name} of what gives each. `name` is that of the
    attribute or element."""
    _note_missing(place, len(pairs), of, found)
    texts = [text for text, _ in pairs]
    code = _expression([(text, each.known()) for text, each in pairs])
    if code is None and not any(is_secret(name, text) for text in texts) and len(set(texts)) == 1:
        return texts[0]
    code = (
        code or _expression([(text, each.counted()) for text, each in pairs]) or _of_kind(pairs) or _randomness(texts)
    )
    if code is None:
        is_hidden = any(is_secret(name, text) for text in texts)
        why = f"it has {len(set(texts))} values in {len(texts)} messages, and it is not known why"
        found.doubts.append(f"{place}: {'it may be a secret, and is not shown' if is_hidden else why}")
        return ""
    if "random" in code:
        found.doubts.append(f"{place}: it is taken for random digits")
    wished = _NAMES.get(code) or re.sub(r"\W", "_", local(name), flags=re.ASCII)
    free = (each for each in (wished, *(f"{wished}_{number}" for number in range(2, 1000))))
    short = next(each for each in free if found.values.get(each, code) == code)
    found.values[short] = code
    return f"{{{short}}}"


def _expression(pairs: Sequence[tuple[str, Iterator[tuple[str, str | None]]]]) -> str | None:
    """Returns the first expression that gives each of the texts."""
    possible: dict[str, None] | None = None
    for text, known in pairs:
        giving = {code: None for code, given in known if given and normal(given) == normal(text)}
        possible = giving if possible is None else {code: None for code in possible if code in giving}
        if not possible:
            return None
    return next(iter(possible), None) if possible else None


def _of_kind(pairs: Sequence[tuple[str, Instance]]) -> str | None:
    """Returns an expression for what each kind of job has another text of."""
    found: dict[str, str] = {}
    for text, each in pairs:
        if each.job is None or found.setdefault(each.call.jobs[each.job].kind, text) != text:
            return None
    return f"{found!r}[job.kind]"


def _randomness(texts: Sequence[str]) -> str | None:
    sizes = {len(text) for text in texts}
    is_random = len(set(texts)) == len(texts) > 1 and len(sizes) == 1 and 8 <= min(sizes) <= 64
    is_hex = set("".join(texts)) <= set("0123456789abcdef")
    return f"self.call.random.hex()[:{min(sizes)}]" if is_random and is_hex else None
