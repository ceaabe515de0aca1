"""Makes a backend of a session: preprocess on the CPU, the session, decoding of its raw head."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from perception.backends.session import Floats, Session
from perception.errors import BackendError, GpuError
from perception.frame import BackendInfo, Candidates, Image, StageTimes
from perception.heads import is_end_to_end
from perception.postprocess import decode
from perception.preprocess import Letterbox, Preprocessor

PickClasses = Callable[[Mapping[int, str]], tuple[int, ...]]
"""Which of the model's classes are vehicles, given their names by id."""


class SessionBackend:
    """ONNX Runtime, PyTorch or TensorRtSession as a Backend.

    One inference on an empty picture shows at once whether it can serve. names: the model's classes where its file
    names none. Raises BackendError for a model without names, or one whose output is of no known layout.
    """

    def __init__(self, session: Session, pick_classes: PickClasses, names: Sequence[str] = ()) -> None:
        self._session = session
        self._preprocess = Preprocessor(session.input_hw, session.dtype)
        class_names = dict(session.class_names) or dict(enumerate(names))
        if not class_names:
            raise BackendError(
                "The model's file does not name its classes", "List them in the settings key model.names."
            )
        self._class_ids = pick_classes(class_names)
        self._class_count = len(class_names)
        self.info = BackendInfo(session.name, session.precision, session.input_hw, session.batch or 1, class_names)
        self._check_layout()

    def _check_layout(self) -> None:
        height, width = self._session.input_hw
        try:
            output = self._run(np.zeros((self.info.batch, 3, height, width), self._session.dtype))
        except GpuError as fault:  # at the start there are other backends to try; later the process must end
            raise BackendError(fault.what) from None
        try:
            is_end_to_end(output.shape, self._class_count)
        except ValueError as error:
            raise BackendError(f"The model cannot be used: {error}", "Give a detection model.") from None

    def __enter__(self) -> SessionBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def look_for(self, class_ids: tuple[int, ...]) -> None:
        """Other classes are the vehicles from the next `infer` on."""
        self._class_ids = class_ids

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """None: the CPU reads an image wherever it lies."""
        return None

    def infer(
        self,
        images: Sequence[Image],
        conf: float,
        meanwhile: Callable[[], None] | None = None,
        iou: float | None = None,
    ) -> list[tuple[Candidates, StageTimes]]:
        """Candidates above `conf` in pixels of each image (H, W, 3) uint8 BGR, in the order of the images.

        Of a batch each image is told its share of the time. meanwhile: not called, there is no device to wait for. iou:
        not used, nothing is suppressed here.
        """
        size = self._session.batch or max(len(images), 1)
        return [
            pair for start in range(0, len(images), size) for pair in self._infer_batch(images[start:][:size], conf)
        ]

    def _infer_batch(self, images: Sequence[Image], conf: float) -> list[tuple[Candidates, StageTimes]]:
        started = time.perf_counter()
        tensor, boxes = self._preprocess(images)
        prepared = time.perf_counter()
        output = self._run(tensor)
        inferred = time.perf_counter()
        candidates = [self._decode(raw, box, conf) for raw, box in zip(output, boxes)]
        share = 1000 / len(images)
        stages = StageTimes(
            (prepared - started) * share,
            (inferred - prepared) * share,
            (time.perf_counter() - inferred) * share,
        )
        return [(found, stages) for found in candidates]

    def _run(self, tensor: Floats) -> Floats:
        """The outputs of a batch; a network of fixed batch gets the missing images as zeros."""
        missing = (self._session.batch or len(tensor)) - len(tensor)
        if missing:
            tensor = np.concatenate([tensor, np.zeros((missing, *tensor.shape[1:]), tensor.dtype)])
        return self._session.run(tensor)

    def _decode(self, raw: Floats, box: Letterbox, conf: float) -> Candidates:
        found = decode(raw, conf, self._class_ids, self._class_count)
        return Candidates(box.to_image(found.xyxy), found.confidence, found.class_id, found.final)
