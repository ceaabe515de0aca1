"""Files, folders and streams: which are read, and in which order."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from perception.core.errors import SettingsError
from perception.core.results import Report
from perception.lab.benchmark.report_cost import write_records
from perception.reporting.records import RecordSink
from perception.workshop.latency.logs.sources import expand
from perception.workshop.latency.reading import Query, read
from tests.workshop.latency.runs import NOW, START_S, Step, figures_of, outcome_of, steady, write


def rotated(folder: Path, steps: list[Step]) -> Path:
    """The records of a run as the pilot leaves them, in four files."""
    reports: list[tuple[Report, float]] = [(step.report(), step.at_s) for step in steps]
    moments = iter([START_S + at_s for _, at_s in reports])
    size = sum(len(step.record()) for step in steps)
    sink = RecordSink(folder / "frames.jsonl", round(size * 1.1), lambda: next(moments))
    for report, _ in reports:
        sink.write(report)
    sink.close()
    return folder


def test_a_folder_is_its_rotated_records_in_order(tmp_path: Path) -> None:
    rotated(tmp_path, steady(1000))
    (tmp_path / "pilot.log").write_text("not read\n")
    (tmp_path / "frames.jsonl.lock").write_text("not read\n")
    names = [path for path in tmp_path.iterdir() if path.name.startswith("frames.jsonl") and path.suffix != ".lock"]
    assert len(names) == 4
    found = figures_of(tmp_path)
    assert (found["frames"], found["restarts"], found["missing"], found["clock_steps"]) == (1000, 0, 0, 0)
    assert found["warnings"] == []
    others = figures_of(*sorted(names), tmp_path / "frames.jsonl")
    assert {**others, "logs": []} == {**found, "logs": []}


def test_a_folder_without_records_is_its_text_log(tmp_path: Path) -> None:
    lines = [f"2026-09-21 12:00:0{n}.000 INFO    {Step(n, 0).line()}\n" for n in range(6)]
    (tmp_path / "pilot.log.1").write_text("".join(lines[:3]))
    (tmp_path / "pilot.log").write_text("".join(lines[3:]))
    found = figures_of(tmp_path)
    assert (found["frames"], found["restarts"], found["span_s"]) == (6, 0, 5.0)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_files_are_known_by_their_content(tmp_path: Path, suffix: str) -> None:
    lines = "".join(step.record() for step in steady(3000)).encode()
    half = lines.index(b"\n", len(lines) // 2) + 1
    packed = PACKERS[suffix](lines[:half]) + PACKERS[suffix](lines[half:])  # two members, as after an append
    (tmp_path / f"frames.jsonl.1.{suffix}").write_bytes(packed)
    write(tmp_path / "frames.jsonl", steady(100, first=3000, at_s=100))
    assert figures_of(tmp_path)["frames"] == 3100
    (tmp_path / "odd").write_bytes(packed)
    assert figures_of(tmp_path / "odd")["frames"] == 3000


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_that_is_cut_or_damaged_gives_what_came_before(tmp_path: Path, suffix: str) -> None:
    random = [Step(n, n / 30, 10 + n * 7919 % 1000 / 77) for n in range(20_000)]
    packed = PACKERS[suffix]("".join(step.record() for step in random).encode())
    path = tmp_path / "frames.jsonl"
    for damaged in (
        packed[: len(packed) * 3 // 4],
        packed[: len(packed) // 2] + bytes(5000) + packed[len(packed) // 2 :],
    ):
        path.write_bytes(damaged)
        outcome = outcome_of(path)
        assert 0 < outcome.tally.frames < 20_000
        assert any("damaged or cut short" in warning for warning in outcome.warnings)


def test_files_that_overlap_are_told(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a", steady(300)), write(tmp_path / "b", steady(300, at_s=5))
    (warning,) = outcome_of(two, one).warnings
    assert "b begins at" in warning
    assert "count twice" in warning


def test_a_file_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl", steady(10))
    (tmp_path / "link").symlink_to(path)
    assert figures_of(path, tmp_path / "link", path, tmp_path)["frames"] == 10


def test_lines_that_are_broken_count_as_such_in_every_file(tmp_path: Path) -> None:
    rotated(tmp_path, steady(900))
    path = tmp_path / "frames.jsonl.2"
    content = path.read_bytes()
    path.write_bytes(content[:5000] + b"\x00garbage\n" + content[5000:] + b"cut {")
    write_records(tmp_path / "frames.jsonl", 4000)
    (tmp_path / "frames.jsonl.3.gz").write_bytes(gzip.compress((tmp_path / "frames.jsonl.3").read_bytes()))
    (tmp_path / "frames.jsonl.3").unlink()
    one = outcome_of(tmp_path)
    assert one.tally.broken == 3  # the line that the garbage fell into, in two pieces, and the one that was cut
    assert one.tally.frames > 4000


def test_every_byte_is_told_as_progress_once(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl", steady(2000))
    told: list[int] = []
    read(expand([str(path)]), Query(NOW), told.append)
    assert sum(told) == path.stat().st_size


def test_what_holds_no_frame_is_refused(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.touch()
    binary.write_bytes(bytes(range(256)) * 1000)
    with pytest.raises(SettingsError, match=r"empty, there is no frame.* It takes frames\.jsonl"):
        outcome_of(empty)
    with pytest.raises(SettingsError, match=r"none of .* lines is a frame of the pilot"):
        outcome_of(binary)
    with pytest.raises(SettingsError, match=r"neither frames\.jsonl nor pilot.log"):
        outcome_of(tmp_path)
    with pytest.raises(SettingsError, match="No such file"):
        outcome_of(tmp_path / "none")
    with pytest.raises(SettingsError, match="is no name of a file"):
        outcome_of("a\0b")
    found = figures_of(write(tmp_path / "frames.jsonl", steady(5)), empty, binary)
    assert found["frames"] == 5
