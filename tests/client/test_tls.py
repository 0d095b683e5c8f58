"""tls://: the server's certificate and name are verified against what the system trusts, and nothing turns that off."""

from __future__ import annotations

import os

import pytest
import trustme

from support.job_server import JobServer


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls_server(authority, tmp_path):
    """Makes the real server with a certificate for these names."""
    servers = []

    def make(*names, issuer=authority):
        certificate = issuer.issue_cert(*names)
        chain, key = str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(chain)
        certificate.private_key_pem.write_to_path(key)
        servers.append(JobServer(tmp_path / "home", "--tls-cert", chain, "--tls-key", key))
        return servers[-1].__enter__()

    yield make
    for server in servers:
        server.__exit__()


@pytest.fixture
def trusting(authority, tmp_path):
    """An environment in which the system trusts the test's authority."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return {**os.environ, "SSL_CERT_FILE": str(path)}


def run(command, server, environment, scheme="tls://"):
    return command("-s", scheme + server.address, "-v", "-t", "-1", "-c", "print(42)", env=environment)


def test_a_trusted_certificate_for_the_host_is_a_0(command, tls_server, trusting):
    done = run(command, tls_server("127.0.0.1"), trusting)
    assert done.returncode == 0
    assert "job 1 stdout: 42" in done.stdout


def test_a_certificate_that_nobody_trusts_is_a_1(command, tls_server, trusting):
    done = run(command, tls_server("127.0.0.1", issuer=trustme.CA()), trusting)
    assert done.returncode == 1
    assert "certificate is not accepted" in done.stdout.splitlines()[-1]
    assert done.stdout.endswith("jobs: not submitted\n")


def test_a_certificate_for_another_host_is_a_1(command, tls_server, trusting):
    done = run(command, tls_server("planta.example"), trusting)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stdout.splitlines()[-1]
    assert done.stdout.endswith("jobs: not submitted\n")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("is_there", [False, True])
def test_what_the_environment_trusts_and_cannot_be_read_is_named(command, tls_server, tmp_path, variable, is_there):
    path = tmp_path / "trusted"
    if is_there:  # but is of the other kind
        path.mkdir() if variable == "SSL_CERT_FILE" else path.touch()
    done = run(command, tls_server("127.0.0.1"), {**os.environ, variable: str(path)})
    assert done.returncode == 2
    assert f"{variable}: {str(path)!r} cannot be read: " in done.stdout.splitlines()[-1]
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_fifo_of_certificates_is_not_waited_for(command, tls_server, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    server = tls_server("127.0.0.1")
    done = command(
        "-s", f"tls://{server.address}", "-v", "-t", "1", "-c", "1",
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "fifo")},
    )  # fmt: skip
    assert done.returncode == 2
    assert (done.stderr.count("\n"), "SSL_CERT_FILE" in done.stderr, "FIFO" in done.stderr) == (1, True, True)


def test_a_certificate_for_another_host_says_nothing_of_what_is_trusted(command, tls_server, trusting, tmp_path):
    done = run(command, tls_server("planta.example"), {**trusting, "SSL_CERT_DIR": str(tmp_path / "missing")})
    assert (done.returncode, "SSL_CERT_DIR" in done.stdout) == (1, False)


def test_tls_to_a_plain_server_is_a_1_that_submits_nothing(command, job_server):
    done = run(command, job_server, None)
    assert done.returncode == 1
    assert done.stdout.endswith("jobs: not submitted\n")


def test_plain_to_a_tls_server_is_a_1_that_submits_nothing(command, tls_server, trusting):
    done = run(command, tls_server("127.0.0.1"), trusting, scheme="")
    assert done.returncode == 1
    assert done.stdout.endswith("jobs: not submitted\n")


def test_ssl_is_imported_only_for_tls(command, tls_server, trusting):
    probe = {**trusting, "PYTHONVERBOSE": "1"}
    plain = command("-s", "127.0.0.1:1", "-c", "pass", env=probe)
    assert "import 'socket'" in plain.stderr
    assert "import 'ssl'" not in plain.stderr
    tls = run(command, tls_server("127.0.0.1"), probe)
    assert "import 'ssl'" in tls.stderr


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["--tls-key", "--tls-cert"])
def test_a_certificate_without_its_key_does_not_start_a_server(tmp_path, missing):
    given = "--tls-cert" if missing == "--tls-key" else "--tls-key"
    with pytest.raises(AssertionError, match="--tls-cert and --tls-key belong together"):
        JobServer(tmp_path / "home", given, "file").__enter__()
