"""Writing a set: whole or not at all, never in the place of anything else."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from perception.camera.images import read_image
from perception.core.errors import PilotError, SettingsError, SourceError
from perception.system.lock import Lock
from perception.workshop.calibration.calibration_set import read_set
from perception.workshop.calibration.manifest import NAME, parse
from perception.workshop.calibration.reading import Source, open_sources
from perception.workshop.calibration.scanning import FrameCandidate, scan
from perception.workshop.calibration.set_paths import SetPaths, check
from perception.workshop.calibration.writing import Chosen, write_set
from tests.camera.clips import number_of, write_clip
from tests.small_disk import small_disk
from tests.workshop.calibration import sets


def looked_at(*given: Path) -> tuple[list[Source], list[FrameCandidate]]:
    """The sources, and all frames of them."""
    sources = open_sources([str(path) for path in given])
    return sources, [
        candidate
        for number, one in enumerate(sources)
        for candidate in scan(one, number, 0, 100, lambda: None).candidates
    ]


@pytest.fixture
def place(tmp_path: Path) -> SetPaths:
    (tmp_path / "config").mkdir()
    return SetPaths(tmp_path / "calibration", tmp_path / "config" / "calibration.yaml")


def write(
    sources: Sequence[Source], candidates: Sequence[FrameCandidate], place: SetPaths, suffix: str = ".jpg",
    check_stop: Callable[[], None] = lambda: None,
) -> int:  # fmt: skip
    chosen = Chosen(candidates[:-2], candidates[-2:], [{"name": source.name} for source in sources], {"seed": 1})
    return write_set(sources, chosen, place, suffix, check_stop, lambda: None)


def test_the_frames_are_written_in_order_of_choice_and_the_set_reads_back(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip one.mp4", 8))
    order = [candidates[place] for place in (5, 2, 7, 0, 3)]
    size = write(sources, order, place)
    found = read_set(place.data)
    assert [path.name for path in found.images] == [f"0000{n}_clip-one_00000{f}.jpg" for n, f in enumerate((5, 2, 7))]
    for frame, path in zip((5, 2, 7, 0, 3), (*found.images, *found.held_out)):
        image = read_image(path)
        assert image is not None
        assert image.shape == (96, 160, 3)
        assert number_of(image) == frame
    assert size == sum(path.stat().st_size for path in (*found.images, *found.held_out))


def test_images_of_a_folder_are_copied_as_they_are(tmp_path: Path, place: SetPaths) -> None:
    paths = sets.write_pictures(tmp_path / "photos", ["a.JPG", "b.png", "c.png"])
    sources, candidates = looked_at(tmp_path / "photos")
    write(sources, candidates, place)
    found = read_set(place.data)
    assert [path.read_bytes() for path in (*found.images, *found.held_out)] == [path.read_bytes() for path in paths]


def test_png_keeps_every_pixel_of_a_frame(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 3))
    write(sources, candidates, place, ".png")
    (frame,) = sources[0].frames(lambda number: number == 0, lambda _: None)
    np.testing.assert_array_equal(read_image(read_set(place.data).images[0]), frame.image)


def test_the_same_choice_is_written_to_the_same_bytes(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 6))
    write(sources, candidates, place)
    first = (place.folder / NAME).read_bytes()
    write(sources, candidates, place)
    assert (place.folder / NAME).read_bytes() == first
    assert parse(place.folder / NAME, first).images[0].time_s == 0


@pytest.mark.parametrize("force", [True, False])
def test_a_set_is_replaced_with_force_alone(tmp_path: Path, place: SetPaths, force: bool) -> None:
    check(place, force=False)
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 6))
    write(sources, candidates, place)
    if not force:
        with pytest.raises(SettingsError, match=r"holds a calibration set already\. Replace it with --force"):
            check(place, force)
        return
    check(place, force)
    write(sources, candidates[2:], place)
    assert len(read_set(place.data).images) == 2


def test_where_folders_cannot_be_exchanged_they_are_renamed_in_turn(
    tmp_path: Path, place: SetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 6))
    write(sources, candidates, place)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    write(sources, candidates[2:], place)
    assert len(read_set(place.data).images) == 2
    assert sets.names(tmp_path) == ["calibration", "clip.mp4", "config"]


def _stops_at(turns: int) -> Callable[[], None]:
    left = [turns]

    def check_stop() -> None:
        left[0] -= 1
        if not left[0]:
            raise PilotError("Stopped")

    return check_stop


@pytest.mark.parametrize("turns", [1, 4, 6])
def test_what_ends_the_writing_leaves_the_old_set_and_nothing_else(tmp_path: Path, place: SetPaths, turns: int) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 7))
    write(sources, candidates[3:], place)
    before = read_set(place.data)
    with pytest.raises(PilotError, match="Stopped"):
        write(sources, candidates, place, check_stop=_stops_at(turns))
    assert read_set(place.data) == before
    assert sets.names(tmp_path) == ["calibration", "clip.mp4", "config"]


def test_a_full_disk_is_told_with_the_cure_and_leaves_the_old_set(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 40))
    with small_disk(tmp_path / "disk", kib=128) as disk:
        there = SetPaths(disk.path / "calibration", place.data)
        write(sources, candidates[:4], there)
        before = read_set(there.data)
        with pytest.raises(SettingsError, match=r"cannot be written: No space left on device\. Make room"):
            write(sources, candidates, there, ".png")
        assert read_set(there.data) == before
        assert sets.names(disk.path) == ["calibration"]


def test_what_a_killed_run_left_is_cleared_and_what_another_one_makes_is_not(tmp_path: Path, place: SetPaths) -> None:
    left, used = tmp_path / ".calibration.making-left", tmp_path / ".calibration.making-used"
    for folder in (left, used):
        (folder / "images").mkdir(parents=True)
    lock = Lock()
    lock.take(used)
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 4))
    write(sources, candidates, place)
    lock.release()
    assert not left.exists()
    assert (used / "images").exists()


def test_a_clip_that_changed_meanwhile_is_told(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 8))
    write_clip(tmp_path / "clip.mp4", 5)
    with pytest.raises(SourceError, match=r"clip\.mp4 has changed while it was read: frame 5 is gone"):
        write(sources, candidates, place)
    assert not place.folder.exists()


# What is never replaced


def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 4))
    write(sources, candidates, place)
    (place.folder / "images.cache").touch()
    check(place, force=True)
    (place.folder / "labels").mkdir()
    with pytest.raises(SettingsError, match=r"no part of a calibration set: labels\. Move it away"):
        check(place, force=True)
    sets.write_pictures(tmp_path / "mine" / "images", ["a.png"])
    with pytest.raises(SettingsError, match="no part of a calibration set: images"):
        check(SetPaths(tmp_path / "mine", place.data), force=True)


def test_a_data_set_of_somebody_else_is_never_replaced(place: SetPaths) -> None:
    place.data.write_text("train: images\n")
    with pytest.raises(SettingsError, match="was not made by this command"):
        check(place, force=True)


def test_the_file_of_another_set_is_replaced_with_force_alone(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 4))
    write(sources, candidates, place)
    other = SetPaths(tmp_path / "other", place.data)
    with pytest.raises(SettingsError, match="describes another calibration set"):
        check(other, force=False)
    check(other, force=True)


@pytest.mark.parametrize(("output", "data"), [("file", "c.yaml"), ("new", "folder"), ("new", "file/c.yaml")])
def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path: Path, output: str, data: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=r"--output|--data"):
        check(SetPaths(tmp_path / output, tmp_path / data), force=True)


def test_a_link_in_the_place_of_the_data_set_is_replaced_by_one_that_finds_its_images(
    tmp_path: Path, place: SetPaths
) -> None:
    elsewhere = tmp_path / "far" / "away" / "calibration.yaml"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.touch()
    place.data.symlink_to(elsewhere)
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 4))
    write(sources, candidates, place)
    assert len(read_set(place.data).images) == 2
    assert elsewhere.read_bytes() == b""


def test_the_data_set_may_be_moved_with_its_images(tmp_path: Path, place: SetPaths) -> None:
    sources, candidates = looked_at(write_clip(tmp_path / "clip.mp4", 4))
    write(sources, candidates, place)
    moved = tmp_path / "moved"
    moved.mkdir()
    place.folder.rename(moved / "calibration")
    place.data.parent.rename(moved / "config")
    found = read_set(moved / "config" / "calibration.yaml")
    assert hashlib.sha256((moved / "calibration" / NAME).read_bytes()).hexdigest() == found.manifest_sha256
