"""Page-locked frames that a reader decodes into, so that the device reads a picture where it already lies."""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Callable
from threading import Lock

import numpy as np
from loguru import logger

from perception.backends.gpu.cuda import HostMemory
from perception.core.errors import BackendError
from perception.core.frame import Image

POOL_FRAMES = 6
"""One being decoded, one in the mailbox, one in work, the reader's last, and two for whoever keeps one a little."""
POOL_SIZES = 4
"""Sizes of picture that are lent at the same time: as many cameras as one batch has, as a rule."""


class _Lending:
    """Frames of one size. was_whole: all of them were back when it was looked at last."""

    def __init__(self, memories: list[HostMemory]) -> None:
        self.free: deque[HostMemory] = deque(memories)
        self.size = len(memories)
        self.was_whole = False


class FramePool:
    """Lends frames (H, W, 3) uint8. One is free again once nobody holds it, nor any view of it.

    `lend` is for any thread, and only notes a size that is not there yet; all else belongs to the main thread, which
    alone allocates, and frees what the pool holds. After `close` a frame that is still held is freed by whoever lets
    go of it. allocate: gives page-locked memory of so many bytes, or raises BackendError. count: how many frames there
    are of a size. sizes: how many sizes there are at a time; the one that was not asked for the longest gives way.
    """

    def __init__(
        self, allocate: Callable[[int], HostMemory], count: int = POOL_FRAMES, sizes: int = POOL_SIZES
    ) -> None:
        self._allocate = allocate
        self._count = count
        self._sizes = sizes
        self._lendings: dict[tuple[int, int], _Lending] = {}  # the latest asked for is the last
        self._retired: list[_Lending] = []
        self._lent: dict[int, tuple[weakref.ref[Image], HostMemory]] = {}
        self._refused: set[tuple[int, int]] = set()
        self._changing = Lock()  # so that no thread takes a frame of a size that is being retired
        self.wanted: frozenset[tuple[int, int]] = frozenset()
        """Sizes (height, width) that somebody asked for in vain; `prepare` makes frames of them."""

    def prepare(self, hw: tuple[int, int]) -> None:
        """From here on frames of this size (height, width) are lent; one warning, and none, where there is no room."""
        with self._changing:
            self.wanted -= {hw}
        if hw in self._lendings or hw in self._refused:
            return
        with self._changing:
            while len(self._lendings) >= self._sizes:
                self._retired.append(self._lendings.pop(next(iter(self._lendings))))
        self.free_retired()
        try:
            memories = [self._allocate(hw[0] * hw[1] * 3) for _ in range(self._count)]
        except BackendError as fault:
            logger.warning(f"Pictures of {hw[1]}x{hw[0]} are copied, there are no page-locked frames: {fault.what}")
            self._refused.add(hw)
            return
        with self._changing:
            self._lendings[hw] = _Lending(memories)

    def free_retired(self) -> None:
        """Frees the sizes that gave way, once all their frames are back.

        At the second look that finds them so: at the first one another thread may still be about to give a frame back,
        and would then be the one that frees.
        """
        if not self._retired:
            return
        kept = []
        for lending in self._retired:
            whole = len(lending.free) == lending.size
            if not (whole and lending.was_whole):
                kept.append(lending)
            lending.was_whole = whole
        self._retired = kept

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """A frame to write a picture of this size into; None where none is free, or none of this size is there yet."""
        with self._changing:
            lending = self._lendings.pop(hw, None)
            if lending is None:
                self.wanted |= {hw} - self._refused
                return None
            self._lendings[hw] = lending
            if not lending.free:
                return None
            memory = lending.free.popleft()
        # Over an object of ctypes, for numpy sees through a memoryview: over an array it would tie each view of the
        # frame to that array, and the frame would be lent again under the view.
        over = (ctypes.c_uint8 * (hw[0] * hw[1] * 3)).from_buffer(memory.bytes.data)
        frame: Image = np.ndarray((*hw, 3), np.uint8, buffer=memoryview(over))
        key = id(frame)

        def give_back(_: weakref.ref[Image]) -> None:
            self._lent.pop(key, None)  # `close` forgets them all
            lending.free.append(memory)

        self._lent[key] = (weakref.ref(frame, give_back), memory)
        return frame

    def address(self, image: Image) -> int | None:
        """Return the device address of a frame of this pool; None for any other image."""
        lent = self._lent.get(id(image))
        return lent[1].address if lent else None

    def close(self) -> None:
        """Lends no more, and lets go of all memory: the device may not read a frame of it any longer."""
        with self._changing:
            self._lendings.clear()
        self._retired.clear()
        self._lent.clear()
