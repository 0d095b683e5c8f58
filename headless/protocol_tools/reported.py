"""What `check` reports: findings, each once, and remarks."""

from __future__ import annotations

from collections.abc import Iterator

from headless.terminal import escape_control_chars, print_answer


class Findings:
    """Collects what is found, each once, with how often it was, and remarks. `cases` counts what was tried."""

    def __init__(self) -> None:
        self._where: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._remarks: dict[str, None] = {}
        self.cases = 0

    def __len__(self) -> int:
        return len(self._where)

    def add(self, where: str, text: str) -> None:
        self._where.setdefault(text, where)
        self._counts[text] = self._counts.get(text, 0) + 1

    def remark(self, text: str) -> None:
        self._remarks[text] = None

    def lines(self) -> Iterator[str]:
        for text, where in self._where.items():
            more = self._counts[text] - 1
            yield f"{where}: {text}" + (f" (and in {more} more)" if more else "")
        yield from (f"remark: {text}" for text in self._remarks)

    def print(self, recordings: int) -> None:
        """Prints all, and in the last line the count of what was tried."""
        lines = [*self.lines(), f"{recordings:,} recordings, {self.cases:,} cases, {len(self):,} findings"]
        print_answer("".join(f"{escape_control_chars(line)}\n" for line in lines))
