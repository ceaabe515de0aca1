"""A Jetson is told from other machines."""

from __future__ import annotations

import os
from pathlib import Path

from perception.system.jetson import is_jetson


def test_a_jetson_is_known_by_the_device_tree_where_a_container_lacks_the_release_file(tmp_path: Path) -> None:
    tree = tmp_path / "proc" / "device-tree"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"nvidia,p3768-0000+p3767-0005\0nvidia,p3767\0nvidia,tegra234\0")
    assert is_jetson(tmp_path)
    (tree / "compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert not is_jetson(tmp_path)
    (tree / "compatible").unlink()
    os.mkfifo(tree / "compatible")
    assert not is_jetson(tmp_path)


def test_a_jetson_is_known_by_the_release_file_of_l4t(tmp_path: Path) -> None:
    assert not is_jetson(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.0")
    assert is_jetson(tmp_path)
