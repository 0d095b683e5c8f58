"""headless check --connect: each login is tried at its server, without a job."""

from __future__ import annotations

import json
import os
import sys

import pytest

from support.job_server import JobServer
from support.process import SCRIPT, manage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="files and users of cron")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with JobServer(tmp_path_factory.mktemp("home") / "home") as server:
        yield server


def check(tmp_path, *logins, environment=""):
    lines = [
        f"{number} 2 * * * {sys.executable} {SCRIPT} {login} -t -1 -v -m 009ABC > {tmp_path}/log || echo $?\n"
        for number, login in enumerate(logins)
    ]
    (tmp_path / "crontab").write_text(environment + "".join(lines))
    done = manage("check", "--connect", "--json", str(tmp_path / "crontab"), check=False)
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(each["line"], each["severity"], each["rule"], each["text"]) for each in found]


@pytest.fixture
def secret(server, tmp_path):
    path = tmp_path / "secret"
    path.write_text(server.hash_of_password() + "\n")
    path.chmod(0o400)
    return path


def test_a_login_that_works_is_no_finding_and_leaves_no_job(server, secret, tmp_path):
    before = server.query("SELECT count(*) FROM sessions")
    assert check(tmp_path, f"-s {server.address}", f"-s {server.address} -u R42 -p {secret}") == []
    assert server.query("SELECT count(*) FROM sessions") == before


def test_an_old_password_file_is_found(server, secret, tmp_path):
    old = secret.read_text()
    secret.chmod(0o600)
    secret.write_text(old[:-3] + ("a" if old[-3] != "a" else "b") + old[-2:])
    secret.chmod(0o400)
    (found,) = check(tmp_path, f"-s {server.address} -u R42 -p {secret}")
    assert found[:3] == (1, "error", "login")
    assert "the server refused the login" in found[3]


def test_a_wrong_host_is_found_once_for_all_its_lines(secret, tmp_path):
    login = f"-s 127.0.0.1:1 -u R42 -p {secret}"
    (found,) = check(tmp_path, login, login, login)
    assert found[:3] == (1, "warning", "login")
    assert "no connection to 127.0.0.1 port 1" in found[3]


def test_a_password_file_that_is_missing_is_one_finding_and_nobody_is_asked_for_it(server, tmp_path):
    (found,) = check(tmp_path, f"-s {server.address} -u R42 -p {tmp_path}/missing")
    assert found[:3] == (1, "error", "password-file")


def test_the_dialect_of_the_environment_is_spoken_and_no_other(server, secret, tmp_path, monkeypatch):
    (tmp_path / "dialect.py").write_text("")
    setting = f"PLANTA_PROTOCOL={tmp_path}/dialect.py"
    (found,) = check(tmp_path, f"-s {server.address} -u R42 -p {secret}", environment=f"{setting}\n")
    assert found[:3] == (2, "warning", "not-tried")
    monkeypatch.setenv(*setting.split("="))
    (found,) = check(tmp_path, f"-s {server.address} -u R42 -p {secret}", environment=f"{setting}\n")
    assert found[:3] == (2, "error", "login")
    assert "PLANTA_PROTOCOL" in found[3]
    (found,) = check(tmp_path, f"-s {server.address} -u R42 -p {secret}")
    assert found[:3] == (1, "warning", "not-tried")


def test_what_only_the_shell_knows_is_not_tried(server, secret, tmp_path):
    (found,) = check(tmp_path, f"-s {server.address} -u R42 -p {secret}$X", f"-s $HOST:20000 -u R42 -p {secret}")
    assert found[:3] == (1, "warning", "not-tried")
    assert "(and 1 more)" in found[3]
