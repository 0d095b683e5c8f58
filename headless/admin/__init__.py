"""Helps with schedulers: checks what calls the command, and monitors its jobs.

What is where. An import leads down this list, never up.

    check.py               check: from arguments to exit status, and the report of what was found
    fix.py                 the corrected files: written beside, and what is said of them
    logins.py              the logins of calls, tried at their servers
    call_rules.py          what can be wrong with a call, whatever starts it
    surroundings.py        what surrounds a call: folders, output, who hears of its end
    places.py              where a word of a call has to be changed
    crontab.py, units.py   crontabs, and units of systemd
    tasks.py               exports of the Windows Task Scheduler, and batch scripts
    shell.py               a text for the shell, walked node by node
    shell_commands.py      what a command in it starts
    shell_state.py         what is known at one place of it
    telling.py             whether what follows a failure tells anybody
    shell_words.py         its tree, and its words as a program gets them
    calls.py               entries of schedulers and the calls in them, as every format is parsed into
    findings.py            findings, made by the table of rules, and their corrections
    programs.py            other programs in a command line: the table of those that start one
    schedule.py            when something is started
    rules.py               all that can be found: the table of rules
    files.py               files of schedulers: found, opened and trusted
    users.py               users of this machine, and their rights
    monitor.py             monitor: from arguments to the line of a Nagios plugin
    receipts.py            the file of PLANTA_RECEIPT, as monitor reads it
"""
