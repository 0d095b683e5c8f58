"""Speaks the vocabulary that PLANTA has published of its protocol. What was not published is an assumption, A1 to A18
of PLANTA.md: an attribute or a small method of `Dialect`, which the class of a site overrides.

`settled` names the assumptions that the site knows to be right. Those on which a return code would rest have to be, or
the call is refused before anything is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache, partial

from lxml import etree

from headless.dialects import base
from headless.dialects.bcrypt_hash import SALT_LENGTH
from headless.dialects.display import hide_secrets
from headless.dialects.framing import Length, Receiver, Sender, Transport
from headless.dialects.vocabulary import BUSY, CHALLENGE, FAILED, JOBS, LOGIN, MODULE, OK, PY_FILE, STDOUT, Job
from headless.errors import RemoteProtocolError, UnsupportedCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lxml.etree import _Element as Element

    Matches = Callable[[str], bool]  # whether a pattern means the element at hand

ASSUMPTIONS = tuple(f"A{number}" for number in range(1, 19))

# A10: how jobs are submitted.
TOGETHER = "together"  # all in one message, which is accepted as a whole
IN_A_ROW = "in a row"  # each in a message of its own, without waiting; each is accepted
AFTER_ACCEPTANCE = "after acceptance"  # the next one when the one before was accepted
AFTER_RESULT = "after result"  # the next one when the one before has ended

# A14: what a result is of.
SESSION = "session"
JOB = "job"
ORDERLY_END = "an orderly end counts as success"

_text: Any = etree.XPath("normalize-space()")
_attribute_values: Any = etree.XPath("@*")

# How far a connection is, and what an unexpected element contradicts then.
_GREETING, _LOGIN, _PROVED, _LOGGED_IN, _SUBMITTED, _ACCEPTED, _OVER = range(7)
_CONTRADICTED = {_GREETING: "A5", _LOGIN: "A7", _PROVED: "A7", _LOGGED_IN: "A7", _SUBMITTED: "A11", _ACCEPTED: "A13"}
_CONTRADICTED[_OVER] = "A13"


class Dialect(base.Dialect):
    """Raises UnsupportedCall for a call whose code would rest on an assumption that is not settled.

    A pattern is an expression of XPath 1.0 for elements, from the root `Message` on; "" means none. Where several
    patterns mean one element, each of them counts.
    """

    settled: tuple[str, ...] = ()

    # A1, A3: how messages become bytes.
    to_server = to_client = Transport(Length(4, "big"))
    # A2
    encoding = "UTF-8"
    prolog = '<?xml version="1.0" encoding="UTF-8"?>'
    # A4 is -s tls://HOST:PORT, or not.
    # A5
    server_speaks_first = False
    # A6
    program: Mapping[str, str] = {"vendor": "PLANTA", "name": "PLANTA Headless Client", "protocol_version": "4"}
    utc_offset = "0"
    locale: Mapping[str, str] = {"lang": "DE", "country": "DE"}
    greeted = "Env"  # answers the handshake, and proves nothing
    # A7
    is_login_in_handshake = True  # else it follows when the handshake was answered
    challenge = "Login[@challenge]"
    granted = "Env"
    # A10
    order = TOGETHER
    # A11
    accepted = "ModC | Cmd"
    # A12
    output = "StatusBar | EvLogMsg"
    # A13
    ended = "Shutdown[@action='exit']"
    # A14
    result_of = SESSION
    ok = ""
    failed = ""
    no_result = ""  # or ORDERLY_END
    # A15: reason -> pattern
    refused: Mapping[str, str] = {LOGIN: "Login[@action='cancel']", JOBS: "", BUSY: ""}
    # A16: the server's, and after how many seconds this side sends one (`heartbeat_seconds`)
    server_heartbeat = ""
    heartbeat: int | None = None  # seconds
    # A17
    ignored: tuple[str, ...] = (
        "Cal",
        "Color",
        "GlobalMenu",
        "GraphicEditorSettings",
        "Logo",
        "Skin",
        "SplashScreen",
        "StringConstants",
        "Sym",
        "UserMenu",
    )
    # A18
    asks_person = "MessageBox | PasswordChange[@mandatory='true']"

    def __init__(self, call: base.Call) -> None:
        super().__init__(call)
        self._check_settled()
        self._sender, self._receiver = Sender(self.to_server), Receiver(self.to_client)
        self._state = _GREETING
        self._is_login_due = not self.is_login_in_handshake
        self._challenge = ""
        self._secrets: list[str] = []
        self._submitted = self._accepted = self._finished = 0  # jobs
        self._failure: str | None = None
        self._has_result = False

    @classmethod
    def unsettled(cls) -> tuple[str, ...]:
        return tuple(number for number in ASSUMPTIONS if number not in cls.settled)

    @classmethod
    def remark(cls) -> str:
        remarks = [f"not settled: {', '.join(cls.unsettled())}"] if cls.unsettled() else []
        return "; ".join([*remarks, *([f"A14: {cls.no_result}"] if cls.no_result else [])])

    # What a site's class may override, besides the attributes

    def handshake(self) -> list[Element]:
        """A6: what the first message holds."""
        env = element("Env")
        env.append(element("Program", version=self.call.client, **self.program))
        env.append(element("TimeZone", utc_offset=self.utc_offset))
        env.append(element("Locale", **self.locale))
        if self.call.login != CHALLENGE:
            env.append(element("OSuser", name=self.call.os_user))
        return [env]

    def login_request(self) -> list[Element]:
        """A7: what asks for the login, in the handshake or after it."""
        return [element("Login", user=self.call.user)] if self.call.user else []

    def salt_in(self, challenge: Element) -> str | None:
        """A7: the salt of the user's bcrypt hash (29 characters) in the message with the challenge, if there is one."""
        salt = challenge.get("salt", "")
        return salt if len(salt) == SALT_LENGTH else None

    def challenge_in(self, challenge: Element) -> str:
        """A7: what the proof answers."""
        return challenge.get("challenge", "")

    def response(self, hash_: bytes, challenge: str) -> str:
        """A8: the proof of the password."""
        return hmac.new(hash_, challenge.encode(), hashlib.sha256).hexdigest()

    def login_response(self, response: str) -> list[Element]:
        """A7: what carries the proof."""
        return [element("Login", user=self.call.user, response=response)]

    def start_of(self, job: Job) -> list[Element]:
        """A9: what starts a job."""
        if job.kind == MODULE:
            return [element("ModC", id=job.text)]
        if job.kind == PY_FILE:
            return [element("ExecPythonScript", file=job.text)]
        return [element("ExecPythonScript", text=job.text)]

    def heartbeat_message(self) -> list[Element]:
        """A16: what says that this side still runs."""
        return []

    def answer_heartbeat(self) -> list[Element] | None:
        """A16: what answers the keep-alive of the server; None if nothing does."""
        return None

    def goodbye(self) -> list[Element] | None:
        """A13: what this side says before it leaves jobs that go on; None if nothing."""
        return None

    def text_of(self, found: Element) -> str:
        """A12, A15, A18: what people are shown of an element: its text, or else its attributes."""
        return _text(found) or " ".join(_attribute_values(found))

    # Commands

    def log_in(self) -> None:
        if not self.server_speaks_first:
            self._greet()

    def answer_salt(self, hash_: bytes) -> None:
        response = self.response(hash_, self._challenge)
        self._secrets += [hash_.decode("ascii", "replace"), response]
        self._send(self.login_response(response))
        self._state = _PROVED

    def submit(self) -> None:
        self._state = _SUBMITTED
        if self.order == TOGETHER:
            self._send([part for job in self.call.jobs for part in self._start_of(job)], len(self.call.jobs))
            self._submitted = len(self.call.jobs)
        else:
            for _ in self.call.jobs if self.order == IN_A_ROW else self.call.jobs[:1]:
                self._submit_next()

    def send_heartbeat(self) -> None:
        self._send(self.heartbeat_message())

    def leave(self) -> None:
        message = self.goodbye()
        if message is not None:
            self._send(message)

    def _greet(self) -> None:
        self._state = _LOGIN
        self._send([*self.handshake(), *(self.login_request() if self.is_login_in_handshake else [])])

    def _submit_next(self) -> None:
        job = self.call.jobs[self._submitted]
        self._submitted += 1
        self._send(self._start_of(job), 1)

    def _start_of(self, job: Job) -> list[Element]:
        try:
            return self.start_of(job)
        except ValueError:
            raise UnsupportedCall(f"--{job.kind} has a character that XML cannot carry") from None

    def _send(self, elements: list[Element], jobs: int = 0) -> None:
        root = etree.Element("Message")
        root.extend(elements)
        content: Any = etree.tostring(root, encoding=self.encoding, xml_declaration=False)
        try:
            data = self._sender.bytes_of(self.prolog.encode(self.encoding) + content)
        except ValueError as error:
            raise UnsupportedCall(str(error)) from None
        self.send(data, self._shown(etree.tostring(root, encoding="unicode")), jobs)

    def _shown(self, text: str) -> str:
        return hide_secrets(text, self._secrets)

    # What the server sends

    def receive(self, data: bytes) -> None:
        self._receiver.receive(data)
        while (message := self._receiver.next_message()) is not None:
            root = self._parse(message)
            self.report(base.Received(self._shown(etree.tostring(root, encoding="unicode"))))
            found = _Found(root)
            for child in found.children:
                self._take(child, partial(found.means, child))
            if self._state == _GREETING:
                self._greet()
        if self._state == _GREETING and self.to_client.beginning and self._receiver.has_begun:
            self._greet()

    def _parse(self, message: bytes) -> Element:
        is_declared = message.lstrip()[:5] == b"<?xml" and b"encoding" in message[:128]
        encoding = None if is_declared else self.encoding
        parser = etree.XMLParser(
            encoding=encoding, resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
        )
        try:
            root = etree.fromstring(message, parser)
        except (etree.XMLSyntaxError, LookupError) as error:
            raise RemoteProtocolError(f"a message that is not XML in {self.encoding} (A2): {error}") from None
        if root.tag != "Message" or root.getroottree().docinfo.internalDTD is not None:
            raise RemoteProtocolError(f"a document <{root.tag}> where the protocol has <Message>")
        return root

    def _take(self, child: Element, matches: Matches) -> None:
        """Reports what the element means. Raises RemoteProtocolError if that is nothing, or not allowed now."""
        if self._take_refusal(child, matches):
            return
        if matches(self.asks_person):
            raise RemoteProtocolError(f"the server asks a person (A18): {self._shown(self.text_of(child))}")
        if matches(self.server_heartbeat):
            answer = self.answer_heartbeat()
            if answer is not None:
                self._send(answer)
            return
        is_taken = self._take_login(child, matches) if self._state < _LOGGED_IN else self._take_job(child, matches)
        if not is_taken and child.tag not in self.ignored:
            raise self._contradiction(child)

    def _take_refusal(self, child: Element, matches: Matches) -> bool:
        reason = LOGIN if self._state < _LOGGED_IN else JOBS
        for each in (reason, BUSY):
            if matches(self.refused.get(each, "")):
                self._state = _OVER
                self.report(base.Refused(each, self._shown(self.text_of(child))))
                return True
        return False

    def _take_login(self, child: Element, matches: Matches) -> bool:
        is_challenge = self.call.login == CHALLENGE
        if self._state in (_GREETING, _LOGIN) and is_challenge and matches(self.challenge):
            self._challenge = self.challenge_in(child)
            self.report(base.SaltReceived(self.salt_in(child)))
            return True
        is_grantable = self._state == (_PROVED if is_challenge else _LOGIN) and not self._is_login_due
        if is_grantable and matches(self.granted):
            self._state = _LOGGED_IN
            self.report(base.LoggedIn("", self.heartbeat))
            return True
        if matches(self.greeted):
            if self._state == _LOGIN and self._is_login_due:
                self._is_login_due = False
                self._send(self.login_request())
            return True
        return False

    def _take_job(self, child: Element, matches: Matches) -> bool:
        """Takes what concerns the jobs. One element may mean several things, in this order."""
        taken = [
            self._take_acceptance(child) if matches(self.accepted) and self._accepted < self._submitted else None,
            self._take_output(child) if matches(self.output) else None,
            self._take_result(child, FAILED) if matches(self.failed) else None,
            self._take_result(child, OK) if matches(self.ok) else None,
            self._take_end(child) if matches(self.ended) else None,
        ]
        return any(each is not None for each in taken)

    def _take_acceptance(self, _child: Element) -> bool:
        self._accepted += len(self.call.jobs) if self.order == TOGETHER else 1
        if self._accepted == len(self.call.jobs):
            self._state = _ACCEPTED
            self.report(base.Accepted())
        elif self.order == AFTER_ACCEPTANCE:
            self._submit_next()
        return True

    def _take_output(self, child: Element) -> bool:
        self.report(base.Output(None, STDOUT, self._shown(self.text_of(child)) + "\n"))
        return True

    def _take_result(self, child: Element, status: str) -> bool:
        if self._finished >= self._accepted or self._state == _OVER:
            raise self._contradiction(child)
        text = self._shown(self.text_of(child)) if status == FAILED else ""
        self._failure = self._failure or (text or status if status == FAILED else None)
        self._has_result = True
        if self.result_of == JOB:
            self._finished += 1
            self.report(base.JobFinished(self._finished, status, text))
            if self.order == AFTER_RESULT and self._finished < len(self.call.jobs):
                self._go_on(status, text)
        return True

    def _go_on(self, status: str, text: str) -> None:
        """Submits the next job, unless this one has failed."""
        if status == OK:
            self._submit_next()
        else:
            self._state = _OVER
            self.report(base.Ended(FAILED, text))

    def _take_end(self, child: Element) -> bool:
        if self._state != _ACCEPTED:
            raise self._contradiction(child)
        is_missing = not self._has_result or (self.result_of == JOB and self._finished < len(self.call.jobs))
        if self._failure is None and is_missing and self.no_result != ORDERLY_END:
            raise RemoteProtocolError(f"the server sent {self._start_tag(child)} (A13) and no result that A14 expects")
        self._state = _OVER
        if self._failure is not None:
            self.report(base.Ended(FAILED, self._failure))
        else:
            self.report(base.Ended(OK, has_result=not is_missing))
        return True

    def _contradiction(self, child: Element) -> RemoteProtocolError:
        number = _CONTRADICTED[self._state]
        pattern = {"A5": self.greeted, "A7": f"{self.challenge} | {self.granted}", "A11": self.accepted}
        expected = pattern.get(number, self.ended) or "nothing"
        return RemoteProtocolError(f"the server sent {self._start_tag(child)} where {number} expects {expected}")

    def _start_tag(self, child: Element) -> str:
        bare = etree.Element(child.tag, {str(name): str(value) for name, value in child.items()})
        return self._shown(etree.tostring(bare, encoding="unicode").replace("/>", ">"))

    # What is settled

    def _check_settled(self) -> None:
        """Raises UnsupportedCall if the code of this call would be a guess."""
        call = self.call
        if not call.jobs:
            needed = [number for number in ASSUMPTIONS[:8] if number != "A8" or call.login == CHALLENGE]
        else:
            needed = ["A9", "A11", "A15", *(["A13", "A14"] if call.waits else [])]
        unknown = [number for number in self.settled if number not in ASSUMPTIONS]
        if unknown:
            raise UnsupportedCall(f"settled names {', '.join(map(repr, unknown))}: PLANTA.md has A1 to A18")
        missing = [number for number in needed if number not in self.settled]
        if missing:
            is_one = len(missing) == 1
            named = missing[0] if is_one else f"{', '.join(missing[:-1])} and {missing[-1]}"
            raise UnsupportedCall(f"{named} {'is' if is_one else 'are'} not settled, see PLANTA.md")
        if self.no_result not in ("", ORDERLY_END):
            raise UnsupportedCall(f"no_result has to be {ORDERLY_END!r}, or nothing (A14)")
        if call.jobs and call.waits and not (self.ok or self.no_result):
            raise UnsupportedCall("A14 is settled, but no pattern `ok` says what a success is")
        if self.order == AFTER_RESULT and self.result_of != JOB:
            raise UnsupportedCall(
                "jobs that are sent after the result of the one before need result_of = JOB (A10, A14)"
            )
        for pattern in self._patterns():
            _check_pattern(pattern)

    def _patterns(self) -> list[str]:
        named = [
            self.greeted,
            self.challenge,
            self.granted,
            self.accepted,
            self.output,
            self.ended,
            self.ok,
            self.failed,
        ]
        return [*named, *self.refused.values(), self.server_heartbeat, self.asks_person]


def element(name: str, /, text: str | None = None, **attributes: str | None) -> Element:
    """Returns an element with the attributes that are not None. Raises ValueError for what XML cannot carry."""
    made = etree.Element(name, {key: value for key, value in attributes.items() if value is not None})
    made.text = text
    return made


class _Found:
    """Finds what patterns mean in one message. Each of them is looked for once, however many children there are. A
    message without children is taken for a child."""

    def __init__(self, root: Element) -> None:
        self._root = root
        self.children = list(root) or [root]
        self._meant: dict[str, set[Element]] = {}

    def means(self, child: Element, pattern: str) -> bool:
        """Returns whether the pattern means the child, or something in it."""
        if pattern not in self._meant:
            self._meant[pattern] = {self._child_of(found) for found in _compiled(pattern)(self._root)}
        return child in self._meant[pattern]

    def _child_of(self, found: Element) -> Element:
        for above in (found, *found.iterancestors()):
            if above.getparent() in (None, self._root):
                return above
        return self._root


@cache
def _compiled(pattern: str) -> Any:
    """Returns what finds the elements of a pattern. Raises etree.XPathSyntaxError."""
    return etree.XPath(pattern) if pattern else lambda _root: []


def _check_pattern(pattern: str) -> None:
    """Raises UnsupportedCall for what is not one for elements."""
    try:
        found = _compiled(pattern)(etree.Element("Message"))
    except etree.XPathError as error:
        raise UnsupportedCall(f"{pattern!r} is no expression of XPath: {error}") from None
    if not isinstance(found, list):
        raise UnsupportedCall(f"{pattern!r} does not find elements")
