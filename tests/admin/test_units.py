"""headless check, of services and timers of systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from headless.admin.schedule import Schedule
from headless.admin.units import schedule_of
from support import checks
from support.process import PATIENCE, SCRIPT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files of Linux")

SERVICE = """\
[Unit]
Description=009ABC
OnFailure=report@%n.service

[Service]
Type=oneshot
User=root
WorkingDirectory=FOLDER
StandardOutput=append:FOLDER/log
ExecStart=PYTHON SCRIPT -s planta:20000 \\
    -u R41 -p FOLDER/secret -t -1 -v -m 009ABC
"""
TIMER = """\
[Unit]
Description=planta_headless.py at night

[Timer]
OnCalendar=Mon..Fri *-*-* 02:00:00
Persistent=true

[Install]
WantedBy=timers.target
"""


def check(folder, service=SERVICE, timer=TIMER):
    service = service.replace("FOLDER", str(folder)).replace("PYTHON", sys.executable).replace("SCRIPT", str(SCRIPT))
    (folder / "x.service").write_text(service)
    (folder / "x.timer").write_text(timer)
    return checks.check(folder / "x.service", folder / "x.timer")[1]


def test_a_good_service_with_its_timer_has_no_finding(folder):
    assert check(folder) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_takes_the_good_service_too(folder):
    check(folder)
    (folder / "report@.service").write_text("[Service]\nExecStart=/bin/true\n")
    command = ["systemd-analyze", "verify", "--man=no", str(folder / "x.service"), str(folder / "x.timer")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert [line for line in done.stderr.splitlines() if "x.service" in line or "x.timer" in line] == []


SERVICES = {
    "a code that is ignored": ("ExecStart=", "ExecStart=-", "code-ignored", True),
    "a restart": ("Type=oneshot", "Type=oneshot\nRestart=on-failure", "restart", True),
    "failures that are successes": ("Type=oneshot", "Type=oneshot\nSuccessExitStatus=1 3", "code-ignored", False),
    "a time limit": ("Type=oneshot", "Type=oneshot\nTimeoutStartSec=3600", "timeout", True),
    "a redirection": ("-m 009ABC", "-m 009ABC > FOLDER/log 2>&1", "no-shell", False),
    "an alternative": ("-m 009ABC", "-m 009ABC || /bin/mail root", "no-shell", False),
    "a failure without a message": ("OnFailure=report@%n.service\n", "", "unreported", False),
    "Python 2": ("PYTHON", "/usr/bin/python2", "old-python", True),
    "no -t": ("-t -1 ", "", "no-t", True),
    "a mistake in the options": ("-m 009ABC", "-m", "options", False),
    "a mistake in a variable": ("-m 009ABC", "$JOB\nEnvironment=JOB=-m", "options", False),
    "no folder": ("WorkingDirectory=FOLDER", "WorkingDirectory=/no/such/folder", "no-folder", False),
    "no password file": ("FOLDER/secret", "FOLDER/missing", "password-file", False),
    "a shell that loses the code": (
        "ExecStart=PYTHON SCRIPT -s planta:20000 \\\n    -u R41 -p FOLDER/secret -t -1 -v -m 009ABC",
        "ExecStart=/bin/sh -c 'PYTHON SCRIPT -s planta:20000 -t -1 -m 009ABC | tee FOLDER/log'", "code-lost", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "rule", "is_corrected"), SERVICES.values(), ids=SERVICES)
def test_what_is_wrong_with_a_service_is_found(folder, old, new, rule, is_corrected):
    assert old in SERVICE
    found = check(folder, SERVICE.replace(old, new))
    assert rule in [each["rule"] for each in found]
    assert {each["rule"] for each in found} <= {rule, "options", "no-program"}
    (one,) = [each for each in found if each["rule"] == rule]
    assert one["at_night"]
    assert bool(one["write"]) == is_corrected
    assert is_corrected or one["to_do"] or rule == "password-file"


def test_a_timer_that_leaves_a_night_out_is_found_and_corrected(folder):
    (one,) = check(folder, timer=TIMER.replace("Persistent=true\n", ""))
    assert (one["file"], one["line"], one["rule"]) == (str(folder / "x.timer"), 5, "left-out")
    assert one["write"].splitlines() == ["OnCalendar=Mon..Fri *-*-* 02:00:00", "Persistent=true"]


def test_the_interval_is_that_of_the_timer(folder):
    found = check(folder, SERVICE.replace("-t -1", "-t 7200"), TIMER.replace("Mon..Fri *-*-* 02:00:00", "hourly"))
    assert [each["rule"] for each in found] == ["t-too-long"]


def test_a_script_that_a_service_starts_is_read_as_well(folder):
    script = folder / "import.sh"
    script.write_text(f"#!/bin/sh\n{sys.executable} {SCRIPT} -s planta:20000 -t -1 -m X | tee {folder}/log\n")
    script.chmod(0o755)
    found = check(folder, f"[Service]\nExecStart={script}\n")
    assert [(each["file"], each["rule"]) for each in found] == [(str(script), "code-lost")]


def test_a_script_that_is_started_by_its_name_has_to_be_executable_and_one_behind_a_shell_need_not(folder):
    script = folder / "job.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {SCRIPT} -s planta:20000 -t -1 -v -m 009ABC\n")
    for command, mode, is_found in (("", 0o644, True), ("", 0o755, False), ("/bin/sh ", 0o644, False)):
        script.chmod(mode)
        found = check(
            folder, f"[Service]\n# planta_headless.py\nWorkingDirectory=FOLDER\nExecStart={command}{script}\n"
        )
        assert ("not-executable" in [each["rule"] for each in found]) is is_found, (command, oct(mode))


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_text_in_quotes_is_not_corrected_by_an_edit_outside_of_them(folder, quote):
    call = f"{sys.executable} {SCRIPT} -s planta:20000 -t -1 -m 009ABC &> FOLDER/log"
    found = check(folder, f"[Unit]\nOnFailure=x.service\n[Service]\nExecStart=/bin/sh -c {quote}{call}{quote}\n")
    assert [(each["rule"], each["line"], each["write"]) for each in found] == [
        ("ampersand-redirection", 4, None), ("code-lost", 4, None),
    ]  # fmt: skip
    assert all(each["to_do"] for each in found)


def test_a_shell_behind_another_program_is_the_one_that_is_named_and_may_run_as_another_user(folder):
    """Of another user nothing is known: not which files there are for them."""
    call = f"{sys.executable} {SCRIPT} -s planta:20000 -u R41 -p /missing -t -1 -m 009ABC &> FOLDER/log"
    for front, rules in (("/usr/bin/env", ["ampersand-redirection", "code-lost", "password-file"]),
                         ("/usr/bin/env sudo -u nobody", ["ampersand-redirection", "code-lost"])):  # fmt: skip
        unit = f"[Unit]\nOnFailure=x.service\n[Service]\nExecStart={front} /bin/sh -c '{call}'\n"
        found = check(folder, unit)
        assert sorted({each["rule"] for each in found} - {"no-program"}) == rules


def test_a_service_of_something_else_is_only_said_to_have_no_call(folder):
    found = check(folder, "[Service]\nExecStart=-/bin/true\nRestart=always\n")
    assert [each["rule"] for each in found] == ["no-call"]


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        ("daily", "0 0 * * *"),
        ("hourly", "0 * * * *"),
        ("02:00", "0 2 * * *"),
        ("*-*-* 02:30:00", "30 2 * * *"),
        ("Mon..Fri 02:00", "0 2 * * 1-5"),
        ("Sat,Sun *-*-* 06:05", "5 6 * * 6,7"),
        ("Tue..Thu 02:00", "0 2 * * 2-4"),
        ("Wed,Sun 02:00", "0 2 * * 3,7"),
        ("*-*-01 00:15:00", "15 0 01 * *"),
        ("*:0/15", "*/15 * * * *"),
        ("*-*-* 02,14:00:00", "0 2,14 * * *"),
        ("Mon *-*-01 02:00", None),  # both of them; cron would take either
        ("02:00:30", None),
        ("*-*~01 02:00", None),
        ("2027-01-01 02:00", None),
        ("quarterly", None),
        ("nonsense", None),
    ],
)
def test_a_calendar_event_is_understood_or_not_judged(event, rule):
    assert schedule_of([event]) == Schedule(event, (rule,) if rule else ())
