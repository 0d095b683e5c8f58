"""Makes templates of messages that a client has sent in several calls: what is the same in all of them, and what
follows from the call, from the login, or from what the server has said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Optional

from lxml.etree import _Element as Element

from headless.dialects.vocabulary import MODULE, OSUSER, PY_CODE, PY_FILE
from headless.protocol_tools.formulas import Key
from headless.protocol_tools.recordings import SERVER, RecordedCall
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.trees import Path, local, normal

KIND_NAMES = {MODULE: "MODULE", PY_FILE: "PY_FILE", PY_CODE: "PY_CODE"}
_MAX_CHILDREN = 100  # of an element that are looked at
_HEX = set("0123456789abcdef")


@dataclass(frozen=True)
class Instance:
    """Is a message that a client has sent, or the part of it that is about one job. `values` are what the server had
    said, `proof` is the proof of this login, `number` counts what the client had sent before on the connection."""

    element: Element
    call: RecordedCall
    values: Mapping[Key, str]
    proof: Optional[str] = None
    job: Optional[int] = None
    number: int = 0


@dataclass(frozen=True)
class Slot:
    """Is how a text comes about: an expression of Python for it, and what is not known about it."""

    code: str
    doubt: str = ""


@dataclass
class Template:
    """Is an element. `units` stand in the place of the part for each job, one for each kind of job."""

    tag: str
    nsmap: Mapping[Optional[str], str]
    attributes: dict[str, Slot] = field(default_factory=dict)
    text: Optional[Slot] = None
    children: list[Template] = field(default_factory=list)
    units: dict[str, Template] = field(default_factory=dict)
    doubt: str = ""

    def doubts(self) -> Iterator[str]:
        """Yields what is not known, with the place."""
        name = local(self.tag)
        if self.doubt:
            yield f"<{name}>: {self.doubt}"
        for attribute, slot in self.attributes.items():
            if slot.doubt:
                yield f"<{name} {local(attribute)}>: {slot.doubt}"
        if self.text is not None and self.text.doubt:
            yield f"the text of <{name}>: {self.text.doubt}"
        for child in (*self.children, *self.units.values()):
            yield from child.doubts()


def template_of(instances: Sequence[Instance], units: Mapping[Element, int]) -> Template:
    """Returns the template of these elements, which have the same name. `units` are the elements in them that are the
    part of one job, with its number."""
    first = instances[0].element
    found = Template(str(first.tag), dict(first.nsmap))
    names = dict.fromkeys(str(name) for each in instances for name in each.element.attrib)
    for name in names:
        having = [each for each in instances if name in each.element.attrib]
        slot = slot_of(name, [str(each.element.attrib[name]) for each in having], having)
        found.attributes[name] = _sometimes(slot, having, instances)
    having = [each for each in instances if each.element.text and each.element.text.strip()]
    if having:
        slot = slot_of(found.tag, [str(each.element.text).strip() for each in having], having)
        found.text = _sometimes(slot, having, instances)
    _add_children(found, instances, units)
    return found


def _sometimes(slot: Slot, having: Sequence[Instance], instances: Sequence[Instance]) -> Slot:
    if len(having) == len(instances):
        return slot
    return Slot(slot.code, slot.doubt or f"it is in {len(having)} of {len(instances)} messages only")


def _add_children(found: Template, instances: Sequence[Instance], units: Mapping[Element, int]) -> None:
    groups: dict[tuple[str, int], list[Instance]] = {}
    of_jobs: dict[str, list[Instance]] = {}
    for each in instances:
        counts: dict[str, int] = {}
        for child in each.element:
            if not isinstance(child.tag, str):
                continue
            below = Instance(child, each.call, each.values, each.proof, each.job, each.number)
            if child in units:
                job = units[child]
                part = Instance(child, each.call, each.values, each.proof, job, each.number)
                of_jobs.setdefault(each.call.jobs[job].kind, []).append(part)
            else:
                groups.setdefault((child.tag, counts.setdefault(child.tag, 0)), []).append(below)
                counts[child.tag] += 1
    if len(groups) > _MAX_CHILDREN:
        found.doubt = f"of its {len(groups)} parts only {_MAX_CHILDREN} are here"
    for group in islice(groups.values(), _MAX_CHILDREN):
        made = template_of(group, units)
        if len(group) < len(instances):
            made.doubt = f"it is in {len(group)} of {len(instances)} messages only"
        found.children.append(made)
    found.units = units_of(of_jobs, units)


def units_of(of_jobs: Mapping[str, Sequence[Instance]], units: Mapping[Element, int]) -> dict[str, Template]:
    """Returns a template for each kind of job; one under the name "" if all are alike."""
    together = [each for group in of_jobs.values() for each in group]
    if len({shape(each.element) for each in together}) == 1:
        joined = template_of(together, units)
        if not list(joined.doubts()):
            return {"": joined}
    return {kind: template_of(group, units) for kind, group in of_jobs.items()}


def shape(element: Element) -> tuple[object, ...]:
    """Returns what is the same for elements of the same names."""
    children = tuple(shape(child) for child in element if isinstance(child.tag, str))
    return element.tag, tuple(sorted(map(str, element.attrib))), children


# How a text comes about


def slot_of(name: str, texts: Sequence[str], instances: Sequence[Instance]) -> Slot:
    """Returns the expression that gives each text for its message. `name` is that of the attribute or element."""
    pairs = list(zip(texts, instances))
    for make in (_of_login, _of_job):
        slot = make(pairs)
        if slot is not None:
            return slot
    if any(is_secret(name, text) for text in texts):
        return _of_server(pairs) or _of_randomness(pairs) or Slot("''", "it may be a secret, and is not shown")
    if len(set(texts)) == 1:
        return Slot(repr(texts[0]))
    for make in (_of_kind, _of_number, _of_server, _of_randomness):
        slot = make(pairs)
        if slot is not None:
            return slot
    return Slot("''", f"it has {len(set(texts))} values in {len(texts)} messages, and it is not known why")


Pairs = Sequence[tuple[str, Instance]]


def _all(pairs: Pairs, expected: Callable[[Instance], object]) -> bool:
    return all(text == expected(each) for text, each in pairs)


def _of_login(pairs: Pairs) -> Slot | None:
    if _all(pairs, lambda each: each.proof):
        return Slot("proof")
    if _all(pairs, lambda each: each.call.user):
        is_osuser = any(each.call.login == OSUSER for _, each in pairs)
        return Slot("self.call.user or self.call.os_user" if is_osuser else "self.call.user")
    if _all(pairs, lambda each: each.call.os_user):
        return Slot("self.call.os_user")
    if _all(pairs, lambda each: each.call.user or each.call.os_user):
        return Slot("self.call.user or self.call.os_user")
    return Slot("self.call.login") if _all(pairs, lambda each: each.call.login) else None


def _of_job(pairs: Pairs) -> Slot | None:
    if any(each.job is None for _, each in pairs):
        return None

    def job_of(each: Instance) -> str:
        return each.call.jobs[each.job or 0].text

    if all(
        text in (job_of(each), job_of(each).strip()) or normal(text) == normal(job_of(each)) for text, each in pairs
    ):
        return Slot("job.text")
    if _all(pairs, lambda each: each.call.jobs[each.job or 0].kind):
        return Slot("job.kind")
    if _all(pairs, lambda each: each.call.jobs[each.job or 0].kind.upper()):
        return Slot("job.kind.upper()")
    return None


def _of_kind(pairs: Pairs) -> Slot | None:
    if any(each.job is None for _, each in pairs):
        return None
    by_kind: dict[str, set[str]] = {}
    for text, each in pairs:
        by_kind.setdefault(each.call.jobs[each.job or 0].kind, set()).add(text)
    if len(by_kind) < 2 or any(len(texts) > 1 for texts in by_kind.values()):
        return None
    listed = ", ".join(f"{KIND_NAMES[kind]}: {min(texts)!r}" for kind, texts in by_kind.items())
    missing = [kind for kind in KIND_NAMES if kind not in by_kind]
    return Slot(f"{{{listed}}}[job.kind]", f"no {missing[0]} was recorded" if missing else "")


def _of_number(pairs: Pairs) -> Slot | None:
    """Returns a slot for a count: of the job, of all jobs, of what was sent before."""
    if all(each.job is not None for _, each in pairs):
        for start in (1, 0):
            if _all(pairs, lambda each, start=start: str((each.job or 0) + start)):  # type: ignore[misc]
                return Slot(f"str(number + {start})" if start else "str(number)")
        for yes, no in (("true", "false"), ("1", "0"), ("yes", "no")):
            if _all(pairs, lambda each, yes=yes, no=no: yes if _is_last(each) else no):  # type: ignore[misc]
                return Slot(f"{yes!r} if number + 1 == len(self.call.jobs) else {no!r}")
    if _all(pairs, lambda each: str(len(each.call.jobs))):
        return Slot("str(len(self.call.jobs))")
    for start in (1, 0):
        if _all(pairs, lambda each, start=start: str(each.number + start)):  # type: ignore[misc]
            return Slot(f"str(self._sent + {start})" if start else "str(self._sent)")
    return None


def _is_last(each: Instance) -> bool:
    return each.job == len(each.call.jobs) - 1


def _of_server(pairs: Pairs) -> Slot | None:
    for key in pairs[0][1].values:
        if key[0] == SERVER and _all(pairs, lambda each, key=key: each.values.get(key)):  # type: ignore[misc]
            return Slot(f"self._said.get({said_name(key)!r}, '')")
    return None


def said_name(key: Key) -> str:
    """Returns a name for what the server has said at a place."""
    path: Path = key[1]
    return "/".join(map(local, path)) + (f"@{local(key[2])}" if key[2] else "")


def _of_randomness(pairs: Pairs) -> Slot | None:
    texts = {text for text, _ in pairs}
    sizes = {len(text) for text in texts}
    if len(texts) < len(pairs) or len(sizes) != 1 or not 8 <= min(sizes) <= 64 or not set("".join(texts)) <= _HEX:
        return None
    return Slot(f"self.call.random.hex()[:{min(sizes)}]", "it is taken for random digits")
