"""What is known of programs, and of commands that are parts of a shell: which start nothing, with which arguments, and
which start the command behind them, with the environment as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from headless.admin.shell_words import Word
from headless.options import PROGRAM
from headless.rehearsal.shell_text import Doubt

# Parts of the shell, and programs, that start nothing with such arguments: names, and what each argument must be.
_ANY, _NO_DASH, _NO_OPTION = ".*", "[^-].*", "[^-$`].*"
_BUILTINS = (
    (r"\[|test", "(?!-[vR]$).*"),  # which evaluate the index of an array
    (r":|break|cd|continue|echo|exit|false|getopts|jobs|kill|pwd|return|shift|times|true|type", _ANY),
    ("ulimit|umask", _ANY),
    ("wait", "[^-].*|-n"),
    ("printf", "(?!-v).*"),
    ("read", r"-r|[A-Za-z_]\w*"),
    ("set", "[-+][aefmnuvxC]*o?|pipefail|errexit|nounset|xtrace|--"),
)
_PROGRAMS = (
    ("basename|cat|chgrp|chmod|chown|cmp|comm|cp|cut|date|df|dirname|du|e?grep|expr|fgrep|head", _ANY),
    ("hostname|id|ln|logger|ls|md5sum|mkdir|mktemp|mv|nproc|od|printenv|readlink|realpath|rm|rmdir|seq", _ANY),
    ("sha256sum|sleep|stat|sync|tail|tee|touch|tr|tty|uname|uptime|wc|whoami", _ANY),
    (r"\[|echo|false|kill|printf|pwd|test|true", _ANY),
    (
        "curl",
        "-[0-9fkLmsS]*[odHX]?|--(?:connect-timeout|data|fail|header|max-time|output|request|retry|show-error|silent)"
        f"|{_NO_DASH}",
    ),
    ("find", "(?!-(?:exec|ok|fprint|fls)).*"),
    ("gzip", f"-[0-9cfknqv]+|{_NO_OPTION}"),
    ("mailx?", "(?!-[^ ]*[~#:S]|--exec).*"),
    ("mountpoint|pgrep|pidof|ping6?|ps|ts", _ANY),
    ("sed", r"-[nEru]+|\d*[pdq]|s([/|,#])(?:(?!\1).)*\1(?:(?!\1).)*\1[gpiI0-9]*"),
    ("sort", f"-[bdfghikMnrRtuVz0-9.,]+|{_NO_OPTION}"),
    ("uniq", "-.*"),
    ("wget", f"-q?(?:O-?)?|-[Tt]|--(?:quiet|spider|tries=.*|timeout=.*)|{_NO_DASH}"),
)
_MUST_BE_CERTAIN = ("read", "getopts", "set", "find", "gzip", "sed", "sort", "uniq", "wait", "wget")
_WRITES = ("cp", "curl", "ln", "mv", "tee", "wget")
# Programs that start the one behind them with their environment: options without a value, options with one, and how
# many words stand before the command.
WRAPPERS: dict[str, tuple[str, str, int]] = {
    "builtin": ("", "", 0),
    "chronic": ("-[ev]+", "", 0),
    "chrt": ("-[bfior]", "", 1),
    "command": ("", "", 0),
    "cronic": ("", "", 0),
    "env": ("", "", 0),
    "exec": ("", "", 0),
    "flock": ("-[nsxuoF]+|--(?:nb|nonblock|shared|exclusive|close|no-fork)", "-E|-w|--timeout|--conflict-exit-code", 1),
    "ionice": (r"-t|-[cn]\d", "-c|-n|--class|--classdata", 0),
    "nice": (r"-n?-?\d+|--adjustment=-?\d+", "-n|--adjustment", 0),
    "nohup": ("", "", 0),
    "setsid": ("-[cfw]+", "", 0),
    "stdbuf": (r"-[ioe][L\d]\w*|--(?:input|output|error)=\w+", "-[ioe]", 0),
    "systemd-cat": ("", "-t|-p|--identifier|--priority", 0),
    "taskset": ("-[ac]+", "", 1),
    "time": ("-[pv]", "-f", 0),
    "timeout": (r"-v|--foreground|--preserve-status|-[ks][\w.]+|--(?:signal|kill-after)=[\w.]+",
                "-k|-s|--signal|--kill-after", 1),
}  # fmt: skip
OF_THE_SHELL = ("command", "exec")
CHANGE_THE_SHELL = ("cd", "read", "getopts", "set", "trap")
ELSEWHERE = re.compile(
    "at|batch|capsh|chroot|crontab|ctr|docker|doas|flatpak|kubectl|lxc|machinectl|nerdctl|nsenter|pkexec|podman|rsh|"
    "runuser|setpriv|ssh|start-stop-daemon|su|sudo|systemctl|systemd-run|unshare"
)


def pattern_for(name: str, is_builtin: bool) -> str | None:
    """What each argument must be, so that it starts nothing; None if that is not known."""
    table = _BUILTINS if is_builtin else _PROGRAMS
    return next((pattern for names, pattern in table if re.fullmatch(names, name)), None)


def check_arguments(name: str, pattern: str, arguments: Iterable[Word]) -> None:
    """Raises Doubt."""
    is_script = name == "sed"
    for word in arguments:
        if PROGRAM in word.text:
            raise Doubt(f"not each {PROGRAM} in it could be replaced")
        is_certain = word.is_certain or name not in _MUST_BE_CERTAIN
        if name == "sed" and not (is_script or word.text.startswith("-")):  # a file, behind the script
            pattern = _NO_OPTION
        is_script = is_script and word.text.startswith("-")
        if not (is_certain and re.fullmatch(pattern, word.text, re.DOTALL)):
            raise Doubt(f"what {name} does with {word.text[:60]} is not known")


def certain(word: Word) -> str:
    """Raises Doubt for a word that is put together by the shell."""
    if not word.is_certain:
        raise Doubt(f"what {word.text[:60]} is, only the shell knows")
    return word.text


def behind_options(name: str, words: Sequence[Word]) -> list[Word]:
    """The command that a wrapper starts. Raises Doubt for options that are not known."""
    flags, with_value, count = WRAPPERS[name]
    rest = list(words[1:])
    while rest and certain(rest[0]).startswith("-"):
        option = rest.pop(0).text
        if option == "--":
            break
        if re.fullmatch(with_value, option):
            rest = _without_certain(rest, 1)
        elif not re.fullmatch(flags, option):
            raise Doubt(f"what {name} {option} starts is not known")
    return _without_certain(rest, count)


def _without_certain(words: list[Word], count: int) -> list[Word]:
    """Those behind the first ones. Raises Doubt if one of those is put together by the shell."""
    for word in words[:count]:
        certain(word)
    return words[count:]


def written_by(name: str, arguments: Sequence[Word]) -> Sequence[Word]:
    """Where it writes: a word that is not certain if that is in an option, or where it is called."""
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
