"""Tries a build again with less scratch memory where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from perception.core.errors import ExportMemoryError

T = TypeVar("T")

LEAST_WORKSPACE_MIB = 256
"""With less scratch memory TensorRT finds no way to run some layers."""


def workspaces(workspace_mib: int) -> tuple[int, ...]:
    """Return the workspaces to try, in MiB: each half of the one before, down to LEAST_WORKSPACE_MIB.

    Raises ValueError for less than 1.
    """
    if workspace_mib < 1:
        raise ValueError(f"a workspace of {workspace_mib} MiB")
    found = [workspace_mib]
    while found[-1] > LEAST_WORKSPACE_MIB:
        found.append(max(LEAST_WORKSPACE_MIB, found[-1] // 2))
    return tuple(found)


def with_less_workspace(
    attempt: Callable[[int], T], workspace_mib: int, say: Callable[[str], None], offer: str = ""
) -> T:
    """Return the result of `attempt` for `workspace_mib`; where memory runs out, half of it is tried, and so on.

    attempt: takes the workspace in MiB and raises ExportMemoryError where memory did not do (as stage.run_stage does);
    any other fault passes. say: takes a sentence for each step down. offer: the command of what needs less memory, an
    FP16 engine; it is named, not run. Raises ExportMemoryError when the last step failed, too.
    """
    steps = workspaces(workspace_mib)
    for step, smaller in zip(steps, (*steps[1:], None)):
        try:
            return attempt(step)
        except ExportMemoryError as fault:
            if smaller is None:
                raise _given_up(fault, step, offer) from fault
            say(f"{fault.what}. Trying again with a workspace of {smaller} MiB instead of {step}")
    raise AssertionError("the last step returns or raises")


def _given_up(fault: ExportMemoryError, workspace_mib: int, offer: str) -> ExportMemoryError:
    what = f"{fault.what}, also with a workspace of {workspace_mib} MiB"
    if not offer:
        return ExportMemoryError(what, fault.cure)
    return ExportMemoryError(what, f"{fault.cure} An FP16 engine needs less, and no calibration: {offer}".strip())
