"""Speaks the example protocol of PORTING.md. No server of a real vendor is known to speak it.

A message is a document of XML that ends with a NUL byte. The client's first one has everything in it, jobs included.
"""

from __future__ import annotations

import hashlib
import hmac

from lxml import etree

from headless.dialects import base
from headless.dialects.vocabulary import CHALLENGE, FAILED, JOBS, LOGIN, OK, STDOUT
from headless.errors import RemoteProtocolError, UnsupportedCall

MAX_DOCUMENT = 1024 * 1024  # bytes of a document that has not ended


class Dialect(base.Dialect):
    def __init__(self, call: base.Call) -> None:
        super().__init__(call)
        self._received = b""
        self._token = ""
        self._job = 0  # whose output came last

    # Commands

    def log_in(self) -> None:
        call = self.call
        request = etree.Element("request", client=call.client, user=call.user or call.os_user, auth=call.login)
        for job in call.jobs:
            try:
                etree.SubElement(request, "item", kind=job.kind).text = job.text
            except ValueError:
                raise UnsupportedCall(f"--{job.kind} has a character that XML cannot carry") from None
        # For a challenge the server runs nothing before it has the answer: that part hands over the jobs.
        document = etree.tostring(request, encoding="utf-8")
        self.send(document + b"\0", shown=document.decode(), jobs=0 if call.login == CHALLENGE else len(call.jobs))

    def answer_salt(self, hash_: bytes) -> None:
        answer = hmac.new(hash_, self._token.encode(), hashlib.sha1).hexdigest()
        document = f'<answer answer="{answer}"/>'
        self.send(document.encode() + b"\0", shown='<answer answer="(not shown)"/>', jobs=len(self.call.jobs))

    def submit(self) -> None:
        pass  # the jobs went with the login

    # Bytes in, events out

    def receive(self, data: bytes) -> None:
        *documents, self._received = (self._received + data).split(b"\0")
        for document in documents:
            self.report(base.Received(document.decode("utf-8", "backslashreplace")))
            self._take(_parse(document))
        if len(self._received) > MAX_DOCUMENT:
            raise RemoteProtocolError("a document that is too long")

    def _take(self, document: etree._Element) -> None:
        what, text = (document.tag, document.get("code", "")), document.text or ""
        if what == ("response", "401"):
            self._token = document.get("token", "")
            self.report(base.SaltReceived(document.get("salt")))
        elif what == ("response", "200"):
            self.report(base.LoggedIn(document.get("session", "")))
            self.report(base.Accepted())
        elif what == ("response", "403"):
            self.report(base.Refused(LOGIN, text))
        elif what == ("response", "404"):
            self.report(base.Refused(JOBS, text))
        elif what == ("log", ""):
            self._finish_job(OK)  # each job logs once, in its turn: so the one before has ended well
            self._job += 1
            self.report(base.JobStarted(self._job))
            self.report(base.Output(self._job, STDOUT, text))
        elif what == ("result", "200"):
            self._finish_job(OK)
            self.report(base.Ended(OK))
        elif what == ("result", "500"):
            self._finish_job(FAILED, text)
            self.report(base.Ended(FAILED, text))
        else:
            raise RemoteProtocolError(f"a document that is not known: {document.tag} {document.get('code', '')}")

    def _finish_job(self, status: str, text: str = "") -> None:
        if self._job:
            self.report(base.JobFinished(self._job, status, text))


def _parse(document: bytes) -> etree._Element:
    try:
        return etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise RemoteProtocolError(f"a document that is not XML: {error.msg}") from None
