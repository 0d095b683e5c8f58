"""A job server that speaks the protocol: for rehearsing, for testing schedulers, for small sites.

What is where. An import leads down this list or stays on a line, never up.

    commands/                              serve, user and jobs: from arguments to exit status
    server.py, settings.py                 start and stop; what can be chosen
    listener.py, exception_handler.py      accepting and encrypting connections; what nobody has caught
    session.py                             one session, from login to end
    authentication.py, throttle.py         whether the client is who it says it is
    peer.py                                who owns a connection, as the kernel knows it
    link.py                                one connection: whole messages in and out
    reporter.py, tail.py                   what a client is told of its batch; output that grows
    batch_queue.py, batch.py               which batch runs when; how far one has come
    retention.py                           what is pruned, and when
    listing.py                             what `jobs` shows
    jobs.py                                one job: whether it can be run, and how it ended
    processes.py, forked.py, spawned.py    how processes are started and ended
    process.py                             what the server needs of a process
    forkserver.py                          the process that jobs are forked from, a script of its own
    home.py, home_lock.py, database.py     the folder of a server, its lock, its database
    accounts.py, journal.py                the tables and the queries
    errors.py                              errors that pass from one file to another
"""
