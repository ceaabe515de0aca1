"""Facts about Jetsons in the field: modes by name, routine over-current, a package that a release lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.doctor.finding import Finding
from tests.doctor.trees import Tree


def test_the_fastest_power_mode_is_known_by_its_name_not_by_its_number(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    (finding,) = tree.findings("power-mode")
    assert finding.found.startswith("MAXN_SUPER (mode 2); others: 0 15W, 1 25W, 3 7W")
    assert "a faster one" not in finding.found
    tree.write("var/lib/nvpmodel/status", "pmode:0000")
    (finding,) = tree.findings("power-mode")
    assert finding.found.endswith("; a faster one is there: sudo nvpmodel -m 2   (MAXN_SUPER)")
    modes = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=MODE_15W >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n"
    tree.write("etc/nvpmodel.conf", modes)
    tree.write("var/lib/nvpmodel/status", "pmode:0002")
    (finding,) = tree.findings("power-mode")
    assert finding.found.endswith("; a faster one is there: sudo nvpmodel -m 0   (MAXN)")
    tree.write("etc/nvpmodel.conf", modes.replace("MAXN", "10W"))
    (finding,) = tree.findings("power-mode")
    assert "a faster one" not in finding.found


def counted(tree: Tree, kind: str, count: int, up_s: float | None) -> Finding:
    for number in (1, 2, 3):
        tree.write(f"sys/class/hwmon/hwmon1/oc{number}_event_cnt", f"{count if f'oc{number}' == kind else 0}\n")
    if up_s is not None:
        tree.write("proc/uptime", f"{up_s:.2f} 1.00\n")
    (finding,) = tree.findings("throttling")
    return finding


@pytest.mark.parametrize(
    ("kind", "count", "up_s", "code"),
    [
        ("oc3", 27_390, 3605.0, ""),  # as on healthy boards
        ("oc3", 90_000, 3605.0, "power-throttled"),
        ("oc3", 1_000_000, None, ""),  # since when is not known
        ("oc2", 15, 86_400.0, ""),
        ("oc2", 15, 60.0, "power-throttled"),
        ("oc1", 1, 86_400.0, "power-throttled"),
        ("oc1", 1, None, "power-throttled"),
    ],
)
def test_over_current_counts_as_a_rate(tmp_path: Path, kind: str, count: int, up_s: float | None, code: str) -> None:
    finding = counted(Tree("jetpack-6.2", tmp_path), kind, count, up_s)
    assert finding.code == code
    assert f"{count} times " in finding.found
    assert (" a second)" in finding.found) == (up_s is not None)


POLICY = """nvidia-l4t-dla-compiler:
  Installed: (none)
  Candidate: {0}
  Version table:
     {0} 500
        500 https://repo.download.nvidia.com/jetson/common r36.4/main arm64 Packages
"""
CORE = "36.4.3-20250107174145"


@pytest.mark.parametrize(
    ("policy", "cure"),
    [
        (POLICY.format(CORE), f"sudo apt-get install --reinstall nvidia-l4t-dla-compiler={CORE} "),
        (POLICY.format("36.4.1-1"), "apt-get download nvidia-l4t-dla-compiler && sudo dpkg -x "),
        ("", "apt has no nvidia-l4t-dla-compiler for this release: download that of Jetson Linux 36.4"),
    ],
)
def test_the_dla_compiler_is_asked_for_in_a_version_that_apt_has(tmp_path: Path, policy: str, cure: str) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    assert tree.machine.packages["nvidia-l4t-core"] == CORE
    tree.commands["apt-cache policy nvidia-l4t-dla-compiler"] = policy
    tree.write("usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so", "")
    assert tree.fault("dla-empty").cure.startswith(cure)


def test_the_dla_compiler_alone_may_be_of_another_release(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    status = (tree.root / "var/lib/dpkg/status").read_text()
    for name, code in (("nvidia-l4t-dla-compiler", ""), ("nvidia-l4t-camera", "l4t-mixed")):
        paragraphs = [one for one in status.split("\n\n") if f"Package: {name}\n" not in one]
        other = f"Package: {name}\nStatus: install ok installed\nVersion: 36.4.1-20241119120551\n"
        tree.write("var/lib/dpkg/status", "\n\n".join([*paragraphs, other]))
        (finding,) = tree.findings("l4t-packages")
        assert finding.code == code


def test_nvcc_is_named_by_the_cuda_that_is_there(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.lacks("pycuda")
    (tree.root / "usr/local/cuda/bin/nvcc").unlink()
    status = (tree.root / "var/lib/dpkg/status").read_text()
    for number in ("12-6", "13-2"):
        package = f"Package: cuda-cudart-{number}\nStatus: install ok installed\nVersion: 1\n"
        tree.write("var/lib/dpkg/status", f"{status}\n\n{package}")
        assert f"cuda-nvcc-{number} " in tree.fault("nvcc-missing").cure


def test_free_blocks_are_counted_in_the_pages_of_this_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.write("proc/buddyinfo", "Node 0, zone   Normal  1 1 1 1 1 1 50 0 0 0 0\n")
    assert tree.fault("memory-fragmented").found.startswith("largest free block 256 KiB, 0 blocks of 4 MiB")
    monkeypatch.setattr("perception.doctor.checks.memory.os.sysconf", lambda name: 65536)
    (finding,) = tree.findings("largest-block")
    assert finding.found == "largest free block 4096 KiB, 50 blocks of 4 MiB"
