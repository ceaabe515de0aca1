"""How a script of scripts/ begins and ends: warnings on stderr, a fault as its sentence and exit code."""

from __future__ import annotations

import sys

import typer
from loguru import logger

from perception.errors import PilotError
from perception.own_files import keep_world_from_writing
from perception.reporting.logs import clean_record


def enter(app: typer.Typer) -> None:
    """Runs the command line of `app`; a PilotError ends the process with its exit code."""
    keep_world_from_writing()
    logger.remove()
    logger.configure(patcher=clean_record)
    logger.add(sys.stderr, level="WARNING", format="{message}")
    try:
        app()
    except PilotError as fault:
        sys.stderr.write(f"{fault}\n")
        sys.exit(fault.exit_code)
