"""What helps with schedulers: the check of what calls the command, the watch over its jobs, password files for many.

What is where. An import leads down this list or stays on a line, never up.

    receipts.py                            which runs of a job are in a file of receipts
    runs.py                                the runs of a job, and what a monitor says of them
    finding.py                             what the check has to say of a line, and how the line is corrected
    entry.py                               what a scheduler starts: the values that every format is read into
"""
