"""Pictures are measured before they are decoded: giants and parts of pictures are refused with every OpenCV."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception.camera import opencv
from perception.camera.capture import UnusableSource
from perception.camera.images import ImageFolder, load_image, read_image
from perception.camera.picture_file import MAX_PIXELS, PictureFault, check
from perception.camera.uri import parse
from perception.core.errors import SourceError
from perception.workshop.quantize.batches import readable
from tests.camera.clips import numbered, numbers_of

SIDE = 30_000


def noise(height: int, width: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, noise(31, 47), list(options))[1].tobytes()


WHOLE = {
    "jpg": encoded(".jpg"),
    "progressive jpg": encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "jpg with restarts": encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "png": encoded(".png"),
    "bmp": encoded(".bmp"),
    "tiff": encoded(".tif"),
    "webp": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_the_size_in_the_header_is_the_one_that_is_decoded(kind: str) -> None:
    assert check(WHOLE[kind]) == (31, 47)
    assert check(WHOLE[kind] + b"\0" * 100) == (31, 47), "what some cameras write behind it"


def test_a_grey_bmp_and_one_from_the_top_are_measured() -> None:
    assert check(cv2.imencode(".bmp", noise(31, 47)[:, :, 0])[1].tobytes()) == (31, 47)
    plain = bytearray(WHOLE["bmp"])
    struct.pack_into("<i", plain, 22, -31)
    assert check(bytes(plain)) == (31, 47)


@pytest.mark.parametrize("kind", ["jpg", "progressive jpg", "jpg with restarts", "png", "bmp", "webp"])
@pytest.mark.parametrize("share", [0.999, 0.7, 0.3])
def test_a_picture_that_is_cut_off_is_refused_whatever_opencv_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, share: float
) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(WHOLE[kind][: int(len(WHOLE[kind]) * share)])
    # As an older OpenCV does: the part that is there, the rest grey.
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: np.full((31, 47, 3), 128, np.uint8))
    with pytest.raises(PictureFault, match=r"is cut off|is not an image"):
        load_image(path)
    assert read_image(path) is None


def giant_png(width: int = SIDE, height: int = SIDE) -> bytes:
    """A whole PNG whose pixels would take gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def giant_jpeg() -> bytes:
    data = bytearray(WHOLE["jpg"])
    place = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, place + 5, SIDE, SIDE)
    return bytes(data)


def giant_bmp() -> bytes:
    data = bytearray(WHOLE["bmp"])
    struct.pack_into("<ii", data, 18, SIDE, SIDE)
    return bytes(data)


def giant_tiff(tags: tuple[int, int] = (256, 257)) -> bytes:
    entries = [(256, 10), (257, 10)] if tags != (256, 257) else []
    entries += [(tag, SIDE) for tag in tags]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + b"\0\0\0\0"


def giant_webp() -> bytes:
    sides = (16_384 - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


GIANTS = {
    "png": giant_png,
    "jpg": giant_jpeg,
    "bmp": giant_bmp,
    "tiff": giant_tiff,
    "tiles of a tiff": lambda: giant_tiff((322, 323)),
    "webp": giant_webp,
}


@pytest.mark.parametrize("kind", GIANTS)
def test_a_giant_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / "giant.png"
    path.write_bytes(GIANTS[kind]())
    monkeypatch.delattr(cv2, "imdecode")
    with pytest.raises(PictureFault, match=r"is \d+x\d+ pixels large, of 67,108,864 at most, and is not decoded"):
        load_image(path)


def test_the_largest_that_is_decoded_is_just_below(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5)
    assert check(giant_png(side, side)) == (side, side)
    with pytest.raises(PictureFault, match="is not decoded"):
        check(giant_png(side + 1, side))


def test_what_cannot_be_measured_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "imdecode")
    for number, data in enumerate(
        (b"P5 30000 30000 255\n", b"GIF89a" + b"\xff" * 20, b"", b"BM", b"II*\0\xff\xff\xff\xff")
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        assert read_image(path) is None


def test_a_folder_names_a_giant_and_a_part_with_the_reason_and_goes_on(tmp_path: Path, logged: list[str]) -> None:
    assert cv2.imwrite(str(tmp_path / "3.png"), numbered(3))
    (tmp_path / "1.png").write_bytes(giant_png())
    (tmp_path / "2.jpg").write_bytes(WHOLE["jpg"][:-2])
    assert numbers_of(ImageFolder(parse(str(tmp_path)))) == [3]
    assert f"WARNING {tmp_path}/1.png is 30000x30000 pixels large" in logged[0]
    assert logged[1] == f"WARNING {tmp_path}/2.jpg is cut off: its JPEG data end early: passed over"


def test_calibration_passes_over_a_part_of_a_picture(tmp_path: Path) -> None:
    whole = [tmp_path / f"{number}.jpg" for number in range(60)]
    for path in whole:
        path.write_bytes(WHOLE["jpg"])
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(WHOLE["jpg"][:-2])
    told: list[Any] = []
    assert readable([*whole, cut], told.append) == tuple(whole)
    assert "cut.jpg" in str(told[-1])


def test_what_never_ends_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    assert read_image(tmp_path / "zero.png") is None
    assert read_image(tmp_path / "pipe.png") is None


def test_what_a_folder_holds_besides_images_is_named_once(tmp_path: Path, logged: list[str]) -> None:
    assert cv2.imwrite(str(tmp_path / "1.png"), numbered(1))
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / ".hidden").touch()
    assert numbers_of(ImageFolder(parse(f"images://{tmp_path}?loop=1")), 3) == [1, 1, 1]
    assert logged == [f"WARNING {tmp_path}: 2 of its files and folders are left out: clip.mp4, more"]


class Giant:
    """A video as OpenCV opens it, with pictures that are too large."""

    def __init__(self, *_: object) -> None:
        self.released = False

    def isOpened(self) -> bool:
        return True

    def get(self, name: int) -> float:
        return float(SIDE)

    def release(self) -> None:
        self.released = True


def test_a_video_is_measured_before_its_first_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Giant] = []

    def make(*given: object) -> Giant:
        made.append(Giant(*given))
        return made[-1]

    monkeypatch.setattr(cv2, "VideoCapture", make)
    with pytest.raises(UnusableSource, match="is 30000x30000 pixels large, of 67,108,864 at most"):
        opencv.open_capture("rtsp://u:S3cret@h/x", 0)
    assert made[0].released
    with pytest.raises(SourceError) as told:
        opencv.open_capture("rtsp://u:S3cret@h/x", 0)
    assert "S3cret" not in str(told.value)
