"""Messages and events as values: equal only if they mean the same, never false, never changed."""

from __future__ import annotations

from itertools import combinations

import pytest

from headless.dialects import base
from headless.dialects.base import Accepted, Ended, JobFinished, Part
from headless.dialects.own import messages
from headless.dialects.own.messages import Alive, Challenge, Login, Logout, Response
from headless.dialects.vocabulary import Job
from support.encoded_messages import ENCODED

EVERY_MESSAGE = [*(message for message, _ in ENCODED), messages.UnsupportedLogin()]


def test_two_messages_that_mean_different_things_are_never_equal():
    distinct = {repr(message): message for message in EVERY_MESSAGE}.values()
    assert [pair for pair in combinations(distinct, 2) if pair[0] == pair[1]] == []
    assert Challenge("a", "b") != Response("a", "b")
    assert Accepted() != Alive()
    assert Ended("ok") != ("ok",)


def test_two_messages_that_mean_the_same_are_equal():
    assert Ended("ok") == Ended(status="ok")
    assert hash(Ended("ok")) == hash(Ended("ok"))
    assert Accepted() == Accepted()
    assert messages.Jobs((Job("module", "A"),)) == messages.Jobs((Job("module", "A"),))


def test_no_message_is_false():
    assert all(EVERY_MESSAGE)


def test_a_field_that_may_be_left_out_has_its_default():
    assert Login(1, "c", "osuser", os_user="x") == Login(1, "c", "osuser", None, "x", None)
    assert JobFinished(1, "ok").text == ""


@pytest.mark.parametrize(
    "make",
    [
        Ended,
        lambda: Ended("ok", "x", "y"),  # type: ignore[call-arg]
        lambda: Ended("ok", status="ok"),  # type: ignore[misc]
        lambda: Ended("ok", reason="x"),  # type: ignore[call-arg]
        lambda: Logout("x"),
    ],
)
def test_a_field_too_many_or_too_few_is_an_error(make):
    with pytest.raises(TypeError, match=r"Ended has the fields status, text|Logout has the fields \(none\)"):
        make()


def test_a_value_cannot_be_changed():
    ended = Ended("ok")
    with pytest.raises(AttributeError):
        ended.status = "failed"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del ended.status
    assert ended.replace(status="failed") == Ended("failed")
    assert ended == Ended("ok")


def test_a_value_is_shown_with_its_fields():
    assert repr(Part(b"x", 1)) == "Part(data=b'x', jobs=1, shown='')"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Part("x"), "Part.data has to be bytes, and is a value of str"),  # type: ignore[arg-type]
        (Part(b"x", True), "Part.jobs has to be int, and is a value of bool"),
        (base.LoggedIn("s", "1"), "LoggedIn.heartbeat has to be int | None, and is a value of str"),  # type: ignore
        (base.SaltReceived(1), "SaltReceived.salt has to be str | None, and is a value of int"),  # type: ignore
    ],
)
def test_a_field_of_a_wrong_type_is_named(value, named):
    with pytest.raises(TypeError) as caught:
        value.check_types()
    assert str(caught.value) == named


@pytest.mark.parametrize(
    "value", [Part(b"x"), base.LoggedIn("s"), base.LoggedIn("s", 3, True), base.SaltReceived(None)]
)
def test_fields_of_the_right_types_are_right(value):
    value.check_types()
