"""headless check --connect: each login is tried at its server, without a job. Which ones are tried is asked without a
server."""

from __future__ import annotations

import os
import sys

import pytest

from headless.client import query
from headless.errors import ParameterError
from support import checks
from support.job_server import JobServer
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
    return checks.rules(checks.check("--connect", place / "crontab")[1])


def good(place, server="planta:20000", more="-t -1 -v -m 009ABC"):
    return f"-s {server} -u R41 -p {place}/secret {more} > {place}/log 2>&1"


def test_a_call_without_an_error_is_tried_once_for_each_server_and_login(place, tried):
    assert check(place, good(place), good(place, more="-t -1 -v -m 009DEF"), good(place, "other:20000")) == []
    assert [login.user for login in tried] == ["R41", "R41"]


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda place: good(place, "planta"), "options"),  # no port: there is no server to ask
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
        ((found,),) = checks.check("--connect", place / "crontab")[1:]
        assert found["severity"] == severity


# At a server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with JobServer(tmp_path_factory.mktemp("home") / "home") as server:
        yield server


def check_at(tmp_path, *logins, environment=""):
    lines = [
        f"{number} 2 * * * {sys.executable} {SCRIPT} {login} -t -1 -v -m 009ABC > {tmp_path}/log || echo $?\n"
        for number, login in enumerate(logins)
    ]
    (tmp_path / "crontab").write_text(environment + "".join(lines))
    found = checks.check("--connect", tmp_path / "crontab")[1]
    return [(each["line"], each["severity"], each["rule"], each["text"]) for each in found]


@pytest.fixture
def secret(server, tmp_path):
    path = tmp_path / "secret"
    path.write_text(server.hash_of_password() + "\n")
    path.chmod(0o400)
    return path


@pytest.mark.slow
def test_a_login_that_works_is_no_finding_and_leaves_no_job(server, secret, tmp_path):
    before = server.query("SELECT count(*) FROM sessions")
    assert check_at(tmp_path, f"-s {server.address}", f"-s {server.address} -u R42 -p {secret}") == []
    assert server.query("SELECT count(*) FROM sessions") == before


@pytest.mark.slow
def test_an_old_password_file_is_found(server, secret, tmp_path):
    old = secret.read_text()
    secret.chmod(0o600)
    secret.write_text(old[:-3] + ("a" if old[-3] != "a" else "b") + old[-2:])
    secret.chmod(0o400)
    (found,) = check_at(tmp_path, f"-s {server.address} -u R42 -p {secret}")
    assert found[:3] == (1, "error", "login")
    assert "the server refused the login" in found[3]


@pytest.mark.slow
def test_a_wrong_host_is_found_once_for_all_its_lines(secret, tmp_path):
    login = f"-s 127.0.0.1:1 -u R42 -p {secret}"
    (found,) = check_at(tmp_path, login, login, login)
    assert found[:3] == (1, "warning", "login")
    assert "no connection to 127.0.0.1 port 1" in found[3]


@pytest.mark.slow
def test_a_password_file_that_is_missing_is_one_finding_and_is_not_asked_for(server, tmp_path):
    (found,) = check_at(tmp_path, f"-s {server.address} -u R42 -p {tmp_path}/missing")
    assert found[:3] == (1, "error", "password-file")


@pytest.mark.slow
def test_the_dialect_of_the_environment_is_spoken_and_no_other(server, secret, tmp_path, monkeypatch):
    (tmp_path / "dialect.py").write_text("")
    setting = f"PLANTA_PROTOCOL={tmp_path}/dialect.py"
    (found,) = check_at(tmp_path, f"-s {server.address} -u R42 -p {secret}", environment=f"{setting}\n")
    assert found[:3] == (2, "warning", "not-tried")
    monkeypatch.setenv(*setting.split("="))
    (found,) = check_at(tmp_path, f"-s {server.address} -u R42 -p {secret}", environment=f"{setting}\n")
    assert found[:3] == (2, "error", "login")
    assert "PLANTA_PROTOCOL" in found[3]
    (found,) = check_at(tmp_path, f"-s {server.address} -u R42 -p {secret}")
    assert found[:3] == (1, "warning", "not-tried")


@pytest.mark.slow
def test_what_only_the_shell_knows_is_not_tried(server, secret, tmp_path):
    (found,) = check_at(tmp_path, f"-s {server.address} -u R42 -p {secret}$X", f"-s $HOST:20000 -u R42 -p {secret}")
    assert found[:3] == (1, "warning", "not-tried")
    assert "(and 1 more)" in found[3]
