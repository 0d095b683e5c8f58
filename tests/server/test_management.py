"""`python -m headless serve | user | jobs`: what an administrator types, what is printed, and the exit status. What a
server then does is in test_server.py and test_jobs.py."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
import trustme

from headless.server.accounts import Account
from support.credentials import PASSWORD
from support.homes import R41, make_home
from support.in_process import run_here
from support.job_code import Gate
from support.job_server import QuickServer, journal
from support.process import PATIENCE, ROOT, current_user, manage
from support.raw_client import RawClient, connect, osuser_login, py_code, run


@pytest.fixture
def home(tmp_path):
    """A home with the account R41, and no server."""
    make_home(tmp_path / "home", R41)
    return str(tmp_path / "home")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with QuickServer(tmp_path_factory.mktemp("management") / "home") as server:
        yield server


def prints(*argv: str, stdin: bytes = b"") -> list[str]:
    """The lines on stdout of a command that succeeds."""
    done = run_here(*argv, stdin=stdin)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


def fails(word: str, *argv: str, stdin: bytes = b"") -> None:
    """The command ends with 1, prints nothing on stdout, and one line with this word on stderr."""
    done = run_here(*argv, stdin=stdin)
    assert (done.status, done.stdout) == (1, "")
    (complaint,) = done.stderr.splitlines()
    assert " error: " in complaint
    assert word in complaint


def listed(home: str) -> list[str]:
    return prints("user", "list", "--home", home)


# user


def test_accounts_are_listed_by_name_with_the_ways_to_log_in(home):
    stdin = f"{PASSWORD}\nnot this\n".encode()
    prints("user", "add", "R43", "--os-user", "jdoe", "--password-stdin", "--home", home, stdin=stdin)
    prints("user", "add", "R40", "--os-user", "jdoe", "--home", home)
    assert listed(home) == ["R40 osuser=jdoe", f"R41 osuser={current_user()}", "R43 challenge osuser=jdoe"]


def test_the_first_account_makes_the_home(tmp_path):
    home = str(tmp_path / "new" / "home")
    assert prints("user", "add", "R41", "--os-user", "jdoe", "--home", home) == []
    assert listed(home) == ["R41 osuser=jdoe"]


def test_a_removed_account_is_gone_and_can_be_added_again(home):
    prints("user", "remove", "R41", "--home", home)
    assert listed(home) == []
    fails("R41", "user", "remove", "R41", "--home", home)
    prints("user", "add", "R41", "--os-user", "jdoe", "--home", home)
    assert listed(home) == ["R41 osuser=jdoe"]


def test_a_user_has_one_account_and_the_second_changes_nothing(home):
    fails("R41", "user", "add", "R41", "--os-user", "jdoe", "--home", home)
    assert listed(home) == [f"R41 osuser={current_user()}"]


def test_a_running_server_knows_a_change_at_once(server):
    def answer() -> str:
        with connect(server) as client:
            return client.ask(osuser_login(user="R60")).tag

    assert answer() == "refused"
    prints("user", "add", "R60", "--os-user", current_user(), "--home", str(server.home))
    assert answer() == "welcome"
    prints("user", "remove", "R60", "--home", str(server.home))
    assert answer() == "refused"


@pytest.mark.parametrize(
    ("password", "word"),
    [
        pytest.param(b"x" * 73 + b"\n", "73 bytes", id="73 bytes"),
        pytest.param("ü".encode() * 37 + b"\n", "74 bytes", id="37 characters in 74 bytes"),
        pytest.param(b"\n", "0 bytes", id="an empty line"),
        pytest.param(b"", "0 bytes", id="nothing"),
        pytest.param(b"a\0b\n", "NUL", id="with a NUL"),
        pytest.param(b"\xff\n", "UTF-8", id="not UTF-8"),
    ],
)
def test_a_password_is_refused_that_is(home, password, word):
    fails(word, "user", "add", "R42", "--password-stdin", "--home", home, stdin=password)
    assert listed(home) == [f"R41 osuser={current_user()}"]


def test_a_password_of_72_bytes_is_the_longest(home):
    prints("user", "add", "R42", "--password-stdin", "--home", home, stdin="ü".encode() * 36 + b"\r\n")
    assert "R42 challenge" in listed(home)


def test_without_a_terminal_nothing_is_asked(home):
    fails("--password-stdin", "user", "add", "R42", "--home", home)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("start",),
        ("user",),
        ("user", "change", "R41"),
        ("user", "add"),
        ("user", "add", ""),
        ("user", "add", "x" * 257),
        ("user", "add", "a\x1bb"),
        ("user", "add", "R42", "--os-user", ""),
        ("user", "add", "R42", "--password", "secret"),
        ("user", "remove"),
        ("user", "list", "R41"),
        ("jobs", "one", "two"),
        ("serve", "--listen", "nonsense"),
        ("serve", "--listen", "127.0.0.1:70000"),
        ("serve", "--listen", ":20000"),
        ("serve", "--workers", "0"),
        ("serve", "--grace", "-1"),
        ("serve", "--grace", "soon"),
        ("serve", "--log-level", "loud"),
        ("serve", "--daemon"),
        ("serve", "--tls-cert", "cert.pem"),
        ("serve", "--tls-key", "key.pem"),
    ],
)
def test_a_command_line_that_must_be_corrected_is_a_2(tmp_path, argv):
    done = run_here(*argv, *(("--home", str(tmp_path / "home")) if len(argv) > 1 else ()))
    assert (done.status, done.stdout) == (2, "")
    assert " error: " in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


# Homes


READING = [("user", "list"), ("user", "remove", "R41"), ("jobs",)]


@pytest.mark.parametrize("argv", READING, ids=" ".join)
def test_what_only_reads_makes_no_home(tmp_path, argv):
    fails("absent", *argv, "--home", str(tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", READING, ids=" ".join)
def test_what_only_reads_leaves_nothing_in_a_folder_that_is_no_home(tmp_path, argv):
    run_here(*argv, "--home", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [*READING, ("serve", "--listen", "127.0.0.1:0"), ("user", "add", "R41", "--os-user", "jdoe")], ids=" ".join
)
def test_a_home_that_is_a_file_cannot_be_used(tmp_path, argv):
    (tmp_path / "file").write_text("keep me")
    fails("file", *argv, "--home", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "keep me"


def test_a_database_that_is_none_cannot_be_used(home):
    with open(os.path.join(home, "planta.sqlite"), "wb") as file:
        file.write(b"no database" * 1000)
    done = manage("jobs", "--home", home, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "planta.sqlite" in done.stderr


def test_the_home_is_planta_home_if_nothing_else_is_sent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prints("user", "add", "R41", "--os-user", "jdoe")
    assert prints("user", "list") == listed(str(tmp_path / "planta-home")) == ["R41 osuser=jdoe"]


# jobs


KEYS = ["session", "job", "user", "kind", "state", "accepted", "started", "ended", "message"]


@pytest.fixture(scope="module")
def failed(server):
    """A session that has failed: its first job was ok and has printed something."""
    (server.home / "modules" / "OK.py").write_text("import sys; print('one\\ntwo'); print('three', file=sys.stderr)")
    with connect(server).log_in() as client:
        client.submit("<module>OK</module>", py_code("raise SystemExit('no such table')"), py_code("1"))
        assert client.report().ended == "failed"
    return client.session


def test_json_is_one_object_a_job(server, failed):
    entries = [entry for entry in journal(server) if entry["session"] == failed]
    assert [list(entry) for entry in entries] == [KEYS] * 3
    fixed = [[entry[key] for key in ("job", "user", "kind", "state", "message")] for entry in entries]
    assert fixed == [
        [1, "R41", "module", "ok", ""],
        [2, "R41", "py_code", "failed", "no such table"],
        [3, "R41", "py_code", "skipped", ""],
    ]


def test_times_are_those_of_the_clock_with_their_time_zone(server):
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)  # the journal shows no more
    run(server, py_code("1"))
    entry = journal(server)[-1]
    accepted, started, ended = (datetime.fromisoformat(entry[key]) for key in ("accepted", "started", "ended"))
    assert before <= accepted <= started <= ended <= datetime.now(timezone.utc)


def test_without_json_it_is_one_line_a_job(server, failed):
    lines = [line for line in prints("jobs", "--home", str(server.home)) if line.startswith(failed)]
    entries = [entry for entry in journal(server) if entry["session"] == failed]
    assert len(lines) == 3
    for line, entry in zip(lines, entries):
        day, time = f"{datetime.fromisoformat(entry['accepted']).astimezone():%Y-%m-%d %H:%M:%S}".split()
        columns = line.split()
        assert columns[:5] == [failed, str(entry["job"]), entry["state"], day, time]
        assert {entry["user"], entry["kind"]} <= set(columns)
        assert line.endswith(entry["message"] or entry["kind"])


def test_a_session_is_shown_alone_and_with_its_output(server, failed):
    run(server, py_code("print('another session')"))
    lines = prints("jobs", failed, "--home", str(server.home))
    assert [line.split()[:2] for line in lines if not line.startswith(" ")] == [
        [failed, "1"],
        [failed, "2"],
        [failed, "3"],
    ]
    assert lines[1:4] == ["  1 stdout: one", "  1 stdout: two", "  1 stderr: three"]
    first = journal(server, failed)[0]
    assert list(first) == [*KEYS, "stdout", "stderr"]
    assert (first["stdout"], first["stderr"]) == ("one\ntwo\n", "three\n")


def test_the_stored_output_is_what_the_job_wrote(server):
    with connect(server).log_in() as client:
        client.submit(py_code("import os; os.write(1, b'10%\\r20%\\r\\n\\xff')"))
        client.report()
    assert journal(server, client.session)[0]["stdout"] == "10%\r20%\r\n\ufffd"


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_session_that_is_not_there_is_a_1(server, json):
    fails("5f0c", "jobs", "5f0c", *json, "--home", str(server.home))


def test_an_empty_journal_is_no_error(home):
    assert prints("jobs", "--home", home) == prints("jobs", "--json", "--home", home) == []


def test_the_journal_survives_and_the_newest_job_is_last(tmp_path):
    gate = Gate(tmp_path / "gate")
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        run(server, py_code("raise SystemExit(1)"), py_code("2"))
        with connect(server).log_in() as running, connect(server).log_in() as waiting:
            running.submit(py_code(gate.code))
            waiting.submit(py_code("1"))
            running.expect("started")
            before = journal(server)
            gate.open()
            waiting.report()
        server.stop()
        server.start()
        run(server, py_code("1"))
        after = journal(server)
    assert [entry["state"] for entry in before] == ["failed", "skipped", "running", "queued"]
    assert [entry["state"] for entry in after] == ["failed", "skipped", "ok", "ok", "ok"]
    assert [entry["session"] for entry in after[:4]] == [entry["session"] for entry in before]
    assert before[:2] == after[:2]
    assert (before[2]["ended"], before[3]["started"], before[3]["ended"]) == (None, None, None)


# What is printed


PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("argv", [("jobs",), ("user", "list")], ids=" ".join)
def test_everything_printed_reaches_a_pipe(server, argv):
    expected = run_here(*argv, "--home", str(server.home)).stdout
    assert server.manage(*argv, env=PLAIN).stdout == expected != ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_what_cannot_be_printed_is_an_error(home):
    command = [sys.executable, "-m", "headless", "user", "list", "--home", home]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, env=PLAIN, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert " error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_character_that_stdout_does_not_know_is_no_error(tmp_path):
    home = str(make_home(tmp_path / "home", Account("Jürgen", "jdoe", None), Account("R41", "jdoe", None)).folder)
    lines = manage("user", "list", "--home", home, env={**PLAIN, "PYTHONIOENCODING": "ascii"}).stdout.splitlines()
    assert lines[1] == "R41 osuser=jdoe"
    assert lines[0].endswith("rgen osuser=jdoe")


def test_output_that_stdout_does_not_know_is_no_error(server):
    with connect(server).log_in() as client:
        client.submit(py_code("raise SystemExit('keine Tabelle für Zürich')"))
        client.report()
    shown = server.manage("jobs", client.session, env={**PLAIN, "PYTHONIOENCODING": "ascii"}).stdout
    assert shown.count("keine Tabelle") == 2


# serve


def test_serve_makes_its_home_and_prints_where_it_listens(tmp_path):
    server = QuickServer(tmp_path / "home")
    server.start()
    assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", server.address)
    assert {"py", "modules"} <= {path.name for path in server.home.iterdir()}
    assert server.stop() == 0


def test_serve_listens_on_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no ::1 here")
    with QuickServer(tmp_path / "home", "--listen", "[::1]:0") as server:
        assert server.address.startswith("[::1]:")
        assert run(server, py_code("print(6)")).output == {(1, "stdout"): "6\n"}


def test_serve_ends_with_a_1_where_somebody_else_listens(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        fails("listen", "serve", "--listen", address, "--home", str(tmp_path / "home"))


@pytest.mark.parametrize("level", ["info", "warning"])
def test_the_log_is_on_stderr_as_detailed_as_wanted(tmp_path, level):
    with QuickServer(tmp_path / "home", "--log-level", level) as server:
        run(server, py_code("1"))
        server.stop()
    assert ("logged in" in server.log) == (level == "info")


def test_with_until_eof_the_server_ends_with_its_standard_input_which_no_job_shares(home):
    command = [sys.executable, "-m", "headless", "serve", "--listen", "127.0.0.1:0", "--home", home, "--until-eof"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().removeprefix("listening on ").strip()
        with RawClient(address).log_in() as client:
            client.submit(py_code("import sys; print(repr(sys.stdin.read()))"))
            assert client.report().output == {(1, "stdout"): "''\n"}
        assert process.communicate(timeout=PATIENCE) == ("", None)
        assert process.returncode == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """An authority, and the files of a certificate that it has issued for 127.0.0.1."""
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    return authority, str(folder / "cert.pem"), str(folder / "key.pem")


def test_with_a_certificate_every_connection_is_tls_from_its_first_byte(tmp_path, certificate):
    authority, cert, key = certificate
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with QuickServer(tmp_path / "home", "--tls-cert", cert, "--tls-key", key) as server:
        with connect(server) as client:
            client.sock = context.wrap_socket(client.sock, server_hostname="127.0.0.1")
            client.log_in().submit(py_code("print(1)"))
            assert client.report().ended == "ok"
        with connect(server) as plain:
            plain.send(osuser_login())
            plain.wait_for_disconnect()
            assert plain.received == []


@pytest.mark.parametrize(("cert", "key"), [("absent.pem", "key"), ("cert", "absent.pem"), ("key", "cert")])
def test_serve_ends_with_a_1_for_a_certificate_that_cannot_be_used(home, certificate, cert, key):
    names = {"cert": certificate[1], "key": certificate[2]}
    fails(
        "certificate", "serve", "--home", home, "--listen", "127.0.0.1:0",
        "--tls-cert", names.get(cert, cert), "--tls-key", names.get(key, key),
    )  # fmt: skip
