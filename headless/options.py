"""argv and environment -> checked, immutable options, one type for each command that talks to a server. The names and
texts of planta_headless.py are those of the page "Headless Client", oddities included; the other commands have some of
them.

Nothing here opens a file or a connection, and lxml and bcrypt are not needed.
"""

from __future__ import annotations

import optparse
import os
import re

from headless.dialects.vocabulary import (
    CHALLENGE,
    MAX_NAME_LENGTH,
    MODULE,
    OSUSER,
    PY_CODE,
    PY_FILE,
    Job,
    Value,
    is_xml_text,
)
from headless.errors import OptionMissing, ParameterError
from headless.system import host_and_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

PROGRAM = "planta_headless.py"
PACKAGE = "headless"
VERSION = "planta_headless.py 39 Mars"
NO_TIMEOUT = -1
REHEARSAL = "PLANTA_REHEARSAL"  # the variable under which the command speaks to the server of a rehearsal alone
# The variables that stand for options that are not given. PLANTA_USER is none: a job has it.
DEFAULTS = {"-s": "PLANTA_SERVICE", "-u": "PLANTA_LOGIN_USER", "-p": "PLANTA_SECRET_FILE"}
# Commands of `headless` that talk to a server, and what they are for.
WAIT, CANCEL, SESSIONS, PASSWORD_FILE = "wait", "cancel", "sessions", "password-file"
PURPOSES = {
    WAIT: "Waits for the end of a session's jobs, with the return codes of planta_headless.py",
    CANCEL: "Ends the jobs of a session, or does not let them start",
    SESSIONS: "Lists the sessions of the user that wait or run, and the last ones that are over",
    PASSWORD_FILE: "Makes the password file of a user, after a login with the password that it asks for",
}
_ABOUT_A_SESSION = (WAIT, CANCEL)


class Service(Value):
    """Says where the server is."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        """As -s has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls://' if self.tls else ''}{host}:{self.port}"


class OsUserLogin(Value):
    """Logs in by the name of the user who runs this process; `user` is the PLANTA user, if that has to be said."""

    user: str | None


class ChallengeLogin(Value):
    """Logs in as a PLANTA user, by the hash in a password file."""

    user: str
    secret_file: str


class Options(Value):
    """Holds what all commands have. `timeout` is in seconds, NO_TIMEOUT for none. `verbosity` is how often -v was
    given, at most 3. `remark` is what -v says of values from the environment."""

    service: Service
    login: OsUserLogin | ChallengeLogin
    timeout: int
    verbosity: int
    remark: str


class JobOptions(Options):
    """Holds the options of planta_headless.py. A `timeout` of 0 starts the jobs and leaves. `patience` is no option: so
    many seconds a server may take to be there and to accept, 0 if PLANTA_PATIENCE says nothing."""

    program = PROGRAM
    jobs: tuple[Job, ...]
    patience: int = 0


class WaitOptions(Options):
    """Leaves out what the jobs have printed so far if it is `from_now` on. `patience` as above."""

    program = f"{PACKAGE} {WAIT}"
    session: str
    from_now: bool = False
    patience: int = 0


class CancelOptions(Options):
    program = f"{PACKAGE} {CANCEL}"
    session: str


class SessionsOptions(Options):
    program = f"{PACKAGE} {SESSIONS}"


class PasswordFileOptions(Options):
    """Takes the password `from_stdin`, or asks for it."""

    program = f"{PACKAGE} {PASSWORD_FILE}"
    login: ChallengeLogin
    from_stdin: bool = False


class Answer(Exception):
    """Answers `--help` or `--version`, by its text."""


class _Given(Value):
    """Holds the value of an option, None if there is none, and what has given it: the option, or its variable."""

    name: str
    text: str | None


def parse(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> JobOptions:
    """Returns the options of planta_headless.py, without the program's name. What is not given has the default of the
    `environment`. Raises ParameterError or Answer."""
    values, rest = _parser().parse_args(list(argv))
    given = _check_values(values, rest, environment)
    if rest:
        raise ParameterError(f"{rest[0][:80]!r} belongs to no option; a value with spaces needs quotes")
    service, timeout = _service(given["-s"]), _timeout(values.timeout)
    login = _login(values.auth_type, given["-u"], given["-p"])
    return JobOptions(
        service=service,
        timeout=timeout,
        login=login,
        jobs=_jobs(values.jobs),
        verbosity=min(values.verbosity, 3),
        remark=_remark(given, login),
    )


def parse_command(
    command: str, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> WaitOptions | CancelOptions | SessionsOptions | PasswordFileOptions:
    """Does the same for one of PURPOSES. `timeout` is never 0 then: there are no jobs to start."""
    values, rest = _parser_of_command(command).parse_args(list(argv))
    given = _check_values(values, rest, environment)
    if len(rest) != (command in _ABOUT_A_SESSION):
        raise ParameterError(f"{command} needs {'one SESSION' if command in _ABOUT_A_SESSION else 'no argument'}")
    session = _text("SESSION", rest[0]) if rest else ""
    if rest and not (session.strip() and len(session) <= MAX_NAME_LENGTH and is_xml_text(session)):
        raise ParameterError(f"{session[:80]!r} is not the name of a session")
    service, timeout = _service(given["-s"]), _timeout(values.timeout) or NO_TIMEOUT
    verbosity = min(values.verbosity, 3)
    if command == PASSWORD_FILE:
        challenge = _challenge_login(given["-u"], given["-p"])
        remark = _remark(given, challenge)
        return PasswordFileOptions(service, challenge, timeout, verbosity, remark, from_stdin=values.from_stdin)
    login = _login(values.auth_type, given["-u"], given["-p"])
    remark = _remark(given, login)
    if command == WAIT:
        return WaitOptions(service, login, timeout, verbosity, remark, session, from_now=values.from_now)
    if command == CANCEL:
        return CancelOptions(service, login, timeout, verbosity, remark, session)
    return SessionsOptions(service, login, timeout, verbosity, remark)


class _Parser(optparse.OptionParser):
    """Raises instead of printing and ending the process."""

    def error(self, msg: str) -> NoReturn:
        raise ParameterError(msg)

    def print_help(self, _file: object = None) -> NoReturn:
        raise Answer(self.format_help())

    def print_version(self, _file: object = None) -> NoReturn:
        raise Answer(self.get_version() + "\n")


def _parser() -> _Parser:
    # 78 is what optparse leaves of 80 columns; it would ask COLUMNS otherwise.
    parser = _Parser(prog=PROGRAM, version=VERSION, formatter=optparse.IndentedHelpFormatter(width=78))
    parser.set_defaults(jobs=[])
    _add_general_options(
        parser,
        quiet="Suppresses all output (default)",
        timeout="Waiting time until job termination in seconds, -1 for no time out",
    )
    group = optparse.OptionGroup(parser, "Job specifications")
    for flag, kind, metavar, text in (
        ("-m", MODULE, "MOD_ID", "The job opens the module with the specified ID on the server."),
        ("-f", PY_FILE, "PYTHON_FILE", "The job runs a python file on the server."),
        ("-c", PY_CODE, "PYTHON_CODE", "The job runs a Python code snippet on the server."),
    ):
        names = (flag, f"--{kind}")
        group.add_option(
            *names,
            metavar=metavar,
            help=text,
            type="string",
            action="callback",
            callback=_add_job,
            callback_args=(kind,),
        )
    parser.add_option_group(group)
    return parser


def _add_job(_option: optparse.Option, _flag: str, value: str, parser: optparse.OptionParser, kind: str) -> None:
    assert parser.values is not None
    parser.values.jobs = [*parser.values.jobs, (kind, value)]


def _parser_of_command(command: str) -> _Parser:
    parser = _Parser(
        prog=f"{PACKAGE} {command}",
        usage="%prog [options]" + (" SESSION" if command in _ABOUT_A_SESSION else ""),
        version=VERSION,
        description=PURPOSES[command],
        formatter=optparse.IndentedHelpFormatter(width=78),
    )
    parser.set_defaults(from_now=False, from_stdin=False)
    if command == PASSWORD_FILE:
        parser.add_option(
            "--password-stdin",
            action="store_true",
            dest="from_stdin",
            help="Takes the password, one line, from standard input instead of asking at the terminal",
        )
    if command == WAIT:
        parser.add_option(
            "--new", action="store_true", dest="from_now", help="Leaves out what the jobs have printed by now"
        )
        quiet = "Suppresses all output (default)"
        timeout = "Waiting time until job termination in seconds; without it, or with 0 or -1, there is no time out"
    else:
        quiet = "Shows nothing but the answer (default)"
        timeout = "Waiting time for the answer in seconds; without it, 30"
    _add_general_options(parser, quiet, timeout)
    return parser


def _add_general_options(parser: _Parser, quiet: str, timeout: str) -> None:
    """Adds all but those of the jobs. `quiet` and `timeout` are the help texts of these."""
    parser.set_defaults(verbosity=0)
    for flag, text in (
        ("--version", "Shows the version number and closes the program"),
        ("--help", "Shows this help message and closes the program"),
    ):
        option = parser.get_option(flag)
        assert option is not None
        option.help = text
    parser.add_option("-q", "--quiet", action="store_const", const=0, dest="verbosity", help=quiet)
    parser.add_option(
        "-v",
        "--verbose",
        action="count",
        dest="verbosity",
        help="Increases the verbosity level with each event: Info-Message, XML sent, XML received",
    )

    group = optparse.OptionGroup(parser, "Connection settings")
    group.add_option("-s", "--service", metavar="HOST:PORT", help="Connection to server")
    group.add_option("-t", "--timeout", help=timeout)
    parser.add_option_group(group)

    group = optparse.OptionGroup(parser, "Login options")
    group.add_option("-u", "--user", metavar="USER_NAME", help="User name for the PLANTA system login")
    # "login- System": so the page breaks it.
    group.add_option(
        "-a",
        "--auth_type",
        metavar="TYPE",
        help='used authentification type for PLANTA login- System: "osuser" or "challenge"',
    )
    group.add_option(
        "-p", "--secret", metavar="SECRET_FILE", dest="secret_file", help="File containing the password hash"
    )
    parser.add_option_group(group)


def _check_values(
    values: optparse.Values, rest: Sequence[str], environment: Mapping[str, str] | None
) -> dict[str, _Given]:
    """Returns what -s, -u and -p are, from the environment where they are not given.

    Raises ParameterError for an option that was given nothing: a variable of a script was empty, say; and for a hash
    where it would be shown to others.
    """
    options = {"-s": values.service, "-u": values.user, "-p": values.secret_file}
    single = (*options.items(), ("-t", values.timeout), ("-a", values.auth_type))
    jobs = [(f"--{kind}", value) for kind, value in getattr(values, "jobs", [])]
    for option, value in (*single, *jobs):
        if value is not None and not value.strip():
            raise ParameterError(f"{option} has an empty value")
    defaults = {name: (environment or {}).get(name, "") for name in DEFAULTS.values()}
    shown = [(option, value) for option, value in (*single, *jobs) if value and option != f"--{PY_CODE}"]
    for option, value in (*shown, *(("the command line", text) for text in rest), *defaults.items()):
        check_no_hash(option, value)
    given = {}
    for option, name in DEFAULTS.items():
        is_default = options[option] is None and defaults[name].strip()
        given[option] = _Given(name, defaults[name]) if is_default else _Given(option, options[option])
    return given


def check_no_hash(name: str, value: str) -> None:
    """Raises ParameterError, whose text does not show the value, if there is a bcrypt hash in it."""
    if "$2" not in value:
        return
    from headless.dialects.bcrypt_hash import is_like_hash

    if is_like_hash(value):
        what = "names a file, and this is a hash itself" if name in ("-p", DEFAULTS["-p"]) else "holds a bcrypt hash"
        raise ParameterError(
            f"{name} {what}: put it into a file for -p, and change the password if others can have seen it"
        )


def _service(given: _Given) -> Service:
    value = given.text
    if value is None:
        raise OptionMissing("-s HOST:PORT is missing", "-s")
    try:
        host, port = host_and_port(value.removeprefix("tls://"))
    except ValueError as error:
        shown = "with an @" if "@" in value else repr(value)  # there may be a password before it
        reason = str(error).replace("HOST:PORT", "[tls://]HOST:PORT")
        raise ParameterError(f"{given.name} {shown} {reason}") from None
    return Service(host, port, tls=value.startswith("tls://"))


def _timeout(value: str | None) -> int:
    if value is None:
        return 0
    if value == str(NO_TIMEOUT):
        return NO_TIMEOUT
    if not re.fullmatch("[0-9]+", value):
        raise ParameterError(f"-t {value!r} is not a whole number of seconds, nor -1 for no time out")
    return int(value[-18:]) if not value[:-18].strip("0") else 10**18


def patience(value: str) -> int:
    """Returns what PLANTA_PATIENCE says, in seconds; 0 for an empty value. Raises ParameterError."""
    check_no_hash("PLANTA_PATIENCE", value)
    if value and not re.fullmatch("0*[1-9][0-9]{0,8}", value):
        raise ParameterError(f"PLANTA_PATIENCE {value[:80]!r} is not a whole number of seconds from 1 to 999999999")
    return int(value or 0)


def refuse_in_rehearsal(command: str) -> None:
    """Raises ParameterError inside of a rehearsal: this command would reach a server of somebody else."""
    if REHEARSAL in os.environ:
        raise ParameterError(f"this is a rehearsal ({REHEARSAL} is set): {command} would reach another server")


def _login(auth_type: str | None, user: _Given, secret_file: _Given) -> OsUserLogin | ChallengeLogin:
    auth_type = auth_type or (CHALLENGE if secret_file.text else OSUSER)
    if auth_type not in (OSUSER, CHALLENGE):
        raise ParameterError(f'-a {auth_type!r} is neither "{OSUSER}" nor "{CHALLENGE}"')
    if auth_type == OSUSER:
        return OsUserLogin(None if user.text is None else _text(user.name, user.text))
    return _challenge_login(user, secret_file)


def _challenge_login(user: _Given, secret_file: _Given) -> ChallengeLogin:
    if user.text is None or secret_file.text is None:
        default = f" (which {secret_file.name} gives)" if secret_file.name == DEFAULTS["-p"] else ""
        text = f"the challenge login needs both -u USER_NAME and -p SECRET_FILE{default}"
        raise OptionMissing(text, "-u" if user.text is None else "-p")
    return ChallengeLogin(_text(user.name, user.text), secret_file.text)


def _remark(given: Mapping[str, _Given], login: OsUserLogin | ChallengeLogin) -> str:
    used = {option: each for option, each in given.items() if option != "-p" or isinstance(login, ChallengeLogin)}
    names = [each.name for option, each in used.items() if each.name != option]
    return f"from the environment: {', '.join(names)}" if names else ""


def _jobs(given: list[tuple[str, str]]) -> tuple[Job, ...]:
    if not given:
        raise ParameterError("there is no job: at least one -m, -f or -c is needed")
    return tuple(Job(kind, _text(f"--{kind}", value)) for kind, value in given)


def _text(option: str, value: str) -> str:
    """Returns the value as text. In an ASCII locale Python hides bytes of UTF-8 in surrogates."""
    if value.isascii() or not re.search("[\udc80-\udcff]", value):
        return value
    try:
        return os.fsencode(value).decode("utf-8")
    except UnicodeError:
        raise ParameterError(f"{option} is not text in UTF-8") from None
