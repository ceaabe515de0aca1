"""The codes of warnings and problems, read off the source."""

from __future__ import annotations

import ast
from pathlib import Path

import perception.doctor


def codes_in_source() -> dict[str, str]:
    """`warning` or `problem` by code, for every call of the two in perception/doctor/."""
    found = {}
    for path in Path(perception.doctor.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("warning", "problem")
            ):
                code = node.args[0]
                assert isinstance(code, ast.Constant)
                assert isinstance(code.value, str)
                assert code.value not in found, f"{code.value} is used twice"
                found[code.value] = node.func.id
    return found
