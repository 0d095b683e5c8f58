"""What `explain --write` writes speaks to the server whose recordings it was written from, once a person has decided
what the messages mean; and without that, it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headless.dialects import example, planta
from headless.errors import OK, UnsupportedCall
from headless.protocol_tools.assumed_jobs import job_assumptions
from headless.protocol_tools.assumed_login import login_assumptions
from headless.protocol_tools.findings import explain
from headless.protocol_tools.writing import code_of
from support.credentials import HASH
from support.example_server import ExampleServer
from support.sampling import one_of
from support.vendors import delta, epsilon, eta, gamma, variants, zeta
from support.vendors.driven import client, code_of_call, dialect_in
from support.vendors.recorded import EVERY_CALL, record
from support.vendors.talk import Receive, Side, Sleep

TEXT = "normalize-space(text())"
# What a person decides: which of the commented lines hold, and what is written in the place of others.
DECIDED = {
    "gamma": """
        accepted = "Cmd[@name='queued']"
        ended = 'Shutdown'
        ok = "Cmd[@state='2']"
        failed = "Cmd[@state='3']"
        result_of = planta.JOB
        refused = {'login': "Login[@action='cancel']", 'jobs': "Cmd[@name='refused']"}
    """,
    "delta": """
        accepted = "EvLogMsg[@code='100']"
        ended = 'Shutdown'
        ok = "Shutdown[@result='0']"
        failed = "Shutdown[@result='1']"
        refused = {'login': "Login[@action='cancel']", 'jobs': "EvLogMsg[@code='404']"}
    """,
    "epsilon": f"""
        accepted = 'letter/taken'
        ended = 'letter/state'
        ok = "letter/state[{TEXT}='done']"
        failed = "letter/state[{TEXT}='failed']"
        refused = {{'login': "letter/denied[{TEXT}='login']", 'jobs': 'letter/denied'}}
    """,
    "zeta": f"""
        accepted = 'took'
        ended = 'job'
        ok = "job/rc[{TEXT}='0']"
        failed = "job/rc[{TEXT}!='0']"
        result_of = planta.JOB
        refused = {{'login': "no[@why='LOGIN']", 'jobs': "no[@why='JOB']"}}
    """,
    "eta": f"""
        accepted = "eta/what[{TEXT}='started']"
        acceptance_of = planta.SESSION
        ended = "eta/what[{TEXT}='end']"
        ok = "eta/reason[{TEXT}='none']"
        failed = "eta/reason[{TEXT}='error']"
        refused = {{'login': "eta/reason[{TEXT}='login']", 'jobs': "eta/reason[{TEXT}='job']"}}
    """,
    "example": """
        accepted = "response[@code='200']"
        ended = 'result'
        ok = "result[@code='200']"
        failed = "result[@code='500']"
        refused = {'login': "response[@code='403']", 'jobs': "response[@code='404']"}
    """,
    "length": """
        accepted = "Cmd[@name='accepted']"
        ended = 'Shutdown'
        ok = "Shutdown[@code='0']"
        failed = "Shutdown[@code!='0']"
        refused = {
    """,
    "zero": """
        accepted = "ModC[@state='queued']"
        ended = 'Shutdown'
        ok = "ModC[@result='0']"
        failed = "ModC[@result!='0']"
        result_of = planta.JOB
        refused = {
    """,
    "bare": """
        accepted = "ExecPythonScript[@started='true']"
        ended = 'Shutdown'
        no_result = planta.ORDERLY_END
        refused = {
    """,
    "packed": f"""
        accepted = 'Comm/Started'
        ended = 'Comm/Result'
        ok = "Comm/Result[{TEXT}='ok']"
        failed = "Comm/Result[{TEXT}!='ok']"
        result_of = planta.JOB
        refused = {{
    """,
}


class ExampleOfPorting:
    """The server of the example, whose jobs are in the login, as a vendor."""

    __name__ = "example"
    client = staticmethod(lambda call, _hash, seed: client(example.Dialect, call, seed))

    class Server:
        def __init__(self, _seed: int) -> None:
            self._server = ExampleServer()

        def serve(self) -> Side:
            while True:
                for answer in self._server.received((yield Receive())):
                    yield Sleep(answer.seconds)
                    yield answer.say()


VENDORS: dict[str, Any] = {each.__name__.rpartition(".")[2]: each for each in (gamma, delta, epsilon, zeta, eta)}
VENDORS.update((name, getattr(variants, name)) for name in ("length", "zero", "bare", "packed"))
VENDORS["example"] = ExampleOfPorting()
EACH_VENDOR = pytest.mark.parametrize("name", one_of(3, VENDORS))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file that is written for each vendor."""
    codes = {}

    def write(name):
        if name not in codes:
            found = explain(record(VENDORS[name], tmp_path_factory.mktemp("talk") / "talk"), HASH.encode())
            codes[name] = code_of([*login_assumptions(found), *job_assumptions(found)], found.is_planta)
        return codes[name]

    return write


def decided(code: str, decisions: str) -> str:
    code = code.replace("settled = (", f"settled = {planta.ASSUMPTIONS!r}  # (", 1)
    for line in filter(None, map(str.strip, decisions.splitlines())):
        assert f"    # {line}" in code, (line, code)
        code = code.replace(f"    # {line}", f"    {line}", 1)
    return code


@EACH_VENDOR
def test_the_dialect_that_a_person_has_finished_returns_the_code_of_each_call(name, written):
    dialect = dialect_in(decided(written(name), DECIDED[name]))
    codes = {call.label: code_of_call(dialect, VENDORS[name], call) for call in EVERY_CALL}
    expected = {call.label: call.expected for call in EVERY_CALL}
    if name == "bare":  # which tells no result
        expected["the second fails"] = OK
    differing = {label: (code, expected[label]) for label, code in codes.items() if code != expected[label]}
    assert differing == {}


@EACH_VENDOR
def test_the_dialect_that_nobody_has_finished_speaks_to_no_server(name, written):
    for call in EVERY_CALL:
        with pytest.raises(UnsupportedCall, match="not settled"):
            code_of_call(dialect_in(written(name)), VENDORS[name], call)
