"""Memory that the kernels write for the host: the candidates of each image of a launch, and its times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perception.backends.gpu.cuda import Gpu
from perception.core.detections import Candidates
from perception.core.layouts import MAX_DETECTIONS, Head

SUPPRESSED = 1 << 31
"""Added to the count of an image whose candidates were suppressed, and lie best first: SUPPRESSED of kernels.cu."""
CANDIDATE_FLOATS = 8  # left, top, right, bottom, confidence, class, anchor (an integer), unused
TIMES = 3


class Answers:
    """Page-locked memory that the last kernel writes for up to `batch` images: Answer and Candidate of kernels.cu.

    anchors: candidates that one image can have. head: how the model counts its classes, and whether it suppressed its
    own overlaps.
    """

    def __init__(self, gpu: Gpu, batch: int, anchors: int, head: Head) -> None:
        self._final = head.layout.final
        self._ids = np.array(head.ids) if head.renumbers else None
        self._answer = gpu.host_memory(8 * TIMES + 4 * batch)
        self._times_ns = self._answer.bytes[: 8 * TIMES].view(np.uint64)
        self._counts = self._answer.bytes[8 * TIMES :][: 4 * batch].view(np.uint32)
        floats = batch * anchors * CANDIDATE_FLOATS
        self._memory = gpu.host_memory(4 * floats)
        lists = self._memory.bytes[: 4 * floats]
        self._lists: npt.NDArray[np.float32] = lists.view(np.float32).reshape(batch, anchors, CANDIDATE_FLOATS)
        self._anchors = lists.view(np.uint32).reshape(self._lists.shape)[..., 6]

    @property
    def address(self) -> int:
        """The device address of the Answer."""
        return self._answer.address

    @property
    def lists_address(self) -> int:
        """The device address of the candidates."""
        return self._memory.address

    def device_ms(self) -> tuple[float, float, float]:
        """The times of letterbox, engine and the kernels after it in the last launch, by the clock of the device."""
        letterbox_ns, infer_ns, filter_ns = self._times_ns.tolist()
        return letterbox_ns * 1e-6, infer_ns * 1e-6, filter_ns * 1e-6

    def candidates(self, slot: int) -> Candidates:
        """Return the candidates of one image; those that are not `final` in the order of the engine's output."""
        count: int = self._counts.item(slot)
        is_suppressed = count >= SUPPRESSED
        if is_suppressed:
            rows = self._lists[slot, : count - SUPPRESSED].copy()
        else:
            rows, anchors = self._lists[slot, :count], self._anchors[slot, :count]  # as the threads came, which varies
            order = np.lexsort((anchors, -rows[:, 4]))[:MAX_DETECTIONS] if self._final else anchors.argsort()
            rows = rows.take(order, 0)
        class_id = rows[:, 5].astype(np.int64)
        if self._ids is not None:
            class_id = self._ids[class_id]
        return Candidates(rows[:, :4], rows[:, 4], class_id, is_suppressed or self._final)
