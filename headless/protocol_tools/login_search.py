"""Finds the formula of a login: tries how the values that a client has sent follow from the hash of the password, and
from what was said before. A formula counts only if all recorded logins agree with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from typing import Any, Optional

from headless.dialects.vocabulary import OSUSER
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.formulas import (
    ALGORITHMS,
    BYTE_FORMS,
    TEXT_FORMS,
    Bcrypt,
    Digest,
    Formed,
    Formula,
    Hash,
    Hmac,
    Joined,
    Key,
    Known,
    Said,
    Xor,
    xor,
)
from headless.protocol_tools.recordings import CLIENT
from headless.protocol_tools.secrecy import is_secret
from headless.protocol_tools.survey import Facts
from headless.protocol_tools.trees import normal, values_in

_SEPARATORS = (b"", b":", b"|", b";", b",", b"-", b"_", b"/", b" ", b"\n", b"\0", b"&", b"+", b"#", b"$", b"@", b".")
_USUAL_SEPARATORS = _SEPARATORS[:9]  # of three parts
_LEAST_PROOF = 6  # characters of what may be a proof
_PROBABLE_PROOF = 16  # characters of what may be one although it does not differ between logins
_MAX_MESSAGES = 3  # of a login in which a proof is looked for
_LEAST_VALUE = 3  # characters of what may have gone into one
_MAX_VALUES = 16  # that are tried, those that differ between logins first
_MAX_COST = 12  # of bcrypt: each one more takes twice the time
_SALT = re.compile(r"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{22}\Z")

_DIGESTS = {name: getattr(hashlib, name) for name in ALGORITHMS}

Atom = tuple[Formula, bytes]  # a formula, and what it gives
Targets = dict[bytes, list[tuple[Key, str]]]  # what may be found: the value that it is, and in which form
Attempt = tuple[bytes, Callable[..., Formula], tuple[Any, ...]]  # what a formula gives, and what makes it


@dataclass
class Login:
    """Is one recorded login: the values that the client has sent and that may be proofs, each with what was said before
    it, or in the same message."""

    name: str
    user: str
    is_right: bool
    proofs: dict[Key, str] = field(default_factory=dict)
    before: dict[Key, dict[Key, str]] = field(default_factory=dict)

    def known(self, key: Key, hash_: bytes) -> Known:
        return Known(hash_, self.user, {other: text for other, text in self.before[key].items() if other != key})

    def add(self, values: dict[Key, str], said: dict[Key, str], texts: set[str]) -> None:
        """Takes a message of the client. `texts` are those of the call, which prove nothing."""
        before = {**said, **values}
        for key, text in values.items():
            is_new = key not in self.proofs and text not in said.values() and normal(text) not in texts
            if is_new and len(text) >= _LEAST_PROOF and not any(each.isspace() for each in text):
                self.proofs[key] = text
                self.before[key] = before


@dataclass
class LoginAnswer:
    """Says what was found. `formula` makes the value at `key`; `fits` are the logins that it explains, `misfits` those
    with the right password that it does not. `same` are formulas that no recorded login tells from it."""

    formula: Optional[Formula] = None
    key: Optional[Key] = None
    tried: int = 0
    fits: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    same: list[Formula] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    problem: str = ""


def logins_of(facts: Iterable[Facts]) -> list[Login]:
    """Returns the logins by a challenge, and those of which it is not known how they were."""
    found = []
    for each in facts:
        if each.call.login == OSUSER or not each.kept:
            continue
        login = Login(each.call.label or min(each.kept), each.call.user or "", each.call.is_password_right)
        texts = {normal(text) for text in (each.call.user or "", *(job.text for job in each.call.jobs))}
        said: dict[Key, str] = {}
        for message in (message for messages in each.kept.values() for message in messages):
            spoken = values_in(parse_leniently(message.data))
            values = {(message.sender, path, name): text.strip() for path, name, text in spoken}
            if message.sender == CLIENT:
                login.add(values, said, texts)
            said.update(values)
        found.append(login)
    return found


def search_login(logins: Sequence[Login], hash_: bytes) -> LoginAnswer:
    """Returns the simplest formula that explains each login with the right password, and none with a wrong one."""
    right = [login for login in logins if login.is_right and login.proofs]
    if not right:
        return LoginAnswer(problem="no login with a challenge and the right password was recorded")
    answer = LoginAnswer()
    for before, targets in _messages(right):
        attempts = _Attempts(before, right, hash_, {len(data) for data in targets})
        for family in attempts.families():
            found: list[tuple[Formula, Key]] = []
            for data, make, arguments in family:
                answer.tried += 1
                for key, form in targets.get(data, ()):
                    made = make(*arguments)
                    found.append((made if form == "raw" else Formed(form, made), key))
            judged = [_judged(formula, key, logins, hash_) for formula, key in dict.fromkeys(found)]
            good = [each for each in judged if each.formula is not None]
            if good:
                best = good[0]
                best.tried = answer.tried
                best.same += [each.formula for each in good[1:] if each.formula and each.key == best.key]
                _doubt(best, logins)
                return best
            answer.problem = next((each.problem for each in judged), answer.problem)
    return answer


def _messages(right: Sequence[Login]) -> Iterator[tuple[dict[Key, str], Targets]]:
    """Yields of the first login each message that may hold a proof: what was said up to it, and what a formula for one
    may give."""
    login = right[0]
    groups: dict[int, list[Key]] = {}
    for key, text in login.proofs.items():
        others = {other.proofs[key] for other in right if key in other.proofs}
        if len(others) > 1 or len(text) >= _PROBABLE_PROOF:
            groups.setdefault(id(login.before[key]), []).append(key)
    for keys in list(groups.values())[:_MAX_MESSAGES]:
        yield login.before[keys[0]], _targets({key: login.proofs[key] for key in keys})


def probable_proofs(logins: Sequence[Login]) -> list[Key]:
    """Returns where the client may have proved the password, by what the values are like."""
    found: dict[Key, bool] = {}
    for login in logins:
        for key, text in login.proofs.items():
            texts = {other.proofs[key] for other in logins if key in other.proofs}
            is_named = is_secret(key[2] or key[1][-1], "")
            if is_named or (len(texts) > 1 and len(text) >= _PROBABLE_PROOF):
                found[key] = is_named
    return sorted(found, key=lambda key: not found[key])


def _judged(formula: Formula, key: Key, logins: Sequence[Login], hash_: bytes) -> LoginAnswer:
    """Asks every login whether it agrees."""
    answer = LoginAnswer(key=key)
    user = next(login.user for login in logins if login.is_right and login.proofs)
    for login in logins:
        if login.user != user or key not in login.proofs:
            continue
        try:
            is_same = formula.evaluate(login.known(key, hash_)) == login.proofs[key].encode()
        except ValueError:
            is_same = False
        if not login.is_right and not is_same:
            answer.wrong.append(login.name)
        elif not login.is_right:
            answer.problem = f"a formula explains the wrong password of '{login.name}', too: it proves nothing"
        elif is_same:
            answer.fits.append(login.name)
        else:
            answer.misfits.append(login.name)
    if answer.misfits:
        answer.problem = f"a formula explains '{answer.fits[0] if answer.fits else ''}', but not '{answer.misfits[0]}'"
    if answer.fits and not answer.problem:
        answer.formula = formula
        right = [login.known(key, hash_) for login in logins if login.name in answer.fits and key in login.before]
        answer.same = _same(formula, right)
    return answer


def _same(formula: Formula, known: Sequence[Known]) -> list[Formula]:
    """Returns formulas that take one value of the server, or the user, in another form or from another place, and give
    the same for all these logins."""
    found = []
    keys: list[Optional[Key]] = [None, *(key for key in known[0].values if key[0] != CLIENT)]
    for part in dict.fromkeys(_parts(formula)):
        if not isinstance(part, Said):
            continue
        values = [part.evaluate(each) for each in known]
        is_cased = any(value.lower() != value.upper() for value in values)
        for key in keys:
            for form in TEXT_FORMS if is_cased else ("as it is", "unhexed", "base64 decoded"):
                other = Said(key, form)
                with suppress(ValueError):
                    if other != part and [other.evaluate(each) for each in known] == values:
                        found.append(_replaced(formula, part, other))
    return found


def _parts(formula: Formula) -> Iterator[Formula]:
    yield formula
    for content in vars(formula).values():
        for part in content if isinstance(content, tuple) else (content,):
            if isinstance(part, Formula):
                yield from _parts(part)


def _replaced(formula: Formula, part: Formula, other: Formula) -> Formula:
    if formula == part:
        return other
    changes: dict[str, Any] = {}
    for name, content in vars(formula).items():
        if isinstance(content, Formula):
            changes[name] = _replaced(content, part, other)
        elif name == "parts":
            changes[name] = tuple(_replaced(each, part, other) for each in content)
    return replace(formula, **changes)  # type: ignore[type-var]


def values_of(formula: Formula) -> list[Key]:
    """Returns what was said that the formula needs."""
    return list(dict.fromkeys(part.key for part in _parts(formula) if isinstance(part, Said) and part.key))


def _doubt(answer: LoginAnswer, logins: Sequence[Login]) -> None:
    assert answer.formula is not None
    different = {login.proofs[answer.key] for login in logins if login.name in answer.fits and answer.key}
    if len(different) < 2:
        answer.doubts.append("one login alone bears it out: record a second one")
    if not answer.wrong:
        answer.doubts.append("no login with a wrong password was recorded")
    if not any(sender != CLIENT for sender, _, _ in values_of(answer.formula)):
        answer.doubts.append("it depends on nothing that the server sends: what was recorded once can be used again")


def _targets(proofs: dict[Key, str]) -> Targets:
    """Returns what a formula may give: each proof as it is, and decoded. What looks like hexadecimal digits is that."""
    found: Targets = {}
    for key, text in proofs.items():
        for form, decode in _DECODERS.items():
            try:
                data = decode(text)
            except (ValueError, binascii.Error):
                continue
            if data and BYTE_FORMS[form][0](data) == text.encode():
                found.setdefault(data, []).append((key, form))
                if form in ("hex", "HEX"):
                    break
    return found


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


_DECODERS = {
    "raw": lambda text: text.encode(),
    "hex": bytes.fromhex,
    "HEX": bytes.fromhex,
    "base64": lambda text: base64.b64decode(text, validate=True),
    "base64 without =": lambda text: base64.b64decode(_padded(text), validate=True),
    "base64 for URLs": base64.urlsafe_b64decode,
}


class _Attempts:
    """Generates what formulas give for these values of the first login: bytes, and what makes the formula. Of digests
    only those that have one of these lengths."""

    def __init__(self, values: dict[Key, str], right: Sequence[Login], hash_: bytes, lengths: set[int]) -> None:
        self._known = Known(hash_, right[0].user, values)
        self._lengths = lengths
        self._algorithms = [(name, make) for name, make in _DIGESTS.items() if make().digest_size in lengths]
        ranked = _ranked(values, right)
        self._values = self._atoms(Said(key, form) for key in ranked for form in TEXT_FORMS)
        # Of several values one has to differ, if it is known what does.
        different = [key for key in ranked if _differs(key, right)] or ranked
        self._fresh = self._atoms(Said(key, form) for key in different for form in TEXT_FORMS)
        self._beside = self._atoms(Said(key) for key in ranked)
        self._users = self._atoms(Said(None, form) for form in ("as it is", "lower case", "upper case"))
        whole = Hash()
        forms = ("raw", "hex", "HEX")
        self._keys = self._atoms(
            [whole, *(_formed(form, Digest(each, whole)) for each in ALGORITHMS for form in forms)]
        )
        twice = (
            _formed(form, Digest(each, _formed(inner, Digest(each, whole))))
            for each in ALGORITHMS
            for inner in forms
            for form in forms
        )
        parts = [Hash(29), Hash(7)]
        of_parts = (_formed(form, Digest(each, part)) for part in parts for each in ALGORITHMS for form in forms)
        in_base64 = (Formed("base64", Digest(each, whole)) for each in ALGORITHMS)
        self._more_keys = self._keys + self._atoms([*twice, *parts, *of_parts, *in_base64])

    def _atoms(self, formulas: Iterable[Formula]) -> list[Atom]:
        """Returns each formula with what it gives; those that give the same, once."""
        found: dict[bytes, Formula] = {}
        for formula in formulas:
            with suppress(ValueError):
                found.setdefault(formula.evaluate(self._known), formula)
        return [(formula, data) for data, formula in found.items() if data]

    def families(self) -> Iterator[Iterator[Attempt]]:
        """Yields groups of formulas, the simpler ones first."""
        yield self._alone(self._more_keys)
        yield self._hmacs(self._more_keys, self._values)
        yield self._digests(self._more_keys, self._values)
        keys = self._bcrypts()
        yield self._alone(keys)
        yield self._hmacs(keys, self._values)
        yield self._digests(keys, self._values)
        yield self._plain(self._more_keys, [*self._values, *self._users])
        yield self._xors()
        yield self._triples(self._users)
        yield self._hmacs(self._keys, self._with_another())
        yield self._double_digests(self._keys, self._values)
        yield self._triples(self._beside)

    def _alone(self, keys: list[Atom]) -> Iterator[Attempt]:
        for formula, data in keys:
            yield data, _itself, (formula,)
            for algorithm, digest in self._algorithms:
                yield digest(data).digest(), Digest, (algorithm, formula)

    def _hmacs(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        for key, key_data in keys:
            for value, data in values:
                for algorithm, _ in self._algorithms:
                    yield hmac.digest(key_data, data, algorithm), Hmac, (algorithm, key, value)
                    yield hmac.digest(data, key_data, algorithm), Hmac, (algorithm, value, key)

    def _digests(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        for data, _, (separator, parts) in self._plain(keys, values):
            for algorithm, digest in self._algorithms:
                yield digest(data).digest(), _digest_of, (algorithm, separator, parts)

    def _double_digests(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        """Yields digests of digests, as bytes and in digits, of the same algorithm."""
        for data, _, (separator, parts) in self._plain(keys, values):
            for algorithm, digest in self._algorithms:
                once = digest(data)
                yield digest(once.digest()).digest(), _digest_of_digest, (algorithm, "raw", separator, parts)
                digits = once.hexdigest().encode()
                yield digest(digits).digest(), _digest_of_digest, (algorithm, "hex", separator, parts)
                yield digest(digits.upper()).digest(), _digest_of_digest, (algorithm, "HEX", separator, parts)

    def _plain(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        for one, other in ((keys, values), (values, keys)):
            for first, first_data in one:
                for second, second_data in other:
                    for separator in _SEPARATORS:
                        yield first_data + separator + second_data, Joined, (separator, (first, second))

    def _with_another(self) -> list[Atom]:
        """Returns values joined with the user, and with each other."""
        found: list[Atom] = []
        for value, data in self._fresh:
            for other, other_data in [*self._users, *self._beside]:
                for separator in _USUAL_SEPARATORS if other != value else ():
                    found.append((Joined(separator, (value, other)), data + separator + other_data))
                    found.append((Joined(separator, (other, value)), other_data + separator + data))
        return found

    def _triples(self, others: list[Atom]) -> Iterator[Attempt]:
        for key, value, other in product(self._keys, self._fresh, others):
            for order in permutations((key, value, other)) if other[0] != value[0] else ():
                formulas = tuple(formula for formula, _ in order)
                for separator in _USUAL_SEPARATORS:
                    data = separator.join([data for _, data in order])
                    for algorithm, digest in self._algorithms:
                        yield digest(data).digest(), _digest_of, (algorithm, separator, formulas)

    def _xors(self) -> Iterator[Attempt]:
        for key, key_data in self._more_keys:
            if len(key_data) in self._lengths:
                for value, data in self._masks(key, key_data):
                    if len(key_data) == len(data):
                        yield xor(key_data, data), Xor, (key, value)

    def _masks(self, key: Formula, key_data: bytes) -> Iterator[Atom]:
        """Yields what the key may be covered with: a value, or a digest of it, also together with the key."""
        yield from self._values
        for value, data in self._values:
            for algorithm, digest in self._algorithms:
                once = digest(key_data).digest()
                yield Digest(algorithm, value), digest(data).digest()
                for other, other_data in ((key, key_data), (Digest(algorithm, key), once)):
                    yield Digest(algorithm, Joined(b"", (value, other))), digest(data + other_data).digest()
                    yield Digest(algorithm, Joined(b"", (other, value))), digest(other_data + data).digest()
                    yield Hmac(algorithm, other, value), hmac.digest(other_data, data, algorithm)

    def _bcrypts(self) -> list[Atom]:
        """Returns bcrypt hashes with the salts that were received."""
        salts = [formula for formula, data in self._values if isinstance(formula, Said) and _is_salt(data)]
        hexed = [Formed("hex", Digest(each, Hash())) for each in ALGORITHMS[:4]]
        joined = [Joined(b"", pair) for value, _ in self._values[:4] for pair in ((Hash(), value), (value, Hash()))]
        made = [Bcrypt(each, salt) for salt in salts for each in [Hash(), *hexed, *joined]]
        return self._atoms([*made, *(replace(each, start=29) for each in made)])


def _itself(formula: Formula) -> Formula:
    return formula


def _formed(form: str, formula: Formula) -> Formula:
    return formula if form == "raw" else Formed(form, formula)


def _digest_of(algorithm: str, separator: bytes, parts: tuple[Formula, ...]) -> Formula:
    return Digest(algorithm, Joined(separator, parts))


def _digest_of_digest(algorithm: str, form: str, separator: bytes, parts: tuple[Formula, ...]) -> Formula:
    return Digest(algorithm, _formed(form, _digest_of(algorithm, separator, parts)))


def _ranked(values: dict[Key, str], right: Sequence[Login]) -> list[Key]:
    """Returns the keys of values that may have gone into a proof, those that differ between logins first."""
    possible = [key for key, text in values.items() if len(text) >= _LEAST_VALUE]
    ranked = sorted(possible, key=lambda key: (not _differs(key, right), key[0] == CLIENT, -len(values[key])))
    return ranked[:_MAX_VALUES]


def _differs(key: Key, right: Sequence[Login]) -> bool:
    return len({known[key] for login in right for known in login.before.values() if key in known}) > 1


def _is_salt(data: bytes) -> bool:
    found = _SALT.match(data.decode("latin-1"))
    return found is not None and int(found[1]) <= _MAX_COST
