"""Says what recordings of the vendor's published vocabulary settle of what headless.dialects.planta assumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headless.protocol_tools.client_side import Step
from headless.protocol_tools.code import element_code, element_expression
from headless.protocol_tools.templates import Template

SETTLED, OTHERWISE, OPEN = "settled", "settled, not as assumed", "open"
_NOT_KNOWN_HERE = ("self._said", "self._sent")


@dataclass
class Assumption:
    """Is one of A1 to A18. `code` are lines of a class that override the default, or comments."""

    number: str
    state: str
    evidence: str
    code: list[str] = field(default_factory=list)
    needs: set[str] = field(default_factory=set)  # names that the code uses

    @property
    def is_settled(self) -> bool:
        return self.state != OPEN


def method(signature: str, children: Sequence[Template]) -> list[str]:
    """Returns a method that returns these elements."""
    return [f"def {signature}:", *(f"    {line}" for line in returned(children))]


def returned(children: Sequence[Template]) -> Iterator[str]:
    """Yields lines that return these elements."""
    expressions = []
    for number, child in enumerate(children):
        expression = element_expression(child)
        if expression is None or any(each in expression for each in _NOT_KNOWN_HERE):
            expression = f"part_{number}"
            yield from element_lines(child, expression)
        expressions.append(expression)
    yield f"return [{', '.join(expressions)}]"


def element_lines(template: Template, name: str) -> Iterator[str]:
    """Yields the lines that make an element, with what a dialect does not know marked."""
    for line in element_code(template, "", name):
        is_known = not any(each in line for each in _NOT_KNOWN_HERE)
        yield line if is_known else f"{line}  # nothing here knows it: fill it in"


def told(step: Step) -> str:
    """Returns in a few words what a step sends."""
    children = " ".join(f"<{' '.join([child.tag, *child.attributes])}>" for child in step.template.children)
    return children or f"<{step.template.tag}>"
