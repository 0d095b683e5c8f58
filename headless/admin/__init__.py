"""What helps with schedulers: the check of what calls the command, and the watch over its jobs.

What is where. An import leads down this list or stays on a line, never up.

    check.py                               check: from arguments to exit status
    check_report.py                        what was found, for people, for programs, and as corrected files
    log_ins.py                             the logins of calls, tried at their servers
    call_checks.py                         what can go wrong with a call, whatever starts it
    places.py                              which files there are, and what kind of file one is
    crontab.py, systemd.py                 the formats of schedulers,
    task_scheduler.py                      and what is wrong with a file in one of them
    shell.py, batch.py                     calls in a text for a shell, and for cmd.exe
    shell_words.py                         what a program gets of the words of a shell
    command_line.py                        the words of a command: is it a call, through which other programs?
    reading.py                             what all that is read into
    receipts.py                            which runs of a job are in a file of receipts
    runs.py                                the runs of a job, and what a monitor says of them
    finding.py                             what is to be said of a line, and how it is corrected
    entry.py                               what a scheduler starts: the values that every format is read into
    schedule.py, users.py                  when something is started; who runs it
"""
