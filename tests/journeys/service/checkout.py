"""A folder that looks like a checkout with its virtual environment, for the installer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from perception.system.home import ROOT

INSTALLER = ROOT / "scripts" / "install_service.sh"


def make_checkout(folder: Path) -> Path:
    """Copies what the installer looks at."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    # No link to this interpreter, which may lie in a home: the unit would then show that one to the service, too.
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copy(ROOT / "pilot.py", folder)
    return folder
