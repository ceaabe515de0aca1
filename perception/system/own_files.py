"""Opens predictable names in shared folders safely: only what belongs to this user is used."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

WORLD_WRITE = 0o002
NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
NO_WAIT = os.O_NONBLOCK | os.O_NOCTTY
"""A pipe would block until its other end opens; a terminal would become this process's controlling one."""


class NotMine(PermissionError):
    """The file under this name is another user's, or of the wrong kind; `strerror` says which."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EPERM, what, str(path))


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or the number where the system knows none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def keep_world_from_writing() -> None:
    """Make sure that no new file or folder of this process and its children is world-writable."""
    os.umask(os.umask(0o077) | WORLD_WRITE)


def private_folder(path: Path) -> None:
    """Make the folder `path` for this user alone (mode 0700), or use an existing one.

    Raises NotMine for a link, for what is no folder and for another user's folder, all of which stay as they are;
    OSError where it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | NO_LINK)
    except OSError as error:
        if error.errno == errno.EACCES:  # only its owner may open a private folder
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
    """Open `path` and return the descriptor; follows only a link of this user or of root.

    Never waits. Raises NotMine for another user's link, else the OSError of open(2).
    """
    try:
        return os.open(path, flags | NO_LINK | NO_WAIT, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    link = path.lstat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise NotMine(path, f"it is a link of {user_name(link.st_uid)}")
    return os.open(path, flags | os.O_CLOEXEC | NO_WAIT, mode)


def read_mine(path: Path) -> bytes:
    """Return the content of the file `path`, if this user or root owns it.

    Raises FileNotFoundError where there is none, NotMine for another user's file, OSError.
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
