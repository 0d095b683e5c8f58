"""Sessions and their jobs: how jobs are run, what they find, how they end, and what of their output arrives."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import pytest

from support.job_code import Gate
from support.job_server import QuickServer, journal, states
from support.raw_client import RawClient, connect, in_jobs, py_code, run, run_together
from support.server_here import ServerHere
from support.sockets import reset
from support.waiting import wait_until

pytestmark = pytest.mark.slow
of_asyncio = pytest.mark.version("asyncio")


# What programs of Windows expect of every environment.
NAMES_OF_WINDOWS = (
    "SYSTEMROOT", "WINDIR", "SYSTEMDRIVE", "USERNAME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "APPDATA",
    "PROGRAMFILES", "PROGRAMFILES(X86)",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests that leave it as it is. What its own environment holds is not for jobs."""
    server = QuickServer(tmp_path_factory.mktemp("jobs") / "home", "--workers", "8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_OF_THE_SERVER", "hunter2")
        patch.setenv("BASH_ENV", "/nowhere")
        for name in NAMES_OF_WINDOWS:
            if name not in os.environ:
                patch.setenv(name, f"a value of {name}")
        server.__enter__()
    yield server
    server.__exit__()


# How a job ends


REASONS = {  # by what a job does
    "raise SystemExit(3)": "exit status 3",
    "import sys; print(' \\n', file=sys.stderr); sys.exit(4)": "exit status 4",
    "import sys; sys.exit('no such table')": "no such table",
    "raise KeyError('R41')": "KeyError: 'R41'",
    "import os; os.kill(os.getpid(), 9)": "ended by SIGKILL" if os.name != "nt" else "exit status 9",
    "import os; os.write(2, b'\\xff\\x00\\x1b[2J\\n'); os._exit(1)": "\ufffd\ufffd\ufffd[2J",
}


@pytest.mark.version("how the interpreter words it")
def test_a_job_that_fails_gives_the_reason_in_the_last_line_of_its_stderr(server):
    reports = run_together(server, REASONS)
    ends = {code: (report.finished, report.ended) for code, report in zip(REASONS, reports)}
    assert ends == {code: ([("failed", reason)], "failed") for code, reason in REASONS.items()}
    ((status, reason),) = run(server, py_code("x = (")).finished
    assert (status, reason.partition(":")[0]) == ("failed", "SyntaxError")


def test_a_job_is_judged_as_a_shell_judges_it(server):
    """Which sees an exit status modulo 256; Windows has all of it."""
    ends = {256: "ok", 512: "ok", 257: "failed", -256: "ok"}
    reports = run_together(server, [f"raise SystemExit({status})" for status in ends])
    assert [report.ended for report in reports] == [end if os.name != "nt" else "failed" for end in ends.values()]


def test_a_job_that_ends_with_0_is_ok_whatever_it_prints(server):
    report = run(server, py_code("import sys; print(42); print('careful', file=sys.stderr)"))
    assert report == ({(1, "stdout"): "42\n", (1, "stderr"): "careful\n"}, [("ok", "")], "ok")


def test_jobs_of_all_kinds_run_in_order_one_after_the_other(server):
    (server.home / "modules" / "009ABC.py").write_text("print('module', open('trace').read())")
    (server.home / "py" / "nightly").mkdir()
    (server.home / "py" / "nightly" / "close.py").write_text("print('file'); open('trace', 'a').write('2')")
    report = run(
        server,
        py_code("print('code'); open('trace', 'w').write('1')"),
        "<py_file>nightly/close.py</py_file>",
        "<module>009ABC</module>",
    )
    assert report.finished == [("ok", "")] * 3
    assert report.output == {(1, "stdout"): "code\n", (2, "stdout"): "file\n", (3, "stdout"): "module 12\n"}


def test_a_failed_job_ends_the_session(server, tmp_path):
    marker = tmp_path / "marker"
    with connect(server).log_in() as client:
        client.submit(py_code("1"), py_code("raise SystemExit(1)"), *[py_code(f"open({str(marker)!r}, 'w')")] * 2)
        report = client.report()
    assert [status for status, _ in report.finished] == ["ok", "failed", "skipped", "skipped"]
    assert report.ended == "failed"
    assert states(server, client.session) == ["ok", "failed", "skipped", "skipped"]
    assert not marker.exists()


def test_a_file_that_has_gone_since_the_session_was_accepted_is_a_failed_job(server, gate):
    (server.home / "py" / "soon_gone.py").write_text("1")
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), "<py_file>soon_gone.py</py_file>", py_code("1"))
        (server.home / "py" / "soon_gone.py").unlink()
        gate.open()
        report = client.report()
    assert [status for status, _ in report.finished] == ["ok", "failed", "skipped"]
    assert "soon_gone.py" in report.finished[1][1]


# Output


OUTPUTS = {
    b"no newline": "no newline",
    "Zürich €\n".encode(): "Zürich €\n",
    b"Z\xfcrich": "Z\ufffdrich",
    "€".encode()[:2]: "\ufffd",
    b"\x00\x1b[2J\x07\xef\xbf\xbe": "\ufffd\ufffd[2J\ufffd\ufffd",  # what XML cannot carry
    b"10%\r20%\r\n\t.": "10%\r20%\r\n\t.",
    b"]]><ended status=\"ok\"/>&amp;&#0;": "]]><ended status=\"ok\"/>&amp;&#0;",
}  # fmt: skip


def test_output_arrives_as_it_was_written_as_far_as_xml_can_carry_it(server):
    report = run(server, *(py_code(f"import os; os.write(1, {data!r}); os.write(2, {data!r})") for data in OUTPUTS))
    expected = {
        (job, stream): arrives.replace(os.linesep, "\n")
        for job, arrives in enumerate(OUTPUTS.values(), 1)
        for stream in ("stdout", "stderr")
    }
    assert report == (expected, [("ok", "")] * len(OUTPUTS), "ok")


def test_much_output_arrives_whole_and_in_order(server):
    code = "for n in range(30): print(''.join(f'{n:02} {m:04} €\\n' for m in range(3000)), end='')"
    report = run(server, py_code(code))
    assert report.ended == "ok"
    assert report.output == {(1, "stdout"): "".join(f"{n:02} {m:04} €\n" for n in range(30) for m in range(3000))}


def test_output_arrives_while_the_job_runs_without_a_flush_in_whole_characters(server, gate):
    with connect(server).log_in() as client:
        client.submit(
            py_code(f"import os\nprint('5', end=' ')\nos.write(1, b'\\xe2\\x82')\n{gate.code}os.write(1, b'\\xac')")
        )
        assert client.expect("started").attrib == {"job": "1"}
        output = client.expect("output")
        assert (output.attrib, output.text) == ({"job": "1", "stream": "stdout"}, "5 ")
        gate.open()
        assert client.report().output == {(1, "stdout"): "€"}


# What a job finds


@pytest.fixture(scope="module")
def found(server):
    """Session, environments and standard inputs of two jobs."""
    look = py_code("import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read()]))")
    with connect(server).log_in() as client:
        client.submit(look, look)
        output = client.report().output
    return client.session, *zip(*(json.loads(output[job, "stdout"]) for job in (1, 2)))


def test_a_job_knows_its_session_user_and_number_and_gets_no_input(found):
    session, environments, inputs = found
    names = ("PLANTA_SESSION", "PLANTA_USER", "PLANTA_JOB")
    known = [tuple(environment[name] for name in names) for environment in environments]
    assert known == [(session, "R41", "1"), (session, "R41", "2")]
    assert inputs == ("", "")


def test_a_job_sees_of_the_servers_environment_only_what_programs_expect(found):
    environment = found[1][0]
    assert "PATH" in environment
    assert not {"SECRET_OF_THE_SERVER", "BASH_ENV"} & set(environment)
    for name in NAMES_OF_WINDOWS:
        assert environment[name] == os.environ.get(name, f"a value of {name}")


def test_every_kind_of_job_works_in_py_and_imports_from_there(server):
    code = "import os, own_module; print(os.getcwd(), own_module.answer)"
    (server.home / "py" / "own_module.py").write_text("answer = 42")
    (server.home / "py" / "sub").mkdir()
    (server.home / "py" / "sub" / "importing.py").write_text(code)
    (server.home / "modules" / "IMPORTING.py").write_text(code)
    report = run(server, py_code(code), "<py_file>sub/importing.py</py_file>", "<module>IMPORTING</module>")
    assert report.output == {(job, "stdout"): f"{os.path.realpath(server.home / 'py')} 42\n" for job in (1, 2, 3)}


def test_code_arrives_as_it_was_sent(server):
    code = "text = '''a\tb\nc €<&>\"]]>'''\nprint(ascii(text))"
    assert run(server, py_code(code)).output == {(1, "stdout"): "'a\\tb\\nc \\u20ac<&>\"]]>'\n"}


# How many at a time


def test_with_one_worker_the_second_session_starts_after_the_first(tmp_path, gate):
    with QuickServer(tmp_path / "home", "--workers", "1") as server:
        with connect(server).log_in() as first, connect(server).log_in() as second:
            first.submit(py_code(gate.code), py_code("1"))
            second.submit(py_code("2"))
            first.expect("started")
            assert states(server, second.session) == ["queued"]
            gate.open()
            assert first.report().ended == second.report().ended == "ok"
        one, two, three = journal(server)
    assert one["started"] <= one["ended"] <= two["started"] <= two["ended"] <= three["started"] <= three["ended"]


def test_with_two_workers_two_sessions_run_at_a_time(tmp_path):
    with (
        QuickServer(tmp_path / "home", "--workers", "2") as server,
        connect(server).log_in() as one,
        connect(server).log_in() as other,
    ):
        for client, own, others in ((one, "a", "b"), (other, "b", "a")):
            client.submit(py_code(f"open('{own}', 'w')\n" + Gate(server.home / "py" / others).code))
        assert one.report().ended == other.report().ended == "ok"


def test_a_server_may_keep_its_files_elsewhere(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "here.py").write_text("import os; print(os.getcwd())")
    with QuickServer(tmp_path / "home", "--py", str(tmp_path / "files")) as server:
        report = run(server, "<py_file>here.py</py_file>")
    assert report.output == {(1, "stdout"): f"{os.path.realpath(tmp_path / 'files')}\n"}


# Sessions that are accepted


@of_asyncio
def test_accepted_is_sent_when_the_session_is_in_the_journal(server):
    with connect(server).log_in() as client:
        client.submit(py_code("1"), py_code("2"))
        with closing(sqlite3.connect(server.home / "planta.sqlite")) as database:
            rows = database.execute(
                "SELECT job FROM jobs WHERE session_id = ? ORDER BY job", (client.session,)
            ).fetchall()
    assert rows == [(1,), (2,)]


@of_asyncio
def test_a_session_that_cannot_be_recorded_is_not_accepted_and_does_not_run(tmp_path):
    marker = tmp_path / "marker"

    with ServerHere(tmp_path / "home", logs_traceback=True, workers=1) as server:
        with closing(sqlite3.connect(tmp_path / "home" / "planta.sqlite")) as database:
            database.execute("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'full'); END")
            with RawClient(server.address).log_in() as client:
                client.send(in_jobs(py_code(f"open({str(marker)!r}, 'w')")))
                client.expect_refusal("busy")
            database.execute("DROP TRIGGER full")
        with RawClient(server.address).log_in() as client:
            client.submit(py_code("1"))
            assert client.report().ended == "ok"
    assert not marker.exists()


LEAVING = {
    "close": lambda client: client.sock.close(),
    "log out": lambda client: client.send("<logout/>"),
    "reset": lambda client: reset(client.sock),
}


@of_asyncio
@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
def test_the_jobs_of_a_client_that_leaves_run_to_their_end(server, gate, tmp_path, leave):
    marker = tmp_path / "marker"
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code), py_code(f"open({str(marker)!r}, 'w')"))
        leave(client)
    gate.open()
    wait_until(lambda: states(server, client.session) == ["ok", "ok"])
    assert marker.exists()


@of_asyncio
def test_a_client_that_logs_out_without_jobs_leaves_no_trace(server):
    with connect(server).log_in() as client:
        client.send("<logout/>")
        client.expect_end()
    assert states(server, client.session) == []


# Times


@of_asyncio
def test_a_session_sends_a_heartbeat_whenever_there_is_nothing_else_to_send(tmp_path, gate):

    # The time to log in is over when the second `alive` comes.
    with (
        ServerHere(tmp_path / "home", heartbeat=0.6, workers=1, login_timeout=1.1) as server,
        RawClient(server.address).log_in() as running,
        RawClient(server.address).log_in() as waiting,
    ):
        assert running.receive() == "<alive/>"
        running.submit(py_code(gate.code))
        running.expect("started")
        waiting.submit(py_code("1"))
        received = running.receive(), waiting.receive()
        gate.open()
        assert received == ("<alive/>", "<alive/>")
        assert running.report().ended == waiting.report().ended == "ok"
