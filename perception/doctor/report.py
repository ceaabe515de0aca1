"""Renders the findings as text for a person, or as JSON for a machine."""

from __future__ import annotations

import json
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from perception.doctor.checks.machine import Machine
from perception.doctor.examine import exit_code
from perception.doctor.finding import Result, Verdict

SCHEMA = 1
COLORS: Mapping[Verdict, str] = MappingProxyType(
    {Verdict.OK: "32", Verdict.WARNING: "33", Verdict.PROBLEM: "1;31", Verdict.UNKNOWN: "36"}
)
"""ECMA-48 codes: green, yellow, bold red, cyan."""
INDENT = 30


def text_lines(results: Sequence[Result], width: int, color: bool) -> Iterator[str]:
    """Yield a line for each finding, its cure below, and last the counts. width: of the terminal; 0: no wrapping."""
    for result in results:
        finding = result.finding
        verdict = finding.verdict.value.ljust(12)
        if color:
            verdict = f"\033[{COLORS[finding.verdict]}m{verdict}\033[0m"
        found = _wrapped(printable(finding.found), width)
        yield f"{verdict}{result.check.title:<18}{found[0]}"
        yield from (" " * INDENT + line for line in found[1:])
        if finding.cure and finding.verdict is not Verdict.OK:
            # Never wrapped: it may be a command to copy.
            yield " " * INDENT + "-> " + printable(finding.cure)
    counts = Counter(result.finding.verdict for result in results)
    yield ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)


def printable(text: str) -> str:
    """Return one line without control characters: the content of a file must not control the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _wrapped(text: str, width: int) -> list[str]:
    if width < INDENT + 30:
        return [text]
    return textwrap.wrap(text, width - INDENT, break_long_words=False, break_on_hyphens=False) or [""]


def json_text(machine: Machine, results: Sequence[Result]) -> str:
    """Return one object: schema, time, Python, the findings in the table's order, the exit code."""
    counts = Counter(result.finding.verdict for result in results)
    rows = [
        {
            "check": result.check.name,
            "verdict": result.finding.verdict.value,
            "code": result.finding.code or None,
            "found": result.finding.found,
            "cure": result.finding.cure or None,
        }
        for result in results
    ]
    report = {
        "schema": SCHEMA,
        "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(machine.now)),
        "python": machine.python,
        "jetson": machine.is_jetson,
        "findings": rows,
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "exit_code": exit_code(results),
    }
    return json.dumps(report, indent=2)
