"""The frames of clips and of folders of images: the same ones, under the same numbers, each time they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loguru import logger

from perception.camera.capture import Capture
from perception.camera.images import read_image, some, tell_left_out
from perception.camera.uri import IMAGE_SUFFIXES, SourceUri, parse
from perception.camera.video_file import VideoFile
from perception.core.errors import EndOfStream, SourceError
from perception.core.frame import Image
from perception.workshop.data_set import files_in

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"})
"""Videos that are taken from a folder; a file that is named may have any other name."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One frame. image: (H, W, 3) uint8 BGR, None where a file of a folder holds none. time_s: None in a folder.

    path: the file that holds this image alone.
    """

    number: int
    image: Image | None
    time_s: float | None = None
    path: Path | None = None


class Source(Protocol):
    """A clip or a folder. name: for people, without its place. promised: frames, as far as that is known, else 0."""

    @property
    def name(self) -> str: ...

    @property
    def promised(self) -> int: ...

    def frames(self, wants: Callable[[int], bool], passed: Callable[[int], None]) -> Iterator[SourceFrame]:
        """Return the frames whose numbers (from 0) are wanted, in order. `passed` hears each number, wanted or not."""
        ...


class Clip:
    """A video, or the synthetic drive, which renders the same frames each time."""

    def __init__(self, name: str, open_it: Callable[[], Capture], promised: int = 0) -> None:
        self.name = name
        self.promised = promised
        self._open = open_it

    def check(self) -> None:
        """Raise SourceError where it does not open or has no frame."""
        with closing(self._open()) as capture:
            capture.read()

    def frames(self, wants: Callable[[int], bool], passed: Callable[[int], None]) -> Iterator[SourceFrame]:
        """See Source."""
        number = 0
        with closing(self._open()) as capture:
            while True:
                try:
                    picture = capture.read()
                except EndOfStream:
                    return
                if picture is None:
                    continue
                if wants(number):
                    yield SourceFrame(number, picture.image, number / capture.fps if capture.fps else None)
                passed(number)
                number += 1


class Folder:
    """Images, each of which may be of another scene."""

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.name = name
        self.promised = len(paths)
        self._paths = paths

    def frames(self, wants: Callable[[int], bool], passed: Callable[[int], None]) -> Iterator[SourceFrame]:
        """See Source. Only what is wanted is read."""
        for number, path in enumerate(self._paths):
            if wants(number):
                yield SourceFrame(number, read_image(path), path=path)
            passed(number)


def open_sources(given: Sequence[str]) -> list[Source]:
    """Open videos, and folders with images, videos or both. A source that is named twice counts once.

    Of a folder, files that are broken or of another kind are left out, with a warning. Raises SourceError that names
    every one of `given` that does not exist, is a camera, or holds no frame.
    """
    sources: dict[str, Source] = {}
    faults: list[SourceError] = []
    for text in given:
        try:
            for key, source in _sources_of(text):
                sources.setdefault(key, source)
        except SourceError as fault:
            faults.append(fault)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise SourceError("; ".join(fault.what for fault in faults), "Leave these out, or mend them.")
    return list(sources.values())


def _sources_of(text: str) -> Iterator[tuple[str, Source]]:
    """Yield each source with a key that identifies it."""
    uri = parse(text)
    if uri.camera:
        raise SourceError(
            f"{uri.label} is a camera, which has no end", "Record it first: pilot.py --source ... --record clip.mp4"
        )
    if uri.options.get("loop"):
        raise SourceError(f"{uri.label} never ends", "Leave ?loop=1 out.")
    if uri.scheme == "demo":
        drive = Clip(uri.label, lambda: _open_drive(uri))
        drive.check()
        yield text, drive
        return
    path = Path(uri.target)
    if path.is_dir():
        yield from _sources_in(path)
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        yield _key(path), Folder(path.name, [path])
    else:
        yield _key(path), _clip(path, path.name)


def _sources_in(folder: Path) -> Iterator[tuple[str, Source]]:
    """Yield the clips in a folder and in the folders in it, each as a source, and all its images as one."""
    try:
        files = files_in(folder)
    except OSError as error:
        raise SourceError(f"The folder {error.filename or folder} cannot be read: {error.strerror}") from None
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    if not images and not videos:
        raise SourceError(
            f"The folder {folder} holds neither images nor videos",
            f"Looked for {' '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))}.",
        )
    tell_left_out(folder, sorted(set(files) - set(images) - set(videos)))
    broken: list[str] = []
    for video in videos:
        try:
            yield _key(video), _clip(video, str(video.relative_to(folder)))
        except SourceError as fault:
            broken.append(fault.what)
    if broken and len(broken) == len(videos) and not images:
        raise SourceError(f"No video of the folder {folder} can be read: {some(broken)}", "Name another folder.")
    if broken:
        logger.warning(f"{len(broken)} of {len(videos)} videos of {folder} are left out: {some(broken)}")
    if images:
        yield _key(folder), Folder(folder.resolve().name, images)


def _key(path: Path) -> str:
    return str(path.resolve())


def _clip(path: Path, name: str) -> Clip:
    """Return a video after trying that it opens and has a frame. Raises SourceError for another one."""
    if path.exists() and not path.is_file():  # a pipe without a writer would be waited for
        raise SourceError(f"{path} is a device, a pipe or a socket, not a file", "Give the path of a video.")
    uri = SourceUri("file", str(path), str(path))
    with closing(VideoFile(uri)) as video:
        video.read()
        promised = video.promised
    return Clip(name, lambda: VideoFile(uri), promised)


def _open_drive(uri: SourceUri) -> Capture:
    from perception.app.demo import DemoDrive  # two dozen modules that only a demo needs

    return DemoDrive(uri)
