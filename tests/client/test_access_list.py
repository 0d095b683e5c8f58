"""The access lists of what is made on Windows, as the system tells them."""

from __future__ import annotations

import ctypes
import os
from importlib import import_module
from typing import Any

import pytest

from headless.errors import ParameterError
from headless.password_file import NewFile, Taken

if os.name != "nt":
    pytest.skip("modes are tested elsewhere; only Windows has these lists", allow_module_level=True)
access_list: Any = import_module("headless.windows")  # which only Windows can import

_SE_FILE_OBJECT, _DACL = 1, 4


def entries_of(path: object) -> list[str]:
    """The entries of the access list in SDDL, without brackets."""
    advapi = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    descriptor, text = ctypes.c_void_p(), ctypes.c_void_p()
    pointer = ctypes.byref(descriptor)
    assert advapi.GetNamedSecurityInfoW(str(path), _SE_FILE_OBJECT, _DACL, None, None, None, None, pointer) == 0
    assert advapi.ConvertSecurityDescriptorToStringSecurityDescriptorW(descriptor, 1, _DACL, ctypes.byref(text), None)
    return ctypes.wstring_at(text.value or 0).partition("(")[2].rstrip(")").split(")(")


def users_in(entries: list[str]) -> set[str]:
    return {entry.rpartition(";")[2] for entry in entries}


def test_a_secret_file_names_this_user_by_sid_and_nobody_but_the_system_beside_it(tmp_path):
    path = tmp_path / "secret"
    descriptor = access_list.create_secret_file(str(path))
    os.write(descriptor, b"secret\r\n")
    os.close(descriptor)
    assert path.read_bytes() == b"secret\r\n"
    sid = access_list.user_sid()
    assert sid.startswith("S-1-")
    assert sid in users_in(entries_of(path)) <= {sid, "SY"}  # Wine adds the system


def test_a_secret_file_replaces_no_other(tmp_path):
    (tmp_path / "secret").write_text("another")
    with pytest.raises(FileExistsError):
        access_list.create_secret_file(str(tmp_path / "secret"))
    assert (tmp_path / "secret").read_text() == "another"


def test_a_private_folder_is_for_this_user_the_system_and_the_administrators(tmp_path):
    access_list.create_private_folder(str(tmp_path / "home"))
    entries = entries_of(tmp_path / "home")
    sid = access_list.user_sid()
    assert sid in users_in(entries) <= {sid, "SY", "BA"}
    assert all(entry.startswith("A;OICI;") for entry in entries)  # for what will be in it, too
    with pytest.raises(FileExistsError):
        access_list.create_private_folder(str(tmp_path / "home"))


def test_a_password_file_is_made_whole_and_over_no_other(tmp_path):
    path = tmp_path / "secret"
    assert "was made" in NewFile(str(path)).write(b"hash\n")
    assert access_list.user_sid() in users_in(entries_of(path))
    with pytest.raises(Taken):
        NewFile(str(path)).write(b"another\n")
    assert path.read_bytes() == b"hash\n"


def test_a_password_file_needs_its_folder(tmp_path):
    with pytest.raises(ParameterError, match="there is no folder"):
        NewFile(str(tmp_path / "nowhere" / "secret"))
