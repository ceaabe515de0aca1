"""A picture becomes a network's input: letterbox or stretch, BGR to RGB, 0..255 to 0..1, planar. THE definition, shared
with calibration.

The geometry is that of ultralytics' LetterBox and scale_boxes (8.4): each side is scaled by the same ratio and then
rounded, so the true scale differs a little by axis; padding is split in two with ultralytics' rounding; grey is 114.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from perception.core.detections import Boxes
from perception.core.frame import Image
from perception.core.layouts import Preprocessing

PAD_GREY = 114
PREPROCESS_VERSION = "1"
"""Changes with the bytes that a picture becomes: what was calibrated on others is then calibrated again."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The placement of an image of `image_hw` in an input of `input_hw` (both height, width in pixels).

    The image is scaled to `scaled_hw` and put with its upper left corner at (`top`, `left`).
    """

    image_hw: tuple[int, int]
    input_hw: tuple[int, int]
    scaled_hw: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, image_hw: tuple[int, int], input_hw: tuple[int, int]) -> Letterbox:
        """The placement ultralytics uses. A side never shrinks below one pixel. ValueError for an empty image."""
        _check_image(image_hw)
        ratio = min(input_hw[0] / image_hw[0], input_hw[1] / image_hw[1])
        scaled = max(round(image_hw[0] * ratio), 1), max(round(image_hw[1] * ratio), 1)
        top = round((input_hw[0] - scaled[0]) / 2 - 0.1)
        left = round((input_hw[1] - scaled[1]) / 2 - 0.1)
        return cls(image_hw, input_hw, scaled, top, left)

    @classmethod
    def stretch(cls, image_hw: tuple[int, int], input_hw: tuple[int, int]) -> Letterbox:
        """The placement that fills the input, each side scaled by itself. ValueError for an empty image."""
        _check_image(image_hw)
        return cls(image_hw, input_hw, input_hw, 0, 0)

    def to_image(self, xyxy: Boxes) -> Boxes:
        """Boxes (n, 4) in input pixels, in pixels of the image, not clipped."""
        scale = np.array([self.scaled_hw[1] / self.image_hw[1], self.scaled_hw[0] / self.image_hw[0]] * 2, np.float32)
        offset = np.array([self.left, self.top] * 2, np.float32)
        return ((xyxy - offset) / scale).astype(np.float32, copy=False)


def _check_image(image_hw: tuple[int, int]) -> None:
    if min(image_hw) < 1:
        raise ValueError(f"an image must have at least one pixel, got {image_hw}")


class Preprocessor:
    """Fits pictures into one tensor that it owns and uses again at every call.

    input_hw: (height, width) in pixels; dtype: float32 or float16, as the network asks; way: as its layout asks.
    """

    def __init__(
        self, input_hw: tuple[int, int], dtype: npt.DTypeLike = np.float32, way: Preprocessing = "letterbox"
    ) -> None:
        self._input_hw = input_hw
        self._fit = Letterbox.fit if way == "letterbox" else Letterbox.stretch
        self._dtype = np.dtype(dtype)
        self._tensor = np.empty((0, 3, *input_hw), np.float32)
        self._placed: list[Letterbox | None] = []

    def __call__(self, images: Sequence[Image]) -> tuple[npt.NDArray[np.floating], list[Letterbox]]:
        """The tensor (n, 3, H, W) for images (H, W, 3) uint8 BGR, and where each lies in it.

        The tensor is valid until the next call.
        """
        if len(images) != len(self._tensor):
            self._tensor = np.empty((len(images), 3, *self._input_hw), np.float32)
            self._placed = [None] * len(images)
        boxes = [self._place(slot, image) for slot, image in enumerate(images)]
        return self._tensor.astype(self._dtype, copy=False), boxes

    def _place(self, slot: int, image: Image) -> Letterbox:
        box = self._fit((image.shape[0], image.shape[1]), self._input_hw)
        planes = self._tensor[slot]
        if self._placed[slot] != box:  # the padding stays valid as long as the placement does
            planes.fill(np.float32(PAD_GREY) / np.float32(255))
            self._placed[slot] = box
        height, width = box.scaled_hw
        scaled = image
        if box.scaled_hw != box.image_hw:
            scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        target = planes[:, box.top : box.top + height, box.left : box.left + width]
        # One contiguous plane at a time: three times faster than dividing the interleaved picture and transposing it.
        for plane, channel in zip(target[::-1], cv2.split(scaled)):
            np.divide(channel, np.float32(255), out=plane)
        return box
