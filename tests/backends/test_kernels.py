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
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from perception.backends import kernels
from perception.backends.kernels import needed_rows, staged_bytes, taps
from perception.frame import Candidates, Image
from perception.heads import MAX_DETECTIONS
from perception.postprocess import decode
from perception.preprocess import PAD_GREY, Letterbox, Preprocessor
from tests.backends.emulation import Guarded

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
            answer.address,
        )
        emulator.run_backwards(False)
        assert all(part.is_intact() for part in (output, vehicle, vehicles, place, state, lists, answer))
        assert np.array_equal(state.bytes, new_state(emulator, images).bytes), "the next frame finds another state"
        counts = answer.bytes[24:].view(np.uint32)
        rows = lists.view(np.float32, (images, anchors, size // 4))
        self.final = not raw
        self.images = [self._candidates(rows[image, : counts[image]]) for image in range(images)]

    def _candidates(self, rows: npt.NDArray[np.float32]) -> Candidates:
        anchors = np.ascontiguousarray(rows[:, 6]).view(np.uint32)
        assert len(set(anchors.tolist())) == len(anchors), "a box is listed twice"
        rows = rows[anchors.argsort()]
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
    assume(raw or anchors != 4 + class_count)  # such an output is taken for a raw one
    with np.errstate(over="ignore"):
        outputs = random_outputs(seed, images, anchors, class_count, raw).astype(dtype)
    boxes = [LETTERBOXES[image % 2] for image in range(images)]
    filtered = Filtered(emulator, outputs, conf, class_ids, class_count, raw=raw, boxes=boxes, backwards=backwards)
    for output, box, got in zip(outputs, boxes, filtered.images):
        expected = decode(output, conf, class_ids, class_count)
        assert_same(got, Candidates(box.to_image(expected.xyxy), expected.confidence, expected.class_id, not raw))


@pytest.mark.parametrize("raw", [True, False])
def test_every_box_of_a_full_output_fits_the_list(emulator: ctypes.CDLL, raw: bool) -> None:
    anchors, boxes = 8400, [LETTERBOXES[0]] * 2
    outputs = np.ones((2, 7, anchors) if raw else (2, anchors, 6), np.float32)
    for image in Filtered(emulator, outputs, 0.5, [1, 0], 3, raw=raw, boxes=boxes).images:
        assert len(image) == anchors
    assert len(decode(outputs[0], 0.5, [1, 0], 3)) == (anchors if raw else MAX_DETECTIONS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_box_at_the_threshold_does_not_pass_and_the_next_one_does(
    emulator: ctypes.CDLL, dtype: type[np.floating[Any]]
) -> None:
    conf = float(dtype(0.3))
    for score, count in ((dtype(0.3), 0), (np.nextafter(dtype(0.3), dtype(1)), 1), (dtype(0), 0)):
        output = np.array([[[8], [8], [4], [4], [score]]], dtype)
        filtered = Filtered(emulator, output, conf, [0], 1, raw=True, boxes=[LETTERBOXES[0]])
        assert len(filtered.images[0]) == count == len(decode(output[0], conf, [0], 1))


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
    assert got.confidence.tolist() == decode(output, conf, [0], 1).confidence.tolist() == wanted


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
