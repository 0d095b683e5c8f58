"""In what `explain --write` has written, and a person has finished, `check` finds nothing; in what is not finished, it
does."""

from __future__ import annotations

from pathlib import Path

import pytest

from headless.protocol_tools.assumed_jobs import job_assumptions
from headless.protocol_tools.assumed_login import login_assumptions
from headless.protocol_tools.dialect_writing import dialect_code
from headless.protocol_tools.explained import explain
from headless.protocol_tools.writing import planta_code
from protocol_tools.test_check import FEW
from protocol_tools.test_written_dialects import DECIDED, VENDORS, decided
from support.checked import check, secret_in
from support.credentials import HASH
from support.vendors.recorded import labelled, record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@VENDORS
def test_what_a_person_has_finished_passes_and_what_nobody_has_does_not(vendor, tmp_path: Path, capsys):
    found = explain(record(vendor, tmp_path / "all"), HASH.encode())
    assumptions = [*login_assumptions(found), *job_assumptions(found)]
    code = planta_code(assumptions) if found.is_planta else dialect_code(found)
    folder = record(vendor, tmp_path / "talk", labelled(*FEW, "three jobs", "the second is unknown"), seed=5).path
    secret_file = secret_in(tmp_path)
    for name, text, status in (("open", code, 1), ("finished", decided(code, DECIDED[vendor]), 0)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        assert check(tmp_path / f"{name}.py", folder, secret_file) == status, capsys.readouterr().out
