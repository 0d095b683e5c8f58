"""headless check, of exported tasks of the Windows Task Scheduler and of batch scripts, on another machine. Files that
they name are looked at on Windows alone, see test_tasks_on_windows.py."""

from __future__ import annotations

import pytest

from headless.admin import surroundings
from support import checks
from support.command_here import headless

pytestmark = pytest.mark.version("lxml parses the tasks")
PYTHON = r"C:\PLANTA\Jobs\Headless\.venv\Scripts\python.exe"
SCRIPT = r"C:\PLANTA\Jobs\Headless\planta_headless.py"
TRIGGER = """\
    <CalendarTrigger>
      <StartBoundary>2026-11-24T02:00:00</StartBoundary>
      <ScheduleByDay><DaysInterval>1</DaysInterval></ScheduleByDay>
    </CalendarTrigger>
"""
LINE = rf"{SCRIPT} -s planta:20000 -u R41 -p C:\PLANTA\Jobs\r41.secret -t -1 -m 009ABC"
TASK = f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <Triggers>
{TRIGGER}  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>PLANTA\\jobs</UserId>
      <LogonType>Password</LogonType>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <Enabled>true</Enabled> <RunOnlyIfIdle>false</RunOnlyIfIdle>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{PYTHON}</Command>
      <Arguments>{LINE}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.setattr(surroundings, "_FILES_OF_THIS_MACHINE", set())


def check(tmp_path, content, encoding="utf-8", name="task.xml"):
    (tmp_path / name).write_bytes(content.encode(encoding))
    return checks.check(tmp_path / name)[1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_good_task_has_no_finding_however_it_was_saved(tmp_path, encoding):
    assert check(tmp_path, TASK, encoding) == []


def test_what_pip_has_installed_is_a_call(tmp_path):
    task = TASK.replace(PYTHON, PYTHON.replace("python.exe", "planta_headless.exe")).replace(f"{SCRIPT} ", "")
    assert check(tmp_path, task) == []
    assert [each["rule"] for each in check(tmp_path, task.replace("-t -1 ", ""))] == ["no-t"]


def test_quotes_at_both_ends_are_not_around_all_where_no_cmd_is_started(tmp_path):
    task = TASK.replace(PYTHON, r"C:\Program Files\Python\python.exe").replace("-m 009ABC", '-c "print(1)"')
    assert check(tmp_path, task) == []


# What is in the task, what replaces it, the rule that it breaks, and the line. Settings have the names of their rules,
# and can be corrected.
TASKS = {
    "72 hours": ("PT0S", "PT72H", "ExecutionTimeLimit", 21),
    "72 hours, unsaid": ("    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>\n", "", "ExecutionTimeLimit", 2),
    "a parallel start": ("IgnoreNew", "Parallel", "MultipleInstancesPolicy", 16),
    "a start that stops the one before": ("IgnoreNew", "StopExisting", "MultipleInstancesPolicy", 16),
    "a night that is left out": ("<StartWhenAvailable>true", "<StartWhenAvailable>false", "StartWhenAvailable", 19),
    "batteries": ("<StopIfGoingOnBatteries>false", "<StopIfGoingOnBatteries>true", "StopIfGoingOnBatteries", 18),
    "a machine that is in use": ("<RunOnlyIfIdle>false", "<RunOnlyIfIdle>true", "RunOnlyIfIdle", 20),
    "quotes around a folder": ("</Arguments>", '</Arguments><WorkingDirectory>"C:\\P"</WorkingDirectory>',
                               "folder-quotes", 26),
    "a script in no folder": (f"<Arguments>{SCRIPT}", "<Arguments>planta_headless.py", "relative", 26),
    "a password file in no folder": (r"-p C:\PLANTA\Jobs\r41.secret", "-p r41.secret", "relative", 26),
    "a trigger that is off": ("<StartBoundary>", "<Enabled>false</Enabled><StartBoundary>", "no-trigger", 3),
    "a trigger that has ended": ("<StartBoundary>", "<EndBoundary>2025-01-01T00:00:00</EndBoundary><StartBoundary>",
                                 "no-trigger", 3),
    "no trigger": (TRIGGER, "", "no-trigger", 3),
    "one time that is over": (TRIGGER, TRIGGER.replace("Calendar", "Time").replace("2026", "2024"), "no-trigger", 3),
    "a time limit of the trigger": (
        "<StartBoundary>", "<ExecutionTimeLimit>PT30M</ExecutionTimeLimit><StartBoundary>", "trigger", 4,
    ),
    "an end with the repetition": (
        "<StartBoundary>", "<Repetition><Interval>PT2H</Interval><Duration>PT6H</Duration>"
        "<StopAtDurationEnd>true</StopAtDurationEnd></Repetition><StartBoundary>", "trigger", 4,
    ),
    "a second trigger that is off": (TRIGGER, TRIGGER + TRIGGER.replace("<Start", "<Enabled>false</Enabled><Start"),
                                     "trigger", 8),
    "the folder of Python 2": (PYTHON, r"C:\Python27\python.exe", "old-python", 26),
    "the launcher, asked for Python 2": (f"{PYTHON}</Command>\n      <Arguments>", "py</Command>\n      <Arguments>-2 ",
                                         "old-python", 26),
    "the launcher, asked for Python 3.7": (f"{PYTHON}</Command>\n      <Arguments>",
                                           "py</Command>\n      <Arguments>-3.7-32 ", "old-python", 26),
    "a task that is off": ("<Enabled>true", "<Enabled>false", "disabled", 2),
    "another start after a failure": ("<Enabled>", "<RestartOnFailure><Count>3</Count></RestartOnFailure><Enabled>",
                                      "restart", 20),
    "a user who is logged on": ("<LogonType>Password", "<LogonType>InteractiveToken", "logged-on", 12),
    "Python 2": (r".venv\Scripts\python.exe", r"python2.exe", "old-python", 26),
    "no -t": ("-t -1 ", "", "no-t", 26),
    "a mistake in the options": ("-m 009ABC", "-m", "options", 26),
    "a redirection": ("-m 009ABC", "-m 009ABC &gt; log.txt", "options", 26),
    "single quotes": ("-m 009ABC", "-c 'print(1)'", "single-quotes", 26),
    "one element for all": (f"{PYTHON}</Command>\n      <Arguments>{LINE}</Arguments>", f"{PYTHON} {LINE}</Command>",
                            "one-element", 25),
    "the system's account": ("PLANTA\\jobs", "S-1-5-18", "account", 11),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "rule", "line"), TASKS.values(), ids=TASKS)
def test_what_is_wrong_with_a_task_is_found_and_corrected_where_that_is_possible(tmp_path, old, new, rule, line):
    assert old in TASK
    content = TASK.replace(old, new)
    if rule == "account":
        content = content.replace(r" -u R41 -p C:\PLANTA\Jobs\r41.secret", "")
    (found,) = check(tmp_path, content, "utf-16")
    is_corrected = f"<{rule}>" in TASK
    assert (found["rule"], found["line"], bool(found["write"])) == (rule, line, is_corrected)
    assert found["at_night"]
    assert is_corrected or found["to_do"]
    if is_corrected:
        headless("check", "--fix", str(tmp_path / "fixed"), str(tmp_path / "task.xml"))
        corrected = (tmp_path / "fixed").joinpath(*(tmp_path / "task.xml").parts[1:]).read_bytes()
        assert corrected.startswith(b"\xff\xfe")
        assert check(tmp_path, corrected.decode("utf-16")) == []


REPETITION = "<Repetition><Interval>{}</Interval>{}</Repetition><StartBoundary>"


@pytest.mark.parametrize(("interval", "duration", "seconds", "is_too_long"), [
    ("PT30M", "<Duration>P1D</Duration>", 1800, True), ("PT30M", "<Duration>P1D</Duration>", 1799, False),
    ("PT30M", "<Duration>PT8H</Duration>", 1800, True), ("PT1H30M", "", 5400, True), ("PT1H", "", 3599, False),
    ("PT7H", "<Duration>PT1H</Duration>", 25200, False),
])  # fmt: skip
def test_a_wait_that_is_longer_than_a_repetition_is_found(tmp_path, interval, duration, seconds, is_too_long):
    task = TASK.replace("-t -1", f"-t {seconds}").replace("<StartBoundary>", REPETITION.format(interval, duration))
    found = check(tmp_path, task)
    assert [each["rule"] for each in found] == (["t-too-long"] if is_too_long else [])
    assert not found or found[0]["at_night"] == "the next start is left out while this one waits"


def test_a_trigger_for_one_time_that_repeats_itself_without_end_is_one_for_each_day(tmp_path):
    time = f"<TimeTrigger>{REPETITION.format('PT10M', '')}2024-01-01T00:05:00</StartBoundary></TimeTrigger>"
    for seconds, rules in ((600, ["t-too-long"]), (599, [])):
        found = check(tmp_path, TASK.replace(TRIGGER, time).replace("-t -1", f"-t {seconds}"))
        assert [each["rule"] for each in found] == rules


WEEKLY = "<ScheduleByWeek><DaysOfWeek><Monday/></DaysOfWeek></ScheduleByWeek>"


def test_a_trigger_whose_times_are_not_certain_leads_to_no_finding(tmp_path):
    repetition = REPETITION.format("PT1H", "<Duration>P1D</Duration>")
    by_day = "<ScheduleByDay><DaysInterval>1</DaysInterval></ScheduleByDay>"
    over_midnight = TASK.replace("<StartBoundary>", repetition).replace(by_day, WEEKLY)
    time = f"<TimeTrigger>{REPETITION.format('PT7H', '')}2024-01-01T00:05:00</StartBoundary></TimeTrigger>"
    for task in (over_midnight, TASK.replace(TRIGGER, time)):
        assert check(tmp_path, task.replace("-t -1", "-t 25200")) == []


def test_a_trigger_that_is_off_or_ends_later_starts_nothing_or_all(tmp_path):
    later = "<EndBoundary>2099-01-01T00:00:00</EndBoundary><StartBoundary>"
    assert check(tmp_path, TASK.replace("<StartBoundary>", later)) == []
    off = TRIGGER.replace("<StartBoundary>", "<Enabled>false</Enabled>" + REPETITION.format("PT10M", ""))
    found = check(tmp_path, TASK.replace(TRIGGER, TRIGGER + off).replace("-t -1", "-t 900"))
    assert [each["rule"] for each in found] == ["trigger"]


@pytest.mark.parametrize("name", ["py", "pyw.exe", r"C:\Windows\py.exe", r"C:\Python39\python.exe", "python3.exe"])
def test_a_launcher_and_a_newer_python_are_right(tmp_path, name):
    assert check(tmp_path, TASK.replace(PYTHON, name).replace("<Arguments>", "<Arguments>-u ")) == []


def test_what_is_relative_to_a_folder_that_is_named_is_right(tmp_path):
    """A program alone is looked for in PATH, and so is what pip has made."""
    for old, new in ((f"<Arguments>{SCRIPT}", "<Arguments>planta_headless.py"), (PYTHON, "python.exe"),
                     (r"C:\PLANTA\Jobs\r41.secret", "r41.secret")):  # fmt: skip
        folder = r"</Arguments><WorkingDirectory>C:\PLANTA\Jobs</WorkingDirectory>"
        assert check(tmp_path, TASK.replace(old, new).replace("</Arguments>", folder)) == []
    assert check(tmp_path, TASK.replace(PYTHON, "planta_headless.exe").replace(f"{SCRIPT} ", "")) == []
    within = f"<Arguments>/c cd /d C:\\P &amp;&amp; {PYTHON} planta_headless.py"
    assert check(tmp_path, TASK.replace(PYTHON, "cmd").replace(f"<Arguments>{SCRIPT}", within, 1)) == []


def test_a_task_that_starts_cmd_is_read_as_cmd_reads_it(tmp_path):
    for command in (f'/c "{PYTHON} {LINE} &gt; C:\\log.txt"', f'/c ""{PYTHON}" {LINE} &gt; C:\\log.txt 2&gt;&amp;1"'):
        content = TASK.replace(PYTHON, "cmd.exe").replace(f"<Arguments>{LINE}", f"<Arguments>{command}")
        assert check(tmp_path, content) == []
        assert check(tmp_path, content.replace("-m 009ABC", "-m %d")) == []  # which cmd keeps outside of a script
        assert [each["rule"] for each in check(tmp_path, content.replace("-t -1 ", ""))] == ["no-t"]


def test_each_action_of_a_task_has_its_own_line(tmp_path):
    action = f"<Exec>\n<Command>{PYTHON}</Command>\n<Arguments>{LINE.replace('-t -1 ', '')}</Arguments>"
    second = f'{action}\n<WorkingDirectory>"C:\\P"</WorkingDirectory></Exec>\n</Actions>'.replace("009ABC", "009ABD")
    content = TASK.replace("  </Actions>", second)
    lines = content.splitlines()
    found = [(each["rule"], lines[each["line"] - 1][:18].strip()) for each in check(tmp_path, content)]
    assert found == [("no-t", "<Arguments>C:\\PLAN"), ("folder-quotes", "<WorkingDirectory>")]


def test_an_export_of_several_tasks_names_the_lines_of_each(tmp_path):
    bad = TASK.replace("PT0S", "PT72H").replace('<?xml version="1.0" encoding="UTF-16"?>\n', "")
    for content in (f"<!-- \\A -->\n{bad}\n<!-- \\B -->\n{bad}", f"<Tasks>\n{bad}{bad}</Tasks>\n"):
        found = check(tmp_path, content)
        lines = [content.splitlines()[each["line"] - 1] for each in found if each["rule"] == "ExecutionTimeLimit"]
        assert lines == ["    <ExecutionTimeLimit>PT72H</ExecutionTimeLimit>"] * 2
        assert "twice" in [each["rule"] for each in found]


def test_a_task_of_something_else_is_only_said_to_have_no_call(tmp_path):
    content = TASK.replace(LINE, "other.py").replace("PT0S", "PT72H") + "<!-- planta_headless -->"
    assert [each["rule"] for each in check(tmp_path, content)] == ["no-call"]


NO_TASKS = [
    "<Task planta_headless></Task>",
    "planta_headless",
    "<!DOCTYPE x [<!ENTITY a 'planta_headless'>]><Task>&a;</Task>",
]


@pytest.mark.parametrize("content", NO_TASKS)
def test_what_is_no_task_is_reported(tmp_path, content):
    assert [each["rule"] for each in check(tmp_path, content)] in (["no-xml"], ["no-task"])


# Batch scripts

GOOD = rf"""@echo off
rem nightly
set LOG=C:\PLANTA\log.txt
"{PYTHON}" {LINE} > %LOG% 2>&1
exit /b %errorlevel%
"""
BATCHES = {
    "a code that is lost": ("exit /b %errorlevel%", "echo done", "code-lost"),
    "a test that is always true": ("exit /b %errorlevel%", "if errorlevel 0 exit /b 0", "code-lost"),
    "a value that is too old": ("2>&1\nexit /b", "2>&1 & exit /b", "code-lost"),
    "a pipe": ("> %LOG% 2>&1", "| find \"x\"", "code-lost"),
    "a start that does not wait": (f'"{PYTHON}"', f'start "night" "{PYTHON}"', "code-lost"),
    "single quotes": ("-m 009ABC", "-c 'print(1)'", "single-quotes"),
    "no -t": ("-t -1 ", "", "no-t"),
    "a mistake in the options": ("-s planta:20000", "-s planta", "options"),
    "a single %": ("-m 009ABC", "-c \"print('%d')\"", "percent"),
    "two single %": ("-m 009ABC", "-c \"print('%d of 3' % 2)\"", "percent"),
    "a call behind another program": (f'"{PYTHON}" {LINE}', f'runas /user:x "{PYTHON} {LINE}"', "not-checked"),
    "a mistake behind a condition": (f'"{PYTHON}" {LINE}', f'if exist C:\\now "{PYTHON}" {LINE} -t 0', "no-t"),
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_good_batch_script_has_no_finding(tmp_path, end):
    for content in (
        GOOD,
        GOOD.replace("exit /b %errorlevel%\n", ""),
        GOOD.replace("exit /b %errorlevel%", "if errorlevel 1 goto failed"),
        GOOD.replace(" > %LOG% 2>&1\n", " ^\n  > %LOG% 2>&1\n"),
        GOOD.replace(f'"{PYTHON}"', f'start "night" /wait "{PYTHON}"'),
        GOOD.replace("2>&1\n", "2>&1 || goto failed\n"),
        GOOD.replace(f'"{PYTHON}"', f'call "{PYTHON}"'),
        GOOD.replace("-m 009ABC", "-m %1"),
        GOOD.replace("-m 009ABC", "-c \"print('%%d')\""),
        GOOD.replace("-m 009ABC", "-m %~n1 -m %LOG:~0,3% -m %ProgramFiles(x86)% -m %*"),
        GOOD.replace("rem nightly", "echo planta_headless.py is started"),
        GOOD.replace("rem nightly", f"if not exist {SCRIPT} exit /b 2"),
        GOOD.replace(f'"{PYTHON}"', f'if exist C:\\now ("{PYTHON}"').replace("2>&1\n", "2>&1)\n"),
    ):
        assert check(tmp_path, content.replace("\n", end), name="nightly.cmd") == [], content


@pytest.mark.parametrize(("old", "new", "rule"), BATCHES.values(), ids=BATCHES)
def test_what_is_wrong_with_a_batch_script_is_found(tmp_path, old, new, rule):
    assert old in GOOD
    (found,) = check(tmp_path, GOOD.replace(old, new).replace("\n", "\r\n"), name="nightly.cmd")
    assert (found["rule"], found["line"]) == (rule, 4)
    assert found["at_night"]
    assert found["to_do"]


def test_what_a_variable_of_a_batch_script_has_is_told_once_where_it_is_set(tmp_path):
    script = 'set "PY=C:\\Python27\\python.exe"\n' + f"%PY% {LINE} || goto failed\n".replace("009ABC", "%1") * 3
    assert [(each["rule"], each["line"]) for each in check(tmp_path, script, name="x.bat")] == [("old-python", 1)]
