"""The folder of pilot.py, and its default settings file."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""config/, engines/, logs/ and models/ lie there."""
SHIPPED = Path("config", "pilot.yaml")
LOCAL = Path("config", "local.yaml")
"""The user's own copy, which git ignores, so that no update touches it or is blocked by it."""


def settings_path(root: Path = ROOT) -> Path:
    """Return config/local.yaml where it exists, even as a broken link; else config/pilot.yaml."""
    return root / (LOCAL if os.path.lexists(root / LOCAL) else SHIPPED)
