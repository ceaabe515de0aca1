"""The one loop that times calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def each_ms(call: Callable[[T], object], items: Iterable[T]) -> list[float]:
    """Return the milliseconds of `call` on each item, without those of making the item."""
    times = []
    for item in items:
        started = time.perf_counter()
        call(item)
        times.append((time.perf_counter() - started) * 1000)
    return times


def over_and_over(items: Sequence[T], count: int, first: int = 0) -> Iterator[T]:
    """Yield `count` items from place `first` on, and again from the beginning where they run out."""
    return (items[number % len(items)] for number in range(first, first + count))
