"""Helps with schedulers: checks what calls the command, monitors its jobs, and shows what happened in a night.

What is where. An import leads down this list, never up.

    night.py               night: from arguments to exit status
    night_forms.py         a night as a page of HTML (night.html), and as text
    monitor.py             monitor: from arguments to the line of a Nagios plugin
    monitor_plan.py        all calls of a crontab for monitor, and for Prometheus
    monitor_jobs.py        what is known of single jobs
    monitor_verdict.py     what monitor says of one job
    recorded_sessions.py   sessions without options: those of the receipts
    night_runs.py          what has become of the calls of a night, and what is odd
    plan.py                which calls schedulers start, and when
    known.py               the runs of calls, joined from receipts and a journal
    runs.py                what a run is, and what the lines of its receipt say of it
    receipts.py            the files of PLANTA_RECEIPT, and their lines
    check.py               check: from arguments to exit status, and the report of what was found
    fix.py                 the corrected files: written beside, and what is said of them
    logins.py              the logins of calls, tried at their servers
    call_rules.py          what can be wrong with a call: options, time, who hears of its end
    machine_rules.py       and with what it needs on this machine: programs, files, folders
    surroundings.py        where a call runs, as whom, and where the file has to change
    reading.py             files of schedulers, and the scripts that they start
    crontab.py, units.py   crontabs, and units of systemd
    tasks.py               exports of the Windows Task Scheduler, and batch scripts
    shell.py               a text for the shell, walked node by node
    shell_commands.py      what a command in it starts
    shell_state.py         what is known at one place of it
    telling.py             whether what follows a failure tells anybody
    shell_words.py         its tree, and its words as a program gets them
    shell_tree.py          what the statements of the tree are, and what sh does not know
    calls.py               entries of schedulers and the calls in them, as every format is parsed into
    programs.py            other programs in a command line: the table of those that start one
    schedule.py            when something is started
    rules.py               all that can be found: the table of rules; findings, and their corrections
    files.py               files of schedulers: found, opened and trusted
    users.py               users of this machine, and their rights
    about.py               what runs here, for --version
"""
