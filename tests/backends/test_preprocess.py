"""The letterbox: equal, byte by byte, to an independent reference and to ultralytics' own."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perception.backends.preprocess import Letterbox, Preprocessor
from perception.core.frame import Image

Size = tuple[int, int]
SIDES = st.one_of(st.integers(1, 9), st.integers(1, 400), st.sampled_from([31, 32, 33, 63, 64, 65, 480, 539, 720]))
SIZES = st.tuples(SIDES, SIDES)
INPUTS = st.sampled_from([(64, 64), (32, 32), (64, 96), (96, 64), (640, 640)])
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def picture(size: Size, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def reference(image: Image, input_hw: Size) -> npt.NDArray[np.float32]:
    """Letterbox as ultralytics describes it, written without a look at ours: resize, border, RGB, planar, 0 to 1."""
    height, width = image.shape[:2]
    ratio = min(input_hw[0] / height, input_hw[1] / width)
    new_width, new_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    pad_x, pad_y = (input_hw[1] - new_width) / 2, (input_hw[0] - new_height) / 2
    resized = image if (width, height) == (new_width, new_height) else cv2.resize(image, (new_width, new_height))
    padded = cv2.copyMakeBorder(
        resized,
        round(pad_y - 0.1),
        round(pad_y + 0.1),
        round(pad_x - 0.1),
        round(pad_x + 0.1),
        cv2.BORDER_CONSTANT,
        value=(114, 114, 114),
    )
    planar = np.ascontiguousarray(cv2.cvtColor(padded, cv2.COLOR_BGR2RGB).transpose(2, 0, 1))
    tensor: npt.NDArray[np.float32] = planar.astype(np.float32) / np.float32(255)
    return tensor


def ours(image: Image, input_hw: Size) -> npt.NDArray[np.floating]:
    tensor, _ = Preprocessor(input_hw)([image])
    assert tensor.shape == (1, 3, *input_hw)
    planes: npt.NDArray[np.floating] = tensor[0]
    return planes


@QUICK
@given(size=SIZES, input_hw=INPUTS)
@example(size=(1, 1), input_hw=(64, 64))
@example(size=(1, 3000), input_hw=(64, 64))
@example(size=(3000, 1), input_hw=(64, 64))
@example(size=(720, 1280), input_hw=(640, 640))
@example(size=(540, 960), input_hw=(640, 640))
@example(size=(640, 640), input_hw=(640, 640))
def test_the_tensor_equals_an_independent_letterbox_byte_by_byte(size: Size, input_hw: Size) -> None:
    image = picture(size)
    np.testing.assert_array_equal(ours(image, input_hw), reference(image, input_hw), strict=True)


@pytest.mark.needs("torch")
@QUICK
@given(size=SIZES, input_hw=INPUTS)
@example(size=(720, 1280), input_hw=(640, 640))
def test_the_tensor_equals_that_of_ultralytics(size: Size, input_hw: Size) -> None:
    from ultralytics.data.augment import LetterBox

    image = picture(size)
    theirs = LetterBox(input_hw, auto=False, stride=32)(image=image.copy())
    planar = theirs[..., ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(ours(image, input_hw), planar)


@QUICK
@given(size=SIZES, input_hw=INPUTS)
@example(size=(1, 1), input_hw=(64, 64))
def test_the_picture_lies_inside_the_input_in_its_middle(size: Size, input_hw: Size) -> None:
    box = Letterbox.fit(size, input_hw)
    for place, scaled, side in zip((box.top, box.left), box.scaled_hw, input_hw):
        assert 1 <= scaled <= side
        assert 0 <= place <= side - scaled
        assert 0 <= (side - scaled - place) - place <= 1
    assert box.scaled_hw[0] == input_hw[0] or box.scaled_hw[1] == input_hw[1]


@QUICK
@given(size=SIZES, input_hw=INPUTS, shares=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_a_box_comes_back_to_its_place_in_the_image(size: Size, input_hw: Size, shares: list[float]) -> None:
    box = Letterbox.fit(size, input_hw)
    image_box = np.array([shares], np.float32) * np.array([size[1], size[0]] * 2, np.float32)
    scale = np.array([box.scaled_hw[1] / size[1], box.scaled_hw[0] / size[0]] * 2)
    in_input = (image_box * scale + np.array([box.left, box.top] * 2)).astype(np.float32)
    back = box.to_image(in_input)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, image_box, rtol=1e-4, atol=1e-3 * max(1.0, max(size) / 64))


@QUICK
@given(size=SIZES, input_hw=INPUTS)
def test_the_corners_of_the_placed_picture_are_the_corners_of_the_image(size: Size, input_hw: Size) -> None:
    box = Letterbox.fit(size, input_hw)
    placed = [box.left, box.top, box.left + box.scaled_hw[1], box.top + box.scaled_hw[0]]
    corners = box.to_image(np.array([placed], np.float32))
    np.testing.assert_allclose(corners, [[0, 0, size[1], size[0]]], rtol=1e-5, atol=1e-4)


@pytest.mark.needs("torch")
@QUICK
@given(size=SIZES, input_hw=INPUTS)
def test_boxes_go_back_as_those_of_ultralytics(size: Size, input_hw: Size) -> None:
    from ultralytics.utils.ops import scale_boxes

    boxes = np.random.default_rng(1).uniform(-10, max(input_hw) + 10, (8, 4)).astype(np.float32)
    clipped = np.clip(Letterbox.fit(size, input_hw).to_image(boxes), 0, [size[1], size[0]] * 2)
    np.testing.assert_allclose(clipped, scale_boxes(input_hw, boxes.copy(), size), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_an_empty_image_is_refused(size: Size) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Preprocessor((64, 64))([np.zeros((*size, 3), np.uint8)])


def test_alternating_sizes_leave_no_ghost_in_the_buffer_that_is_used_again() -> None:
    preprocess = Preprocessor((64, 96))
    for round_number, size in enumerate([(40, 40), (9, 90), (90, 9), (64, 96), (40, 40), (40, 40), (1, 1), (90, 9)]):
        image = picture(size, round_number)
        tensor, _ = preprocess([image])
        np.testing.assert_array_equal(tensor[0], reference(image, (64, 96)))


def test_one_buffer_serves_every_call() -> None:
    preprocess = Preprocessor((64, 64))
    first, _ = preprocess([picture((40, 40))])
    second, _ = preprocess([picture((30, 60))])
    assert np.shares_memory(first, second)


def test_a_batch_holds_each_image_in_order_whatever_their_sizes() -> None:
    preprocess = Preprocessor((64, 64))
    sizes: list[Size] = [(40, 40), (9, 90), (64, 64)]
    for batch in (sizes, sizes[::-1], sizes[:1], sizes[:2], sizes):
        images = [picture(size, index) for index, size in enumerate(batch)]
        tensor, boxes = preprocess(images)
        assert tensor.shape == (len(batch), 3, 64, 64)
        assert [box.image_hw for box in boxes] == batch
        for image, planes in zip(images, tensor):
            np.testing.assert_array_equal(planes, reference(image, (64, 64)))


def test_float16_is_the_float32_tensor_rounded() -> None:
    image = picture((50, 70))
    tensor, _ = Preprocessor((64, 64), np.float16)([image])
    assert tensor.dtype == np.float16
    np.testing.assert_array_equal(tensor[0], reference(image, (64, 64)).astype(np.float16))


def test_a_picture_that_is_a_view_is_read_as_what_it_shows() -> None:
    image = picture((60, 80))
    for view in (image[::-1, ::-1], image[10:50, 5:75], image[::2, ::2], image.transpose(1, 0, 2)):
        np.testing.assert_array_equal(ours(view, (64, 64)), reference(view.copy(), (64, 64)))


def test_the_picture_itself_is_left_alone() -> None:
    image = picture((64, 64))
    before = image.copy()
    ours(image, (64, 64))
    np.testing.assert_array_equal(image, before)
