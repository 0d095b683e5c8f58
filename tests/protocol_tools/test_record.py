"""`headless protocol record` runs an old client through a relay, and notes which call it was."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from headless.dialects.vocabulary import CHALLENGE, MODULE, OSUSER, PY_CODE, PY_FILE, Job
from headless.errors import ParameterError
from headless.protocol_tools.checklist import WISHES
from headless.protocol_tools.record import replace_service
from headless.protocol_tools.recordings import CALLS, CLIENT, SERVER, Folder, Piece, RecordedCall, line_of
from support.command_here import headless
from support.credentials import HASH
from support.process import PATIENCE, ROOT, current_user

pytestmark = pytest.mark.slow


# The old command line


@pytest.mark.parametrize(
    ("old", "called"),
    [
        ("python2 planta_headless.py -s planta:1 -m X", "python2 planta_headless.py -s R:9 -m X"),
        ("planta_headless.py -m X -splanta:1", "planta_headless.py -m X -sR:9"),
        ("planta_headless.py -vqs planta:1 -m X", "planta_headless.py -vqs R:9 -m X"),
        ("planta_headless.py -vvsplanta:1 -m X", "planta_headless.py -vvsR:9 -m X"),
        ("planta_headless.py --service planta:1 -m X", "planta_headless.py --service R:9 -m X"),
        ("planta_headless.py --service=planta:1 -m X", "planta_headless.py --service=R:9 -m X"),
        ("planta_headless.py --serv=planta:1 -m X", "planta_headless.py --serv=R:9 -m X"),
        ("planta_headless.py --ser planta:1 -m X", "planta_headless.py --ser R:9 -m X"),
        ("old.sh -s a:1 -s b:2 -m X", "old.sh -s R:9 -s R:9 -m X"),
        ("py -s /x/planta_headless.py -m X -s a:1", "py -s /x/planta_headless.py -m X -s R:9"),
        ("planta_headless.py -c -s -s a:1", "planta_headless.py -c -s -s R:9"),
        ("planta_headless.py --py_code -sx --secret -s -s a:1", "planta_headless.py --py_code -sx --secret -s -s R:9"),
        ("planta_headless.py --secret=s -s a:1", "planta_headless.py --secret=s -s R:9"),
        ("planta_headless.py -s tls://a:1 -m X", "planta_headless.py -s R:9 -m X"),
        ("/usr/bin/python2.7 -s batch.py -m X -s a:1", "/usr/bin/python2.7 -s batch.py -m X -s R:9"),
        ("beta.py call {} -s secret", "beta.py call R:9 -s secret"),
    ],
)
def test_the_address_of_the_relay_takes_the_place_of_that_of_the_server(old, called):
    assert replace_service(old.split(), "R:9", False) == called.split()


def test_a_client_that_speaks_tls_still_does_if_the_relay_does():
    assert replace_service(["old", "--service=tls://a:1"], "R:9", True) == ["old", "--service=tls://R:9"]
    assert replace_service(["old", "-s", "a:1"], "R:9", True) == ["old", "-s", "R:9"]


@pytest.mark.parametrize("old", ["planta_headless.py -m X", "planta_headless.py -m X -s", "sh -c 'old -s a:1'"])
def test_an_old_command_line_without_an_address_has_no_place_for_another(old):
    with pytest.raises(ParameterError, match=r"no -s HOST:PORT, and no word \{\}"):
        replace_service(shlex.split(old), "R:9", False)


# It says "hello" and prints what it hears. It returns what the variable STATUS says, or is ended by a signal.
OLD_CLIENT = """
import os, socket, sys
words = sys.argv[1:]
place = words.index("-s") + 1 if "-s" in words else 0
host, port = words[place].rsplit(":", 1)
sock = socket.create_connection((host, int(port)), 20)
sock.sendall(b"hello")
print(sock.recv(100).decode(), flush=True)
status = int(os.environ.get("STATUS", "0"))
if "WAITS" in os.environ:
    open(os.environ["WAITS"], "w").close()
    sock.recv(100)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
ANSWER = b"<answer/>"
QUICK_PYTHON = (sys.executable, "-I", "-S")


def answering(peer):
    assert peer.sock.recv(100) == b"hello"
    peer.sock.sendall(ANSWER)
    peer.sock.recv(100)


class Recording:
    """What is to be typed in a folder with an old client, for a server that answers."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.talk = path, Folder(path / "talk")
        self.old = (*QUICK_PYTHON, str(path / "planta_headless.py"), "-s", "planta:1")
        self.to = ("--to", f"127.0.0.1:{port}")
        (path / "planta_headless.py").write_text(OLD_CLIENT)

    def __call__(self, *words: str, options: tuple[str, ...] = (), **variables: str) -> Any:
        old = (*self.old, *words) if words else ()
        argv = ("protocol", "record", *self.to, "--talk", str(self.talk.path), *options, *old)
        return headless(*argv, env={**os.environ, **variables})

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        argv = (sys.executable, str(ROOT / "headless"), "protocol", "record", *self.to, "--talk", str(self.talk.path))
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        return subprocess.Popen((*argv, *words), **{**streams, **options})


@pytest.fixture
def record(tmp_path, scripted):
    return Recording(tmp_path, scripted(answering).port)


def test_the_call_is_noted_as_our_options_read_it(record):
    code = "print('ä € <&')\nprint(2)"
    options = ("--label", "three", "--expect", "1", "--wrong-password", "--")
    done = record("-u", "R41", "-p", "r41", "-t", "-1", "-m", "X", "-f", "a/b.py", "-c", code, options=options)
    assert done.returncode == 0
    assert done.stderr == "headless protocol record: the old client returned 0; connections recorded: 0001\n"
    jobs = (Job(MODULE, "X"), Job(PY_FILE, "a/b.py"), Job(PY_CODE, code))
    expected = RecordedCall("three", CHALLENGE, "R41", "", jobs, -1, False, 0, 1, ("0001",))
    assert record.talk.calls() == [expected]
    said = [(piece.sender, piece.data) for piece in record.talk.pieces("0001")]
    assert said[:2] == [(CLIENT, b"hello"), (SERVER, ANSWER)]


def test_without_a_login_it_is_that_of_the_user_of_the_system(record):
    assert record("-m", "X").returncode == 0
    (call,) = record.talk.calls()
    assert (call.login, call.user, call.os_user) == (OSUSER, None, current_user())
    assert (call.label, call.timeout, call.is_password_right, call.expected) == ("", 0, True, None)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 120])
def test_the_exit_status_of_the_old_client_is_noted_and_passed_on(status, record):
    assert record("-m", "X", STATUS=str(status)).returncode == status
    assert [call.status for call in record.talk.calls()] == [status]


def test_an_old_client_that_is_killed_is_noted_and_ends_as_a_shell_says(record):
    done = record("-m", "X", STATUS="-9")
    assert done.returncode == 128 + 9
    assert "the old client was ended by signal 9" in done.stderr
    assert [call.status for call in record.talk.calls()] == [-9]


def test_another_client_is_called_with_the_word_in_the_place_of_the_address(record):
    record.old = (*QUICK_PYTHON, str(record.path / "planta_headless.py"), "{}")
    call = ("--call", "-u R41 -p r41 -t 5 -f 'a b.py'", "--")
    assert record("KIND=x", options=call).returncode == 0
    (noted,) = record.talk.calls()
    assert (noted.user, noted.jobs, noted.timeout) == ("R41", (Job(PY_FILE, "a b.py"),), 5)


def test_recordings_are_for_their_owner_and_are_numbered_on(record):
    assert [record("-m", "X").returncode for _ in range(2)] == [0, 0]
    assert sorted(path.name for path in record.talk.path.iterdir()) == ["0001.talk", "0002.talk", CALLS]
    assert record.talk.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in record.talk.path.iterdir()} == {0o600}


def test_a_folder_that_is_open_to_others_is_refused_before_the_client_runs(record):
    record.talk.path.mkdir(mode=0o755)
    done = record("-m", "X")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"others may use {record.talk.path}: chmod 0700\n")
    assert list(record.talk.path.iterdir()) == []


def test_no_password_and_no_hash_of_the_call_is_written_down(record, tmp_path):
    secret = tmp_path / "r41.secret"
    secret.write_text(HASH)
    assert record("-u", "R41", "-p", str(secret), "-c", "print(42)").returncode == 0
    text = (record.talk.path / CALLS).read_text()
    assert "print(42)" in text
    assert HASH[:20] not in text
    assert "secret" not in text


def test_a_hash_in_the_old_command_line_is_refused_and_not_shown(record):
    for words in (("-p", HASH), ("-c", f"login('{HASH}')")):
        done = record("-u", "R41", "-m", "X", *words)
        assert done.returncode == 2
        assert HASH[:20] not in done.stdout + done.stderr
    done = record(options=("--call", f"-u R41 -p {HASH} -m X"))
    assert done.returncode == 2
    assert HASH[:20] not in done.stdout + done.stderr
    assert not record.talk.path.exists()


def test_a_call_that_was_cut_is_replaced_by_the_next_one(record):
    assert record("-m", "X").returncode == 0
    path = record.talk.path / CALLS
    path.write_bytes(path.read_bytes() + b'{"label": "cu')
    assert record("-m", "Y").returncode == 0
    assert [call.jobs[0].text for call in record.talk.calls()] == ["X", "Y"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of a file")
def test_a_full_disk_ends_the_recording_and_not_the_conversation(tmp_path, scripted):
    data = b"x" * 100_000

    def script(peer):
        peer.sock.recv(100)
        peer.sock.sendall(data)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.sock.recv(100)

    record = Recording(tmp_path, scripted(script).port)
    (tmp_path / "planta_headless.py").write_text(
        "import socket, sys\nhost, port = sys.argv[2].split(':')\nsock = socket.create_connection((host, int(port)))\n"
        "sock.sendall(b'hello')\nprint(sum(map(len, iter(lambda: sock.recv(65536), b''))))\n"
    )
    argv = (sys.executable, str(ROOT / "headless"), "protocol", "record", *record.to, "--talk", str(record.talk.path))
    limited = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *argv, *record.old, "-m", "X")
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stdout == "100000\n"
    assert "warning: the recording ends here: File too large; the connections go on\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1  # a recording that misses a part is no recording
    assert not record.talk.has_calls


# Signals


needs_signals = pytest.mark.skipif(os.name == "nt", reason="needs the signals of POSIX")


def wait_for(path: Path) -> None:
    for _ in range(PATIENCE * 100):
        if path.exists():
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{path} has not come")


@needs_signals
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_old_client_and_the_call_is_noted(signum, record, tmp_path):
    waits = tmp_path / "waits"
    with record.start("--", *record.old, "-m", "X", env={**os.environ, "WAITS": str(waits)}) as process:
        wait_for(waits)
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as the terminal does
        else:
            process.send_signal(signum)
        _, errors = process.communicate(timeout=PATIENCE)
    (call,) = record.talk.calls()
    if signum == signal.SIGINT:
        assert call.status in (1, -signum)  # Python 3.7 and older end with 1
        assert process.returncode == call.status
    else:
        assert (call.status, process.returncode) == (-signum, 128 + signum)
    assert "headless protocol record: the old client" in errors


@needs_signals
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_clients_elsewhere_are_recorded_until_a_signal_comes(signum, record):
    call = ("--listen", "127.0.0.1:0", "--call", "-u R41 -p x -t -1 -m 009ABC", "--label", "there")
    with record.start(*call) as process:
        words = process.stdout.readline().split()
        assert words[:2] == ["listening", "on"]
        host, port = words[2].split(":")
        for number in (1, 2):
            with socket.create_connection((host, int(port)), PATIENCE) as client:
                client.sendall(b"hello")
                assert client.recv(100) == ANSWER
            assert process.stderr.readline() == f"headless protocol record: connection 000{number} is recorded\n"
            assert len(record.talk.calls()) == number  # whatever becomes of this process
        process.send_signal(signum)
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0
    expected = RecordedCall("there", CHALLENGE, "R41", "", (Job(MODULE, "009ABC"),), -1)
    assert record.talk.calls() == [
        RecordedCall(**{**expected.__dict__, "connections": (name,)}) for name in ("0001", "0002")
    ]


@needs_signals
def test_if_no_client_came_that_is_said(record):
    with record.start() as process:
        assert process.stdout.readline().startswith("listening on 127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors.endswith("warning: nothing came to the relay, and nothing is recorded\n")


# Mistakes


MISTAKES = [
    ("OLD -m X", "--to HOST:PORT is missing"),
    ("--label x", "--to HOST:PORT is missing"),
    ("--wrong-password", "--to HOST:PORT is missing"),
    ("--forget 0001 --to a:1", "--forget goes with --talk alone"),
    ("--to planta -- OLD -m X", "'planta' is not HOST:PORT"),
    ("--to planta:0 -- OLD -m X", "'planta:0' is not HOST:PORT"),
    ("--to a:1 --listen :1", "':1' is not HOST:PORT"),
    ("--to a:1 --listen a:1", "--listen and --to are the same address"),
    ("--to a:1 --expect 5", "invalid choice: 5"),
    ("--to a:1 --to b:1 OLD", "--to is given twice"),
    ("--to a:1 --call '-m \"X'", "the call cannot be read: No closing quotation"),
    ("--to a:1 --call '-a osuser -m X --help'", "the call cannot be read: it asks for a text"),
    ("--to a:1 --call '-t -1 -m X'", "it does not say the login of that client: -a osuser, or -u USER -p SECRET_FILE"),
    ("--to a:1 --call '-a osuser -t 5'", "the call cannot be read: there is no job"),
    ("--to a:1 -- planta_headless.py -s a:1 -t x -m X", "the call cannot be read: -t 'x' is not a whole number"),
    ("--to a:1 -- beta.py call {} x=y", "the call cannot be read: 'call' belongs to no option"),
    ("--to a:1 -- planta_headless.py -m X", "the old command line has no -s HOST:PORT, and no word {}"),
    ("--to a:1 --tls-cert c OLD -m X", "--tls-cert and --tls-key belong together"),
    ("--to a:1 --tls-cert c --tls-key k -- OLD -m X", "cannot be used: No such file or directory"),
]


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(record, tmp_path):
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = serialization.BestAvailableEncryption(b"hunter2")
    kind = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
    for each in kind:
        (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, each, locked))
        files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
        argv = ("--talk", str(record.talk.path), "--to", "a:1", *files, "--", *record.old, "-m", "X")
        done = headless("protocol", "record", *argv)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "needs a passphrase, which a server cannot ask for" in done.stderr


@pytest.mark.parametrize(("words", "text"), MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_done(words, text, record):
    old = " ".join(record.old)
    argv = shlex.split(words.replace("OLD", old))
    done = headless("protocol", "record", "--talk", str(record.talk.path), *argv)
    assert (done.returncode, done.stdout) == (2, "")
    *usage, line = done.stderr.splitlines()
    assert line.startswith("headless protocol record: error: ")
    assert text in line
    assert usage == [] or usage[0].startswith("usage: headless protocol record")
    assert not record.talk.path.exists()


def test_what_cannot_be_done_is_one_line(record, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as used:
        address = "{}:{}".format(*used.getsockname())
        done = record("-m", "X", options=("--listen", address, "--"))
    assert done.returncode == 1
    assert f"error: {address} cannot be listened at: " in done.stderr
    record.old = ("no-such-client", "-s", "planta:1")
    done = record("-m", "X")
    assert done.returncode == 1
    assert done.stderr == (
        "headless protocol record: error: no-such-client cannot be started: No such file or directory\n"
    )
    record.talk = Folder(tmp_path / "planta_headless.py")
    done = record("-m", "X")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "talk" / CALLS).exists()


def test_an_old_client_that_connects_to_nothing_is_said_and_no_success(record):
    record.old = ("true", "{}")
    done = record("x", options=("--call", "-a osuser -m X", "--"))
    assert done.returncode == 1
    assert "connections recorded: none" in done.stderr
    assert done.stderr.endswith("warning: nothing came to the relay, and nothing is recorded\n")
    assert not record.talk.has_calls


# A recording that is wrong


def test_a_call_with_a_wrong_mark_is_deleted_with_its_connections_and_recorded_again(record):
    for expected in ("0", "0", "1"):
        assert record("-m", "X", options=("--expect", expected, "--")).returncode == 0
    path = record.talk.path
    done = headless("protocol", "record", "--talk", str(path), "--forget", "0002")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [call.connections for call in record.talk.calls()] == [("0001",), ("0003",)]
    assert not (path / "0002.talk").exists()
    if os.name == "posix":
        assert [each.stat().st_mode & 0o077 for each in path.iterdir()] == [0, 0, 0]
    assert record("-m", "X", options=("--expect", "1", "--")).returncode == 0
    assert [call.expected for call in record.talk.calls()] == [0, 1, 1]
    done = headless("protocol", "record", "--talk", str(path), "--forget", "0009")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no connection '0009'" in done.stderr


def test_a_job_that_may_fail_without_a_word_of_what_is_expected_is_warned_of(record):
    assert "a job may fail (raise)" in record("-c", "raise ValueError").stderr
    assert "raise" not in record("-c", "raise ValueError", options=("--expect", "1", "--")).stderr


# The checklist


def checklist(folder: Folder) -> Any:
    return headless("protocol", "record", "--talk", str(folder.path))


def recorded(folder: Folder, *calls: RecordedCall, seconds: float = 0.0) -> None:
    folder.create()
    for call in calls:
        name, descriptor = folder.create_recording()
        os.write(descriptor, line_of(Piece(seconds, CLIENT, b"<a/>")))
        os.close(descriptor)
        folder.add_call(RecordedCall(**{**call.__dict__, "connections": (name,)}))


def test_without_more_the_calls_that_are_worth_recording_are_listed(tmp_path):
    done = checklist(Folder(tmp_path / "my talk"))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("[x]")] == []
    assert len([line for line in lines if line.startswith("[ ]")]) == len(WISHES)
    assert "[ ] a challenge login, twice (0 of 2)" in lines
    line = next(line for line in lines if "--expect 2" in line)
    assert line.split()[:5] == ["headless", "protocol", "record", "--to", "HOST:PORT"]
    assert "--talk '" in line
    assert not (tmp_path / "my talk").exists()
    assert any(r'<&")\nprint(2)' in line for line in lines)


def test_what_is_no_folder_has_no_checklist(tmp_path):
    (tmp_path / "talk").write_text("")
    done = checklist(Folder(tmp_path / "talk"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("talk is no folder\n")


def test_the_line_of_each_wish_is_what_ticks_it_off(tmp_path, monkeypatch):
    """Each line is typed into a shell, with a command in the place of `headless` that shows its words."""
    folder = Folder(tmp_path / "talk")
    noted: list[RecordedCall] = []

    def note(_arguments, _folder, call, *_):
        noted.append(call)
        return 0

    monkeypatch.setattr("headless.protocol_tools.record._record", note)
    for wish in WISHES:
        script = f"printf '%s\\0' {wish.record} -- planta_headless.py -s a:1 {wish.options}"
        typed = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.decode()
        words = [word for word in typed.split("\0") if word]
        assert headless("protocol", "record", "--to", "a:1", "--talk", str(folder.path), *words).returncode == 0
        call = noted.pop()
        returned = RecordedCall(**{**call.__dict__, "status": 3 if call.timeout == 1 else 0})
        recorded(folder, *[returned] * wish.count, seconds=180.0 if "180" in wish.what else 0.0)
    done = checklist(folder)
    assert done.stdout.count("[x]") == len(WISHES), done.stdout
    assert done.returncode == 0


def test_what_a_client_elsewhere_has_done_is_ticked_off_by_what_is_expected(tmp_path):
    folder = Folder(tmp_path / "talk")
    call = RecordedCall("", CHALLENGE, "R41", "", (Job(PY_CODE, "print(42)"),), -1, True, None, 0)
    recorded(folder, call, call)
    lines = checklist(folder).stdout.splitlines()
    assert "[x] a challenge login, twice (2 of 2)" in lines
    assert "[x] the same call twice (2 of 2)" in lines


def test_a_job_that_fails_has_to_print_and_one_that_ends_well_not_to(tmp_path):
    """Else nothing tells output from a result."""
    folder = Folder(tmp_path / "talk")
    for number, code in enumerate(("raise ValueError", "print(1)\nraise ValueError")):
        recorded(folder, RecordedCall("", CHALLENGE, "R41", "", (Job(PY_CODE, code),), -1, True, 0, 1))
        assert ("[x] a job that prints, and fails, alone" in checklist(folder).stdout) == bool(number)
    for number, code in enumerate(("print(1)", "x = 1")):
        recorded(folder, RecordedCall("", CHALLENGE, "R41", "", (Job(PY_CODE, code),), -1, True, 0, 0))
        assert ("[x] a job that prints nothing" in checklist(folder).stdout) == bool(number)


def test_a_job_whose_failure_the_server_does_not_tell_is_ticked_off_by_its_label(tmp_path):
    call = RecordedCall("", CHALLENGE, "R41", "", (Job(PY_CODE, "print(1)\nraise ValueError"),), -1, True, 0, 0)
    for label in ("", "fails"):
        folder = Folder(tmp_path / f"talk{label}")
        recorded(folder, RecordedCall(**{**call.__dict__, "label": label}))
        assert ("[x] a job that prints, and fails, alone" in checklist(folder).stdout) == bool(label)


def test_a_call_whose_end_is_not_known_ticks_nothing_off(tmp_path):
    folder = Folder(tmp_path / "talk")
    jobs = (Job(MODULE, "X"), Job(MODULE, "Y"), Job(MODULE, "Z"))
    recorded(folder, *[RecordedCall("", CHALLENGE, "R41", "", jobs, -1, True, 1, None)] * 2)  # 1: for what?
    assert "[x]" not in checklist(folder).stdout
