"""Homes of the package's server, made in this process, which is quick."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from headless.server.accounts import Account, Accounts
from headless.server.home import Home
from support.process import current_user

R41 = Account("R41", current_user(), None, number=1)  # the first account of a home


def make_home(folder: Path, *accounts: Account) -> Home:
    """A home with these accounts."""
    home = Home(str(folder))
    home.create()
    with closing(home.database()) as database, database:
        for account in accounts:
            Accounts(database).add(account)
    return home
