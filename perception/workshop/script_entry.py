"""The start and the end of a script of scripts/: warnings on stderr, a fault as its sentence and exit code."""

from __future__ import annotations

import errno
import io
import os
import re
import sys

import typer
from loguru import logger

from perception.core.errors import PilotError, SettingsError
from perception.reporting.logs import clean_record
from perception.system.own_files import keep_world_from_writing
from perception.system.plain_file import from_home

LOST = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
"""The errors of a standard output that takes nothing more, without a reader that went away."""
_HOME = re.compile(r"(--[\w-]+=)?(~.*)", re.DOTALL)


def enter(app: typer.Typer) -> None:
    """Run the command line of `app`; a PilotError ends the process with its exit code.

    ~ in an argument is expanded, since a shell leaves it alone in `--data=~/x`. What the encoding of the output does
    not have is written as its number.
    """
    keep_world_from_writing()
    logger.remove()
    logger.configure(patcher=clean_record)
    logger.add(sys.stderr, level="WARNING", format="{message}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_flushed(_run(app)))


def _run(app: typer.Typer) -> str | int | None:
    """Run the command; return its exit code."""
    try:
        app(args=[_expanded(argument) for argument in sys.argv[1:]])
    except SystemExit as end:
        return end.code
    except PilotError as fault:
        sys.stderr.write(f"{fault}\n")
        return fault.exit_code
    except OSError as error:
        if error.errno not in LOST or error.filename:
            raise
        return _lost(error)
    return 0


def _flushed(code: str | int | None) -> str | int | None:
    """Flush the output; return the exit code, another one where it cannot be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # The interpreter would try again at its end, and exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno in LOST:
            return code or _lost(error)
    return code


def _lost(error: OSError) -> int:
    sys.stderr.write(f"The output cannot be written: {error.strerror}\n")
    return SettingsError.exit_code


def _expanded(argument: str) -> str:
    found = _HOME.fullmatch(argument)
    return (found[1] or "") + from_home(found[2]) if found else argument
