"""Where ordinary images are copied to, so that the device can read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.backends.cuda import READ_AHEAD, Gpu, HostMemory
from perception.frame import Image

ALL_ROWS = (slice(None),)


class Staging:
    """Memory for one image at a time, as large as the largest so far.

    A whole image goes straight to a device with memory of its own: CUDA copies a piece while the piece before it is on
    the bus. Single rows, and all images for an integrated GPU, go into page-locked memory, which the device reads in
    place.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._memory: HostMemory | None = None
        self._image: Image | None = None
        self._device_memory: Any = None
        self._device_bytes = 0

    def copy(self, image: Image, needed: Sequence[slice]) -> int:
        """Copies the `needed` rows of an image (H, W, 3) uint8; the address of its first byte for the device.

        What is then put on the stream of the device finds it there. Raises BackendError where there is no room.
        """
        if needed == ALL_ROWS and not self._gpu.is_integrated:
            return self._upload(image)
        if self._memory is None or self._image is None or self._image.shape != image.shape:
            self._memory, self._image = self._room_for(image)
        for rows in needed:
            np.copyto(self._image[rows], image[rows])
        return self._memory.address

    def _upload(self, image: Image) -> int:
        if self._device_bytes < image.nbytes:
            self._device_memory = self._gpu.device_memory(image.nbytes + READ_AHEAD)
            self._device_bytes = image.nbytes
        self._gpu.cuda.memcpy_htod_async(self._device_memory, np.ascontiguousarray(image), self._gpu.stream)
        return int(self._device_memory)

    def _room_for(self, image: Image) -> tuple[HostMemory, Image]:
        memory = self._memory
        if memory is None or len(memory.bytes) < image.nbytes + READ_AHEAD:
            memory = self._gpu.host_memory(image.nbytes)
        return memory, memory.bytes[: image.nbytes].reshape(image.shape)
