"""Speaks the vocabulary that PLANTA has published of its protocol. What was not published is an assumption, A1 to A18
of PLANTA.md: an attribute or a small method of `Dialect`, which the class of a site overrides.

`settled` names the assumptions that the site knows to be right. Those on which a return code would rest have to be, or
the call is refused before anything is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque

from lxml import etree

from headless.dialects import base
from headless.dialects.bcrypt_hash import SALT_LENGTH
from headless.dialects.display import hide_secrets
from headless.dialects.framing import Length, Receiver, Sender, Transport
from headless.dialects.vocabulary import BUSY, CHALLENGE, FAILED, JOBS, LOGIN, MODULE, OK, PY_FILE, STDOUT, Job
from headless.dialects.xml_messages import Element, check_pattern, element, parse, search, shorten, start_tag, text_of
from headless.errors import RemoteProtocolError, UnsupportedCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from headless.dialects.xml_messages import Matches

ASSUMPTIONS = tuple(f"A{number}" for number in range(1, 19))

# A10: how jobs are submitted.
TOGETHER = "together"  # all in one message
IN_A_ROW = "in a row"  # each in a message of its own, without waiting
AFTER_ACCEPTANCE = "after acceptance"  # the next one when the one before was accepted
AFTER_RESULT = "after result"  # the next one when the one before has ended
_ORDERS = (TOGETHER, IN_A_ROW, AFTER_ACCEPTANCE, AFTER_RESULT)

# A11, A14: what an acceptance, and what a result is of.
SESSION = "session"
JOB = "job"
ORDERLY_END = "an orderly end counts as success"

_MAX_ANSWERS = 1000  # to keep-alives, that have not left

# How far a connection is, and what an unexpected element contradicts then.
GREETING, LOGGING_IN, PROVED, LOGGED_IN, SUBMITTED, ACCEPTED, OVER = range(7)
_CONTRADICTED = {GREETING: "A5", LOGGING_IN: "A7", PROVED: "A7", LOGGED_IN: "A17", SUBMITTED: "A11", ACCEPTED: "A13"}


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
    server_encoding = ""  # of messages that declare none, if it is not the same
    prolog = '<?xml version="1.0" encoding="{encoding}"?>'
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
    acceptance_of = ""  # or SESSION, JOB; else SESSION where the jobs go together, and JOB where they do not
    # A12
    output = "StatusBar | EvLogMsg"
    # A13
    ended = "Shutdown[@action='exit']"  # where the last result is the end: the pattern of results
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
        *("Cal", "Color", "GlobalMenu", "GraphicEditorSettings", "Logo", "Skin"),
        *("SplashScreen", "StringConstants", "Sym", "UserMenu"),
    )
    # A18
    asks_person = "MessageBox | PasswordChange[@mandatory='true']"

    def __init__(self, call: base.Call) -> None:
        super().__init__(call)
        self._check_settled()
        self._check_attributes()
        self._sender, self._receiver = Sender(self.to_server), Receiver(self.to_client)
        self._state = GREETING
        self._is_login_due = not self.is_login_in_handshake
        self._challenge = ""
        self._login_messages: deque[Element] = deque(maxlen=8)
        self._last_heartbeat: deque[Element] = deque(maxlen=1)
        self._secrets: list[str] = []
        self._starts: list[list[Element]] = []  # of each job
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

    def together(self, starts: list[Element]) -> list[Element]:
        """A9: the message that starts all jobs, from what starts each."""
        return starts

    def go(self) -> list[Element] | None:
        """A9: what lets the jobs run when the server has them all; None if nothing has to."""
        return None

    def heartbeat_message(self) -> list[Element]:
        """A16: what says that this side still runs."""
        return []

    def answer_heartbeat(self) -> list[Element] | None:
        """A16: what answers the keep-alive of the server; None if nothing does."""
        return None

    def goodbye(self) -> list[Element] | None:
        """A13: what this side says before it leaves jobs that go on; None if nothing."""
        return None

    def finish(self) -> list[Element] | None:
        """A13: what this side says when all jobs have ended well, and the server waits for; None if nothing."""
        return None

    def text_of(self, found: Element) -> str:
        """A12, A15, A18: what people are shown of an element: its text, or else its attributes."""
        return text_of(found)

    def said(self, place: str) -> str:
        """Returns what the server has said last during the login, or in its last keep-alive: `Login@challenge` is an
        attribute, `a/b` a text."""
        path, _, name = place.partition("@")
        for root in (*self._last_heartbeat, *reversed(self._login_messages)):
            for found in reversed(root.findall(path)):
                text = found.get(name) if name else found.text
                if text:
                    return text.strip()
        return ""

    # Commands

    def log_in(self) -> None:
        if not self.server_speaks_first:
            self._greet()

    def answer_salt(self, hash_: bytes) -> None:
        response = self.response(hash_, self._challenge)
        self._secrets += [hash_.decode("ascii", "replace"), response]
        self._send(self.login_response(response))
        self._state, self._is_login_due = PROVED, False

    def submit(self) -> None:
        self._state = SUBMITTED
        self._starts = [self._start_of(job) for job in self.call.jobs]
        if self.order == TOGETHER:
            self._submitted = len(self._starts)
            self._send(self.together([part for start in self._starts for part in start]), self._submitted)
            self._say(self.go())
            return
        for start in self._starts:  # what cannot be carried has to be known before the first job has left
            self._bytes_of(_text_with(start), Sender(self.to_server))
        for _ in self._starts if self.order == IN_A_ROW else self._starts[:1]:
            self._submit_next()
        if self.order == IN_A_ROW:
            self._say(self.go())

    def send_heartbeat(self) -> None:
        self._send(self.heartbeat_message())

    def leave(self) -> None:
        self._say(self.goodbye())

    def _greet(self) -> None:
        self._state = LOGGING_IN
        self._send([*self.handshake(), *(self.login_request() if self.is_login_in_handshake else [])])

    def _say(self, message: list[Element] | None) -> None:
        if message is not None:
            self._send(message)

    def _submit_next(self) -> None:
        self._submitted += 1
        self._send(self._starts[self._submitted - 1], 1)

    def _start_of(self, job: Job) -> list[Element]:
        try:
            return self.start_of(job)
        except ValueError:
            try:
                element("text", job.text)
            except ValueError:
                raise UnsupportedCall(f"--{job.kind} has a character that XML cannot carry") from None
            raise  # it is the site's

    def _send(self, elements: list[Element], jobs: int = 0) -> None:
        text = _text_with(elements)
        self.send(self._bytes_of(text, self._sender), self._shown(text), jobs)

    def _bytes_of(self, text: str, sender: Sender) -> bytes:
        document = self.prolog.replace("{encoding}", self.encoding) + text
        try:
            return sender.bytes_of(document.encode(self.encoding, "xmlcharrefreplace"))
        except ValueError as error:
            raise UnsupportedCall(str(error)) from None

    def _shown(self, text: str) -> str:
        return hide_secrets(text, self._secrets)

    # What the server sends

    def receive(self, data: bytes) -> None:
        self._receiver.receive(data)
        while not self._is_lost and (message := self._next_message()) is not None:
            root = self._parse(message)
            if self._state < LOGGED_IN:
                self._login_messages.append(root)
            for child, matches in search(root):
                self._take(root, child, matches)
            if self._state == GREETING:
                self._greet()

    @property
    def _is_lost(self) -> bool:
        """Returns whether it is over, and nothing that comes makes it good or worse."""
        return self._state == OVER and self._failure is not None

    def _next_message(self) -> bytes | None:
        try:
            message = self._receiver.next_message()
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{error} (A1 or A3)") from None
        if self._state == GREETING and self.to_client.beginning and self._receiver.has_begun:
            self._greet()
        return message

    def _parse(self, message: bytes) -> Element:
        try:
            root = parse(message, self.server_encoding or self.encoding)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{error} (A1, A2 or A3)") from None
        if self.call.is_traced and self._state != OVER:  # -v changes no code
            self.report(base.Received(self._shown(etree.tostring(root, encoding="unicode"))))
        return self._content_of(root)

    def _content_of(self, root: Element) -> Element:
        """Returns the element whose children patterns begin with. Raises RemoteProtocolError."""
        if root.tag != "Message":
            raise RemoteProtocolError(f"a document {self._start_tag(root)} where the protocol has <Message>")
        return root

    def _take(self, root: Element, child: Element, matches: Matches) -> None:
        """Reports what the element means. Raises RemoteProtocolError if that is nothing, or not allowed now."""
        if self._is_lost:
            return
        if self._take_refusal(child, matches):
            return
        if matches(self.asks_person):
            raise RemoteProtocolError(f"the server asks a person (A18): {shorten(self._text_of(child))}")
        if matches(self.server_heartbeat):
            self._last_heartbeat.append(root)
            self._answer_heartbeat()
            return
        is_taken = self._take_login(child, matches) if self._state < LOGGED_IN else self._take_job(child, matches)
        if not is_taken and child.tag not in self.ignored:
            raise self._contradiction(child)

    def _answer_heartbeat(self) -> None:
        answer = self.answer_heartbeat()
        if answer is None:
            return
        if len(self._parts) > len(self.call.jobs) + _MAX_ANSWERS:
            raise RemoteProtocolError("the server sends keep-alives (A16) and does not take the answers")
        self._send(answer)

    def _take_refusal(self, child: Element, matches: Matches) -> bool:
        reason = LOGIN if self._state < LOGGED_IN else JOBS
        for each in (reason, BUSY):
            if matches(self.refused.get(each, "")):
                self._state, self._failure = OVER, each
                self.report(base.Refused(each, self._text_of(child)))
                return True
        return False

    def _take_login(self, child: Element, matches: Matches) -> bool:
        is_challenge = self.call.login == CHALLENGE
        if self._state in (GREETING, LOGGING_IN) and is_challenge and matches(self.challenge):
            self._challenge = self.challenge_in(child)
            self.report(base.SaltReceived(self.salt_in(child)))
            return True
        if self._state == LOGGING_IN and self._is_login_due and matches(self.greeted):
            self._is_login_due = False
            request = self.login_request()
            if request:
                self._send(request)
                return True
        is_grantable = self._state == (PROVED if is_challenge else LOGGING_IN) and not self._is_login_due
        if is_grantable and matches(self.granted):
            self._state = LOGGED_IN
            self.report(base.LoggedIn("", self.heartbeat))
            return True
        return matches(self.greeted)

    def _take_job(self, child: Element, matches: Matches) -> bool:
        """Takes what concerns the jobs. One element may mean several things, in this order."""
        if self._state == OVER:
            return False
        is_accepted = self._accepted < self._submitted and matches(self.accepted)
        is_output, is_end = matches(self.output), matches(self.ended)
        status = FAILED if matches(self.failed) else OK if matches(self.ok) else ""
        if is_accepted:
            self._take_acceptance()
        if is_output:
            self.report(base.Output(None, STDOUT, self._text_of(child) + "\n"))
        if status:
            self._take_result(child, status)
        is_last = self.result_of != JOB or self._finished == len(self.call.jobs)
        if is_end and (is_last or not status) and not self._is_lost:
            self._take_end(child)
        return is_accepted or is_output or status != "" or is_end

    def _take_acceptance(self) -> None:
        acceptance_of = self.acceptance_of or (SESSION if self.order == TOGETHER else JOB)
        self._accepted += len(self.call.jobs) if acceptance_of == SESSION else 1
        if self._accepted >= len(self.call.jobs):
            self._state = ACCEPTED
            if self.order in (AFTER_ACCEPTANCE, AFTER_RESULT):
                self._say(self.go())
            self.report(base.Accepted())
        elif self.order == AFTER_ACCEPTANCE:
            self._submit_next()

    def _take_result(self, child: Element, status: str) -> None:
        is_possible = self._accepted > 0
        if self.result_of == JOB:
            is_possible = self._finished < self._accepted
        elif status == OK:
            is_possible = self._state == ACCEPTED
        if not is_possible:
            raise self._contradiction(child, "A14" if self._state == ACCEPTED else "")
        text = self._text_of(child) if status == FAILED else ""
        if status == FAILED and self._failure is None:
            self._failure = text or status
        self._has_result = True
        if self.result_of == JOB:
            self._finished += 1
            self.report(base.JobFinished(self._finished, status, text))
            if self.order == AFTER_RESULT and (status != OK or self._finished < len(self.call.jobs)):
                self._go_on(status, text)
        if self._failure is None and self._finished in (0, len(self.call.jobs)):
            self._say(self.finish())

    def _go_on(self, status: str, text: str) -> None:
        """Submits the next job, unless this one has failed."""
        if status == OK:
            self._submit_next()
        else:
            self._state = OVER
            self.report(base.Ended(FAILED, text))

    def _take_end(self, child: Element) -> None:
        if self._state != ACCEPTED and self._failure is None:
            raise self._contradiction(child)
        is_missing = not self._has_result or (self.result_of == JOB and self._finished < len(self.call.jobs))
        if self._failure is None and is_missing and self.no_result != ORDERLY_END:
            raise RemoteProtocolError(f"the server sent {self._start_tag(child)} (A13) and no result that A14 expects")
        self._state = OVER
        if self._failure is not None:
            self.report(base.Ended(FAILED, self._failure))
        else:
            self.report(base.Ended(OK, has_result=not is_missing))

    def _contradiction(self, child: Element, number: str = "") -> RemoteProtocolError:
        if self._state == OVER:
            return RemoteProtocolError(f"the server sent {self._start_tag(child)} after the end (A13)")
        number = number or _CONTRADICTED[self._state]
        patterns = {
            "A5": [self.greeted],
            "A7": [self.challenge, self.granted] if self.call.login == CHALLENGE else [self.granted],
            "A11": [self.accepted],
            "A13": [self.ended],
        }
        expected = " | ".join(filter(None, patterns.get(number, []))) or "nothing"
        return RemoteProtocolError(f"the server sent {self._start_tag(child)} where {number} expects {expected}")

    def _start_tag(self, child: Element) -> str:
        return shorten(self._shown(start_tag(child)))

    def _text_of(self, child: Element) -> str:
        return self._shown(self.text_of(child))

    # What is settled

    def _check_settled(self) -> None:
        """Raises UnsupportedCall if the code of this call would be a guess."""
        call = self.call
        unknown = [number for number in self.settled if number not in ASSUMPTIONS]
        if unknown:
            raise UnsupportedCall(f"settled names {', '.join(map(repr, unknown))}: PLANTA.md has A1 to A18")
        if not call.jobs:
            needed = {*ASSUMPTIONS[:8]} - ({"A8"} if call.login != CHALLENGE else set())
        else:
            needed = {"A9", "A11", "A15"} | ({"A13", "A14"} if call.waits else set())
        missing = [number for number in ASSUMPTIONS if number in needed and number not in self.settled]
        if missing:
            *others, last = missing
            named = f"{', '.join(others)} and {last} are" if others else f"{last} is"
            raise UnsupportedCall(f"{named} not settled, see PLANTA.md")

    def _check_attributes(self) -> None:
        """Raises UnsupportedCall for what the class of a site has, and what means nothing."""
        has_jobs, waits = bool(self.call.jobs), bool(self.call.jobs) and self.call.waits
        wrong = {
            f"order is {self.order!r}, which is none of A10": self.order not in _ORDERS,
            f"acceptance_of is {self.acceptance_of!r} (A11)": self.acceptance_of not in ("", SESSION, JOB),
            f"result_of is {self.result_of!r} (A14)": self.result_of not in (SESSION, JOB),
            f"no_result has to be {ORDERLY_END!r}, or nothing (A14)": self.no_result not in ("", ORDERLY_END),
            f"refused has other reasons than {LOGIN}, {JOBS} and {BUSY} (A15)": {*self.refused} - {LOGIN, JOBS, BUSY},
            "A11 is settled, but no pattern `accepted`": has_jobs and not self.accepted,
            "A13 is settled, but no pattern `ended`": waits and not self.ended,
            "A14 is settled, but no pattern `ok` says what a success is (or no_result, section 4)": waits
            and not (self.ok or self.no_result),
            "jobs that are sent after the result of the one before need result_of = JOB (A10, A14)": (
                self.order == AFTER_RESULT and self.result_of != JOB
            ),
            "jobs that are sent one after the other need acceptance_of = JOB (A10, A11)": (
                self.order in (AFTER_ACCEPTANCE, AFTER_RESULT) and self.acceptance_of == SESSION
            ),
        }
        for text, is_wrong in wrong.items():
            if is_wrong:
                raise UnsupportedCall(text)
        try:
            "".encode(self.encoding)
            etree.XMLParser(encoding=self.encoding)
        except LookupError:
            raise UnsupportedCall(f"{self.encoding!r} is no encoding that is known here (A2)") from None
        patterns = [self.greeted, self.challenge, self.granted, self.accepted, self.output, self.ended, self.ok]
        for pattern in [*patterns, self.failed, *self.refused.values(), self.server_heartbeat, self.asks_person]:
            check_pattern(pattern)


def _text_with(elements: list[Element]) -> str:
    """Returns the message that holds the elements."""
    root = etree.Element("Message")
    root.extend(elements)
    return etree.tostring(root, encoding="unicode")
