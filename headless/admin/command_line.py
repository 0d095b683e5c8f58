"""The words of a command, as a program gets them: is it a call of planta_headless.py, and through which other programs?

How a text becomes words is a matter of its language: shell_words.py, batch.py, systemd.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headless.admin.entry import Word
from headless.options import PROGRAM

# The script, or what pip makes of it. A folder may have its name, too.
COMMAND = re.compile(r"planta_headless(?:\.py|\.exe)?")
_MENTIONED = re.compile(r"planta_headless(?:\.py|\.exe|(?![\w./\\-]))")
PYTHON = re.compile(r"(?:python[\d.]*w?|pypy[\d.]*|pyw?)(?:\.exe)?", re.IGNORECASE)
PYTHON_VALUES = ("-W", "-X", "-Q", "--check-hash-based-pycs")  # options with a value
CHANGE_USER = ("su", "runuser", "sudo", "doas")
SHELLS = ("sh", "bash", "dash", "ksh", "zsh", "ash")
# Programs that start another one: their options with a value, and how many words stand before the command.
WRAPPERS: dict[str, tuple[str, int]] = {
    "chronic": ("", 0),
    "cronic": ("", 0),
    "command": ("", 0),
    "builtin": ("", 0),
    "exec": ("-a", 0),
    "env": ("-u --unset -C --chdir", 0),
    "flock": ("-E --conflict-exit-code -w --wait --timeout", 1),
    "ionice": ("-c --class -n --classdata", 0),
    "nice": ("-n --adjustment", 0),
    "nohup": ("", 0),
    "setsid": ("", 0),
    "stdbuf": ("-i --input -o --output -e --error", 0),
    "sudo": ("-u --user -g --group -h --host -p --prompt -C -D --chdir -r -t -T -U", 0),
    "doas": ("-u -C", 0),
    "systemd-cat": ("-t --identifier -p --priority --stderr-priority", 0),
    "taskset": ("", 1),
    "chrt": ("", 1),
    "time": ("-f --format -o --output", 0),
    "timeout": ("-k --kill-after -s --signal", 1),
}


@dataclass(frozen=True)
class Started:
    """What a command starts in the end: a `text` that a shell gets with -c, or a program and its arguments."""

    wrappers: tuple[Word, ...]
    words: tuple[Word, ...]
    text: Word | None = None


@dataclass(frozen=True)
class ScriptCall:
    """A call of planta_headless.py: the interpreter, None if the script itself is started, and the arguments."""

    interpreter: Word | None
    script: Word
    options: tuple[Word, ...]


def what_starts(words: Sequence[Word]) -> Started:
    """What is behind nice, env and the like."""
    rest = list(words)
    wrappers: list[Word] = []
    while rest and base_name(rest[0].text) in WRAPPERS:
        values, count = WRAPPERS[base_name(rest[0].text)]
        wrappers.append(rest[0])
        rest = rest[after_options([word.text for word in rest], values.split()) + count :]
        while rest and re.match(r"[A-Za-z_]\w*=", rest[0].text):  # of env and sudo
            rest = rest[1:]
    if rest and base_name(rest[0].text) in SHELLS:
        for option, value in zip(rest[1:], rest[2:]):
            if re.fullmatch(r"-[A-Za-z]*c", option.text):
                return Started(tuple(wrappers), (), value)
    return Started(tuple(wrappers), tuple(rest))


def script_call(words: Sequence[Word]) -> ScriptCall | None:
    """The call that these words are, if they are one."""
    if words and COMMAND.fullmatch(base_name(words[0].text)):
        return ScriptCall(None, words[0], tuple(words[1:]))
    at = script_at([word.text for word in words])
    if at is None or (words[0].is_certain and not PYTHON.fullmatch(base_name(words[0].text))):
        return None
    return ScriptCall(words[0], words[at], tuple(words[at + 1 :]))


def script_at(texts: Sequence[str]) -> int | None:
    """Which word behind an interpreter, the first one, is planta_headless.py. None if that is not what it starts."""
    at = 1
    while at < len(texts) and texts[at].startswith("-"):
        option = texts[at]
        if re.match(r"-[A-Za-z]*[cm]", option) and not option.startswith(("-W", "-X", "-Q")):
            return None
        at += 2 if option in PYTHON_VALUES else 1
    return at if at < len(texts) and base_name(texts[at]) == PROGRAM else None


def is_mentioned(text: str) -> bool:
    """Whether planta_headless.py, or what pip makes of it, may be called somewhere in the text."""
    return _MENTIONED.search(text) is not None


def after_options(texts: Sequence[str], with_value: Sequence[str]) -> int:
    """Where the options of the program, the first word, end."""
    letters = {each[1:] for each in with_value if len(each) == 2}
    at = 1
    while at < len(texts) and re.match(r"-.", texts[at]):
        option = texts[at]
        at += 1
        if option == "--":
            break
        if option in with_value or (option[1] != "-" and option[-1] in letters and not set(option[1:-1]) & letters):
            at += 1
    return at


def is_starter(name: str) -> bool:
    """Whether this is a shell, a Python or another program that starts one on this machine."""
    return name in WRAPPERS or name in SHELLS or name in ("su", "runuser", "cmd") or bool(PYTHON.fullmatch(name))


def base_name(path: str) -> str:
    """Of a path of either system."""
    return re.split(r"[/\\]", path)[-1]
