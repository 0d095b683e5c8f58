"""Puts together what can be found out from a folder of recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from headless.protocol_tools.client_side import ClientSide, client_side
from headless.protocol_tools.contrast import Contrast
from headless.protocol_tools.formulas import Key
from headless.protocol_tools.keep_alives import KeepAlive, keep_alives, only_keep_alives
from headless.protocol_tools.login_search import Login, LoginAnswer, logins_of, probable_proofs, search_login
from headless.protocol_tools.recordings import CLIENT, SERVER, Folder
from headless.protocol_tools.style import Encoding, encoding_of
from headless.protocol_tools.survey import Survey

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
    encodings: dict[str, Encoding]

    @property
    def is_planta(self) -> bool:
        """Returns whether both sides speak the published vocabulary."""
        vocabularies = self.survey.vocabularies
        return all(list(vocabularies[sender].roots) == [PLANTA_ROOT] for sender in (CLIENT, SERVER))

    @property
    def is_framed(self) -> bool:
        return all(answer.transport is not None for answer in self.survey.answers.values())


def explain(folder: Folder, hash_: bytes | None) -> Explained:
    """Returns what the folder says. Raises CommandFailed."""
    survey = Survey(folder)
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
        client=client_side(survey.facts, proof, only_keep_alives(survey.facts, alive)),
        contrast=Contrast(survey.facts),
        encodings={sender: encoding_of(style) for sender, style in survey.styles.items()},
    )
