"""Compares recordings by how they ended: what the server says in every one of some, and in none of others.

That something comes in every good recording does not prove that it means success: these are candidates, for a person.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

from lxml.etree import _Element as Element

from headless.dialects.xml_messages import element, search
from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, TIMED_OUT
from headless.protocol_tools.documents import local, normal, texts_of
from headless.protocol_tools.recordings import RecordedCall
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.vocabulary import Feature, Vocabulary

# How a call ended.
GOOD = "ended well"
LEFT = "accepted, not waited for"
LATE = "accepted, not ended in time"
FAILED = "failed"
BROKEN = "broken off, without an end that the server reported"
REFUSED = "refused"
WRONG = "a wrong password"
NOT_KNOWN = "not known"
OUTCOMES = (GOOD, LEFT, LATE, FAILED, BROKEN, REFUSED, WRONG, NOT_KNOWN)
ACCEPTED = (GOOD, LEFT, LATE)
RIGHT = (GOOD, LEFT, LATE, FAILED, BROKEN, REFUSED)  # with the right password


def outcome_of(call: RecordedCall) -> str:
    """Returns how the call ended."""
    if not call.is_password_right:
        return WRONG
    if call.code == OK:
        return GOOD if call.timeout else LEFT
    return {TIMED_OUT: LATE, CONNECTION_ERROR: FAILED, PARAMETER_ERROR: REFUSED}.get(call.code, NOT_KNOWN)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Candidate:
    """Is something that the server says: in `found` of `of` recordings that should have it, and in none that should
    not; or if `is_for_each`, as often as there are jobs, and less often where it should not be. `is_last` says that it
    was in the last message each time, `instead` which other values are at its place where it should not be; `is_output`
    that such elements are taken for output."""

    feature: Feature
    pattern: str
    found: int
    of: int
    is_for_each: bool = False
    is_last: bool = False
    instead: tuple[str, ...] = ()
    is_output: bool = False

    @property
    def evidence(self) -> str:
        parts = [f"in {self.found} of {self.of}"]
        parts += ["once for each job"] * self.is_for_each + ["in the last message"] * self.is_last
        elsewhere = f"; elsewhere {', '.join(map(repr, self.instead))}" if self.instead else ""
        output = "; it is output as well (A12): a job that prints, and then fails, has it" * self.is_output
        return ", ".join(parts) + elsewhere + output


class Contrast:
    """Holds the recordings by their outcome. `skipped` names of a path are not in patterns: 1 where all messages have
    the same root element, and patterns begin with its children."""

    def __init__(self, facts: Sequence[Facts], vocabulary: Vocabulary, skipped: int) -> None:
        self.skipped = skipped
        self._vocabulary = vocabulary
        self.groups: dict[str, list[Facts]] = {outcome: [] for outcome in OUTCOMES}
        for each in facts:
            self.groups[outcome_of(each.call)].append(each)
        self._texts = {text for each in facts for _, text in texts_of(each.call)}
        self._set_broken_apart()

    def _set_broken_apart(self) -> None:
        """Takes from the failed ones those which only lack the end: a server that was killed reported no failure."""
        ends = {each.feature for each in self.ended() if each.is_last}
        usual = {feature for each in self.calls(*ACCEPTED) for feature in each.before + each.after}
        for each in self.calls(FAILED) if ends else ():
            new = (feature for feature in each.last.keys() - usual if self._is_shown(feature))
            if not (ends & each.last.keys() or any(new)):
                self.groups[FAILED].remove(each)
                self.groups[BROKEN].append(each)

    def calls(self, *outcomes: str) -> list[Facts]:
        return [each for outcome in outcomes for each in self.groups[outcome]]

    def count(self, *outcomes: str) -> int:
        return len(self.calls(*outcomes))

    # What a message may mean

    def accepted(self) -> list[Candidate]:
        return self._candidates(ACCEPTED, (REFUSED, WRONG), instead_of=(REFUSED,)) if self.groups[REFUSED] else []

    def ended(self) -> list[Candidate]:
        """Returns what ends a session, which may end a refused one as well, rather than what has come before a call had
        ended."""
        strict = self._candidates((GOOD,), (LATE, REFUSED, WRONG)) if self.groups[LATE] else []
        loose = self._candidates((GOOD,), (LATE, WRONG)) if self.groups[LATE] else []
        return strict or [each for each in loose if each.is_last] or self._of_end((REFUSED, WRONG), ())

    def ended_well(self) -> list[Candidate]:
        return self._of_end((FAILED, BROKEN, REFUSED, WRONG), (FAILED,)) if self.groups[FAILED] else []

    def _of_end(self, lacking: Sequence[str], instead_of: Sequence[str]) -> list[Candidate]:
        """Returns what is in each call that ended well, and in none that had not ended. A server may be so quick that
        it has said all before a client has left: then only calls with -t can tell."""
        for early in ((LATE,), (LEFT,)) if self.groups[LATE] else ((LEFT,), ()):
            found = self._candidates((GOOD,), (*early, *lacking), instead_of=instead_of)
            if found:
                return found
        return []

    def failed(self) -> list[Candidate]:
        """Returns what is in failed calls alone. A text with a number, which may be that of a job, is left out where
        something else is in the same calls."""
        found = self._candidates((FAILED,), (GOOD, LEFT, LATE, REFUSED, WRONG), is_all=False, instead_of=(GOOD,))
        calls = {
            each.feature: {number for number, facts in enumerate(self.groups[FAILED]) if each.feature in facts.after}
            for each in found
        }
        numbered = {
            each.feature for each in found if each.feature[1] == "" and re.search("[0-9]", each.feature[2] or "")
        }
        others = [calls[feature] for feature in calls.keys() - numbered]
        return [
            each
            for each in found
            if each.feature not in numbered or not any(calls[each.feature] <= other for other in others)
        ]

    def refused(self) -> list[Candidate]:
        return self._candidates((REFUSED,), (GOOD, LEFT, LATE, FAILED), instead_of=ACCEPTED)

    def login_refused(self) -> list[Candidate]:
        return self._candidates((WRONG,), RIGHT, "all", instead_of=RIGHT)

    def login_granted(self) -> list[Candidate]:
        return self._candidates([outcome for outcome in RIGHT if self.groups[outcome]], (WRONG,), "before")

    def _candidates(
        self,
        having: Sequence[str],
        lacking: Sequence[str],
        part: str = "after",
        is_all: bool = True,
        instead_of: Sequence[str] = (),
    ) -> list[Candidate]:
        """Returns what is in each recording with the outcomes `having` (or with `is_all` False, in one at least), and
        in none with the outcomes `lacking`, the most general ones; of refusals, first those with the value of an
        attribute, which do not mean what was not recorded. `part` is "after" for what comes after the jobs have left,
        "before" for what comes before, or "all". First come those that have another value in recordings
        with the outcomes `instead_of`, then those in the last message; texts of several words, for people, are last."""
        with_it = self.calls(*having)
        if not with_it:
            return []
        counts = [_part(each, part) for each in with_it]
        without = [(each, _part(each, part)) for each in self.calls(*lacking)]
        common = set.intersection(*map(set, counts)) if is_all else set.union(*map(set, counts))
        different = {each for each in common if not any(each in other for _, other in without)}
        kept = {each for each in different if each[1] is None or (each[0], None, None) not in different}
        is_narrow = {*having} <= {REFUSED, WRONG}
        if is_narrow:
            kept |= {each for each in different if each[1] and each[2] is not None}

        def is_for_each(feature: Feature) -> bool:
            """Returns whether it comes as often as there are jobs, but less often without success."""
            is_each = all(count[feature] == len(each.call.jobs) for each, count in zip(with_it, counts))
            return is_each and all(count[feature] < len(each.call.jobs) for each, count in without)

        others = [_part(each, part) for each in self.calls(*instead_of)]
        found = [self._candidate(each, with_it, counts, False, others) for each in kept]
        if is_all and any(len(each.call.jobs) > 1 for each in with_it):
            found += [
                self._candidate(each, with_it, counts, True, others) for each in common - different if is_for_each(each)
            ]
        shown = [each for each in found if each.pattern and self._is_shown(each.feature)]
        valued = {each.feature[:2] for each in shown if each.feature[2] is not None}
        shown = [each for each in shown if each.feature[2] is not None or each.feature[:2] not in valued]
        return sorted(shown, key=lambda each: _rank_of(each, is_narrow))

    def _candidate(
        self,
        feature: Feature,
        with_it: Sequence[Facts],
        counts: Sequence[Counter[Feature]],
        is_for_each: bool,
        others: Iterable[Counter[Feature]],
    ) -> Candidate:
        having = [each for each, count in zip(with_it, counts) if feature in count]
        is_last = all(feature in each.last for each in having)

        def values(parts: Iterable[Counter[Feature]]) -> set[str]:
            found = (each for count in parts for each in count if each[1] is not None and each[:2] == feature[:2])
            return {value for _, name, value in found if value is not None and not is_secret(name or "", value)}

        instead = sorted(values(others) - values(counts))[:4]
        pattern = pattern_of(feature, self.skipped)
        return Candidate(feature, pattern, len(having), len(with_it), is_for_each, is_last, tuple(instead))

    def _is_shown(self, feature: Feature) -> bool:
        """Returns False for what belongs to one call only, must not be shown, or says nothing."""
        path, name, value = feature
        if name is None:
            return True
        values = self._vocabulary.places[path].values[name]
        if value is None:  # what each element has says no more than the element
            return values.count < self._vocabulary.places[path].elements
        is_of_call = any(text in normal(value) for text in self._texts)
        is_new_each_time = len(values.found) == values.count > 2 or (values.is_many and values.found[value] < 2)
        return not (is_of_call or is_new_each_time or is_secret(name or path[-1], value))


def _part(facts: Facts, part: str) -> Counter[Feature]:
    """Returns what the server has said in this part of a call."""
    if part == "all" or not (facts.has_jobs_left or facts.call.jobs):
        return facts.before + facts.after
    return facts.before if part == "before" else facts.after


def _rank_of(candidate: Candidate, is_narrow: bool) -> tuple[bool, bool, bool, bool, tuple[bool, int, str, bool, str]]:
    _, name, value = candidate.feature
    is_for_people = name == "" and " " in normal(value or "")
    is_wide = is_narrow and value is None
    return is_for_people, is_wide, not candidate.instead, not candidate.is_last, _rank(candidate.feature)


def _rank(feature: Feature) -> tuple[bool, int, str, bool, str]:
    path, name, value = feature
    return name == "", len(path), "/".join(path), name is not None, f"{name} {value}"


# Patterns


def pattern_of(feature: Feature, skipped: int) -> str:
    """Returns an expression of XPath, "" for what none can say."""
    path, name, value = feature
    steps = "/".join(local(each) for each in path[skipped:])
    if name is None or not steps:
        return steps
    target = f"@{local(name)}" if name else "normalize-space(text())"
    if value is None:
        return f"{steps}[{target}]"
    quote = "'" if "'" not in value else '"'
    return "" if quote in value else f"{steps}[{target}={quote}{normal(value)}{quote}]"


def telling_pattern(mine: Sequence[Element], others: Iterable[Element]) -> str:
    """Returns the simplest pattern that means all of these elements and none of the others, "" if there is none. One
    that means their names alone has their attributes as well: what is new has to be noticed."""
    common: set[Feature] = set.intersection(*map(_features, mine)) if mine else set()
    for each in others:
        common -= _features(each)
    for path, name, value in sorted(common, key=lambda each: (each[2] is not None, _rank(each))):
        pattern = pattern_of((path, name, value), 0)
        if name is None and len(path) == 1:
            pattern += "".join(
                f"[@{local(str(each))}]" for each in mine[0].attrib if all(each in m.attrib for m in mine)
            )
        if pattern:
            return pattern
    return ""


def is_meant(pattern: str, part: Element) -> bool:
    """Returns whether the pattern means this part of a message."""
    content = element("content")
    content.append(deepcopy(part))
    return any(matches(pattern) for _, matches in search(content))


def _features(part: Element) -> set[Feature]:
    """Returns what tells an element from others."""
    return {feature for feature in Vocabulary().learn([part]) if not is_secret(feature[1] or "", feature[2] or "")}
