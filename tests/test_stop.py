"""The stop flag: signals set it, and do nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from perception.stop import StopFlag, Stopped


@pytest.fixture(autouse=True)
def _handlers_afterwards() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_is_requested_at_first() -> None:
    flag = StopFlag()
    flag.listen()
    assert not flag.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_a_second_one_changes_nothing(number: signal.Signals) -> None:
    flag = StopFlag()
    flag.listen()
    for _ in range(3):
        os.kill(os.getpid(), number)
        assert flag.requested


def test_a_stop_interrupts_a_start_up_and_lets_the_loop_finish() -> None:
    flag = StopFlag()
    flag.listen()
    with pytest.raises(Stopped):
        flag.at_once(lambda _: signal.raise_signal(signal.SIGINT), None)
    assert flag.requested
    signal.raise_signal(signal.SIGINT)  # outside a start-up it is a wish, and nothing is raised
    with pytest.raises(Stopped):
        flag.at_once(lambda _: None, None)


def test_a_start_up_that_nobody_stops_gives_its_result() -> None:
    assert StopFlag().at_once(lambda value: value + 1, 2) == 3
