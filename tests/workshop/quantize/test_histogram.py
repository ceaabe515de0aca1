"""Ranges for INT8: of known distributions, whatever the order in which they come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from perception.workshop.quantize.histogram import (
    BINS,
    METHODS,
    MagnitudeHistogram,
    entropy,
    least_error,
    minmax,
    percentile,
    range_of,
)

Floats = npt.NDArray[np.float32]


def _of(*parts: Floats) -> MagnitudeHistogram:
    histogram = MagnitudeHistogram()
    for part in parts:
        histogram.add(part)
    return histogram


def _noise(seed: int, scale: float, count: int = 20_000) -> Floats:
    return np.random.default_rng(seed).normal(0, scale, count).astype(np.float32)


def test_counts_do_not_depend_on_the_order() -> None:
    parts = [_noise(seed, scale) for seed, scale in enumerate((0.01, 5.0, 0.3, 40.0))]
    forth, back = _of(*parts), _of(*reversed(parts))
    np.testing.assert_array_equal(forth.counts, back.counts)
    assert (forth.top, forth.largest) == (back.top, back.largest)


def test_every_value_is_counted_once_and_by_its_magnitude() -> None:
    values = np.array([[-3.0, 3.0], [0.0, 1.0]], np.float32)
    histogram = _of(values)
    assert histogram.counts.sum() == 4
    assert histogram.top == 4.0
    assert histogram.counts[3 * BINS // 4] == 2


def test_a_power_of_two_lies_within() -> None:
    histogram = _of(np.array([1.0, 4.0], np.float32))
    assert histogram.counts.sum() == 2
    assert histogram.largest < histogram.top


def test_zeros_before_the_first_value_are_kept() -> None:
    histogram = _of(np.zeros(10, np.float32), np.array([100.0], np.float32))
    assert histogram.counts[0] == 10
    assert histogram.counts.sum() == 11


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_no_number_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="no numbers"):
        MagnitudeHistogram().add(np.array([1.0, broken], np.float32))


def test_the_percentile_leaves_outliers_out_and_the_maximum_does_not() -> None:
    histogram = _of(np.linspace(0, 1, 1_000_000, dtype=np.float32), np.array([50.0], np.float32))
    assert percentile(histogram) == pytest.approx(1, abs=2 * histogram.top / BINS)
    assert percentile(histogram, 50) == pytest.approx(0.5, abs=2 * histogram.top / BINS)
    assert minmax(histogram) == 50


def test_the_least_error_is_that_of_trying_each_range() -> None:
    values = _noise(1, 1.0)
    chosen = least_error(_of(values))

    def error(width: float) -> float:
        step = width / 127
        return float(((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2).mean())

    assert 2.5 < chosen < 4.5  # known for a normal distribution in 8 bits: about 4 deviations, less for few values
    assert error(chosen) <= 1.02 * min(error(width) for width in np.linspace(2, 4.5, 26).tolist())


def test_entropy_cuts_a_long_tail_more_than_the_maximum() -> None:
    histogram = _of(_noise(2, 1.0, 200_000), np.array([60.0], np.float32))
    assert 1.5 < entropy(histogram) < 15


@pytest.mark.parametrize("method", METHODS)
def test_no_method_gives_more_than_there_is_or_nothing(method: str) -> None:
    histogram = _of(_noise(3, 2.0))
    assert 0 < range_of(method, histogram) <= histogram.largest * (1 + 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_a_range_that_can_be_divided_by(method: str) -> None:
    assert range_of(method, _of(np.zeros(100, np.float32))) == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_one_value_everywhere_is_held(method: str) -> None:
    assert range_of(method, _of(np.full(1000, 3.0, np.float32))) == pytest.approx(3.0, rel=0.01)
