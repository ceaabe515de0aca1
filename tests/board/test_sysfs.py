"""The kernel's files of four machines, and everything that can be wrong with such a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perception.board import sysfs
from perception.board.sysfs import Clock, MemoryUse, PowerMode
from perception.system.home import ROOT
from tests.board.planting import NAMES, plant, write

READERS: tuple[Callable[[Path], object], ...] = (
    sysfs.temperatures_c,
    sysfs.throttle_points_c,
    sysfs.throttling,
    sysfs.oc_events,
    sysfs.rails_w,
    sysfs.gpu,
    sysfs.emc,
    sysfs.cpu,
    sysfs.cpu_times,
    sysfs.memory,
    sysfs.power_mode,
)


def test_an_orin_nano_tells_everything_but_its_memory_controller(tmp_path: Path) -> None:
    root = plant("orin-nano-jetpack-6.2", tmp_path)
    assert sysfs.temperatures_c(root) == {"cpu": 58.218, "gpu": 60.781, "soc0": 57.5, "tj": 60.781}
    assert sysfs.throttle_points_c(root) == {"cpu": 99.0, "gpu": 99.0}
    assert sysfs.rails_w(root) == pytest.approx({"VDD_IN": 7.18848, "VDD_CPU_GPU_CV": 2.492, "VDD_SOC": 1.9936})
    assert sysfs.total_w(sysfs.rails_w(root)) == pytest.approx(7.18848)
    assert sysfs.oc_events(root) == {
        "under-voltage": 0,
        "average over-current": 0,
        "instantaneous over-current": 27390,
    }
    assert sysfs.gpu(root) == Clock(0.453, 1020e6, 1020e6)
    assert sysfs.cpu(root) == Clock(None, 1728e6, 1728e6)
    assert sysfs.emc(root) == Clock()
    assert sysfs.cpu_times(root) == (1500.0, 10000.0)
    assert sysfs.memory(root) == MemoryUse(7802264 / 1024, 4096.0, 3901120 / 1024, 24.0)
    assert sysfs.power_mode(root) == PowerMode(2, "MAXN_SUPER")


def test_a_fan_and_a_warm_case_are_no_throttling(tmp_path: Path) -> None:
    assert sysfs.throttling(plant("orin-nano-jetpack-6.2", tmp_path)) == []


def test_the_alarms_that_are_on_are_throttling(tmp_path: Path) -> None:
    root = plant("agx-orin-jetpack-6.0", tmp_path)
    assert sysfs.throttling(root) == ["cpu-throttle-alert", "gpu-throttle-alert"]


def test_an_agx_orin_has_no_input_rail_so_its_rails_are_added_without_the_inner_one(tmp_path: Path) -> None:
    rails = sysfs.rails_w(plant("agx-orin-jetpack-6.0", tmp_path))
    assert rails == pytest.approx(
        {"VDD_GPU_SOC": 3.8, "VDD_CPU_CV": 1.9, "VIN_SYS_5V0": 5.0, "VDDQ_VDD2_1V8AO": 0.39744}
    )
    assert sysfs.total_w(rails) == pytest.approx(10.7)


def test_root_sees_the_memory_controller(tmp_path: Path) -> None:
    assert sysfs.emc(plant("agx-orin-jetpack-6.0", tmp_path)) == pytest.approx(Clock(0.2, 3.199e9, 3.199e9))


def test_the_default_power_mode_counts_where_none_was_set(tmp_path: Path) -> None:
    assert sysfs.power_mode(plant("agx-orin-jetpack-6.0", tmp_path)) == PowerMode(0, "MAXN")


def test_a_power_mode_without_a_name_keeps_its_number(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/nvpmodel/status", "pmode:0003")
    assert sysfs.power_mode(tmp_path) == PowerMode(3, None)


def test_a_thor_has_its_input_power_and_its_clocks_elsewhere(tmp_path: Path) -> None:
    root = plant("thor-jetpack-7.0", tmp_path)
    assert sysfs.total_w(sysfs.rails_w(root)) == 38.0
    assert sysfs.gpu(root) == Clock(None, 1575e6, 1575e6)
    assert sysfs.emc(root) == Clock(None, 4.266e9, 4.266e9)
    assert sysfs.temperatures_c(root) == {"cpu": 59.2, "tj": 59.8}  # a GPU that is switched off has no temperature


def test_a_desk_has_no_board(tmp_path: Path) -> None:
    root = plant("desk", tmp_path)
    assert sysfs.temperatures_c(root) == {"x86_pkg_temp": 44.0}
    assert sysfs.throttle_points_c(root) == {}
    assert (sysfs.throttling(root), sysfs.rails_w(root), sysfs.oc_events(root)) == ([], {}, {})
    assert sysfs.total_w({}) is None
    assert (sysfs.gpu(root), sysfs.power_mode(root)) == (Clock(), None)
    assert sysfs.memory(root) == MemoryUse(32000.0, 16000.0, 2048.0, 1024.0)


@pytest.mark.parametrize("reader", READERS)
def test_a_machine_without_any_of_it_tells_nothing(reader: Callable[[Path], object], tmp_path: Path) -> None:
    told = reader(tmp_path)
    assert not told or set(told) == {None}  # type: ignore[call-overload]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", b"nan", b"inf", b"N/A\n", b"-", b"1e999", b"9" * 400])
@pytest.mark.parametrize("name", NAMES)
def test_no_content_of_a_file_makes_a_reader_raise(name: str, content: bytes, tmp_path: Path) -> None:
    root = plant(name, tmp_path)
    for path in root.rglob("*"):
        if path.is_file() and path.name not in ("type", "name") and not path.name.endswith("_label"):
            path.write_bytes(content)
    for reader in READERS:
        reader(root)
    assert sysfs.gpu(root) == Clock()


def test_a_sensor_that_says_try_again_is_left_out(tmp_path: Path) -> None:
    root = plant("desk", tmp_path)
    pipe = root / "sys/class/thermal/thermal_zone0/temp"
    pipe.unlink()
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # an open end without anything in it: reading gives EAGAIN
    try:
        assert sysfs.temperatures_c(root) == {}
    finally:
        os.close(writer)


def test_a_folder_in_the_place_of_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "proc/meminfo").mkdir(parents=True)
    assert sysfs.memory(tmp_path) == MemoryUse()


def test_the_readers_need_the_standard_library_alone() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import perception.board.sysfs; "
        "print(sorted({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.strip() == "['__main__', 'perception']"
