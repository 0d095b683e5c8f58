"""Access control lists of files, as Linux stores them: linux/posix_acl_xattr.h."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

USER, GROUP = 0x02, 0x08  # that are named
_NOBODY = 2**32 - 1


def set_access_list(
    path: str | Path, *named: tuple[int, int, int], group: int, mask: int, owner: int = 4, is_default: bool = False
) -> None:
    """Gives the file or folder this list; with `is_default` it is for what is made in the folder. `named` has tag,
    rights and number. Skips the test where there are none."""
    entries = [
        (0x01, owner, _NOBODY),
        *named,
        (0x04, group, _NOBODY),
        (0x10, mask, _NOBODY),
        (0x20, 0, _NOBODY),
    ]
    entries.sort()
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    if sys.platform != "linux":
        pytest.skip("access control lists are Linux's here")
    try:
        os.setxattr(path, f"system.posix_acl_{'default' if is_default else 'access'}", content)
    except OSError as error:
        pytest.skip(f"there are none in this file system: {error}")
