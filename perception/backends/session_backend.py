"""Makes a backend of a session: preprocess on the CPU, the session, decoding of its output."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from perception.backends.base import Found, Request, request_of
from perception.backends.models.choice import Candidate, Wish, choose
from perception.backends.preprocess import Letterbox, Preprocessor
from perception.backends.session import Floats, Session
from perception.core.decode import decode
from perception.core.detections import Candidates
from perception.core.errors import BackendError, GpuError
from perception.core.frame import Frame, Image
from perception.core.layouts import Head
from perception.core.results import BackendInfo, StageTimes
from perception.settings.model import Settings
from perception.system.trusted_file import sha256_of


def open_session_backend(session: Session, settings: Settings) -> SessionBackend:
    """Return a backend of the session as the settings want it; closes the session where it cannot serve."""
    with ExitStack() as opened:
        opened.callback(session.close)
        model = settings.model
        request_of(settings, session.facts.class_names(model.names, session.path))  # before any inference
        backend = SessionBackend(session, model.names, Wish(model.layout, settings.engine_dir))
        opened.pop_all()
    return backend


class SessionBackend:
    """ONNX Runtime, PyTorch or TensorRtSession as a Backend.

    One inference on a grey picture, or some where the file is new, shows at once whether it can serve. names: the
    model's classes where its file names none. wish: what the user says of its layout. head: its layout where it was
    chosen before. Raises BackendError for a model without names, or one whose output is of no known layout.
    """

    def __init__(
        self, session: Session, names: Sequence[str] = (), wish: Wish | None = None, head: Head | None = None
    ) -> None:
        self._session = session
        class_names = session.facts.class_names(names, session.path)
        self._head = head or self._choose(class_names, wish or Wish())
        layout = self._head.layout
        self._preprocess = Preprocessor(session.input_hw, session.dtype, layout.preprocessing)
        self._ids = np.array(self._head.ids) if self._head.renumbers else None
        self._class_ids: tuple[int, ...] = ()
        self._places: tuple[int, ...] = ()
        self.info = BackendInfo(
            session.name, session.precision, session.input_hw, session.batch or 1, class_names, layout.name,
            "preprocess and decode on the CPU" if session.name == "tensorrt" else "",
        )  # fmt: skip

    def _choose(self, class_names: Mapping[int, str], wish: Wish) -> Head:
        session = self._session

        def probe(picture: Floats) -> Floats:
            return self._run(np.repeat(picture[None], session.batch or 1, 0).astype(session.dtype))[:1]

        path = session.path
        try:
            return choose(
                Candidate(path, session.facts, class_names, session.input_hw, probe, lambda: sha256_of(path)), wish
            )
        except GpuError as fault:  # at the start there are other backends to try; later the process must end
            raise BackendError(fault.what) from None

    def __enter__(self) -> SessionBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """None: the CPU reads an image wherever it lies."""
        return None

    def detect(self, frames: Sequence[Frame], request: Request) -> list[Found]:
        """Return the candidates of each frame, in order; none is suppressed but by the model itself."""
        if request.class_ids != self._class_ids:
            self._class_ids, self._places = request.class_ids, self._head.places(request.class_ids)
        images = [frame.image for frame in frames]
        size = self._session.batch or max(len(images), 1)
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        return [found for chunk in chunks for found in self._detect_batch(chunk, request.conf)]

    def _detect_batch(self, images: Sequence[Image], conf: float) -> list[Found]:
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
        return [Found(each, stages) for each in candidates]

    def _run(self, tensor: Floats) -> Floats:
        """The outputs of a batch; a network of fixed batch gets the missing images as zeros."""
        missing = (self._session.batch or len(tensor)) - len(tensor)
        if missing:
            tensor = np.concatenate([tensor, np.zeros((missing, *tensor.shape[1:]), tensor.dtype)])
        return self._session.run(tensor)

    def _decode(self, raw: Floats, box: Letterbox, conf: float) -> Candidates:
        found = decode(raw, self._head.layout, conf, self._places, self._session.input_hw)
        class_id = found.class_id if self._ids is None else self._ids[found.class_id]
        return Candidates(box.to_image(found.xyxy), found.confidence, class_id, found.final)
