"""Runs the checks side by side, each in a thread of its own, and comes back in time whatever they wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from perception.doctor.checks.machine import Machine
from perception.doctor.finding import Check, Finding, Result, Verdict, unknown

DEADLINE_S = 13.0
"""More than a probe and a command take together, less than the 15 s that a person is asked to wait."""


def examine(machine: Machine, checks: Sequence[Check], deadline_s: float = DEADLINE_S) -> list[Result]:
    """The findings of all checks that fit this machine, in the order of the table.

    A check that raises, or is not through after `deadline_s` seconds, becomes a finding `cannot tell`. A thread that
    hangs (a dead network disk) is left behind: it is a daemon.
    """
    found: dict[str, list[Finding]] = {}

    def run(check: Check) -> None:
        found[check.name] = look(check, machine)

    fitting = [check for check in checks if check.on == "any" or machine.is_jetson]
    threads = [threading.Thread(target=run, args=(check,), name=check.name, daemon=True) for check in fitting]
    deadline = time.monotonic() + deadline_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    hangs = [unknown(f"not through after {deadline_s:g} s: something that it reads hangs")]
    return [Result(check, finding) for check in fitting for finding in found.get(check.name, hangs)]


def look(check: Check, machine: Machine) -> list[Finding]:
    """The findings of one check; an exception becomes `cannot tell`, with its name."""
    try:
        return list(check.look(machine)) or [unknown("the check gave no finding")]
    except Exception as fault:  # one check that fails must not take the others with it
        return [unknown(f"the check itself failed: {type(fault).__name__}: {fault}", "Report it, with --json's output")]


def exit_code(results: Sequence[Result]) -> int:
    """0 where nothing is a problem (warnings and what cannot be told are none), 1 where something is."""
    return int(any(result.finding.verdict is Verdict.PROBLEM for result in results))
