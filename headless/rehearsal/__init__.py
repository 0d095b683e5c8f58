"""rehearse: a command line of planta_headless.py on a server of its own. Here client and server meet.

What is where. An import leads down this list, never up.

    command.py         one rehearsal, and its exit status
    crontab.py         the lines of a crontab, each with the rehearsal as a process
    containment.py     whether a line can be run without a call that reaches a real server
    programs.py        which programs start nothing, or only the command behind them
    shell_text.py      the commands in a text of the shell
    server.py          the server of a rehearsal, its folders, and the files of its jobs
    options.py         the own options, and the variable that keeps what runs inside of a rehearsal in it
    sitecustomize.py   makes the module ppms known in the process of a job
"""
