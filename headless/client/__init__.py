"""One call: session, verdict, connection, deadline, signals, console, password file. Which wire is spoken is not known
here."""
