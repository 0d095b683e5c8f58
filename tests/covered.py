"""Says which share of the package the tests reach, by folder: of lines and of branches.

    .venv/bin/python tests/covered.py [ARGUMENT OF PYTEST ...]

Processes that the tests start are counted, but for shims, which load no package, and for what is killed. Tests that ask
for what a process imports, or send it a signal at any moment, are left out: coverage is imported, and can swallow a
signal. `.venv/bin/python -m coverage report -m` shows the lines afterwards.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".coverage"
LEFT_OUT = "costs_no_import or import_neither or program_sees_the_same or any_moment"


def coverage(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, check=False).returncode


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    status = coverage("run", "-m", "pytest", "-n", "4", "-k", f"not ({LEFT_OUT})", *sys.argv[1:])
    coverage("combine", "--quiet")
    coverage("json", "--quiet", "-o", str(FOLDER / "report.json"))
    found = json.loads((FOLDER / "report.json").read_text(encoding="utf-8"))
    folders: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for path, file in found["files"].items():
        summary = file["summary"]
        counts = [summary[name] for name in ("covered_lines", "num_statements", "covered_branches", "num_branches")]
        parts = Path(path).parts
        folder = parts[1] if len(parts) > 2 else "(top)"
        for name in (folder, "all"):
            folders[name] = [a + b for a, b in zip(folders[name], counts)]
    print(f"{'folder':12}{'lines':>8}{'reached':>9}{'branches':>10}{'reached':>9}")
    for folder, (lines, all_lines, branches, all_branches) in sorted(
        folders.items(), key=lambda each: each[0] == "all"
    ):
        shares = (100 * lines / max(1, all_lines), 100 * branches / max(1, all_branches))
        print(f"{folder:12}{all_lines:8}{shares[0]:8.1f}%{all_branches:10}{shares[1]:8.1f}%")
    return status


if __name__ == "__main__":
    sys.exit(main())
