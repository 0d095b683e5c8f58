"""Holds all that `check` can find: one table of rules, with the texts that people read and what happens at night.

A key is the name of the rule, and behind a slash the case of it. `{name}` in a text is a value of the finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"  # the job does not run as it was meant, or its end is not reported to anyone
    WARNING = "warning"  # it does as a rule; there are nights when it will not


ERROR, WARNING = Severity.ERROR, Severity.WARNING


@dataclass(frozen=True)
class Rule:
    """Holds what is wrong, what happens at night, and what to do where only a person can know what was meant. `source`
    is where the public documentation has it. `bad` is a text with the mistake, `good` one without it that looks alike:
    in them CALL is a good call, PYTHON, SCRIPT and DIR what it has. A crontab, or what its first line says."""

    severity: Severity
    text: str
    consequence: str
    advice: str = ""
    source: str = ""
    bad: str = ""
    good: str = ""


NOTHING_RUNS = "cron ignores the whole file: none of its jobs run"
_ENDS_WITH_2 = "it ends with 2, and no job runs"
_UNNOTICED = "codes 1 and 3 go unnoticed"
_SYNTAX = "sh reports a syntax error, and starts nothing"
_LOOKS_WELL = "a job that failed looks like one that ended well"
_NOT_THAT_NIGHT = "the job does not run that night"
_CODE_UNKNOWN = "the job goes on at the server, and its return code is never known"
_FIVE_FIELDS = "write five fields: minute, hour, day of the month, month, day of the week"

_OF_CRONTABS = {
    "time/nickname": Rule(ERROR, "cron does not know {name!r}", NOTHING_RUNS, "cron knows {known}"),
    "time/every": Rule(ERROR, "cron does not know '@every'", NOTHING_RUNS,
        "write five fields, */5 * * * * for each five minutes"),
    "time/field": Rule(ERROR, "cron does not know the {field} {text!r}; it knows {known}, and * - , /", NOTHING_RUNS,
        _FIVE_FIELDS),
    "time/missing": Rule(ERROR, "the line ends before the {field}", NOTHING_RUNS, "write five fields, and the command"),
    "setting/shell": Rule(ERROR, "{word!r} is a word of the shell; cron only knows NAME=VALUE", NOTHING_RUNS),
    "setting/empty": Rule(ERROR, "{name} has no value", NOTHING_RUNS),
    "setting/comment": Rule(ERROR, "no comment may follow the value of {name}", NOTHING_RUNS),
    "setting/quotes": Rule(ERROR, "the quotes of {name} are not around the whole value", NOTHING_RUNS,
        "quote all of the value, or nothing"),
    "setting-too-late": Rule(ERROR, "{name} is set here, and line {user} above uses it",
        "${name} is empty in that line", "set {name} above line {user}"),
    "too-long/setting": Rule(ERROR, "{name} is longer than {limit} bytes, and cron cuts it there",
        "what follows is lost", "use a file or a script"),
    "too-long/command": Rule(ERROR, "the command is longer than {limit} bytes", NOTHING_RUNS, "put it into a script"),
    "variable-name": Rule(WARNING, "sh knows no variable with the name {name!r}",
        "${name} means something else in a command", "give it a name of letters, digits and _"),
    "comment-in-setting": Rule(WARNING, "no comment may follow a setting: {comment!r} is a part of {name}",
        "programs get it, too"),
    "not-expanded/command": Rule(ERROR, "cron expands nothing in a setting: {name} is literally {value!r}", "{use}",
        "write the value itself"),
    "not-expanded": Rule(WARNING, "cron expands nothing in a setting: {name} is literally {value!r}", "{use}",
        "write the value itself"),
    "no-command": Rule(ERROR, "there is no command", NOTHING_RUNS, "write the command after the five fields"),
    "no-command/user": Rule(ERROR, "there is no command", NOTHING_RUNS, "in this file the user precedes the command"),
    "user-missing": Rule(ERROR, "cron expects the user, and finds {name!r}", NOTHING_RUNS,
        "write the user in front of the command"),
    "user-unknown/here": Rule(ERROR, "this machine has no user {name!r}", NOTHING_RUNS, "write a user that exists"),
    "user-unknown": Rule(WARNING, "this machine has no user {name!r}",
        f"on a machine without this user, {NOTHING_RUNS}", "write a user that exists"),
    "user-in-command": Rule(ERROR, "{name!r} is taken as a command: a crontab of one user has no column for the user",
        "sh reports {name}: not found (127)"),
    "percent": Rule(ERROR, "cron ends the command at %, and makes the rest its standard input", "sh gets only: {rest}"),
    "never/fields": Rule(ERROR, "the {field} {text!r} goes backwards, and matches nothing",
        "cron never starts this line", "write the smaller value first"),
    "byte-order-mark": Rule(ERROR, "the file begins with a byte order mark, which is no blank for cron", NOTHING_RUNS),
    "byte-order-mark/setting": Rule(ERROR, "the file begins with a byte order mark, which is no blank for cron",
        "the first setting has another name"),
    "line-ends": Rule(ERROR, "lines end as on Windows, with CR and LF",
        "the last word of each command ends with a character too many (CR)"),
    "line-ends/blank": Rule(ERROR, "lines end as on Windows, with CR and LF", NOTHING_RUNS),
    "no-newline": Rule(ERROR, "the last line has no newline", NOTHING_RUNS),
    "too-many-lines": Rule(ERROR, "the file has more than {limit} lines", NOTHING_RUNS, "make several files"),
    "file-name": Rule(ERROR,
        "cron of Debian ignores a file of cron.d whose name has more than letters, digits, - and _",
        "none of its jobs run", "if it is meant to run, and no other file has the same lines: name it {fitting}"),
    "file-mode": Rule(ERROR, "the file must belong to root, and no other user may write to it", NOTHING_RUNS,
        "read it; as root make a new file of what is right in it, and take this one out of the folder"),
}  # fmt: skip

_OF_SHELL_TEXTS = {
    "syntax": Rule(ERROR, "{shell} says: {message}", "{shell} starts nothing from there on, and returns 2",
        "correct the quotes, or what is missing"),
    "unreadable": Rule(WARNING, "how the shell parses a part of this could not be found out",
        "calls in that part are not checked", "look for mistakes: {shell} -n"),
    "unreadable/deep": Rule(WARNING, "its commands are nested too deeply to be checked", "calls may be overlooked",
        "use fewer levels"),
    "pipe-ampersand": Rule(ERROR, "sh of Debian does not know |&", _SYNTAX),
    "here-string": Rule(ERROR, "sh of Debian does not know <<<", _SYNTAX, "use a pipe: echo ... |"),
    "double-bracket": Rule(ERROR, "sh of Debian does not know [[",
        "sh reports [[: not found, and goes on as if it were false", "write [ ... ]"),
    "pipefail": Rule(ERROR, "sh of Debian 12 does not know pipefail", "sh ends there, with 2: nothing below runs",
        "start the script with bash"),
    "ampersand-redirection": Rule(ERROR, "sh of Debian does not know {operator}",
        "it starts the job in the background, empties the file, and returns 0", "write > FILE 2>&1"),
    "redirection-order": Rule(WARNING, "2>&1 precedes {operator}", "error messages go {where}, and not into the file",
        "write 2>&1 after the file"),
}  # fmt: skip

_OF_UNITS = {
    "code-ignored": Rule(ERROR, "the - in front of the command makes every return code a success",
        "a job that failed is a success for systemd, and OnFailure= is not started"),
    "code-ignored/status": Rule(ERROR, "SuccessExitStatus={value} takes failures for successes",
        "a job that failed is a success for systemd", "delete this line"),
    "no-shell": Rule(ERROR, "systemd starts no shell: {word!r} is an argument of the command",
        "the command ends with 2, and no job runs",
        "use StandardOutput=append:FILE and StandardError=inherit, or /bin/sh -c '...'"),
    "restart": Rule(ERROR, "Restart={value} starts the job again when it has failed",
        "a job whose end is not known runs twice, and a mistake (2) for ever", "write Restart=no"),
    "timeout/unit": Rule(WARNING, "{name}={value} ends the command and not its jobs",
        "a job that takes longer goes on at the server, and systemd calls it failed", "write {name}=infinity"),
    "unreported/unit": Rule(WARNING, "a failure is not reported to anyone: there is no OnFailure=",
        "only systemctl --failed shows a job that failed",
        "write OnFailure= with a unit that sends a message, or set PLANTA_RECEIPT and use headless monitor"),
    "left-out": Rule(WARNING, "without Persistent=true a start is left out when the machine is off", _NOT_THAT_NIGHT),
}  # fmt: skip

_OF_TASKS = {
    "no-task": Rule(ERROR, "there is no task in this file", "nothing is checked",
        "export it with: schtasks /query /tn NAME /xml > FILE"),
    "no-xml": Rule(ERROR, "this task is not well-formed XML: {message}", "it cannot be imported", "export it again"),
    "one-element": Rule(ERROR, "the program and its arguments are in one element",
        "Windows finds no program of that name: nothing is started",
        'in schtasks /TR put \\" around each path with blanks; or give program and arguments apart'),
    "ExecutionTimeLimit": Rule(WARNING, "Task Scheduler ends the command after {value}", _CODE_UNKNOWN,
        "{fix} in <Settings>"),
    "MultipleInstancesPolicy": Rule(WARNING, "a start while the one before still runs is: {value}",
        "the job runs twice at a time, or the wait for it is cut off", "{fix} in <Settings>"),
    "StartWhenAvailable": Rule(WARNING, "a start is left out when the machine is off", _NOT_THAT_NIGHT,
        "{fix} in <Settings>"),
    "DisallowStartIfOnBatteries": Rule(WARNING, "the task does not start on battery power", _NOT_THAT_NIGHT,
        "{fix} in <Settings>"),
    "StopIfGoingOnBatteries": Rule(WARNING, "the task is ended when the power fails", _CODE_UNKNOWN,
        "{fix} in <Settings>"),
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
    "old-python": Rule(ERROR, "{python} is Python {version}; Python 3.9 or later is needed", _ENDS_WITH_2,
        "write {better}"),
    "no-program": Rule(ERROR, "{name!r} is no program on this machine{for_user}", "{not_found}", "correct the path"),
    "no-program/path": Rule(ERROR, "{name!r} is not in the PATH of this line, {path!r}", "{not_found}",
        "write its whole path"),
    "no-library": Rule(ERROR, "{python} has no {library}", _ENDS_WITH_2, "name a Python that has it, as {better}"),
    "no-script": Rule(ERROR, "there is no file {path!r}{for_user}", "it ends with 2 or 127, and no job runs",
        "correct the path"),
    "old-script": Rule(ERROR, "the folder 'headless' is not beside {path!r}: is this the old script?",
        "it needs Python 2, or ends with 2",
        "install this one in a folder of its own, and name that: other lines may need the old script"),
    "not-executable": Rule(ERROR, "{path!r} is not executable",
        "the shell reports that there is no such command (127), and no job runs",
        "put a Python in front of its name: {better}"),
    "not-executable/script": Rule(ERROR, "{path!r} is not executable", "the shell reports it (126), and no job runs",
        "put the shell in front of its name: {command}"),
    "no-folder": Rule(ERROR, "there is no folder {folder!r}{for_user}, in which it begins", "no job runs", "{make}"),
    "no-folder/output": Rule(ERROR, "there is no folder {folder!r}{for_user}, for {redirection}", "no job runs",
        "{make}"),
    "variable/patience": Rule(ERROR, "{problem}", _ENDS_WITH_2, "write a number of seconds"),
    "variable/dialect": Rule(ERROR, "PLANTA_PROTOCOL: there is no file {path!r}", _ENDS_WITH_2, "correct its name"),
    "variable/receipt": Rule(ERROR, "PLANTA_RECEIPT: there is no folder {folder!r}{for_user}",
        "there is no receipt of any call", "{make}"),
    "password-file": Rule(ERROR, "{problem}", _ENDS_WITH_2, "{advice}"),
    "password-file/relative": Rule(ERROR, "-p {path!r} is looked for in {folder!r}",
        f"there is no such file: {_ENDS_WITH_2}", "write the whole path"),
    "code-lost": Rule(ERROR, "the return code is lost: {because}", _LOOKS_WELL,
        "make the call the last command; after it only `|| echo ...`"),
    "unreported": Rule(WARNING, "a failure is not reported to anyone: cron ignores the return code", _UNNOTICED,
        'end the line with || echo "ended with $?", which cron mails, or set PLANTA_RECEIPT and use headless monitor'),
    "unreported/mail": Rule(WARNING, "MAILTO is empty: cron throws away what is printed", _UNNOTICED,
        "write an address in MAILTO, or set PLANTA_RECEIPT and use headless monitor"),
    "timeout": Rule(WARNING, "timeout ends the command and not its jobs",
        "the jobs go on, and the code is 124, which does not say how they end", "use -t SECONDS alone"),
    "never": Rule(ERROR, "the date {text!r} never comes", "the job never runs", "correct the day or the month"),
    "t-too-long": Rule(WARNING, "-t {seconds} is not shorter than the {interval} to the next start",
        "two of them wait at a time", "give a shorter -t"),
    "no-t": Rule(WARNING, "{given} the command ends as soon as the jobs are accepted",
        "how they end is not reported to anyone{next_start}", "give -t -1"),
    "not-locked": Rule(WARNING, "it is started every {interval}, also while the one before still runs",
        "a job that is late runs twice at a time", "put flock -n FILE in front of it"),
    "twice": Rule(WARNING, "{other} starts the same jobs in the same minute", "they run twice, one beside the other",
        "give one of the two another minute, if both are meant; else take one out"),
    "not-checked": Rule(WARNING, "planta_headless.py is named here, and this is not checked: {reason}",
        "what happens is not known", "read it yourself; if it runs elsewhere, check it there"),
    "no-call": Rule(WARNING, "nothing in this file calls planta_headless.py", "nothing was checked",
        "name the file with the calls: crontab -l | headless check -"),
    "one-word": Rule(ERROR, "the quotes make one word of it: {text!r}",
        "the shell reports that there is no such command (127), and no job runs", "take these quotes away"),
    "not-looked-at": Rule(WARNING, "this could not be looked at: {reason}", "what happens is not known",
        "check again later"),
    "login/refused": Rule(ERROR, "{problem}", "it ends with {code}, and no job runs"),
    "login": Rule(WARNING, "{problem}", "it ends with {code}, and no job runs"),
    "not-tried": Rule(WARNING, "this login{more} was not tried: {why}", "whether it works is not known", "{advice}"),
}  # fmt: skip

RULES: dict[str, Rule] = {**_OF_CRONTABS, **_OF_SHELL_TEXTS, **_OF_UNITS, **_OF_TASKS, **_OF_CALLS}
