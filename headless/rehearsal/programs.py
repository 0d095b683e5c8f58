"""What is known of programs, and of commands that are parts of a shell: which start nothing, with which arguments, and
which start the command behind them, with the environment as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from headless.admin.calls import Word
from headless.admin.programs import base_name
from headless.options import PROGRAM
from headless.rehearsal.shell_text import Doubt

# Parts of the shell, and programs, that start nothing with such arguments: names, and what each argument must be.
_ANY, _NO_DASH, _NO_OPTION = ".*", "[^-].*", "[^-$`].*"
BUILTINS = (
    (r"\[|test", "(?!-[vR]$).*"),  # which evaluate the index of an array
    (r":|break|cd|continue|echo|exit|false|getopts|jobs|kill|pwd|return|shift|times|true|type|ulimit|umask", _ANY),
    ("wait", "[^-].*|-n"),
    ("printf", "(?!-v).*"),
    ("read", r"-r|[A-Za-z_]\w*"),
    ("set", "[-+][aefmnuvxC]*o?|pipefail|errexit|nounset|xtrace|--"),
)
PROGRAMS = (
    ("basename|cat|chgrp|chmod|chown|cmp|comm|cp|cut|date|df|dirname|du|e?grep|expr|fgrep|head", _ANY),
    ("hostname|id|ln|logger|ls|md5sum|mkdir|mktemp|mv|nproc|od|printenv|readlink|realpath|rm|rmdir|seq", _ANY),
    ("sha256sum|sleep|stat|sync|tail|tee|touch|tr|tty|uname|uptime|wc|whoami", _ANY),
    (r"\[|echo|false|kill|printf|pwd|test|true|mountpoint|pgrep|pidof|ping6?|ps|ts", _ANY),
    (
        "curl",
        "-[0-9fkLmsS]*[odHX]?|--(?:connect-timeout|data|fail|header|max-time|output|request|retry|show-error|silent)"
        f"|{_NO_DASH}",
    ),
    ("find", "(?!-(?:exec|ok|fprint|fls)).*"),
    ("gzip", f"-[0-9cfknqv]+|{_NO_OPTION}"),
    ("mailx?", "(?!-[^ ]*[~#:S]|--exec).*"),
    ("sed", r"-[nEru]+|\d*[pdq]|s([/|,#])(?:(?!\1).)*\1(?:(?!\1).)*\1[gpiI0-9]*"),
    ("sort", f"-[bdfghikMnrRtuVz0-9.,]+|{_NO_OPTION}"),
    ("uniq", "-.*"),
    ("wget", f"-q?(?:O-?)?|-[Tt]|--(?:quiet|spider|tries=.*|timeout=.*)|{_NO_DASH}"),
)
_MUST_BE_CERTAIN = ("read", "getopts", "set", "find", "gzip", "sed", "sort", "uniq", "wait", "wget")
_WRITES = ("cp", "curl", "ln", "mv", "tee", "wget")
# Programs that start the one behind them with their environment: options without a value, options with one, and the
# number of words before the command.
WRAPPERS = {
    **dict.fromkeys(("builtin", "command", "cronic", "eatmydata", "env", "exec", "nohup", "run-one"), ("", "", 0)),
    "chronic": ("-[ev]+", "", 0),
    "chrt": ("-[bfior]", "", 1),
    "flock": ("-[nsxuoF]+|--(?:nb|nonblock|shared|exclusive|close|no-fork)", "-E|-w|--timeout|--conflict-exit-code", 1),
    "ionice": (r"-t|-[cn]\d", "-c|-n|--class|--classdata", 0),
    "lckdo": ("-[wq]+", "-W", 1),
    "nice": (r"-n?-?\d+|--adjustment=-?\d+", "-n|--adjustment", 0),
    "setlock": ("-[nNxX]+", "", 1),
    "setsid": ("-[cfw]+", "", 0),
    "stdbuf": (r"-[ioe][L\d]\w*|--(?:input|output|error)=\w+", "-[ioe]", 0),
    "systemd-cat": ("", "-t|-p|--identifier|--priority", 0),
    "taskset": ("-[ac]+", "", 1),
    "time": ("-[pv]", "-f", 0),
    "timeout": (r"-v|--foreground|--preserve-status|-[ks][\w.]+|--(?:signal|kill-after)=[\w.]+",
                "-k|-s|--signal|--kill-after", 1),
}  # fmt: skip
# The same of what reads a script.
_READERS = {"sh": ("[-+][ceuxnfv]+", "[-+][ceuxnfv]*o", 0), "python": ("-[uBEsOqb]+|-[WX].+", "-W|-X", 0)}
CHANGE_THE_SHELL = ("cd", "read", "getopts", "set", "trap")
_RUN_TEXT = ("eval", ".", "source", "alias")
_LOSE_THE_VARIABLE = re.compile(
    "at|batch|capsh|chroot|crontab|ctr|docker|doas|flatpak|kubectl|lxc|machinectl|nerdctl|nsenter|pkexec|podman|rsh|"
    "runuser|setpriv|ssh|start-stop-daemon|su|sudo|systemctl|systemd-run|unshare"
)


def check_name(name: str) -> None:
    """Raises Doubt for a program that is never run."""
    if name in _RUN_TEXT:
        raise Doubt(f"what {name} runs is not known")
    if _LOSE_THE_VARIABLE.fullmatch(name):
        raise Doubt(f"{name} may lose the variable that keeps its calls in the rehearsal")


def pattern_for(name: str, table: Iterable[tuple[str, str]]) -> str | None:
    """Returns what each argument must be, so that the program starts nothing; None if it is not in the table."""
    return next((pattern for names, pattern in table if re.fullmatch(names, name)), None)


def check_arguments(name: str, pattern: str, arguments: Iterable[Word]) -> None:
    """Raises Doubt."""
    is_script = name == "sed"
    for word in arguments:
        if PROGRAM in word.text:
            raise Doubt(f"not each {PROGRAM} in it could be replaced")
        is_certain = word.is_certain or name not in _MUST_BE_CERTAIN
        if name == "sed" and not (is_script or word.text.startswith("-")):  # a file, after the script
            pattern = _NO_OPTION
        is_script = is_script and word.text.startswith("-")
        if not (is_certain and re.fullmatch(pattern, word.text, re.DOTALL)):
            raise Doubt(f"what {name} does with {word.text[:60]} is not known")


def certain(word: Word) -> str:
    """Raises Doubt for a word that is put together by the shell."""
    if not word.is_certain:
        raise Doubt(f"what {word.text[:60]} is, only the shell knows")
    return word.text


def split_options(kind: str, words: Sequence[Word]) -> tuple[list[str], list[Word]]:
    """Returns the options of a wrapper, of sh or of python, and the command behind them. Raises Doubt for options that
    are not known, and for words before the command that are put together by the shell."""
    flags, with_value, count = WRAPPERS.get(kind) or _READERS[kind]
    options, rest = [], list(words[1:])
    while rest and re.match("[-+]" if kind == "sh" else "-", certain(rest[0])):
        options.append(rest.pop(0).text)
        if options[-1] == "--" and kind in WRAPPERS:
            break
        if re.fullmatch(with_value, options[-1]):
            _drop(rest, 1)
        elif not re.fullmatch(flags, options[-1]):
            raise Doubt(f"what {base_name(words[0].text)} {options[-1]} starts is not known")
    _drop(rest, count)
    return options, rest


def _drop(words: list[Word], count: int) -> None:
    for word in words[:count]:
        certain(word)
    del words[:count]


def written_by(name: str, arguments: Sequence[Word]) -> Sequence[Word]:
    """Returns where the program writes: a word that is not certain if that is in an option, or where it is called."""
    if name not in _WRITES:
        return ()
    if name == "wget" and not any(re.match("-q?O|--spider", word.text) for word in arguments):
        return [Word(name, False, 0, 0)]  # by the name in the address
    if name in ("curl", "tee", "wget"):
        return arguments
    names = [word for word in arguments if not word.text.startswith("-")]
    if len(names) < 2 or any(re.match("-[A-Za-z]*t|--t", word.text) for word in arguments):
        return [Word(name, False, 0, 0)]
    return names[-1:]
