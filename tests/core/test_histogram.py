"""The histogram of durations: its percentiles beside the exact ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.core.histogram import LatencyHistogram

MS = st.floats(0.002, 900_000, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(MS, min_size=1, max_size=300), percent=st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_within_a_thousandth_of_the_exact_one(values: list[float], percent: float) -> None:
    histogram = LatencyHistogram()
    for start in range(0, len(values), 7):
        histogram.add(values[start : start + 7])
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert histogram.percentile(percent) == pytest.approx(exact, rel=1e-3)
    assert histogram.max_ms == max(values)
    assert histogram.count == len(values)


def test_no_percentile_is_above_the_maximum() -> None:
    histogram = LatencyHistogram()
    histogram.add([12.3456] * 10)
    assert histogram.percentile(50) <= histogram.percentile(99) <= histogram.max_ms


@pytest.mark.parametrize(("value", "said"), [(0.0, 0.0), (1e-9, 1e-9), (5e6, 1e6)])
def test_what_is_out_of_range_counts_at_the_end_of_it(value: float, said: float) -> None:
    histogram = LatencyHistogram()
    histogram.add([value])
    assert histogram.percentile(50) == pytest.approx(said, rel=1e-3)
    assert histogram.max_ms == value


def test_a_histogram_of_nothing_has_no_percentile() -> None:
    histogram = LatencyHistogram()
    histogram.add([])
    with pytest.raises(ValueError, match="no duration"):
        histogram.percentile(50)
