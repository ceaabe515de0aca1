"""Snapshots out of the kernel's files, and one out of several."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.board.sources import SysfsSource, merged
from perception.core.results import BoardSnapshot
from tests.board.planting import NAMES, plant, write
from tests.doubles.fakes import FakeClock

COUNTER = "sys/class/hwmon/hwmon3/oc{}_event_cnt"
INSTANT = "instantaneous over-current"


def test_a_snapshot_holds_what_the_files_say(tmp_path: Path) -> None:
    snapshot = SysfsSource(plant("orin-nano-jetpack-6.2", tmp_path)).read()
    assert snapshot.temperatures_c["gpu"] == 60.781
    assert snapshot.throttle_from_c == {"cpu": 99.0, "gpu": 99.0}
    assert snapshot.power_w == pytest.approx(7.18848)
    assert (snapshot.gpu_load, snapshot.gpu_clock_hz) == (0.453, 1020e6)
    assert (snapshot.emc_load, snapshot.emc_clock_hz) == (None, None)
    assert (snapshot.memory_available_mib, snapshot.swap_used_mib) == (4096.0, 24.0)
    assert (snapshot.power_mode, snapshot.throttling) == ("MAXN_SUPER", ())
    assert snapshot.oc_events[INSTANT] == 27390


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_gives_a_snapshot(name: str, tmp_path: Path) -> None:
    snapshot = SysfsSource(plant(name, tmp_path)).read()
    assert snapshot.memory_total_mib
    assert snapshot.temperatures_c


def test_the_load_of_the_cores_is_what_they_did_between_two_readings(tmp_path: Path) -> None:
    source = SysfsSource(plant("desk", tmp_path))
    assert source.read().cpu_load is None  # no time has passed
    write(tmp_path, "proc/stat", "cpu  125 0 125 850 0 0 0 0 0 0")
    assert source.read().cpu_load == 0.5


def test_counters_that_start_again_give_no_load(tmp_path: Path) -> None:
    source = SysfsSource(plant("desk", tmp_path))
    write(tmp_path, "proc/stat", "cpu  1 0 1 8 0 0 0 0 0 0")
    assert source.read().cpu_load is None


def after(tmp_path: Path, number: int, events: list[int]) -> list[tuple[str, ...]]:
    """Return what slows the board down at each second, with the counter `number` of over-current events as given."""
    root, clock = plant("orin-nano-jetpack-6.2", tmp_path), FakeClock()
    source, said = SysfsSource(root, clock), []
    for count in events:
        write(root, COUNTER.format(number), str(count))
        said.append(source.read().throttling)
        clock.now += 1.0
    return said


def test_the_short_over_current_events_of_every_second_are_no_throttling(tmp_path: Path) -> None:
    assert set(after(tmp_path, 3, [5 * second for second in range(20)])) == {()}


def test_a_burst_of_counts_is_judged_by_its_rate_over_some_seconds(tmp_path: Path) -> None:
    assert set(after(tmp_path, 3, [0, 0, 56, 56, 56, 56, 56])) == {()}


def test_many_over_current_events_are_throttling_until_they_stop(tmp_path: Path) -> None:
    said = after(tmp_path, 3, [0, 60, 120, 180, 240, 300, *[300] * 6])
    assert said[0] == ()
    assert said[5] == (INSTANT,)
    assert said[-1] == ()


def test_one_drop_of_the_supply_voltage_is_throttling(tmp_path: Path) -> None:
    said = after(tmp_path, 1, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    assert said[1:3] == [(), ("under-voltage",)]
    assert said[-1] == ()


def test_the_first_source_that_knows_a_figure_gives_it() -> None:
    kernel = BoardSnapshot({"cpu": 50.0}, power_w=7.0, gpu_load=0.0, throttling=("a",))
    card = BoardSnapshot(
        {"cpu": 51.0, "gpu": 60.0}, {"gpu": 90.0}, 9.0, gpu_load=0.5, emc_load=0.1, throttling=("a", "b")
    )
    both = merged([kernel, card])
    assert both is not None
    assert both.temperatures_c == {"cpu": 50.0, "gpu": 60.0}
    assert both.throttle_from_c == {"gpu": 90.0}
    assert (both.power_w, both.gpu_load, both.emc_load) == (7.0, 0.0, 0.1)
    assert both.throttling == ("a", "b")
    assert both.power_mode is None


def test_nothing_makes_no_snapshot() -> None:
    assert merged([]) is None
