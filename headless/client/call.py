"""One call: prepares it, runs its session, and says how it has ended."""

from __future__ import annotations

import os

from headless.client.console import Console
from headless.client.preparation import Preparation
from headless.client.waiting import Waiter
from headless.dialects.vocabulary import KEY_BYTES
from headless.errors import OK, PARAMETER_ERROR, Interrupted, Submission, explain
from headless.options import WAIT
from headless.terminal import print_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from headless.client.session import Session
    from headless.dialects.base import Event
    from headless.options import Options

    class Receipt(Protocol):
        """Is told what a call is about, what it meets, and how it ends."""

        def begin(self, options: Options, key: str) -> None:
            """The call begins; `key` names its batch."""

        def observe(self, event: Event) -> None:
            """The server has said this."""

        def end(self, code: int, message: str, waiter: Waiter, session: Session | None = None) -> int:
            """The call ends with this code. Returns it, or that of a signal that has come before it is noted."""


_LAST_LINE_SECONDS = 0.2  # that the last line of -v may wait for a reader


def run(options: Options, dialect_name: str = "", receipt: Receipt | None = None) -> int:
    """The return code: 0 to 3, or the negative number of the signal that the process has to end by. `dialect_name` is
    the value of PLANTA_PROTOCOL, "" for our own dialect. What happens is noted in the `receipt`."""
    call = _Call(options, dialect_name, waiter := Waiter(), receipt)
    try:
        with waiter:
            return call.return_code()
    except Exception as error:  # the machine has no descriptors left for the Waiter, say
        return call.failed(error)


def run_within(waiter: Waiter, options: Options, receipt: Receipt | None = None) -> int:
    """The same inside a Waiter that the caller has entered and whose deadline is free: two of them, one inside the
    other, would leave a signal between them unnoticed. The server goes with the call: nobody can take it up again."""
    try:
        return _Call(options, "", waiter, receipt, can_be_taken_up=False).return_code()
    finally:
        waiter.set_deadline(None)


class _Call:
    def __init__(
        self, options: Options, dialect_name: str, waiter: Waiter, receipt: Receipt | None, can_be_taken_up: bool = True
    ) -> None:
        self._options = options
        self._waiter = waiter
        self._receipt = receipt
        self._can_be_taken_up = can_be_taken_up
        self._console = Console(options.verbosity, waiter)
        key = os.urandom(KEY_BYTES).hex()
        self._preparation = Preparation(options, dialect_name, key, self._console, waiter)
        self._session: Session | None = None
        if receipt is not None:
            receipt.begin(options, key)

    def return_code(self) -> int:
        try:
            make_dialect = self._preparation.dialect_maker()
            secret = self._preparation.find_secret()
            from headless.client.session import Session

            self._session = Session(self._options, secret, make_dialect, self._console, self._waiter)
            if self._receipt is not None:
                self._session.observe = self._receipt.observe
            self._session.run()
        except Exception as error:
            return self.failed(error)
        return self._note(OK, "")

    def failed(self, error: Exception) -> int:
        """Says what happened, as far as anybody reads it, and returns the code for it."""
        code, text = explain(error)
        self._waiter.set_deadline(_LAST_LINE_SECONDS)
        try:
            self._say(code, text)
        except Interrupted as second:
            code, text = explain(second)
        return self._note(code, text)

    def _say(self, code: int, text: str) -> None:
        """Raises Interrupted."""
        try:
            self._console.info(f"{text}{self._way_on()}; jobs: {self._submission().value}")
        except Interrupted:
            raise
        except Exception:  # the machine has no memory left for the wait, say
            pass
        if code == PARAMETER_ERROR:
            with self._waiter.interruptible():  # stderr may be a pipe that nobody reads
                print_error(self._options.program, text)

    def _note(self, code: int, text: str) -> int:
        """The code that the process ends with. Nothing may come after this: the receipt says it."""
        return code if self._receipt is None else self._receipt.end(code, text, self._waiter, self._session)

    def _submission(self) -> Submission:
        if self._session is not None:
            return self._session.verdict.submission
        return Submission.UNKNOWN if self._options.command == WAIT else Submission.NOT_SUBMITTED

    def _way_on(self) -> str:
        """How somebody can take up the session that this call leaves, if there is one."""
        session = self._session
        if session is None or not (self._can_be_taken_up and session.can_be_taken_up and self._options.verbosity):
            return ""
        from headless.client.take_up import wait_command

        return f"; to go on: {wait_command(self._options, session.name)}"
