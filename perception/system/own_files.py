"""Predictable names in folders that others may write, too: taken where they are this user's, else not at all."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

WORLD_WRITE = 0o002
NEVER = os.O_NOFOLLOW | os.O_CLOEXEC
WAITS_FOR_NOBODY = os.O_NONBLOCK | os.O_NOCTTY
"""A pipe that somebody put there would wait for its other end, a terminal would become this process's."""


class NotMine(PermissionError):
    """Somebody else put something under this name; `strerror` says what."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EPERM, what, str(path))


def user_name(uid: int) -> str:
    """The name of a user, or the number where the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def keep_world_from_writing() -> None:
    """Makes every file and folder of this process and its children one that not everybody may write."""
    os.umask(os.umask(0o077) | WORLD_WRITE)


def private_folder(path: Path) -> None:
    """Makes the folder `path` for this user alone (mode 0700), or takes the one that is there.

    Raises NotMine for a link, for what is no folder and for a folder of somebody else, all of which stay as they are;
    OSError where it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | NEVER)
    except OSError as error:
        if error.errno == errno.EACCES:  # nobody but its owner may open a private folder
            _check_owner(path, path.lstat(), {os.geteuid()})
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise NotMine(path, "it is a link" if path.is_symlink() else "it is no folder") from None
    try:
        _check_owner(path, os.fstat(descriptor), {os.geteuid()})
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def open_unlinked(path: Path, flags: int, mode: int = 0o666) -> int:
    """The descriptor of what lies at `path`; a link is followed where this user or root has put it there.

    Never waits. Raises NotMine for a link of somebody else, else the OSError of open(2).
    """
    try:
        return os.open(path, flags | NEVER | WAITS_FOR_NOBODY, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    link = path.lstat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise NotMine(path, f"it is a link of {user_name(link.st_uid)}")
    return os.open(path, flags | os.O_CLOEXEC | WAITS_FOR_NOBODY, mode)


def read_mine(path: Path) -> bytes:
    """What an earlier run of this user, or of root, wrote into the file `path`.

    Raises FileNotFoundError where there is none, NotMine for what somebody else put there, OSError.
    """
    descriptor = open_unlinked(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotMine(path, "it is no file")
        _check_owner(path, status, {0, os.geteuid()})
        return file.read()


def _check_owner(path: Path, status: os.stat_result, owners: set[int]) -> None:
    if status.st_uid not in owners:
        raise NotMine(path, f"it belongs to {user_name(status.st_uid)}")
