"""Defers signals during native calls that would swallow what their handlers raise."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """Defer SIGINT and SIGTERM to the end of the block.

    For native code that calls Python back: Python runs a handler at the entry of the callback, before any `try` in it.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread runs handlers
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, lambda arrived, _: came.append(arrived))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        for arrived in came:
            signal.raise_signal(arrived)
