"""Runs many pilots in a row, each a fork of one that has loaded everything: `python -m tests.forked_pilots CASES.json`.

CASES.json: for each case its folder and its arguments. What a pilot says goes to `said` in its folder, its exit status
to `status`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import pilot
from perception.app import cli
from perception.system.stop import StopFlag


def main() -> None:
    """Runs each case, one after the other."""
    for folder, arguments in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        child = os.fork()
        if not child:
            _run(folder, arguments)
        _, status = os.waitpid(child, 0)
        (Path(folder) / "status").write_text(str(os.waitstatus_to_exitcode(status)))


def _run(folder: str, arguments: list[str]) -> NoReturn:
    os.chdir(folder)
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv = ["pilot.py", *arguments]
    cli.start(pilot.run, pilot.check, StopFlag())


if __name__ == "__main__":
    main()
