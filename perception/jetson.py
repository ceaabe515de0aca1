"""Whether this machine is a Jetson: the one definition of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 4096
"""A list of names, each of some ten letters."""


def is_jetson(root: Path = Path("/")) -> bool:
    """Whether this is a board with a Tegra chip: by the release file of L4T, or by the device tree.

    Some vendors' images and most containers lack the file. Never waits, whatever lies there.
    """
    if os.path.lexists(root / "etc/nv_tegra_release"):
        return True
    with suppress(OSError):
        descriptor = os.open(root / "proc/device-tree/compatible", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return b"nvidia,tegra" in os.read(descriptor, MOST_BYTES)
        finally:
            os.close(descriptor)
    return False
