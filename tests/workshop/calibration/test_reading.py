"""Sources: the same frames under the same numbers each time; what cannot be read is told before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perception.core.errors import SourceError
from perception.workshop.calibration.reading import Source, open_sources
from perception.workshop.calibration.scanning import scan, shares
from tests.camera.clips import number_of, write_clip
from tests.workshop.calibration.sets import write_pictures


def numbers(source: Source, wanted: range) -> list[int]:
    """Return the numbers that the wanted pictures show."""
    found = source.frames(lambda number: number in wanted, lambda _: None)
    return [number_of(frame.image) for frame in found if frame.image is not None]


def test_a_clip_gives_the_frames_that_are_wanted_each_time(tmp_path: Path) -> None:
    (source,) = open_sources([str(write_clip(tmp_path / "clip.mp4", 30))])
    assert (source.name, source.promised) == ("clip.mp4", 30)
    assert numbers(source, range(0, 30, 7)) == numbers(source, range(0, 30, 7)) == [0, 7, 14, 21, 28]


def test_the_time_of_a_frame_comes_from_the_rate_of_its_clip(tmp_path: Path) -> None:
    (source,) = open_sources([str(write_clip(tmp_path / "clip.mp4", 11, fps=10))])
    assert [frame.time_s for frame in source.frames(lambda number: number == 5, lambda _: None)] == [0.5]


def test_a_folder_gives_its_videos_and_its_images_and_nothing_twice(tmp_path: Path) -> None:
    write_pictures(tmp_path / "mixed" / "deeper", ["b.png", "a.jpg"])
    clip = write_clip(tmp_path / "mixed" / "clip.mp4", 3)
    (tmp_path / "mixed" / "frames.jsonl").write_text("{}\n")
    found = open_sources([str(tmp_path / "mixed"), str(clip), f"images://{tmp_path}/mixed", f"file://{clip}"])
    assert [(source.name, source.promised) for source in found] == [("clip.mp4", 3), ("mixed", 2)]


def test_one_image_and_the_synthetic_drive_are_sources_too(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png"])
    image, drive = open_sources([str(tmp_path / "a.png"), "demo://drive?duration=0.2&width=320&height=240&fps=10"])
    assert image.name == "a.png"
    assert sum(1 for _ in drive.frames(lambda _: True, lambda _: None)) == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("nowhere.mp4", "does not exist"),
        ("nowhere/", "does not exist"),
        ("notes.txt", "is not a video that can be read"),
        ("empty.mp4", "is not a video that can be read"),
        ("void", "holds neither images nor videos"),
        ("rtsp://user:secret@host/a", "is a camera, which has no end"),
        ("0", "is a camera"),
        ("clip.mp4?loop=1", "never ends"),
        ("http://host/clip.mp4", "unknown scheme"),
    ],
)
def test_what_is_no_source_is_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 3)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "void").mkdir()
    with pytest.raises(SourceError, match=reason) as told:
        open_sources(["clip.mp4", given])
    assert "secret" not in str(told.value)


def test_clips_in_subfolders_count_and_broken_and_other_files_are_named_once(tmp_path: Path, logged: list[str]) -> None:
    footage = tmp_path / "footage"
    for name in ("clip.mp4", "day/clip.mp4", "day/late/clip.MKV"):
        (footage / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(footage / name, 3)
    write_pictures(footage / "night", ["a.png"])
    (footage / "day" / "empty.mp4").touch()
    (footage / "cut.mp4").write_bytes((footage / "clip.mp4").read_bytes()[:300])
    os.mkfifo(footage / "pipe.mp4")
    (footage / "gone.mp4").symlink_to("nowhere")
    for name in ("notes.txt", "day/notes.txt", ".hidden.txt"):
        (footage / name).write_text("x")
    found = open_sources([str(footage)])
    assert [source.name for source in found] == ["clip.mp4", "day/clip.mp4", "day/late/clip.MKV", "footage"]
    assert [sum(1 for _ in source.frames(lambda _: True, lambda _: None)) for source in found] == [3, 3, 3, 1]
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert warnings[0] == f"WARNING {footage}: 2 of its files and folders are left out: day/notes.txt, notes.txt"
    assert warnings[1].startswith(f"WARNING 4 of 7 videos of {footage} are left out: {footage}/cut.mp4 is not a video")
    assert len(warnings) == 2


def test_a_folder_of_broken_videos_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceError, match=r"No video of the folder .* can be read: .*a\.mp4 is not a video"):
        open_sources([str(tmp_path)])


def test_every_source_that_is_named_and_broken_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceError, match=r"a\.mp4 is not a video.*; .*gone\.mp4 does not exist"):
        open_sources([str(tmp_path / "a.mp4"), str(tmp_path / "gone.mp4")])


# The first pass


def test_of_a_short_clip_every_frame_is_looked_at(tmp_path: Path) -> None:
    (source,) = open_sources([str(write_clip(tmp_path / "clip.mp4", 30))])
    went_by: list[int] = []
    seen = scan(source, 4, 30, 30, lambda: went_by.append(1))
    assert [candidate.frame for candidate in seen.candidates] == list(range(30))
    assert {candidate.source for candidate in seen.candidates} == {4}
    assert seen.frames == len(went_by) == 30


@pytest.mark.parametrize("length", [0, 30, 300])
def test_of_a_long_clip_frames_are_looked_at_that_are_spread_over_it(tmp_path: Path, length: int) -> None:
    (source,) = open_sources([str(write_clip(tmp_path / "clip.mp4", 30))])
    seen = scan(source, 0, length, 100 if length == 300 else 10, lambda: None)
    assert [candidate.frame for candidate in seen.candidates] == list(range(0, 30, 4))
    assert seen.frames == 30


def test_files_that_hold_no_image_are_counted_and_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "c.png"])
    (tmp_path / "b.png").write_bytes(b"no image")
    (source,) = open_sources([str(tmp_path)])
    seen = scan(source, 0, 3, 3, lambda: None)
    assert [candidate.frame for candidate in seen.candidates] == [0, 2]
    assert seen.unreadable == [str(tmp_path / "b.png")]


def test_long_and_short_sources_together_leave_enough_to_choose_from() -> None:
    lengths = [100_000, 300, 20, 0]
    for length, most in zip(lengths, shares(lengths, 1000)):
        assert most >= 125
        assert length or most == 1000
    assert sum(min(length, most / 2) for length, most in zip(lengths, shares(lengths, 1000)) if length) >= 500
