"""SIGHUP: the server reads certificate and key again, for new connections. What cannot be used changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import ssl

import pytest
import trustme

from support.job_server import QuickServer
from support.raw_client import RawClient, py_code
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")]


class Renewed:
    """A server whose certificate is replaced while it runs."""

    def __init__(self, folder):
        self.authority = trustme.CA()
        self.cert, self.key, self.log = folder / "cert.pem", folder / "key.pem", folder / "log"
        self.issue()
        self.options = ("--tls-cert", str(self.cert), "--tls-key", str(self.key), "--log", str(self.log))
        self.context = ssl.create_default_context()
        self.authority.configure_trust(self.context)

    def issue(self):
        issued = self.authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)

    def reload(self, server, line):
        """Sends the signal, and waits for one more line of the log that begins so."""
        before = self.log.read_text().count(line)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.read_text().count(line) == before + 1)

    def connect(self, server):
        client = RawClient(server.address)
        client.sock = self.context.wrap_socket(client.sock, server_hostname="127.0.0.1")
        return client

    def serial(self, server):
        """Of the certificate that the server shows now."""
        host, port = server.address.rsplit(":", 1)
        with self.context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host) as sock:
            shown = sock.getpeercert()
            assert shown is not None
            return shown["serialNumber"]


@pytest.fixture
def renewed(tmp_path):
    return Renewed(tmp_path)


READ, KEPT = (
    "INFO SIGHUP: certificate and key were read again",
    "WARNING SIGHUP: certificate and key stay as they were: ",
)


def test_new_connections_get_the_new_certificate_and_old_ones_go_on(tmp_path, renewed):
    with QuickServer(tmp_path / "home", *renewed.options) as server:
        first = renewed.serial(server)
        with renewed.connect(server) as client:
            client.log_in()
            renewed.issue()
            assert renewed.serial(server) == first
            renewed.reload(server, READ)
            assert renewed.serial(server) != first
            client.submit(py_code("print(1)"))
            assert client.report().ended == "ok"


def test_what_cannot_be_used_leaves_the_old_ones_and_is_said_with_the_reason(tmp_path, renewed):
    with QuickServer(tmp_path / "home", *renewed.options) as server:
        first = renewed.serial(server)
        old_key = renewed.key.read_bytes()
        renewed.issue()
        renewed.key.write_bytes(old_key)  # as in the middle of a renewal
        renewed.reload(server, f"{KEPT}the certificate '{renewed.cert}' cannot be used with the key")
        assert renewed.serial(server) == first
        renewed.key.unlink()
        renewed.reload(server, f"{KEPT}the certificate '{renewed.cert}' cannot be used with the key")
        os.mkfifo(renewed.key)
        renewed.reload(server, f"{KEPT}'{renewed.key}' is not a regular file")
        assert renewed.serial(server) == first
        renewed.key.unlink()
        renewed.issue()
        renewed.reload(server, READ)
        assert renewed.serial(server) != first
