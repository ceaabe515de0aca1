"""A picture to its vehicle candidates without leaving the GPU: letterbox kernel, engine, filter, suppression.

The letterbox reads the picture where the camera's reader left it, in page-locked memory, or where an ordinary picture
was copied to; the last kernel writes the few boxes that are left straight into the host's memory. All are recorded as
one CUDA graph, which finds the address of the picture in host memory, so that it serves every picture of a size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from loguru import logger

from perception.backends.base import Found, Request
from perception.backends.gpu import kernels
from perception.backends.gpu.answers import CANDIDATE_FLOATS, Answers
from perception.backends.gpu.copying import Copier
from perception.backends.gpu.cuda import CaptureRefused, Graph
from perception.backends.gpu.frame_pool import POOL_FRAMES, POOL_SIZES, FramePool
from perception.backends.gpu.graphs import Graphs
from perception.backends.gpu.kernels import Placement
from perception.backends.gpu.launches import Launches, Vehicles
from perception.backends.gpu.staging import Staging
from perception.backends.preprocess import PAD_GREY, Letterbox
from perception.backends.tensorrt.runtime import Engine
from perception.core.errors import BackendError
from perception.core.frame import Frame, Image
from perception.core.layouts import Head
from perception.core.results import BackendInfo, StageTimes

STATE_HEAD_BYTES = 28
PLACEMENTS = 16  # sizes of image whose taps are kept


def _filled(box: Letterbox) -> tuple[int, int, tuple[int, int]]:
    """The part of an input that pictures fill; the rest is padding."""
    return box.left, box.top, box.scaled_hw


class GpuPipeline:
    """An engine as a Backend of the service: all from the picture to its few boxes on the GPU.

    module: the loaded kernels. head: of a layout that they decode. with_graph False launches every kernel on its own;
    pool_frames: how many frames there are to lend. Owns the engine and its Gpu from here on, and closes both.
    """

    def __init__(
        self,
        engine: Engine,
        module: Any,
        head: Head,
        class_names: Mapping[int, str],
        with_graph: bool = True,
        pool_frames: int = POOL_FRAMES,
    ) -> None:
        self._engine = engine
        self._gpu = gpu = engine.gpu
        self._with_graph = with_graph
        self.info = BackendInfo(
            "tensorrt", engine.precision, engine.input_hw, engine.batch, class_names, head.layout.name
        )
        self._frames = FramePool(gpu.host_memory, pool_frames, max(POOL_SIZES, engine.batch))
        self._head = head
        self._launches = Launches(module, engine, len(head.ids), head.layout.final)
        self._prepare_memory(head)
        self._placements: dict[tuple[int, int], Placement] = {}
        self._placed: list[Placement | None] = [None] * engine.batch
        self._copier = Copier()
        self._staging = [Staging(gpu, self._copier) for _ in range(engine.batch)]
        self._launch_key: tuple[int, Request] | None = None
        self._graph: Graph | None = None
        self._graphs = Graphs()
        self._class_ids: tuple[int, ...] = ()

    def _prepare_memory(self, head: Head) -> None:
        gpu, batch = self._gpu, self._engine.batch
        state = np.zeros(STATE_HEAD_BYTES + 4 * batch, np.uint8)
        state[:8] = state[16:24] = 0xFF  # earliest times: later than any
        self._state = gpu.upload(state)
        self._places = np.zeros((batch, 4), np.float32)
        self._device_places = gpu.upload(self._places)
        self._images = gpu.device_memory(8 * batch)
        self._sources_memory = gpu.host_memory(8 * batch)
        self._sources = self._sources_memory.bytes[: 8 * batch].view(np.uint64)
        anchors = self._launches.anchors
        self._found = gpu.device_memory(4 * CANDIDATE_FLOATS * batch * anchors)
        classes = len(head.ids)
        self._vehicles = Vehicles(gpu.device_memory(classes), gpu.device_memory(4 * classes), 0)
        self._answers = Answers(gpu, batch, anchors, head)
        tensor = self._engine.input
        self._grey = np.full(tensor.shape[1:], np.float32(PAD_GREY) / np.float32(255), tensor.dtype)

    def __enter__(self) -> GpuPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees all in order: graph, memory, engine, context."""
        self._copier.close()
        self._forget_launch()
        self._frames.close()
        del self._answers, self._sources, self._sources_memory, self._images, self._found
        del self._state, self._device_places, self._vehicles
        del self._placements, self._placed, self._staging, self._launches
        self._engine.close()
        self._gpu.close()

    def _look_for(self, class_ids: tuple[int, ...]) -> None:
        """Other classes are the vehicles from here on."""
        places = self._head.places(class_ids)
        is_vehicle = np.zeros(len(self._head.ids), np.uint8)
        is_vehicle[list(places)] = 1
        self._forget_launch()  # its kernels were given the count of before
        self._gpu.cuda.memcpy_htod(self._vehicles.flags, is_vehicle)
        self._gpu.cuda.memcpy_htod(self._vehicles.ids, np.asarray(places, np.int32))
        self._vehicles = replace(self._vehicles, count=len(places))
        self._class_ids = class_ids

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """A page-locked frame (height, width, 3) to decode into, for any thread; None where none is free."""
        return self._frames.lend(hw)

    @property
    def device_ms(self) -> tuple[float, float, float]:
        """The times of letterbox, engine and the kernels after it in the last launch, by the clock of the device."""
        return self._answers.device_ms()

    def detect(self, frames: Sequence[Frame], request: Request) -> list[Found]:
        """Return the candidates of each frame, in order. Of a few those that overlap are suppressed as by nms: `final`.

        GpuError where the device fails: it does not come back.
        """
        if not frames:
            return []
        batch = self._engine.batch
        try:
            if request.class_ids != self._class_ids:
                self._look_for(request.class_ids)
            if len(frames) <= batch:
                return self._detect_batch(frames, request)
            chunks = [frames[start : start + batch] for start in range(0, len(frames), batch)]
            return [found for chunk in chunks for found in self._detect_batch(chunk, request)]
        except self._gpu.cuda.Error as error:
            raise self._gpu.fault(error) from error
        except BackendError as fault:  # memory for pictures of another size: too late for another backend
            raise self._gpu.fault(fault) from fault

    def _detect_batch(self, frames: Sequence[Frame], request: Request) -> list[Found]:
        started = time.perf_counter()
        for slot, frame in enumerate(frames):
            self._find(slot, frame.image)
        if self._launch_key != (len(frames), request):
            self._prepare_launch(len(frames), request)
        prepared = time.perf_counter()
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        self._gpu.stream.synchronize()
        answered = time.perf_counter()
        answers = self._answers
        found = [answers.candidates(slot) for slot in range(len(frames))]
        letterbox_ms, _, filter_ms = answers.device_ms()
        before_ms, device_ms = (prepared - started) * 1000, (answered - prepared) * 1000
        after_ms = (time.perf_counter() - answered) * 1000
        infer_ms = max(device_ms - letterbox_ms - filter_ms, 0.0)
        share = 1 / len(frames)
        stages = StageTimes((before_ms + letterbox_ms) * share, infer_ms * share, (filter_ms + after_ms) * share)
        return [Found(candidates, stages) for candidates in found]

    def _find(self, slot: int, image: Image) -> None:
        """Tells the letterbox of a slot where its image lies."""
        placement = self._placed[slot]
        if placement is None or placement.box.image_hw != image.shape[:2]:
            placement = self._place(slot, (image.shape[0], image.shape[1]))
        address = self._frames.address(image)
        if address is None:
            hw, wanted = placement.box.image_hw, self._frames.wanted
            if wanted and hw in wanted:
                self._frames.prepare(hw)
            address = self._staging[slot].copy(image, placement.needed)
        self._sources[slot] = address

    def _place(self, slot: int, hw: tuple[int, int]) -> Placement:
        """Makes a slot of the input ready for images of another size: its padding, and where they lie."""
        placement = self._placements.pop(hw, None)
        if placement is None:
            placement = kernels.place(self._gpu, Letterbox.fit(hw, self.info.input_hw))
        self._placements[hw] = placement  # the latest used is the last
        while len(self._placements) > max(PLACEMENTS, self._engine.batch):
            del self._placements[next(iter(self._placements))]
        before, grey = self._placed[slot], self._grey
        if before is None or _filled(before.box) != _filled(placement.box):
            self._gpu.cuda.memcpy_htod(self._engine.input.address + slot * grey.nbytes, grey)
        self._places[slot] = placement.place
        self._gpu.cuda.memcpy_htod(self._device_places, self._places)
        self._placed[slot] = placement
        self._launch_key = None
        self._frames.free_retired()
        return placement

    def _forget_launch(self) -> None:
        self._launch_key = self._graph = None
        self._graphs.clear()

    def _prepare_launch(self, images: int, request: Request) -> None:
        """Makes the next launches ready for so many images, where they now lie, and this request."""
        self._launch_key = (images, request)
        placed = tuple(self._placed[:images])
        key = images, request, tuple(placement.box.image_hw for placement in placed if placement)
        self._graph = self._graphs.find(key)
        if self._graph is not None:
            return
        if self._engine.set_batch(images):
            self._graphs.clear()
        if not self._with_graph:
            return
        self._enqueue()  # TensorRT does its last preparations in a first run, which must not be recorded
        self._gpu.stream.synchronize()
        try:
            self._graph = Graph(self._gpu.stream.handle, self._enqueue)
            self._graphs.keep(key, self._graph, placed)
        except CaptureRefused as refusal:
            self._with_graph = False
            logger.warning(f"No CUDA graph, each kernel is launched by itself: {refusal}")

    def _enqueue(self) -> None:
        """Puts all the work of a launch on the stream, kernel by kernel."""
        assert self._launch_key is not None
        images, request = self._launch_key
        launches, addresses = self._launches, int(self._images)
        launches.find_images(images, self._sources_memory.address, addresses)
        for slot, placement in enumerate(self._placed[:images]):
            assert placement is not None
            launches.letterbox(slot, placement, addresses + 8 * slot, self._state)
        self._engine.enqueue()
        launches.filter(images, request.conf, self._vehicles, self._device_places, self._state, self._found)
        launches.suppress(images, request.iou, self._found, self._state, self._answers)
