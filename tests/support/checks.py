"""What `headless check` finds."""

from __future__ import annotations

import json
from typing import Any

from support.advice import assert_harmless
from support.command_here import headless


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
