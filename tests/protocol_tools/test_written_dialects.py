"""What `explain --write` writes speaks to the server whose recordings it was written from, once a person has decided
what the messages mean; and without that, it brings no success."""

from __future__ import annotations

import pytest

from headless.errors import OK, UnsupportedCall
from headless.protocol_tools.assumed_jobs import job_assumptions
from headless.protocol_tools.assumed_login import login_assumptions
from headless.protocol_tools.dialect_writing import dialect_code
from headless.protocol_tools.explained import explain
from headless.protocol_tools.writing import planta_code
from support.credentials import HASH
from support.vendors import delta, epsilon, eta, gamma, variants, zeta
from support.vendors.driven import code_of_call, dialect_in
from support.vendors.recorded import EVERY_CALL, record

# What a person decides: which of the commented lines hold, and what is written in the place of what is left open.
DECIDED = {
    gamma: (
        "accepted = \"Cmd[@name='queued']\"",
        "ended = 'Shutdown'",
        "ok = \"Cmd[@state='2']\"",
        "failed = \"Cmd[@state='3']\"",
        "result_of = planta.JOB",
        "refused = {",
    ),
    delta: (
        "accepted = \"EvLogMsg[@code='100']\"",
        "ended = 'Shutdown'",
        "ok = \"Shutdown[@result='0']\"",
        "failed = \"Shutdown[@result='1']\"",
        "refused = {",
    ),
    epsilon: {
        "<letter><taken><count>": "self.report(base.Accepted())\nif self.call.waits:\n    self._send(self._after_1())",
        "<letter><state> state=done": "self.report(base.Ended(OK))",
        "<letter><state><job><why> state=failed": "self.report(base.Ended(FAILED, text))",
        "<letter><state><job> state=running": "self._send(self._after_1())",
        "<letter><denied>": 'self.report(base.Refused("jobs" if self._submitted else "login", text))',
    },
    zeta: {
        "<took>": "self._job_accepted()",
        "<printed><line><line>": "self.report(base.Output(None, STDOUT, text))",
        "<job><rc> rc=0": "self._job_ended(OK)\n"
        "if self._finished == len(self.call.jobs):\n    self.report(base.Ended(OK))",
        "<job><rc> rc=12": "self.report(base.Ended(FAILED, text))",
        "<no why> why=LOGIN": "self.report(base.Refused(LOGIN, text))",
        "<no why> why=JOB": "self.report(base.Refused(JOBS, text))",
    },
    eta: {
        "<eta><what><number> what=started": "self.report(base.Accepted())",
        "<eta><what><text> what=output": "self.report(base.Output(None, STDOUT, text))",
        "<eta><what><reason> reason=none what=end": "self.report(base.Ended(OK))",
        "<eta><what><reason><job> reason=error what=end": "self.report(base.Ended(FAILED, text))",
        "<eta><what><reason> reason=login what=sorry": "self.report(base.Refused(LOGIN, text))",
        "<eta><what><reason> reason=job what=sorry": "self.report(base.Refused(JOBS, text))",
    },
}
VARIANTS = {
    "length": (
        "accepted = \"Cmd[@name='accepted']\"",
        "ended = 'Shutdown'",
        "ok = \"Shutdown[@code='0']\"",
        "failed = \"Shutdown[@code!='0']\"",
        "refused = {",
    ),
    "nul": (
        "accepted = \"ModC[@state='queued']\"",
        "ended = 'Shutdown'",
        "ok = \"ModC[@result='0']\"",
        "failed = \"ModC[@result!='0']\"",
        "result_of = planta.JOB",
        "refused = {",
    ),
    "bare": (
        "order = planta.AFTER_ACCEPTANCE",
        "accepted = 'ExecPythonScript[@started]'",
        "ended = 'Shutdown'",
        "no_result = planta.ORDERLY_END",
        "refused = {",
    ),
    "packed": (
        "order = planta.AFTER_RESULT",
        "accepted = 'Comm/Started'",
        "ended = 'Comm/Result'",
        "ok = \"Comm/Result[normalize-space()='ok']\"",
        "failed = \"Comm/Result[normalize-space()!='ok']\"",
        "result_of = planta.JOB",
        "refused = {",
    ),
}
VENDORS = pytest.mark.parametrize("vendor", DECIDED, ids=lambda vendor: vendor.__name__.rpartition(".")[2])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file that is written for each vendor."""
    codes = {}

    def write(vendor):
        key = vendor.__name__
        if key not in codes:
            found = explain(record(vendor, tmp_path_factory.mktemp("talk") / "talk"), HASH.encode())
            assumptions = [*login_assumptions(found), *job_assumptions(found)]
            codes[key] = planta_code(assumptions) if found.is_planta else dialect_code(found)
        return codes[key]

    return write


def decided(code: str, decisions) -> str:
    if isinstance(decisions, tuple):
        code = code.replace("settled = (", "settled = planta.ASSUMPTIONS  # (")
        for line in decisions:
            assert f"    # {line}" in code, (line, code)
            code = code.replace(f"    # {line}", f"    {line}", 1)
        return code
    for label, lines in decisions.items():
        left_open = f'raise RemoteProtocolError("not decided what it means: " + {label!r})'
        assert left_open in code, (label, code)
        code = code.replace(left_open, lines.replace("\n", "\n            "))
    assert "not decided" not in code
    words = "CHALLENGE, FAILED, JOBS, LOGIN, OK, STDOUT"
    return code.replace(
        "import hide_secrets\n", f"import hide_secrets\nfrom headless.dialects.vocabulary import {words}\n"
    )


@VENDORS
def test_the_dialect_that_a_person_has_finished_returns_the_code_of_each_call(vendor, written):
    dialect = dialect_in(decided(written(vendor), DECIDED[vendor]))
    codes = {call.label: code_of_call(dialect, vendor, call) for call in EVERY_CALL}
    assert codes == {call.label: call.expected for call in EVERY_CALL}, written(vendor)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_server_that_others_have_made_is_spoken_to_as_well(name, written):
    vendor = getattr(variants, name)
    code = decided(written(vendor), VARIANTS[name])
    codes = {call.label: code_of_call(dialect_in(code), vendor, call) for call in EVERY_CALL}
    expected = {call.label: call.expected for call in EVERY_CALL}
    if name == "bare":  # which tells no result
        expected["the second fails"] = OK
    assert codes == expected, code


@VENDORS
def test_the_dialect_that_nobody_has_finished_returns_no_0(vendor, written):
    dialect = dialect_in(written(vendor))
    for call in EVERY_CALL:
        if isinstance(DECIDED[vendor], tuple):
            with pytest.raises(UnsupportedCall, match="not settled"):
                code_of_call(dialect, vendor, call)
        else:
            assert code_of_call(dialect, vendor, call) != OK
