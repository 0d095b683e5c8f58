"""Makes templates of messages that a client has sent in several calls: XML with a {name} where a text follows from the
call, from the login, or from what the server has said."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Optional

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects.vocabulary import OSUSER
from headless.protocol_tools.documents import local, normal
from headless.protocol_tools.login_search import Key
from headless.protocol_tools.recordings import SERVER, RecordedCall
from headless.protocol_tools.secrecy import is_secret

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

    def children(self) -> list[Template]:
        return [Template(each, self.values, self.doubts) for each in self.root]

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
