"""How strong the tests are: it plants mistakes in the package, one at a time, and says which of them the tests find.

    .venv/bin/python tests/mistakes.py [GROUP ...] [--count N] [--seed N] [--file F] [-n N]

A mistake is one change of one place: a condition the other way round, `and` for `or`, a number one more, a call or a
`return` left out. It is planted in a copy of the project, in which the tests of its group run: first the quick ones,
then the others, until one fails. The same seed plants the same mistakes in files that have not changed.

What it costs: a mistake that is found takes some seconds or a minute, one that is not takes all tests of its group. A
hundred take one to two hours on two processors, and `--count 3` some minutes. A mistake that is not found says nothing
by itself: some change nothing that anybody sees. Of the others, a promise lacks its test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Optional

from planting import Mistake, mistakes_in

ROOT = Path(__file__).resolve().parent.parent
# Of each group: its files (a file is in the first group that names it), and the tests that have to find its mistakes.
GROUPS = {
    "verdict": (
        "headless/client/verdict.py headless/client/session.py headless/client/connection.py",
        "tests/client tests/test_wait*.py tests/robustness",
    ),
    "client": (
        "headless/client/*.py headless/*.py",
        "tests/client tests/test_*.py tests/robustness",
    ),
    "dialect": (
        "headless/dialects/**/*.py",
        "tests/dialects tests/robustness/test_properties.py"
        " tests/robustness/test_cuts.py tests/robustness/test_hostile*.py tests/client/test_*dialect*.py"
        " tests/client/test_planta*.py tests/client/test_heartbeats.py tests/robustness/test_last*.py"
        " tests/test_options.py tests/test_wait*.py",
    ),
    "server": ("headless/server/**/*.py", "tests/server tests/test_wait*.py"),
    "admin": ("headless/admin/*.py", "tests/admin tests/test_command*.py"),
}
LIMIT = 900  # seconds for the quick tests, and for the others: with a mistake that takes more, something hangs
LIMIT_ALONE = 180  # for one test
MEMORY = 8 << 30  # bytes, of each process: a mistake may make a loop that never ends


def choose(root: Path, paths: list[str], count: int, seed: int) -> list[tuple[str, Mistake]]:
    """One of each file before a second one of any; the longer a file, the sooner its turn. What is planted in one file
    does not depend on the others."""
    turns = []
    for path in paths:
        chance, source = random.Random(f"{seed} {path}"), (root / path).read_bytes()
        when = -(chance.random() ** (1000 / max(1, len(source))))
        for turn, mistake in enumerate(itertools.islice(mistakes_in(source, chance), count)):
            turns.append((turn, when, path, mistake))
    return [(path, mistake) for _, _, path, mistake in sorted(turns)[:count]]


class Copy:
    """The project, for one mistake after the other, with a Python that finds this package wherever it is started."""

    def __init__(self, folder: Path, workers: int, seed: int) -> None:
        folder.chmod(0o755)  # some tests run as somebody else
        self.root, self.temporary, self.workers = folder / "project", folder / "t", workers
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
        venv.create(folder / "python")
        self.python = folder / "python" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        command = [str(self.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        places = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        lines = [str(self.root), *site.getsitepackages(), site.getusersitepackages()]
        Path(places, "project.pth").write_text("\n".join(lines), encoding="utf-8")
        command = [str(self.python), "-c", "import headless; print(headless.__file__)"]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout.strip()
        if self.root not in Path(loaded).parents:
            raise SystemExit(f"the tests would load {loaded}: is PYTHONPATH set?")
        self.originals: dict[str, bytes] = {}
        self.useful: set[str] = set()  # tests that pass without a mistake
        self.useless: set[str] = set()  # tests that fail by chance, or always
        self.environment = {"PLANTA_SEED": str(seed), **os.environ, "VIRTUAL_ENV": str(folder / "python")}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling takes longer than most tests

    def restore(self, path: str) -> None:
        self.write(path, self.originals[path])

    def write(self, path: str, source: bytes) -> None:
        """And nothing is left of the old content that was compiled."""
        file = self.root / path
        self.originals.setdefault(path, file.read_bytes())
        file.write_bytes(source)
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            compiled.unlink()

    def failures(self, limit: float, *arguments: str) -> tuple[list[str], Optional[int]]:
        """The tests that fail, and the exit status of pytest: none if it takes longer."""
        last = self.root / ".pytest_cache" / "v" / "cache" / "lastfailed"
        last.unlink(missing_ok=True)
        command = [str(self.python), "-m", "pytest", "-x", "-q", "--tb=no", f"--basetemp={self.temporary}", *arguments]
        with (
            open(self.root.parent / "output", "wb") as output,
            subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            ) as process,
        ):
            try:
                status: Optional[int] = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                process.kill()
        self.end_rest()
        return (list(json.loads(last.read_text(encoding="utf-8"))) if last.exists() else []), status

    def end_rest(self) -> None:
        """The processes that a mistake has left behind: what is of this folder."""
        name = os.fsencode(self.root.parent)
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if name in (place / "environ").read_bytes() + (place / "cmdline").read_bytes():
                    os.kill(int(place.name), getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                pass  # it has ended, or is not ours

    def finder(self, path: str, source: bytes, tests: list[str]) -> Optional[str]:
        """The test that finds what is wrong in the file's text: first it is looked for where the file is imported."""
        near = [each for each in self.test_files(tests) if self.is_about(each, path)]
        for marker in ("not slow and not large", "slow and not large"):
            for stage in filter(None, (near, tests)):
                found = self.finder_among(path, source, stage, marker)
                if found is not None:
                    return found
        return None

    def finder_among(self, path: str, source: bytes, tests: list[str], marker: str) -> Optional[str]:
        """One that fails must fail again alone, and pass without the mistake."""
        while True:
            self.write(path, source)
            left_out = [f"--deselect={each}" for each in sorted(self.useless)]
            failed, status = self.failures(LIMIT, "-n", str(self.workers), "-m", marker, *left_out, *tests)
            if status is None and not failed:
                return "a limit of time"
            if status in (0, 5):  # all passed, or there are none
                return None
            if not failed and self.failures(LIMIT_ALONE, "--collect-only", *tests)[1] != 0:
                return "the collection of the tests"
            for test in failed:
                self.write(path, source)
                if self.failures(LIMIT_ALONE, test)[1] != 0:
                    self.restore(path)
                    if test in self.useful or self.failures(LIMIT_ALONE, test)[1] == 0:
                        self.useful.add(test)
                        return test
            if self.useless.issuperset(failed):
                return None
            self.useless.update(failed)

    def files(self, patterns: str) -> list[str]:
        found = [path for pattern in patterns.split() for path in sorted(self.root.glob(pattern))]
        return [path.relative_to(self.root).as_posix() for path in found]

    def test_files(self, tests: list[str]) -> list[str]:
        return self.files(" ".join(test if test.endswith(".py") else f"{test}/**/test_*.py" for test in tests))

    def is_about(self, test: str, path: str) -> bool:
        """Whether the file of tests imports the file of the package: then it is the likeliest to find what is wrong."""
        module = path[: -len(".py")].replace("/", ".")
        package, _, name = module.rpartition(".")
        text = (self.root / test).read_text(encoding="utf-8")
        return module in text or re.search(rf"from {re.escape(package)} import .*\b{name}\b", text) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--count", type=int, default=20, help="mistakes in each group (default: 20)")
    parser.add_argument("--seed", type=int, default=random.randrange(10000), help="to plant the same mistakes again")
    parser.add_argument("--file", help="plant only in this file, for example headless/options.py")
    parser.add_argument("-n", type=int, default=2, metavar="N", help="tests at a time (default: 2)")
    asked = parser.parse_args()
    if set(asked.groups) - set(GROUPS):
        parser.error(f"the groups are {', '.join(GROUPS)}")
    seen: set[str] = set()
    table = []
    print(f"--seed {asked.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the folder is removed
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        if most == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))
    folder = Path(tempfile.mkdtemp(prefix="mistakes-")).resolve()
    try:
        copy = Copy(folder, asked.n, asked.seed)
        for group, (sources, tests) in GROUPS.items():
            paths = [path for path in copy.files(sources) if path not in seen and "windows" not in path]
            seen.update(paths)
            if asked.file is not None:
                paths = [path for path in paths if ROOT / path == Path(asked.file).resolve()]
            if not paths or (asked.groups and group not in asked.groups):
                continue
            found, planted = 0, choose(copy.root, paths, asked.count, asked.seed)
            for path, mistake in planted:
                begun = time.monotonic()
                finder = copy.finder(path, mistake.source, copy.files(tests))
                copy.restore(path)
                place = f"{path}:{mistake.line}: {mistake.change}"
                how = f"found by {finder} in {time.monotonic() - begun:.0f} s: " if finder else "NOT FOUND "
                found += finder is not None
                print(how + place, flush=True)
            table.append((group, len(planted), found))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{'group':10}{'planted':>9}{'found':>7}{'share':>7}")
    for name, number, found in [*table, ("all", sum(each[1] for each in table), sum(each[2] for each in table))]:
        print(f"{name:10}{number:9}{found:7}{100 * found / max(1, number):6.0f}%")


if __name__ == "__main__":
    main()
