"""Writes Python: transports, elements, formulas, and texts that came from a recording."""

from __future__ import annotations

import keyword
import re
from ast import literal_eval
from collections.abc import Iterator, Mapping

from headless.dialects.framing import Transport
from headless.dialects.vocabulary import Value
from headless.protocol_tools.formulas import Formula, Key
from headless.protocol_tools.templates import Slot, Template
from headless.protocol_tools.trees import local

_NOTHING = object()
_NAMES = (
    "root",
    "job",
    "number",
    "self",
    "etree",
    "proof",
    "element",
    "base",
    "hash_",
    "planta",
)  # that mean something
# Fields that are written although they have their defaults.
_TOLD = {
    "Length": ("size", "order"),
    "Digits": ("base", "width"),
    "Delimiter": ("end",),
    "Compression": ("kind", "scope"),
    "Transport": ("framing",),
    "Http": ("start",),
}


def transport_code(transport: Transport) -> str:
    """Returns an expression that makes this transport."""
    return _value_code(transport)


def _value_code(value: object) -> str:
    if not isinstance(value, Value):
        return repr(value)
    kind = type(value)
    told = _TOLD.get(kind.__name__, ())
    parts = []
    for name, content in value.fields():
        if name in told:
            parts.append(_value_code(content))
        elif content != getattr(kind, name, _NOTHING):
            is_next = isinstance(content, Value)
            parts.append(_value_code(content) if is_next else f"{name}={_value_code(content)}")
    return f"{kind.__name__}({', '.join(parts)})"


def classes_in(value: object) -> Iterator[str]:
    """Yields the names of the classes that such an expression needs."""
    if isinstance(value, Value):
        yield type(value).__name__
        for _, content in value.fields():
            yield from classes_in(content)


def text_code(formula: Formula, names: Mapping[Key, str]) -> str:
    """Returns an expression for the text that a formula gives."""
    code = formula.code(names)
    for end in (".hexdigest().encode()", ".hexdigest().upper().encode()", ".hex().encode()", ".hex().upper().encode()"):
        if code.endswith(end):
            return code[: -len(".encode()")]
    return f"{code}.decode()"


def modules_in(code: str) -> list[str]:
    """Returns the modules that an expression needs."""
    return [name for name in ("base64", "hashlib", "hmac", "bcrypt") if f"{name}." in code]


def element_code(
    template: Template, parent: str = "", name: str = "root", taken: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yields lines that make an element in the variable `name`, as a child of the variable `parent` if there is one.
    `taken` are variables that are in use. Lines that are not known to be right end with a comment."""
    attributes = "".join(f", {each}={slot.code}" for each, slot in template.attributes.items() if _is_name(each))
    others = ", ".join(f"{each!r}: {slot.code}" for each, slot in template.attributes.items() if not _is_name(each))
    given = (f", {{{others}}}" if others else "") + attributes
    doubts = [
        template.doubt,
        *(f"{local(each)}: {slot.doubt}" for each, slot in template.attributes.items() if slot.doubt),
    ]
    if parent:
        yield f"{name} = etree.SubElement({parent}, {template.tag!r}{given}){comment_of(doubts)}"
    else:
        namespaces = f", nsmap={dict(template.nsmap)!r}" if template.nsmap else ""
        yield f"{name} = etree.Element({template.tag!r}{given}{namespaces}){comment_of(doubts)}"
    if template.text is not None:
        yield f"{name}.text = {template.text.code}{comment_of([template.text.doubt])}"
    taken = (*taken, name)
    for child in template.children:
        yield from element_code(child, name, _name_of(child, taken), taken)
    if template.units:
        yield from _loop(template.units, name, taken)


def element_expression(template: Template) -> str | None:
    """Returns an expression for an element without children; None for others, and what is not known to be right."""
    is_simple = not template.children and not template.units and all(map(_is_name, template.attributes))
    if not is_simple or "text" in template.attributes or template.nsmap or list(template.doubts()):
        return None
    text = f", {template.text.code}" if template.text is not None else ""
    attributes = "".join(f", {name}={slot.code}" for name, slot in template.attributes.items())
    return f"planta.element({template.tag!r}{text}{attributes})"


def _loop(units: Mapping[str, Template], parent: str, taken: tuple[str, ...]) -> Iterator[str]:
    """Yields lines that make an element for each job."""
    body = list(unit_code(units, parent, taken))
    needs_number = any("number" in line for line in body)
    yield f"for {'number, job in enumerate(self.call.jobs)' if needs_number else 'job in self.call.jobs'}:"
    yield from (f"    {line}" for line in body)


def unit_code(units: Mapping[str, Template], parent: str, taken: tuple[str, ...], name: str = "") -> Iterator[str]:
    """Yields lines that make the element for one `job`."""
    for number, (kind, template) in enumerate(units.items()):
        lines = element_code(template, parent, name or _name_of(template, taken), taken)
        if not kind:
            yield from lines
            return
        yield f"{'el' if number else ''}if job.kind == {kind!r}:"
        yield from (f"    {line}" for line in lines)
    yield "else:"
    yield '    raise UnsupportedCall(f"no job of the kind {job.kind} was recorded")'


def _name_of(template: Template, taken: tuple[str, ...]) -> str:
    """Returns a name for a variable."""
    name = re.sub(r"\W", "_", local(template.tag).lower(), flags=re.ASCII)
    if not name.isidentifier() or keyword.iskeyword(name) or name in (*taken, *_NAMES):
        name = f"part_{len(taken)}"
    return name


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name not in ("_tag", "_parent", "attrib", "nsmap")


def comment_of(doubts: list[str]) -> str:
    told = "; ".join(each for each in doubts if each)
    return f"  # {one_line(told)}" if told else ""


def one_line(text: str) -> str:
    """Returns a text that cannot end a comment."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def literal_of(slot: Slot) -> str | None:
    """Returns the text that is always the same, None for others."""
    if slot.doubt or slot.code[:1] not in "'\"":
        return None
    text: str = literal_eval(slot.code)
    return text
