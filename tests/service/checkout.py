"""A folder that looks like a checkout with its virtual environment, for the installer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from perception.config import ROOT

INSTALLER = ROOT / "scripts" / "install_service.sh"


def make_checkout(folder: Path) -> Path:
    """Copies what the installer looks at."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(shutil.which("python3", path="/usr/bin") or sys.executable)
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copy(ROOT / "pilot.py", folder)
    return folder
