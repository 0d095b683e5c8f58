"""One call: session, verdict, connection, deadline, signals, console, password file. Which dialect is spoken is not
known here."""
