"""main(argv) -> return code: the only place where errors become codes and text.

The outer function catches, the inner one does the work without knowing of codes. How a process ends for a code is in
`end_process`, because Python's own way of ending can replace the code by another.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from headless import outcome
from headless.console import Console, answer, complain
from headless.options import CHALLENGE, PROGRAM, Answer, Options, parse
from headless.outcome import HeadlessError, Interrupted, ParameterError, Submission
from headless.waiting import Waiter

TYPE_CHECKING = False  # as in typing, which is not worth its import for this
if TYPE_CHECKING:
    from headless.client import Client
    from headless.secret import Secret

# Seconds that the last lines of -v may wait for a reader.
_LAST_WORDS_SECONDS = 0.2


def main(argv: Sequence[str]) -> int:
    """The return code for a command line without the program's name: 0 to 3, or the negative number of the signal that
    the process has to end by."""
    try:
        options = parse(argv)
    except Answer as text:
        answer(str(text))
        return outcome.OK
    except ParameterError as error:
        complain(f"{error} (see {PROGRAM} --help)")
        return outcome.PARAMETER_ERROR
    return run(options)


def run(options: Options) -> int:
    """The return code for one call, as of `main`."""
    call = _Call(options, waiter := Waiter())
    try:
        with waiter:
            return call.return_code()
    except Exception as error:  # the machine has no descriptors left for the Waiter, say
        return call.failed(error)


def run_within(waiter: Waiter, options: Options) -> int:
    """The same inside a Waiter that the caller has entered, and whose deadline is free. Two of them, one inside the
    other, would leave a signal between them unheard."""
    try:
        return _Call(options, waiter).return_code()
    finally:
        waiter.allow(None)


class _Call:
    """One call while it lasts: what it takes to say how it failed."""

    def __init__(self, options: Options, waiter: Waiter) -> None:
        self._options = options
        self._waiter = waiter
        self._console = Console(options.verbosity, waiter)
        self._client: Client | None = None

    def return_code(self) -> int:
        try:
            return self._to_its_end()
        except Exception as error:
            return self.failed(error)

    def _to_its_end(self) -> int:
        """OK. Raises for every other end."""
        secret = self._secret() if self._options.auth_type == CHALLENGE else None
        self._client = client_class()(self._options, secret, self._console, self._waiter)
        return self._client.run()

    def _secret(self) -> Secret:
        from headless import secret  # only when asked for

        path, user = self._options.secret_file, self._options.user
        assert path is not None and user is not None
        try:
            found = secret.read(path)
        except secret.Missing:
            if not secret.is_at_terminal():
                raise
            return secret.ask(path, user, self._waiter)
        if found.remark:
            self._console.info(found.remark)
        return found

    def failed(self, error: Exception) -> int:
        """Says what happened, as far as anybody listens, and returns the code for it."""
        text = str(error) if isinstance(error, HeadlessError) else f"unforeseen: {error!r}"
        submission = self._client.submission if self._client else Submission.NOT_SUBMITTED
        self._waiter.allow(_LAST_WORDS_SECONDS)
        try:
            self._console.info(f"{text}; jobs: {submission.value}")
        except Interrupted as second:
            error = second
        except Exception:  # the machine has no memory left for the wait, say
            pass
        if isinstance(error, Interrupted):
            return -error.signum
        if isinstance(error, ParameterError):
            complain(text)
        return outcome.return_code(error)


def client_class() -> type[Client]:
    """Imported at the first moment at which lxml is needed. Raises ParameterError if it is missing."""
    try:
        from headless.client import Client
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "lxml":
            raise
        raise ParameterError(
            f"the library lxml cannot be loaded ({error}); install it with: "
            f"{sys.executable} -m pip install --force-reinstall lxml"
        ) from None
    return Client


def end_process(code: int) -> NoReturn:
    """Ends the process with exactly this code, or by this signal if it is negative.

    Nothing that sys.exit does first may come between: it flushes stdout and ends with 120 if that fails, and a thread
    that still waits for the resolver has to be left behind.
    """
    if code >= 0:
        os._exit(code)
    if os.name == "nt":  # where raising a signal ends with 3, which has a meaning here
        os._exit(-1073741510)  # STATUS_CONTROL_C_EXIT
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    signal.pause()  # never longer than it takes the signal to arrive
    os._exit(128 - code)
