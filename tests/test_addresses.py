"""What client, server and checks read alike: addresses, durations; and files that they open and lock alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headless.system import host_and_port, open_at_once, open_regular, seconds_of, try_lock


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("host:1", "host", 1),
        ("host.:65535", "host.", 65535),
        ("192.0.2.1:020", "192.0.2.1", 20),
        ("[::1]:20000", "::1", 20000),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("bücher.example:1", "xn--bcher-kva.example", 1),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert host_and_port(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "is not HOST:PORT") for text in ("", "host", ":1", "host:", "host:0", "host:65536", "::1:1", "[::1]")),
        *((text, "is not HOST:PORT") for text in ("a@b:1", "a/b:1", "a b:1", "host:²", "host:000001", "host:-1")),
        *((text, "IPv6") for text in ("[host]:1", "[1.2.3.4]:1", "[::g]:1", "[\0]:1", "[ü]:1")),
        ("[fe80::1%]:1", "network interface"),
        *((text, "host name") for text in ("a..b:1", f"{'a' * 64}:1", f"{'a.' * 128}:1", "\0:1", "ü" * 64 + ":1")),
    ],
)
def test_anything_else_is_none(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        host_and_port(text)


def test_only_who_listens_may_say_port_0() -> None:
    assert host_and_port("host:0", 0) == ("host", 0)


def test_a_duration_is_a_number_and_a_unit() -> None:
    assert [seconds_of(text) for text in ("1m", "012h", "99999d")] == [60.0, 43200.0, 99999 * 86400.0]
    for text in ("", "m", "1", "0d", "1s", "-1d", "1.5h", "1 d", "100000m", "²h", "1d "):
        with pytest.raises(ValueError, match="is not a time such as 90m, 26h or 8d"):
            seconds_of(text)


def test_a_lock_is_exclusive_or_shared_until_the_file_is_closed(tmp_path: Path) -> None:
    first, second, third = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(3))
    assert try_lock(first)
    assert not try_lock(second)
    assert not try_lock(second, shared=True)
    os.close(first)
    assert try_lock(second, shared=True)
    assert try_lock(third, shared=True)
    os.close(third)
    assert try_lock(second)
    os.close(second)


def test_only_a_regular_file_is_opened_and_no_other_end_is_waited_for(tmp_path: Path) -> None:
    os.close(open_regular(str(tmp_path / "new"), os.O_WRONLY | os.O_CREAT))
    if os.name != "nt":
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
        os.mkfifo(tmp_path / "fifo")
        for path in (tmp_path / "fifo", tmp_path):
            with pytest.raises(OSError, match="not a regular file"):
                open_regular(str(path))
        os.close(open_at_once(str(tmp_path / "fifo")))
