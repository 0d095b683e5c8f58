"""The order of messages, as tables: what has been sent, and what each end may send then."""

from __future__ import annotations

# What has been sent (the session has two jobs); what the client may send then, and what the server. `logout` and the
# two refusals that have nothing to do with the question may come at any moment until the conversation is over. What
# follows a login of another version is in test_protocol_errors.py.
MAY_SEND = [
    ("", "login:osuser login:challenge", ""),
    ("login:osuser", "", "welcome welcome:attach refused:login refused:version"),
    ("login:challenge", "", "challenge refused:login refused:version"),
    ("login:challenge challenge", "response", ""),
    ("login:challenge challenge response", "", "welcome:signed refused:login"),
    ("login:challenge challenge response welcome:signed", "jobs", "alive"),
    ("login:osuser welcome", "jobs", "alive"),
    ("login:osuser welcome alive", "jobs", "alive"),
    ("login:osuser welcome jobs", "", "accepted refused:jobs alive"),
    ("login:osuser welcome jobs alive", "", "accepted refused:jobs alive"),
    ("login:osuser welcome:attach", "jobs jobs:key attach attach:now cancel sessions", "alive"),
    ("login:osuser welcome:attach jobs", "", "accepted refused:jobs alive"),
    ("login:osuser welcome:attach jobs:key", "", "accepted:session refused:jobs alive"),
    ("login:osuser welcome:attach attach", "", "attached:2 refused:session alive"),
    ("login:osuser welcome:attach attach:now", "", "attached:1 attached:2 attached:3 refused:session alive"),
    ("login:osuser welcome:attach cancel", "", "cancelled refused:session alive"),
    ("login:osuser welcome:attach sessions", "", "listed ended:ok alive"),
    ("login:osuser welcome:attach sessions listed", "", "listed ended:ok alive"),
]
# The same, after UNTIL_ACCEPTED. A job that is skipped, and an end that comes early, are never a good end.
UNTIL_ACCEPTED = "login:osuser welcome jobs accepted"
MAY_SEND_OF_JOBS = [
    ("", "started:1 finished:1:skipped ended:failed"),
    ("started:1", "output:1 finished:1:ok finished:1:failed finished:1:skipped ended:failed"),
    ("started:1 output:1", "output:1 finished:1:ok finished:1:failed finished:1:skipped ended:failed"),
    ("started:1 alive", "output:1 finished:1:ok finished:1:failed finished:1:skipped ended:failed"),
    ("started:1 finished:1:ok", "started:2 finished:2:skipped ended:failed"),
    (
        "started:1 finished:1:ok started:2",
        "output:2 finished:2:ok finished:2:failed finished:2:skipped ended:failed",
    ),
    ("started:1 finished:1:ok started:2 finished:2:ok", "ended:ok ended:failed"),
    ("started:1 finished:1:failed", "finished:2:skipped ended:failed"),
    ("started:1 finished:1:failed alive", "finished:2:skipped ended:failed"),
    ("started:1 finished:1:failed finished:2:skipped", "ended:failed"),
    ("started:1 finished:1:ok started:2 finished:2:failed", "ended:failed"),
    ("finished:1:skipped", "finished:2:skipped ended:failed"),
]
# The same, after UNTIL_ATTACHED: the first of the jobs has ended well.
UNTIL_ATTACHED = "login:osuser welcome:attach attach attached:2"
MAY_SEND_OF_THE_REST = [
    ("", "started:2 finished:2:skipped ended:failed"),
    ("started:2", "output:2 finished:2:ok finished:2:failed finished:2:skipped ended:failed"),
    ("started:2 finished:2:ok", "ended:ok ended:failed"),
]
SITUATIONS = [
    *((history, client + " logout", server + " refused:protocol refused:busy") for history, client, server in MAY_SEND),
    *(
        (f"{UNTIL_ACCEPTED} {history}", "logout", server + " alive refused:protocol refused:busy")
        for history, server in MAY_SEND_OF_JOBS
    ),
    *(
        (f"{UNTIL_ATTACHED} {history}", "logout", server + " alive refused:protocol refused:busy")
        for history, server in MAY_SEND_OF_THE_REST
    ),
    (
        "login:osuser welcome:attach attach:now attached:3",
        "logout",
        "ended:ok ended:failed alive refused:protocol refused:busy",
    ),
]
# Each ends the conversation.
ENDINGS = [
    "logout",
    "login:osuser refused:version",
    "login:osuser refused:login",
    "login:challenge challenge logout",
    "login:challenge challenge response refused:login",
    "login:osuser welcome refused:busy",
    "login:osuser welcome logout",
    "login:osuser welcome jobs refused:jobs",
    "login:osuser welcome jobs logout",
    "login:osuser welcome:attach attach refused:session",
    "login:osuser welcome:attach cancel refused:session",
    "login:osuser welcome:attach cancel cancelled",
    "login:osuser welcome:attach sessions ended:ok",
    f"{UNTIL_ATTACHED} started:2 finished:2:ok ended:ok",
    f"{UNTIL_ATTACHED} ended:failed",
    f"{UNTIL_ACCEPTED} logout",
    f"{UNTIL_ACCEPTED} ended:failed",
    f"{UNTIL_ACCEPTED} started:1 logout",
    f"{UNTIL_ACCEPTED} started:1 refused:protocol",
    f"{UNTIL_ACCEPTED} started:1 finished:1:ok started:2 finished:2:ok ended:ok",
    f"{UNTIL_ACCEPTED} started:1 finished:1:failed finished:2:skipped ended:failed",
]
