"""The kernels on a CPU, step by step: the letterbox against preprocess.py, the filter against postprocess.py."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.backends.gpu import kernels
from perception.backends.gpu.answers import SUPPRESSED
from perception.backends.gpu.kernels import needed_rows, staged_bytes, taps
from perception.backends.gpu.launches import NOTHING_SUPPRESSED
from perception.backends.preprocess import PAD_GREY, Letterbox, Preprocessor
from perception.core.decode import decode
from perception.core.detections import Candidates
from perception.core.frame import Image
from perception.core.layouts import LAYOUTS, MAX_DETECTIONS
from perception.core.nms import _survivors
from tests.doubles.emulation import FEW, Guarded

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES: tuple[type[np.floating[Any]], ...] = (np.float32, np.float16)
INPUT_HW = (96, 64)
LATEST = np.iinfo(np.uint64).max


def new_state(emulator: ctypes.CDLL, images: int) -> Guarded:
    """The state as the first frame wants it."""
    state = Guarded(emulator.state_bytes(images), rubbish=0)
    state.bytes[:8] = state.bytes[16:24] = 0xFF
    return state


class Letterboxed:
    """A picture letterboxed by the kernel; `tensor` is (3, H, W)."""

    def __init__(
        self,
        emulator: ctypes.CDLL,
        image: Image,
        dtype: type[np.floating[Any]],
        *,
        input_hw: tuple[int, int] = INPUT_HW,
        block_width: int | None = None,
        threads: int = 128,
        offset: int = 0,
        around: int = 0xC3,
    ) -> None:
        box = Letterbox.fit((image.shape[0], image.shape[1]), input_hw)
        columns, rows = taps(image.shape[1], box.scaled_hw[1], 3), taps(image.shape[0], box.scaled_hw[0], 1)
        width = min(block_width or box.scaled_hw[1], box.scaled_hw[1])
        while 2 * staged_bytes(columns, width) > kernels.SHARED_BYTES:
            width = (width + 1) // 2
        grey = np.full((3, *input_hw), np.float32(PAD_GREY) / np.float32(255), dtype)
        memories = [Guarded.holding(image, offset), *map(Guarded.holding, (columns, rows, grey))]
        source, columns_memory, rows_memory, target = memories
        state = new_state(emulator, 1)
        source.surround_with(around)
        pointer = Guarded.holding(np.array([source.address], np.uint64))
        assert getattr(emulator, f"letterbox_{np.dtype(dtype).name}")(
            -(-box.scaled_hw[1] // width),
            box.scaled_hw[0],
            threads,
            pointer.address,
            3 * image.shape[1],
            columns_memory.address,
            rows_memory.address,
            box.scaled_hw[1],
            width,
            staged_bytes(columns, width),
            target.address + (box.top * input_hw[1] + box.left) * np.dtype(dtype).itemsize,
            input_hw[1],
            input_hw[0] * input_hw[1],
            state.address,
        ), "written beyond shared memory"
        assert source.is_intact(around)
        assert all(memory.is_intact() for memory in (*memories[1:], state, pointer))
        assert np.array_equal(source.bytes, image.reshape(-1)), "the picture was written to"
        assert np.array_equal(state.bytes[16:], new_state(emulator, 1).bytes[16:]), "only the times are the letterbox's"
        self.box, self.rows = box, rows
        self.tensor: npt.NDArray[np.floating[Any]] = target.view(dtype, (3, *input_hw)).copy()


def picture(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def in_levels(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The largest difference, in 1/255."""
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max() * 255)


sides = st.one_of(st.integers(1, 40), st.integers(1, 2000))


@many
@given(
    height=sides,
    width=sides,
    seed=st.integers(0, 9),
    block_width=st.integers(1, 100),
    threads=st.integers(1, 300),
    offset=st.integers(0, 15),
    dtype=st.sampled_from(DTYPES),
    backwards=st.booleans(),
)
def test_the_letterbox_is_that_of_the_cpu(
    emulator: ctypes.CDLL,
    height: int,
    width: int,
    seed: int,
    block_width: int,
    threads: int,
    offset: int,
    dtype: type[np.floating[Any]],
    backwards: bool,
) -> None:
    image = picture(height, width, seed)
    emulator.run_backwards(backwards)
    got = Letterboxed(emulator, image, dtype, block_width=block_width, threads=threads, offset=offset)
    emulator.run_backwards(False)
    expected = Preprocessor(INPUT_HW, dtype)([image])[0][0]
    # A level of a half-precision tensor is known to 1/2048 of it.
    assert in_levels(got.tensor, expected) <= 1.001 + (0 if dtype is np.float32 else 255 / 2048)
    box, padding = got.box, np.ones((3, *INPUT_HW), bool)
    padding[:, box.top : box.top + box.scaled_hw[0], box.left : box.left + box.scaled_hw[1]] = False
    np.testing.assert_array_equal(got.tensor[padding], expected[padding])


@pytest.mark.parametrize(
    ("hw", "input_hw"), [((720, 1280), (640, 640)), ((1080, 1920), (640, 640)), ((540, 960), (384, 640))]
)
def test_the_letterbox_of_a_camera_is_nearly_everywhere_the_same_to_the_bit(
    emulator: ctypes.CDLL, hw: tuple[int, int], input_hw: tuple[int, int]
) -> None:
    image = picture(*hw)
    got = Letterboxed(emulator, image, np.float32, input_hw=input_hw).tensor
    expected = Preprocessor(input_hw)([image])[0][0]
    assert in_levels(got, expected) <= 1.001
    assert (got != expected).mean() < 0.01, "another rounding than OpenCV's"


@many
@given(height=st.integers(1, 96), width=st.integers(1, 64), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_a_picture_that_needs_no_scaling_stays_as_it_is(
    emulator: ctypes.CDLL, height: int, width: int, dtype: type[np.floating[Any]], seed: int
) -> None:
    image = picture(height, width, seed)
    got = Letterboxed(emulator, image, dtype, input_hw=(height, width)).tensor
    expected = (image[..., ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)).astype(dtype)
    np.testing.assert_array_equal(got, expected)


@many
@given(height=sides, width=st.integers(1, 60), offset=st.integers(0, 15))
def test_what_lies_around_a_picture_and_rows_that_are_not_needed_change_nothing(
    emulator: ctypes.CDLL, height: int, width: int, offset: int
) -> None:
    image = picture(height, width)
    got = Letterboxed(emulator, image, np.float32, offset=offset)
    poisoned = np.full_like(image, 0xFF) - image
    for rows in needed_rows(got.rows):
        poisoned[rows] = image[rows]
    again = Letterboxed(emulator, poisoned, np.float32, offset=offset, around=0x11)
    np.testing.assert_array_equal(got.tensor, again.tensor)


def test_of_a_tall_picture_few_rows_are_needed(emulator: ctypes.CDLL) -> None:
    needed = np.zeros(2160, bool)
    for rows in needed_rows(taps(2160, 360, 1)):
        needed[rows] = True
    assert needed.sum() == 720, "two of six rows"
    assert needed_rows(taps(1080, 640, 1)) == (slice(None),)


# The filter


class Filtered:
    """Outputs (images, ...) of an engine, filtered."""

    def __init__(
        self,
        emulator: ctypes.CDLL,
        outputs: npt.NDArray[np.floating[Any]],
        conf: float,
        class_ids: Sequence[int],
        class_count: int,
        *,
        raw: bool,
        boxes: Sequence[Letterbox],
        backwards: bool = False,
        iou: float = NOTHING_SUPPRESSED,
        threads: int = kernels.BLOCK_THREADS,
    ) -> None:
        images, anchors = len(outputs), outputs.shape[2 if raw else 1]
        is_vehicle = np.zeros(class_count, np.uint8)
        is_vehicle[list(class_ids)] = 1
        places = [
            (box.left, box.top, box.scaled_hw[1] / box.image_hw[1], box.scaled_hw[0] / box.image_hw[0]) for box in boxes
        ]
        values = (outputs, is_vehicle, np.asarray(class_ids, np.int32), np.array(places, np.float32))
        output, vehicle, vehicles, place = map(Guarded.holding, values)
        state = new_state(emulator, images)
        size = emulator.candidate_bytes()
        lists, answer = Guarded(images * anchors * size), Guarded(emulator.answer_bytes(images))
        emulator.run_backwards(backwards)
        getattr(emulator, f"filter_{'raw' if raw else 'final'}_{outputs.dtype.name}")(
            -(-anchors // kernels.BLOCK_THREADS),
            images,
            kernels.BLOCK_THREADS,
            output.address,
            anchors,
            class_count,
            vehicle.address,
            vehicles.address,
            len(class_ids),
            conf,
            place.address,
            state.address,
            lists.address,
        )
        told = Guarded(images * anchors * size)
        assert emulator.suppress(
            images, 1, threads, lists.address, anchors, iou, state.address, told.address, answer.address
        )
        emulator.run_backwards(False)
        assert all(part.is_intact() for part in (output, vehicle, vehicles, place, state, lists, told, answer))
        assert np.array_equal(state.bytes, new_state(emulator, images).bytes), "the next frame finds another state"
        counts = answer.bytes[24:].view(np.uint32)
        rows = told.view(np.float32, (images, anchors, size // 4))
        self.final = not raw
        self.suppressed = [bool(count >= SUPPRESSED) for count in counts]
        self.rows = [rows[image, : count % SUPPRESSED] for image, count in enumerate(counts)]
        self.images = [self._candidates(found) for found in self.rows]

    def _candidates(self, rows: npt.NDArray[np.float32]) -> Candidates:
        anchors = np.ascontiguousarray(rows[:, 6]).view(np.uint32)
        assert len(set(anchors.tolist())) == len(anchors), "a box is listed twice"
        rows = rows[np.lexsort((anchors, -rows[:, 4]) if self.final else (anchors,))]
        return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), self.final)


def assert_same(got: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(got.class_id, expected.class_id)
    np.testing.assert_array_equal(got.confidence, expected.confidence)
    np.testing.assert_allclose(got.xyxy, expected.xyxy, rtol=1e-5, atol=1e-3)


BROKEN = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e6, 2e6)
THRESHOLDS = (0.0, 0.125, 0.25, 0.5)  # exact in half precision, too
LETTERBOXES = (Letterbox.fit((720, 1280), (640, 640)), Letterbox.fit((333, 77), (640, 640)))


def random_outputs(seed: int, images: int, anchors: int, class_count: int, raw: bool) -> npt.NDArray[np.float32]:
    """Scores in few steps, so that many are equal or meet a threshold exactly; some numbers are broken."""
    random = np.random.default_rng(seed)
    if raw:
        outputs = random.uniform(-50, 700, (images, 4 + class_count, anchors)).astype(np.float32)
        outputs[:, 4:] = random.choice([0, 0, 0, 0.125, 0.25, 0.5, 0.75, 1], (images, class_count, anchors))
    else:
        outputs = random.uniform(-50, 700, (images, anchors, 6)).astype(np.float32)
        outputs[..., 4] = random.choice([0, 0.125, 0.25, 0.5, 0.75, 1], (images, anchors))
        outputs[..., 5] = random.choice([*range(-1, class_count + 2), 0.5], (images, anchors))
    broken = random.random(outputs.shape) < random.choice([0, 0.001, 0.02])
    outputs[broken] = random.choice(BROKEN, int(broken.sum()))
    return outputs


@many
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 4),
    anchors=st.integers(1, 300),
    class_ids=st.lists(st.integers(0, 19), min_size=1, max_size=20, unique=True),
    more_classes=st.integers(0, 40),
    raw=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    conf=st.sampled_from(THRESHOLDS),
    backwards=st.booleans(),
)
def test_the_filter_is_decode(
    emulator: ctypes.CDLL,
    seed: int,
    images: int,
    anchors: int,
    class_ids: list[int],
    more_classes: int,
    raw: bool,
    dtype: type[np.floating[Any]],
    conf: float,
    backwards: bool,
) -> None:
    class_count = max(class_ids) + 1 + more_classes
    with np.errstate(over="ignore"):
        outputs = random_outputs(seed, images, anchors, class_count, raw).astype(dtype)
    boxes = [LETTERBOXES[image % 2] for image in range(images)]
    filtered = Filtered(emulator, outputs, conf, class_ids, class_count, raw=raw, boxes=boxes, backwards=backwards)
    for output, box, got in zip(outputs, boxes, filtered.images):
        expected = decode(output, LAYOUTS["raw" if raw else "end_to_end"], conf, class_ids)
        assert_same(got, Candidates(box.to_image(expected.xyxy), expected.confidence, expected.class_id, not raw))


# Suppression

COORDINATES = st.sampled_from([0.0, 1.0, 2.5, 3.0, 4.0, 7.1, 8.0, 8.000001])
BOX = st.tuples(
    COORDINATES, COORDINATES, COORDINATES, COORDINATES, st.sampled_from([0.25, 0.3, 0.5, 0.9]), st.integers(0, 2)
)


def raw_outputs(images: Sequence[Sequence[tuple[float, ...]]], anchors: int) -> npt.NDArray[np.float32]:
    """Of 3 classes; the boxes are (x, y, width, height, confidence, class), each at an anchor of its own."""
    outputs = np.zeros((len(images), 7, anchors), np.float32)
    for output, boxes in zip(outputs, images):
        for anchor, (x, y, width, height, confidence, class_id) in enumerate(boxes):
            output[:4, anchor] = x, y, width, height
            output[4 + int(class_id), anchor] = confidence
    return outputs


OVERLAPS = st.sampled_from([0.0, 1 / 3, 0.45, 0.5, 0.7, 1.0])


def assert_suppressed_as_by_nms(whole: Filtered, left: Filtered, iou: float) -> None:
    """To the bit and in the same order; of more than a few all are left, in any order."""
    for candidates, is_suppressed, rows, rest in zip(whole.images, left.suppressed, left.rows, left.images):
        assert is_suppressed == (len(candidates) <= FEW)
        if not is_suppressed:
            np.testing.assert_array_equal(rest.xyxy, candidates.xyxy)
            np.testing.assert_array_equal(rest.confidence, candidates.confidence)
            continue
        order = np.argsort(-candidates.confidence, kind="stable")
        kept = order[_survivors(candidates.xyxy[order], candidates.class_id[order], iou)]
        np.testing.assert_array_equal(rows[:, :4], candidates.xyxy[kept])
        np.testing.assert_array_equal(rows[:, 4], candidates.confidence[kept])
        np.testing.assert_array_equal(rows[:, 5], candidates.class_id[kept])


@many
@given(
    images=st.lists(st.lists(BOX, max_size=FEW), min_size=1, max_size=4),
    iou=OVERLAPS,
    backwards=st.booleans(),
    threads=st.sampled_from([FEW, 2 * FEW, kernels.BLOCK_THREADS]),
)
def test_the_suppression_is_nms(
    emulator: ctypes.CDLL, images: list[list[tuple[float, ...]]], iou: float, backwards: bool, threads: int
) -> None:
    outputs, boxes = raw_outputs(images, FEW), [LETTERBOXES[image % 2] for image in range(len(images))]
    whole = Filtered(emulator, outputs, 0.2, [0, 1, 2], 3, raw=True, boxes=boxes)
    left = Filtered(
        emulator, outputs, 0.2, [0, 1, 2], 3, raw=True, boxes=boxes, backwards=backwards, iou=iou, threads=threads
    )
    assert_suppressed_as_by_nms(whole, left, iou)


@many
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.one_of(st.sampled_from([0, 1, 63, 64, 65, 300]), st.integers(0, 80)), min_size=1, max_size=4),
    side=st.sampled_from([8, 60, 600]),
    dtype=st.sampled_from(DTYPES),
    iou=st.one_of(OVERLAPS, st.floats(0, 1)),
    backwards=st.booleans(),
)
def test_the_suppression_of_any_boxes_is_nms(
    emulator: ctypes.CDLL,
    seed: int,
    counts: list[int],
    side: int,
    dtype: type[np.floating[Any]],
    iou: float,
    backwards: bool,
) -> None:
    """Of all sizes, also none at all or turned inside out; many in one place, and some of them equal."""
    random = np.random.default_rng(seed)
    outputs = np.zeros((len(counts), 7, 400), dtype)
    for output, count in zip(outputs, counts):
        at = random.permutation(400)[:count]
        boxes = np.concatenate([random.uniform(0, side, (2, count)), random.uniform(-3, 40, (2, count))])
        output[:4, at] = boxes[:, random.integers(0, max(count, 1), count)] if random.random() < 0.5 else boxes
        output[4 + random.integers(0, 3, count), at] = random.choice([0.3, 0.5, *random.uniform(0.3, 1, 50)], count)
    places = [LETTERBOXES[image % 2] for image in range(len(counts))]
    whole = Filtered(emulator, outputs, 0.2, [0, 1, 2], 3, raw=True, boxes=places)
    assert [len(candidates) for candidates in whole.images] == counts
    left = Filtered(emulator, outputs, 0.2, [0, 1, 2], 3, raw=True, boxes=places, backwards=backwards, iou=iou)
    assert_suppressed_as_by_nms(whole, left, iou)


def test_an_overlap_of_exactly_the_threshold_stays(emulator: ctypes.CDLL) -> None:
    boxes = [(5.0, 0.5, 10.0, 1.0, 0.9, 1), (3.5, 0.5, 7.0, 1.0, 0.8, 1)]
    for iou, count in ((0.7, 2), (np.nextafter(0.7, 0), 1)):
        filtered = Filtered(
            emulator, raw_outputs([boxes], 8), 0.2, [0, 1, 2], 3, raw=True, boxes=[LETTERBOXES[0]], iou=float(iou)
        )
        assert len(filtered.rows[0]) == count


def test_the_kernel_and_the_host_call_the_same_number_few(emulator: ctypes.CDLL) -> None:
    assert emulator.most_that_are_suppressed() == FEW
    assert kernels.BLOCK_THREADS % FEW == 0


@pytest.mark.parametrize(
    ("count", "is_suppressed"), [(0, True), (1, True), (FEW, True), (FEW + 1, False), (300, False)]
)
def test_more_than_a_few_are_left_to_the_host(emulator: ctypes.CDLL, count: int, is_suppressed: bool) -> None:
    boxes = [(10.0 * index, 5.0, 4.0, 4.0, 0.3 + 0.001 * index, 1) for index in range(count)]
    filtered = Filtered(
        emulator, raw_outputs([boxes, boxes[:3]], 300), 0.2, [0, 1, 2], 3, raw=True, boxes=[LETTERBOXES[0]] * 2, iou=0.5
    )
    assert filtered.suppressed == [is_suppressed, True]
    assert [len(rows) for rows in filtered.rows] == [count, min(count, 3)]


@pytest.mark.parametrize("raw", [True, False])
def test_every_box_of_a_full_output_fits_the_list(emulator: ctypes.CDLL, raw: bool) -> None:
    anchors, boxes = 8400, [LETTERBOXES[0]] * 2
    outputs = np.ones((2, 7, anchors) if raw else (2, anchors, 6), np.float32)
    for image in Filtered(emulator, outputs, 0.5, [1, 0], 3, raw=raw, boxes=boxes).images:
        assert len(image) == anchors
    assert len(decode(outputs[0], LAYOUTS["raw" if raw else "end_to_end"], 0.5, [1, 0])) == (
        anchors if raw else MAX_DETECTIONS
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_box_at_the_threshold_does_not_pass_and_the_next_one_does(
    emulator: ctypes.CDLL, dtype: type[np.floating[Any]]
) -> None:
    conf = float(dtype(0.3))
    for score, count in ((dtype(0.3), 0), (np.nextafter(dtype(0.3), dtype(1)), 1), (dtype(0), 0)):
        output = np.array([[[8], [8], [4], [4], [score]]], dtype)
        filtered = Filtered(emulator, output, conf, [0], 1, raw=True, boxes=[LETTERBOXES[0]])
        assert len(filtered.images[0]) == count == len(decode(output[0], LAYOUTS["raw"], conf, [0]))


@pytest.mark.parametrize("conf", [0.1, 0.25, 0.3, 0.7])
@pytest.mark.parametrize("raw", [True, False])
def test_a_threshold_between_two_numbers_of_half_precision_parts_them(
    emulator: ctypes.CDLL, conf: float, raw: bool
) -> None:
    near = np.float16(conf)
    scores = [np.nextafter(near, np.float16(0)), near, np.nextafter(near, np.float16(1))]
    columns = np.array([[8, 8, 12, 12, score] + [0] * (not raw) for score in scores], np.float16)
    output = columns.T if raw else columns
    (got,) = Filtered(emulator, output[None].copy(), conf, [0], 1, raw=raw, boxes=[LETTERBOXES[0]]).images
    wanted = [float(score) for score in scores if np.float32(score) > np.float32(conf)]
    wanted.sort(reverse=not raw)
    expected = decode(output, LAYOUTS["raw" if raw else "end_to_end"], conf, [0])
    assert got.confidence.tolist() == expected.confidence.tolist() == wanted


# Building


@pytest.mark.parametrize("architecture", ["sm_87", "sm_90"])
def test_nvcc_builds_the_kernels(tmp_path: Path, architecture: str) -> None:
    nvcc = kernels.find_nvcc()
    if nvcc is None:
        pytest.skip("no GPU: nvcc is not installed here")
    target = tmp_path / "kernels.cubin"
    command = [nvcc, "-cubin", f"-arch={architecture}", "-std=c++14", "-Werror", "all-warnings", "-o", str(target)]
    done = subprocess.run([*command, str(kernels.SOURCE)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes()[:4] == b"\x7fELF"
