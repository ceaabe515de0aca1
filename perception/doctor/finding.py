"""The doctor's nouns: a finding, its verdict, and a check as a line of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from perception.system.process import NO_ANSWER

if TYPE_CHECKING:
    from perception.doctor.checks.machine import Machine


class Verdict(str, Enum):
    """The severity of a finding. A problem stops the pilot or makes it serve worse than set; a warning may."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact with its value, and the cure: a command to type or a thing to do.

    code: names a warning or a problem for ever, in --json and in the docs; empty for the other verdicts.
    """

    verdict: Verdict
    found: str
    cure: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. name: stable, in --json. on: the machines that it applies to."""

    name: str
    title: str
    find: Callable[[Machine], Iterable[Finding]]
    on: str = "any"


@dataclass(frozen=True, slots=True)
class Result:
    """A finding of a check."""

    check: Check
    finding: Finding


def ok(found: str) -> Finding:
    """Return a finding that needs nothing done."""
    return Finding(Verdict.OK, found)


def warning(code: str, found: str, cure: str) -> Finding:
    """Return a finding that may do harm."""
    return Finding(Verdict.WARNING, found, cure, code)


def problem(code: str, found: str, cure: str) -> Finding:
    """Return a finding that does harm."""
    return Finding(Verdict.PROBLEM, found, cure, code)


def no_answer(attempt: str, why: str) -> Finding:
    """Return a finding for an import whose child did not end in time, or did not start."""
    slow = why.startswith(NO_ANSWER)
    cure = "Run the doctor again: what is read for the first time takes longer" if slow else "See the line on Python"
    return unknown(f"`{attempt}`: {why}", cure)


def unknown(found: str, cure: str = "") -> Finding:
    """Return a finding for what could not be examined, with the reason."""
    return Finding(Verdict.UNKNOWN, found, cure)
