"""PLANTA_SERVICE, PLANTA_LOGIN_USER and PLANTA_SECRET_FILE: what stands for -s, -u and -p where these are not given."""

from __future__ import annotations

import os

import pytest

from headless.errors import ParameterError
from headless.options import ChallengeLogin, OsUserLogin, PasswordFileOptions, Service, parse, parse_command
from support.command_here import headless
from support.credentials import HASH
from support.dialogues import serving

SERVICE, USER, FILE = "PLANTA_SERVICE", "PLANTA_LOGIN_USER", "PLANTA_SECRET_FILE"
ALL = {SERVICE: "tls://planta:20000", USER: "R41", FILE: "/planta/jobs/r41.secret"}
SERVER, LOGIN = Service("planta", 20000, True), ChallengeLogin("R41", "/planta/jobs/r41.secret")


def refused(environment, *argv):
    """The text of the parameter error."""
    with pytest.raises(ParameterError) as error:
        parse(argv, environment)
    return str(error.value)


@pytest.mark.parametrize(
    ("environment", "argv", "service", "login"),
    [
        (ALL, (), SERVER, LOGIN),
        (ALL, ("-s", "h:1"), Service("h", 1, False), LOGIN),
        (ALL, ("-u", "R42"), SERVER, ChallengeLogin("R42", LOGIN.secret_file)),
        (ALL, ("-p", "f"), SERVER, ChallengeLogin("R41", "f")),
        (ALL, ("-a", "osuser"), SERVER, OsUserLogin("R41")),
        ({SERVICE: "h:1", FILE: "f"}, ("-u", "R42"), Service("h", 1, False), ChallengeLogin("R42", "f")),
        ({SERVICE: "h:1", USER: "R41"}, (), Service("h", 1, False), OsUserLogin("R41")),
        ({**ALL, USER: "", FILE: " "}, (), SERVER, OsUserLogin(None)),
        ({**ALL, SERVICE: "no server"}, ("-s", "h:1"), Service("h", 1, False), LOGIN),
        ({**ALL, "PLANTA_USER": "R43"}, (), SERVER, LOGIN),
    ],
)
def test_a_variable_stands_for_an_option_that_is_not_given(environment, argv, service, login):
    options = parse(("-m", "009ABC", *argv), environment)
    assert (options.service, options.login) == (service, login)
    assert (FILE in options.remark) == (isinstance(login, ChallengeLogin) and "-p" not in argv)


def test_without_the_environment_nothing_is_read(monkeypatch):
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ParameterError, match="-s HOST:PORT is missing"):
        parse(["-c", "pass"])


@pytest.mark.parametrize("command", ["wait", "cancel", "sessions", "password-file"])
def test_the_commands_that_log_in_know_them_too(command):
    argv = ["42"] if command in ("wait", "cancel") else []
    options = parse_command(command, argv, ALL)
    assert (options.service, options.login) == (SERVER, LOGIN)
    options = parse_command(command, [*argv, "-s", "h:1", "-p", "f"], ALL)
    assert (options.service, options.login) == (Service("h", 1, False), ChallengeLogin("R41", "f"))
    assert not isinstance(options, PasswordFileOptions) or options.remark == "from the environment: PLANTA_LOGIN_USER"


def test_a_value_that_cannot_be_used_names_its_variable():
    line = ("-c", "pass")
    assert refused({**ALL, SERVICE: "planta"}, *line).startswith("PLANTA_SERVICE 'planta' is not [tls://]HOST:PORT")
    assert "geheim" not in refused({**ALL, SERVICE: "R41:geheim@planta:1"}, *line)
    assert refused({**ALL, USER: "\udcff"}, *line) == "PLANTA_LOGIN_USER is not text in UTF-8"
    missing = refused({SERVICE: "h:1", FILE: "f"}, *line)
    assert missing == "the challenge login needs both -u USER_NAME and -p SECRET_FILE (which PLANTA_SECRET_FILE gives)"


def test_a_hash_is_refused_and_not_shown_also_where_an_option_is_given():
    for name in ALL:
        for argv in ((), ("-s", "h:1", "-u", "R41", "-p", "f")):
            text = refused({**ALL, name: f"x{HASH}"}, "-c", "pass", *argv)
            assert text.startswith(name)
            assert "change the password" in text
            assert HASH[7:20] not in text


def test_a_call_uses_them_and_v_says_which_ones(here, scripted):
    server = scripted(serving())
    environment = {**os.environ, SERVICE: server.address, USER: "R41"}
    done = here("-v", "-c", "pass", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith(" info from the environment: PLANTA_SERVICE, PLANTA_LOGIN_USER")
    assert 'user="R41"' in server.peers[0].received[0]
    assert "environment" not in here("-v", "-c", "pass", "-s", server.address, env=dict(os.environ)).stdout


def test_a_command_uses_them_and_v_says_which_ones(scripted):
    server = scripted(serving())
    done = headless("sessions", "-v", env={**os.environ, SERVICE: server.address})
    assert done.stdout.splitlines()[0].endswith(" info from the environment: PLANTA_SERVICE")


def test_a_mistake_in_one_is_a_2_with_its_name(here):
    done = here("-c", "pass", env={**os.environ, SERVICE: "planta"})
    assert done.returncode == 2
    assert done.stderr.startswith("planta_headless.py: error: PLANTA_SERVICE 'planta' is not ")


def test_what_only_the_dialect_finds_too_long_has_the_name_of_its_variable(here):
    environment = {**os.environ, SERVICE: "127.0.0.1:1", USER: "x" * 257}
    for done in (here("-c", "pass", env=environment), headless("sessions", "-q", env=environment)):
        assert done.returncode == 2
        assert " error: PLANTA_LOGIN_USER has 257 characters, at most 256 are allowed" in done.stderr
    assert " error: -u has 257 characters" in here("-c", "pass", "-u", "y" * 257, env=environment).stderr


def test_a_rehearsal_checks_them_and_needs_none(rehearse):
    rehearse.environment |= {SERVICE: "planta", USER: "R41"}
    done = rehearse("-c", "pass")
    assert (done.returncode, "PLANTA_SERVICE 'planta'" in done.stderr) == (2, True)
    rehearse.environment[SERVICE] = ""
    del rehearse.environment[USER]
    assert rehearse("-c", "pass", "--help").returncode == 0


@pytest.mark.slow
def test_a_rehearsal_runs_as_the_user_that_they_name_and_its_jobs_inherit_none(rehearse):
    rehearse.environment |= {SERVICE: "planta:20000", USER: "R41"}
    code = f"import os; print(os.environ['PLANTA_USER'], sorted(set(os.environ) & {set(ALL)}))"
    done = rehearse("-v", "-t", "-1", "-c", code)
    assert done.returncode == 0
    assert "job 1 stdout: R41 []\n" in done.stdout
    assert " info from the environment: PLANTA_SERVICE, PLANTA_LOGIN_USER\n" in done.stdout
