"""Keeps signals out of calls that would swallow what their handlers raise, and lets a block clean up before it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Ending(BaseException):
    """A signal that ends this process came. No Exception, so that no caller takes it for a fault."""


def _end() -> None:
    raise _Ending


@contextmanager
def held_back() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait for the end of the block; then they do what they would have done.

    For native code that calls Python back: Python runs a handler at the entry of the callback, before any `try` in it.
    """
    with _caught((signal.SIGINT, signal.SIGTERM), callable):
        yield


@contextmanager
def cleaned_up_first() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave the block by an exception; after its clean-up they do what they would have done.

    Only where they would end this process at once: a handler that is there knows what to do.
    """
    with _caught((signal.SIGTERM, signal.SIGHUP), lambda handler: handler == signal.SIG_DFL, _end):
        yield


@contextmanager
def _caught(
    numbers: tuple[signal.Signals, ...], is_ours: Callable[[Any], bool], react: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Note the signals whose handler `is_ours`, `react` at each, and raise them again after the block."""
    if threading.current_thread() is not threading.main_thread():  # which alone may install handlers, and runs them
        yield
        return
    came: list[int] = []

    def arrived(number: int, _: object) -> None:
        came.append(number)
        react()

    before = {number: handler for number in numbers if is_ours(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, arrived)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for arrival in came:
            signal.raise_signal(arrival)
