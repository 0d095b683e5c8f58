"""Parses the command lines of the tools. Nothing that is given is ignored."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headless.dialects.bcrypt_hash import is_like_hash


class Parser(argparse.ArgumentParser):
    """Refuses what argparse accepts in silence: a second value for an option that takes one, an empty value, as of a
    variable that is not set, and the beginning of an option's name, which can mean another option in the next version.
    It also refuses a bcrypt hash, and does not show it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.register("action", None, _StoreOnce)
        self.register("action", "store", _StoreOnce)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        args = sys.argv[1:] if args is None else list(args)
        if any(map(is_like_hash, args)):
            self.error("the command line holds a bcrypt hash: change the password if others can have seen it")
        return super().parse_known_args(args, namespace)


def path(text: str) -> Path:
    """Is the type of an argument that names a file or a folder. An empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("has an empty value")
    return Path(text)


class _StoreOnce(argparse.Action):
    """Stores the value of an option or of a positional argument."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if option is not None:
            given = vars(namespace).setdefault("options_given", set())
            if self.dest in given:
                parser.error(f"{option} is given twice")
            if values == "":
                parser.error(f"{option} has an empty value")
            given.add(self.dest)
        setattr(namespace, self.dest, values)
