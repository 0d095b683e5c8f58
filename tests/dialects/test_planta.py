"""The vendor's published vocabulary as a dialect, in memory: what is not settled is refused, what does not hold names
itself, and what a message means does not depend on the pieces in which it comes."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace

import pytest

from headless.dialects import planta
from headless.dialects.base import Accepted, Ended, JobFinished, LoggedIn, Output, Received, Refused, SaltReceived
from headless.dialects.framing import Delimiter, Length, Transport
from headless.dialects.planta import ASSUMPTIONS
from headless.dialects.xml_messages import element
from headless.errors import UnsupportedCall
from support.conversing import (
    Conversation,
    byte_by_byte,
    call_of,
    challenge_call,
    dialect_of,
    error_of,
    talk,
    whole,
    with_,
)
from support.credentials import HASH, SALT
from support.planta_server import ENV, Bare, Ending, Habits, PlantaServer
from support.planta_server import Length as Frames
from support.planta_variants import BARE, LENGTH, PACKED, VARIANTS, ZERO

of_every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.name)
DONE = LENGTH.habits


@pytest.fixture(scope="module")
def site():
    """The dialect that is nearly as the defaults are."""
    return dialect_of(LENGTH)


class _Both:
    """Frames that differ each way."""

    def __init__(self, of_client, of_server):
        self.take, self.wrap = of_client.take, of_server.wrap


class _Zipped:
    def wrap(self, message):
        return Frames().wrap(zlib.compress(message))


# What has to be settled

NEEDED = {
    "with jobs that are waited for": (call_of("A"), {"A9", "A11", "A13", "A14", "A15"}),
    "with jobs": (call_of("A", waits=False), {"A9", "A11", "A15"}),
    "without jobs": (call_of(), {"A1", "A2", "A3", "A4", "A5", "A6", "A7"}),
    "without jobs, with a challenge": (challenge_call(), {"A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8"}),
}
of_every_call = pytest.mark.parametrize(("call", "needed"), NEEDED.values(), ids=NEEDED)


@of_every_call
def test_what_a_code_would_rest_on_has_to_be_settled_and_nothing_else(site, call, needed):
    for number in ASSUMPTIONS:
        settled = tuple(each for each in ASSUMPTIONS if each != number)
        if number in needed:
            with pytest.raises(UnsupportedCall, match=rf"^{number} is not settled, see PLANTA\.md$"):
                with_(site, settled=settled)(call)
        else:
            with_(site, settled=settled)(call)
    with_(site, settled=tuple(needed))(call)


@of_every_call
def test_what_is_not_settled_is_named_in_its_order(site, call, needed):
    ordered = [number for number in ASSUMPTIONS if number in needed]
    with pytest.raises(UnsupportedCall) as error:
        planta.Dialect(call)
    assert str(error.value) == f"{', '.join(ordered[:-1])} and {ordered[-1]} are not settled, see PLANTA.md"
    with pytest.raises(UnsupportedCall, match=f"^{ordered[1]} and {ordered[2]} are not"):
        with_(site, settled=tuple(needed - set(ordered[1:3])))(call)


def test_the_remark_names_what_is_not_settled_and_what_was_decided():
    assert planta.Dialect.remark() == f"not settled: {', '.join(ASSUMPTIONS)}"
    some = with_(planta.Dialect, settled=ASSUMPTIONS[2:], no_result=planta.ORDERLY_END)
    assert some.remark() == "not settled: A1, A2; A14: an orderly end counts as success"
    assert dialect_of(PACKED).remark() == ""


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"settled": ("A1", "A19")}, "'A19'"),
        ({"settled": "A1"}, "'A', '1'"),
        ({"order": "in turn"}, "A10"),
        ({"accepted": ""}, "A11"),
        ({"acceptance_of": "jobs"}, "A11"),
        ({"ended": ""}, "A13"),
        ({"ok": ""}, "A14"),
        ({"ok": "", "no_result": "yes"}, "A14"),
        ({"result_of": "jobs"}, "A14"),
        ({"refused": {"password": "Login"}}, "A15"),
        ({"order": planta.AFTER_RESULT}, "A14"),
        ({"order": planta.AFTER_ACCEPTANCE, "acceptance_of": planta.SESSION}, "A11"),
        ({"encoding": "windows-1253-x"}, "A2"),
        ({"accepted": "Cmd[@name="}, "XPath"),
        ({"failed": "Cmd[@name=nope()]/x | nope()"}, "XPath"),
        ({"refused": {"jobs": "count(Cmd)"}}, "does not find elements"),
        ({"asks_person": "p:MessageBox"}, "XPath"),
    ],
)
def test_an_attribute_that_means_nothing_is_refused_before_anything_is_sent(site, overrides, text):
    with pytest.raises(UnsupportedCall, match=text):
        with_(site, **overrides)(call_of("A"))


def test_a_call_that_does_not_wait_needs_no_end(site):
    with_(site, ended="", ok="")(call_of("A", waits=False))


# The variants


@of_every_variant
@pytest.mark.parametrize("call", [call_of, challenge_call])
def test_the_same_events_come_in_pieces_of_any_size(variant, call):
    dialect = dialect_of(variant)
    for jobs in (("A", "B"), ("A", "fail", "C"), ("nope",), ("A", "nope"), ("busy",), ("A", "ask")):
        first, second = (
            Conversation(dialect(call(*jobs)), PlantaServer(variant.habits), pieces) for pieces in (whole, byte_by_byte)
        )
        assert list(map(repr, first.events)) == list(map(repr, second.events)), jobs
        assert (first.sent, first.received, first.handed_over) == (second.sent, second.received, second.handed_over)


OUTPUT = [Output(None, "stdout", "did A\n"), Output(None, "stdout", "did B\n")]
FIRST, SECOND = JobFinished(1, "ok"), JobFinished(2, "ok")
EVENTS = {
    "length": [Accepted(), *OUTPUT, Ended("ok")],
    "zero": [OUTPUT[0], FIRST, Accepted(), OUTPUT[1], SECOND, Ended("ok")],
    "packed": [OUTPUT[0], FIRST, Accepted(), OUTPUT[1], SECOND, Ended("ok")],
    "bare": [OUTPUT[0], Accepted(), OUTPUT[1], Ended("ok", has_result=False)],
}


@of_every_variant
def test_what_happens_is_reported_when_it_happens(variant):
    login = LoggedIn("", 60 if variant is ZERO else None)
    salt = SaltReceived(None if variant is PACKED else SALT)
    dialect = dialect_of(variant)
    assert Conversation(dialect(call_of("A", "B")), PlantaServer(variant.habits)).events == [
        login,
        *EVENTS[variant.name],
    ]
    done = Conversation(dialect(challenge_call("A", "B")), PlantaServer(variant.habits))
    assert done.events == [salt, login, *EVENTS[variant.name]]
    assert done.handed_over == 2


@of_every_variant
def test_jobs_are_handed_over_in_the_order_of_the_site(variant):
    """Together, in a row, or one after the answer to the one before: each turn is what is sent without waiting."""
    server = PlantaServer(variant.habits)
    Conversation(dialect_of(variant)(call_of("A", "B", "C")), server)
    turns: dict[int, list[int]] = {}
    for said in server.log:
        if said.jobs:
            turns.setdefault(said.turn, []).append(said.jobs)
    expected = {"length": [[3]], "zero": [[1, 1, 1]], "packed": [[1], [1], [1]], "bare": [[1], [1], [1]]}
    assert [*turns.values()] == expected[variant.name]
    assert server.jobs == ["A", "B", "C"]


@of_every_variant
def test_a_refused_login_is_one(variant):
    server = PlantaServer(replace(variant.habits, proof=lambda *_: "another"))
    done = Conversation(dialect_of(variant)(challenge_call("A")), server)
    assert done.events[1:] == [Refused("login", "access denied")]
    assert (done.handed_over, server.has_jobs) == (0, False)


def test_a_refusal_of_something_else_is_none(site):
    assert "A11" in error_of(talk(site, replace(DONE, accepted='<Login action="cancel"/>')))
    assert "A7" in error_of(talk(site, replace(DONE, granted='<Cmd name="refused"/>')))
    assert talk(site, replace(DONE, granted='<Cmd name="busy">full</Cmd>')).events == [Refused("busy", "full")]


@pytest.mark.parametrize("goodbye", ['<Shutdown action="exit"/>', "<Panel/>", '<Cmd name="finished" code="0"/>', "<"])
def test_what_follows_a_refusal_makes_it_neither_better_nor_worse(site, goodbye):
    class Ending(PlantaServer):
        def frame(self, document):
            frame = super().frame(document)
            return frame + super().frame(f"<Message>{goodbye}</Message>") if "refused" in document else frame

    done = Conversation(site(call_of("nope")), Ending(DONE))
    assert done.events == [LoggedIn(""), Refused("jobs", "no such job: nope")]
    assert "refused" in done.received[-1]


TEXTS = ("äöüß €", "<&\"'>]]>", "a\nb\tc\r\nd", "x" * 70_000)


@of_every_variant
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:8]))
def test_the_texts_of_jobs_arrive_as_they_are(variant, text):
    server = PlantaServer(variant.habits)
    Conversation(dialect_of(variant)(call_of("A", text)), server)
    assert server.jobs == ["A", text]


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-16LE", "cp1252", "iso-8859-15", "ascii", "UTF-8"])
def test_an_encoding_is_declared_and_what_it_has_not_is_written_as_a_number(site, encoding):
    dialect = with_(site, encoding=encoding)(call_of("A", user="ä€ж"))
    dialect.log_in()
    part = dialect.next_part()
    assert part is not None
    text = part.data[4:].decode(encoding)
    assert text.startswith(f'<?xml version="1.0" encoding="{encoding}"?><Message>')
    assert text.count("\ufeff") == 0
    names = ["ä€ж", "&#228;&#8364;&#1078;", "ä€&#1078;"]
    assert any(f'<Login user="{name}"/>' in text for name in names)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("UTF-16", "<Message><Env a='ä'/></Message>".encode("UTF-16")),
        ("windows-1252", b"<Message><Env a='\xe4'/></Message>"),
        ("windows-1252", b"\n <?xml version='1.0'?><Message><Env a='\xe4'/></Message>\n"),
        ("windows-1252", "\ufeff<Message><Env a='ä'/></Message>".encode()),
        ("windows-1252", "<?xml version='1.0' encoding='utf-8'?><Message><Env a='ä'/></Message>".encode()),
        ("UTF-8", "<?xml version='1.0' encoding='UTF-16'?><Message><Env a='ä'/></Message>".encode("UTF-16")),
    ],
)
def test_what_a_message_says_of_its_encoding_counts_and_else_what_the_site_says(site, encoding, data):
    dialect = with_(site, encoding=encoding)(call_of("A"))
    dialect.log_in()
    dialect.receive(len(data).to_bytes(4, "big") + data)
    assert dialect.next_event() == Received('<Message><Env a="ä"/></Message>')
    assert dialect.next_event() == LoggedIn("")


# What does not hold names itself


def test_an_assumption_that_does_not_hold_is_named(site):
    for name, habits, call in (
        ("A1", replace(DONE, frames=_Both(Frames(), Frames(4, "little"))), call_of),
        ("A1", replace(DONE, frames=_Both(Frames(), Bare())), call_of),
        ("A2", replace(DONE, encoding="windows-1252", granted=ENV + '<Skin name="ä"/>'), call_of),
        ("A3", replace(DONE, frames=_Both(Frames(), _Zipped())), call_of),
        ("A5", replace(DONE, greeting="<Panel/>"), call_of),
        ("A7", replace(DONE, granted="<Panel/>"), call_of),
        ("A7", replace(DONE, challenge="<Comm/>"), challenge_call),
        ("A7", replace(DONE, proof=lambda *_: "x", refused={"login": "<Login/>"}), challenge_call),
        ("A11", replace(DONE, accepted='<Cmd name="queued"/>'), call_of),
        ("A13", replace(DONE, ok='<Shutdown action="restart"/>'), call_of),
        ("A13", replace(DONE, output="<Panel/>"), call_of),
        ("A14", replace(DONE, ok='<Shutdown action="exit"/>'), call_of),
        ("A18", replace(DONE, output='<MessageBox text="Continue?"/>'), call_of),
    ):
        done = talk(site, replace(habits, prolog=""), call=call, prolog="", server_speaks_first=name == "A5")
        assert name in error_of(done), (name, habits)
        assert not any(isinstance(event, Ended) for event in done.events)


def test_the_message_says_what_came_and_what_was_expected(site):
    done = talk(site, replace(DONE, accepted='<Cmd name="queued" response="x"/>'))
    expected = 'the server sent <Cmd name="queued" response="(not shown)"> where A11 expects Cmd[@name=\'accepted\']'
    assert error_of(done) == expected
    assert len(error_of(talk(site, replace(DONE, accepted=f'<Cmd name="{"x" * 20_000}"/>')))) < 400
    assert len(error_of(talk(site, replace(DONE, output=f'<MessageBox text="{"x" * 20_000}"/>')))) < 400
    assert len(error_of(talk(site, replace(DONE, frames=Frames(), prolog="<" + "x" * 20_000 + ">")))) < 400


def test_what_is_for_a_screen_is_ignored_only_if_it_is_listed(site):
    noisy = replace(DONE, noise="", noise_alone="<Skin/><Sym/>")
    assert talk(site, noisy).events[-1] == Ended("ok")
    assert "<Sym> where A17 expects nothing" in error_of(talk(site, noisy, ignored=("Skin",)))


# Results


def test_one_element_may_mean_several_things(site):
    all_at_once = replace(DONE, accepted="", output="", ok='<Shutdown action="exit" code="0">done</Shutdown>')
    done = talk(site, all_at_once, accepted="Shutdown", output="Shutdown")
    assert done.events[1:] == [Accepted(), Output(None, "stdout", "done\n"), Ended("ok")]


@pytest.mark.parametrize(
    "pattern", ["Cmd", "Cmd/@name", "//Line/@x", "Cmd/Line/text()", "Cmd[../@id='7']", "Panel | Cmd/Line"]
)
def test_a_pattern_means_the_element_that_has_what_it_finds(site, pattern):
    accepted = '<Cmd name="go"><Line x="1">text</Line></Cmd><!-- Panel --><?Panel ?>'

    class Numbering(PlantaServer):
        def frame(self, document):
            return super().frame(document.replace("<Message>", "<Message id='7'>"))

    server = Numbering(replace(DONE, accepted=accepted))
    done = Conversation(with_(site, accepted=pattern)(call_of("A")), server)
    assert done.events == [LoggedIn(""), Accepted(), OUTPUT[0], Ended("ok")]


def test_an_element_that_is_a_failure_is_no_success(site):
    for failed in ("Shutdown[@code!='0']", "Shutdown"):
        done = talk(site, DONE, "A", "fail", ok="Shutdown", failed=failed)
        assert done.events[-1] == Ended("failed", "job failed: fail")


def test_a_success_before_all_jobs_are_accepted_is_none():
    early = replace(ZERO.habits, result_of_job=False, ok="", output='<ModC state="ended" result="0"/>')
    done = Conversation(dialect_of(ZERO, result_of=planta.SESSION)(call_of("A", "B")), PlantaServer(early))
    assert "A11" in error_of(done)


def test_a_result_too_many_is_an_error():
    double = replace(ZERO.habits, ok=ZERO.habits.ok * 2)
    done = Conversation(dialect_of(ZERO)(call_of("A", "B")), PlantaServer(double))
    assert "where A11 expects" in error_of(done)
    done = Conversation(dialect_of(ZERO)(call_of("A")), PlantaServer(double))
    assert "where A14 expects nothing" in error_of(done)


def test_nothing_makes_a_failure_good(site):
    habits = replace(DONE, failed=DONE.failed + DONE.ok, ended="")
    assert talk(site, habits, "fail").events[-1] == Ended("failed", "job failed: fail")


def test_the_end_after_a_failure_is_the_failure():
    stopping = PlantaServer(replace(ZERO.habits, goes_on=False))
    done = Conversation(dialect_of(ZERO)(call_of("A", "fail", "C")), stopping)
    assert done.events[-2:] == [JobFinished(2, "failed", "job failed: fail"), Ended("failed", "job failed: fail")]


def test_a_job_is_not_sent_after_one_that_has_failed():
    server = PlantaServer(PACKED.habits)
    done = Conversation(dialect_of(PACKED)(call_of("A", "fail", "C")), server)
    assert done.events[-2:] == [JobFinished(2, "failed", "job failed: fail"), Ended("failed", "job failed: fail")]
    assert done.handed_over == 2


def test_a_failure_of_the_last_job_is_the_end_where_jobs_go_one_by_one():
    """Else the call would wait for an end that a server does not say when nothing asks for it."""
    dialect = dialect_of(PACKED, ended="Shutdown")
    done = Conversation(dialect(call_of("fail")), PlantaServer(PACKED.habits))
    assert done.events[-2:] == [JobFinished(1, "failed", "job failed: fail"), Ended("failed", "job failed: fail")]


def test_jobs_that_go_together_may_be_accepted_one_by_one(site):
    each = replace(DONE, accepts_each=True, output="")
    done = talk(site, each, acceptance_of=planta.JOB)
    assert done.events[1:] == [Accepted(), Ended("ok")]
    assert "A13" in error_of(talk(site, each))  # a second acceptance
    one = replace(DONE, output="")  # one acceptance, and two jobs: the end comes too early
    assert "A11" in error_of(talk(site, one, acceptance_of=planta.JOB))


# No result is reported

NO_RESULT = replace(DONE, ok='<Shutdown action="exit"/>')


def test_an_end_without_a_result_counts_only_if_the_site_has_said_so(site):
    assert talk(site, NO_RESULT, no_result=planta.ORDERLY_END).events[-1] == Ended("ok", has_result=False)
    assert talk(site, NO_RESULT, no_result=planta.ORDERLY_END, ok="").events[-1] == Ended("ok", has_result=False)
    assert "A14" in error_of(talk(site, NO_RESULT))


def test_a_result_that_comes_counts_all_the_same(site):
    assert talk(site, DONE, no_result=planta.ORDERLY_END).events[-1] == Ended("ok")
    assert talk(site, DONE, "fail", no_result=planta.ORDERLY_END).events[-1] == Ended("failed", "job failed: fail")


def test_a_connection_that_closes_is_no_end(site):
    dialect = with_(site, no_result=planta.ORDERLY_END)(call_of("A"))
    done = Conversation(dialect, PlantaServer(replace(DONE, ok="")))
    dialect.receive(b"")
    assert done.events[-1] == Output(None, "stdout", "did A\n")
    assert dialect.next_event() is None


@pytest.mark.parametrize("is_traced", [True, False])
def test_what_is_ignored_after_the_end_changes_no_code_whether_it_is_shown_or_not(site, is_traced):
    dialect = site(call_of("A").replace(is_traced=is_traced))
    server = PlantaServer(replace(DONE, ended="<Skin/>"))
    done = Conversation(dialect, server)
    assert done.events[-1] == Ended("ok")
    dialect.receive(server.frame("<Message><Skin/></Message>"))
    assert dialect.next_event() is None


def test_an_end_before_the_acceptance_is_none(site):
    for accepted in ("<Shutdown action='exit' code='0'/>", "<Shutdown action='exit'/>"):
        done = talk(site, replace(DONE, accepted=accepted), no_result=planta.ORDERLY_END)
        assert "A11" in error_of(done)
        assert done.events[:-1] == [LoggedIn("")]


# The login


@pytest.mark.parametrize("user", [None, "R41"])
def test_a_login_that_is_not_asked_for_is_granted_by_the_answer_to_the_handshake(site, user):
    """Osuser is a part of the handshake; with -u the login follows it."""
    habits = replace(DONE, login_follows=user is not None, answer=ENV if user else "")
    call = call_of("A", user=user)
    done = Conversation(with_(site, is_login_in_handshake=False)(call), PlantaServer(habits))
    assert done.events[-1] == Ended("ok")
    assert any('<Login user="R41"/>' in text for text in done.sent) == (user is not None)


def test_the_challenge_of_a_greeting_is_answered_after_the_handshake(site):
    dialect = with_(site, server_speaks_first=True, is_login_in_handshake=False)(challenge_call("A"))
    dialect.log_in()
    assert dialect.next_part() is None
    server = PlantaServer(DONE)
    dialect.receive(server.frame(f'<Message><Login salt="{SALT}" challenge="x"/></Message>'))
    events = [dialect.next_event(), dialect.next_event()]
    assert events[1] == SaltReceived(SALT)
    dialect.answer_salt(HASH.encode())
    dialect.receive(server.frame("<Message><Env/></Message>"))
    assert [dialect.next_event(), dialect.next_event()][1] == LoggedIn("")


@pytest.mark.parametrize("pieces", [whole, byte_by_byte])
def test_a_greeting_without_a_frame_is_answered_before_what_follows_it(site, pieces):
    dialect = with_(
        site, server_speaks_first=True, to_client=Transport(Length(), beginning=b"\n", is_line=True),
        is_login_in_handshake=False,
    )(call_of("A"))  # fmt: skip
    dialect.log_in()
    for piece in pieces(b"PLANTA 39.5\n" + PlantaServer(DONE).frame("<Message><Env/></Message>")):
        dialect.receive(piece)
    shown = []
    while (part := dialect.next_part()) is not None:
        shown.append(part.shown)
        dialect.part_left()
    assert [text.startswith("<Message><Env>") for text in shown] == [True, False]
    assert shown[1] == '<Message><Login user="R41"/></Message>'


def test_nothing_is_granted_before_the_proof(site):
    done = talk(site, replace(DONE, answer=ENV), call=challenge_call)
    assert [type(event) for event in done.events[:2]] == [SaltReceived, LoggedIn]
    done = talk(site, replace(DONE, answer=ENV + ENV, challenge=ENV), call=challenge_call)
    assert done.events == []
    late = with_(site, is_login_in_handshake=False, greeted="Comm")
    assert "A7" in error_of(talk(late, replace(DONE, answer=ENV)))  # nor before the login was asked for


# What cannot be carried


@pytest.mark.parametrize("order", [planta.IN_A_ROW, planta.AFTER_ACCEPTANCE, planta.TOGETHER])
def test_what_cannot_be_carried_is_known_before_the_first_job_is_sent(site, order):
    for jobs, reason, transport in (
        (("A", "b\x01"), "--module has a character that XML cannot carry", Transport(Length())),
        (("A", "b" * 70_000), "too many for a length of 2 bytes", Transport(Length(2))),
        (("A", "b\ufffe"), "--module", Transport(Length())),
    ):
        dialect = with_(site, order=order, to_server=transport)(call_of(*jobs))
        habits = replace(DONE, frames=_Both(Frames(2 if "2" in reason else 4), Frames()))
        done = Conversation(dialect, PlantaServer(habits))
        assert isinstance(done.events[-1], UnsupportedCall)
        assert reason in str(done.events[-1])
        assert done.handed_over == 0


def test_a_mistake_of_the_site_is_not_called_one_of_the_call(site):
    class Site(site):  # type: ignore[misc,valid-type]
        def start_of(self, _job):
            return [element("ModC", id=str(self.call.jobs.index("A")))]

    dialect = Site(call_of("A"))
    with pytest.raises(ValueError, match="not in"):
        dialect.submit()


def test_a_line_feed_that_ends_a_message_cannot_be_in_one(site):
    habits = replace(DONE, frames=Ending(b"\n"), job_of=lambda each: each.text if each.tag == "Cmd" else None)
    lines = Transport(Delimiter(b"\n"))

    def start_of(_self, job):
        return [element("Cmd", job.text)]

    done = talk(site, habits, "A", "a\nb", to_server=lines, to_client=lines, start_of=start_of)
    assert isinstance(done.events[-1], UnsupportedCall)
    assert done.handed_over == 0


# Keep-alives


def test_a_keep_alive_is_answered_and_means_nothing(site):
    server = PlantaServer(ZERO.habits)
    done = Conversation(dialect_of(ZERO)(call_of("A", "B")), server)
    assert server.pongs == 2
    assert done.events[-1] == Ended("ok")
    quiet = replace(DONE, ping='<Comm alive="true"/>')
    assert talk(site, quiet, server_heartbeat="Comm[@alive]").events[-1] == Ended("ok")
    assert "<Comm" in error_of(talk(site, quiet))


def test_an_empty_message_is_a_keep_alive_if_the_site_has_no_other(site):
    dialect = site(call_of("A"))
    dialect.send_heartbeat()
    part = dialect.next_part()
    assert part is not None
    assert (part.shown, part.jobs) == ("<Message/>", 0)


def test_the_answer_to_a_keep_alive_may_repeat_what_is_in_it(site):
    class Site(site):  # type: ignore[misc,valid-type]
        server_heartbeat = "Comm[@tick]"

        def answer_heartbeat(self):
            return [element("Comm", tock=self.said("Comm@tick"), title=self.said("Env/Program@system_title"))]

    dialect, server = Site(call_of("A")), PlantaServer(replace(DONE, ok="", output=""))
    Conversation(dialect, server)
    for number in range(20):
        dialect.receive(server.frame(f'<Message><Comm tick="{number}"/></Message>'))
        part = dialect.next_part()
        assert part is not None
        assert part.shown == f'<Message><Comm tock="{number}" title="TEST"/></Message>'
        dialect.part_left()


@pytest.mark.parametrize(("variant", "jobs"), [(LENGTH, ("A", "B")), (ZERO, ("A", "B")), (PACKED, ("A", "B"))])
def test_what_finishes_is_said_once_when_all_jobs_have_ended_well_and_not_after_a_failure(variant, jobs):
    def finish(_self):
        return [element("Shutdown")]

    def said_to(*jobs):
        server = PlantaServer(replace(variant.habits, ended=""))
        return Conversation(dialect_of(variant, finish=finish)(call_of(*jobs)), server).sent

    bye = "<Message><Shutdown/></Message>"
    assert (said_to(*jobs).count(bye), said_to(*jobs)[-1]) == (1, bye)
    assert bye not in said_to("A", "fail")


def test_a_server_that_floods_with_keep_alives_is_found_out():
    flood = replace(ZERO.habits, ping=ZERO.habits.ping * 2000)
    assert "A16" in error_of(Conversation(dialect_of(ZERO)(call_of("A")), PlantaServer(flood)))


# The server of these tests can be as the defaults are, and each habit matters


def test_every_default_is_one_that_a_server_can_have():
    class Settled(planta.Dialect):
        settled = ASSUMPTIONS
        accepted = "Cmd[@name='accepted']"
        ok, failed = "Cmd[@code='0']", "Cmd[@code='1']"

    for call, jobs in itertools.product((call_of, challenge_call), (("A",), ("A", "B"))):
        assert Conversation(Settled(call(*jobs)), PlantaServer(Habits())).events[-1] == Ended("ok")
    failed = Conversation(Settled(call_of("A", "fail")), PlantaServer(Habits()))
    assert failed.events[-1] == Ended("failed", "done 1 job failed: fail")


def test_the_bare_variant_reports_no_result_of_a_job_that_fails():
    done = Conversation(dialect_of(BARE)(call_of("fail")), PlantaServer(BARE.habits))
    assert done.events[-1] == Ended("ok", has_result=False)
