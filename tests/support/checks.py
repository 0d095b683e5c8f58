"""What `headless check` finds, and what no text may tell anybody to do: it is done at night, as root, on a machine
where others work."""

from __future__ import annotations

import json
import re
from typing import Any

from support.command_here import headless

# It changes what others need as it is, runs what others have made, or takes something away that is not ours.
_HARMFUL = re.compile(
    r"\b(chown|chgrp|setfacl|mv|rm|rmdir|unlink)\b|chmod (?!g-wx,o= )|\bchmod\b.*[+]|-m pip|\bdelete (it|the file)\b"
)


def assert_harmless(*texts: str | None) -> None:
    """Fails for a text that tells somebody to do harm."""
    for text in texts:
        found = _HARMFUL.search(text or "")
        assert found is None, (found, text)


def check(*argv: object) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and the findings as JSON has them. Fails for one that advises to do harm."""
    done = headless("check", "--json", *map(str, argv))
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for each in found:
        assert_harmless(each["text"], each["to_do"])
    return done.returncode, found


def rules(found: list[dict[str, Any]]) -> list[str]:
    return [each["rule"] for each in found]
