"""Which word behind a Python is planta_headless.py as the script that it runs."""

from __future__ import annotations

from headless.admin.calls import script_index

H = "/p/planta_headless.py"
SCRIPTS = [
    ([H], 1),
    (["-u", H], 2),
    (["-W", "ignore", H], 3),
    (["-Wc", H], 2),
    (["-X", "dev", "-u", H], 4),
    (["-Xm", H, "-c", "pass"], 2),
]
NONE = [
    [],
    ["-u"],
    ["other.py", H],
    ["-c", H],  # a text, which only looks like its name
    ["-uc", H],
    ["-m", "planta_headless.py"],
    ["-Im", "planta_headless.py"],
    ["-c", "pass", H],
    ["-m", "trace", H],
]


def test_the_first_word_that_is_no_option_is_the_script():
    for words, at in SCRIPTS:
        assert script_index(["python3", *words]) == at, words


def test_what_has_another_script_a_module_or_a_text_runs_it_not():
    for words in NONE:
        assert script_index(["python3", *words]) is None, words
