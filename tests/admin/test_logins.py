"""headless check --connect: each login is tried at its server, without a job. Which ones are tried is asked without a
server."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from headless.client import query
from headless.errors import Interrupted, ParameterError
from support import checks
from support.job_server import JobServer
from support.process import SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files and users of cron")
MORE = "-t -1 -v -m 009ABC > FOLDER/log 2>&1"


def check(folder, *calls, environment=""):
    """The line, the severity and the rule of each finding, and its text."""
    lines = [f"{number} 2 * * * {sys.executable} {SCRIPT} {call} || echo $?\n" for number, call in enumerate(calls)]
    (folder / "crontab").write_text(environment + "".join(lines).replace("FOLDER", str(folder)))
    found = checks.check("--connect", folder / "crontab")[1]
    return [(each["line"], each["severity"], each["rule"]) for each in found], [each["text"] for each in found]


# Which ones are tried


@pytest.fixture
def tried(monkeypatch):
    """The logins that were tried, each of which succeeds."""
    logins = []
    monkeypatch.setattr(query, "log_in", lambda options, _dialect: logins.append((options.service.host, options.login)))
    return logins


GOOD = f"-s planta:20000 -u R41 -p FOLDER/secret {MORE}"


def test_a_call_without_an_error_is_tried_once_for_each_server_and_login(folder, tried):
    calls = [GOOD, GOOD.replace("ABC", "DEF"), GOOD.replace("planta", "other"), GOOD.replace("R41", "R42")]
    assert check(folder, *calls) == ([], [])
    assert [(host, login.user) for host, login in tried] == [("planta", "R41"), ("other", "R41"), ("planta", "R42")]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (":20000", "", "options"),  # no port: there is no server to ask
        ("-m 009ABC", "", "options"),
        ("FOLDER/log", "FOLDER/no/log", "no-folder"),
        ("FOLDER/secret", "FOLDER/missing", "password-file"),  # which must not be asked for
    ],
)
def test_a_call_with_an_error_is_corrected_first_and_not_tried(folder, tried, old, new, rule):
    assert check(folder, GOOD.replace(old, new))[0] == [(1, "error", rule)]
    assert tried == []


def test_what_only_the_shell_knows_is_not_tried(folder, tried):
    calls = [GOOD.replace("FOLDER/secret", "FOLDER/secret$(cat x)"), GOOD.replace("planta", "$(hostname)")]
    found, (text,) = check(folder, *calls)
    assert (found, "(and 1 more)" in text) == ([(1, "warning", "not-tried")], True)
    assert tried == []


def test_a_signal_ends_the_check_and_is_no_finding(folder, monkeypatch):
    def fail(_options, _dialect):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(query, "log_in", fail)
    (folder / "crontab").write_text(
        f"0 2 * * * {sys.executable} {SCRIPT} {GOOD} || echo $?\n".replace("FOLDER", str(folder))
    )
    assert checks.check("--connect", folder / "crontab") == (-signal.SIGTERM, [])


def test_a_login_that_is_refused_is_an_error_and_one_that_fails_otherwise_a_warning(folder, monkeypatch):
    for error, severity in ((ParameterError("refused"), "error"), (ConnectionResetError(), "warning")):

        def fail(_options, _dialect, error=error):
            raise error

        monkeypatch.setattr(query, "log_in", fail)
        assert check(folder, GOOD)[0] == [(1, severity, "login")]


# At a server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with JobServer(tmp_path_factory.mktemp("home") / "home") as server:
        yield server


@pytest.fixture
def login(server, folder):
    secret = folder / "secret"
    secret.unlink()
    secret.write_text(server.hash_of_password() + "\n")
    secret.chmod(0o400)
    return f"-s {server.address} -u R42 -p {secret} {MORE}"


@pytest.mark.slow
def test_a_login_that_works_is_no_finding_and_leaves_no_job_and_an_old_password_file_is_found(server, login, folder):
    before = server.query("SELECT count(*) FROM sessions")
    assert check(folder, f"-s {server.address} {MORE}", login) == ([], [])
    assert server.query("SELECT count(*) FROM sessions") == before
    secret = folder / "secret"
    old = secret.read_text()
    secret.chmod(0o600)
    secret.write_text(old[:-3] + ("a" if old[-3] != "a" else "b") + old[-2:])
    secret.chmod(0o400)
    found, (text,) = check(folder, login)
    assert (found, "the server refused the login" in text) == ([(1, "error", "login")], True)


@pytest.mark.slow
def test_the_dialect_of_the_environment_is_spoken_and_no_other(login, folder, monkeypatch):
    (folder / "dialect.py").write_text("")
    setting = f"PLANTA_PROTOCOL={folder}/dialect.py"
    assert check(folder, login, environment=f"{setting}\n")[0] == [(2, "warning", "not-tried")]
    monkeypatch.setenv(*setting.split("="))
    found, (text,) = check(folder, login, environment=f"{setting}\n")
    assert (found, "PLANTA_PROTOCOL" in text) == ([(2, "error", "login")], True)
    assert check(folder, login)[0] == [(1, "warning", "not-tried")]
