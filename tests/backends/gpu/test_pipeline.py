"""The pipeline on the emulated GPU: what reaches the engine, what comes back, its graph, and its faults."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from perception.backends.gpu import kernels
from perception.backends.gpu.cuda import Gpu
from perception.backends.gpu.graphs import GRAPHS
from perception.backends.gpu.launches import NOTHING_SUPPRESSED
from perception.backends.gpu.pipeline import GpuPipeline
from perception.backends.preprocess import Preprocessor
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.runtime import Engine
from perception.core.errors import BackendError, GpuError
from perception.core.frame import Image
from perception.core.layouts import LAYOUTS, MAX_DETECTIONS, Head
from perception.core.nms import nms
from tests.doubles import tiny_model
from tests.doubles.emulated_errors import LaunchError, LogicError
from tests.doubles.emulated_errors import MemoryError as OutOfMemory
from tests.doubles.emulated_gpu import BINARY, Device
from tests.doubles.emulation import FEW
from tests.doubles.fake_tensorrt import write_engine
from tests.doubles.fakes import VEHICLES, infer, make_image

Open = Callable[..., "Opened"]
PROFILE = ((1, 3, 64, 64), (2, 3, 64, 64), (4, 3, 64, 64))
PER_LAUNCH = ("cuGraphLaunch", "prepared_async_call", "execute_async_v3", "cuStreamBeginCapture_v2")


class Opened:
    """A pipeline and its engine."""

    def __init__(self, path: Path, device: Device, with_graph: bool, names: dict[int, str], layout: str) -> None:
        gpu = Gpu()
        self.engine = Engine(open_engine(path), gpu, 64)
        module = gpu.cuda.module_from_buffer(BINARY)
        head = Head(LAYOUTS[layout], tuple(range(len(names))))
        self.pipeline = GpuPipeline(self.engine, module, head, names, with_graph)
        self._device = device

    def boxes(self, images: Sequence[Image], conf: float = 0.25) -> list[list[int]]:
        """The class ids found in each image."""
        return [found.class_id.tolist() for found, _ in infer(self.pipeline, images, conf)]

    def input(self) -> Any:
        """What the engine was given last."""
        tensor = self.engine.input
        return self._device.read(tensor.address, tensor.shape, tensor.dtype)

    def calls(self, images: Sequence[Image], conf: float = 0.25) -> dict[str, int]:
        """What one inference calls."""
        before = self._device.calls.copy()
        infer(self.pipeline, images, conf)
        return {name: self._device.calls[name] - before[name] for name in PER_LAUNCH}


@pytest.fixture
def opened(device: Device, tensorrt: ModuleType, tmp_path: Path) -> Iterator[Open]:
    """Opens pipelines on the tiny model, and closes them."""
    all_opened = []

    def start(*, with_graph: bool = True, names: dict[int, str] | None = None, **engine: Any) -> Opened:
        path = write_engine(tmp_path / "tiny.engine", **engine)
        layout = "end_to_end" if engine.get("head") == "end2end" else "raw"
        all_opened.append(Opened(path, device, with_graph, names or dict(tiny_model.NAMES), layout))
        return all_opened[-1]

    yield start
    device.fail.clear()
    for each in all_opened:
        each.pipeline.close()
    assert "copier" not in [thread.name for thread in threading.enumerate()]
    all_opened.clear()
    assert not tensorrt.machine.alive


def ids_of(one: Opened, class_ids: tuple[int, ...]) -> list[int]:
    """The class ids found in a grey picture where these classes are asked for."""
    found: list[int] = infer(one.pipeline, [make_image()], class_ids=class_ids)[0][0].class_id.tolist()
    return found


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def lent(opened: Opened, image: Image) -> Image:
    """The picture in a lent frame; one of its size was shown before where none is there yet."""
    hw = (image.shape[0], image.shape[1])
    if (frame := opened.pipeline.lend(hw)) is None:
        infer(opened.pipeline, [np.zeros_like(image)], 0.25)
        frame = opened.pipeline.lend(hw)
    assert frame is not None
    frame[:] = image
    return frame


# What reaches the engine


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("with_graph", [True, False])
def test_the_engine_gets_what_preprocess_defines(opened: Open, dtype: type, with_graph: bool) -> None:
    one = opened(dtype=dtype, with_graph=with_graph)
    for number, hw in enumerate([(48, 64), (200, 90), (200, 90), (1, 1), (64, 64), (48, 64)]):
        image = noise(*hw, seed=number)
        infer(one.pipeline, [image], 0.25)
        expected = Preprocessor((64, 64), dtype)([image])[0]
        np.testing.assert_allclose(one.input().astype(np.float32), expected.astype(np.float32), atol=1.2 / 255)
        borrowed = lent(one, image[::-1])
        infer(one.pipeline, [borrowed], 0.25)
        expected = Preprocessor((64, 64), dtype)([np.ascontiguousarray(image[::-1])])[0]
        np.testing.assert_allclose(one.input().astype(np.float32), expected.astype(np.float32), atol=1.2 / 255)
        del borrowed


def test_a_batch_of_mixed_sizes_reaches_the_engine_each_in_its_place(opened: Open) -> None:
    one = opened(batch=None, profile=PROFILE)
    preprocess = Preprocessor((64, 64))
    rounds = [[(48, 64), (30, 90), (64, 64)], [(30, 90), (48, 64), (64, 64)], [(7, 5)], [(48, 64)] * 4]
    for turn, sizes in enumerate(rounds):
        images = [noise(*hw, seed=10 * turn + slot) for slot, hw in enumerate(sizes)]
        infer(one.pipeline, images, 0.25)
        np.testing.assert_allclose(one.input()[: len(images)], preprocess(images)[0], atol=1.01 / 255)


def test_parts_of_pictures_and_other_layouts_are_read_as_they_look(opened: Open) -> None:
    one = opened()
    whole = noise(96, 200)
    for image in (whole[10:70, 20:180], whole[::2], whole[:, ::-1], np.asfortranarray(whole), whole[..., ::-1]):
        infer(one.pipeline, [image], 0.25)
        expected = Preprocessor((64, 64))([np.ascontiguousarray(image)])[0]
        np.testing.assert_allclose(one.input(), expected, atol=1.01 / 255)


def test_a_lent_frame_is_read_where_it_lies(opened: Open, device: Device) -> None:
    one = opened()
    infer(one.pipeline, [make_image(0, 48, 64)], 0.25)
    frame = lent(one, noise(48, 64))
    before = device.calls["pagelocked_zeros"]
    for seed in range(3):
        frame[:] = noise(48, 64, seed)
        infer(one.pipeline, [frame], 0.25)
        np.testing.assert_allclose(one.input(), Preprocessor((64, 64))([frame])[0], atol=1.01 / 255)
    assert device.calls["pagelocked_zeros"] == before


@pytest.mark.parametrize(("model", "ran"), [({"batch": 4}, 4), ({"batch": None, "profile": PROFILE}, 3)])
def test_an_open_batch_runs_no_more_pictures_than_there_are(
    opened: Open, tensorrt: ModuleType, model: dict[str, Any], ran: int
) -> None:
    one = opened(with_graph=False, **model)
    infer(one.pipeline, [make_image()] * 3, 0.25)
    assert tensorrt.machine.ran == [ran]


# What comes back


def test_each_picture_of_a_batch_gets_its_vehicles(opened: Open) -> None:
    one = opened(batch=4)
    sizes = [(48, 64), (96, 64), (64, 64), (64, 128), (128, 128), (33, 70)]
    found = infer(one.pipeline, [noise(*hw) for hw in sizes], 0.25)
    assert len(found) == len(sizes)
    assert [candidates.class_id.tolist() for candidates, _ in found] == [[2, 2, 5]] * len(sizes)
    # Four times as large as the input: boxes are twice as large along each side.
    np.testing.assert_allclose(found[4][0].xyxy[0], [16, 32, 48, 64], atol=1e-3)


@pytest.mark.parametrize(("conf", "count"), [(0.25, 3), (0.8, 1), (0.99, 0)])
def test_an_answer_is_the_callers_own(opened: Open, conf: float, count: int) -> None:
    one = opened()
    candidates, _ = infer(one.pipeline, [make_image()], conf)[0]
    before = candidates.xyxy.copy()
    assert len(before) == count
    infer(one.pipeline, [make_image(0, 200, 300)], 0.0)
    np.testing.assert_array_equal(candidates.xyxy, before)


def test_no_pictures_give_no_answers(opened: Open) -> None:
    assert infer(opened().pipeline, [], 0.25) == []


def test_thresholds_are_strict(opened: Open) -> None:
    one = opened(dtype=np.float16)  # in which the model's own trace of the picture rounds to nothing
    image = [make_image()]
    assert [one.boxes(image, conf) for conf in (0.0, 0.125, 0.5, 0.75, 0.9)] == [
        [[2, 2, 5, 7]],
        [[2, 2, 5]],
        [[2, 2]],
        [[2]],
        [[]],
    ]


def test_other_classes_count_from_the_next_picture_on(opened: Open) -> None:
    one = opened()
    assert one.boxes([make_image()]) == [[2, 2, 5]]
    assert ids_of(one, (0, 5)) == [5, 0], "in the order of the output"
    assert one.boxes([make_image()]) == [[2, 2, 5]]


def test_an_end_to_end_head_keeps_the_best_of_its_boxes(opened: Open) -> None:
    boxes = [(8, 8, 16, 16, 0.5, 2)] * (MAX_DETECTIONS + 40)
    one = opened(head="end2end", boxes=boxes)
    candidates, _ = infer(one.pipeline, [make_image()], 0.25)[0]
    assert len(candidates) == MAX_DETECTIONS
    assert candidates.final
    boxes = [(8, 8, 16, 16, confidence, 2) for confidence in (0.5, 0.25, 0.75, 0.5)]
    candidates, _ = infer(opened(head="end2end", boxes=boxes).pipeline, [make_image()], 0.125)[0]
    assert candidates.confidence.tolist() == [0.75, 0.5, 0.5, 0.25], "best first"


def test_the_order_of_the_devices_threads_does_not_show(opened: Open, device: Device) -> None:
    one = opened()
    device.emulator.run_backwards(True)
    try:
        assert one.boxes([make_image()]) == [[2, 2, 5]]
    finally:
        device.emulator.run_backwards(False)


def test_each_picture_is_told_its_share_of_the_stages(opened: Open) -> None:
    one = opened(batch=4)
    answers = infer(one.pipeline, [noise(48, 64)] * 3, 0.25)
    stages = answers[0][1]
    assert all(other == stages for _, other in answers)
    # The emulated clock ticks at each block, so that the kernels always take some time.
    assert (stages.preprocess_ms or 0) > 0 < (stages.postprocess_ms or 0)
    assert (stages.infer_ms or 0) >= 0


# The graph


def test_a_frame_is_one_launch(opened: Open) -> None:
    one = opened()
    first = one.calls([make_image()])
    assert first["cuStreamBeginCapture_v2"] == first["cuGraphLaunch"] == 1
    for _ in range(3):
        assert one.calls([noise(48, 64)]) == dict.fromkeys(PER_LAUNCH, 0) | {"cuGraphLaunch": 1}


IN_TURN: dict[str, list[list[tuple[int, int]]]] = {
    "two sizes": [[(48, 64)], [(90, 30)]],
    "five on a batch of four": [[(48, 64)] * 5],
    "two sizes in one batch": [[(48, 64), (90, 30)], [(90, 30), (48, 64)]],
}
STEADY = ("cuStreamBeginCapture_v2", "prepared_async_call", "pagelocked_zeros", "mem_alloc", "cuGraphExecDestroy")


@pytest.mark.parametrize("model", [{"batch": 4}, {"batch": None, "profile": PROFILE}], ids=["fixed", "open"])
@pytest.mark.parametrize("turns", IN_TURN.values(), ids=IN_TURN)
@pytest.mark.parametrize("borrowed", [False, True])
def test_what_comes_in_turn_is_neither_recorded_nor_allocated_again(
    opened: Open, device: Device, model: dict[str, Any], turns: list[list[tuple[int, int]]], borrowed: bool
) -> None:
    one = opened(**model)

    def show(seed: int) -> None:
        for sizes in turns:
            images = [noise(*hw, seed=seed + slot) for slot, hw in enumerate(sizes)]
            shown = [lent(one, image) for image in images] if borrowed else images
            assert one.boxes(shown) == [[2, 2, 5]] * len(images)
            last = images[-(len(images) % 4 or 4) :]
            expected = Preprocessor((64, 64))(last)[0]
            np.testing.assert_allclose(one.input()[: len(last)], expected, atol=1.01 / 255)

    for seed in range(3):
        show(seed)
    before = device.calls.copy()
    for seed in range(3, 6):
        show(seed)
    assert {name: device.calls[name] - before[name] for name in STEADY} == dict.fromkeys(STEADY, 0)
    assert device.calls["cuGraphLaunch"] > before["cuGraphLaunch"]


@pytest.mark.parametrize(("other", "copies"), [((96, 128), 1), ((128, 96), 2)], ids=["same shape", "another shape"])
def test_the_padding_is_written_again_only_where_it_moves(
    opened: Open, device: Device, other: tuple[int, int], copies: int
) -> None:
    one = opened()
    for hw in ((48, 64), other, (48, 64)):
        infer(one.pipeline, [noise(*hw)], 0.25)
    before = device.calls["memcpy_htod"]
    infer(one.pipeline, [noise(*other)], 0.25)
    assert device.calls["memcpy_htod"] - before == copies, "where the picture lies, and the padding"
    np.testing.assert_allclose(one.input(), Preprocessor((64, 64))([noise(*other)])[0], atol=1.01 / 255)


def test_where_a_second_context_has_no_room_the_first_runs_the_most_that_were_asked_for(
    opened: Open, tensorrt: ModuleType, logged: list[str]
) -> None:
    one = opened(batch=None, profile=PROFILE)
    tensorrt.machine.refuse.add("context")
    for count in (1, 1, 3, 1, 2, 4, 1):
        assert one.boxes([noise(48, 64, count)] * count) == [[2, 2, 5]] * count
    ran = tensorrt.machine.ran
    assert [now for now, before in zip(ran, [0, *ran]) if now != before] == [1, 3, 4]
    warnings = [line for line in logged if "pictures in one launch can take as long as 4: " in line]
    assert len(warnings) == 3, "one for each number"


@pytest.mark.parametrize(("shares", "contexts"), [(True, 3), (False, 1)])
def test_before_tensorrt_10_contexts_share_a_profile_only_where_the_engine_was_built_so(
    opened: Open, tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch, logged: list[str], shares: bool, contexts: int
) -> None:
    monkeypatch.setattr(tensorrt, "__version__", "8.6.0")
    tensorrt.machine.version = "8.6.0"
    one = opened(batch=None, profile=PROFILE, version="8.6.0", told={"shares_profiles": shares})
    for count in (1, 3, 1, 4):
        assert one.boxes([noise(48, 64, count)] * count) == [[2, 2, 5]] * count
    assert tensorrt.machine.alive.count("context") == contexts
    warnings = [line for line in logged if line.startswith("WARNING") and "has been chosen by another" in line]
    assert len(warnings) == (0 if shares else 2), "for 1 and for 3 images"


def test_each_number_of_images_has_a_context_of_its_own(opened: Open, tensorrt: ModuleType) -> None:
    """A graph that was recorded from a context depends on its shape, which may not change after."""
    one = opened(batch=None, profile=PROFILE)
    for count in (4, 1, 3, 1, 4):
        infer(one.pipeline, [noise(48, 64)] * count, 0.25)
    assert tensorrt.machine.alive.count("context") == 3


def later(
    *images: Image, conf: float = 0.25, iou: float = NOTHING_SUPPRESSED, class_ids: tuple[int, ...] = VEHICLES
) -> Callable[[GpuPipeline], object]:
    return lambda pipeline: infer(pipeline, images, conf, iou, class_ids)


look_for_cars = later(make_image(), class_ids=(2,))


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (later(make_image(0, 50, 64)), later(make_image(9, 50, 64))),
        (later(make_image(), conf=0.5), later(make_image(9), conf=0.5)),
        (later(make_image(), iou=0.5), later(make_image(9), iou=0.5)),
        (later(make_image(), make_image()), later(make_image(9), make_image())),
        (look_for_cars, later(make_image(9), class_ids=(2,))),
    ],
    ids=["size", "threshold", "overlap", "batch", "classes"],
)
def test_another_size_threshold_batch_or_choice_of_classes_is_recorded_anew(
    opened: Open, device: Device, change: Callable[[GpuPipeline], object], again: Callable[[GpuPipeline], object]
) -> None:
    one = opened(batch=None, profile=PROFILE)
    infer(one.pipeline, [make_image()], 0.25)
    assert device.calls["cuStreamBeginCapture_v2"] == 1
    change(one.pipeline)
    assert device.calls["cuStreamBeginCapture_v2"] == 2
    assert len(device.graphs) == (1 if change is look_for_cars else 2), "other classes make the graph before useless"
    recorded = device.calls["prepared_async_call"]
    again(one.pipeline)
    assert (device.calls["cuStreamBeginCapture_v2"], device.calls["prepared_async_call"]) == (2, recorded)


@pytest.mark.parametrize(
    ("call", "how"),
    [
        ("cuStreamBeginCapture_v2", "refused"),
        ("cuStreamEndCapture", "refused"),
        ("cuGraphInstantiateWithFlags", "refused"),
        ("cuGraphInstantiateWithFlags", "not there"),  # it came with CUDA 11.4
    ],
)
def test_where_capture_is_refused_each_kernel_is_launched_by_itself(
    opened: Open, device: Device, logged: list[str], call: str, how: str
) -> None:
    if how == "refused":
        device.refuse[call] = 900
    else:
        device.lacks.add(call)
    one = opened()
    for conf in (0.25, 0.5, 0.25):
        assert one.boxes([make_image(0, 48, 64)], conf) == ([[2, 2, 5]] if conf == 0.25 else [[2, 2]])
    assert one.boxes([make_image(0, 90, 64)]) == [[2, 2, 5]]
    each = {"prepared_async_call": 4, "execute_async_v3": 1}
    assert one.calls([make_image(0, 90, 64)]) == dict.fromkeys(PER_LAUNCH, 0) | each
    warnings = [line for line in logged if line.startswith("WARNING No CUDA graph")]
    assert len(warnings) == 1
    assert call in warnings[0]
    assert device.calls["cuStreamBeginCapture_v2"] == 1, "it is not tried again"


def test_a_launch_that_cannot_be_recorded_falls_back(opened: Open, tensorrt: ModuleType, logged: list[str]) -> None:
    one = opened()
    enqueue, recorded = one.engine.enqueue, list[int]()

    def once() -> None:
        recorded.append(len(recorded))
        if len(recorded) == 2:
            raise LaunchError("operation not permitted when stream is capturing")
        enqueue()

    one.engine.enqueue = once  # type: ignore[method-assign]
    assert one.boxes([make_image()]) == [[2, 2, 5]]
    assert [line for line in logged if "operation not permitted when stream is capturing" in line]


# Faults


def test_a_launch_that_fails_is_a_fault_of_the_gpu(opened: Open, device: Device) -> None:
    one = opened()
    infer(one.pipeline, [make_image()], 0.25)
    device.refuse["cuGraphLaunch"] = 719
    with pytest.raises(GpuError, match="cuGraphLaunch gave 719"):
        infer(one.pipeline, [make_image()], 0.25)


def test_an_engine_that_refuses_is_a_fault_of_the_gpu(opened: Open, tensorrt: ModuleType) -> None:
    one = opened(with_graph=False)
    tensorrt.machine.refuse.add("execute")
    with pytest.raises(GpuError, match="an illegal memory access was encountered") as caught:
        infer(one.pipeline, [make_image()], 0.25)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("with_graph", [True, False])
@pytest.mark.parametrize("call", ["prepared_async_call", "synchronize", "memcpy_htod", "pagelocked_zeros", "mem_alloc"])
def test_a_cuda_error_in_a_run_is_a_fault_of_the_gpu(opened: Open, device: Device, call: str, with_graph: bool) -> None:
    one = opened(with_graph=with_graph)
    infer(one.pipeline, [make_image()], 0.25)
    device.fail[call] = LaunchError(f"{call} failed: an illegal memory access was encountered")
    with pytest.raises(GpuError, match="an illegal memory access") as caught:
        infer(one.pipeline, [make_image(0, 99, 33)], 0.25)  # another size, which needs all of these
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("call", ["mem_alloc", "pagelocked_zeros"])
def test_memory_that_is_not_there_at_the_start_leaves_this_backend_to_others(
    device: Device, tensorrt: ModuleType, tmp_path: Path, call: str
) -> None:
    gpu = Gpu()
    engine = Engine(open_engine(write_engine(tmp_path / "tiny.engine")), gpu, 64)
    device.fail[call] = LogicError("out of memory")
    head = Head(LAYOUTS["raw"], tuple(tiny_model.NAMES))
    with pytest.raises(BackendError, match=r"CUDA could not give .*: out of memory"):
        GpuPipeline(engine, gpu.cuda.module_from_buffer(BINARY), head, dict(tiny_model.NAMES))
    engine.close()
    gpu.close()


def test_other_classes_need_no_memory(opened: Open, device: Device) -> None:
    one = opened()
    assert one.boxes([make_image()]) == [[2, 2, 5]]
    device.fail["mem_alloc"] = OutOfMemory("cuMemAlloc failed: out of memory")
    assert ids_of(one, (2,)) == [2, 2]
    assert ids_of(one, VEHICLES) == [2, 2, 5]


def test_other_classes_on_a_gpu_that_failed_are_its_fault(opened: Open, device: Device) -> None:
    one = opened()
    assert one.boxes([make_image()]) == [[2, 2, 5]]
    device.fail["memcpy_htod"] = LaunchError("memcpy_htod failed: an illegal memory access was encountered")
    with pytest.raises(GpuError, match="an illegal memory access") as caught:
        ids_of(one, (2,))
    assert caught.value.exit_code == 5


def test_lent_frames_that_there_is_no_room_for_cost_a_warning(opened: Open, device: Device, logged: list[str]) -> None:
    one = opened()
    infer(one.pipeline, [noise(200, 200)], 0.25)  # what is copied has its room
    assert one.pipeline.lend((48, 64)) is None
    device.fail["pagelocked_zeros"] = LogicError("out of memory")
    for _ in range(3):
        assert one.boxes([noise(48, 64)]) == [[2, 2, 5]]
        assert one.pipeline.lend((48, 64)) is None
    assert len([line for line in logged if line.startswith("WARNING Pictures of 64x48 are copied")]) == 1


def test_nothing_is_lent_before_somebody_asks(opened: Open, device: Device) -> None:
    one = opened()
    before = device.calls["pagelocked_zeros"]
    infer(one.pipeline, [noise(48, 64)], 0.25)
    assert device.calls["pagelocked_zeros"] == before + 1, "what ordinary pictures are copied to"


def test_large_pictures_are_copied_by_two_threads_until_the_pipeline_is_closed(opened: Open) -> None:
    one = opened()
    for image in (noise(512, 512), noise(700, 512)[::-1], noise(48, 64), noise(512, 512, seed=2)):
        infer(one.pipeline, [image], 0.25)
        np.testing.assert_allclose(
            one.input(), Preprocessor((64, 64))([np.ascontiguousarray(image)])[0], atol=1.01 / 255
        )
    assert [thread.name for thread in threading.enumerate()].count("copier") == 1


@pytest.mark.parametrize("with_graph", [True, False])
@pytest.mark.parametrize("iou", [0.0, 0.45, 0.7])
def test_overlaps_are_suppressed_as_nms_does_it(opened: Open, with_graph: bool, iou: float) -> None:
    one = opened(with_graph=with_graph)
    for seed in range(4):
        image = noise(48, 64, seed)
        all_of_them = infer(one.pipeline, [image], 0.05)[0][0]
        assert not all_of_them.final
        left = infer(one.pipeline, [image], 0.05, iou=iou)[0][0]
        assert left.final
        for found, expected in (
            (left, nms(all_of_them, iou, (10_000, 10_000))),
            (nms(left, iou, (48, 64)), nms(all_of_them, iou, (48, 64))),
        ):
            np.testing.assert_array_equal(found.confidence, expected.confidence)
            np.testing.assert_array_equal(found.class_id, expected.class_id)
        np.testing.assert_array_equal(nms(left, iou, (48, 64)).xyxy, nms(all_of_them, iou, (48, 64)).xyxy)


@pytest.mark.parametrize("model", [{}, {"batch": 4}, {"batch": None, "profile": PROFILE}], ids=["one", "fixed", "open"])
def test_overlaps_are_suppressed_in_each_of_several_pictures(opened: Open, model: dict[str, Any]) -> None:
    """Five: more than any batch here."""
    one = opened(**model)
    images = [noise(48, 64, seed) for seed in range(5)]
    without, left = (
        [found for found, _ in infer(one.pipeline, images, 0.05, iou=iou)] for iou in (NOTHING_SUPPRESSED, 0.45)
    )
    assert sum(map(len, left)) < sum(map(len, without))
    for before, after in zip(without, left):
        assert (before.final, after.final) == (False, True)
        expected = nms(before, 0.45, (10_000, 10_000))
        np.testing.assert_array_equal(after.confidence, expected.confidence)
        np.testing.assert_array_equal(nms(after, 0.45, (10_000, 10_000)).xyxy, expected.xyxy)


@pytest.mark.parametrize(("count", "final"), [(FEW, True), (FEW + 1, False)])
def test_overlaps_of_more_than_a_few_are_left_to_the_host(opened: Open, count: int, final: bool) -> None:
    """Each box overlaps the one before by a half; all differ in confidence, the best is the last."""
    one = opened(boxes=[(8 * place, 8, 8 * place + 16, 24, 0.3 + place / 128, 2) for place in range(count)])
    image = make_image()
    all_of_them = infer(one.pipeline, [image], 0.25)[0][0]
    (found, _), (after, _) = (infer(one.pipeline, [image], 0.25, iou=iou)[0] for iou in (0.2, 0.5))
    assert len(all_of_them) == count
    assert (found.final, after.final) == (final, final)
    assert (len(found), len(after)) == ((count // 2, count) if final else (count, count))
    expected, result = (nms(candidates, 0.2, (10_000, 10_000)) for candidates in (all_of_them, found))
    np.testing.assert_array_equal(result.xyxy, expected.xyxy)
    np.testing.assert_array_equal(result.confidence, expected.confidence)


def test_an_end_to_end_head_is_left_alone(opened: Open) -> None:
    one = opened(head="end2end")
    image = make_image()
    without, with_iou = (infer(one.pipeline, [image], 0.05, iou=iou)[0][0] for iou in (NOTHING_SUPPRESSED, 0.1))
    np.testing.assert_array_equal(without.xyxy, with_iou.xyxy)
    assert len(without) > 0


# Memory


def test_many_sizes_do_not_pile_up(opened: Open, device: Device) -> None:
    one = opened()
    for height in range(20, 44):
        infer(one.pipeline, [make_image(0, height, 40)], 0.25)
    gc.collect()
    held = len(device.live)
    for height in range(44, 80):
        infer(one.pipeline, [make_image(0, height, 40)], 0.25)
    gc.collect()
    assert len(device.live) == held


def test_many_frames_do_not_pile_up(opened: Open, device: Device) -> None:
    one = opened(batch=None, profile=PROFILE)
    counts = set()
    for turn in range(30):
        infer(one.pipeline, [noise(48, 64, turn)] * (1 + turn % 4), 0.25 + 0.01 * (turn % 3))
        counts.add((len(device.live), len(device.graphs)))
    assert len(counts) <= 12, "only the four slots' own pictures are added, and the graphs that are kept"
    assert len(device.graphs) == GRAPHS


def test_a_frame_that_somebody_keeps_outlives_the_pipeline(
    device: Device, tensorrt: ModuleType, tmp_path: Path
) -> None:
    one = Opened(write_engine(tmp_path / "tiny.engine"), device, True, dict(tiny_model.NAMES), "raw")
    infer(one.pipeline, [make_image()], 0.25)
    frame = lent(one, noise(48, 64))
    one.pipeline.close()
    np.testing.assert_array_equal(frame, noise(48, 64))
    assert len(device.live) == 1
    assert not tensorrt.machine.alive


@pytest.mark.parametrize("frames", [0, 1])
def test_it_closes_unused_and_used(opened: Open, frames: int) -> None:
    one = opened()
    for _ in range(frames):
        infer(one.pipeline, [make_image()], 0.25)


def test_shared_memory_is_what_every_device_grants(opened: Open) -> None:
    """The widest pictures are cut into blocks that fit; the emulated device refuses larger ones."""
    one = opened()
    image = noise(9, 30_000)
    infer(one.pipeline, [image], 0.25)
    assert 2 * 3 * image.shape[1] > kernels.SHARED_BYTES
    np.testing.assert_allclose(one.input(), Preprocessor((64, 64))([image])[0], atol=1.01 / 255)
