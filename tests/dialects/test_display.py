"""Nothing that could prove a password is in what people are shown of messages that others have made, and everything
else is."""

from __future__ import annotations

import time

import pytest
from lxml import etree

from headless.dialects.display import hide_secrets
from headless.dialects.xml_messages import text_of
from support.credentials import HASH, SALT

HIDDEN = "(not shown)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('<Login user="R41" response="x"/>', f'<Login user="R41" response="{HIDDEN}"/>'),
        ("<Login old_hash = 'x' salt='y'>", f"<Login old_hash = \"{HIDDEN}\" salt='y'>"),
        ('<Password value="x"/><User value="y"/>', f'<Password value="{HIDDEN}"/><User value="y"/>'),
        ("<Response>x</Response><a>y</a>", f"<Response>{HIDDEN}</Response><a>y</a>"),
        ("<Pwd><a b='x'>x</a>x</Pwd>y", f'<Pwd><a b="{HIDDEN}">{HIDDEN}</a>{HIDDEN}</Pwd>y'),
        ("<Pwd><![CDATA[x]]><!--x--></Pwd>y", f"<Pwd>{HIDDEN}{HIDDEN}</Pwd>y"),
        ("<p:userPassword>x</p:userPassword>y", f"<p:userPassword>{HIDDEN}</p:userPassword>y"),
        ('<!-- no tag: <Password> --><a b="y">y</a>', '<!-- no tag: <Password> --><a b="y">y</a>'),
        ('<Login response="cut', f'<Login response="{HIDDEN}"'),
        ("<Password>cut", f"<Password>{HIDDEN}"),
        ("the server: password='x', user='y'", f'the server: password="{HIDDEN}", user=\'y\''),
        ("<Login Kennwort='x' user='y'/>", f"<Login Kennwort=\"{HIDDEN}\" user='y'/>"),
        (f"<a>{HASH}</a>", f"<a>{HIDDEN}</a>"),
        (f'<Login salt="{SALT}"/>', f'<Login salt="{SALT}"/>'),
        ("<Skin name='dark'/> 1 < 2 > 1", "<Skin name='dark'/> 1 < 2 > 1"),
    ],
)  # fmt: skip
def test_a_value_with_the_name_of_a_secret_is_not_shown_and_all_others_are(text, shown):
    assert hide_secrets(text) == shown


def test_what_is_known_to_be_a_secret_is_not_shown_wherever_it_is():
    assert hide_secrets("<a b='x0815y'>0815</a>", ["0815", ""]) == f"<a b='x{HIDDEN}y'>{HIDDEN}</a>"
    secret = "&<\">'"
    root = etree.Element("a", b=secret)
    root.text = secret
    written = etree.tostring(root, encoding="unicode") + secret
    assert hide_secrets(written, [secret]) == f'<a b="{HIDDEN}">{HIDDEN}</a>{HIDDEN}'


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<Cmd> no\n <b>such</b> table </Cmd>", "no such table"),
        ('<Cmd name="done" code="3"/>', "done 3"),
        ('<PasswordChange action="start" mandatory="true" old_hash="x"/>', "start true"),
        ("<MessageBox>a<Password>x<b>x</b></Password>b</MessageBox>", "ab"),
        ("<PasswordChange>Choose a new one</PasswordChange>", "Choose a new one"),
    ],
)
def test_the_text_of_an_element_is_without_the_secrets_in_it(xml, text):
    assert text_of(etree.fromstring(xml)) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "pass.",
        "<pass>",
        '<a "',
        "<a '\"",
        "<![CDATA[",
        "<!--",
        "a ",
        " ",
        "a=",
        "a='",
        "<a response='1'>t</a>",
        "$2b$10$",
    ],
)
def test_it_takes_time_by_the_length_of_the_text(piece):
    """Eight times as long: by the square that would be 64 times the time."""
    taken = []
    for count in (5_000, 40_000):
        begun = time.process_time()
        for _ in range(3):
            hide_secrets("<password" + piece * count)
        taken.append(time.process_time() - begun)
    assert taken[1] < 30 * max(taken[0], 0.01)
