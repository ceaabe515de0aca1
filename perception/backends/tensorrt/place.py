"""The place of an engine, its sidecar and the pair it replaced; checks that this user may replace them."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from perception.core.errors import SettingsError
from perception.system.own_files import NotMine, private_folder, user_name
from perception.system.trusted_file import reason_of, trusted_owners, writers_besides_owner

WORK = ".work"


@dataclass(frozen=True, slots=True)
class Place:
    """engines/<stem>.*: what is in service, and what was before."""

    folder: Path
    stem: str

    @property
    def engine(self) -> Path:
        """The engine that the pilot loads."""
        return self.folder / f"{self.stem}.engine"

    @property
    def sidecar(self) -> Path:
        """Its sidecar."""
        return self.folder / f"{self.stem}.json"

    @property
    def previous_engine(self) -> Path:
        """The engine that was in service before."""
        return self.folder / f"{self.stem}.engine.previous"

    @property
    def previous_sidecar(self) -> Path:
        """The sidecar of that one."""
        return self.folder / f"{self.stem}.json.previous"

    @property
    def files(self) -> tuple[Path, Path, Path, Path]:
        """All four, whether they are there or not."""
        return self.engine, self.sidecar, self.previous_engine, self.previous_sidecar


def check_replaceable(place: Place) -> None:
    """Raises SettingsError, with the cure, where this user could not put a new pair there.

    In a sticky folder, as the service shares it, a file may be replaced by its owner and the folder's alone.
    """
    if not place.folder.exists():
        check_can_make(place.folder)
        return
    folder = _status(place.folder)
    if folder is None or not stat.S_ISDIR(folder.st_mode):
        raise SettingsError(f"{place.folder} is not a folder", "Name another one with --output.")
    if not os.access(place.folder, os.W_OK | os.X_OK):
        raise SettingsError(
            f"{place.folder} cannot be written by {user_name(os.geteuid())}",
            "Name another folder with --output, or run this as its owner.",
        )
    for path in place.files:
        status = _status(path)
        if status is None:
            continue
        if stat.S_ISDIR(status.st_mode):
            raise SettingsError(f"{path} is a folder, and a file is to be put there", "Move it away.")
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid, status.st_uid):
            raise SettingsError(
                f"{path} belongs to {user_name(status.st_uid)}, and {user_name(os.geteuid())} may not replace it in a "
                "sticky folder",
                f"If it may go: sudo rm {shlex.quote(str(path))}; or run this as {user_name(status.st_uid)}.",
            )


def check_can_make(folder: Path) -> None:
    """Raises SettingsError where this user cannot make the folder, which is not there yet."""
    nearest = next((path for path in folder.absolute().parents if path.exists()), Path("/"))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "may not write there" if nearest.is_dir() else "would have to replace a file"
        raise SettingsError(
            f"{folder} cannot be made: {user_name(os.geteuid())} {why} ({nearest})", "Name another one with --output."
        )


def work_folder(output: Path) -> Path:
    """The folder for what is being made, on the same disk as `output`; made where it is not there.

    Only its owner may write it, as native code that is about to be loaded lies there: a user who finds that of another
    one gets one of their own. Raises SettingsError where somebody else has taken that name, too, or may exchange it.
    """
    mine = output / WORK
    try:
        output.mkdir(parents=True, exist_ok=True)
        _check_not_exchangeable(output)
        try:
            private_folder(mine)
        except NotMine:
            mine = output / f"{WORK}-{os.geteuid()}"
            private_folder(mine)
    except NotMine as fault:
        raise SettingsError(
            f"{mine} cannot be used: {fault.strerror}",
            f"See what it is; if it may go: sudo rm -r {shlex.quote(str(mine))}. Or name another folder with --output.",
        ) from None
    except OSError as error:
        cure = "Make room on the disk." if error.errno == errno.ENOSPC else "Name another folder with --output."
        raise SettingsError(f"{mine} cannot be made: {reason_of(error)}", cure) from None
    return mine


def _check_not_exchangeable(folder: Path) -> None:
    """SettingsError where somebody else could put a folder of theirs in the place of one of this user's in it."""
    status = folder.stat()
    if status.st_uid not in trusted_owners():
        who = user_name(status.st_uid)
        raise SettingsError(
            f"{folder} belongs to {who}, who could exchange what is made there, and an engine is native code",
            f"Run this as {who}, or name another folder with --output.",
        )
    writers = None if status.st_mode & stat.S_ISVTX else writers_besides_owner(status, folder)
    if writers:
        raise SettingsError(
            f"{folder} may be written by {writers} (mode {stat.S_IMODE(status.st_mode):04o}), who could exchange what "
            "is made there, and an engine is native code",
            f"If it may be shared: chmod +t {shlex.quote(str(folder))}; else chmod go-w.",
        )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be looked at: {reason_of(error)}", "Check the path.") from None
