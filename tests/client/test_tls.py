"""tls://: the server's certificate and name are verified against what the system trusts, and nothing turns that off."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress

import pytest

from support.command_here import headless
from support.dialogues import DONE, serving
from support.job_server import QuickServer
from support.scripted_server import ScriptedServer

pytestmark = pytest.mark.version("ssl")


@pytest.fixture(scope="module")
def authorities():
    """The one that is trusted here, and another one."""
    import trustme  # which takes a quarter of a second

    return trustme.CA(), trustme.CA()


@pytest.fixture(scope="module")
def speaking_tls(authorities):
    """Makes servers that follow a script over TLS, with a certificate for this name: one for each."""
    servers = {}

    def make(name, is_trusted=True):
        if (name, is_trusted) not in servers:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authorities[not is_trusted].issue_cert(name).configure_cert(context)

            def script(peer):
                with suppress(OSError), context.wrap_socket(peer.sock, server_side=True) as peer.sock:
                    serving(*DONE)(peer)

            servers[name, is_trusted] = ScriptedServer(script)
        return servers[name, is_trusted]

    yield make
    for server in servers.values():
        server.close()


@pytest.fixture
def trusting(authorities, tmp_path):
    """An environment in which the system trusts the test's authority."""
    path = tmp_path / "authority.pem"
    authorities[0].cert_pem.write_to_path(str(path))
    return {**os.environ, "SSL_CERT_FILE": str(path)}


def run(command, server, environment, scheme="tls://"):
    return command("-s", scheme + server.address, "-v", "-t", "-1", "-c", "print(42)", env=environment)


@pytest.mark.slow
def test_the_real_server_speaks_it_and_nothing_else_then(command, here, authorities, trusting, tmp_path):
    certificate = authorities[0].issue_cert("127.0.0.1")
    chain, key = str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    with QuickServer(tmp_path / "home", "--tls-cert", chain, "--tls-key", key) as server:
        done = run(command, server, trusting)
        assert (done.returncode, "job 1 stdout: 42" in done.stdout) == (0, True)
        plain = run(here, server, trusting, scheme="")
    assert plain.returncode == 1
    assert plain.stdout.endswith("jobs: not submitted\n")


def test_a_trusted_certificate_for_the_host_is_a_0(here, speaking_tls, trusting):
    assert run(here, speaking_tls("127.0.0.1"), trusting).returncode == 0


def test_a_certificate_that_nobody_trusts_is_a_1(here, speaking_tls, trusting):
    done = run(here, speaking_tls("127.0.0.1", is_trusted=False), trusting)
    assert done.returncode == 1
    assert "certificate is not accepted" in done.stdout.splitlines()[-1]
    assert done.stdout.endswith("jobs: not submitted\n")


def test_a_certificate_for_another_host_is_a_1(here, speaking_tls, trusting):
    done = run(here, speaking_tls("planta.example"), trusting)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stdout.splitlines()[-1]
    assert done.stdout.endswith("jobs: not submitted\n")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("is_there", [False, True])
def test_what_the_environment_trusts_and_cannot_be_read_is_named(here, speaking_tls, tmp_path, variable, is_there):
    path = tmp_path / "trusted"
    if is_there:  # but is of the other kind
        path.mkdir() if variable == "SSL_CERT_FILE" else path.touch()
    done = run(here, speaking_tls("127.0.0.1"), {**os.environ, variable: str(path)})
    assert done.returncode == 2
    assert f"{variable}: {str(path)!r} cannot be read: " in done.stdout.splitlines()[-1]
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_fifo_of_certificates_is_not_waited_for(command, speaking_tls, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    done = run(command, speaking_tls("127.0.0.1"), {**os.environ, "SSL_CERT_FILE": str(tmp_path / "fifo")})
    assert done.returncode == 2
    assert (done.stderr.count("\n"), "SSL_CERT_FILE" in done.stderr, "FIFO" in done.stderr) == (1, True, True)


def test_a_certificate_for_another_host_says_nothing_of_what_is_trusted(here, speaking_tls, trusting, tmp_path):
    done = run(here, speaking_tls("planta.example"), {**trusting, "SSL_CERT_DIR": str(tmp_path / "missing")})
    assert (done.returncode, "SSL_CERT_DIR" in done.stdout) == (1, False)


def test_tls_to_a_plain_server_is_a_1_that_submits_nothing(here, scripted):
    def script(peer):
        assert peer.sock.recv(1) == b"\x16"  # of TLS; what follows comes in the same piece
        peer.send('<refused reason="protocol">what?</refused>')
        peer.sock.recv(65536)

    done = run(here, scripted(script), None)
    assert done.returncode == 1
    assert done.stdout.endswith("jobs: not submitted\n")


@pytest.mark.parametrize("missing", ["--tls-key", "--tls-cert"])
def test_a_certificate_without_its_key_does_not_start_a_server(tmp_path, missing):
    given = "--tls-cert" if missing == "--tls-key" else "--tls-key"
    done = headless("serve", "--home", str(tmp_path / "home"), "--listen", "127.0.0.1:0", given, "file")
    assert done.returncode == 2
    assert "--tls-cert and --tls-key belong together" in done.stderr
