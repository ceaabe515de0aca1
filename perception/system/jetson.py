"""Tells a Jetson from another machine by small files of the kernel: standard library alone, runs on Python 3.8."""

from __future__ import annotations

import os
from pathlib import Path


def is_jetson(root: Path = Path("/")) -> bool:
    """Return True on a board with a Tegra chip: by the release file of L4T, or by the device tree.

    The file alone is absent on some vendors' images and in most containers. This is the one definition.
    """
    compatible = read_text(root / "proc/device-tree/compatible") or ""
    return os.path.lexists(root / "etc/nv_tegra_release") or "nvidia,tegra" in compatible


def read_text(path: Path) -> str | None:
    """Return the text of a small file without its trailing whitespace; None where it cannot be read.

    A file of sysfs may answer EAGAIN, which Python's buffered readers turn into a TypeError, so it is read as it is.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(handle, 65536).decode("utf-8", "replace").rstrip("\n\0 ")
    except OSError:
        return None
    finally:
        os.close(handle)
