"""In what `explain --write` has written, and a person has finished, `check` finds nothing; in what is not finished, it
does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headless.protocol_tools.assumed_jobs import job_assumptions
from headless.protocol_tools.assumed_login import login_assumptions
from headless.protocol_tools.findings import explain
from headless.protocol_tools.writing import code_of
from protocol_tools.test_written_dialects import DECIDED, VENDORS, decided
from support.checked import check, secret_in
from support.credentials import HASH
from support.sampling import one_of
from support.vendors.recorded import labelled, record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NO_RESULT = ("bare",)  # of what failed is reported


@pytest.mark.parametrize("name", one_of(len(VENDORS), VENDORS))
def test_what_a_person_has_finished_passes_and_what_nobody_has_does_not(name, tmp_path: Path, capsys):
    vendor = VENDORS[name]
    found = explain(record(vendor, tmp_path / "all"), HASH.encode())
    assumptions = [*login_assumptions(found), *job_assumptions(found)]
    code = code_of(assumptions, found.is_planta)
    recorded = labelled("osuser", "the second fails")
    if name in NO_RESULT:
        recorded = tuple(replace(call, expected=0) for call in recorded)
    folder = record(vendor, tmp_path / "talk", recorded, seed=5).path
    secret_file = secret_in(tmp_path)
    for stage, text, status in (("open", code, 1), ("finished", decided(code, DECIDED[name]), 0)):
        (tmp_path / f"{stage}.py").write_text(text, encoding="utf-8")
        assert check(tmp_path / f"{stage}.py", folder, secret_file) == status, capsys.readouterr().out
