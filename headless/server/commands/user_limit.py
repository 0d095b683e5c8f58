"""user limit: what an account may run. How its options change the limits, and how limits are printed.

What limits mean is in account_limits.py.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import re
import shlex
from contextlib import closing
from typing import Any

from headless.errors import ParameterError
from headless.server.account_limits import UNLIMITED, Limits
from headless.server.accounts import Accounts
from headless.server.commands.arguments import add_command, existing_account, existing_home, name
from headless.terminal import escape_control_chars, print_warning

_MODULE = re.compile(r"[0-9A-Za-z_*]{1,64}")
_MAX_FOLDER_LENGTH = 4096  # characters
_EVERY_MODULE = "*"
_EVERY_FOLDER = "."


def add(commands: Any) -> None:
    """Adds the command to these."""
    limit = add_command(commands, "limit", _limit, "limit what an account may run; without options print its limits")
    limit.add_argument("user", type=name, metavar="NAME")
    modules = limit.add_mutually_exclusive_group()
    modules.add_argument(
        "--module",
        dest="modules",
        action="append",
        type=_module,
        metavar="ID",
        help="allow this module, and no others but those of further --module; * stands for any characters",
    )
    modules.add_argument("--no-modules", dest="modules", action="store_const", const=[], help="allow no module")
    folders = limit.add_mutually_exclusive_group()
    folders.add_argument(
        "--folder",
        dest="folders",
        action="append",
        type=_folder,
        metavar="DIR",
        help="allow the files below this folder of the server's files, and no others but those of further --folder; "
        ". is the whole folder",
    )
    folders.add_argument("--no-files", dest="folders", action="store_const", const=[], help="allow no file")
    code = limit.add_mutually_exclusive_group()
    code.add_argument("--code", action="store_true", default=None, help="allow code")
    code.add_argument("--no-code", dest="code", action="store_false", help="allow no code")
    times = limit.add_mutually_exclusive_group()
    times.add_argument(
        "--one-at-a-time",
        action="store_true",
        default=None,
        help="refuse a session as busy as long as one with the same jobs waits or runs",
    )
    times.add_argument(
        "--many-at-a-time", dest="one_at_a_time", action="store_false", help="allow the same jobs at the same time"
    )
    limit.add_argument("--none", action="store_true", help="remove all limits")


def words(limits: Limits | None) -> list[str]:
    """The limits as they are printed. There are none for an account without limits."""
    modules, folders, code, one_at_a_time = limits or UNLIMITED
    return [
        *(["no-modules"] if modules == () else [f"module={module}" for module in modules or ()]),
        *(["no-files"] if folders == () else [f"folder={shlex.quote(folder)}" for folder in folders or ()]),
        *([] if code else ["no-code"]),
        *(["one-at-a-time"] if one_at_a_time else []),
    ]


def _module(text: str) -> str:
    """The ID of a module, or a pattern for some."""
    if not _MODULE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the ID of a module: 1 to 64 digits, letters without accents, _, and * for any characters"
        )
    return text


def _folder(text: str) -> str:
    """A folder below the one for files, as its resolved path is written."""
    path = posixpath.normpath(text.replace(os.sep, "/"))
    is_below = text and not posixpath.isabs(path) and path.split("/")[0] != ".." and not os.path.splitdrive(text)[0]
    if not is_below or "\0" in path or len(path) > _MAX_FOLDER_LENGTH:
        raise argparse.ArgumentTypeError(f"{text!r} is not the relative path of a folder of the server's files")
    return path


def _limit(arguments: argparse.Namespace) -> None:
    given = (arguments.modules, arguments.folders, arguments.code, arguments.one_at_a_time)
    is_change = given != (None, None, None, None)
    if arguments.none and is_change:
        raise ParameterError("--none removes all limits and goes with no other option")
    with closing(existing_home(arguments).database()) as database:
        accounts = Accounts(database)
        if not (arguments.none or is_change):
            limits = existing_account(accounts, arguments.user).limits
            print(escape_control_chars(" ".join(words(limits)) or "no limits"))
            return
        with database:
            database.execute("BEGIN IMMEDIATE")  # no other command changes the limits between the two
            limits = existing_account(accounts, arguments.user).limits
            limits = None if arguments.none else _changed(limits or UNLIMITED, *given)
            accounts.set_limits(arguments.user, limits)
    _warn_of_code(arguments, limits)


def _changed(
    limits: Limits, modules: list[str] | None, folders: list[str] | None, code: bool | None, one_at_a_time: bool | None
) -> Limits:
    """These limits, with what is given in the place of what was there."""
    if modules is not None:
        limits = limits._replace(modules=_unless_all(modules, _EVERY_MODULE))
    if folders is not None:
        limits = limits._replace(folders=_unless_all(folders, _EVERY_FOLDER))
    if code is not None:
        limits = limits._replace(code=code)
    return limits if one_at_a_time is None else limits._replace(one_at_a_time=one_at_a_time)


def _unless_all(given: list[str], every: str) -> tuple[str, ...] | None:
    """Each of these once, None if one of them is everything."""
    return None if every in given else tuple(dict.fromkeys(given))


def _warn_of_code(arguments: argparse.Namespace, limits: Limits | None) -> None:
    if limits is not None and limits.code and (limits.modules, limits.folders) != (None, None):
        print_warning(
            arguments.program,
            f"the account {arguments.user!r} may run code, which can open every module and file: see --no-code",
        )
