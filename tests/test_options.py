"""What the command makes of its command line, before any connection: texts, parameter errors, values, and what the
dialect cannot carry. That no library is needed for that is in test_process.py."""

from __future__ import annotations

import os
import re

import pytest

from headless.dialects.base import RANDOM_BYTES, Call
from headless.dialects.own.dialect import Dialect
from headless.dialects.vocabulary import CHALLENGE, OSUSER, Job
from headless.errors import ParameterError, UnsupportedCall
from headless.options import ChallengeLogin, JobOptions, OsUserLogin, Service, parse
from support.credentials import HASH
from support.dialogues import serving

LINE = ("-s", "127.0.0.1:1", "-c", "pass")
OPTIONS = ("-s", "-t", "-u", "-a", "-p", "-m", "-f", "-c")

# The page "Headless Client"; its line breaks are not optparse's, so words are compared.
HELP = """
Usage: planta_headless.py [options]

Options:
  --version             Shows the version number and closes the program
  -h, --help            Shows this help message and closes the program
  -q, --quiet           Suppresses all output (default)
  -v, --verbose         Increases the verbosity level with each event: Info-
                        Message, XML sent, XML received
  Connection settings:
    -s HOST:PORT, --service=HOST:PORT
                        Connection to server
    -t TIMEOUT, --timeout=TIMEOUT
                        Waiting time until job termination in seconds, -1 for
                        no time out

  Login options:
    -u USER_NAME, --user=USER_NAME
                        User name for the PLANTA system login
    -a TYPE, --auth_type=TYPE
                        used authentification type for PLANTA login-
                        System: "osuser" or "challenge"
    -p SECRET_FILE, --secret=SECRET_FILE
                        File containing the password hash

  Job specifications:
    -m MOD_ID, --module=MOD_ID
                        The job opens the module with the specified ID on the server.
    -f PYTHON_FILE, --py_file=PYTHON_FILE
                        The job runs a python file
                        on the server.
    -c PYTHON_CODE, --py_code=PYTHON_CODE
                        The job runs a Python code snippet
                        on the server.
"""


def assert_parameter_error(done, *words):
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"planta_headless\.py: error: [^\n]+\n", done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr[:-1].isprintable()
    for word in words:
        assert word in done.stderr


@pytest.mark.version("how optparse lays it out")
def test_the_help_is_word_for_word_that_of_the_documentation_at_80_columns(here):
    shown = [here("--help", env={**os.environ, "COLUMNS": columns}) for columns in ("20", "80", "300")]
    for done in shown:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == HELP.split()
        assert max(map(len, done.stdout.splitlines())) == max(map(len, shown[0].stdout.splitlines())) < 80


@pytest.mark.slow
@pytest.mark.version("how optparse words it")
def test_a_process_ends_with_what_is_shown_here(command):
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "planta_headless.py 39 Mars\n", "")
    assert command("-h").stdout.split() == HELP.split()
    assert_parameter_error(command("-x"), "-x")


@pytest.mark.version("how optparse words it")
def test_a_value_that_is_missing_or_has_control_characters_is_a_parameter_error_on_one_line(here):
    for option in OPTIONS:
        assert_parameter_error(here(*LINE, option), option, "argument")
        assert_parameter_error(here(*LINE, option, "a\x1b[2J\r\nb"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows passes text, not bytes")
def test_bytes_that_are_not_utf8_are_a_parameter_error(command, here):
    assert_parameter_error(command(*LINE, "-c", b"\xff\xfe"))
    for option in OPTIONS:
        assert_parameter_error(here(*LINE, option, os.fsdecode(b"\xff\xfe")))


def assert_refused(argv, match):
    """By the parser."""
    try:
        parse(argv)
    except ParameterError as error:
        assert re.search(match, str(error)), argv
    else:
        pytest.fail(f"{argv} was taken")


def test_a_time_out_that_is_no_whole_number_is_a_parameter_error():
    for value in ("x", "+1", "-2", "-0", "1.5", "1e3", "0x10", "1_0", " 1", "1 ", "٣", "१२", "--1"):
        assert_refused([*LINE, f"-t{value}"], "-t")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((value, int(value)) for value in ("0", "-1", "5", "007", "1" + "0" * 17, "9" * 18, "1" + "0" * 18)),
        *((value, 10**18) for value in (f"{10**18 + 5}", "9" * 19, "1" + "0" * 40, "9" * 9000)),
        ("0" * 9000 + "3", 3),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_time_out_may_have_any_number_of_digits_and_is_never_taken_for_a_shorter_one(value, seconds):
    assert parse([*LINE, "-t", value]).timeout == seconds


def test_a_service_that_is_not_host_and_port_is_a_parameter_error_that_shows_no_password(here):
    for value in ("[::1%]:1", "a..b:1"):
        assert_refused(["-s", value, "-c", "pass"], "-s")
    for value in ("x", ":1", "h:0", "h:1 ", "::1:5", "[x]:5", "TLS://h:1", "http://h:1", "tls://", "u@h:1", "\udcff:1"):
        assert_refused(["-s", value, "-c", "pass"], "-s")
    for value in ("R41:geheim@h:1", "tls://R41:geheim@h:1", "geheim@h"):
        done = here("-s", value, "-c", "1")
        assert_parameter_error(done, "-s with an @ is not")
        assert "geheim" not in done.stderr


@pytest.mark.parametrize(
    ("value", "service"),
    [
        ("h:1", Service("h", 1, False)),
        ("tls://h:20000", Service("h", 20000, True)),
        ("tls://[fe80::1%eth0]:5", Service("fe80::1%eth0", 5, True)),
        ("bücher.example:5", Service("xn--bcher-kva.example", 5, False)),
    ],
)
def test_a_service_is_host_and_port(value, service):
    assert parse(["-s", value, "-c", "pass"]).service == service


@pytest.mark.version("how optparse words it")
def test_what_is_missing_or_too_much_is_named(here):
    for argv, words in (
        ((), ["-s"]),
        (("-c", "pass"), ["-s"]),
        (("-s", "h:1"), ["job"]),
        ((*LINE, "left", "over"), ["left"]),
        ((*LINE, "--", "-v"), ["-v"]),
        ((*LINE, "-x"), ["-x"]),
        ((*LINE, "--ver"), ["ambiguous"]),
        ((*LINE, "--verbose=3"), ["--verbose"]),
        ((*LINE, "-a", "kerberos"), ["-a", "kerberos"]),
        ((*LINE, "-a", "challenge"), ["-u", "-p"]),
        ((*LINE, "-a", "challenge", "-u", "R41"), ["-p"]),
        ((*LINE, "-p", "secret"), ["-u"]),
    ):
        assert_parameter_error(here(*argv), *words)


def test_an_empty_value_and_one_of_white_space_are_parameter_errors():
    for option in OPTIONS:
        for value in ("", " ", "\t", "\n \n", "\u00a0"):
            assert_refused([*LINE, option, value], "has an empty value")


def test_a_hash_in_the_place_of_another_value_is_never_shown(here):
    for words in (*([option] for option in OPTIONS if option != "-c"), [], ["--"]):
        for value in ("{}", " {}\n", "R41:{}", "{}x"):
            done = here(*LINE, *words, value.format(HASH))
            assert_parameter_error(done, "change the password")
            assert HASH[7:20] not in done.stderr
            assert HASH[29:40] not in done.stderr
    for variable in ("PLANTA_PROTOCOL", "PLANTA_PATIENCE", "PLANTA_RECEIPT"):
        done = here(*LINE, "-v", env={**os.environ, variable: HASH})
        assert variable in done.stderr
        assert HASH[7:20] not in done.stderr + done.stdout


def test_a_hash_is_allowed_in_code(here, scripted):
    assert here("-s", scripted(serving()).address, "-c", f"print({HASH!r})").returncode == 0


def test_what_only_a_dialect_may_find_too_much_is_left_to_it_and_jobs_stay_in_their_order():
    for value in ("x" * 257, "a\x01b", "\ufffe"):
        options = parse(["-s", "h:1", "-s", "127.0.0.1:1", "-u", value, "-c", value, "-m", "A", "--py_file=x.py", "-c2",
                         "-t", "5", "-t", "6"])  # fmt: skip
        jobs = Job("py_code", value), Job("module", "A"), Job("py_file", "x.py"), Job("py_code", "2")
        # The last of two values counts, as it always did.
        assert options == JobOptions(Service("127.0.0.1", 1, False), OsUserLogin(value), 6, 0, "", jobs)
    assert len(parse([*LINE, *("-c", "1") * 10_001]).jobs) == 10_002


@pytest.mark.parametrize(
    ("argv", "level"),
    [((), 0), (("-v",), 1), (("-vv",), 2), (("-v", "--verbose", "-v"), 3), (("-vvvvv",), 3), (("-vvq",), 0),
     (("-vvqv",), 1), (("-q",), 0)],
)  # fmt: skip
def test_each_v_is_a_level_and_q_sets_it_back(argv, level):
    assert parse([*LINE, *argv]).verbosity == level


@pytest.mark.parametrize(
    ("argv", "login"),
    [
        ((), OsUserLogin(None)),
        (("-u", "R41"), OsUserLogin("R41")),
        (("-u", "R41", "-p", "f"), ChallengeLogin("R41", "f")),
        (("-u", "R41", "-p", "f", "-a", "challenge"), ChallengeLogin("R41", "f")),
        (("-u", "R41", "-p", "f", "-a", "osuser"), OsUserLogin("R41")),
        (("-p", "f", "-a", "osuser"), OsUserLogin(None)),
    ],
)
def test_the_login_is_challenge_if_there_is_a_password_file(argv, login):
    assert parse([*LINE, *argv]).login == login


@pytest.mark.slow
@pytest.mark.version("the encoding of the command line")
def test_utf8_is_read_in_an_ascii_locale(command, scripted):
    server = scripted(serving())
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert command("-s", server.address, "-c", "print('ü€😀')", env=env).returncode == 0
    server.close()
    assert server.peers[0].received[1] == "<jobs><py_code>print('ü€😀')</py_code></jobs>"


# What this project's dialect cannot carry: it is found before a password file is opened or a connection is made


LONG_NAME = ("-u", "x" * 257, "-c", "pass")


def test_it_is_a_2_on_one_line_before_any_connection(here, scripted):
    server = scripted(serving())
    for argv, text in (
        (("-p", "missing", *LONG_NAME), "-u has 257 characters, at most 256 are allowed"),  # before the file is opened
        (LONG_NAME, "-u has 257 characters, at most 256 are allowed"),
        (("-u", "a\x1b[2Jb", "-c", "pass"), "-u has a control character"),
        (("-m", "009\x08ABC"), "--module has a control character"),
        (("-f", "a\x1b.py"), "--py_file has a control character"),
        (("-c", "login('hunter2')\x01"), "--py_code has a control character"),
        (("-c", "pass", "-m", "009ABC", "-c", "\ufffe"), "--py_code has a control character"),
    ):
        done = here("-s", server.address, "-v", *argv)
        assert done.returncode == 2, text
        assert done.stderr.startswith(f"planta_headless.py: error: {text}")
        assert done.stderr.count("\n") == 1
        assert "hunter2" not in done.stdout + done.stderr
        (last,) = done.stdout.splitlines()
        assert f" info {text}" in last
        assert last.endswith("; jobs: not submitted")
    server.close()
    assert server.peers == []


def call_of(user: str | None, *jobs: Job, login: str = OSUSER) -> Call:
    return Call("client", login, user, "jdoe" if login == OSUSER else "", jobs, bytes(RANDOM_BYTES))


PASS = Job("py_code", "pass")
PLAIN = "\t\n\r ~\x7f\x85\xa0ü\ud7ff\ue000\ufffd\U0010ffff"  # all that XML can carry


@pytest.mark.parametrize("login", [OSUSER, CHALLENGE])
def test_a_call_at_the_limits_is_supported(login):
    Dialect(call_of("x" * 256, *[PASS] * 10_000, login=login))
    Dialect(call_of(PLAIN, *(Job(kind, PLAIN) for kind in ("module", "py_file", "py_code")), login=login))


def test_a_call_beyond_the_limits_is_not():
    for call in (
        *(call_of("x" * 257, PASS, login=login) for login in (OSUSER, CHALLENGE)),
        *(call_of(f"a{c}b", PASS) for c in "\x00\x1f\ud800\ufffe\uffff"),
        *(call_of(None, PASS, Job(kind, "\x0b")) for kind in ("module", "py_file", "py_code")),
    ):
        with pytest.raises(UnsupportedCall):
            Dialect(call)
    with pytest.raises(UnsupportedCall, match="there are 10001 jobs, at most 10000 are allowed"):
        Dialect(call_of(None, *[PASS] * 10_001))
