"""Puts together what can be found out from a folder of recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Optional

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects import other_xml, planta
from headless.dialects.vocabulary import CHALLENGE
from headless.dialects.xml_messages import element, search
from headless.protocol_tools.client_side import ClientSide, client_side
from headless.protocol_tools.contrast import Contrast, telling_pattern
from headless.protocol_tools.encoding import Encoding
from headless.protocol_tools.keep_alives import KeepAlive, keep_alives
from headless.protocol_tools.login_search import Key, Login, LoginAnswer, logins_of, probable_proofs, search_login
from headless.protocol_tools.recordings import SERVER, Folder
from headless.protocol_tools.survey import Facts, Survey
from headless.protocol_tools.trees import Path, outline

_MAX_PARTS = 5000  # of messages that patterns are compared with


@dataclass(eq=False)
class Findings:
    """Holds it. `login` is None without the hash of the password. `base` is the dialect that fits the vocabulary: the
    one for the published vocabulary if both sides speak it."""

    survey: Survey
    base: type[planta.Dialect]
    keep_alives: list[KeepAlive]
    logins: list[Login]
    login: Optional[LoginAnswer]
    proof: Optional[Key]
    client: ClientSide
    contrast: Contrast
    encodings: dict[str, Encoding]

    @property
    def is_planta(self) -> bool:
        return self.base is planta.Dialect

    def parts(self, root: Element) -> list[Element]:
        """Returns what patterns mean: the children of a message of the published vocabulary; else the message."""
        return [each for each in root if isinstance(each.tag, str)] if self.is_planta else [root]

    def said(self, facts: Iterable[Facts]) -> Iterator[Element]:
        """Yields the parts of the server's messages that were kept of these calls, up to a number."""
        roots = (kept.root for each in facts for kept in each.kept if kept.sender == SERVER)
        yield from islice((part for root in roots for part in self.parts(root)), _MAX_PARTS)

    def pattern_for(self, parts: Sequence[Element]) -> str:
        """Returns a pattern that means these parts, and no others that the server has sent, "" if there is none."""
        for key in (etree.tostring, outline):
            known = set(map(key, parts))
            others = (each for each in self.said(self.survey.facts) if key(each) not in known)
            pattern = telling_pattern(parts, others)
            if pattern:
                return pattern
        return ""

    def may_prove(self, path: Path, name: str) -> bool:
        """Returns whether what the client says there is other for each password."""
        texts: dict[bool, set[str | None]] = {True: set(), False: set()}
        for facts in self.survey.facts:
            if facts.call.login == CHALLENGE:
                texts[facts.call.is_password_right].update(each[2] for each in facts.said if each[:2] == (path, name))
        return all(texts.values()) and texts[True].isdisjoint(texts[False] - {None})


def explain(folder: Folder, hash_: bytes | None) -> Findings:
    """Returns what the folder says. Raises CommandFailed."""
    survey = Survey(folder)
    is_planta = all(vocabulary.roots == ["Message"] for vocabulary in survey.vocabularies.values())
    alive = keep_alives(survey.silences)
    logins = logins_of(survey.facts)
    login = search_login(logins, hash_) if hash_ is not None else None
    proof = login.key if login is not None and login.key is not None else next(iter(probable_proofs(logins)), None)
    return Findings(
        survey=survey,
        base=planta.Dialect if is_planta else other_xml.Dialect,
        keep_alives=alive,
        logins=logins,
        login=login,
        proof=proof,
        client=client_side(survey.facts, proof, alive),
        contrast=Contrast(survey.facts, survey.vocabularies[SERVER], int(is_planta)),
        encodings={sender: style.encoding() for sender, style in survey.styles.items()},
    )


def is_meant(pattern: str, part: Element) -> bool:
    """Returns whether the pattern means this part of a message."""
    content = element("content")
    content.append(deepcopy(part))
    return any(matches(pattern) for _, matches in search(content))
