"""Walks through the elements of a message."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from lxml.etree import _Element as Element

from headless.protocol_tools.recordings import RecordedCall

USER, OS_USER, JOB, KIND = "the user", "the os-user", "a job's text", "a job's kind"  # texts of a call
_LEAST = 3  # characters of a text that is looked for in others

_MAX_TAGS, _MAX_DEPTH = 6, 3  # of an outline
MAX_VALUES = 2000  # of a message that are looked at

Path = tuple[str, ...]  # names of elements, from the root on


def values_in(root: Element, limit: int = MAX_VALUES) -> list[tuple[Path, str, str]]:
    """Returns path, attribute ("" for the text) and value of what a message says; of a long one, of its beginning."""
    found: list[tuple[Path, str, str]] = []
    _add_values(root, (str(root.tag),), found, limit)
    return found


def _add_values(element: Element, path: Path, found: list[tuple[Path, str, str]], limit: int) -> None:
    for name, value in element.items():
        found.append((path, str(name), str(value)))
    text = element.text
    if text and not text.isspace():
        found.append((path, "", text))
    for child in element:
        if len(found) >= limit:
            break
        tag = child.tag
        if isinstance(tag, str):
            _add_values(child, (*path, tag), found, limit)


def local(name: str) -> str:
    """Returns a name without its namespace."""
    return name.rpartition("}")[2]


def outline(root: Element) -> str:
    """Returns in a few words which message it is: names of elements and attributes."""
    tags: list[str] = []
    _add_tags(root, tags, 0)
    return "".join(tags[:_MAX_TAGS]) + "..." * (len(tags) > _MAX_TAGS)


def _add_tags(element: Element, tags: list[str], depth: int) -> None:
    tags.append(f"<{' '.join([local(str(element.tag)), *(local(str(name)) for name in element.attrib)])}>")
    for child in element:
        if len(tags) > _MAX_TAGS or depth >= _MAX_DEPTH:
            break
        if isinstance(child.tag, str):
            _add_tags(child, tags, depth + 1)


def normal(text: str) -> str:
    """Returns the text with single spaces for white space, which attributes do not keep (XML 1.0, 3.3.3)."""
    return " ".join(text.split())


def texts_of(call: RecordedCall) -> list[tuple[str, str]]:
    """Returns the texts of a call that may be found in messages, each with what it is."""
    found = [(USER, call.user or ""), (OS_USER, call.os_user)]
    for text in dict.fromkeys(normal(job.text) for job in call.jobs):
        found += [(JOB, text), (JOB, b64encode(text.encode()).decode())]
    return [(what, text) for what, text in found if len(text) >= _LEAST]


def holds_job(root: Element, texts: Sequence[str]) -> bool:
    """Returns whether the message has the text of a job in it. `texts` are normal ones."""
    for value in (normal(value) for _, _, value in values_in(root)):
        if any(text == value or (len(text) >= _LEAST and text in value) for text in texts):
            return True
    return False
