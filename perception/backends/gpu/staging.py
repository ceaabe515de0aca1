"""Page-locked memory that ordinary images are copied to, so that the device can read them."""

from __future__ import annotations

from collections.abc import Sequence

from perception.backends.gpu.copying import Copier
from perception.backends.gpu.cuda import READ_AHEAD, Gpu, HostMemory
from perception.core.frame import Image


class Staging:
    """Page-locked memory for one image at a time, as large as the largest so far; the device reads it in place."""

    def __init__(self, gpu: Gpu, copier: Copier) -> None:
        self._gpu = gpu
        self._copier = copier
        self._memory: HostMemory | None = None
        self._image: Image | None = None

    def copy(self, image: Image, needed: Sequence[slice]) -> int:
        """Copies the `needed` rows of an image (H, W, 3) uint8; the address of its first byte for the device.

        Raises BackendError where there is no room.
        """
        if self._memory is None or self._image is None or self._image.shape != image.shape:
            self._memory, self._image = self._room_for(image)
        for rows in needed:
            self._copier.copy(self._image[rows], image[rows])
        return self._memory.address

    def _room_for(self, image: Image) -> tuple[HostMemory, Image]:
        memory = self._memory
        if memory is None or len(memory.bytes) < image.nbytes + READ_AHEAD:
            memory = self._gpu.host_memory(image.nbytes)
        return memory, memory.bytes[: image.nbytes].reshape(image.shape)
