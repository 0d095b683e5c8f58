"""Which mistakes are planted to see how strong the tests are (mistakes.py), and where none are."""

from __future__ import annotations

import random

import pytest

from planting import mistakes_in


def changes(code: str) -> list[str]:
    """What the line becomes that is changed, for each mistake that there is in the code."""
    return sorted(mistake.change.partition(" -> ")[2] for mistake in mistakes_in(code.encode(), random.Random(1)))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("if a: f()", ["if a: pass", "if not (a): f()"]),
        ("x = 1 if not a else 3.5", ["x = 1 if a else 3.5", "x = 2 if not a else 3.5"]),
        ("x = a and b", ["x = a or b"]),
        ("x = len(a) < b", ["x = len(a) <= b"]),
        ("x = a < b", ["x = a >= b"]),
        ("x = a not  in b", ["x = a in b"]),
        ("x = f(k=True)", ["x = f(k=False)"]),
        ("x = a[1:n]", ["x = a[1:(n) + 1]", "x = a[2:n]"]),
        ("x = a[-1]", ["x = a[-2]"]),
        ("x = f('ä', a == b)", ["x = f('ä', a != b)"]),  # the columns of a syntax tree are bytes
        ("def f():\n    return x", ["pass"]),
        ("for x in y:\n    continue", ["pass"]),
        ("def f():\n    if os.name != 'nt':\n        return\n    g(1)", ["pass"]),  # what follows is for Windows
        ("async def f():\n    await g()", ["pass"]),
    ],
)
def test_each_kind_of_mistake_is_planted(code: str, expected: list[str]) -> None:
    assert changes(code) == expected


@pytest.mark.parametrize(
    "code",
    [
        '"""A text with 1 < 2 and True."""',
        "x: 'Literal[1]' = y",
        "if TYPE_CHECKING:\n    f(1)",
        "if sys.platform == 'win32':\n    f(1)",
        "if os.name != 'nt':\n    x = y\nelse:\n    f(1)",
        "assert sys.platform == 'win32'\nf(1)",
        "if os.name == 'nt' and f(1):\n    g()",
        "log.info('%d', 1)",
        "x = f'{a[1]}'",
        "assert a == 1",
        "@f(1)\nclass A: x = y",
        "LIMIT = 5",
        "def f():\n    g = x\n    return None",
        "x = getattr(os, 'O_BINARY', 0)",
    ],
)
def test_where_it_could_not_matter_here_none_is_planted(code: str) -> None:
    assert changes(code) == []


def test_the_same_chance_plants_the_same_mistakes_and_each_is_code() -> None:
    code = b"def f(a):\n    if a and not a[0]:\n        return True\n    g(a)\n"
    first, second = (list(mistakes_in(code, random.Random(7))) for _ in range(2))
    assert first == second
    assert len({mistake.source for mistake in first}) == len(first) > 4
    for mistake in first:
        compile(mistake.source, "it", "exec")
        assert 2 <= mistake.line <= 4
