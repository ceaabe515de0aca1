"""The folder of pilot.py, and which settings file of it is read where none is named."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""config/, engines/, logs/ and models/ lie there."""
SHIPPED = Path("config", "pilot.yaml")
LOCAL = Path("config", "local.yaml")
"""A copy of the user's own, which git ignores: an update leaves it alone, and it stands in no update's way."""


def settings_path(root: Path = ROOT) -> Path:
    """Return config/local.yaml where it is there, be it a link that leads nowhere; else config/pilot.yaml."""
    return root / (LOCAL if os.path.lexists(root / LOCAL) else SHIPPED)
