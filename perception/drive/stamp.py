"""A frame's number, drawn into the picture as black and white blocks that survive lossy video.

A strip of 40 blocks runs along the top edge and again along the bottom: 32 bits of the number, most significant first,
then 8 bits of checksum. Each block is a fortieth of the width and a 45th of the height, at least 16 pixels.
"""

from __future__ import annotations

import numpy as np

from perception.core.frame import Image

BITS = 40
_DARK, _BRIGHT = 96.0, 160.0


def _checksum(number: int) -> int:
    """CRC-8 (polynomial 0x07) of four bytes; it starts from 0xA5, so that an all black strip is no number."""
    crc = 0xA5
    for byte in number.to_bytes(4, "big"):
        crc ^= byte
        for _ in range(8):
            crc = ((crc << 1) ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def strip_height(rows: int) -> int:
    """The height of the strip in pixels in a picture of that many rows."""
    return max(16, rows // 45)


def draw_stamp(image: Image, number: int) -> None:
    """Draw the lowest 32 bits of `number` into the picture (H, W, 3), in place."""
    rows, width = image.shape[:2]
    number &= 0xFFFFFFFF
    word = (number << 8) | _checksum(number)
    edges = [round(i * width / BITS) for i in range(BITS + 1)]
    line = np.zeros((width, 3), np.uint8)
    for bit in range(BITS):
        if word >> (BITS - 1 - bit) & 1:
            line[edges[bit] : edges[bit + 1]] = 255
    tall = strip_height(rows)
    image[:tall] = line
    image[rows - tall :] = line


def _read_strip(image: Image, top: int, tall: int) -> int | None:
    """The word of one strip; None where a block is neither black nor white."""
    width = image.shape[1]
    word = 0
    middle = top + tall // 2
    for bit in range(BITS):
        column = int((bit + 0.5) * width / BITS)
        value = float(image[middle - 2 : middle + 2, column - 2 : column + 2].mean())
        if _DARK < value < _BRIGHT:
            return None
        word = word << 1 | (value >= _BRIGHT)
    return word


def read_stamp(image: Image) -> int | None:
    """The number in a stamped picture (H, W, 3) or (H, W) uint8.

    None where there is no stamp, a block or the checksum is damaged, or top and bottom disagree (a torn frame).
    """
    rows, width = image.shape[:2]
    tall = strip_height(rows)
    if rows < 2 * tall or width < BITS * 4:
        return None
    top, bottom = _read_strip(image, 0, tall), _read_strip(image, rows - tall, tall)
    if top is None or top != bottom:
        return None
    number = top >> 8
    return number if _checksum(number) == top & 0xFF else None
