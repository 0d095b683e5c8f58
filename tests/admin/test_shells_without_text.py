"""A shell that is called without a script and without a text of its own reads its commands from somewhere else."""

from __future__ import annotations

import pytest

from headless.admin import shell
from headless.admin.entry import Entry, Language, Place, Scheduler, Text
from headless.admin.reading import Reading

CALL = "python3 /p/planta_headless.py -c pass"


@pytest.mark.parametrize("options", ["", "-e", "-c", "-ec", "-o pipefail", "-o", "+x", "--"])
def test_what_follows_a_shell_without_a_text_is_read_all_the_same(options):
    for line in (f"sh {options}", f"cat file | bash {options}"):
        text = f"{line}\n{CALL}\n"
        reading = Reading()
        entry = Entry(
            Place("job.sh", 1), Scheduler.SCRIPT, Language.SHELL, Text(text, tuple(range(len(text) + 1))), "/bin/sh"
        )
        shell.read(entry, reading)
        assert [call.options[-1].text for call in reading.calls] == ["pass"], line
        assert reading.programs == [], line
