"""What the server refuses, and closes the connection for: what is no conversation, and sessions that cannot be run."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from support.frames import frame
from support.job_code import Gate
from support.job_server import states
from support.raw_client import (
    RAW_NONCE,
    RawClient,
    challenge_login,
    connect,
    in_jobs,
    osuser_login,
    py_code,
    response,
    run,
)
from support.scram import WRONG_PROOF
from support.server_here import ServerHere
from support.waiting import wait_until

pytestmark = pytest.mark.slow

# What is no conversation


def test_another_version_is_refused_as_that(server):
    for version in ("2", "11", "0"):
        with connect(server) as client:
            client.send(f'<login version="{version}" client="test" auth_type="new" token="1"/>')
            client.expect_refusal("version")


def test_another_version_where_no_login_may_come_is_a_protocol_error(server):
    with connect(server) as client:
        assert client.ask(challenge_login("R42")).tag == "challenge"
        client.send('<login version="2"/>')
        client.expect_refusal("protocol")
    with connect(server).log_in() as client:
        client.send('<login version="2"/>')
        client.expect_refusal("protocol")


def test_a_login_with_a_logout_behind_it_in_one_piece_is_no_login(server):
    with connect(server) as client:
        client.send(osuser_login(user="R41"), "<logout/>")
        client.expect_end()


NOT_THE_PROTOCOL = {
    "an empty frame": frame(b""),
    "a frame beyond 4096 bytes": struct.pack(">I", 4097),
    "a length beyond every limit": b"\xff\xff\xff\xff",
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "no XML": frame("hello"),
    "broken XML": frame("<login"),
    "not UTF-8": frame(b'<login version="1" client="\xff" auth_type="osuser" os_user="x"/>'),
    "a document type": frame("<!DOCTYPE login><login/>"),
    "an unknown message": frame("<shutdown/>"),
    "a message of the server": frame('<welcome session="1"/>'),
    "jobs before the login": frame(in_jobs(py_code("1"))),
    "a response without a challenge": frame(response(RAW_NONCE, WRONG_PROOF)),
    "an unknown attribute": frame(osuser_login().replace("<login", '<login admin="yes"')),
    "no os_user": frame('<login version="1" client="test" auth_type="osuser"/>'),
    "a nonce that is too short": frame(challenge_login("R42").replace(RAW_NONCE, RAW_NONCE[:-1])),
    "a nonce with a comma": frame(challenge_login("R42").replace(RAW_NONCE, RAW_NONCE + ",")),
    "a nonce for osuser": frame(osuser_login().replace("/>", f' nonce="{RAW_NONCE}"/>')),
}


def test_a_connection_is_refused_that_begins_with(server):
    for case, data in NOT_THE_PROTOCOL.items():
        print(case)
        with connect(server) as client:
            client.sock.sendall(data)
            client.expect_refusal("protocol")


NOT_AFTER_WELCOME = {
    "a second login": frame(osuser_login(user="R41")),
    "no jobs in a session": frame("<jobs/>"),
    "an empty job": frame("<jobs><py_code/></jobs>"),
    "an unknown kind of job": frame("<jobs><shell>rm</shell></jobs>"),
    "a frame beyond 16 MiB": struct.pack(">I", 16 * 1024 * 1024 + 1),
    "an empty frame": frame(b""),
}


def test_a_session_is_refused_that_goes_on_with(server):
    for case, data in NOT_AFTER_WELCOME.items():
        print(case)
        with connect(server).log_in() as client:
            client.sock.sendall(data)
            client.expect_refusal("protocol")


def test_a_second_session_is_refused_and_does_not_run(server, tmp_path):
    gate, marker = Gate(tmp_path / "gate"), tmp_path / "marker"
    with connect(server).log_in() as client:
        client.submit(py_code(gate.code))
        client.expect("started")
        client.send(in_jobs(py_code(f"open({str(marker)!r}, 'w')")))
        client.expect_refusal("protocol")
        gate.open()
        wait_until(lambda: states(server, client.session) == ["ok"])
    assert not marker.exists()


def test_a_message_may_come_byte_by_byte(server):
    with connect(server) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(osuser_login(user="R41")):
            client.sock.send(bytes([byte]))
        client.expect("welcome")


# Sessions that are refused


NO_JOBS = (
    "<module>009ABC</module>",
    "<module>../outside</module>",
    "<module>..</module>",
    "<py_file>absent.py</py_file>",
    "<py_file>../outside.py</py_file>",
    "<py_file>folder/../../outside.py</py_file>",
    "<py_file>{outside}</py_file>",
    "<py_file>link.py</py_file>",
    "<py_file>linked/outside.py</py_file>",
    "<py_file>circle</py_file>",
    "<py_file>folder</py_file>",
    "<py_file>.</py_file>",
)


def test_a_session_with_a_job_that_cannot_be_is_refused_as_a_whole(server, tmp_path, files_outside):
    marker, sessions = tmp_path / "marker", []
    for job in NO_JOBS:
        with connect(server).log_in() as client:
            first = py_code(f"open({str(marker)!r}, 'w')")
            client.send(in_jobs(first, job.format(outside=files_outside)))
            client.expect_refusal("jobs")
            sessions.append(client.session)
    assert run(server, py_code("1")).ended == "ok"
    assert not marker.exists()
    for session in sessions:
        assert states(server, session) == []
        assert not list(server.home.glob(f"output/{session}*"))


@pytest.fixture(scope="module")
def files_outside(server):
    """A file that exists outside of py/, and the ways to it."""
    outside = server.home / "outside.py"
    outside.write_text("print('outside')")
    (server.home / "py" / "folder").mkdir()
    (server.home / "py" / "link.py").symlink_to(outside)
    (server.home / "py" / "linked").symlink_to(server.home)
    (server.home / "py" / "circle").symlink_to("circle")
    return outside


@pytest.mark.skipif(os.name == "nt", reason="a link needs a privilege on Windows")
def test_a_link_to_another_file_below_py_is_a_file_like_others(server):
    (server.home / "py" / "real.py").write_text("print('real')")
    (server.home / "py" / "alias.py").symlink_to("real.py")
    assert run(server, "<py_file>alias.py</py_file>").output == {(1, "stdout"): "real\n"}


def test_a_file_name_that_no_file_can_have_is_the_callers_to_correct(tmp_path):
    with ServerHere(tmp_path / "home") as server, RawClient(server.address).log_in() as client:
        client.send(in_jobs(f"<py_file>{'x' * 300}</py_file>"))
        client.expect_refusal("jobs")
