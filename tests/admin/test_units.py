"""headless check, of services and timers of systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from headless.admin import files, schedule, units
from headless.admin.files import File, applies_to
from headless.admin.schedule import Schedule, schedule_of
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
    "a start that is set twice": ("Type=oneshot", "Type=oneshot\nRestartForceExitStatus=1", "restart", False),
    "a service that stays active": ("Type=oneshot", "Type=oneshot\nRemainAfterExit=yes", "remain-after-exit", True),
    "two commands at a time": ("Type=oneshot", "Type=exec\nExecStart=/bin/true", "one-command", False),
    "no file of variables": ("Type=oneshot", "Type=oneshot\nEnvironmentFile=/no/file", "no-file", False),
    "a daemon": ("Type=oneshot", "Type=forking", "type", True),
    "a user for each start": ("User=root", "DynamicUser=yes", "dynamic-user", False),
    "an unknown user": ("User=root", "User=nobody-here", "user-unknown", False),
    "a message in the wrong section": ("[Service]", "[Service]\nRestart=no\nOnCalendar=daily", "wrong-section", False),
    "a log in no folder": ("append:FOLDER/log", "append:FOLDER/absent/log", "no-folder", False),
    "a variable for the program": ("ExecStart=PYTHON", "Environment=P=PYTHON\nExecStart=$P", "variable-program", False),
    "a command that is not read": ("Type=oneshot", "ExecStopPost=/bin/planta_headless", "not-checked", False),
    "another machine": ("ExecStart=PYTHON", "ExecStart=/usr/bin/ssh planta PYTHON", "not-checked", False),
    "a second command": ("-m 009ABC", "-m 009ABC ; PYTHON SCRIPT -s planta:20000 -m 009ABD", "no-t", True),
    "a name for the program": ("ExecStart=PYTHON SCRIPT", "ExecStart=@PYTHON python SCRIPT -x", "options", False),
    "a call that comes first": (
        "ExecStart=PYTHON", "ExecStartPre=PYTHON SCRIPT -s planta:20000 -m 009ABD\nExecStart=PYTHON", "no-t", True,
    ),
    "a command in front": ("Type=oneshot", "ExecStartPre=-/bin/true", "code-ignored", True),
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
    assert {each["rule"] for each in found} <= {
        rule,
        "options",
        "no-program",
        *(["no-folder", "no-script"] if rule == "user-unknown" else []),  # where others may not look
    }
    (one,) = [each for each in found if each["rule"] == rule]
    assert one["at_night"]
    assert bool(one["write"]) == is_corrected
    assert is_corrected or one["to_do"] or rule == "password-file"


def test_a_timer_that_leaves_a_night_out_is_found_and_corrected(folder):
    (one,) = check(folder, timer=TIMER.replace("Persistent=true\n", ""))
    assert (one["file"], one["line"], one["rule"]) == (str(folder / "x.timer"), 5, "left-out")
    assert one["write"].splitlines() == ["OnCalendar=Mon..Fri *-*-* 02:00:00", "Persistent=true"]


def timer_with(event):
    return TIMER.replace("Mon..Fri *-*-* 02:00:00", event)


# Times that systemd refuses, or that are over.
TIMES = {"0 2 * * *": "calendar", "*:*/15": "calendar", "Monx 02:00": "calendar", "25:00": "calendar",
         "2020-01-01 02:00": "never", "*-02-30 02:00": "never", "Mon..Fri 02:00 Europe/Berlin": None,
         "Mon-Fri 02:00": None, "quarterly": None, "daily": None}  # fmt: skip


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize(("event", "rule"), TIMES.items())
def test_a_time_that_systemd_refuses_or_that_never_comes_is_found_by_asking_systemd(folder, event, rule):
    found = check(folder, timer=timer_with(event))
    assert [(each["rule"], each["line"]) for each in found] == ([(rule, 5)] if rule else [])


def test_a_time_that_nobody_here_can_judge_is_said_to_be_not_checked(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    schedule._next_start.cache_clear()
    try:
        for event in TIMES:
            rules = [each["rule"] for each in check(folder, timer=timer_with(event))]
            known = {"daily": [], "*-02-30 02:00": ["never"]}
            assert rules == known.get(event, ["not-checked"]), event
    finally:
        schedule._next_start.cache_clear()


def test_a_systemd_that_does_not_answer_in_time_is_said_to_be_not_asked(folder, monkeypatch):
    (folder / "systemd-analyze").write_text("#!/bin/sh\nexec sleep 600\n")
    (folder / "systemd-analyze").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(schedule, "_SECONDS_TO_ANSWER", 0.1)
    schedule._next_start.cache_clear()
    try:
        assert [each["rule"] for each in check(folder, timer=timer_with("quarterly"))] == ["not-checked"]
    finally:
        schedule._next_start.cache_clear()


def test_a_timer_that_nothing_enables_is_found(folder):
    (one,) = check(folder, timer=TIMER.replace("WantedBy=timers.target\n", ""))
    assert (one["rule"], one["line"]) == ("not-enabled", 0)

    (folder / "timers.target.wants").mkdir()
    (folder / "timers.target.wants" / "x.timer").symlink_to(folder / "x.timer")
    assert check(folder, timer=TIMER.replace("WantedBy=timers.target\n", "")) == []


def test_the_timer_of_an_instance_starts_the_template(folder):
    service = SERVICE.replace("FOLDER", str(folder)).replace("-t -1", "-t 7200")
    (folder / "x@.service").write_text(service.replace("PYTHON", sys.executable).replace("SCRIPT", str(SCRIPT)))
    (folder / "x@a.timer").write_text(timer_with("hourly"))
    assert checks.rules(checks.check(folder / "x@.service", folder / "x@a.timer")[1]) == ["t-too-long"]


def test_a_unit_of_a_user_starts_only_while_they_are_logged_in_or_may_linger(monkeypatch):
    unit = units._Unit("x.service", [File("/home/ann/.config/systemd/user/x.service", SERVICE)], ())
    for lingers, who in ((False, "ann"), (True, "")):
        monkeypatch.setattr(os.path, "exists", lambda path, known=lingers: known and path.endswith("/linger/ann"))
        monkeypatch.setattr(os.path, "isdir", lambda path: path == "/var/lib/systemd")
        assert units._who_must_be_here(unit) == who
    assert units._who_must_be_here(units._Unit("x.service", [File("/etc/systemd/user/x.service", SERVICE)], ())) == ""


@pytest.mark.parametrize(
    ("starts", "expected"),
    [("OnCalender=daily", ["no-start"]), ("OnCalendar=daily\nOnCalendar=", ["no-start"]), ("OnBootSec=1h", []),
     ("OnUnitActiveSec=1d", ["no-start"]), ("OnBootSec=1h\nOnUnitActiveSec=1d", [])],
)  # fmt: skip
def test_a_timer_without_a_first_start_never_starts(folder, starts, expected):
    timer = TIMER.replace("OnCalendar=Mon..Fri *-*-* 02:00:00", starts)
    assert checks.rules(check(folder, timer=timer)) == expected


def test_a_setting_in_the_wrong_section_counts_as_none(folder):
    service = SERVICE.replace("OnFailure=report@%n.service\n", "").replace("Type=", "OnFailure=x.service\nType=")
    assert [(each["rule"], each["line"]) for each in check(folder, service)] == [
        ("unreported", 0),
        ("wrong-section", 5),
    ]


@pytest.mark.parametrize("name", ["x.service.d", "service.d"])
def test_a_drop_in_is_read_with_its_unit_and_a_finding_names_it(folder, name):
    (folder / name).mkdir()
    (folder / name / "10-more.conf").write_text("[Service]\nRestart=always\nTimeoutStartSec=60\n")
    (folder / name / "20-more.conf").write_text("[Service]\nTimeoutStartSec=infinity\n")
    (folder / "y.service.d").mkdir()
    (folder / "y.service.d" / "more.conf").write_text("[Service]\nRestart=always\n")
    (one,) = check(folder)
    assert (one["file"], one["line"], one["rule"]) == (str(folder / name / "10-more.conf"), 2, "restart")
    assert one["write"] == "Restart=no"


def test_a_command_of_a_drop_in_replaces_the_one_of_the_unit(folder):
    (folder / "x.service.d").mkdir()
    (folder / "x.service.d" / "new.conf").write_text(
        f"[Service]\nExecStart=\nExecStart={sys.executable} {SCRIPT} -s planta:20000 -m X\n"
    )
    (one,) = check(folder)
    assert (one["file"], one["line"], one["rule"]) == (str(folder / "x.service.d" / "new.conf"), 3, "no-t")


@pytest.mark.parametrize(("old", "new"), [
    ("WorkingDirectory=FOLDER", "WorkingDirectory=~"), ("WorkingDirectory=FOLDER", "WorkingDirectory=-/absent"),
    ("User=root", "User=root\nDynamicUser=yes"), ("Type=oneshot", "RemainAfterExit=no"),
])  # fmt: skip
def test_what_looks_like_a_mistake_and_is_none_is_not_found(folder, old, new):
    assert old in SERVICE
    assert check(folder, SERVICE.replace(old, new)) == []


def test_of_a_drop_in_alone_only_what_it_says_is_judged(folder):
    (folder / "x.service.d").mkdir()
    path = folder / "x.service.d" / "new.conf"
    path.write_text(f"[Service]\nRestart=always\nExecStart={sys.executable} {SCRIPT} -s planta:20000 -t -1 -m X\n")
    assert checks.rules(checks.check(path)[1]) == ["restart"]
    (folder / "x.timer.d").mkdir()
    (folder / "x.timer.d" / "new.conf").write_text("[Timer]\nOnCalendar=daily\nPersistent=yes\n")
    assert checks.rules(checks.check(path, folder / "x.timer.d" / "new.conf")[1]) == ["restart"]


def test_the_folders_of_systemd_hold_drop_ins_for_the_units_of_each_other(folder, monkeypatch):
    for name in ("etc", "lib/x.service.d", "lib/y.service.d"):
        (folder / name).mkdir(parents=True)
    unit = folder / "etc" / "x.service"
    for path in (unit, folder / "lib/x.service.d/a.conf", folder / "lib/y.service.d/a.conf"):
        path.write_text("[Service]\n")
    monkeypatch.setattr(files, "_UNITS", (str(folder / "etc"), str(folder / "lib")))
    found = [each.path for each in files.find_drop_ins([files.read(str(unit), None)], [])]
    assert found == [str(folder / "lib/x.service.d/a.conf")]
    of_machine = [each.path for each in files.find([]) if each.path.startswith(str(folder))]
    assert of_machine == [str(unit), str(folder / "lib/x.service.d/a.conf"), str(folder / "lib/y.service.d/a.conf")]


@pytest.mark.parametrize(("drop_in", "unit", "applies"), [
    ("a-b.service", "a-b.service", True), ("a-.service", "a-b.service", True), ("service", "a-b.service", True),
    ("a.service", "a-b.service", False), ("timer", "a-b.service", False), ("b-.service", "a-b.service", False),
])  # fmt: skip
def test_for_which_units_a_drop_in_is(drop_in, unit, applies):
    assert applies_to(drop_in, unit) is applies


def test_the_interval_is_that_of_the_timer(folder):
    found = check(folder, SERVICE.replace("-t -1", "-t 7200"), TIMER.replace("Mon..Fri *-*-* 02:00:00", "hourly"))
    assert [each["rule"] for each in found] == ["t-too-long"]


def test_a_script_that_a_service_starts_is_read_as_well(folder):
    script = folder / "import.sh"
    script.write_text(f"#!/bin/sh\n{sys.executable} {SCRIPT} -s planta:20000 -t -1 -m X | tee {folder}/log\n")
    script.chmod(0o755)
    found = check(folder, f"[Service]\nExecStart={script}\n")
    assert [(each["file"], each["rule"]) for each in found] == [
        (str(script), "code-lost"), (str(folder / "x.service"), "unreported"),
    ]  # fmt: skip


def test_a_script_behind_a_shell_is_read_too(folder):
    (folder / "import.sh").write_text(f"{sys.executable} {SCRIPT} -s planta:20000 -t -1 -m X | tee {folder}/log\n")
    found = check(folder, f"[Unit]\nOnFailure=x.service\n[Service]\nExecStart=-/bin/sh -e {folder}/import.sh\n")
    assert [each["rule"] for each in found] == ["code-lost", "code-ignored"]


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
        ("Fri..Mon 02:00", None),
    ],
)
def test_a_calendar_event_is_understood_or_not_judged(event, rule):
    assert schedule_of([event]) == Schedule(event, (rule,) if rule else ())
