"""What becomes of the return code of a call in the text of a shell. Where there is a real sh, it has the last word."""

from __future__ import annotations

import os
import subprocess

import pytest

from support.shell_texts import H, call, calls_of, entry, needs_sh

# The call fails with 7. Somebody learns of it, if the status of the shell is not 0, or something is printed.
TOLD = [
    "{}",
    "{};",
    "cd / && {}",
    "{} || exit 1",
    "{} || echo bad",
    "{} || {{ echo bad; exit 3; }}",
    "{}; exit",
    "{}\nexit $?",
    "{}; rc=$?; echo rc $rc",
    "set -e; {}; true",
    "set -e\nif true; then {}; fi\ntrue",
    "if {}; then :; else echo bad; fi",
    "if ! {}; then echo bad; fi",
    "! {} && echo bad",
    "{} && true || echo bad",
    "x=$({}); echo $?",
    "x=$({})",
    "sh -ec '{}; true'",
    "f() {{ {}; }}; f",
    "f() {{ {}; }}; f || echo bad",
    "{{ {}; echo $?; }}",
    "(cd /; {})",
    "env A=b {}",
    "{} & wait $!",
    "true | {}",
    "eval '{}'",
    "timeout 9 {}",
    "nice {}",
    "case x in x) {};; esac",
    "exec {}",
    "{} && true",
    "cat <<E | {}\nx\nE",
    "until {}; do echo bad; break; done",
    "set -e; for i in 1; do {}; true; done",
]
LOST = [
    "for i in 1 2; do {} && break; sleep 0; done",
    "for i in 1 2; do {} && break || sleep 0; done",
    "for i in 1 2; do {} || continue; done",
    "{}; true",
    "{}\ntrue",
    "{} || true",
    "{} || :",
    "{} | cat",
    "{} | cat | cat",
    "{} && true; true",
    "! {}",
    "{} &",
    "if {}; then :; fi",
    "for i in 1; do {}; true; done",
    "({} &)",
    "true $({})",
    "x=$({}); true",
    "sh -c '{}; true'",
    "set -e; {} | cat",
    "set -e; {} && true; true",
    "f() {{ {}; true; }}; f",
    "f() {{ {}; }}; f; true",
    "{{ {}; }} | cat",
    "{} || exit 0",
    "export X=$({})",
    "{} <<E\nx\nE\ntrue",
    "{} &> /dev/null",
    "{} <<E | cat\nx\nE",
    "({}; true)",
    "if true; then {}; fi; true",
    "case x in x) {}; true;; esac",
    "set -e; set +e; {}; true",
]


def test_a_return_code_is_not_called_lost_that_somebody_learns():
    for text in TOLD:
        assert {each.lost_to for each in calls_of(entry(text.format(H)))[0]} == {""}, text


def test_a_return_code_that_nobody_learns_is_lost():
    for text in LOST:
        assert call(text.format(H)).lost_to, text


@pytest.mark.slow
@needs_sh
def test_sh_agrees_about_the_return_code(tmp_path):
    failing = tmp_path / "planta_headless.py"
    failing.write_text("#!/bin/sh\nexit 7\n")
    failing.chmod(0o755)
    is_bash = "dash" not in os.path.realpath("/bin/sh")  # which knows &>
    for text in (each for each in TOLD + LOST if not (is_bash and "&>" in each)):
        done = subprocess.run(["/bin/sh", "-c", text.format(failing)], capture_output=True, timeout=20, check=False)
        assert bool(done.returncode or done.stdout) is (text in TOLD), text
