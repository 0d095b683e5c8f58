"""The command against servers with the vendor's published vocabulary: every return code, both logins, what is refused
before anything is sent, what an end without a result is worth, and that nothing secret is shown."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from support.command_here import headless
from support.credentials import HASH, PASSWORD
from support.planta_server import CHALLENGE, Habits, PlantaServer
from support.planta_variants import BARE, LENGTH, VARIANTS, ZERO
from support.scripted_server import ScriptedServer
from support.vendor_server import serve

of_every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.name)


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """A server of each variant."""
    servers = {each.name: ScriptedServer(serve(partial(PlantaServer, each.habits))) for each in VARIANTS}
    yield {name: server.address for name, server in servers.items()}
    for server in servers.values():
        server.close()


@pytest.fixture
def call(here, addresses):
    """Calls a server of a variant, or one with other habits, with the file of its site, or another one."""

    def run(variant, *argv, address="", dialect="", **environment):
        variables = {**os.environ, "PLANTA_PROTOCOL": dialect or variant.site, **environment}
        return here("-s", address or addresses[variant.name], *argv, env=variables)

    return run


@pytest.fixture
def secret(here):
    """A password file with the right hash."""
    return here.secret_file()


def site_file(folder: Path, variant, *lines: str) -> str:
    """A file of a site that changes some of a variant's."""
    path = folder / "changed_site.py"
    base = f"from support.sites.{variant.name} import Dialect as Base\n\n\nclass Dialect(Base):\n"
    path.write_text(base + "".join(f"    {line}\n" for line in lines))
    return str(path)


def messages_of(done) -> list[str]:
    """The lines of -v without their time."""
    return [line[len("2026-11-24 18:35:41.707 ") :] for line in done.stdout.splitlines()]


# Every return code


@of_every_variant
@pytest.mark.parametrize("login", ["osuser", "challenge"])
def test_the_four_return_codes(call, secret, variant, login):
    who = ["-u", "R41", "-p", secret] if login == "challenge" else []
    failing = "fail" if variant.reports_results else "crash"
    for argv, code in (
        (["-c", "print('ä€')\nprint(2)", "-m", "009ABC", "-f", "x.py", "-t", "-1"], 0),
        (["-c", "a", "-m", "009ABC", "-f", "x.py", "-t", "0"], 0),
        (["-m", "a", "-m", failing, "-f", "x.py", "-t", "-1"], 1),
        (["-m", "busy", "-t", "-1"], 1),
        (["-m", "ask", "-t", "-1"], 1),
        (["-m", "nope", "-t", "-1"], 2),
        (["-m", "nope"], 2),
    ):
        done = call(variant, "-v", *who, *argv)
        assert done.returncode == code, (argv, done.stdout)
        assert messages_of(done)[0] == f"info speaking the dialect of {variant.site}" + (
            "" if variant.reports_results else "; A14: an orderly end counts as success"
        )


@of_every_variant
@pytest.mark.slow
def test_jobs_that_last_longer_than_the_time_out_are_a_3(call, time_out, variant):
    time_out(0.1)
    done = call(variant, "-v", "-c", "sleep 0.3", "-t", "1")
    assert done.returncode == 3
    assert messages_of(done)[-1].startswith("info the jobs have not ended within")
    assert messages_of(done)[-1].endswith("; jobs: submitted")


@of_every_variant
def test_a_wrong_password_is_a_2(call, here, secret, variant):
    other = here.secret_file("$2b$10$abcdefghijklmnopqrstuu" + "a" * 30 + ".\n", name="other")
    for who in (["-u", "R41", "-p", other], ["-u", "X", "-p", secret]):
        done = call(variant, "-v", *who, "-c", "a")
        assert done.returncode == 2
        assert done.stderr == "planta_headless.py: error: the server refused the login: access denied\n"
        assert messages_of(done)[-1].endswith("jobs: not submitted")


@of_every_variant
def test_a_failure_and_a_refusal_say_why(call, variant):
    done = call(variant, "-v", "-m", "nope")
    assert done.stderr == "planta_headless.py: error: the server refused the jobs: no such job: nope\n"
    assert "(busy): too many jobs: busy; jobs: not submitted" in messages_of(call(variant, "-v", "-m", "busy"))[-1]
    if variant.reports_results:
        assert "job failed: fail; jobs: submitted" in messages_of(call(variant, "-v", "-t", "-1", "-m", "fail"))[-1]


@of_every_variant
def test_what_a_job_prints_is_shown(call, variant):
    done = call(variant, "-v", "-t", "-1", "-c", "äöü €", "-m", "<&>")
    assert [line for line in messages_of(done) if "stdout" in line] == [
        "info stdout: did äöü €",
        "info stdout: did <&>",
    ]


def test_a_server_with_tls_is_spoken_to_from_the_first_byte(call, here):
    """A4."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(here.folder / "authority.pem"))

    def script(peer):
        with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as peer.sock:
            serve(partial(PlantaServer, LENGTH.habits))(peer)

    server = ScriptedServer(script)
    trusting = {"SSL_CERT_FILE": str(here.folder / "authority.pem")}
    done = call(LENGTH, "-t", "-1", "-m", "A", address=f"tls://{server.address}", **trusting)
    assert done.returncode == 0
    assert call(LENGTH, "-t", "-1", "-m", "A", address=server.address, **trusting).returncode == 1
    server.close()


# What is not settled


def test_what_is_not_settled_is_a_2_before_anything_is_sent(call, secret, scripted):
    server = scripted(serve(partial(PlantaServer, LENGTH.habits)))
    challenge = ["-u", "R41", "-p", secret]
    for argv, text in (
        (["-m", "A"], "A9, A11 and A15"),
        ([*challenge, "-m", "A", "-t", "0"], "A9, A11 and A15"),
        (["-m", "A", "-t", "-1"], "A9, A11, A13, A14 and A15"),
        ([*challenge, "-m", "A", "-t", "60"], "A9, A11, A13, A14 and A15"),
    ):
        done = call(LENGTH, "-v", *argv, address=server.address, dialect="planta")
        assert done.returncode == 2
        assert done.stderr == f"planta_headless.py: error: {text} are not settled, see PLANTA.md\n"
        first, last = messages_of(done)
        assert first.startswith("info speaking the dialect of planta; not settled: A1, A2, A3, A4, A5, A6, A7, A8, A9,")
        assert last.endswith("; jobs: not submitted")
    server.close()
    assert server.peers == []


def test_a_password_file_rests_on_the_login_alone(here, scripted, tmp_path):
    server = scripted(serve(partial(PlantaServer, LENGTH.habits)))

    def make(settled: str, password: str = PASSWORD):
        dialect = site_file(tmp_path, LENGTH, f"settled = {settled}")
        return headless(
            "password-file", "-s", server.address, "-u", "R41", "-p", "made", "--password-stdin",
            folder=here.folder, stdin=password.encode(), env={**os.environ, "PLANTA_PROTOCOL": dialect},
        )  # fmt: skip

    done = make("('A1', 'A2', 'A3', 'A4', 'A6', 'A7')")
    assert (done.returncode, server.peers) == (2, [])
    assert "A5 and A8 are not settled, see PLANTA.md" in done.stderr
    done = make("('A1', 'A2', 'A3', 'A4', 'A5', 'A6', 'A7', 'A8')", "wrong")
    assert (done.returncode, "access denied" in done.stderr) == (2, True)
    done = make("('A1', 'A2', 'A3', 'A4', 'A5', 'A6', 'A7', 'A8')")
    assert (done.returncode, (here.folder / "made").read_text()) == (0, HASH + "\n")


def test_a_settled_assumption_that_does_not_hold_is_a_1_that_names_it(call, scripted):
    for number, jobs, habits in (
        ("A11", "unknown", replace(LENGTH.habits, accepted='<Cmd name="queued"/>')),
        ("A13", "submitted", replace(LENGTH.habits, ok='<Shutdown action="restart"/>')),
    ):
        address = scripted(serve(partial(PlantaServer, habits))).address
        done = call(LENGTH, "-v", "-t", "-1", "-m", "A", address=address)
        assert done.returncode == 1
        assert messages_of(done)[-1].startswith("info the server sent <")
        assert f" where {number} expects " in messages_of(done)[-1]
        assert messages_of(done)[-1].endswith(f"; jobs: {jobs}")


# No result is reported


def test_an_end_without_a_result_says_so_in_v_and_in_the_receipt(call, here):
    receipt = here.folder / "receipt"
    done = call(BARE, "-v", "-t", "-1", "-m", "A", PLANTA_RECEIPT=str(receipt))
    assert done.returncode == 0
    assert messages_of(done)[-2:] == ["info session ended: ok", "info proof: ended, no result told"]
    assert json.loads(receipt.read_text().splitlines()[-1])["proof"] == "ended, no result told"


def test_an_end_with_a_result_is_the_usual_proof(call, here):
    receipt = here.folder / "receipt"
    done = call(ZERO, "-v", "-t", "-1", "-m", "A", PLANTA_RECEIPT=str(receipt))
    assert (done.returncode, "proof" in done.stdout) == (0, False)
    assert json.loads(receipt.read_text().splitlines()[-1])["proof"] == "ended"


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        (["no_result = 'an orderly end counts'"], 2, "no_result has to be 'an orderly end counts as success'"),
        (["no_result = ''"], 2, "no pattern `ok` says what a success is"),
        (["no_result = ''", "ok = 'Cmd[@code]'"], 1, "(A13) and no result that A14 expects"),
        (["settled = tuple(each for each in Base.settled if each != 'A13')"], 2, "A13 is not settled"),
        (["settled = tuple(each for each in Base.settled if each != 'A14')"], 2, "A14 is not settled"),
    ],
)
def test_nothing_less_than_the_site_s_own_words_makes_it_a_success(call, tmp_path, lines, code, text):
    done = call(BARE, "-v", "-t", "-1", "-m", "A", dialect=site_file(tmp_path, BARE, *lines))
    assert done.returncode == code
    assert text in messages_of(done)[-1]


@of_every_variant
def test_a_connection_that_only_closes_is_a_1(call, scripted, variant):
    habits = replace(variant.habits, ended="", ok="", failed="")

    def script(peer):
        server = PlantaServer(habits)
        peer.sock.sendall(server.greeting())
        while not any(said.role == "output" for said in server.log):
            peer.sock.sendall(server.answer(peer.sock.recv(65536)))

    done = call(variant, "-v", "-t", "-1", "-m", "A", address=scripted(script).address)
    assert (done.returncode, done.stderr) == (1, "")


# What asks a person

ASKS = {
    "a message box": '<MessageBox text="the licence ends, go on?"/>',
    "a message box with text": "<MessageBox><Line>the licence ends,</Line> go on?</MessageBox>",
    "a forced change": '<PasswordChange action="start" mandatory="true">the licence ends, go on?</PasswordChange>',
}


@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("moment", ["asks_at_login", "granted", "accepted", "output", "ok"])
def test_what_asks_a_person_is_no_success_and_is_shown(call, secret, scripted, moment, asks):
    habits = replace(LENGTH.habits, **{moment: asks})
    address = scripted(serve(partial(PlantaServer, habits))).address
    for who in ([], ["-u", "R41", "-p", secret]):
        done = call(LENGTH, "-v", "-t", "-1", *who, "-m", "A", address=address)
        assert (done.returncode, done.stderr) == (1, "")
        assert "info the server asks a person (A18): the licence ends, go on?; jobs: " in messages_of(done)[-1]


def test_a_change_of_password_that_is_not_forced_asks_no_one(call, scripted):
    habits = replace(LENGTH.habits, noise='<PasswordChange action="start" mandatory="false"/>')
    done = call(LENGTH, "-v", "-m", "A", address=scripted(serve(partial(PlantaServer, habits))).address)
    assert "where A17 expects nothing" in messages_of(done)[-1]


# Secrets


@of_every_variant
def test_nothing_secret_is_shown(call, here, scripted, variant):
    """At -vvv, which shows all that the other levels show."""
    proof = variant.habits.proof(HASH.encode(), CHALLENGE)
    echo = f"<Login user='R41' response='{proof}' key='{proof}'>{HASH} {proof}</Login>"
    receipt = here.folder / "receipt"
    who = ["-u", "R41", "-p", here.secret_file()]
    shown = []
    for changes in (
        {},
        {"noise": echo},
        {"output": f"<EvLogMsg>{echo}</EvLogMsg><StatusBar text='{proof} {HASH}'/>"},
        {"asks_at_login": f"<MessageBox text='{proof}'>{HASH}</MessageBox>"},
        {"proof": lambda *_: "x", "refused": dict.fromkeys(("login", "jobs", "busy"), echo)},
        {"refused": dict.fromkeys(("login", "jobs", "busy"), f"<Comm busy='{proof} {HASH}'/>")},
    ):
        habits: Habits = replace(variant.habits, **changes)
        address = scripted(serve(partial(PlantaServer, habits))).address
        for job in ("A", "busy"):
            line = ["-vvv", "-t", "-1", *who, "-m", job]
            done = call(variant, *line, address=address, PLANTA_RECEIPT=str(receipt))
            shown.append(done.stdout + done.stderr)
    text = "".join(shown) + receipt.read_text()
    assert proof not in text
    assert HASH[29:] not in text
    assert "(not shown)" in text
    assert any(" sent <Message><Env>" in each and " received <Message>" in each for each in shown)
