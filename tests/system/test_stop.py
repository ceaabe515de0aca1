"""The wishes that come as signals: they are noted, and nothing else happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from perception.system.stop import StopFlag, Stopped


@pytest.fixture(autouse=True)
def _handlers_afterwards() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
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


def test_a_stop_that_an_import_swallows_is_still_a_stop_and_a_fault_without_one_stays_a_fault() -> None:
    def native(number: int) -> None:
        try:
            signal.raise_signal(number)
        except BaseException as fault:
            raise ImportError("initialization failed") from fault  # as pybind11's modules end
        raise ImportError("no such file")

    flag = StopFlag()
    flag.listen()
    with pytest.raises(ImportError, match="no such file"):
        flag.at_once(native, signal.SIGHUP)
    with pytest.raises(Stopped):
        flag.at_once(native, signal.SIGTERM)


def test_a_hang_up_asks_for_a_reload_once_and_for_no_stop() -> None:
    flag = StopFlag()
    flag.listen()
    assert not flag.take_reload()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGHUP)
    assert flag.take_reload()
    assert not flag.take_reload()
    assert not flag.requested


def test_a_hang_up_interrupts_no_start_up() -> None:
    flag = StopFlag()
    flag.listen()
    flag.at_once(signal.raise_signal, signal.SIGHUP)
    assert flag.take_reload()


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    flag = StopFlag()
    flag.listen()
    signal.raise_signal(signal.SIGHUP)
    assert not flag.take_reload()


def test_a_start_up_that_nobody_stops_gives_its_result() -> None:
    assert StopFlag().at_once(lambda value: value + 1, 2) == 3
