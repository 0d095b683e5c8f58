"""The documents say what the code does: README, SERVER.md, PROTOCOL.md, and what is installed with the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from datetime import datetime, timedelta, timezone
from pathlib import Path

import bcrypt
import pytest

from headless.cli import main
from headless.dialects.own import codec, messages, scram
from support.command_here import headless
from support.credentials import HASH, PASSWORD
from support.fork_server import start
from support.process import PATIENCE, ROOT, SCRIPT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVER = (ROOT / "headless" / "server" / "SERVER.md").read_text(encoding="utf-8")
PROTOCOL = (ROOT / "headless" / "dialects" / "own" / "PROTOCOL.md").read_text(encoding="utf-8")


def test_the_quick_start_is_two_commands_of_one_line():
    quick_start = README.partition("\n## Quick start\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.+?)^```$", quick_start, re.DOTALL | re.MULTILINE)
    assert [block.count("\n") for block in blocks] == [1, 1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not here")
def test_the_line_that_finds_last_night_s_failures_finds_them(tmp_path):
    line = next(each for each in README.splitlines() if each.startswith("jq "))
    receipts = tmp_path / "receipts"
    now = datetime.now(timezone.utc)

    def receipt(hours: int, code: int | None, *jobs: dict[str, str]) -> str:
        returned = (now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.123Z")
        how = {"code": code, "signal": 15 if code is None else None, "message": f"{code}"}
        return json.dumps({"when": f"w{hours}", "returned": returned, "jobs": list(jobs), **how}) + "\n"

    module, code = {"kind": "module", "name": "009ABC"}, {"kind": "py_code", "sha256": "0"}
    start = {"when": "w2", "event": "start", "jobs": [module]}
    receipts.write_text(
        json.dumps(start)
        + "\n"
        + receipt(30, 1, module)
        + receipt(3, 0, module)
        + receipt(2, 1, module, code)
        + "what is no receipt\n"
        + receipt(1, None, code)
        + receipt(1, 2)
    )
    done = subprocess.run(["sh", "-c", line.replace("FILE", str(receipts))], capture_output=True, text=True, check=True)
    found = [each.split("\t") for each in done.stdout.splitlines()]
    assert found == [["w2", "1", "009ABC py_code", "1"], ["w1", "signal 15", "py_code", "None"], ["w1", "2", "", "2"]]


@pytest.mark.version("how argparse words it")
def test_the_page_names_every_option_of_the_command_or_the_server(capsys):
    assert main(["--help"]) == 0
    for shown, page in ((capsys.readouterr().out, README), (headless("serve", "--help").stdout, SERVER)):
        options = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown))
        assert len(options) > 8
        assert not [option for option in options if f"`{option}" not in page and f"{option}`" not in page]


@pytest.fixture
def cron_line(tmp_path, job_server):
    """README's line for cron, with a job of its own, as cron's shell runs it."""
    (block,) = re.findall(r"## cron\n\n```\n(.*?)```", README, re.DOTALL)
    *variables, line = [line for line in block.splitlines() if not line.startswith("#")]
    environment = dict(variable.split("=", 1) for variable in variables)
    environment |= {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "HEADLESS": str(SCRIPT)}
    environment["PLANTA_SERVICE"] = job_server.address
    del environment["PLANTA_LOGIN_USER"], environment["PLANTA_SECRET_FILE"]
    command = line.split(maxsplit=5)[5].replace("/planta/jobs/log", str(tmp_path))

    def run(code):
        return subprocess.run(
            ["/bin/sh", "-c", command.replace("-m 009ABC", f'-c "{code}"')], env=environment, capture_output=True,
            text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    return run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock here")
def test_crons_line_mails_the_log_of_a_failure_and_keeps_the_one_of_the_night_before(cron_line, tmp_path):
    done = cron_line("print(41)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "job 1 stdout: 41" in (tmp_path / "009ABC.log").read_text()
    done = cron_line("raise SystemExit(7)")
    assert done.stdout.startswith("009ABC ended with 1\n")
    assert done.stdout.endswith("job 1 failed: exit status 7; jobs: submitted\n")
    assert "job 1 stdout: 41" in (tmp_path / "009ABC.old").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock here")
def test_crons_line_starts_no_second_run_while_the_first_one_goes_on(cron_line, tmp_path):
    (tmp_path / "009ABC.log").write_text("of the first one\n")
    first = ["flock", tmp_path / "009ABC.lock", "sh", "-c", "echo locked; exec cat"]
    with subprocess.Popen(first, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"locked\n"
        done = cron_line("print(41)")
        process.stdin.close()
    assert done.stdout == "009ABC ended with 75\nof the first one\n"


def service_unit() -> str:
    return SERVER.partition("```ini\n")[2].partition("```")[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = tmp_path / "planta.service"
    unit.write_text(re.sub(r"(?<=ExecStart=)\S+", sys.executable, service_unit()))  # what it starts has to exist
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "planta.service" in line]
    assert (done.returncode, lines) == (0, [])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="systemd's")
def test_the_command_of_the_unit_is_one_that_the_server_understands(tmp_path):
    (command,) = re.findall(r"^ExecStart=\S+/headless (.+)$", service_unit(), re.MULTILINE)
    argv = command.replace("/var/lib/planta", str(tmp_path / "home")).replace(":20000", ":0").split()
    with start([ROOT / "headless", *argv], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"listening on 127.0.0.1:")
        server.terminate()
        assert server.wait(PATIENCE) == 0


def test_every_message_of_the_protocol_page_is_one():
    block = PROTOCOL.partition("```\n<login")[2].partition("```")[0]
    documents = re.findall(r"^<.+?>$(?=\n<|\n\n|\n$|\Z)", "<login" + block.replace("42\n<", "42<"), re.MULTILINE)
    names = [messages.name_of(codec.decode(document.encode())) for document in documents]
    assert sorted(set(names)) == sorted(codec._CLASSES)


@pytest.mark.version("bcrypt")
def test_the_login_of_the_protocol_page_is_right():
    example = dict(re.findall(r'(user|proof|salt|signature)="([^"]+)"', PROTOCOL.partition("An example, with")[2]))
    client_nonce, nonce = re.findall(r'nonce="([^"]+)"', PROTOCOL.partition("An example, with")[2])
    assert bcrypt.hashpw(PASSWORD.encode(), example["salt"].encode()).decode() == HASH
    assert HASH in PROTOCOL
    scram.check_client_nonce(client_nonce)
    scram.check_server_nonce(nonce, client_nonce)
    message = scram.auth_message(example["user"], client_nonce, nonce, example["salt"])
    assert scram.client_proof(HASH.encode(), message) == example["proof"]
    assert scram.server_signature(scram.keys_from(HASH.encode())[1], message) == example["signature"]


DOCUMENTS = [
    "README.md", "admin/MOVING.md", "admin/NIGHT.md", "client/COMMAND.md", "dialects/PLANTA.md", "dialects/PORTING.md",
    "dialects/own/PROTOCOL.md", "dialects/own/protocol.xsd", "server/SERVER.md",
]  # fmt: skip


def slug(heading: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_link_between_the_documents_leads_to_a_file_and_a_heading_that_are_there():
    pages = [ROOT / "README.md", ROOT / "tests" / "README.md", *(ROOT / "headless").rglob("*.md")]
    links = 0
    for page in pages:
        for target, anchor in re.findall(
            r"\]\(((?!https?:)[^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")
        ):
            links += 1
            file = (page.parent / target).resolve() if target else page
            assert file.exists(), (page, target)
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
            assert not anchor or anchor in map(slug, headings), (page, target, anchor)
    assert links > 30


def test_every_document_of_the_package_is_one_that_is_installed():
    folder = ROOT / "headless"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.[mx][ds]*")) == DOCUMENTS


def test_the_installed_package_has_the_script_the_documents_and_the_schema():
    packages, scripts = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("scripts"))
    if not (packages / "headless").is_dir():
        pytest.skip("the package is not installed in this Python")
    for name in (*DOCUMENTS, "client/session.py", "server/server.py", "rehearsal/sitecustomize.py", "admin/night.html"):
        assert (packages / "headless" / name).read_bytes() == (ROOT / "headless" / name).read_bytes()
    assert (scripts / "planta_headless.py").is_file()
    assert not (packages / "tests" / "support").exists()
