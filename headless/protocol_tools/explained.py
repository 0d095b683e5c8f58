"""Puts together what can be found out from a folder of recordings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from headless.dialects.bcrypt_hash import check_salt
from headless.dialects.vocabulary import CHALLENGE
from headless.protocol_tools.client_side import ACCEPTANCE, NOTHING, RESULT, ClientSide, client_side
from headless.protocol_tools.contrast import LATE, Contrast
from headless.protocol_tools.documents import parse_leniently
from headless.protocol_tools.formulas import Key
from headless.protocol_tools.keep_alives import KeepAlive, keep_alives, only_keep_alives
from headless.protocol_tools.login_search import Login, LoginAnswer, logins_of, probable_proofs, search_login
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder
from headless.protocol_tools.server_side import Kinds
from headless.protocol_tools.style import Encoding, encoding_of
from headless.protocol_tools.survey import Survey
from headless.protocol_tools.vocabulary import Place

_LONG = 1.0  # seconds that pass between an acceptance and a result, and not between a message and its answer
PLANTA_ROOT = "Message"  # of the vendor's published vocabulary


@dataclass
class Explained:
    """Holds it. `login` is None without the hash of the password."""

    survey: Survey
    keep_alives: list[KeepAlive]
    logins: list[Login]
    login: Optional[LoginAnswer]
    proof: Optional[Key]
    client: ClientSide
    contrast: Contrast
    kinds: Kinds
    encodings: dict[str, Encoding]

    @property
    def is_planta(self) -> bool:
        """Returns whether both sides speak the published vocabulary."""
        vocabularies = self.survey.vocabularies
        return all(list(vocabularies[sender].roots) == [PLANTA_ROOT] for sender in (CLIENT, SERVER))

    def may_prove(self, place: Place, name: str) -> bool:
        """Returns whether what the client says there is other for each password."""
        right, wrong = self._said[True].get((place, name), set()), self._said[False].get((place, name), set())
        return bool(right and wrong) and right.isdisjoint(wrong)

    @cached_property
    def _said(self) -> dict[bool, dict[tuple[Place, str | None], set[str | None]]]:
        """Holds what the client has said in logins with a challenge, with the right password (True) and a wrong one."""
        found: dict[bool, dict[tuple[Place, str | None], set[str | None]]] = {True: {}, False: {}}
        for facts in self.survey.facts:
            if facts.call.login == CHALLENGE:
                for place, name, value in facts.said:
                    found[facts.call.is_password_right].setdefault((place, name), set()).add(value)
        return found

    @property
    def salts(self) -> list[Key]:
        """Returns where the server named the salt of the user's hash: one that is the same in each login."""
        found: dict[Key, set[str]] = {}
        for login in (each for each in self.logins if each.is_right):
            for before in login.before.values():
                for key, text in before.items():
                    if key[0] == SERVER and is_salt(text):
                        found.setdefault(key, set()).add(text)
        return [key for key, texts in found.items() if len(texts) == 1 and len(self.logins) > 1]

    @property
    def next_job_waits_for(self) -> str:
        """Returns NOTHING, ACCEPTANCE or RESULT; "" if that is not known.

        The client did not wait for a result if only such messages came before the next job as come when nothing has
        ended. It did if the first of them came long before, and the last one at once before it."""
        jobs = self.client.next_jobs
        if not jobs:
            return ""
        if any(not sent.seen for sent in jobs):
            return NOTHING
        early = self._labels_after_jobs(LATE)
        if any(set(sent.seen) <= early for sent in jobs):
            return ACCEPTANCE
        is_after_result = any(sent.waited[0] > _LONG > sent.waited[1] for sent in jobs)
        return RESULT if is_after_result else ""

    def _labels_after_jobs(self, *outcomes: str) -> set[str]:
        """Returns the labels of what the server said in calls with these outcomes."""
        found = set()
        for facts in (each for outcome in outcomes for each in self.contrast.groups[outcome]):
            for message in (each for messages in facts.kept.values() for each in messages if each.sender == SERVER):
                found.add(self.kinds.label_of(parse_leniently(message.data)))
        return found

    @property
    def is_framed(self) -> bool:
        return all(answer.transport is not None for answer in self.survey.answers.values())


def explain(folder: Folder, hash_: bytes | None) -> Explained:
    """Returns what the folder says. Raises CommandFailed."""
    survey = Survey(folder)
    contrast = Contrast(survey.facts)
    kinds = Kinds(survey.facts, survey.vocabularies[SERVER], contrast)
    alive = keep_alives(survey.silences)
    logins = logins_of(survey.facts)
    login = search_login(logins, hash_) if hash_ is not None else None
    proof = login.key if login is not None and login.key is not None else next(iter(probable_proofs(logins)), None)
    return Explained(
        survey=survey,
        keep_alives=alive,
        logins=logins,
        login=login,
        proof=proof,
        client=client_side(survey.facts, proof, only_keep_alives(survey.facts, alive), kinds.label_of),
        contrast=contrast,
        kinds=kinds,
        encodings={sender: encoding_of(style) for sender, style in survey.styles.items()},
    )


def is_salt(text: str) -> bool:
    """Returns whether it is the salt of a bcrypt hash that a password file can have."""
    try:
        check_salt(text)
    except ValueError:
        return False
    return True
