"""Helps with schedulers, in two parts: `monitor` and `night` say what happened, `check` says what is going to happen.
The first part asks the second one which calls are planned.

An import leads down this list, never up.

What happened:

    night.py               night: from arguments to exit status; sessions without options
    night_forms.py         a night as a page of HTML (night.html), and as text
    monitor.py             monitor: from arguments to the line of a Nagios plugin
    monitor_plan.py        all calls of a crontab for monitor, and for Prometheus
    monitor_jobs.py        what is known of the executions of single jobs
    monitor_verdict.py     what monitor says of one job
    night_runs.py          how the calls of a night ended, and what is odd
    plan.py                which calls schedulers start, and when
    known.py               the runs of calls, joined from receipts and a journal
    runs.py                what a run is, and what the lines of its receipt say of it
    receipts.py            the files of PLANTA_RECEIPT, and their lines

What is going to happen:

    check.py               check: from arguments to exit status; the report, and the corrected files
    logins.py              the logins of calls, tried at their servers
    call_rules.py          what can be wrong with a call: options, time, who hears of its end
    machine_rules.py       what can be wrong with what it needs here: programs, files, folders
    surroundings.py        where a call runs, as whom, and where the file has to change
    reading.py             files of schedulers, and the scripts that they start
    crontab.py             a crontab: its entries, and what is wrong with it
    cron_lines.py          the parts of one line of it
    units.py               units of systemd
    tasks.py               exports of the Windows Task Scheduler
    batch.py               batch scripts, and command lines of Windows
    shell.py               a text for the shell, walked node by node
    shell_commands.py      what a command in it starts
    shell_syntax.py        its syntax, and what sh does not know of bash
    shell_found.py         what is found in it: calls, programs, what is wrong; what is understood
    shell_state.py         what is known at one place of it
    shell_words.py         its words as a program gets them
    shell_tree.py          its tree, and whether a failure is reported
    calls.py               entries of schedulers and the calls in them, as every format is parsed into
    programs.py            other programs in a command line: the table of those that start one
    schedule.py            when something is started
    rules.py               all that can be found: the table of rules; findings, and their corrections
    files.py               files of schedulers: found, opened and trusted
    users.py               users of this machine, what they may open and can have written

For `headless --version`:

    about.py               what runs here, for --version
"""
