"""A folder of segments: where they begin and end, what of them stays, and their true length."""

from __future__ import annotations

import weakref
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.core.errors import PilotError, SettingsError
from perception.core.frame import Image
from perception.core.results import Report
from perception.reporting.recording import recordings
from perception.reporting.recording.commands import Stream
from perception.reporting.recording.encoder import find_encoders
from perception.reporting.recording.recorder import Recorder
from perception.reporting.recording.recordings import RESERVE_BYTES, FolderRecording
from perception.reporting.recording.segment import PreRoll, RecordedFrame, Segment
from perception.reporting.recording.segment_folder import SegmentFolder
from perception.settings.model import RecordSettings
from tests.camera.readers import wait_for
from tests.doubles.fakes import make_image
from tests.reporting.recording.conftest import OnPath
from tests.reporting.recording.videos import greys, length_s, pictures, records, report, segments
from tests.small_disk import small_disk

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def frame(
    moment_s: float, value: int = 100, vehicles: int = 0, fps: float = 10.0, wall_s: float | None = None
) -> RecordedFrame:
    record = f'{{"frame_id":{round(moment_s * fps)}}}\n'.encode()
    return RecordedFrame(make_image(value, 48, 64), moment_s, wall_s or NOON + moment_s, fps, vehicles, record)


def record(folder: Path, frames: list[RecordedFrame], **settings: object) -> None:
    """Records the frames into the folder."""
    wanted = RecordSettings.model_validate({"path": folder, **settings})
    film = FolderRecording(folder, wanted, find_encoders(), lambda path: None)
    for one in frames:
        assert film.add(one)
    film.close()


def ids(video: Path) -> list[int]:
    return [found["frame_id"] for found in records(video)]


def test_segments_follow_one_another_without_a_gap(tmp_path: Path) -> None:
    record(tmp_path, [frame(number / 10, number * 4) for number in range(50)], segment_s=2)
    assert [path.name for path in segments(tmp_path)] == [
        "20260101T120000Z.mp4",
        "20260101T120002Z.mp4",
        "20260101T120004Z.mp4",
    ]
    assert [ids(path) for path in segments(tmp_path)] == [[*range(20)], [*range(20, 40)], [*range(40, 50)]]
    seen = [grey for path in segments(tmp_path) for grey in greys(path)]
    assert seen == pytest.approx([number * 4 for number in range(50)], abs=12)


def test_segments_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    record(tmp_path, [frame(number / 10, wall_s=NOON) for number in range(30)], segment_s=1)
    assert [path.stem for path in segments(tmp_path)] == [
        "20260101T120000Z",
        "20260101T120000Z-1",
        "20260101T120000Z-2",
    ]
    assert [ids(path)[0] for path in segments(tmp_path)] == [0, 10, 20]


@pytest.mark.needs("ffprobe")
def test_a_camera_that_stutters_is_recorded_in_true_time(tmp_path: Path) -> None:
    moments = [0.0, 0.09, 0.31, 0.33, 0.34, 0.9, 2.0, 2.1, 3.43, 3.5, 4.98]
    record(tmp_path, [frame(moment) for moment in moments], segment_s=2)
    lengths = [length_s(path) for path in segments(tmp_path)]
    assert sum(lengths) == pytest.approx(4.98 + 0.1, abs=0.11)
    assert lengths == pytest.approx([2.0, 2.98, 0.1], abs=0.11)  # one ends where a picture comes


@pytest.mark.needs("ffprobe")
def test_an_outage_ends_the_segment_and_is_not_in_it(tmp_path: Path) -> None:
    record(tmp_path, [frame(moment) for moment in (0.0, 0.1, 0.2, 100.0, 100.1)])
    assert [length_s(path) for path in segments(tmp_path)] == pytest.approx([0.3, 0.2], abs=0.01)


def test_another_size_begins_a_segment(tmp_path: Path) -> None:
    large = RecordedFrame(make_image(9, 96, 128), 0.1, NOON + 1, 10.0, 0, b"{}\n")
    record(tmp_path, [frame(0.0), large])
    assert [pictures(path)[0].shape for path in segments(tmp_path)] == [(48, 64, 3), (96, 128, 3)]


class Pictures:
    """An encoder that keeps what it gets."""

    def __init__(self) -> None:
        self.images: list[Image] = []

    def write(self, image: Image) -> None:
        self.images.append(image)

    def close(self, wait_s: float) -> bool:
        return True


@given(st.lists(st.floats(0, 0.9), max_size=40), st.floats(1, 60))
def test_every_picture_stands_within_one_picture_of_its_time(gaps_s: list[float], fps: float) -> None:
    kept = Pictures()
    segment = Segment(kept, Stream(Path("x.mp4"), fps, (64, 48), True), 5.0, None)
    moments = [5.0]
    for gap_s in gaps_s:
        moments.append(moments[-1] + gap_s)
    for number, moment in enumerate(moments):
        segment.add(frame(moment, number))
        assert len(kept.images) / fps == pytest.approx(moment - 5.0 + 1 / fps, abs=1 / fps + 1e-6)
    shown = [int(image[0, 0, 0]) for image in kept.images]
    assert shown == sorted(shown)
    for place, number in enumerate(shown):
        assert moments[number] - 5.0 < (place + 1) / fps + 1e-6  # nothing is shown before it was


def vehicles_at(*places: int, count: int = 60) -> list[RecordedFrame]:
    return [frame(number / 10, 40 + number, int(number in places)) for number in range(count)]


@pytest.mark.needs("ffprobe")
def test_only_vehicles_are_recorded_with_the_seconds_around_them(tmp_path: Path) -> None:
    record(tmp_path, vehicles_at(20, 22, 45), on="vehicles", pre_s=0.95, post_s=0.55)
    assert [ids(path) for path in segments(tmp_path)] == [[*range(10, 28)], [*range(35, 51)]]
    first = segments(tmp_path)[0]
    assert length_s(first) == pytest.approx(1.8, abs=0.01)
    assert greys(first) == pytest.approx([40 + number for number in range(10, 28)], abs=12)
    assert first.name == "20260101T120001Z.mp4"  # of its first picture, before the vehicle


def test_the_seconds_before_a_vehicle_begin_after_the_video_before_it(tmp_path: Path) -> None:
    record(tmp_path, vehicles_at(20, 30), on="vehicles", pre_s=0.95, post_s=0.55)
    first, *others = [ids(path) for path in segments(tmp_path)]
    assert first == [*range(10, 26)]
    assert others == [[*range(26, 36)]]


def test_no_seconds_before_and_after_leave_the_vehicles(tmp_path: Path) -> None:
    record(tmp_path, vehicles_at(20, 21, 22), on="vehicles", pre_s=0, post_s=0)
    assert [ids(path) for path in segments(tmp_path)] == [[20, 21, 22]]


def test_a_road_without_vehicles_leaves_no_file(tmp_path: Path) -> None:
    record(tmp_path, vehicles_at(), on="vehicles")
    assert not list(tmp_path.iterdir())


def test_the_seconds_before_a_vehicle_are_bounded_in_memory() -> None:
    kept = PreRoll(keep_s=60, max_bytes=20_000)
    for number in range(500):
        kept.add(frame(number / 10, number % 200))
        assert kept.bytes <= 20_000
    left = list(kept.take())
    assert 2 < len(left) < 500
    assert left[-1].moment_s == 49.9
    assert kept.bytes == 0


def test_a_picture_larger_than_the_bound_is_not_kept() -> None:
    kept = PreRoll(keep_s=60, max_bytes=10)
    kept.add(frame(0))
    assert (kept.bytes, list(kept.take())) == (0, [])


def test_the_oldest_segments_go_first_and_no_other_file(tmp_path: Path) -> None:
    for name in ("20250101T000000Z", "20250102T000000Z", "20250102T000000Z-1", "20250103T000000Z"):
        (tmp_path / f"{name}.mp4").write_bytes(bytes(1000))
        (tmp_path / f"{name}.jsonl").write_bytes(bytes(100))
    others = ["holiday.mp4", "20250101T000000Z.txt", "x20250101T000000Z.mp4", "frames.jsonl"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(5000))
    (tmp_path / "20240101T000000Z.mp4").mkdir()
    SegmentFolder(tmp_path, 2300).make_room(None)
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert left == sorted(
        [
            *others,
            *("20250102T000000Z-1.mp4", "20250102T000000Z-1.jsonl", "20250103T000000Z.mp4", "20250103T000000Z.jsonl"),
        ]
    )


def test_the_segment_that_is_being_written_stays(tmp_path: Path) -> None:
    (tmp_path / "20200101T000000Z.mp4").write_bytes(bytes(1000))
    SegmentFolder(tmp_path, 10).make_room(tmp_path / "20200101T000000Z.mp4")
    assert (tmp_path / "20200101T000000Z.mp4").exists()


def test_the_bound_holds_over_restarts(tmp_path: Path) -> None:
    bound = 20_000
    for start in range(2):
        frames = [frame(start * 100 + number / 10, number * 40 % 255) for number in range(60)]
        record(tmp_path, frames, segment_s=1, max_gib=bound / 2**30)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < bound * 1.5  # the newest one grew after the look
    assert segments(tmp_path)[-1].stem == "20260101T120145Z"
    assert all(path.with_suffix(".jsonl").exists() for path in segments(tmp_path))


def test_a_full_disk_loses_pictures_until_it_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(recordings, "RETRY_S", 0.0)
    monkeypatch.setattr(recordings, "ROOM_S", 0.0)
    with small_disk(tmp_path / "disk", kib=RESERVE_BYTES // 1024 + 2000) as disk:
        folder = disk.path / "out"
        film = FolderRecording(folder, RecordSettings(path=folder), find_encoders(), lambda path: None)
        assert film.add(frame(0))
        filler = disk.fill()
        assert [film.add(frame(number / 10)) for number in range(1, 20)] == [False] * 19
        filler.unlink()
        assert film.add(frame(2.0))
        film.close()
        assert [len(pictures(path)) for path in segments(folder)] == [1, 1]
    assert [line for line in logged if not line.startswith("DEBUG")][1:] == [
        f"WARNING {folder} cannot be recorded to (No space left on device): pictures are lost until it can, the run "
        "goes on",
        f"INFO {folder} is recorded to again",
    ]


def test_a_folder_is_made_at_the_first_picture(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    Recorder(RecordSettings(path=folder)).close()
    assert not folder.exists()
    sink = Recorder(RecordSettings(path=folder))
    sink.write(report())
    sink.close()
    assert len(segments(folder)) == 1


def test_a_folder_that_cannot_be_had_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, said in (
        (tmp_path / "none" / "videos", "does not exist"),
        (tmp_path / "file", "is no folder"),
    ):
        with pytest.raises(PilotError, match=said):
            Recorder(RecordSettings(path=path))


def test_one_video_holds_no_single_vehicles(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"record.on: vehicles makes many. Name a folder instead"):
        Recorder(RecordSettings(path=tmp_path / "out.mp4", on="vehicles"))


def test_no_frame_is_held_once_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Recorder(RecordSettings(path=tmp_path / "videos"))
    alive: list[weakref.ref[Image]] = []

    def write(one: Report) -> None:
        alive.append(weakref.ref(one.frame.image))
        sink.write(one)

    for number in range(30):
        write(report(number, frame_id=number))
        assert sum(image() is not None for image in alive) <= 4  # two wait, one is copied, one is the caller's
    assert wait_for(lambda: all(image() is None for image in alive))
    sink.close()


def test_hidden_programs_leave_opencv(on_path: OnPath) -> None:
    on_path()
    assert [kind.title.split(";")[0].split(":")[0] for kind in find_encoders()] == ["H.264 by OpenCV", "MPEG-4"]


def test_names_of_segments_grow_with_time(tmp_path: Path) -> None:
    folder = SegmentFolder(tmp_path, 2**30)
    names = [folder.new(NOON + 86_400 * day)[0].name for day in range(0, 400, 30)]
    assert all(one < other for one, other in pairwise(names))
