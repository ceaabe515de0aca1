"""Puts an engine into service, and the one before it back: at every instant a whole pair is there, and loads.

Two files cannot be renamed at once. So the sidecar goes first, and describes both engines (perception/backends/
described.py): before it is there the old engine fits the old sidecar, after it the old engine fits the new one, and
after the second rename the new engine does. A reader that read the old engine and looks at the sidecar late finds the
old one described there, too. What is kept as `.previous` is replaced by the same steps.

Every file is written whole and forced to the disk before it gets its name, and every name before the next one, so
that the same holds for a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perception.backends.tensorrt.described import Described, text_of
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.place import Place
from perception.core.errors import BackendError, SettingsError
from perception.system.trusted_file import reason_of, sync, write_whole

ENGINE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Replaced:
    """What an installation did with the engine that was there.

    kept: it lies in the place of the previous one. why_not: a sentence where it was there and was not kept.
    """

    kept: bool
    why_not: str = ""


def install(staged: Path, place: Place, work: Path) -> Replaced:
    """Puts the engine `staged`, whose sidecar lies beside it, into service, and keeps the one there as the previous.

    work: a folder of this user on the same disk. An engine that the pilot refuses is not kept, as there would be no
    way back to it. Raises SettingsError where the disk or the owner of a file is in the way: then nothing has changed,
    or what is there still loads.
    """
    with _told(place):
        finish(place, work)
        new = _describe(staged, None)
        old, why_not = _in_service(place)
        if old is not None and old.engine_sha256 != new.engine_sha256:
            _keep(place, old, work)
        _put_text(text_of(new, old), place.sidecar, work)
        staged.chmod(ENGINE_MODE)
        sync(staged)
        _rename(staged, place.engine)
        with suppress(FileNotFoundError):
            staged.with_suffix(".json").unlink()
    return Replaced(old is not None, why_not)


def roll_back(place: Place, work: Path) -> None:
    """Exchanges the engine in service with the previous one.

    Raises SettingsError where there is no previous one, or where the pilot would refuse it.
    """
    with _told(place):
        finish(place, work)
        previous = check_previous(place)
        current, _ = _in_service(place)
        if current is None:
            _remove(place.engine)  # first: without its sidecar an engine that it does not fit would be served
            _put_text(text_of(previous), place.sidecar, work)
            _rename(place.previous_engine, place.engine)
            _remove(place.previous_sidecar)
            return
        aside = _aside(place, work)
        _copy(place.engine, aside)
        _put_text(text_of(current, previous), place.previous_sidecar, work)
        _put_text(text_of(previous, current), place.sidecar, work)
        _rename(place.previous_engine, place.engine)
        if previous.sidecar is None:
            _remove(place.sidecar)
        finish(place, work)


def check_previous(place: Place) -> Described:
    """The engine that a rollback would put into service. Raises SettingsError where there is none that can serve."""
    if not os.path.lexists(place.previous_engine):
        raise SettingsError(
            f"{place.folder} holds no previous engine of {place.stem}", "Build one: leave --rollback out."
        )
    try:
        return _describe(place.previous_engine, place.previous_sidecar)
    except BackendError as fault:
        raise SettingsError(f"The previous engine cannot serve: {fault.what}", fault.cure) from None


def finish(place: Place, work: Path) -> None:
    """Completes the exchange of a rollback that was killed after its engine was in service, and clears what is left."""
    aside = _aside(place, work)
    if not aside.exists():
        return
    if os.path.lexists(place.previous_engine):
        aside.unlink()
    else:
        _rename(aside, place.previous_engine)


def _aside(place: Place, work: Path) -> Path:
    """Where a rollback keeps the engine that leaves service until its name is free."""
    return work / place.previous_engine.name


def _in_service(place: Place) -> tuple[Described | None, str]:
    """The engine that the pilot would load now; else None, and a sentence where one is there that it refuses."""
    if not os.path.lexists(place.engine):
        return None, ""
    try:
        return _describe(place.engine, None), ""
    except BackendError as fault:
        return None, f"What was there could not serve, and is not kept: {fault.what}."


def _describe(engine: Path, described_by: Path | None) -> Described:
    """An engine as the pilot reads it, all checks of the file included. Raises BackendError."""
    sidecar = open_engine(engine, described_by).sidecar
    if sidecar is not None:
        return Described(sidecar.engine_sha256, sidecar)
    return Described(hashlib.sha256(engine.read_bytes()).hexdigest(), None)


def _keep(place: Place, old: Described, work: Path) -> None:
    """Makes the engine in service the previous one, too."""
    try:
        older: Described | None = _describe(place.previous_engine, place.previous_sidecar)
    except BackendError:  # there is none, or none that a rollback would take
        older = None
    copy = work / f"{place.engine.name}.old"
    _copy(place.engine, copy)
    _put_text(text_of(old, older), place.previous_sidecar, work)
    _rename(copy, place.previous_engine)
    if old.sidecar is None:
        _remove(place.previous_sidecar)


def _copy(source: Path, target: Path) -> None:
    """A second name of the same file; a copy where the disk has no such thing, or the file is somebody else's."""
    target.unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(ENGINE_MODE)
        sync(target)


def _put_text(text: str | None, target: Path, work: Path) -> None:
    """The text under the name `target`; None: no file there."""
    if text is None:
        _remove(target)
        return
    written = work / target.name
    write_whole(written, text.encode())
    _rename(written, target)


def _rename(source: Path, target: Path) -> None:
    if target.exists() and source.samefile(target):  # rename(2) then does nothing, and leaves both names
        source.unlink()
    else:
        source.replace(target)
    sync(target.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """An error of the system as a sentence."""
    try:
        yield
    except OSError as error:
        cure = "Make room on the disk." if error.errno in (errno.ENOSPC, errno.EDQUOT) else "See who owns the files."
        raise SettingsError(
            f"{place.engine} cannot be replaced: {reason_of(error)}", f"{cure} What was in service still is."
        ) from None
