"""Paths of a calibration set, the check that it may be replaced, and its replacement in one step."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES
from perception.system.lock import Held, Lock
from perception.system.own_files import private_folder
from perception.system.plain_file import open_plain
from perception.system.trusted_file import reason_of, sync, write_whole
from perception.system.writable import check_folder_writable, check_writable
from perception.workshop.calibration import manifest
from perception.workshop.calibration.manifest import HELD_OUT, IMAGES

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""Of linux/fs.h, for renameat2(2)."""
MADE_BY = "# Made by scripts/build_calibration_set.py, which replaces it with --force."


@dataclass(frozen=True, slots=True)
class SetPaths:
    """folder: for images/, held_out/ and manifest.json; links in it are followed. data: the file that describes it."""

    folder: Path
    data: Path

    @property
    def described(self) -> str:
        """The text of `data`: paths from its own folder, so that both may be moved together.

        `val` are the same images, as `yolo export int8=True data=...` calibrates on `val`.
        """
        path = Path(os.path.relpath(self.folder, self.data.parent.resolve())).as_posix()
        parts = {"train": f"{path}/{IMAGES}", "val": f"{path}/{IMAGES}", "test": f"{path}/{HELD_OUT}"}
        names = dict(enumerate(COCO_VEHICLES))
        text = yaml.safe_dump({**parts, "manifest": f"{path}/{manifest.NAME}", "names": names}, sort_keys=False)
        return f"{MADE_BY}\n# Pictures without labels to calibrate INT8 on. test: held out, to judge engines.\n{text}"

    @property
    def making(self) -> str:
        """The prefix of folders in which a set is being made."""
        return f".{self.folder.name}.making-"


def check(paths: SetPaths, force: bool) -> None:
    """Raise SettingsError, with the cure, where a set may not or cannot be put there.

    With `force` a set is replaced, but never anything else.
    """
    check_folder_writable("--output", paths.folder)
    if not os.access(paths.folder.parent, os.W_OK | os.X_OK):
        raise SettingsError(f"--output {paths.folder}: {paths.folder.parent} cannot be written by this user")
    check_writable("--data", paths.data)
    _refuse_strangers(paths)
    with as_settings_error(paths), staging(paths):
        pass  # a trial
    if force:
        return
    if (paths.folder / manifest.NAME).exists():
        raise SettingsError(f"{paths.folder} holds a calibration set already", "Replace it with --force.")
    if paths.data.exists() and _read_data(paths) != paths.described:
        raise SettingsError(f"{paths.data} describes another calibration set", "Replace it with --force.")


def _refuse_strangers(paths: SetPaths) -> None:
    known = {IMAGES, HELD_OUT, manifest.NAME}
    there = sorted(path.name for path in paths.folder.iterdir()) if paths.folder.is_dir() else []
    strangers = [name for name in there if name not in known and not name.endswith(".cache")]  # ultralytics leaves one
    if strangers or (there and manifest.NAME not in there):
        named = ", ".join((strangers or there)[:3])
        raise SettingsError(
            f"{paths.folder} holds what is no part of a calibration set: {named}",
            "Move it away, or name another folder with --output.",
        )
    if paths.data.exists() and not _read_data(paths).startswith(MADE_BY):
        raise SettingsError(
            f"{paths.data} was not made by this command, and is not replaced", "Name another file with --data."
        )


def _read_data(paths: SetPaths) -> str:
    """Return the beginning of the file that describes the set, all of it where this command made it."""
    with open_plain(paths.data, SettingsError) as file:
        return file.read(1 << 16).decode("utf-8", "replace")


@contextmanager
def as_settings_error(paths: SetPaths) -> Iterator[None]:
    """Turn an OSError into a SettingsError with the cure."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "Make room, or name a folder on another disk with --output." if full else "Name another with --output."
        raise SettingsError(f"{paths.folder} cannot be written: {reason_of(error)}", cure) from None


@contextmanager
def staging(paths: SetPaths) -> Iterator[Path]:
    """Give a folder beside the set's to make a new set in; it is removed afterwards, with all that is still in it.

    Those that a killed run left behind go, too. Raises OSError.
    """
    lock = Lock()
    parent = paths.folder.parent
    for left in parent.glob(f"{glob.escape(paths.making)}*"):
        with suppress(Held, OSError):  # of a run in progress, or of another user
            private_folder(left)  # not another user's, and not a link
            lock.take(left)
            shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(prefix=paths.making, dir=parent))
    try:
        lock.take(made)
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        lock.release()


def install(made: Path, paths: SetPaths) -> None:
    """Move the set in the folder `made` into its place, in one step; the one before is in `made` afterwards.

    Raises OSError; then the old set is still there.
    """
    write_whole(paths.data, paths.described.encode())
    if paths.folder.exists():
        _exchange(made, paths.folder)
    else:
        made.rename(paths.folder)
    sync(paths.folder.parent)


def _exchange(one: Path, other: Path) -> None:
    """Swap the names of two folders. In two steps where the file system has no such call."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28
    if renameat2 is not None:
        names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
        if renameat2(*names) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number), str(other))
    aside = one.with_name(f"{one.name}-old")
    other.rename(aside)
    try:
        one.rename(other)
    except BaseException:
        aside.rename(other)
        raise
    aside.rename(one)
