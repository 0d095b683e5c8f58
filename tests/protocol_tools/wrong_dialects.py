"""Dialects as a tired author writes them. Each is one that is right, with a mistake in it.

In TABLE each mistake has a name, the right dialect, the recordings that it takes to find the mistake, words of what
`check` says of it, and what differs in a class that is derived from the right one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MODULES = {
    "example": "protocol_tools.divided_example",
    "own": "headless.dialects.own.dialect",
    **{name: f"support.sites.{name}" for name in ("length", "zero", "bare", "packed")},
}
_HEAD = """
import hashlib, hmac
from headless.dialects import base, planta
from headless.dialects.base import *
from headless.dialects.framing import *
from headless.dialects.vocabulary import *
from headless.dialects.xml_messages import element
from headless.errors import RemoteProtocolError
from {module} import Dialect as Right


class Dialect(Right):
"""


class Mistake(NamedTuple):
    name: str
    base: str
    labels: tuple[str, ...]
    finding: str
    code: str

    @property
    def text(self) -> str:
        """The file of the dialect."""
        body = "".join(f"    {line}\n" for line in self.code.splitlines())
        return _HEAD.format(module=_MODULES[self.base]) + body


def _read(table: str) -> list[Mistake]:
    found = []
    for block in table.strip().split("\n\n"):
        name, rest, code = block.split("\n", 2)
        parts = re.fullmatch(r"# (\w+), (.*?): (.*)", rest)
        assert name.startswith("## ") and parts, block
        found.append(Mistake(name[3:], parts[1], tuple(parts[2].split(" + ")), parts[3], code))
    return found


_SENT = r"""
## umlauts are lost
# example, special characters: the old client's
def encoded(self, text):
    return text.encode("ascii", "ignore") + b"\0"

## another encoding
# example, special characters: is written in an encoding of one byte
def encoded(self, text):
    return text.encode("cp1252") + b"\0"

## an encoding that the server may not know
# bare, special characters: is written in utf-8
encoding = "utf-8"

## & is not escaped
# example, special characters: is no XML
def escaped(self, text):
    return text

## line ends are lost
# example, special characters: the text of <request/item>
def escaped(self, text):
    return super().escaped(" ".join(text.split()))

## the second job is left out
# example, three jobs: the old client's '<request><item><item><item>'
def items(self):
    return super().items()[:1]

## the jobs of the first connection alone
# own, three jobs: ends with
def __init__(self, call):
    super().__init__(call.replace(jobs=call.jobs[:1]))

## the jobs in another order
# example, three jobs: kind of <request/item>
def items(self):
    return super().items()[::-1]

## every job is a module
# example, three jobs: kind of <request/item>
def kind(self, job):
    return "module"

## a wrong attribute
# example, challenge: kind of <request/item>
def kind(self, job):
    return job.kind.upper()

## the kind of a job is left out
# packed, challenge: name of <Message/Cmd/Param>
def start_of(self, job):
    cmd = element("Cmd", action="run")
    cmd.append(element("Param", job.text))
    return [cmd]

## a proof without the password
# length, challenge: does not change with the password
def response(self, hash_, challenge):
    return hmac.new(b"", challenge.encode(), hashlib.sha256).hexdigest()

## another formula of the proof
# length, challenge + challenge, the same again: is not the old client's proof
def response(self, hash_, challenge):
    return hmac.new(hash_, challenge.encode(), hashlib.sha1).hexdigest()

## the wrong user
# example, challenge: user of <request>
def user(self):
    return self.call.os_user

## a part of the handshake is missing
# length, challenge: <Message/Env>
def handshake(self):
    (env,) = super().handshake()
    env.remove(env[1])
    return [env]

## a constant of another site
# length, challenge: country of <Message/Env/Locale>
locale = {"lang": "DE", "country": "AT"}

## a key that is made up
# own, osuser: key of <jobs>
def __init__(self, call):
    super().__init__(call.replace(key="night-17"))

## the proof is made in another way
# example, challenge: answer of <answer> is not the old client's proof
def answer(self, hash_):
    return hmac.new(hash_, self._token.encode(), hashlib.sha256).hexdigest()

## the proof is sent twice
# example, challenge: our message 3: the old client does not send
def answer_salt(self, hash_):
    self.send(self.encoded(f'<answer answer="{self.answer(hash_)}"/>'), "")
    super().answer_salt(hash_)

## jobs with the proof
# length, challenge: our message 2
def login_response(self, response):
    return [*super().login_response(response), *self.start_of(self.call.jobs[0])]

## all jobs in one message
# zero, three jobs: our message
order = planta.TOGETHER

## jobs in a row where each waits for the one before
# packed, three jobs: sends the second job at once
order = planta.IN_A_ROW

## speaks before the greeting
# zero, challenge: waits for a greeting
server_speaks_first = False

## logs in with the handshake
# zero, challenge: our message 1
is_login_in_handshake = True

## keep-alives are not answered
# zero, three jobs + osuser: this dialect never does
def answer_heartbeat(self):
    return None

## another end of a message
# example, osuser: not framed
def encoded(self, text):
    return text.encode() + b"\n"

## a length in the other order
# length, challenge + osuser: not framed
to_server = Transport(Length(4, "little"))

## what is sent is not compressed
# bare, challenge: not framed
to_server = Transport(Documents())

## it never stops to send
# length, osuser: ends with 1, and 0 is expected
def part_left(self):
    super().part_left()
    self.send(self._sender.bytes_of(b"<Message/>"), "")

## a text in the place of bytes
# example, osuser: the dialect is wrong
def encoded(self, text):
    return text + "\0"
"""

_MARKED = r"""
## jobs count twice
# example, challenge: the dialect hands over 2 jobs, and there are 1
def marked(self):
    return len(self.call.jobs)

## jobs do not count
# example, challenge: when 0 of 1 had been handed over
def send(self, data, shown, jobs=0):
    super().send(data, shown)

## jobs count before the login
# length, challenge: 1 jobs are marked as handed over, and 0
def send(self, data, shown, jobs=0):
    is_first = not hasattr(self, "begun")
    self.begun = True
    super().send(data, shown, len(self.call.jobs) if is_first else 0)

## jobs that were sent count with the next one
# bare, three jobs: with a later job
def send(self, data, shown, jobs=0):
    self.held = getattr(self, "held", 0) + jobs
    is_last = self._submitted == len(self.call.jobs)
    super().send(data, shown, self.held if jobs and is_last else 0)
    self.held = 0 if is_last else self.held
"""

_SECRETS = r"""
## a proof is shown
# example, challenge: a hash or a proof is shown
def shown_answer(self, answer):
    return answer

## a part of the hash is shown
# example, challenge: changes with the password
def answer(self, hash_):
    self.hash = hash_
    return super().answer(hash_)
def shown_answer(self, answer):
    return self.hash[29:40].decode()

## a hash in the text of a refusal
# example, a wrong password: a hash or a proof is shown
def answer(self, hash_):
    self.hash = hash_
    return super().answer(hash_)
def take_403(self, document):
    self.report(Refused(LOGIN, f"denied: {self.hash}"))

## a hash in the text of an error
# example, challenge: a hash or a proof is shown
def answer(self, hash_):
    self.hash = hash_
    return super().answer(hash_)
def take_401(self, document):
    if hasattr(self, "hash"):
        raise RemoteProtocolError(f"again, with {self.hash}")
    super().take_401(document)
"""

_PIECES = r"""
## what has no end yet is dropped
# example, challenge: byte by byte
def receive(self, data):
    if data.endswith(b"\0"):
        super().receive(data)

## only the first document of a piece is taken
# example, osuser: at once the call ends with
def receive(self, data):
    first, end, rest = data.partition(b"\0")
    super().receive(first + end)

## pieces are decoded one by one
# example, special characters: the dialect failed: UnicodeDecodeError
def receive(self, data):
    super().receive(data.decode().encode())

## the end of the stream is not expected
# example, osuser: the dialect failed: IndexError
def receive(self, data):
    self.first = data[0]
    super().receive(data)

## a document counts before its end has come
# example, osuser: is cut after
def receive(self, data):
    super().receive(data)
    if b'code="200"' in self._received and self._job:
        self._received = b""
        self.report(JobFinished(1, OK))
        self.report(Ended(OK))

## a length that counts itself
# length, challenge + osuser: ends with 1
to_client = Transport(Length(4, "big", extra=4))

## calls share what they have received
# example, osuser: ends with
kept = []
def receive(self, data):
    self.kept.append(data)
    super().receive(data)
    if len(self.kept) > 6:
        raise RemoteProtocolError("too much")
"""

_EVENTS = r"""
## granted before the proof
# example, challenge: the login was granted before the proof
def take_401(self, document):
    super().take_401(document)
    self.report(LoggedIn(""))

## accepted before the proof
# example, challenge: 'Accepted' is not allowed
def take_401(self, document):
    super().take_401(document)
    self.report(Accepted())

## accepted twice
# example, osuser: 'Accepted' is not allowed
def take_200(self, document):
    super().take_200(document)
    self.report(Accepted())

## accepted is not reported
# example, osuser: before the jobs were accepted
def take_200(self, document):
    self.report(LoggedIn(""))

## accepted when the first job is
# zero, three jobs: ends with
acceptance_of = planta.SESSION

## the result is not looked at
# example, the second fails: ends with 0, and unchanged with 1
def take_500(self, document):
    self.take_result(document)

## every end is a good one, and no word of single jobs
# example, the second fails: ends with 0, and 1 is expected
def take_500(self, document):
    self.take_result(document)
def report(self, event):
    if not isinstance(event, (JobStarted, JobFinished)):
        super().report(event.replace(job=None) if isinstance(event, Output) else event)

## any end is a good one
# length, the second fails: ends with 0, and 1 is expected
ok, failed = "Shutdown", ""

## every result is a good one
# packed, the second fails: the old client does not send
ok, failed = "Comm/Result", ""

## the end of the stream is the end
# example, osuser: no bytes have brought 'Ended'
def receive(self, data):
    if data:
        super().receive(data)
    else:
        self.report(Ended(OK))

## the end is made up
# example, osuser: no bytes have brought
def take_result(self, document):
    pass
def submit(self):
    self.report(Ended(OK))

## jobs end when they are accepted
# example, -t 1: ends with 0, and 3 is expected
def take_200(self, document):
    super().take_200(document)
    self.report(Ended(OK))

## an acknowledgement is the end
# length, -t 1: ends with 0, and 3 is expected
ended = ok = "Cmd[@name='accepted']"
failed = ""

## a job that has started is one that has ended
# own, -t 1: ends with 0, and 3 is expected
def report(self, event):
    super().report(event)
    if isinstance(event, JobStarted):
        super().report(JobFinished(event.job, OK))
        super().report(Ended(OK))

## output is taken for the end
# bare, three jobs: ends with
ended = "EvLogMsg | Shutdown"

## what came early is kept for later
# example, challenge: comes before this side has sent what it answers the call ends with 0
kept, parts = None, 0
def part_left(self):
    super().part_left()
    self.parts += 1
def take_200(self, document):
    if self.parts < 2:
        self.kept = document
    else:
        super().take_200(document)
def receive(self, data):
    if self.kept is not None and self.parts == 2:
        super().take_200(self.kept)
        self.kept = None
    super().receive(data)

## jobs are counted from 0
# example, osuser: out of turn
def report(self, event):
    super().report(event.replace(job=event.job - 1) if isinstance(event, (JobStarted, JobFinished)) else event)

## jobs are reported twice
# example, three jobs: out of turn
def report(self, event):
    super().report(event)
    if isinstance(event, JobFinished):
        super().report(event)

## a heartbeat that was not promised
# example, 180 s: silent for more than
def report(self, event):
    super().report(event.replace(heartbeat=30) if isinstance(event, LoggedIn) else event)

## a login that is refused is busy
# example, a wrong password: ends with 1, and 2 is expected
def take_403(self, document):
    self.report(Refused(BUSY, "denied"))

## busy is a job that is refused
# length, the server is busy: ends with 2, and 1 is expected
refused = {**Right.refused, JOBS: "Cmd[@name='refused'] | Cmd[@name='busy']", BUSY: ""}

## a job that is refused is a failure
# example, the second is unknown: ends with 1, and 2 is expected
def take_404(self, document):
    self.report(Ended(FAILED, "unknown"))

## a salt that is none
# example, challenge: the password of the user was changed
def report(self, event):
    super().report(event.replace(salt=event.salt[::-1]) if isinstance(event, SaltReceived) else event)
"""

MISTAKES = [mistake for table in (_SENT, _MARKED, _SECRETS, _PIECES, _EVENTS) for mistake in _read(table)]

# What ends the process that checks.
(ENDLESS,) = _read(r"""
## a loop that never ends
# example, osuser: never ends
def receive(self, data):
    while data:
        first, end, rest = data.partition(b"\0")
        if end:
            super().receive(first + end)
            data = rest
""")

# What a server does not miss.
NO_MISTAKES = _read(r"""
## no goodbye
# bare, no -t + challenge + the second fails: nothing
def goodbye(self):
    return None

## no pong for the last pings
# zero, three jobs + challenge + the second fails: nothing
def answer_heartbeat(self):
    self.pings = getattr(self, "pings", 0) + 1
    return super().answer_heartbeat() if self.pings < 3 else None

## no prolog
# length, challenge + three jobs + the second fails: nothing
prolog = ""

## another form of the same document
# example, special characters + the second fails: nothing
def escaped(self, text):
    return text.replace("&", "&#38;").replace("<", "&#x3c;")
def encoded(self, text):
    if self._token:
        return super().encoded(text)
    swapped = text.replace(' auth="challenge"', "").replace("<request", "<request auth = 'challenge'")
    return super().encoded("<?xml version='1.0'?>\n" + swapped)
""")
