"""Which logins `check --connect` tries, and which it leaves alone, without a server."""

from __future__ import annotations

import json
import os
import sys

import pytest

from headless.client import query
from headless.errors import ParameterError
from support.command_here import headless
from support.process import SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")


@pytest.fixture
def tried(monkeypatch):
    """The logins that were tried, each of which goes well."""
    logins = []
    monkeypatch.setattr(query, "log_in", lambda options, _dialect: logins.append(options.login))
    return logins


def check(place, *calls):
    """The rules that the findings are of."""
    lines = [f"{number} 2 * * * {sys.executable} {SCRIPT} {call} || echo $?\n" for number, call in enumerate(calls)]
    (place / "crontab").write_text("".join(lines))
    done = headless("check", "--connect", "--json", str(place / "crontab"))
    assert done.stderr == ""
    return [json.loads(line)["rule"] for line in done.stdout.splitlines()]


def good(place, server="planta:20000", more="-t -1 -v -m 009ABC"):
    return f"-s {server} -u R41 -p {place}/secret {more} > {place}/log 2>&1"


def test_a_call_without_an_error_is_tried_once_for_each_server_and_login(place, tried):
    assert check(place, good(place), good(place, more="-t -1 -v -m 009DEF"), good(place, "other:20000")) == []
    assert [login.user for login in tried] == ["R41", "R41"]


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda place: good(place, "planta"), "options"),  # no port: nobody knows whom to ask
        (lambda place: good(place, more="-t -1 -v"), "options"),
        (lambda place: good(place).replace(f" > {place}/log 2>&1", f" > {place}/no/log 2>&1"), "no-folder"),
    ],
)
def test_a_call_with_an_error_is_corrected_first_and_not_tried(place, tried, call, rule):
    assert check(place, call(place)) == [rule]
    assert tried == []


def test_a_login_that_is_refused_is_an_error_and_one_that_fails_otherwise_a_warning(place, monkeypatch):
    for error, severity in ((ParameterError("refused"), "error"), (ConnectionResetError(), "warning")):

        def fail(_options, _dialect, error=error):
            raise error

        monkeypatch.setattr(query, "log_in", fail)
        assert check(place, good(place)) == ["login"]
        found = json.loads(headless("check", "--connect", "--json", str(place / "crontab")).stdout)
        assert found["severity"] == severity
