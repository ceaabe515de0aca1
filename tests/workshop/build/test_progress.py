"""Events of a build, and TensorRT's phases."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from perception.workshop.progress import INTERVAL_S, Phases, make_monitor
from tests.workshop.build.fake_builder import Generation, Workbench
from tests.workshop.conftest import Event


def steps(events: list[Event]) -> list[tuple[str, int, int]]:
    return [(event["what"], event["done"], event["of"]) for event in events]


def test_a_phase_is_told_at_intervals_and_at_its_end(events: list[Event]) -> None:
    now = 0.0
    phases = Phases(events.append, lambda: now)
    phases.begin("Tactics", 1000)
    for number in range(1000):
        now += INTERVAL_S / 100
        phases.done("Tactics", number)
    phases.end("Tactics")
    told = steps(events)
    assert told[0] == ("Tactics", 0, 1000)
    assert told[-1] == ("Tactics", 1000, 1000)
    assert 9 <= len(told) <= 14
    phases.end("Tactics")  # twice is once
    assert len(events) == len(told)


def test_a_phase_that_ends_early_is_whole(events: list[Event]) -> None:
    phases = Phases(events.append, lambda: 0.0)
    phases.begin("a", 5)
    phases.begin("b", 2)
    phases.end("b")
    phases.end("a")
    assert steps(events) == [("a", 0, 5), ("b", 0, 2), ("b", 2, 2), ("a", 5, 5)]


def test_before_tensorrt_9_there_is_no_monitor(bench: Workbench, tensorrt: ModuleType, events: list[Event]) -> None:
    kept: list[BaseException] = []
    assert make_monitor(tensorrt, Phases(events.append), lambda: True, kept.append) is None


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_monitor_says_whether_to_go_on(
    bench_of: Callable[[Generation], Workbench], tensorrt: ModuleType, events: list[Event], goes_on: bool
) -> None:
    bench_of("10")
    kept: list[BaseException] = []
    monitor = make_monitor(tensorrt, Phases(events.append), lambda: goes_on, kept.append)
    assert monitor is not None
    monitor.phase_start("Building", None, 2)  # type: ignore[arg-type]
    assert monitor.step_complete("Building", 0) is goes_on
    monitor.phase_finish("Building")
    assert steps(events) == [("Building", 0, 2), ("Building", 2, 2)]
    assert not kept


def test_what_a_callback_of_the_monitor_raises_is_kept(
    bench_of: Callable[[Generation], Workbench], tensorrt: ModuleType
) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    bench_of("10")
    kept: list[BaseException] = []
    monitor = make_monitor(tensorrt, Phases(stop), lambda: not kept, kept.append)
    assert monitor is not None
    monitor.phase_start("Building", None, 2)  # type: ignore[arg-type]
    assert isinstance(kept[0], KeyboardInterrupt)
    assert monitor.step_complete("Building", 0) is False
