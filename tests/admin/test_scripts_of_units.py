"""A script that a service of systemd starts by its name needs the right to be executed."""

from __future__ import annotations

import json
import os
import sys

import pytest

from support.command_here import headless
from support.process import SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files of Linux")


def rules(place, command, mode):
    script = place / "job.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {SCRIPT} -s planta:20000 -t -1 -v -m 009ABC\n")
    script.chmod(mode)
    unit = place / "job.service"
    unit.write_text(
        f"[Unit]\nDescription=planta_headless.py\n[Service]\nType=oneshot\nWorkingDirectory={place}\nExecStart={command}{script}\n"
    )
    done = headless("check", "--json", str(unit))
    assert done.stderr == ""
    return [json.loads(line)["rule"] for line in done.stdout.splitlines()]


def test_a_script_that_is_started_by_its_name_has_to_be_executable_and_one_behind_a_shell_need_not(place):
    for command, mode, is_found in (("", 0o644, True), ("", 0o755, False), ("/bin/sh ", 0o644, False)):
        assert ("not-executable" in rules(place, command, mode)) is is_found, (command, oct(mode))
