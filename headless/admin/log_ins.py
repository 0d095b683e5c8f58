"""The logins of calls, tried at their servers: without a job, each one once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from headless.admin.call_checks import Checked
from headless.admin.finding import ERROR, WARNING, Finding
from headless.client import enquiry
from headless.client.osuser import effective_user
from headless.options import LOG_IN, ChallengeLogin, Options
from headless.outcome import PARAMETER_ERROR, explain


def log_ins(checked: Iterable[Checked]) -> Iterator[Finding]:
    """What goes wrong. A call whose options or password file are wrong already is left out, and the osuser login of
    anybody else."""
    seen = set()
    for each in checked:
        options = _options(each)
        if options is None or (key := (options.service, options.login)) in seen:
            continue
        seen.add(key)
        try:
            enquiry.run(options, each.call.environment.get("PLANTA_WIRE", ""))
        except Exception as error:
            code, text = explain(error)
            if code < 0:  # a signal
                raise
            severity = ERROR if code == PARAMETER_ERROR else WARNING
            yield Finding(each.call.place, severity, "login", text, f"it ends with {code}, and no job runs")


def _options(checked: Checked) -> Options | None:
    options, call = checked.options, checked.call
    if options is None or any(finding.severity is ERROR for finding in checked.findings):
        return None
    login = options.login
    if not isinstance(login, ChallengeLogin):
        is_ours = call.entry.user in (None, effective_user())
        return options.replace(command=LOG_IN, jobs=(), verbosity=0) if is_ours else None
    if not os.path.isabs(login.secret_file) and call.folder is None:
        return None
    path = os.path.join(call.folder or "", login.secret_file)
    if not os.path.exists(path):
        return None
    return options.replace(command=LOG_IN, jobs=(), verbosity=0, login=ChallengeLogin(login.user, path))
