"""What a server sends to harm the one who speaks the vendor's published vocabulary, or by chance: a proof that it
repeats is shown nowhere, hostile XML is an error, and a long message takes time by its length."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from headless.dialects.base import Ended, Output
from headless.errors import RemoteProtocolError
from support.conversing import Conversation, call_of, challenge_call, dialect_of, talk, with_
from support.credentials import HASH
from support.planta_server import PlantaServer
from support.planta_variants import LENGTH

DONE = LENGTH.habits


@pytest.fixture(scope="module")
def site():
    """The dialect that is nearly as the defaults are."""
    return dialect_of(LENGTH)


# Secrets


PROOF = PlantaServer(DONE).habits.proof(HASH.encode(), "4711-&-0815")
ECHOES = [
    f'<Login user="R41" x="{PROOF}" y="{HASH}"/>',
    f"<Cmd>{PROOF} {HASH}</Cmd>",
    f'<Login response="{PROOF}"><old_hash>{HASH}</old_hash></Login>',
    f'<PasswordChange mandatory="true" old_hash="{HASH}" new_hash="x"><b>{PROOF}</b></PasswordChange>',
    f'<MessageBox text="{PROOF}">{HASH}</MessageBox>',
    f"<EvLogMsg>{PROOF}{HASH}</EvLogMsg>",
    f"<{'x' * 150} y='{PROOF}'/>",
]


@pytest.mark.parametrize("echo", ECHOES, ids=lambda echo: echo[:12])
def test_a_proof_that_the_server_repeats_is_shown_nowhere(site, echo):
    for name in ("granted", "accepted", "output", "ok", "noise"):
        done = talk(site, replace(DONE, **{name: echo}), call=challenge_call)
        refused = replace(DONE, proof=lambda *_: "", refused={"login": f'<Login action="cancel"/>{echo}'})
        for each in (done, talk(site, refused, call=challenge_call)):
            shown = [*map(repr, each.events), *each.sent, *each.received]
            for start in range(0, len(PROOF) - 12, 4):
                assert not any(PROOF[start : start + 12] in text or HASH[29:] in text for text in shown), (name, shown)


def test_what_is_not_traced_is_not_prepared(site):
    dialect = site(call_of("A").replace(is_traced=False))
    assert Conversation(dialect, PlantaServer(DONE)).received == []


# Hostile messages


HOSTILE = {
    "a DTD": "<!DOCTYPE Message><Message><Env/></Message>",
    "an entity": '<!DOCTYPE Message [<!ENTITY a "b">]><Message>&a;</Message>',
    "a file": '<!DOCTYPE Message [<!ENTITY a SYSTEM "file:///etc/passwd">]><Message><Env a="&a;"/></Message>',
    "an entity that grows": "<!DOCTYPE M [<!ENTITY a0 'xx'>"
    + "".join(f"<!ENTITY a{n} '&a{n - 1};&a{n - 1};'>" for n in range(1, 60))
    + "]><Message>&a59;</Message>",
    "an unknown entity": "<Message>&auml;</Message>",
    "depth": "<Message>" + "<Skin>" * 100_000 + "</Skin>" * 100_000 + "</Message>",
    "tags": "<Message>" + "<Skin/>" * 600_000 + "</Message>",
    "attributes": "<Message " + " ".join(f"a{n}=''" for n in range(100_000)) + "/>",
    "a long name": f"<{'x' * 1_000_000}/>",
    "an encoding": '<?xml version="1.0" encoding="klingon"?><Message/>',
    "nothing": "",
    "another root": "<Massage><Env/></Massage>",
    "a NUL": "<Message>\0</Message>",
    "a NUL behind": "<Message/>\0<Message/>",
    "a NUL at the end": "<Message/>\0",
    "two": "<Message/><Message/>",
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_hostile_xml_is_an_error(site, document):
    dialect = site(call_of("A"))
    dialect.log_in()
    data = document.encode()
    with pytest.raises(RemoteProtocolError) as error:
        dialect.receive(len(data).to_bytes(4, "big") + data)
    assert len(str(error.value)) < 500
    assert "root:" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patterns", "child"),
    [
        ({}, "<Skin/>"),
        ({"ignored": ("Cmd", "ModC"), "accepted": "Cmd[1] | ModC[2] | Panel"}, "<Cmd/><ModC/>"),
        ({"ignored": ("Cmd",), "accepted": "Cmd//R | Cmd/R/.. | Cmd[preceding-sibling::Cmd]"}, "<Cmd><S/></Cmd>"),
        ({"output": "Cmd | ModC | //x"}, "<Cmd/><ModC/>"),
    ],
)
def test_a_message_with_very_many_children_takes_time_by_its_length(site, patterns, child):
    """Eight times as many, 100,000 at last: by the square that would be 64 times the time."""
    taken = []
    for count in (12_500, 100_000):
        dialect = with_(site, **patterns)(call_of("A").replace(is_traced=False))
        dialect.log_in()
        server = PlantaServer(DONE)
        dialect.receive(server.frame("<Message><Env/></Message>"))
        dialect.submit()
        children = child * (count // child.count("/>"))
        data = server.frame(f"<Message>{children}</Message>")
        begun = time.process_time()
        try:
            dialect.receive(data)
        except RemoteProtocolError as error:  # behind the time that it took
            assert "A11" in str(error)
        taken.append(time.process_time() - begun)
    assert taken[1] < 30 * max(taken[0], 0.01)


def test_many_signs_of_equality_are_no_attributes(site):
    text = "a='x' " * 20_000
    assert talk(site, replace(DONE, output=f'<EvLogMsg x="{text}"/>{text}'), "A").events[-1] == Ended("ok")


def test_what_is_found_in_a_long_message_is_what_is_found_in_a_short_one(site):
    children = ["<Skin/>"] * 250
    children[3] = children[120] = children[249] = "<EvLogMsg>x</EvLogMsg>"
    done = talk(site, replace(DONE, output="".join(children)), "A")
    assert done.events.count(Output(None, "stdout", "x\n")) == 3
