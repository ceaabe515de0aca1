"""A folder of images: natural order, what cannot be read is named and passed over."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.camera.images import ImageFolder, read_image
from perception.camera.uri import parse
from perception.core.errors import EndOfStream, SourceError
from tests.camera.clips import drain, number_of, numbered, numbers_of, opened


def write_image(path: Path, number: int) -> None:
    assert cv2.imwrite(str(path), numbered(number))


def folder(path: Path, query: str = "") -> ImageFolder:
    return ImageFolder(parse(f"images://{path}{query}"))


def test_images_come_in_natural_order_of_their_names(tmp_path: Path) -> None:
    names = ["frame10.png", "frame9.png", "Frame1.png", "frame2.jpg", "a.bmp", "frame010b.png"]
    for name in names:
        write_image(tmp_path / name, names.index(name))
    order = [names[number] for number in numbers_of(folder(tmp_path))]
    assert order == ["a.bmp", "Frame1.png", "frame2.jpg", "frame9.png", "frame10.png", "frame010b.png"]


def test_the_reader_delivers_each_image_once_with_the_last_one(tmp_path: Path) -> None:
    for number in range(12):
        write_image(tmp_path / f"{number}.png", number)
    with opened(f"images://{tmp_path}") as reader:
        frames = drain(reader)
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.frame_id for frame in frames] == list(range(12))


def test_other_files_and_folders_are_no_images(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 1)
    (tmp_path / "labels.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "folder.png").mkdir()
    source = folder(tmp_path)
    assert source.summary == "1 images"
    assert numbers_of(source) == [1]


def test_an_unreadable_image_is_named_and_passed_over(tmp_path: Path, logged: list[str]) -> None:
    write_image(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("no image at all")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "4.png").write_bytes(whole[:20])
    (tmp_path / "5.png").symlink_to(tmp_path / "1.png")
    assert numbers_of(folder(tmp_path)) == [1, 1]
    for name in ("2.png", "3.png", "4.png"):
        assert f"WARNING {tmp_path / name} is not an image that can be read: passed over" in logged
    assert "WARNING 3 of 5 images could not be read" in logged


def test_a_folder_without_one_readable_image_is_an_error(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(SourceError, match="None of 2 files is an image that can be read"):
        folder(tmp_path).read()


def test_an_empty_folder_is_an_error_that_names_the_kinds_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no images. Looked for .*\.jpg") as caught:
        folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist") as caught:
        folder(tmp_path / "gone")
    assert str(tmp_path / "gone") in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError, match="cannot be read"):
        folder(tmp_path / "loop")
    with pytest.raises(SourceError, match="cannot be read: File name too long"):
        folder(tmp_path / ("x" * 300))


def test_loop_starts_again_after_the_last_image(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", number)
    assert numbers_of(folder(tmp_path, "?loop=1"), 8) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_loop_names_an_unreadable_image_once(tmp_path: Path, logged: list[str]) -> None:
    write_image(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_text("no image")
    assert numbers_of(folder(tmp_path, "?loop=1"), 5) == [1] * 5
    assert len([line for line in logged if "2.png" in line]) == 1


def test_a_loop_ends_with_an_error_when_its_images_are_gone(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 1)
    source = folder(tmp_path, "?loop=1")
    assert numbers_of(source, 2) == [1, 1]
    (tmp_path / "1.png").unlink()
    with pytest.raises(SourceError, match="None of 1 files"):
        source.read()


def test_one_image_file_is_a_source_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    write_image(path, 77)
    source = ImageFolder(parse(str(path)))
    assert numbers_of(source) == [77]
    with pytest.raises(EndOfStream):
        source.read()


def test_every_image_comes_as_bgr_of_8_bits_whatever_the_file_holds(tmp_path: Path) -> None:
    grey, deep, clear = tmp_path / "grey.png", tmp_path / "deep.png", tmp_path / "clear.png"
    cv2.imwrite(str(grey), np.full((20, 30), 90, np.uint8))
    cv2.imwrite(str(deep), np.full((20, 30, 3), 40_000, np.uint16))
    cv2.imwrite(str(clear), np.full((20, 30, 4), 90, np.uint8))
    for path in (grey, deep, clear):
        image = read_image(path)
        assert image is not None
        assert image.shape == (20, 30, 3)
        assert image.dtype == np.uint8


def test_a_missing_image_reads_as_none(tmp_path: Path) -> None:
    assert read_image(tmp_path / "gone.png") is None
