"""The versions that a lock file of requirements pins, for one version of Python on Linux."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

Version = tuple[int, ...]

_ENTRY = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]+?))? *\\?$", re.MULTILINE)
_TERM = re.compile(r"(\w+) (<=|>=|==|!=|<|>) '([^']*)'")
_COMPARE: Mapping[str, Callable[[Version, Version], bool]] = MappingProxyType(
    {
        "<": lambda one, other: one < other,
        "<=": lambda one, other: one <= other,
        ">": lambda one, other: one > other,
        ">=": lambda one, other: one >= other,
        "==": lambda one, other: one == other,
        "!=": lambda one, other: one != other,
    }
)


def normal(name: str) -> str:
    """Return the name of a distribution as PEP 503 normalises it: PyYAML and faster_coco_eval differ in the wild."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(lock: str, python: str) -> dict[str, str]:
    """Return the version of each distribution that the text of a lock file pins for Python `python`, such as 3.10.12.

    Names are normalised. An entry whose marker asks for what is not known here is left out.
    """
    entries = _ENTRY.findall(lock)
    return {normal(name): version for name, version, marker in entries if _holds(marker, python)}


def _holds(marker: str, python: str) -> bool:
    """Return True if every term of a marker (PEP 508, joined by `and` alone) holds."""
    terms = marker.strip().split(" and ") if marker.strip() else []
    return all(_term_holds(term, python) for term in terms)


def _term_holds(term: str, python: str) -> bool:
    match = _TERM.fullmatch(term.strip())
    if not match:
        return False
    variable, operator, value = match.groups()
    if variable == "python_full_version":
        asked = _numbers(value)  # 3.11.* is 3.11, of which every 3.11.x is one
        here = _numbers(python)
        return _COMPARE[operator](here[: len(asked)], asked)
    known = {"sys_platform": "linux", "platform_python_implementation": "CPython"}
    return variable in known and operator in ("==", "!=") and (known[variable] == value) == (operator == "==")


def _numbers(version: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version))
