#!/usr/bin/env python3
"""Finds what is wrong with this machine, and the command that mends it: python3 scripts/doctor.py --help."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - JetPack 5 has Python 3.8, where this file must parse and say so
    sys.stderr.write("The pilot needs Python 3.10 or newer (JetPack 6 or 7); this is {}.{}\n".format(*sys.version_info))
    sys.exit(1)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from perception.doctor.command import leave, main

if __name__ == "__main__":
    try:
        leave(main())
    except KeyboardInterrupt:
        leave(130)
