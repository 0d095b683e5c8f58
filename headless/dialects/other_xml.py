"""Speaks XML with another vocabulary than the published one, in the terms of PLANTA.md: each assumption is the same
attribute or method of `Dialect`.

A message is one element by itself, and patterns begin with its name. Namespaces do not count in patterns.
"""

from __future__ import annotations

from lxml import etree

from headless.dialects import planta
from headless.dialects.planta import LOGGED_IN, SUBMITTED
from headless.dialects.vocabulary import CHALLENGE, JOBS
from headless.dialects.xml_messages import Element, element

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from headless.dialects.xml_messages import Matches


class Dialect(planta.Dialect):
    """Leaves to the class of a site what the messages are."""

    greeted = challenge = granted = accepted = output = ended = asks_person = ""
    ignored = ()
    refused: Mapping[str, str] = {}
    has_jobs_in_login = False  # A10: what grants the login answers the jobs, too

    def login_request(self) -> list[Element]:
        return []

    def ask(self) -> list[Element]:
        """A16: what asks how the jobs are, once they are accepted."""
        return []

    def job_parts(self) -> list[Element]:
        """Returns what starts all jobs."""
        return [part for job in self.call.jobs for part in self._start_of(job)]

    def submit(self) -> None:
        if not self.has_jobs_in_login:
            super().submit()

    def _send(self, elements: list[Element], jobs: int = 0) -> None:
        if self.has_jobs_in_login and self._state < LOGGED_IN:
            # The last message of the login hands them over: the proof, if there is one.
            jobs = len(self.call.jobs) if self._secrets or self.call.login != CHALLENGE else 0
        for number, each in enumerate(elements, 1):
            text = etree.tostring(each, encoding="unicode")
            self.send(self._bytes_of(text, self._sender), self._shown(text), jobs if number == len(elements) else 0)

    def _content_of(self, root: Element) -> Element:
        for each in root.iter():
            each.tag = etree.QName(each).localname
        content = element("content")
        content.append(root)
        return content

    def _take_refusal(self, child: Element, matches: Matches) -> bool:
        if self.has_jobs_in_login and matches(self.refused.get(JOBS, "")):
            self._state = LOGGED_IN
        return super()._take_refusal(child, matches)

    def _take_login(self, child: Element, matches: Matches) -> bool:
        is_taken = super()._take_login(child, matches)
        if self.has_jobs_in_login and self._state == LOGGED_IN:
            self._state, self._submitted = SUBMITTED, len(self.call.jobs)
            return self._take_job(child, matches) or is_taken
        return is_taken

    def _take_acceptance(self) -> None:
        super()._take_acceptance()
        if self._accepted >= len(self.call.jobs) and self.call.waits:
            self._send(self.ask())
