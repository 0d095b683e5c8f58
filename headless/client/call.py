"""One call: prepares it, runs its session, and says how it has ended."""

from __future__ import annotations

import os
import sys

from headless.client.output import Console
from headless.client.preparation import dialect_maker, find_secret
from headless.client.waiting import Waiter
from headless.dialects.vocabulary import KEY_BYTES
from headless.errors import OK, PARAMETER_ERROR, Interrupted, Submission, explain
from headless.options import WAIT, ChallengeLogin, WaitOptions
from headless.terminal import print_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from headless.client.receipt import Receipt
    from headless.client.session import Session
    from headless.dialects.base import Event
    from headless.options import JobOptions, Options

_LAST_LINE_SECONDS = 0.2  # that the last line of -v may wait for a reader


def run(options: JobOptions | WaitOptions, dialect_name: str = "", receipt: Receipt | None = None) -> int:
    """Returns 0 to 3, or the negative number of the signal that the process has to end by. `dialect_name` is the value
    of PLANTA_PROTOCOL, "" for our own dialect. What happens is noted in the `receipt`."""
    call = _Call(options, dialect_name, waiter := Waiter(), receipt)
    try:
        with waiter:
            return call.run()
    except BaseException as error:  # the machine has no descriptors left for the Waiter, say
        return call.failed(error)


def run_within(
    waiter: Waiter, options: JobOptions | WaitOptions, observe: Callable[[Event], None] | None = None
) -> int:
    """Does the same inside a Waiter that the caller has entered and whose deadline is free: two of them, one inside the
    other, would leave a signal between them unnoticed. `observe` gets each event. The server goes with the call, so it
    cannot be resumed."""
    call = _Call(options, "", waiter)
    call.observe, call.can_be_resumed = observe, False
    try:
        return call.run()
    finally:
        waiter.set_deadline(None)


class _Call:
    def __init__(
        self, options: JobOptions | WaitOptions, dialect_name: str, waiter: Waiter, receipt: Receipt | None = None
    ) -> None:
        self._options = options
        self._dialect_name = dialect_name
        self._waiter = waiter
        self._receipt = receipt
        self.observe: Callable[[Event], None] | None = None if receipt is None else receipt.observe
        self.can_be_resumed = True
        self._console = Console(options.verbosity, waiter)
        self._key = os.urandom(KEY_BYTES).hex()
        self._session: Session | None = None
        if receipt is not None:
            receipt.begin(options, self._key)

    def run(self) -> int:
        """Returns the code that the process ends with."""
        options, console, waiter = self._options, self._console, self._waiter
        try:
            if self._receipt is not None:
                self._receipt.write_start(waiter)
            make_dialect = dialect_maker(options, self._dialect_name, self._key, console, waiter)
            if options.remark:
                console.info(options.remark)
            secret = find_secret(options, console, waiter)
            from headless.client.session import Session

            self._session = Session(options, secret, make_dialect, console, waiter)
            self._session.observe = self.observe
            self._session.run()
        except BaseException as error:  # SystemExit would end the process with a code that nothing has proved
            return self.failed(error)
        return self._note(OK, "")

    def failed(self, error: BaseException) -> int:
        """Says what happened, as far as it is read, and returns the code for it."""
        code, text = explain(error)
        self._waiter.set_deadline(_LAST_LINE_SECONDS)
        try:
            self._say(code, text)
        except Interrupted as second:
            code, text = explain(second)
        return self._note(code, text)

    def _say(self, code: int, text: str) -> None:
        """Raises Interrupted."""
        session, advice = self._session, ""
        if session is not None:
            submission = session.verdict.submission
            if self._options.verbosity and self.can_be_resumed and session.can_be_resumed:
                advice = f"; to resume: {wait_command(self._options, session.id)}"
        else:
            submission = Submission.UNKNOWN if isinstance(self._options, WaitOptions) else Submission.NOT_SUBMITTED
        try:
            self._console.info(f"{text}{advice}; jobs: {submission.value}")
        except Interrupted:
            raise
        except Exception:  # the machine has no memory left for the wait, say
            pass
        if code == PARAMETER_ERROR:
            with self._waiter.interruptible():  # stderr may be a pipe that is not read
                print_error(self._options.program, text)

    def _note(self, code: int, text: str) -> int:
        """Returns the code that the process ends with. Nothing may come after this: the receipt says it."""
        return code if self._receipt is None else self._receipt.end(code, text, self._waiter, self._session)


def wait_command(options: Options, session_id: str) -> str:
    """Returns the command line that resumes the session of a call which has ended before its jobs: as it is typed at a
    shell, in whatever folder, with the server and the login of the call."""
    login = options.login
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    words = [sys.executable or "python3", package, WAIT, session_id, "-s", str(options.service)]
    if login.user is not None:
        words += ["-u", login.user]
    if isinstance(login, ChallengeLogin):
        words += ["-p", os.path.abspath(login.secret_file)]
    words.append("-v")
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    from shlex import join

    return join(words)
