"""The example of PORTING.md, divided into methods that a mistake can take the place of."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from headless.dialects import example
from headless.dialects.vocabulary import CHALLENGE, Job


class Dialect(example.Dialect):
    def log_in(self) -> None:
        call = self.call
        head = f"<request client={quoteattr(call.client)} user={quoteattr(self.user())} auth={quoteattr(call.login)}>"
        text = f"{head}{''.join(self.items())}</request>"
        self.send(self.encoded(text), text, self.marked())

    def user(self) -> str:
        return self.call.user or self.call.os_user

    def items(self) -> list[str]:
        jobs = self.call.jobs
        return [f"<item kind={quoteattr(self.kind(job))}>{self.escaped(job.text)}</item>" for job in jobs]

    def kind(self, job: Job) -> str:
        return job.kind

    def escaped(self, text: str) -> str:
        return escape(text)

    def encoded(self, text: str) -> bytes:
        return text.encode() + b"\0"

    def marked(self) -> int:
        return 0 if self.call.login == CHALLENGE else len(self.call.jobs)

    def answer_salt(self, hash_: bytes) -> None:
        answer = self.answer(hash_)
        self.send(self.encoded(f'<answer answer="{answer}"/>'), self.shown_answer(answer), len(self.call.jobs))

    def answer(self, hash_: bytes) -> str:
        return hmac.new(hash_, self._token.encode(), hashlib.sha1).hexdigest()

    def shown_answer(self, _answer: str) -> str:
        return "(not shown)"

    def _take(self, document: Any) -> None:
        is_result = document.tag == "result" and document.get("code") == "200"
        name = "take_result" if is_result else f"take_{document.get('code', 'log')}"
        getattr(self, name, super()._take)(document)

    def take_result(self, document: Any) -> None:
        document.set("code", "200")
        super()._take(document)

    def take_200(self, document: Any) -> None:
        super()._take(document)

    take_401 = take_403 = take_404 = take_500 = take_200
