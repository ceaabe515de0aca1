"""Reads a regular file that a user named: never a pipe or a device, which would be waited for or would never end."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import BinaryIO

from perception.core.errors import BackendError, PilotError


class NotRegular(OSError):
    """No regular file lies under this name; `strerror` says what does."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, links followed; never waits, as a pipe would make it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
    raise NotRegular(errno.EINVAL, f"it is {kind}", str(path))


def open_plain(path: Path, fault: type[PilotError] = BackendError, what: str = "file") -> BinaryIO:
    """Open a file as open_regular does.

    what: the kind of file that was wanted, in words. Raises FileNotFoundError where there is none, `fault` with its
    cure for whatever cannot be read as a file.
    """
    try:
        return open_regular(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise fault(f"{path} is a link to {path.readlink()}, which does not exist", "Renew it.") from None
        raise
    except NotRegular as error:
        raise fault(f"{path} {str(error.strerror).removeprefix('it ')}, not a {what}", "Check the path.") from None
    except PermissionError:
        raise fault(f"{path} cannot be read: Permission denied", _how_to_let_read(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL within the name
        raise fault(f"{path} cannot be opened: {reason_of(error)}", "Check the path.") from None


def read_plain(path: Path, most_bytes: int, fault: type[PilotError], what: str) -> bytes:
    """Return the content of a file of at most `most_bytes`.

    Raises FileNotFoundError where there is none, `fault` for what is larger, or cannot be read as a file.
    """
    with open_plain(path, fault, what) as file:
        try:
            data = file.read(most_bytes + 1)
        except OSError as error:
            raise fault(f"{path} cannot be read: {reason_of(error)}", "Check the disk.") from None
    if len(data) > most_bytes:
        raise fault(f"{path} is larger than {most_bytes} bytes and no {what}", "Check the path.")
    return data


def from_home(text: str) -> str:
    """Return the path with ~ and ~user as a shell takes them, unless a file has that very name.

    A shell leaves them alone in `--data=~/x` and in quotes, and a settings file never sees one.
    """
    return text if os.path.lexists(text) else os.path.expanduser(text)  # noqa: PTH111 - it may be no path at all


def reason_of(error: Exception) -> str:
    """Return what went wrong in the system's words, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _how_to_let_read(path: Path) -> str:
    folder = path.parent
    if os.access(folder, os.X_OK):
        return f"Allow it: chmod a+r {shlex.quote(str(path))}"
    return f"Let this user into its folder: chmod a+x {shlex.quote(str(folder))}"
