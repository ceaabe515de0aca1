"""Findings before an export, on machines made of trees and on this one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perception.core.errors import ExportMemoryError
from perception.doctor.finding import Finding, Verdict
from perception.doctor.report import text_lines
from perception.system.process import Answer
from perception.workshop.build.preflight import STOPS, examine, look_around, verdict
from tests.doctor.trees import Tree

WORKSPACE_MIB = 2048
PILOT = 1207
"""The process of the pilot in the trees."""
QUIET = {Verdict.OK, Verdict.UNKNOWN}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A Jetson with 8 GB of which 5 are free, on which no pilot runs."""
    tree = Tree("jetpack-6.2", tmp_path)
    shutil.rmtree(tree.root / f"proc/{PILOT}")
    return tree


def found(tree: Tree, check: str, workspace_mib: int = WORKSPACE_MIB) -> Finding:
    """Return the finding of one check of the preflight on the tree."""
    results = examine(tree.machine, tree.engines, workspace_mib)
    (finding,) = (result.finding for result in results if result.check.name == check)
    return finding


def available(tree: Tree, mib: int, swap: str = "") -> None:
    """Sets MemAvailable, and /proc/swaps to its heading and `swap`."""
    tree.write(
        "proc/meminfo", f"MemTotal: 7802000 kB\nMemAvailable: {mib * 1024} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
    )
    tree.write("proc/swaps", f"Filename\tType\tSize\tUsed\tPriority\n{swap}")


def test_a_machine_as_it_should_be_lets_an_export_begin(tree: Tree) -> None:
    results = examine(tree.machine, tree.engines, WORKSPACE_MIB)

    verdict(results, force=False)
    assert {result.finding.verdict for result in results} <= QUIET
    assert [result.check.name for result in results if result.finding.verdict is Verdict.UNKNOWN] == []
    assert "5176 MiB available" in found(tree, "export-memory").found


@pytest.mark.parametrize("name", ["desk", "jetpack-6.0", "jetpack-7.2"])
def test_each_machine_has_a_finding_for_each_check(name: str, tmp_path: Path) -> None:
    tree = Tree(name, tmp_path)

    results = examine(tree.machine, tree.engines, WORKSPACE_MIB)

    assert all(result.finding.found for result in results)
    assert len({result.check.name for result in results}) == len(results) == (7 if name == "desk" else 12)
    verdict(results, force=False)


@pytest.mark.parametrize(
    ("mib", "swap", "code", "cure"),
    [
        (6000, "", "", ""),
        (3839, "", "export-memory-tight", "--workspace 1;"),
        (2400, "", "export-memory-tight", "--workspace 0.5;"),
        (2049, "", "export-memory-tight", "--workspace 0.25;"),
        (2047, "", "export-memory", "systemctl isolate multi-user.target"),
        (1500, "/swapfile file 1048576 0 -2\n", "export-memory-tight", "--workspace 0.25;"),
        (1500, "/swapfile file 1048576 900000 -2\n", "export-memory", "reboot"),
        (1500, "/dev/zram0 partition 1048576 0 5\n", "export-memory", "reboot"),  # worth half of its size
        (1500, "/dev/zram0 partition 1130000 0 5\n", "export-memory-tight", "--workspace 0.25;"),
        (900, "/swapfile file 8388608 0 -2\n", "export-memory", "reboot"),  # the GPU's share cannot be swapped out
    ],
)  # fmt: skip
def test_memory_and_swap_decide_whether_an_export_begins_and_with_which_workspace(
    tree: Tree, mib: int, swap: str, code: str, cure: str
) -> None:
    available(tree, mib, swap)

    finding = found(tree, "export-memory")

    assert finding.code == code
    assert cure in finding.cure
    assert f"{mib} MiB available" in finding.found


def test_a_smaller_workspace_needs_less(tree: Tree) -> None:
    available(tree, 2400)

    assert found(tree, "export-memory", 512).verdict is Verdict.OK
    assert found(tree, "export-memory", 100).verdict is Verdict.OK


def test_the_host_of_a_card_needs_no_memory_for_the_workspace(tmp_path: Path) -> None:
    tree = Tree("desk", tmp_path)
    available(tree, 1200, "/swapfile file 1048576 0 -2\n")

    finding = found(tree, "export-memory")

    assert finding.code == "export-memory-tight"
    assert finding.found == "1200 MiB available, and swap for 1024: an export may take 1792"
    assert "--workspace" not in finding.cure


def test_a_desk_counts_the_memory_of_host_and_card_apart(tmp_path: Path) -> None:
    tree = Tree("desk", tmp_path)
    tree.commands["nvidia-smi"] = "1500, 8192\n"
    available(tree, 1800)

    assert found(tree, "export-memory").verdict is Verdict.OK
    tight = found(tree, "export-gpu-memory")
    assert (tight.code, tight.found) == (
        "export-gpu-memory-tight",
        "1500 of 8192 MiB free: an export with a workspace of 2048 MiB may take 2816",
    )
    assert tight.cure.startswith("--workspace 0.5;")
    tree.commands["nvidia-smi"] = "900, 8192\n"
    assert found(tree, "export-gpu-memory").code == "export-gpu-memory"
    tree.commands["nvidia-smi"] = "80000, 81920\n"
    assert found(tree, "export-gpu-memory").verdict is Verdict.OK


@pytest.mark.parametrize("answer", ["", "No devices were found\n", "[N/A], [N/A]\n"])
def test_no_gpu_is_a_finding(tmp_path: Path, answer: str) -> None:
    tree = Tree("desk", tmp_path)
    tree.commands["nvidia-smi"] = answer
    tree.probes["cuda"] = {"absent": True}

    results = examine(tree.machine, tree.engines, WORKSPACE_MIB)

    verdict(results, force=False)
    assert found(tree, "export-gpu-memory").verdict is Verdict.UNKNOWN
    assert "no NVIDIA GPU" in found(tree, "cuda").found


@pytest.mark.parametrize(
    ("visible", "device", "expected"), [("", 0, "0"), ("", 2, "2"), ("3,GPU-1b", 1, "GPU-1b"), ("1", 0, "1")]
)
def test_the_card_is_the_one_that_cuda_calls_so(tmp_path: Path, visible: str, device: int, expected: str) -> None:
    tree = Tree("desk", tmp_path)
    tree.environment["CUDA_VISIBLE_DEVICES"] = visible
    asked: list[str] = []

    def run(words: Sequence[str], limit_s: float) -> Answer:
        asked.extend(words)
        return tree.machine.run(words, limit_s)

    examine(replace(tree.machine, run=run), tree.engines, WORKSPACE_MIB, device)

    assert f"--id={expected}" in asked


def test_what_shares_the_memory_is_named_with_how_to_stop_it(tree: Tree) -> None:
    tree.process(77, "python", "/venv/bin/python /opt/vehicle-pilot/pilot.py", "/dev/nvgpu/igpu0/as")
    tree.process(78, "python3", "python3 train.py", "/dev/nvgpu/igpu0/as")
    tree.process(79, "gnome-shell", "/usr/bin/gnome-shell")

    pilot, other, desktop = (found(tree, check) for check in ("export-pilot", "gpu-users", "desktop"))

    assert (pilot.code, pilot.found) == ("export-pilot-runs", "the pilot runs: process 77, 200 MiB")
    assert pilot.cure == "End it: kill 77"
    assert "python3 (78)" in other.found
    assert desktop.code == "desktop-running"


def test_a_pilot_that_systemd_runs_is_stopped_by_it(tree: Tree) -> None:
    tree.process(77, "python", "/venv/bin/python /opt/vehicle-pilot/pilot.py")
    tree.write("proc/77/cgroup", "0::/system.slice/vehicle-pilot.service\n")

    assert found(tree, "export-pilot").cure.startswith("sudo systemctl stop vehicle-pilot ")


def test_the_pilot_that_asked_for_the_export_is_not_in_its_way(tree: Tree) -> None:
    tree.process(77, "python", "/venv/bin/python /opt/vehicle-pilot/pilot.py")
    tree.write(f"proc/{os.getpid()}/stat", f"{os.getpid()} (a (name) of ours) S 76 1 1 0")
    tree.write("proc/76/stat", "76 (python3) S 77 1 1 0")
    tree.write("proc/77/stat", "77 (python) S 1 1 1 0")

    assert found(tree, "export-pilot").verdict is Verdict.OK


def test_the_fault_of_36_4_7_is_told_and_that_of_cameras_is_not(tree: Tree) -> None:
    assert found(tree, "known-faults").verdict is Verdict.OK
    tree.edit("etc/nv_tegra_release", "REVISION: 4.3", "REVISION: 4.7")

    finding = found(tree, "known-faults")

    assert finding.code == "l4t-nvmap"
    assert "reboot before a build" in finding.cure


def test_fragmented_memory_advises_a_reboot(tree: Tree) -> None:
    tree.write("proc/buddyinfo", "Node 0, zone   Normal   5000   400   20    3    0    0    0    0    0    0    2\n")

    finding = found(tree, "largest-block")

    assert finding.code == "memory-fragmented"
    assert "reboot" in finding.cure


@pytest.mark.parametrize(("changes", "words"), [({"free_mib": 500.0}, "500 of"), ({"read_only": True}, "is read-only")])
def test_a_disk_without_room_stops_an_export(tree: Tree, changes: dict[str, object], words: str) -> None:
    tree.usage(**changes)

    with pytest.raises(ExportMemoryError, match=words) as caught:
        verdict(examine(tree.machine, tree.engines, WORKSPACE_MIB), force=False)

    assert caught.value.exit_code == 6


def test_a_machine_without_memory_is_refused_unless_forced_and_the_table_says_why(tree: Tree) -> None:
    available(tree, 700)
    results = examine(tree.machine, tree.engines, WORKSPACE_MIB)

    with pytest.raises(ExportMemoryError) as caught:
        verdict(results, force=False)
    verdict(results, force=True)

    assert str(caught.value).startswith(
        "No export is begun: 700 MiB available: an export needs at least 2048 MiB. Stop"
    )
    assert str(caught.value).endswith("--force begins it all the same.")
    assert any(line.startswith("problem     memory ") for line in text_lines(results, 0, color=False))
    assert not {result.finding.verdict for result in results} <= QUIET


def test_a_check_that_fails_is_a_finding(tree: Tree) -> None:
    def fails(path: Path) -> None:
        raise RuntimeError("a dead disk")

    results = examine(replace(tree.machine, usage=fails), tree.engines, WORKSPACE_MIB)  # type: ignore[arg-type]

    assert [result.finding.verdict for result in results if result.check.name == "export-disk"] == [Verdict.UNKNOWN]


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    results = look_around(tmp_path / "engines", WORKSPACE_MIB)

    names = [result.check.name for result in results]
    assert names[:2] == ["export-memory", "export-gpu-memory"]
    assert set(STOPS) <= set(names)
