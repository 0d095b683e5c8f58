"""How a password file comes into being: complete or not at all, for its user alone, and never over another one.

The file has no name until it is complete, and gets it in one step that fails if the name is taken; so there is never
half a file, nor one that somebody else could read, nor another file that is lost.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from headless.errors import ParameterError, fault_of_file

_MODE = 0o400


class Taken(ParameterError):
    """Somebody else has made the file meanwhile. It was left as it is."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the password file {path!r} was made by somebody else meanwhile, and left as it is")


if sys.platform == "win32":

    class NewFile:
        """The password file to be made. Raises ParameterError at once if its folder is not there."""

        def __init__(self, path: str) -> None:
            if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise ParameterError(f"there is no folder for the password file {path!r}")
            self._path = path

        def write(self, content: bytes) -> str:
            """Makes the file, and says so. Raises Taken, ParameterError, SessionError."""
            from headless.windows import create_secret_file

            unfinished = f"{self._path}.{os.urandom(8).hex()}"
            try:
                descriptor = create_secret_file(unfinished)
                try:
                    _write_durably(descriptor, content)
                finally:
                    os.close(descriptor)
                os.rename(unfinished, self._path)  # fails here if there is one
            except FileExistsError:
                raise Taken(self._path) from None
            except OSError as error:
                raise fault_of_file(f"the password file {self._path!r} cannot be made", error) from None
            finally:
                with suppress(OSError):
                    os.unlink(unfinished)
            return f"the password file {self._path!r} was made"

else:

    class NewFile:
        """The password file to be made. Raises ParameterError at once if its folder does not allow that, SessionError
        if that cannot be known now."""

        def __init__(self, path: str) -> None:
            self._path = path
            folder, self._name = os.path.split(path)
            if self._name in ("", ".", "..") or os.path.islink(path):
                raise ParameterError(f"{path!r} is not the name of a password file, or a link that leads nowhere")
            try:
                self._folder = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
                self._file = self._without_name(folder or ".")
                if self._file is None and not os.access(folder or ".", os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise fault_of_file(f"the password file {path!r} cannot be made in its folder", error) from None

        @staticmethod
        def _without_name(folder: str) -> int | None:
            """A file in this folder that goes with this process, None where there is no such thing. Raises OSError."""
            if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
                return None
            try:
                return os.open(folder, os.O_TMPFILE | os.O_WRONLY, _MODE)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.EROFS):
                    return None
                raise

        def write(self, content: bytes) -> str:
            """Makes the file, and says so. Raises Taken, ParameterError, SessionError."""
            try:
                if self._file is None:
                    self._write_under_other_name(content)
                else:
                    _write_durably(self._file, content)
                    self._link(f"/proc/self/fd/{self._file}")
                os.fsync(self._folder)
            except FileExistsError:
                raise Taken(self._path) from None
            except OSError as error:
                raise fault_of_file(f"the password file {self._path!r} cannot be made", error) from None
            return f"the password file {self._path!r} was made"

        def _write_under_other_name(self, content: bytes) -> None:
            unfinished = f".{self._name[:200]}.{os.urandom(8).hex()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(unfinished, flags, _MODE, dir_fd=self._folder)
            try:
                _write_durably(descriptor, content)
                self._link(unfinished)
            finally:
                os.close(descriptor)
                os.unlink(unfinished, dir_fd=self._folder)

        def _link(self, source: str) -> None:
            os.link(source, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=True)


def _write_durably(descriptor: int, content: bytes) -> None:
    if sys.platform != "win32":
        os.fchmod(descriptor, _MODE)  # whatever the umask has made of it
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
