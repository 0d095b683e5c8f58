"""Finds the formula of a login: tries how the values that a client has sent follow from the hash of the password, and
from what was said before. A formula counts only if all recorded logins agree with it.

A formula is Python: the code that is tried is the code that a dialect gets. None of it comes from a recording.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations, product
from types import SimpleNamespace
from typing import NamedTuple, Optional

from headless.dialects.vocabulary import OSUSER
from headless.protocol_tools.documents import Path, normal, values_in
from headless.protocol_tools.recordings import CLIENT
from headless.protocol_tools.secrecy import LEAST_HIDDEN, is_secret
from headless.protocol_tools.survey import Facts

_SEPARATORS = (b"", b":", b"|", b";", b",", b"-", b"_", b"/", b" ", b"\n", b"\0", b"&", b"+", b"#", b"$", b"@", b".")
_USUAL_SEPARATORS = _SEPARATORS[:9]  # of three parts
_LEAST_PROOF = 6  # characters of what may be a proof
_MAX_MESSAGES = 3  # of a login in which a proof is looked for
_LEAST_VALUE = 3  # characters of what may have gone into one
_MAX_VALUES = 16  # that are tried, those that differ between logins first
_MAX_COST = 12  # of bcrypt: each one more takes twice the time
_SALT = re.compile(rb"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{22}")
_DIGESTS = {name: getattr(hashlib, name) for name in ("md5", "sha1", "sha256", "sha512", "sha224", "sha384")}

Key = tuple[str, Path, str]  # who has said a value, path, and attribute or ""
Atom = tuple[str, bytes]  # code for bytes, and what it gives
Attempt = tuple[bytes, str, tuple[str, ...]]  # bytes, and the code that gives them: with parts for each %s
Targets = dict[bytes, list[tuple[Key, str]]]  # what may be found: the value that it is, and the code that makes it

# Code that makes bytes of a text, and of bytes; and code that makes a text of bytes.
_OF_TEXT = (
    "%s.encode()",
    "%s.lower().encode()",
    "%s.upper().encode()",
    "bytes.fromhex(%s)",
    "base64.b64decode(%s, validate=True)",
)
_OF_BYTES = ("%s", "%s.hex().encode()", "%s.hex().upper().encode()")
_TO_TEXT = {
    "%s.decode()": str.encode,
    "%s.hex()": bytes.fromhex,
    "%s.hex().upper()": bytes.fromhex,
    "base64.b64encode(%s).decode()": lambda text: base64.b64decode(text, validate=True),
    'base64.b64encode(%s).rstrip(b"=").decode()': lambda text: base64.b64decode(text + "=" * (-len(text) % 4)),
    "base64.urlsafe_b64encode(%s).decode()": base64.urlsafe_b64decode,
}
_XOR = "bytes(a ^ b for a, b in zip(%s, %s))"


class Formula(NamedTuple):
    """Is code for a text, from `hash_`, from {user}, and from the texts {0}, {1}, ... that were said at the keys."""

    code: str
    keys: tuple[Key, ...]

    def written(self, names: Mapping[Key, str], user: str = "self.call.user") -> str:
        """Returns the code with these expressions for what was said."""
        code = self.code.replace(".digest().hex()", ".hexdigest()")
        return code.format(*(names[key] for key in self.keys), user=user)

    def text(self, hash_: bytes, user: str, values: Mapping[Key, str]) -> str | None:
        """Returns what the formula gives, None if something is missing or of a wrong form."""
        try:
            return str(_evaluate(self.code, hash_, user, [values[key] for key in self.keys]))
        except (ValueError, KeyError):
            return None


def _evaluate(code: str, hash_: bytes, user: str, said: Sequence[str]) -> str | bytes:
    """Raises ValueError."""
    names = {"hash_": hash_, "user": user, "said": said, "bcrypt": SimpleNamespace(hashpw=_hashpw), **_MODULES}
    found: str | bytes = eval(code.format(*(f"said[{number}]" for number in range(len(said))), user="user"), names)
    return found


_MODULES = {"base64": base64, "hashlib": hashlib, "hmac": hmac}


@cache
def _hashpw(data: bytes, salt: bytes) -> bytes:
    """Raises ValueError for what is no salt, or takes too long."""
    import bcrypt

    found = _SALT.fullmatch(salt)
    if found is None or int(found[1]) > _MAX_COST:
        raise ValueError("no salt")
    return bcrypt.hashpw(data, salt)


@dataclass
class Login:
    """Is one recorded login: the values that the client has sent and that may be proofs, each with what was said before
    it, or in the same message."""

    name: str
    user: str
    is_right: bool
    proofs: dict[Key, str] = field(default_factory=dict)
    before: dict[Key, dict[Key, str]] = field(default_factory=dict)

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
    """Says what was found. `formula` makes the value at `key`; `fits` are the logins that it explains, `wrong` those
    with a wrong password that it does not."""

    formula: Optional[Formula] = None
    key: Optional[Key] = None
    tried: int = 0
    fits: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    problem: str = ""


def logins_of(facts: Iterable[Facts]) -> list[Login]:
    """Returns the logins by a challenge, and those of which it is not known how they were."""
    found = []
    for each in facts:
        if each.call.login == OSUSER or not each.kept:
            continue
        login = Login(each.call.label or each.kept[0].connection, each.call.user or "", each.call.is_password_right)
        texts = {normal(text) for text in (each.call.user or "", *(job.text for job in each.call.jobs))}
        said: dict[Key, str] = {}
        for kept in each.kept:
            values = {(kept.sender, path, name): text.strip() for path, name, text in values_in(kept.root)}
            if kept.sender == CLIENT:
                login.add(values, said, texts)
            said.update(values)
        found.append(login)
    return found


def probable_proofs(logins: Sequence[Login]) -> list[Key]:
    """Returns where the client may have proved the password, by what the values are like."""
    found: dict[Key, bool] = {}
    for login in logins:
        for key, text in login.proofs.items():
            is_named = is_secret(key[2] or key[1][-1], "")
            if is_named or (len(text) >= LEAST_HIDDEN and len(_texts(key, logins)) > 1):
                found[key] = is_named
    return sorted(found, key=lambda key: not found[key])


def _texts(key: Key, logins: Iterable[Login]) -> set[str]:
    return {login.proofs[key] for login in logins if key in login.proofs}


def search_login(logins: Sequence[Login], hash_: bytes) -> LoginAnswer:
    """Returns the simplest formula that explains each login with the right password, and none with a wrong one."""
    right = [login for login in logins if login.is_right and login.proofs]
    if not right:
        return LoginAnswer(problem="no login with a challenge and the right password was recorded")
    answer = LoginAnswer()
    for before, targets in _messages(right):
        attempts = _Attempts(before, right, hash_, {len(data) for data in targets})
        for family in attempts.families():
            found: dict[tuple[str, Key], None] = {}
            for data, code, parts in family:
                answer.tried += 1
                for key, form in targets.get(data, ()):
                    found[form % (code % parts), key] = None
            for code, key in found:
                judged = _judged(attempts.formula(code), key, logins, hash_)
                if judged.formula is not None:
                    judged.tried = answer.tried
                    return judged
                answer.problem = judged.problem or answer.problem
    return answer


def _messages(right: Sequence[Login]) -> Iterator[tuple[dict[Key, str], Targets]]:
    """Yields of the first login each message that may hold a proof: what was said up to it, and what a formula for one
    may give."""
    login = right[0]
    groups: dict[int, list[Key]] = {}
    for key, text in login.proofs.items():
        if len(_texts(key, right)) > 1 or len(text) >= LEAST_HIDDEN:
            groups.setdefault(id(login.before[key]), []).append(key)
    for keys in list(groups.values())[:_MAX_MESSAGES]:
        targets: Targets = {}
        for key in keys:
            for data, form in _decoded(login.proofs[key]):
                targets.setdefault(data, []).append((key, form))
        yield login.before[keys[0]], targets


def _decoded(text: str) -> Iterator[tuple[bytes, str]]:
    """Yields what the text may be made of, and how. What looks like hexadecimal digits is that."""
    for form, decode in _TO_TEXT.items():
        with suppress(ValueError, binascii.Error):
            data = decode(text)
            if data and eval(form % "data", {"data": data, **_MODULES}) == text:
                yield data, form
                if ".hex()" in form:
                    return


def _judged(formula: Formula, key: Key, logins: Sequence[Login], hash_: bytes) -> LoginAnswer:
    """Asks every login of the same user whether it agrees."""
    answer = LoginAnswer(key=key)
    user = next(login.user for login in logins if login.is_right and login.proofs)
    misfits: list[str] = []
    for login in logins:
        if login.user != user or key not in login.proofs:
            continue
        values = {other: text for other, text in login.before[key].items() if other != key}
        is_same = formula.text(hash_, login.user, values) == login.proofs[key]
        if login.is_right:
            (answer.fits if is_same else misfits).append(login.name)
        elif is_same:
            answer.problem = f"a formula explains the wrong password of '{login.name}', too: it proves nothing"
        else:
            answer.wrong.append(login.name)
    if misfits:
        answer.problem = f"a formula explains '{answer.fits[0] if answer.fits else ''}', but not '{misfits[0]}'"
    if answer.fits and not answer.problem:
        answer.formula = formula
        if len(_texts(key, (login for login in logins if login.name in answer.fits))) < 2:
            answer.doubts.append("one login alone bears it out: record a second one")
        if not answer.wrong:
            answer.doubts.append("no login with a wrong password was recorded")
        if all(sender == CLIENT for sender, _, _ in formula.keys):
            text = "it depends on nothing that the server sends: what was recorded once can be used again"
            answer.doubts.append(text)
    return answer


class _Attempts:
    """Generates what formulas give for these values of the first login. Of digests only those that have one of these
    lengths."""

    def __init__(self, values: dict[Key, str], right: Sequence[Login], hash_: bytes, lengths: set[int]) -> None:
        self._hash, self._user = hash_, right[0].user
        self._lengths = lengths
        self._algorithms = [(name, make) for name, make in _DIGESTS.items() if make().digest_size in lengths]
        different = {key for key in values if _differs(key, right)}
        possible = [key for key, text in values.items() if len(text) >= _LEAST_VALUE]
        possible.sort(key=lambda key: (key not in different, key[0] == CLIENT, -len(values[key])))
        self._keys_said = possible[:_MAX_VALUES]
        self._texts_said = [values[key] for key in self._keys_said]
        names = [f"{{{number}}}" for number in range(len(self._keys_said))]
        self._values = self._atoms(form % name for name in names for form in _OF_TEXT)
        # Of several values one has to differ, if it is known what does.
        fresh = [name for name, key in zip(names, self._keys_said) if key in different] or names
        self._fresh = self._atoms(form % name for name in fresh for form in _OF_TEXT)
        self._beside = self._atoms(_OF_TEXT[0] % name for name in names)
        self._users = self._atoms(form % "{user}" for form in _OF_TEXT[:3])
        digested = [form % _digest(each, "hash_") for each in _DIGESTS for form in _OF_BYTES]
        self._keys = self._atoms(["hash_", *digested])
        twice = (
            form % _digest(each, inner % _digest(each, "hash_"))
            for each, inner, form in product(_DIGESTS, _OF_BYTES, _OF_BYTES)
        )
        parts = ("hash_[29:]", "hash_[7:]")  # without the salt, without the cost
        of_parts = (form % _digest(each, part) for part in parts for each in _DIGESTS for form in _OF_BYTES)
        in_base64 = (f"base64.b64encode({_digest(each, 'hash_')})" for each in _DIGESTS)
        self._more_keys = self._keys + self._atoms([*twice, *parts, *of_parts, *in_base64])

    def formula(self, code: str) -> Formula:
        """Returns the formula with this code, and the values that it needs."""
        needed = sorted({int(each) for each in re.findall(r"\{(\d+)\}", code)})
        code = re.sub(r"\{(\d+)\}", lambda found: f"{{{needed.index(int(found[1]))}}}", code)
        return Formula(code, tuple(self._keys_said[number] for number in needed))

    def _atoms(self, codes: Iterable[str]) -> list[Atom]:
        """Returns each code with what it gives; those that give the same, once."""
        found: dict[bytes, str] = {}
        for code in codes:
            with suppress(ValueError):
                data = _evaluate(code, self._hash, self._user, self._texts_said)
                assert isinstance(data, bytes)
                if data:
                    found.setdefault(data, code)
        return [(code, data) for data, code in found.items()]

    def families(self) -> Iterator[Iterator[Attempt]]:
        """Yields groups of formulas, the simpler ones first."""
        yield self._alone(self._more_keys)
        yield self._hmacs(self._more_keys, self._values)
        yield self._digests(self._more_keys, self._values)
        keys = self._bcrypts()
        yield self._alone(keys)
        yield self._hmacs(keys, self._values)
        yield self._digests(keys, self._values)
        yield self._joined(self._more_keys, [*self._values, *self._users])
        yield self._xors()
        yield self._triples(self._users)
        yield self._hmacs(self._keys, self._with_another())
        yield self._double_digests(self._keys, self._values)
        yield self._triples(self._beside)

    def _alone(self, keys: list[Atom]) -> Iterator[Attempt]:
        for code, data in keys:
            yield data, "%s", (code,)
            for algorithm, digest in self._algorithms:
                yield digest(data).digest(), _digest(algorithm), (code,)

    def _hmacs(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        for (key, key_data), (value, data) in product(keys, values):
            for algorithm, _ in self._algorithms:
                yield hmac.digest(key_data, data, algorithm), _hmac(algorithm), (key, value)
                yield hmac.digest(data, key_data, algorithm), _hmac(algorithm), (value, key)

    def _digests(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        for data, code, parts in self._joined(keys, values):
            for algorithm, digest in self._algorithms:
                yield digest(data).digest(), _digest(algorithm, code), parts

    def _double_digests(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        """Yields digests of digests, as bytes and in digits, of the same algorithm."""
        for data, code, parts in self._joined(keys, values):
            for algorithm, digest in self._algorithms:
                inner = _digest(algorithm, code)
                once = digest(data)
                digits = once.hexdigest().encode()
                for form, formed in zip(_OF_BYTES, (once.digest(), digits, digits.upper())):
                    yield digest(formed).digest(), _digest(algorithm, form % inner), parts

    def _joined(self, keys: list[Atom], values: list[Atom]) -> Iterator[Attempt]:
        for one, other in ((keys, values), (values, keys)):
            for (first, first_data), (second, second_data) in product(one, other):
                for separator in _SEPARATORS:
                    yield first_data + separator + second_data, _joined(separator, 2), (first, second)

    def _with_another(self) -> list[Atom]:
        """Returns values joined with the user, and with each other."""
        pairs = [(one, other) for one, other in product(self._fresh, [*self._users, *self._beside]) if one != other]
        return [
            (_joined(separator, 2) % (one[0], other[0]), one[1] + separator + other[1])
            for pair in pairs
            for one, other in (pair, pair[::-1])
            for separator in _USUAL_SEPARATORS
        ]

    def _triples(self, others: list[Atom]) -> Iterator[Attempt]:
        for key, value, other in product(self._keys, self._fresh, others):
            for order in permutations((key, value, other)) if other[0] != value[0] else ():
                parts = tuple(code for code, _ in order)
                for separator in _USUAL_SEPARATORS:
                    data = separator.join([data for _, data in order])
                    for algorithm, digest in self._algorithms:
                        yield digest(data).digest(), _digest(algorithm, _joined(separator, 3)), parts

    def _xors(self) -> Iterator[Attempt]:
        for key, key_data in self._more_keys:
            if len(key_data) in self._lengths:
                for value, data in self._masks(key, key_data):
                    if len(key_data) == len(data):
                        yield bytes(a ^ b for a, b in zip(key_data, data)), _XOR, (key, value)

    def _masks(self, key: str, key_data: bytes) -> Iterator[Atom]:
        """Yields what the key may be covered with: a value, or a digest of it, also together with the key."""
        yield from self._values
        for (value, data), (algorithm, digest) in product(self._values, self._algorithms):
            once = digest(key_data).digest()
            yield _digest(algorithm, value), digest(data).digest()
            for other, other_data in ((key, key_data), (_digest(algorithm, key), once)):
                yield _digest(algorithm, f"{value} + {other}"), digest(data + other_data).digest()
                yield _digest(algorithm, f"{other} + {value}"), digest(other_data + data).digest()
                yield _hmac(algorithm) % (other, value), hmac.digest(other_data, data, algorithm)

    def _bcrypts(self) -> list[Atom]:
        """Returns bcrypt hashes with the salts that were received."""
        salts = [code for code, data in self._values if _SALT.fullmatch(data)]
        hexed = [_OF_BYTES[1] % _digest(each, "hash_") for each in list(_DIGESTS)[:4]]
        joined = [code for value, _ in self._values[:4] for code in (f"(hash_ + {value})", f"({value} + hash_)")]
        made = [f"bcrypt.hashpw({each}[:72], {salt})" for salt in salts for each in ["hash_", *hexed, *joined]]
        return self._atoms([*made, *(f"{each}[29:]" for each in made)])


@cache
def _digest(algorithm: str, code: str = "%s") -> str:
    return f"hashlib.{algorithm}({code}).digest()"


@cache
def _hmac(algorithm: str) -> str:
    return f"hmac.new(%s, %s, hashlib.{algorithm}).digest()"


@cache
def _joined(separator: bytes, count: int) -> str:
    return "(" + (f" + {separator!r} + " if separator else " + ").join(["%s"] * count) + ")"


def _differs(key: Key, right: Sequence[Login]) -> bool:
    return len({known[key] for login in right for known in login.before.values() if key in known}) > 1
