"""The contract of every Backend, tried on each one that this machine can run, and on the fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from detector_service import DetectorService
from perception.backends.base import Backend, Request
from perception.backends.gpu import kernels
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.pytorch import PyTorchSession
from perception.backends.session_backend import SessionBackend, open_session_backend
from perception.backends.tensorrt.backend import open_engine_backend
from perception.backends.tensorrt.engine_file import open_engine
from perception.core.errors import BackendError
from perception.core.frame import Frame
from perception.core.nms import nms
from perception.settings.model import Settings
from tests.doubles import tiny_model
from tests.doubles.emulated_gpu import BINARY
from tests.doubles.fake_tensorrt import write_engine
from tests.doubles.fakes import VEHICLES, FakeBackend, infer, make_candidates, make_image

Open = Callable[[], Backend]
ASKED = Request(0.25, 0.7, VEHICLES)


def onnx_backend(path: Path, imgsz: int = 64) -> SessionBackend:
    return SessionBackend(OnnxRuntimeSession(path, imgsz, 1))


PROFILE = ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))
ENGINES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "raw": {},
        "end2end": {"head": "end2end"},
        "fp16": {"dtype": np.float16},
        "end2end fp16": {"head": "end2end", "dtype": np.float16},
        "batch": {"batch": 4},
        "dynamic": {"batch": None, "profile": PROFILE},
        "dynamic end2end fp16": {"batch": None, "profile": PROFILE, "head": "end2end", "dtype": np.float16},
    }
)
WAYS = ("graph", "eager", "session")
"""All on the GPU as one graph or kernel by kernel, and with preprocess and decode on the CPU."""


def engine_opener(request: pytest.FixtureRequest, tmp_path: Path, way: str, model: Mapping[str, Any]) -> Open:
    """Opens an engine of the tiny model on the emulated GPU."""
    device, patch = request.getfixturevalue("device"), request.getfixturevalue("monkeypatch")
    request.getfixturevalue("tensorrt")
    path = write_engine(tmp_path / "tiny.engine", **model)
    patch.setattr(kernels, "find_nvcc", lambda: None)
    if way != "session":
        patch.setattr(kernels, "_build", lambda architecture: BINARY)
    if way == "eager":
        device.refuse["cuStreamBeginCapture_v2"] = 900
    return lambda: open_engine_backend(open_engine(path), (), 64, tmp_path)


@pytest.fixture(
    params=[
        *("fake", "onnx raw", "onnx end2end", "onnx batch", "onnx dynamic", "onnx fp16"),
        pytest.param("onnx real", marks=pytest.mark.needs("data")),
        pytest.param("pt real", marks=pytest.mark.needs("data", "torch")),
        *(
            pytest.param(f"engine {way} {model}", marks=pytest.mark.needs("g++"))
            for way in WAYS
            for model in ("raw", "dynamic end2end fp16", "batch")
        ),
    ]
)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    kind = request.param
    path = tmp_path / "tiny.onnx"
    if kind.startswith("engine"):
        _, way, model = kind.split(" ", 2)
        return engine_opener(request, tmp_path, way, ENGINES[model])
    if kind == "fake":
        return lambda: FakeBackend(make_candidates((1, 2, 30, 40, 0.9, 2), (1, 2, 30, 40, 0.2, 2)))
    if kind == "onnx raw":
        tiny_model.build(path)
    elif kind == "onnx end2end":
        tiny_model.build(path, head="end2end")
    elif kind == "onnx batch":
        tiny_model.build(path, batch=4)
    elif kind == "onnx dynamic":
        tiny_model.build(path, batch=None, input_hw=None)
    elif kind == "onnx fp16":
        tiny_model.build(path, dtype=np.float16)
    elif kind == "onnx real":
        real = request.getfixturevalue("data") / "weights" / "yolov8n.onnx"
        return lambda: onnx_backend(real)
    else:
        weights = request.getfixturevalue("data") / "weights" / "yolov8n.pt"
        return lambda: SessionBackend(PyTorchSession(weights, 320, 1, "cpu"))
    return lambda: onnx_backend(path)


@pytest.fixture
def backend(opener: Open) -> Iterator[Backend]:
    with opener() as backend:
        yield backend


def pictures() -> list[np.ndarray]:
    noise = np.random.default_rng(1).integers(0, 256, (90, 160, 3), np.uint8)
    return [make_image(114, 48, 64), noise, make_image(7, 1, 1), make_image(0, 200, 30), make_image(255)]


def test_the_info_is_complete(backend: Backend) -> None:
    info = backend.info
    assert info.name
    assert info.precision in ("fp32", "fp16", "int8")
    assert min(info.input_hw) >= 32
    assert info.batch >= 1
    assert info.class_names[2] == "car"


def test_each_image_gets_its_answer_in_order(backend: Backend) -> None:
    answers = infer(backend, pictures(), 0.25)
    assert len(answers) == len(pictures())
    for candidates, stages in answers:
        assert candidates.xyxy.dtype == np.float32
        assert (candidates.confidence > 0.25).all()
        assert set(candidates.class_id.tolist()) <= set(VEHICLES)
        times = (stages.preprocess_ms, stages.infer_ms, stages.postprocess_ms)
        assert all(time is None or time >= 0 for time in times)


def test_a_picture_alone_and_among_others_gets_the_same_answer(backend: Backend) -> None:
    images = pictures()
    together = [candidates for candidates, _ in infer(backend, images, 0.25)]
    alone = [infer(backend, [image], 0.25)[0][0] for image in images]
    for one, other in zip(together, alone):
        np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-2)
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-4)


def test_a_higher_threshold_never_adds_candidates(backend: Backend) -> None:
    for image in pictures():
        low, high = (infer(backend, [image], conf)[0][0] for conf in (0.01, 0.5))
        assert len(high) <= len(low)


def test_the_answer_does_not_change_under_the_callers_hands(backend: Backend) -> None:
    candidates, _ = infer(backend, [pictures()[0]], 0.25)[0]
    before = candidates.xyxy.copy()
    infer(backend, [pictures()[1]], 0.25)
    np.testing.assert_array_equal(candidates.xyxy, before)


def test_no_pictures_give_no_answers(backend: Backend) -> None:
    assert infer(backend, [], 0.25) == []


def test_a_lent_frame_is_read_as_any_other(backend: Backend) -> None:
    noise = pictures()[1]
    expected = infer(backend, [noise], 0.25)[0][0]
    frame = backend.lend((noise.shape[0], noise.shape[1]))
    if frame is not None:
        assert frame.shape == noise.shape
        frame[:] = noise
        np.testing.assert_array_equal(infer(backend, [frame], 0.25)[0][0].xyxy, expected.xyxy)
    assert backend.lend((3, 3)) is None, "no frames of a size that was never seen"


# An engine finds what ONNX Runtime finds


def clip(rounds: int, sizes: Sequence[tuple[int, int]]) -> list[list[np.ndarray]]:
    """So many times a batch of pictures of these sizes (height, width), which change from one time to the next."""
    random = np.random.default_rng(3)
    return [
        [random.integers(0, 256, (height + turn // 2, width, 3), np.uint8) for height, width in sizes]
        for turn in range(rounds)
    ]


@pytest.mark.needs("g++")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("sizes", [[(90, 160)], [(64, 64), (48, 64), (200, 31), (64, 64), (1, 7)]], ids=["one", "five"])
@pytest.mark.parametrize("borrowed", [False, True], ids=["ordinary", "lent"])
def test_an_engine_finds_what_onnx_runtime_finds(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    way: str,
    model: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
    borrowed: bool,
) -> None:
    with (
        DetectorService(engine_opener(request, tmp_path, way, model)(), ASKED) as service,
        onnx_backend(tmp_path / "tiny.onnx") as reference,
    ):
        lent = 0
        for images in clip(4, sizes):
            frames = []
            for image in images:
                frame = service.lend((image.shape[0], image.shape[1])) if borrowed else None
                lent += frame is not None
                if frame is not None:
                    frame[:] = image
                frames.append(Frame(image if frame is None else frame, 0, 0.0, "test"))
            expected = infer(reference, images, 0.25)
            for result, image, (candidates, _) in zip(service.detect(frames), images, expected):
                wanted = nms(candidates, 0.7, image.shape[:2])
                np.testing.assert_allclose(result.detections.xyxy, wanted.xyxy, atol=0.01)
                np.testing.assert_allclose(result.detections.confidence, wanted.confidence, atol=1e-6)
                np.testing.assert_array_equal(result.detections.class_id, wanted.class_id)
                assert len(wanted) >= 2
            frame = None
        assert bool(lent) == (borrowed and way != "session")


@pytest.mark.parametrize("head", ["raw", "end2end"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_tiny_models_vehicles_come_out_in_image_pixels(tmp_path: Path, head: str, dtype: type) -> None:
    path = tiny_model.build(tmp_path / "tiny.onnx", head=head, dtype=dtype)  # type: ignore[arg-type]
    with DetectorService(onnx_backend(path), ASKED) as service:
        # Twice as wide as high: the picture fills columns 0 to 64 and rows 16 to 48 of the input, at half its scale.
        found = service.detect([Frame(make_image(0, 64, 128), 0, 0.0, "test")])[0].detections
    cars = found.class_id == 2
    assert cars.sum() == (1 if head == "raw" else 2), "a raw head needs NMS, an end-to-end one has done it"
    np.testing.assert_allclose(found.xyxy[cars][0], [16, 0, 48, 32], atol=0.1)
    np.testing.assert_allclose(found.xyxy[found.class_id == 5][0], [64, 0, 120, 48], atol=0.1)
    assert 0 not in found.class_id, "a person is no vehicle"


@pytest.mark.parametrize(
    ("names", "said"), [(None, "does not name its classes"), ({0: "cat", 1: "dog"}, "no vehicle class")]
)
def test_a_model_without_vehicles_is_refused(tmp_path: Path, names: dict[int, str] | None, said: str) -> None:
    boxes: tuple[tiny_model.Box, ...] = () if names else tiny_model.BOXES
    path = tiny_model.build(tmp_path / "tiny.onnx", names=names, boxes=boxes)
    with pytest.raises(BackendError, match=said):
        open_session_backend(OnnxRuntimeSession(path, 64, 1), Settings())


def test_names_from_the_settings_serve_a_model_that_has_none(tmp_path: Path) -> None:
    path = tiny_model.build(tmp_path / "tiny.onnx", names=None)
    session = OnnxRuntimeSession(path, 64, 1)
    backend = SessionBackend(session, [tiny_model.NAMES[number] for number in range(len(tiny_model.NAMES))])
    assert len(infer(backend, [make_image()], 0.25)[0][0]) == 3


def test_an_output_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    path = tiny_model.build(tmp_path / "tiny.onnx", names=None)
    with pytest.raises(BackendError, match=r"gives \(batch, 7, n\), .* or \(batch, n, 6\)"):
        SessionBackend(OnnxRuntimeSession(path, 64, 1), ["car", "bus", "truck"])


def test_a_file_that_only_looks_like_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x09" + bytes(100))
    with pytest.raises(BackendError, match="cannot be loaded by ONNX Runtime"):
        OnnxRuntimeSession(path, 64, 1)


@pytest.mark.needs("torch")
def test_a_zip_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "broken.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("note.txt", "no weights here")
    with pytest.raises(BackendError, match="cannot be loaded by ultralytics"):
        PyTorchSession(path, 64, 1, "cpu")


def test_a_network_that_fails_when_it_runs_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tiny_model.build(tmp_path / "tiny.onnx")

    class Failing(OnnxRuntimeSession):
        """Asks for another shape than the network takes, as a fixed reshape inside a dynamic one does."""

        def _read_input(self, path: Path, imgsz: int | None) -> str:
            name = super()._read_input(path, imgsz)
            self.input_hw = (96, 96)
            return name

    with pytest.raises(BackendError, match=r"ONNX Runtime .* cannot run the model: "):
        SessionBackend(Failing(path, 64, 1))
