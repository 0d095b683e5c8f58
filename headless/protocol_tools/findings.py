"""Puts together what can be found out from a folder of recordings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple, Optional

from lxml import etree
from lxml.etree import _Element as Element

from headless.dialects import other_xml, planta
from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.client_side import ClientSide, Sent, client_side
from headless.protocol_tools.contrast import Candidate, Contrast, is_meant, telling_pattern
from headless.protocol_tools.documents import Encoding, Path, outline
from headless.protocol_tools.login_search import Key, Login, LoginAnswer, logins_of, probable_proofs, search_login
from headless.protocol_tools.recordings import SERVER, Folder
from headless.protocol_tools.secrecy import follows_password
from headless.protocol_tools.survey import Facts, KeepAlive, Survey, keep_alives

_MAX_PARTS = 5000  # of messages that patterns are compared with
_MAX_PATTERNS = 6
_FEW = 0.2  # of the messages may be missing, for some recordings are cut


class Heartbeat(NamedTuple):
    """Is the keep-alive of the server: its pattern, its seconds if they are known, and code for the answer."""

    pattern: str = ""
    seconds: Optional[int] = None
    answer: str = ""


@dataclass
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

    def may_prove(self, path: Path, name: str) -> bool:
        """Returns whether what the client says there is other for each password."""
        texts: dict[bool, set[str | None]] = {True: set(), False: set()}
        for facts in self.survey.facts:
            if facts.call.login == CHALLENGE:
                texts[facts.call.is_password_right].update(each[2] for each in facts.said if each[:2] == (path, name))
        return follows_password(texts[True] - {None}, texts[False] - {None})

    # Patterns

    def pattern_for(self, parts: Sequence[Element]) -> str:
        """Returns a pattern that means these parts, and no others that the server has sent, "" if there is none."""
        for key in (etree.tostring, outline):
            known = set(map(key, parts))
            others = (each for each in self.said(self.survey.facts) if key(each) not in known)
            pattern = telling_pattern(parts, others)
            if pattern:
                return pattern
        return ""

    def patterns(self, parts: Iterable[Element]) -> list[str]:
        """Returns patterns that mean these parts, and no others."""
        groups: dict[str, list[Element]] = {}
        for part in parts:
            groups.setdefault(outline(part), []).append(part)
        return list(dict.fromkeys(filter(None, map(self.pattern_for, groups.values()))))[:_MAX_PATTERNS]

    def proved(self) -> list[Sent]:
        """Returns the messages that prove the password as an answer."""
        steps = self.client.login.get(CHALLENGE, [])
        return [sent for step in steps for sent in step.sent if sent.proof and sent.before]

    @cached_property
    def challenge(self) -> str:
        """Returns a pattern for what the client answers with the proof."""
        mine = [self.parts(sent.before[-1]) for sent in self.proved()]
        if not mine or all(any(is_meant(self.base.challenge, part) for part in parts) for parts in mine):
            return self.base.challenge
        keys = self.login.formula.keys if self.login is not None and self.login.formula is not None else ()
        names = {key[1][1] for key in keys if self.is_planta and len(key[1]) > 1}
        chosen = [part for parts in mine for part in parts if part.tag in names or len(parts) == 1]
        return self.pattern_for(chosen) or self.base.challenge

    @cached_property
    def granted(self) -> list[str]:
        """Returns patterns for what grants a login, the best first."""
        candidates = self.contrast.accepted() if self.client.has_jobs_in_login else self.contrast.login_granted()
        patterns = [each.pattern for each in candidates if len(each.feature[0]) <= 2]
        return sorted(patterns, key=lambda pattern: (pattern != self.base.granted, not pattern.startswith("Login")))

    @cached_property
    def heartbeat(self) -> Heartbeat:
        """Returns what came again and again after a silence; or what came as often as the client sent, more than once
        in a call, something of the same name."""
        repeated = [step for step in self.client.after if len(step.sent) > step.calls]
        said = list(self.said(self.survey.facts))
        for each in self.keep_alives:
            if each.sender == SERVER:
                pattern = self.pattern_for([part for part in said if self._outline_around(part) == each.kind])
                steps = [step for step in repeated if each.kind in step.causes()]
                code = steps[0].template.code(self.parts(steps[0].template.root)) if steps else ""
                return Heartbeat(pattern, round(each.seconds), code)
        calls = [Counter(map(outline, self.said([each]))) for each in self.survey.facts]
        counts = {kind: sum(call[kind] for call in calls) for call in calls for kind in call if call[kind] > 1}
        for step in repeated:
            parts = self.parts(step.template.root)
            often = [kind for kind, count in counts.items() if abs(count - len(step.sent)) <= _FEW * len(step.sent)]
            pattern = self.pattern_for([part for part in said if part.tag == parts[0].tag and outline(part) in often])
            if pattern:
                return Heartbeat(pattern, None, step.template.code(parts))
        return Heartbeat()

    def _outline_around(self, part: Element) -> str:
        """Returns the outline of the message with this part."""
        parent = part.getparent()
        return outline(part if parent is None else parent)

    # What is explained

    @cached_property
    def results(self) -> list[Candidate]:
        """Returns the candidates for a success; what is assumed to be output is last."""
        tags = self.base.output.split(" | ")
        candidates = self.contrast.ended_well()
        found = [replace(each, is_output=each.pattern.partition("[")[0] in tags) for each in candidates]
        return sorted(found, key=lambda each: each.is_output)

    @cached_property
    def decided(self) -> list[Candidate]:
        """Returns the first candidates for what a person decides."""
        contrast = self.contrast
        firsts = (contrast.accepted()[:1], contrast.ended()[:1], self.results[:1])
        groups = (*firsts, contrast.failed(), contrast.refused(), contrast.login_refused())
        return [each for group in groups for each in group]

    @cached_property
    def _explaining(self) -> list[str]:
        """Returns the patterns of what has a meaning."""
        known = (self.challenge, *self.granted[:1], *(each.pattern for each in self.decided), self.heartbeat.pattern)
        defaults = (self.base.greeted, self.base.output, self.base.ended, self.base.asks_person)
        return [*filter(None, (*defaults, *known))]

    @cached_property
    def tags_with_meaning(self) -> set[str]:
        defaults = (self.base.output, self.base.greeted)
        patterns = " | ".join(each for each in self._explaining if each not in defaults)
        return set(re.findall(r"(?:^|\| )(\w+)", patterns))

    def unmeant(self, parts: Iterable[Element]) -> list[Element]:
        """Returns those to which no assumption gives a meaning."""
        left = [part for part in parts if part.tag not in self.base.ignored]
        return [part for part in left if not any(is_meant(pattern, part) for pattern in self._explaining)]


def explain(folder: Folder, hash_: bytes | None) -> Findings:
    """Returns what the folder says. Raises CommandFailed."""
    survey = Survey(folder)
    is_planta = all(vocabulary.roots == ["Message"] for vocabulary in survey.vocabularies.values())
    logins = logins_of(survey.facts)
    login = search_login(logins, hash_) if hash_ is not None else None
    proof = login.key if login is not None and login.key is not None else next(iter(probable_proofs(logins)), None)
    return Findings(
        survey=survey,
        base=planta.Dialect if is_planta else other_xml.Dialect,
        keep_alives=keep_alives(survey.silences),
        logins=logins,
        login=login,
        proof=proof,
        client=client_side(survey.facts, proof),
        contrast=Contrast(survey.facts, survey.vocabularies[SERVER], int(is_planta)),
        encodings={sender: style.encoding() for sender, style in survey.styles.items()},
    )
