"""A file of lines: its bound, its rotation, and disks that are full, read-only or gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.system.bounded_file import FILES, LOOK_S, RETRY_S, BoundedFile
from tests.doubles.fakes import FakeClock
from tests.small_disk import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


class Lines:
    """A BoundedFile with all that it said, on a clock that moves only when told."""

    def __init__(self, path: Path, max_bytes: int = 1 << 20) -> None:
        self.said: list[str] = []
        self.clock = FakeClock()
        self.file = BoundedFile(path, max_bytes, self.said.append, self.clock)

    def write(self, *lines: str) -> None:
        for line in lines:
            self.file.write(line.encode() + b"\n")


def all_lines(path: Path) -> list[str]:
    """The lines of the file and its older ones, oldest first."""
    numbered = [path.with_name(f"{path.name}.{number}") for number in range(FILES - 1, 0, -1)]
    return [line for file in (*numbered, path) if file.exists() for line in file.read_text().splitlines()]


def total_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_lines_are_appended_in_order_and_each_is_there_at_once(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "new" / "folder" / "x.log")
    for number in range(5):
        lines.write(f"line {number}")
        assert (tmp_path / "new/folder/x.log").read_text().splitlines()[-1] == f"line {number}"
    lines.file.close()
    assert all_lines(tmp_path / "new/folder/x.log") == [f"line {number}" for number in range(5)]
    assert lines.said == []


def test_what_was_there_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("before\n")
    lines = Lines(path)
    lines.write("after")
    lines.file.close()
    assert path.read_text() == "before\nafter\n"


@pytest.mark.parametrize("left", ["half a li", "before\nhalf a li", '{"schema":1,"ts'])
def test_half_a_line_left_by_a_kill_does_not_swallow_the_next(tmp_path: Path, left: str) -> None:
    path = tmp_path / "x.log"
    path.write_text(left)
    lines = Lines(path)
    lines.write("whole", "next")
    lines.file.close()
    assert path.read_text() == f"{left}\nwhole\nnext\n"


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=120))
def test_all_files_together_stay_within_the_bound(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    folder = tmp_path_factory.mktemp("logs")
    lines = Lines(folder / "x.log", max_bytes=400)
    for number, length in enumerate(lengths):
        lines.write(f"{number:03d}".ljust(length, "."))
        assert total_size(folder) <= 400
    lines.file.close()
    kept = [int(line[:3]) for line in all_lines(folder / "x.log")]
    assert kept == list(range(len(lengths)))[-len(kept) :]
    assert lines.said == []


def test_the_oldest_lines_go_first_and_the_newest_are_in_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    lines = Lines(path, max_bytes=FILES * 20)  # two lines of ten bytes in each file
    lines.write(*(f"line {number:04d}" for number in range(11)))
    lines.file.close()
    contents = {file.name: file.read_text().split("\n")[:-1] for file in tmp_path.iterdir()}
    assert contents == {
        "x.log": ["line 0010"],
        "x.log.1": ["line 0008", "line 0009"],
        "x.log.2": ["line 0006", "line 0007"],
        "x.log.3": ["line 0004", "line 0005"],
    }


def test_the_bound_holds_across_a_restart(tmp_path: Path) -> None:
    for run in range(12):
        lines = Lines(tmp_path / "x.log", max_bytes=200)
        lines.write(*(f"run {run} line {number}" for number in range(3)))
        lines.file.close()
        assert total_size(tmp_path) <= 200


def test_a_file_far_above_the_bound_is_moved_away_at_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("old\n" * 1000)
    lines = Lines(path, max_bytes=400)
    lines.write("new")
    lines.file.close()
    assert path.read_text() == "new\n"


def test_a_line_longer_than_a_file_may_be_is_kept_whole(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "x.log", max_bytes=40)
    lines.write("a", "b" * 100, "c")
    lines.file.close()
    assert all_lines(tmp_path / "x.log") == ["a", "b" * 100, "c"]


def test_a_full_disk_loses_lines_with_one_warning_and_says_when_it_works_again(disk: SmallDisk) -> None:
    path = disk.path / "x.log"
    lines = Lines(path)
    lines.write("first")
    filler = disk.fill()
    line = "x" * 5000  # more than the rest of the page that the file has already
    for _ in range(50):
        lines.write(line)
        lines.clock.now += 1
    assert lines.said == [f"{path} cannot be written (No space left on device): lines are lost until it can"]
    filler.unlink()
    lines.clock.now += RETRY_S
    lines.write("again", "and on")
    lines.file.close()
    assert lines.said[1:] == [f"{path} is written again; 50 lines were lost"]
    assert path.read_text() == "first\nagain\nand on\n"  # nothing half written stays


def test_a_second_outage_is_told_anew_with_its_own_number(disk: SmallDisk) -> None:
    lines = Lines(disk.path / "x.log")
    for count in (3, 2):
        filler = disk.fill()
        lines.write(*["x" * 9000] * count)
        filler.unlink()
        lines.clock.now += RETRY_S
        lines.write("again")
    lines.file.close()
    assert [said.partition(" ")[2][:15] for said in lines.said] == ["cannot be writt", "is written agai"] * 2
    assert [said.split("; ")[1] for said in lines.said[1::2]] == ["3 lines were lost", "2 lines were lost"]


def test_a_disk_that_fails_is_not_tried_at_every_line(disk: SmallDisk) -> None:
    lines = Lines(disk.path / "x.log")
    filler = disk.fill()
    lines.write("x" * 9000)
    filler.unlink()
    lines.write("too soon")
    lines.clock.now += RETRY_S
    lines.write("in time")
    lines.file.close()
    assert all_lines(disk.path / "x.log") == ["in time"]


def test_a_disk_that_turns_read_only_loses_lines_until_it_can_be_written_again(disk: SmallDisk) -> None:
    disk.make_read_only()
    lines = Lines(disk.path / "logs" / "x.log")
    lines.write("a", "b")
    assert len(lines.said) == 1
    assert "Read-only file system" in lines.said[0]
    disk.make_read_only(False)
    lines.clock.now += RETRY_S
    lines.write("c")
    lines.file.close()
    assert all_lines(disk.path / "logs" / "x.log") == ["c"]
    assert lines.said[1].endswith("is written again; 2 lines were lost")


@pytest.mark.parametrize(
    ("obstacle", "reason"), [("file", "File exists"), ("folder", "Is a directory"), ("full", "No space left")]
)
def test_a_path_that_cannot_be_a_file_loses_lines_with_its_reason(tmp_path: Path, obstacle: str, reason: str) -> None:
    path = tmp_path / "logs" / "x.log"
    if obstacle == "file":
        path.parent.write_text("")
    elif obstacle == "folder":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.symlink_to("/dev/full")
    lines = Lines(path)
    lines.write("a", "b", "c")
    lines.file.close()
    assert len(lines.said) == 1
    assert lines.said[0].startswith(f"{path} cannot be written ({reason}")


def test_a_file_whose_closing_fails_as_well_is_only_lost(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "x.log")
    lines.write("first")
    handle = lines.file._file
    assert handle is not None
    os.close(handle.fileno())
    lines.write("lost")
    assert lines.said == [f"{tmp_path}/x.log cannot be written (Bad file descriptor): lines are lost until it can"]
    lines.clock.now += RETRY_S
    lines.write("again")
    lines.file.close()
    assert all_lines(tmp_path / "x.log") == ["first", "again"]


def test_a_folder_that_was_removed_is_made_again_at_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    lines = Lines(path, max_bytes=FILES * 10)
    lines.write("a")
    path.unlink()
    path.parent.rmdir()
    lines.write("bbbbbbbb", "cccccccc")
    lines.clock.now += RETRY_S
    lines.write("d")
    lines.file.close()
    assert all_lines(path)[-1] == "d"


def test_a_file_that_somebody_deleted_is_made_again_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    lines = Lines(path)
    lines.write("a")
    path.unlink()
    for number in range(4):
        lines.clock.now += LOOK_S / 2
        lines.write(f"later {number}")
    lines.file.close()
    assert path.read_text().splitlines()[-3:] == ["later 1", "later 2", "later 3"]
    assert lines.said == []


@pytest.mark.parametrize("gone", [["x.log"], ["x.log", "x.log.1"], ["x.log.1"]])
def test_files_that_somebody_deleted_hold_up_no_rotation(tmp_path: Path, gone: list[str]) -> None:
    lines = Lines(tmp_path / "x.log", max_bytes=FILES * 10)
    lines.write("aaaaaaaa", "bbbbbbbb", "cccccccc")
    for name in gone:
        (tmp_path / name).unlink()
    lines.write("dddddddd", "eeeeeeee")
    lines.file.close()
    assert all_lines(tmp_path / "x.log")[-2:] == ["dddddddd", "eeeeeeee"]
    assert lines.said == []


def test_closing_twice_and_writing_afterwards_are_no_fault(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "x.log")
    lines.file.close()
    lines.write("a")
    lines.file.close()
    lines.file.close()
    lines.write("b")
    lines.file.close()
    assert all_lines(tmp_path / "x.log") == ["a", "b"]
