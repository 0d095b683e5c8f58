"""Holds what is known of other programs in a command line: one table of those that start another one, and those that
start nothing.

Sources: the manual page of each program.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

STRICT = ("sh", "dash", "ash")  # shells that do not know what bash has added
SHELLS = ("sh", "bash", "dash", "ksh", "zsh", "ash")
# The first words of a wrapper's command line end where its options and these words end.
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Wrapper:
    """Holds what a program does that starts the command behind its own options."""

    with_value: str = ""  # its options that have a value
    words: int = 0  # how many words precede the command
    assigns: bool = False  # NAME=VALUE may precede the command
    text: str = ""  # the options whose value is a text for a shell
    is_lock: bool = False  # it starts no second run while one goes on
    other_user: bool = False
    elsewhere: str = ""  # where the command runs, if not among the files of this machine
    clears: str = ""  # the options with which no variable is passed on; "always"
    waits: str = ""  # the options without which it does not wait for the end
    code: str = ""  # why its return code is another one
    if_first: bool = False  # that is so only if the shell has become this program: at its end bash does so, sh does not
    reads: str = ""  # what it does, if the words of the command are not all known


_HERE = Wrapper()
_IN_A_CONTAINER = "in a container"
_ON_ANOTHER = "on another machine"
_IN_WINDOWS = "in Windows, or in a Linux of it"
WRAPPERS: dict[str, Wrapper] = {
    # what changes nothing that matters here
    **dict.fromkeys(("builtin", "chronic", "command", "cronic", "eatmydata", "fakeroot", "nohup", "unbuffer"), _HERE),
    "cgexec": Wrapper("-g"),
    "chrt": Wrapper("-T -P -D", 1),
    "choom": Wrapper("-n --adjust"),
    "exec": Wrapper("-a"),
    "ionice": Wrapper("-c --class -n --classdata"),
    "logsave": Wrapper("", 1),
    "nice": Wrapper("-n --adjustment"),
    "numactl": Wrapper("-i -N -m -C -p"),
    "prlimit": Wrapper(),
    "softlimit": Wrapper("-a -c -d -f -l -m -o -p -r -s -t"),
    "stdbuf": Wrapper("-i --input -o --output -e --error"),
    "strace": Wrapper("-o -e -s -p -u -E"),
    "systemd-cat": Wrapper("-t --identifier -p --priority --stderr-priority"),
    "systemd-inhibit": Wrapper("--what --who --why --mode"),
    "taskset": Wrapper("", 1),
    "time": Wrapper("-f --format -o --output"),
    # locks
    "flock": Wrapper("-E --conflict-exit-code -w --wait --timeout", 1, text="-c --command", is_lock=True),
    "lckdo": Wrapper("-W", 1, is_lock=True),
    "run-one": Wrapper(is_lock=True),
    "setlock": Wrapper("", 1, is_lock=True),
    "with-lock-ex": Wrapper("", 1, is_lock=True),
    # the environment
    "env": Wrapper("-u --unset -C --chdir", assigns=True, text="-S --split-string", clears="-i - --ignore-environment"),
    # the user
    "chpst": Wrapper("-u -U -b -e -/ -n -l -L -m -d -o -p -f -c", other_user=True),
    "doas": Wrapper("-u -C", other_user=True, clears="always"),
    "gosu": Wrapper("", 1, other_user=True),
    "setpriv": Wrapper("--reuid --regid --groups", other_user=True, clears="--reset-env"),
    "setuidgid": Wrapper("", 1, other_user=True),
    "su-exec": Wrapper("", 1, other_user=True),
    "sudo": Wrapper("-u --user -g --group -h --host -p --prompt -C -D --chdir -r -t -T -U",
        assigns=True, other_user=True, clears="always"),
    # the meaning of the return code
    "setsid": Wrapper(waits="-w --wait", if_first=True,
        code="setsid starts it and does not wait for its end; write setsid -w"),
    "start-stop-daemon": Wrapper(reads="has the command in its options"),
    "systemd-run": Wrapper("-p --property -u --unit -E --setenv --slice --description --uid --gid --working-directory",
        clears="always", waits="--wait --scope -t --pty -P --pipe",
        code="systemd-run starts it and does not wait for its end; write systemd-run --wait"),
    "timeout": Wrapper("-k --kill-after -s --signal", 1),
    "xargs": Wrapper("-a -d -E -I -L -n -P -s --arg-file --delimiter --max-args --max-procs --replace",
        reads="adds what it reads to the words of the command"),
    "parallel": Wrapper("-j --jobs -a --arg-file -C --colsep --joblog --delay --retries --timeout -n -N -I -S",
        reads="adds what it reads to the words of the command"),
    "watch": Wrapper("-n --interval", reads="repeats the command for ever"),
    # another machine
    **dict.fromkeys(("docker", "podman", "kubectl", "oc", "lxc", "incus", "nerdctl", "lxc-attach", "pct", "machinectl",
        "docker-compose", "nsenter", "chroot", "systemd-nspawn", "unshare"), Wrapper(elsewhere=_IN_A_CONTAINER)),
    **dict.fromkeys(("ssh", "autossh", "sshpass", "rsh", "mosh", "plink", "salt", "ansible", "pssh", "vagrant"),
        Wrapper(elsewhere=_ON_ANOTHER)),
    **dict.fromkeys(("powershell", "powershell.exe", "pwsh", "pwsh.exe", "wsl", "wsl.exe", "cmd.exe", "wine"),
        Wrapper(elsewhere=_IN_WINDOWS)),
}  # fmt: skip
# Programs and parts of the shell that start nothing of what is in their words.
_NAMES = """
    : [ alias awk basename bg break cat chgrp chmod chown cmp continue cp cut date df diff dirname du echo egrep exit
    export false fg fgrep file getopts gpg grep gunzip gzip hash head hostname id install jobs kill killall less let ln
    local logger logrotate ls mail mailx md5sum mkdir mv mutt pgrep pidof pkill printf ps pwd readlink realpath return
    rm rmdir rsync scp sed sendmail sha256sum shift sleep sort stat tail tar tee test touch tr true type ulimit umask
    unalias uniq unset wait wc whereis which
"""
STARTS_NOTHING = frozenset(_NAMES.split())


def command_begin(words: Sequence[str]) -> int:
    """Returns which of these words, a wrapper and what follows it, is the first one of its command. Options, the words
    of the wrapper itself, and NAME=VALUE precede it."""
    wrapper = WRAPPERS[base_name(words[0])]
    at = after_options(words, (wrapper.with_value + " " + wrapper.text).split()) + wrapper.words
    while wrapper.assigns and at < len(words) and (_ASSIGNMENT.match(words[at]) or words[at] == "-"):
        at += 1
    return at


def has_option(words: Sequence[str], options: str) -> bool:
    """Returns whether one of these options is among the words of a wrapper, also as a letter among others."""
    own = words[1 : command_begin(words)]
    letters = "".join(each[1] for each in options.split() if re.fullmatch(r"-\w", each))
    pattern = rf"-[A-Za-z]*[{letters}][A-Za-z]*" if letters else "$."
    return any(each.split("=")[0] in options.split() or re.fullmatch(pattern, each) for each in own)


def after_options(words: Sequence[str], with_value: Sequence[str]) -> int:
    """Returns where the options of a program, the first word, end."""
    letters = {each[1:] for each in with_value if len(each) == 2}
    at = 1
    while at < len(words) and re.match(r"-.", words[at]):
        option = words[at]
        at += 1
        if option == "--":
            break
        if option in with_value or (option[1] != "-" and option[-1] in letters and not set(option[1:-1]) & letters):
            at += 1
    return at


def base_name(path: str) -> str:
    """Returns the last part of a path of either system."""
    return re.split(r"[/\\]", path)[-1]
