"""The kernels of kernels.cu, each put on the stream of the device with what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perception.backends.gpu.answers import Answers
from perception.backends.gpu.kernels import BLOCK_THREADS, Placement
from perception.backends.tensorrt.runtime import Engine

NOTHING_SUPPRESSED = -1.0


@dataclass(frozen=True, slots=True)
class Vehicles:
    """The vehicle classes in device memory: a flag for each class, the ids, and their count."""

    flags: Any
    ids: Any
    count: int


class Launches:
    """Puts kernels on a stream; what they get must live until they have run.

    module: the loaded kernels. class_count: of the model. final: its head suppresses overlaps itself.
    """

    def __init__(self, module: Any, engine: Engine, class_count: int, final: bool) -> None:
        self._stream = engine.gpu.stream
        self._input, self._output = engine.input, engine.output
        self._classes = class_count
        self._final = final
        self.anchors = engine.output.shape[1 if final else 2]
        self._find_images = module.get_function("find_images").prepare("PP")
        self._letterbox = module.get_function(f"letterbox_{engine.input.dtype.name}").prepare("PlPPiiiPiiP")
        kind = "final" if final else "raw"
        self._filter = module.get_function(f"filter_{kind}_{engine.output.dtype.name}").prepare("PiiPPifPPP")
        self._suppress = module.get_function("suppress").prepare("PidPPP")

    def find_images(self, images: int, sources: int, found: int) -> None:
        """Brings the addresses of the pictures from host memory at `sources` to device memory at `found`."""
        self._find_images.prepared_async_call((1, 1, 1), (images, 1, 1), self._stream, sources, found)

    def letterbox(self, slot: int, placement: Placement, image: int, state: Any) -> None:
        """One picture into its slot of the engine's input. image: device memory that holds the picture's address."""
        box, (height, width), tensor = placement.box, self._input.shape[2:], self._input
        place = 3 * slot * height * width + box.top * width + box.left
        self._letterbox.prepared_async_call(
            (-(-box.scaled_hw[1] // placement.block_width), box.scaled_hw[0], 1),
            (BLOCK_THREADS, 1, 1),
            self._stream,
            image,
            3 * box.image_hw[1],
            int(placement.columns),
            int(placement.rows),
            box.scaled_hw[1],
            placement.block_width,
            placement.staged,
            tensor.address + place * tensor.dtype.itemsize,
            width,
            height * width,
            int(state),
            shared_size=2 * placement.staged,
        )

    def filter(self, images: int, conf: float, vehicles: Vehicles, places: Any, state: Any, lists: Any) -> None:
        """The engine's output to lists of candidates above `conf` in device memory."""
        self._filter.prepared_async_call(
            (-(-self.anchors // BLOCK_THREADS), images, 1),
            (BLOCK_THREADS, 1, 1),
            self._stream,
            self._output.address,
            self.anchors,
            self._classes,
            int(vehicles.flags),
            int(vehicles.ids),
            vehicles.count,
            conf,
            int(places),
            int(state),
            int(lists),
        )

    def suppress(self, images: int, iou: float, lists: Any, state: Any, answers: Answers) -> None:
        """The lists to the host; of boxes that overlap by more than `iou` the best alone."""
        threshold = NOTHING_SUPPRESSED if self._final else iou
        self._suppress.prepared_async_call(
            (images, 1, 1),
            (BLOCK_THREADS, 1, 1),
            self._stream,
            int(lists),
            self.anchors,
            threshold,
            int(state),
            answers.lists_address,
            answers.address,
        )
