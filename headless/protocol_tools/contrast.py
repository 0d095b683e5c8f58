"""Compares recordings by how they ended: what the server says in every one of some, and in none of others.

That something comes in every good recording does not prove that it means success: these are candidates, for a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from headless.errors import CONNECTION_ERROR, OK, PARAMETER_ERROR, TIMED_OUT
from headless.protocol_tools.recordings import RecordedCall
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.trees import local, normal, texts_of
from headless.protocol_tools.vocabulary import Feature, Place

# How a call ended.
GOOD = "ended well"
LEFT = "accepted, not waited for"
LATE = "accepted, not ended in time"
FAILED = "failed"
REFUSED = "refused"
WRONG = "a wrong password"
NOT_KNOWN = "not known"
OUTCOMES = (GOOD, LEFT, LATE, FAILED, REFUSED, WRONG, NOT_KNOWN)
ACCEPTED = (GOOD, LEFT, LATE)
RIGHT = (GOOD, LEFT, LATE, FAILED, REFUSED)  # with the right password


def outcome_of(call: RecordedCall) -> str:
    """Returns how the call ended. What the old client returned is believed where it cannot mean two things."""
    if not call.is_password_right:
        return WRONG
    code = call.expected if call.expected is not None else call.status if call.status in (OK, TIMED_OUT) else None
    if code == OK:
        return GOOD if call.timeout else LEFT
    return {TIMED_OUT: LATE, CONNECTION_ERROR: FAILED, PARAMETER_ERROR: REFUSED}.get(code, NOT_KNOWN)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Candidate:
    """Is something that the server says: in `found` of `of` recordings that should have it, and in none that should
    not; or if `is_for_each`, as often as there are jobs, and less often where it should not be. `is_last` says that it
    was in the last message each time, `instead` which other values are at its place where it should not be."""

    feature: Feature
    found: int
    of: int
    is_for_each: bool = False
    is_last: bool = False
    instead: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Returns what speaks for it."""
        parts = [f"in {self.found} of {self.of}"]
        parts += ["once for each job"] * self.is_for_each + ["in the last message"] * self.is_last
        elsewhere = f"; elsewhere {', '.join(map(repr, self.instead))}" if self.instead else ""
        return ", ".join(parts) + elsewhere


class Contrast:
    """Holds the recordings by their outcome, which is noted in each."""

    def __init__(self, facts: Sequence[Facts]) -> None:
        for each in facts:
            each.outcome = outcome_of(each.call)
        ends = [set(each.last) for each in facts if each.outcome == GOOD]
        end = set.intersection(*ends) if ends else set()
        for each in facts:
            if each.outcome == LEFT and end and end <= set(each.last):
                each.outcome = GOOD  # a server so quick that all had ended before the client left
        self.groups: dict[str, list[Facts]] = {outcome: [] for outcome in OUTCOMES}
        for each in facts:
            self.groups[each.outcome].append(each)
        self._texts = {text for group in self.groups.values() for each in group for _, text in texts_of(each.call)}

    def count(self, *outcomes: str) -> int:
        return sum(len(self.groups[outcome]) for outcome in outcomes)

    # What a message may mean

    def accepted(self) -> list[Candidate]:
        return self.candidates(ACCEPTED, (REFUSED, WRONG), instead_of=(REFUSED,))

    def ended(self) -> list[Candidate]:
        return self._of_end((REFUSED, WRONG), ())

    def ended_well(self) -> list[Candidate]:
        return self._of_end((FAILED, REFUSED, WRONG), (FAILED,))

    def _of_end(self, lacking: Sequence[str], instead_of: Sequence[str]) -> list[Candidate]:
        """Returns what is in each call that ended well, and in none that had not ended. A server may be so quick that
        it has said all before a client has left: then only calls with -t can tell."""
        for early in ((LATE,), (LEFT,)) if self.groups[LATE] else ((LEFT,), ()):
            found = self.candidates((GOOD,), (*early, *lacking), instead_of=instead_of)
            if found:
                return found
        return []

    def failed(self) -> list[Candidate]:
        return self.candidates((FAILED,), (GOOD, LEFT, LATE, REFUSED, WRONG), is_all=False, instead_of=(GOOD,))

    def refused(self) -> list[Candidate]:
        return self.candidates((REFUSED,), (GOOD, LEFT, LATE, FAILED), instead_of=ACCEPTED)

    def login_refused(self) -> list[Candidate]:
        return self.candidates((WRONG,), RIGHT, "all", instead_of=RIGHT)

    def login_granted(self) -> list[Candidate]:
        return self.candidates([outcome for outcome in RIGHT if self.groups[outcome]], (WRONG,), "before")

    def candidates(
        self,
        having: Sequence[str],
        lacking: Sequence[str],
        part: str = "after",
        is_all: bool = True,
        instead_of: Sequence[str] = (),
    ) -> list[Candidate]:
        """Returns what is in each recording with the outcomes `having` (or with `is_all` False, in one at least), and
        in none with the outcomes `lacking`, the most general ones. `part` is "after" for what comes after the jobs
        have left, "before" for what comes before, or "all". First come those that have another value in recordings
        with the outcomes `instead_of`, then those in the last message."""
        with_it = [each for outcome in having for each in self.groups[outcome]]
        without = [each for outcome in lacking for each in self.groups[outcome]]
        if not with_it:
            return []
        counts, others = [_part(each, part) for each in with_it], [_part(each, part) for each in without]
        common = set.intersection(*map(set, counts)) if is_all else set.union(*map(set, counts))
        different = {each for each in common if not any(each in other for other in others)}
        kept = {each for each in different if each[1] is None or (each[0], None, None) not in different}
        other_values = [_part(each, part) for outcome in instead_of for each in self.groups[outcome]]
        found = [
            self._candidate(each, with_it, counts, False, other_values)
            for each in kept
            if not _is_container(each, kept)
        ]
        if is_all and any(len(each.call.jobs) > 1 for each in with_it):
            for_each = [each for each in common - different if _is_for_each(each, with_it, counts, without, others)]
            found += [self._candidate(each, with_it, counts, True, other_values) for each in for_each]
        shown = [each for each in found if self._is_shown(each.feature)]
        return sorted(
            shown, key=lambda each: (not each.instead, not each.is_last, each.feature[1] == "", _rank(each.feature))
        )

    def _candidate(
        self,
        feature: Feature,
        with_it: list[Facts],
        counts: list[Counter[Feature]],
        is_for_each: bool,
        others: list[Counter[Feature]],
    ) -> Candidate:
        place, name, _ = feature
        having = [each for each, count in zip(with_it, counts) if feature in count]
        is_last = all(feature in each.last for each in having)
        values = {each[2] for other in others for each in other if name is not None and each[:2] == (place, name)}
        mine = {each[2] for count in counts for each in count if each[:2] == (place, name)}
        instead = sorted(value for value in values - mine if value is not None and not is_secret(name or "", value))
        return Candidate(feature, len(having), len(with_it), is_for_each, is_last, tuple(instead[:4]))

    def _is_shown(self, feature: Feature) -> bool:
        """Returns False for what belongs to one call only, must not be shown, or says nothing."""
        place, name, value = feature
        if name is not None and value is not None:
            is_of_call = any(text in normal(value) for text in self._texts)
            values = place.attributes[name] if name else place.texts
            is_new_each_time = len(values.found) == values.count > 2 or (values.is_many and values.found[value] < 2)
            is_hidden = is_secret(name or place.name, value) or is_of_call or is_new_each_time
            return not is_hidden and pattern_of(feature) != ""
        # What each element has says no more than the element.
        return name is None or (name != "" and place.attributes[name].count < place.elements)


def _part(facts: Facts, part: str) -> Counter[Feature]:
    """Returns what the server has said in this part of a call; that an attribute is there is one feature more."""
    if part == "all" or not (facts.has_jobs_left or facts.call.jobs):
        counts = facts.before + facts.after
    else:
        counts = Counter(facts.before if part == "before" else facts.after)
    for (place, name, value), times in list(counts.items()):
        if name and value is not None:
            counts[place, name, None] += times
    return counts


def _is_for_each(
    feature: Feature,
    with_it: list[Facts],
    counts: list[Counter[Feature]],
    without: list[Facts],
    others: list[Counter[Feature]],
) -> bool:
    """Returns whether it comes as often as there are jobs, but less often without success."""
    is_each = all(count[feature] == len(each.call.jobs) for each, count in zip(with_it, counts))
    return is_each and all(count[feature] < len(each.call.jobs) for each, count in zip(without, others))


def _rank(feature: Feature) -> tuple[int, str, bool, str]:
    place, name, value = feature
    return place.depth, "/".join(place.path), name is not None, f"{name} {value}"


def _is_container(feature: Feature, features: set[Feature]) -> bool:
    """Returns whether it is a root element in which others of the features are."""
    place, name, _ = feature
    return (
        name is None and place.depth == 0 and any(each.depth and each.path[0] == place.name for each, _, _ in features)
    )


def pattern_of(feature: Feature, is_whole: bool = False) -> str:
    """Returns an expression of XPath: from the root's children on, or if it `is_whole`, from the root on. Returns ""
    for what none can say."""
    place, name, value = feature
    path = [local(each) for each in place.path]
    steps = "/".join(path if is_whole or len(path) == 1 else path[1:])
    if name is None:
        return steps
    target = f"@{local(name)}" if name else "normalize-space()"
    if value is None:
        return f"{steps}[{target}]"
    quote = "'" if "'" not in value else '"'
    return "" if quote in value else f"{steps}[{target}={quote}{normal(value)}{quote}]"


def place_name(place: Place) -> str:
    return "/".join(map(local, place.path))
