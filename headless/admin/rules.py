"""Holds all that `check` can find: one table of rules, with the texts that people read and what happens at night; and
the findings that are made by it, with their corrections.

A key is the name of the rule, and behind a slash the case of it. `{name}` in a text is a value of the finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from headless.admin.files import File, Place


class Severity(Enum):
    """Says how bad a finding is."""

    ERROR = "error"  # the job does not run as it was meant, or its end is not reported to anyone
    WARNING = "warning"  # it does as a rule; there are nights when it will not


ERROR, WARNING = Severity.ERROR, Severity.WARNING


@dataclass(frozen=True)
class Rule:
    """Holds what is wrong, what happens at night, and what to do where only a person can know what was meant. `source`
    is where the public documentation has it."""

    severity: Severity
    text: str
    consequence: str
    advice: str = ""
    source: str = ""


NOTHING_RUNS = "cron ignores the whole file: none of its jobs run"
_ENDS_WITH_2 = "it ends with 2, and no job runs"
_UNNOTICED = "codes 1 and 3 go unnoticed"
_SYNTAX = "sh reports a syntax error, and starts nothing"
_LOOKS_WELL = "a job that failed looks like one that ended well"
_NOT_THAT_NIGHT = "the job does not run that night"
_CODE_UNKNOWN = "the job goes on at the server, and its return code is never known"
_CRONTAB, _SH = "crontab(5)", "dash(1)"
_FIVE_FIELDS = "write five fields: minute, hour, day of the month, month, day of the week"

_OF_CRONTABS = {
    "time/nickname": Rule(ERROR, "cron does not know {name!r}", NOTHING_RUNS, "cron knows {known}", source=_CRONTAB),
    "time/every": Rule(ERROR, "cron does not know '@every'", NOTHING_RUNS,
        "write five fields, */5 * * * * for each five minutes", source=_CRONTAB),
    "time/field": Rule(ERROR, "cron does not know the {field} {text!r}; it knows {known}, and * - , /", NOTHING_RUNS,
        _FIVE_FIELDS, source=_CRONTAB),
    "time/value": Rule(ERROR, "cron does not know the {field} {text!r}; it knows {known}", NOTHING_RUNS,
        "write a {field} that cron knows", source=_CRONTAB),
    "time-cut": Rule(ERROR, "cron ignores {rest!r} in the {field}: it reads {text!r}",
        "it starts more often than meant", "write what cron knows, and test the rest in the command", source=_CRONTAB),
    "six-fields": Rule(ERROR, "the command begins with {word!r}: these are more than the five fields of cron",
        "cron starts something else than was meant, and no job runs",
        "leave out the field of the seconds, or of the year", source=_CRONTAB),
    "six-fields/user": Rule(ERROR, "the user is {word!r}: these are more than the five fields of cron", NOTHING_RUNS,
        "leave out the field of the seconds, or of the year", source=_CRONTAB),
    "step": Rule(WARNING, "the {field} {text!r} is only {starts}: a step does not go on into the next hour or day",
        "it does not start at the times that were meant", "write the values themselves, in two lines if needed",
        source=_CRONTAB),
    "each-minute": Rule(WARNING, "the minute is *: it starts 60 times in each hour of {hour!r}",
        "the job runs again and again", "write 0 as the minute", source=_CRONTAB),
    "either-day": Rule(WARNING, "day of the month {day!r} and day of the week {weekday!r}: either of them is enough",
        "it starts on more days than meant", "write * in one of the two; test the other one in the command",
        source=_CRONTAB),
    "time-zone": Rule(WARNING, "cron of Debian knows no CRON_TZ={value}; that of Red Hat does",
        "it starts at the time of the machine's time zone", "write the times of the machine's time zone",
        source="cron(8) of Debian, crontab(5) of cronie"),
    "no-blank": Rule(ERROR, "this line has a character that looks like a blank, and is none ({code})",
        "cron or the shell takes it as a part of a word", "write a blank", source=_CRONTAB),
    "time/missing": Rule(ERROR, "the line ends before the {field}", NOTHING_RUNS, "write five fields, and the command",
        source=_CRONTAB),
    "setting/shell": Rule(ERROR, "{word!r} is a word of the shell; cron only knows NAME=VALUE", NOTHING_RUNS,
        source=_CRONTAB),
    "setting/empty": Rule(ERROR, "{name} has no value", NOTHING_RUNS, source=_CRONTAB),
    "setting/comment": Rule(ERROR, "no comment may follow the value of {name}", NOTHING_RUNS, source=_CRONTAB),
    "setting/quotes": Rule(ERROR, "the quotes of {name} are not around the whole value", NOTHING_RUNS,
        "quote all of the value, or nothing", source=_CRONTAB),
    "setting-too-late": Rule(ERROR, "{name} is set here, and line {user} above uses it",
        "${name} is empty in that line", "set {name} above line {user}", source=_CRONTAB),
    "too-long/setting": Rule(ERROR, "{name} is longer than {limit} bytes, and cron cuts it there",
        "what follows is lost", "use a file or a script"),
    "too-long/command": Rule(ERROR, "the command is longer than {limit} bytes", NOTHING_RUNS, "put it into a script"),
    "variable-name": Rule(WARNING, "sh knows no variable with the name {name!r}",
        "${name} means something else in a command", "give it a name of letters, digits and _", source=_CRONTAB),
    "comment-in-setting": Rule(WARNING, "no comment may follow a setting: {comment!r} is a part of {name}",
        "programs get it, too", source=_CRONTAB),
    "not-expanded/command": Rule(ERROR, "cron expands nothing in a setting: {name} is literally {value!r}", "{use}",
        "write the value itself", source=_CRONTAB),
    "not-expanded": Rule(WARNING, "cron expands nothing in a setting: {name} is literally {value!r}", "{use}",
        "write the value itself", source=_CRONTAB),
    "no-command": Rule(ERROR, "there is no command", NOTHING_RUNS, "write the command after the five fields",
        source=_CRONTAB),
    "no-command/user": Rule(ERROR, "there is no command", NOTHING_RUNS, "in this file the user precedes the command",
        source=_CRONTAB),
    "user-missing": Rule(ERROR, "cron expects the user, and finds {name!r}", NOTHING_RUNS,
        "write the user in front of the command", source=_CRONTAB),
    "user-unknown/here": Rule(ERROR, "this machine has no user {name!r}", NOTHING_RUNS, "write a user that exists"),
    "user-unknown": Rule(WARNING, "this machine has no user {name!r}",
        f"on a machine without this user, {NOTHING_RUNS}", "write a user that exists", source=_CRONTAB),
    "user-in-command": Rule(ERROR, "{name!r} is taken as a command: a crontab of one user has no column for the user",
        "sh reports {name}: not found (127)", source=_CRONTAB),
    "percent": Rule(ERROR, "cron ends the command at %, and makes the rest its standard input", "sh gets only: {rest}",
        source=_CRONTAB),
    "never/fields": Rule(ERROR, "the {field} {text!r} goes backwards, and matches nothing",
        "cron never starts this line", "write the smaller value first", source=_CRONTAB),
    "byte-order-mark": Rule(ERROR, "the file begins with a byte order mark, which is no blank for cron", NOTHING_RUNS,
        source=_CRONTAB),
    "byte-order-mark/setting": Rule(ERROR, "the file begins with a byte order mark, which is no blank for cron",
        "the first setting has another name", source=_CRONTAB),
    "line-ends": Rule(ERROR, "lines end as on Windows, with CR and LF",
        "the last word of each command ends with a character too many (CR)", source=_CRONTAB),
    "line-ends/blank": Rule(ERROR, "lines end as on Windows, with CR and LF", NOTHING_RUNS, source=_CRONTAB),
    "no-newline": Rule(ERROR, "the last line has no newline", NOTHING_RUNS),
    "too-many-lines": Rule(ERROR, "the file has more than {limit} lines", NOTHING_RUNS, "make several files"),
    "file-name": Rule(ERROR,
        "cron of Debian ignores a file of cron.d whose name has more than letters, digits, - and _",
        "none of its jobs run", "if it is meant to run, and no other file has the same lines: name it {fitting}",
        source="run-parts(8)"),
    "run-parts": Rule(ERROR, "run-parts skips a file whose name has more than letters, digits, - and _",
        "it is not started, without a message", "give it a name of letters, digits, - and _", source="run-parts(8)"),
    "file-mode": Rule(ERROR, "the file must belong to root, and no other user may write to it", NOTHING_RUNS,
        "read it; as root make a new file of what is right in it, and take this one out of the folder"),
}  # fmt: skip

_OF_SHELL_TEXTS = {
    "syntax": Rule(ERROR, "{shell} says: {message}", "{shell} starts nothing from there on, and returns 2",
        "correct the quotes, or what is missing", source=_SH),
    "unreadable": Rule(WARNING, "how the shell parses a part of this could not be found out",
        "calls in that part are not checked", "look for mistakes: {shell} -n"),
    "unreadable/deep": Rule(WARNING, "its commands are nested too deeply to be checked", "calls may be overlooked",
        "use fewer levels"),
    "pipe-ampersand": Rule(ERROR, "sh of Debian does not know |&", _SYNTAX, source=_SH),
    "here-string": Rule(ERROR, "sh of Debian does not know <<<", _SYNTAX, "use a pipe: echo ... |", source=_SH),
    "double-bracket": Rule(ERROR, "sh of Debian does not know [[",
        "sh reports [[: not found, and goes on as if it were false", "write [ ... ]", source=_SH),
    "bad-substitution": Rule(ERROR, "sh of Debian does not know {text}",
        "sh reports a bad substitution, and ends there with 2: nothing that follows runs", "start it with bash",
        source=_SH),
    "test-equals": Rule(ERROR, "sh of Debian knows no == in a test",
        "sh reports an unexpected operator, and the test is false", "write =", source=_SH),
    "unknown-to-sh": Rule(ERROR, "sh of Debian does not know {text}", "sh reports that, and it returns a failure",
        "start it with bash", source=_SH),
    "not-reached": Rule(ERROR, "the shell ends before this call, at {end!r}", "this call never runs",
        "if it is meant to run: call it before, or without exec", source="POSIX, Shell Command Language 2.14"),
    "pipefail": Rule(ERROR, "sh of Debian 12 does not know pipefail", "sh ends there, with 2: nothing below runs",
        "start the script with bash", source=_SH),
    "ampersand-redirection": Rule(ERROR, "sh of Debian does not know {operator}",
        "it starts the job in the background, empties the file, and returns 0", "write > FILE 2>&1", source=_SH),
    "source": Rule(ERROR, "sh of Debian does not know source", "sh reports source: not found, and goes on without it",
        source=_SH),
    "source/path": Rule(ERROR, "sh looks for {name!r} in PATH, and not in the folder in which it is",
        "sh ends there with 2, and starts nothing that follows", source=_SH),
    "line-ends/script": Rule(ERROR, "lines end as on Windows, with CR and LF",
        "the shell is not found, or the last word of each command ends with a character too many (CR)",
        source="execve(2)"),
    "ampersand-redirection/descriptor": Rule(ERROR, "sh of Debian knows >& only with a number, not with {target!r}",
        _SYNTAX, source=_SH),
    "redirection-order": Rule(WARNING, "2>&1 precedes {operator}", "error messages go {where}, and not into the file",
        "write 2>&1 after the file", source="POSIX, Shell Command Language 2.7"),
}  # fmt: skip

_OF_UNITS = {
    "code-ignored": Rule(ERROR, "the - in front of the command makes every return code a success",
        "a job that failed is a success for systemd, and OnFailure= is not started", source="systemd.service(5)"),
    "code-ignored/status": Rule(ERROR, "SuccessExitStatus={value} takes failures for successes",
        "a job that failed is a success for systemd", "delete this line", source="systemd.service(5)"),
    "no-shell": Rule(ERROR, "systemd starts no shell: {word!r} is an argument of the command",
        "the command ends with 2, and no job runs",
        "use StandardOutput=append:FILE and StandardError=inherit, or /bin/sh -c '...'", source="systemd.service(5)"),
    "restart": Rule(ERROR, "Restart={value} starts the job again when it has failed",
        "a job whose end is not known runs twice, and a mistake (2) for ever", "write Restart=no",
        source="systemd.service(5)"),
    "timeout/unit": Rule(WARNING, "{name}={value} ends the command and not its jobs",
        "a job that takes longer goes on at the server, and systemd calls it failed", "write {name}=infinity",
        source="systemd.service(5)"),
    "unreported/unit": Rule(WARNING, "a failure is not reported to anyone: there is no OnFailure=",
        "only systemctl --failed shows a job that failed",
        "write OnFailure= with a unit that sends a message, or set PLANTA_RECEIPT and use headless monitor",
        source="systemd.unit(5)"),
    "restart/status": Rule(ERROR, "{name}={value} starts the job again when it has failed",
        "a job whose end is not known runs twice, and a mistake (2) for ever", "delete this line",
        source="systemd.service(5)"),
    "variable-program": Rule(ERROR, "systemd knows no variable in the place of the program: {word!r}",
        "the service does not start", "write the path itself, or /usr/bin/env in front", source="systemd.service(5)"),
    "type": Rule(ERROR, "Type={value}: systemd waits for what the command never does",
        "after 90 seconds it ends the command, and not its jobs", "write Type=oneshot", source="systemd.service(5)"),
    "remain-after-exit": Rule(ERROR, "with RemainAfterExit={value} the service stays active when the job has ended",
        "the timer starts it once, and never again", "write RemainAfterExit=no", source="systemd.service(5)"),
    "one-command": Rule(ERROR, "only with Type=oneshot may a service have a second ExecStart=",
        "systemd refuses the service, and no job runs", "write Type=oneshot, or above this one an empty ExecStart=",
        source="systemd.service(5)"),
    "no-file": Rule(ERROR, "there is no file {value!r}, which systemd reads before",
        "the service does not start, and no job runs", "correct the path; if it may be missing, write - in front",
        source="systemd.exec(5)"),
    "no-start": Rule(ERROR, "nothing in this timer says when it starts for the first time", "the timer starts nothing",
        "write OnCalendar=", source="systemd.timer(5)"),
    "dynamic-user": Rule(ERROR, "with DynamicUser={value} it runs as a user who is made for this start",
        f"this user can read no password file, and is no PLANTA user: {_ENDS_WITH_2}",
        "write User= with a user who has a password file, and DynamicUser=no", source="systemd.exec(5)"),
    "not-lingering": Rule(WARNING, "it starts only while {user} is logged in", "the job does not run at night",
        "loginctl enable-linger {user}", source="loginctl(1)"),
    "user-unknown/unit": Rule(WARNING, "this machine has no user {value!r}",
        "on a machine without this user the service does not start", "write a user that exists",
        source="systemd.exec(5)"),
    "wrong-section": Rule(ERROR, "systemd ignores {name}= in the section [{section}]", "it is as if it were not there",
        "write it below [{right}]", source="systemd.unit(5)"),
    "calendar": Rule(ERROR, "systemd does not know the time {value!r}", "the timer never starts it at this time",
        "write Mon..Fri *-*-* 02:00:00, say; systemd-analyze calendar tells whether it is right",
        source="systemd.time(7)"),
    "not-checked/calendar": Rule(WARNING, "whether systemd knows the time {value!r} could not be found out",
        "if it does not, the timer never starts it at this time", "on the machine ask: systemd-analyze calendar",
        source="systemd-analyze(1)"),
    "not-checked/setting": Rule(WARNING, "planta_headless.py is named here, and {name}= is not checked",
        "what happens is not known", "start it with ExecStart="),
    "t-too-long/skipped": Rule(WARNING, "-t {seconds} is not shorter than the {interval} to the next start",
        "the next start is left out while this one waits", "give a shorter -t"),
    "not-enabled": Rule(WARNING, "the timer has no WantedBy=: systemctl enable does nothing",
        "after the next start of the machine it is off", "write [Install] and WantedBy=timers.target, and enable it",
        source="systemctl(1)"),
    "left-out": Rule(WARNING, "without Persistent=true a start is left out when the machine is off", _NOT_THAT_NIGHT,
        source="systemd.timer(5)"),
}  # fmt: skip

_SCHEMA = "Task Scheduler Schema, in Microsoft's documentation"
_OF_TASKS = {
    "no-task": Rule(ERROR, "there is no task in this file", "nothing is checked",
        "export it with: schtasks /query /tn NAME /xml > FILE"),
    "no-xml": Rule(ERROR, "this task is not well-formed XML: {message}", "it cannot be imported", "export it again"),
    "one-element": Rule(ERROR, "the program and its arguments are in one element",
        "Windows finds no program of that name: nothing is started",
        'in schtasks /TR put \\" around each path with blanks; or give program and arguments apart'),
    "ExecutionTimeLimit": Rule(WARNING, "Task Scheduler ends the command after {value}", _CODE_UNKNOWN,
        "{fix} in <Settings>", source=_SCHEMA),
    "MultipleInstancesPolicy": Rule(WARNING, "a start while the one before still runs is: {value}",
        "the job runs twice at a time, or the wait for it is cut off", "{fix} in <Settings>"),
    "StartWhenAvailable": Rule(WARNING, "a start is left out when the machine is off", _NOT_THAT_NIGHT,
        "{fix} in <Settings>"),
    "DisallowStartIfOnBatteries": Rule(WARNING, "the task does not start on battery power", _NOT_THAT_NIGHT,
        "{fix} in <Settings>"),
    "StopIfGoingOnBatteries": Rule(WARNING, "the task is ended when the power fails", _CODE_UNKNOWN,
        "{fix} in <Settings>"),
    "RunOnlyIfIdle": Rule(WARNING, "the task starts only when the machine is idle", _NOT_THAT_NIGHT,
        "{fix} in <Settings>", source=_SCHEMA),
    "folder-quotes": Rule(ERROR, "there are quotes in <WorkingDirectory>: {value}",
        "the Task Scheduler reports a wrong folder name (0x8007010B), and no job runs", "write it without quotes",
        source=_SCHEMA),
    "relative": Rule(ERROR, "{path!r} is looked for in C:\\Windows\\System32: the task names no folder to begin in",
        "it is not there, and no job runs", "write its whole path, or name the folder in <WorkingDirectory>",
        source=_SCHEMA),
    "trigger": Rule(WARNING, "this trigger starts nothing: {why}", "the job does not run at its times",
        "if it is meant to, correct it", source=_SCHEMA),
    "trigger/limit": Rule(WARNING, "what this trigger starts is ended after {value}", _CODE_UNKNOWN,
        "delete <{element}> of this trigger", source=_SCHEMA),
    "no-trigger": Rule(ERROR, "no trigger starts this task: {why}", "the job does not run",
        "give it a trigger; if another program starts it, that is not checked", source=_SCHEMA),
    "percent/batch": Rule(ERROR, "cmd takes a single % out of the line of a batch script",
        "the command gets another text than is written here", "write %%", source="cmd /?"),
    "restart/task": Rule(ERROR, "RestartOnFailure starts the job again when it has failed",
        "a job whose end is not known runs twice", "delete the element <RestartOnFailure>"),
    "logged-on": Rule(ERROR, "the task runs only while its user is logged on", "the job does not run at night",
        "choose 'Run whether user is logged on or not' (schtasks /RU USER /RP *)"),
    "account": Rule(WARNING, "the task runs as {name}: it needs a password file that this account can read",
        "the osuser login is that of no PLANTA user", "use an account of its own, or -u and -p"),
    "disabled": Rule(WARNING, "the task is disabled", "the job does not run", "if it is meant to run, enable it"),
    "single-quotes": Rule(ERROR, "single quotes are no quotes on Windows: {word!r} is taken word for word",
        "code of -c does nothing then, and ends well; any other value is wrong",
        'use double quotes, as in -c "print(1)"'),
}  # fmt: skip

_OF_CALLS = {
    "options": Rule(ERROR, "{problem}", _ENDS_WITH_2, "see planta_headless.py --help"),
    "options/unseen": Rule(WARNING, "{problem}, and whether {variable} is set cannot be seen here",
        f"if it is not set, {_ENDS_WITH_2}", "set it where it can be seen, or give the option"),
    "old-python": Rule(ERROR, "{python} is Python {version}; Python 3.9 or later is needed", _ENDS_WITH_2,
        "write {better}"),
    "python-option": Rule(ERROR, "Python 3 knows no option {option}", _ENDS_WITH_2, "take it away", source="python(1)"),
    "no-program": Rule(ERROR, "{name!r} is no program on this machine{for_user}", "{not_found}", "correct the path"),
    "no-program/path": Rule(ERROR, "{name!r} is not in the PATH of this line, {path!r}", "{not_found}",
        "write its whole path", source="environ(7)"),
    "no-program/shell": Rule(ERROR, "SHELL={name} is no program on this machine", "cron starts nothing",
        "write SHELL=/bin/sh", source=_CRONTAB),
    "no-library": Rule(ERROR, "{python} has no {library}", _ENDS_WITH_2, "name a Python that has it, as {better}"),
    "no-script": Rule(ERROR, "there is no file {path!r}{for_user}", "it ends with 2 or 127, and no job runs",
        "correct the path"),
    "old-script": Rule(ERROR, "the folder 'headless' is not beside {path!r}: is this the old script?",
        "it needs Python 2, or ends with 2",
        "install this one in a folder of its own, and name that: other lines may need the old script"),
    "not-executable": Rule(ERROR, "{path!r} is not executable", "it is not started, and no job runs",
        "put a Python in front of its name: {better}"),
    "not-executable/script": Rule(ERROR, "{path!r} is not executable", "the shell reports it (126), and no job runs",
        "put the shell in front of its name: {command}"),
    "no-folder": Rule(ERROR, "there is no folder {folder!r}{for_user}, in which it begins",
        "no job runs, or it runs elsewhere", "{make}"),
    "no-folder/output": Rule(ERROR, "there is no folder {folder!r}{for_user}, for {redirection}", "no job runs",
        "{make}"),
    "no-script/module": Rule(ERROR, "python -m finds no planta_headless.py in {folder!r}, where it begins",
        "it ends with 1, and no job runs", "write the path of planta_headless.py instead of -m"),
    "cannot-write": Rule(ERROR, "{user} may not write to {path!r}, for {what}", "no job runs",
        "name a file that this user may write"),
    "no-script/sourced": Rule(ERROR, "there is no file {path!r}{for_user}, which sh reads before",
        "sh ends there with 2, and no job runs", "correct the path", source=_SH),
    "finds-itself": Rule(ERROR, "{name} finds this line itself: its text is an argument of {shell}",
        "the line takes itself for a job that runs, or ends itself", "lock the job: flock -n -E 75 FILE in front of it",
        source="pgrep(1)"),
    "unset": Rule(ERROR, "neither cron nor a line above sets {name}", "${name} is empty in this line",
        "set it at the head of the crontab", source=_CRONTAB),
    "look-alike": Rule(ERROR, "{word!r} has a character that looks like {plain}, and is none ({code})", _ENDS_WITH_2),
    "variable/patience": Rule(ERROR, "{problem}", _ENDS_WITH_2, "write a number of seconds"),
    "variable/default": Rule(ERROR, "{problem}", _ENDS_WITH_2, "correct its value"),
    "variable/dialect": Rule(ERROR, "PLANTA_PROTOCOL: there is no file {path!r}", _ENDS_WITH_2, "correct its name"),
    "variable/receipt": Rule(ERROR, "PLANTA_RECEIPT: there is no folder {folder!r}{for_user}",
        "there is no receipt of any call", "{make}"),
    "password-file": Rule(ERROR, "{problem}", _ENDS_WITH_2, "{advice}"),
    "password-file/relative": Rule(ERROR, "-p {path!r} is looked for in {folder!r}",
        f"there is no such file: {_ENDS_WITH_2}", "write the whole path"),
    "code-lost": Rule(ERROR, "the return code is lost: {because}", _LOOKS_WELL,
        "let nothing follow the call, no pipe either; or keep its code: code=$?; ...; exit $code",
        source="POSIX, Shell Command Language 2.8.2"),
    "unreported": Rule(WARNING, "a failure is not reported to anyone: cron ignores the return code", _UNNOTICED,
        'end the line with || echo "ended with $?", which cron mails, or set PLANTA_RECEIPT and use headless monitor',
        source="cron(8)"),
    "unreported/mail": Rule(WARNING, "MAILTO={value!r} is no address: what is printed is not mailed", _UNNOTICED,
        "write an address in MAILTO, or set PLANTA_RECEIPT and use headless monitor", source=_CRONTAB),
    "timeout": Rule(WARNING, "timeout ends the command and not its jobs",
        "the jobs go on, and the code is 124, which does not say how they end", "use -t SECONDS alone",
        source="timeout(1)"),
    "never": Rule(ERROR, "the date {text!r} never comes", "the job never runs", "correct the day or the month",
        source=_CRONTAB),
    "t-too-long": Rule(WARNING, "-t {seconds} is not shorter than the {interval} to the next start",
        "two of them wait at a time", "give a shorter -t"),
    "no-t": Rule(WARNING, "{given} the command ends as soon as the jobs are accepted",
        "how they end is not reported to anyone{next_start}", "give -t -1"),
    "again": Rule(ERROR, "it is started again when it has failed",
        "after a 1 or a 3 the jobs may still run: they run twice",
        "report the failure instead; to wait for a server that is down, set PLANTA_PATIENCE"),
    "not-locked": Rule(WARNING, "it is started every {interval}, also while the one before still runs",
        "a job that is late runs twice at a time", "put flock -n -E 75 FILE in front of it", source="flock(1)"),
    "twice": Rule(WARNING, "the same jobs are started in the same minute by {others}",
        "they run more than once, one beside the other",
        "give each another minute, if all are meant; else keep one of them"),
    "not-checked": Rule(WARNING, "planta_headless.py is named here, and this is not checked: {reason}",
        "what happens is not known", "read it yourself; if it runs elsewhere, check it there"),
    "no-call": Rule(WARNING, "nothing in this file calls planta_headless.py", "nothing was checked",
        "name the file with the calls: crontab -l | headless check -"),
    "one-word": Rule(ERROR, "the quotes make one word of it: {text!r}",
        "the shell reports that there is no such command (127), and no job runs", "take these quotes away",
        source="POSIX, Shell Command Language 2.9.1"),
    "not-looked-at": Rule(WARNING, "this could not be looked at: {reason}", "what happens is not known",
        "check again later"),
    "login/refused": Rule(ERROR, "{problem}", "it ends with {code}, and no job runs"),
    "login": Rule(WARNING, "{problem}", "it ends with {code}, and no job runs"),
    "not-tried": Rule(WARNING, "this login{more} was not tried: {why}", "whether it works is not known", "{advice}"),
}  # fmt: skip

RULES: dict[str, Rule] = {**_OF_CRONTABS, **_OF_SHELL_TEXTS, **_OF_UNITS, **_OF_TASKS, **_OF_CALLS}


@dataclass(frozen=True)
class Edit:
    """Replaces the characters from `begin` to `end` of the file by `text`."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Finding(Place):
    """Holds what is wrong at one offset of a file, or with the whole file (None). `edits` correct it, if they can."""

    severity: Severity
    rule: str
    text: str
    consequence: str
    advice: str
    edits: tuple[Edit, ...] = ()


def finding(key: str, file: File, offset: int | None, edits: tuple[Edit, ...] = (), **values: object) -> Finding:
    """Returns a finding by a rule of the table."""
    rule = RULES[key]
    text, consequence, advice = (each.format_map(values) for each in (rule.text, rule.consequence, rule.advice))
    return Finding(file, offset, rule.severity, key.partition("/")[0], text, consequence, advice, edits)


def corrected(content: str, edits: Iterable[Edit]) -> str:
    """Returns the file with these edits. Equal ones are made once; of overlapping ones, the first is made."""
    parts, end = [], 0
    for edit in sorted(set(edits), key=lambda each: (each.begin, each.end, each.text)):
        if edit.begin >= end:
            parts += [content[end : edit.begin], edit.text]
            end = edit.end
    return "".join([*parts, content[end:]])
