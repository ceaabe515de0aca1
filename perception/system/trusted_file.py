"""Checks that native code in a file can be trusted; writes a file atomically; digests one."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import shlex
import stat
import tempfile
from pathlib import Path

from perception.core.errors import BackendError
from perception.system.own_files import group_name, user_name
from perception.system.plain_file import open_regular

REBUILD = "python3 scripts/export_int8_engine.py --model MODEL"
"""The command that builds an engine and installs it with its sidecar; `--precision` follows where it matters."""


def check_trusted(path: Path, descriptor: int) -> None:
    """Raise BackendError for a file that somebody else could have put there, or could change at any time.

    Whoever writes an engine runs code as the user that loads it. So it must belong to root, to the user that runs this,
    or to the owner of the pilot's own code (who needs no engine to do that: a clone mounted into a container as root).
    Nobody else may write it, nor put another in its place: that is up to the mode of its folder, unless it is sticky.
    `descriptor` is the open file, so that what is checked is what is read.
    """
    status = os.fstat(descriptor)
    if status.st_uid not in trusted_owners():
        me = user_name(os.geteuid())
        raise BackendError(
            f"{path} belongs to {user_name(status.st_uid)}, and an engine is native code: it must belong to root, "
            f"to {me}, who runs this, or to the owner of the pilot",
            f"If you trust it: sudo chown {me} {_quoted(path)}",
        )
    if writers := writers_besides_owner(status, descriptor):
        raise BackendError(
            f"{path} may be written by {writers} (mode {stat.S_IMODE(status.st_mode):04o}), and an engine is native "
            "code",
            f"If you trust it: {_for(status)}chmod go-w {_quoted(path)}",
        )
    for folder in sorted({path.absolute().parent, Path(os.path.realpath(path)).parent}):
        _check_folder(path, folder)


def trusted_owners() -> frozenset[int]:
    """Return whose files may hold native code: root, the user of this process, and the owner of the pilot's code."""
    return frozenset({0, os.geteuid(), Path(__file__).stat().st_uid})


def _check_folder(path: Path, folder: Path) -> None:
    status = folder.stat()
    writers = None if status.st_mode & stat.S_ISVTX else writers_besides_owner(status, folder)
    if writers:
        raise BackendError(
            f"{path} may be replaced by {writers}, who may write its folder {folder} "
            f"(mode {stat.S_IMODE(status.st_mode):04o}), and an engine is native code",
            f"If you trust it: {_for(status)}chmod go-w {_quoted(folder)}",
        )


def writers_besides_owner(status: os.stat_result, file: int | Path) -> str | None:
    """Return in words who may write `file` besides its owner; None for nobody.

    A group with the owner alone in it counts as the owner: many systems give each user one, and a umask of 002.
    """
    if status.st_mode & stat.S_IWOTH:
        return "others"
    if not status.st_mode & stat.S_IWGRP:
        return None  # with an access list these bits are its mask, so that nobody on it may write, either
    if _has_access_list(file):
        return "users on its access list"
    if is_own_group(status.st_uid, status.st_gid):
        return None
    return f"the group {group_name(status.st_gid)}"


def is_own_group(uid: int, gid: int) -> bool:
    """Return True if the group is the user's own: its primary one, of its name, without other members.

    Where the system knows neither (files from outside a container), equal numbers count as such.
    """
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        user = None
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        group = None
    if user is None or group is None:
        return user is None and group is None and uid == gid
    return user.pw_gid == gid and user.pw_name == group.gr_name and not set(group.gr_mem) - {user.pw_name}


def _has_access_list(file: int | Path) -> bool:
    try:
        return bool(os.getxattr(file, "system.posix_acl_access"))
    except OSError:  # none is set, or the file system has no such thing
        return False


def _for(status: os.stat_result) -> str:
    """Return the prefix of a chmod by this user on a file of that status."""
    return "" if os.geteuid() in (0, status.st_uid) else "sudo "


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: beside `path`, synced, then renamed, so that a power cut leaves the old file or the new.

    The file is readable by all (mode 0644). Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes. Raises OSError, also for what is no regular file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
