"""rehearse: a command line of planta_headless.py against a server of its own. Here client and server meet.

What is where. An import leads down this list, never up.

    command.py         one rehearsal, and its exit status
    crontab.py         the lines of a crontab, each with the rehearsal as a process
    containment.py     whether a line can be run, and no call in it reaches a real server
    programs.py        which programs start nothing, or only the command behind them
    shell_text.py      the commands in a text of the shell
    nesting.py         the variable that keeps what runs inside of a rehearsal in it
    arguments.py       what the rehearsal itself is told, before the options of the command
    places.py          where the files of the command line are here
    server.py          the server, as long as the rehearsal lasts
    stand_in.py        the folder from which its jobs get the module ppms
    temporary.py       the folder that all this is in, and that goes with it
    sitecustomize.py   a part of that folder: makes the module known in the process of a job
    recorder.py        what stands in for ppms if nobody gives a file: prints what is called
"""
