"""A job server that speaks the protocol: for rehearsing, for testing schedulers, for small sites.

What is where. An import leads down this list or stays on a line, never up.

    commands/                              serve, user, jobs, status: from arguments to exit status
    server.py                              start and stop
    log_writer.py, notify.py               the log; what the service manager is told
    listener.py, exception_handler.py      accepting and encrypting connections; what nobody has caught
    connection.py                          one connection, from login to end
    requests.py                            what a client that is logged in asks for
    authentication.py, throttle.py         whether the client is who it says it is
    peer.py                                who owns a connection, as the kernel knows it
    entrance.py, keys.py                   which sessions come in; who waits for whom
    heartbeat.py                           signs of life for a session that waits
    link.py                                one connection: whole messages in and out
    admission.py                           how many connections and bytes come in
    reporter.py                            what a client is told of its session
    followed_output.py, tail.py            output that grows, for all who follow it
    queue.py, session.py               which session runs when; how far one has come
    retention.py                           what is pruned, and when
    listing.py, appearance.py              what `jobs` shows, and how a job looks there
    stored_output.py                       output that is stored, for people
    jobs.py                                one job: whether it can be run, and how it ended
    shims.py                               how processes are started, found again and ended
    posix_shims.py, windows_shims.py       what of that depends on the platform
    shim.py, windows_shim.py               the process that watches over one job, a program of its own
    windows_processes.py                   what Windows has for processes, and Python has not
    shim_output.py                         what a shim stores of a job's output
    records.py                             what a server reads of a shim's record and report
    record_format.py                       how these are written
    process.py                             what the server needs of a process
    store.py                               the way to journal and accounts, for everything above
    disk.py, descriptors.py, threads.py    what is scarce: room, open files, threads
    home.py, home_trust.py, home_lock.py   the folder of a server, whose it is, its lock
    database.py                            the database file and its version
    accounts.py, account_limits.py         who may log in, and run what
    journal.py                             the tables and the queries of sessions and jobs
    settings.py                            what can be chosen, and the limits
    errors.py                              errors that pass from one file to another
"""
