"""What helps with schedulers: the check of what calls the command, the watch over its jobs, password files for many.

What is where. An import leads down this list or stays on a line, never up.

    finding.py                             what the check has to say of a line, and how the line is corrected
    entry.py                               what a scheduler starts: the values that every format is read into
"""
