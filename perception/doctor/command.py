"""The doctor's command line, and its entry point for `pilot.py check --doctor`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from perception.doctor.checks.machine import SERVICE_CONFIG, same_interpreter, this_machine
from perception.doctor.examine import CHECKS, examine, exit_code
from perception.doctor.report import json_text, text_lines
from perception.system.home import ROOT, settings_path
from perception.system.plain_file import from_home
from perception.system.process import CommandRunner


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine and print the findings on stdout. Return the exit code."""
    options = _parser().parse_args(arguments)
    options.config, options.python = Path(from_home(str(options.config))), from_home(options.python)
    return diagnose(options.config, sys.stdout, options.python, as_json=options.json, color=options.color)


def diagnose(
    config: Path, out: TextIO | None, python: str = "", *, as_json: bool = False, color: bool | None = None
) -> int:
    """Print the findings on `out`, None where that is closed. Return the exit code: 1 where one is a problem, else 0.

    config: the settings file. python: the interpreter that runs the pilot; empty: this one. color: None decides by
    the terminal. A reader that goes away (`| head`) changes neither.
    """
    commands = CommandRunner(ROOT)
    machine = this_machine(ROOT, config.absolute(), python or same_interpreter(), commands.run)
    try:
        results = examine(machine, CHECKS)
    finally:
        commands.end()
    if out is None:
        return exit_code(results)
    if as_json:
        _write(out, json_text(machine, results) + "\n")
    else:
        width = shutil.get_terminal_size().columns if _is_terminal(out) else 0
        lines = text_lines(results, width, wants_color(out, os.environ) if color is None else color)
        _write(out, "".join(f"{line}\n" for line in lines))
    return exit_code(results)


def default_config() -> Path:
    """Return the settings file of the installed service, or the one beside pilot.py where it is not installed."""
    return SERVICE_CONFIG if os.path.lexists(SERVICE_CONFIG) else settings_path()


def leave(code: int) -> NoReturn:
    """End the process. A check that hangs in the kernel would block the interpreter's own shutdown."""
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


def wants_color(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Return True on a terminal that can show colour, unless NO_COLOR (no-color.org) is set."""
    return _is_terminal(out) and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _is_terminal(out: TextIO) -> bool:
    return out.isatty()


def _write(out: TextIO, text: str) -> None:
    encoding = out.encoding or "utf-8"
    try:
        out.write(text.encode(encoding, "replace").decode(encoding))
        out.flush()
    except OSError as fault:
        if not isinstance(fault, BrokenPipeError):
            sys.stderr.write(f"The report cannot be written: {fault.strerror}\n")
        # The interpreter would try to write the rest of the buffer again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="doctor.py",
        description="Says what is wrong with this machine, and the command that mends it. Changes nothing.",
        epilog="Exit codes: 0 no problem (there may be warnings), 1 a problem, 2 arguments. With sudo it sees more.",
    )
    parser.add_argument("--config", type=Path, default=default_config(), help="settings file (default: %(default)s)")
    parser.add_argument("--python", default="", metavar="PATH", help="interpreter that runs the pilot, if not this one")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--color", action=argparse.BooleanOptionalAction, default=None, help="default: on a terminal")
    return parser
