"""What may come in answer to `cancel` and `sessions`, event by event."""

from __future__ import annotations

import pytest

from headless.client.enquiry import _Judge
from headless.dialects.base import Accepted, Cancelled, Ended, Listed, LoggedIn, Part, Refused, SaltReceived
from headless.dialects.vocabulary import FAILED, OK, SESSION
from headless.errors import RemoteProtocolError
from headless.options import CANCEL, SESSIONS

IN, SALT = LoggedIn("s"), SaltReceived(None)
LISTED = Listed("s", OK, "2026-01-01T00:00:00.000+00:00", 1, 1, "print(1)")
CANCELLED = Cancelled("queued")
REFUSED, END = Refused(SESSION), Ended(OK)


def judged(command, *events, has_secret=False, is_brought=True, asks=True):
    judge = _Judge(command, has_secret)
    for event in events:
        judge.bytes_came()
        judge.judge(event, is_brought)
        if event is IN and asks:
            judge.part_left(Part(b"question"))
    return judge.is_over


def test_what_was_asked_is_answered_and_then_it_is_over():
    assert judged(CANCEL, IN, CANCELLED)
    assert judged(SESSIONS, IN, END)
    assert judged(SESSIONS, IN, LISTED, LISTED, END)
    assert judged(SESSIONS, SALT, IN, LISTED, END, has_secret=True)
    assert judged(SESSIONS, REFUSED)
    assert judged(SESSIONS, IN, LISTED, REFUSED)
    assert not judged(SESSIONS, IN, LISTED)
    assert not judged(SESSIONS, IN)


@pytest.mark.parametrize("command", [CANCEL, SESSIONS])
def test_what_was_not_asked_or_comes_before_or_behind_the_answer_is_none(command):
    answer = CANCELLED if command == CANCEL else END
    other = END if command == CANCEL else CANCELLED
    for events in (
        [answer], [IN, other], [IN, Accepted()], [IN, IN], [SALT], [IN, answer, answer], [IN, answer, REFUSED],
        [REFUSED, IN], [IN, Ended(FAILED)], [IN, Cancelled("nobody knows")],
    ):  # fmt: skip
        with pytest.raises(RemoteProtocolError):
            judged(command, *events)
    for events in ([IN], [SALT, SALT], [SALT, IN, SALT]):
        with pytest.raises(RemoteProtocolError):
            judged(command, *events, has_secret=True)
    with pytest.raises(RemoteProtocolError):
        judged(command, IN, answer, is_brought=False)
    with pytest.raises(RemoteProtocolError):
        judged(command, IN, answer, asks=False)
