"""Turns pydantic's errors into one line for each fault: file, key, value and what is allowed."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from perception.core.redact import SHOWN, clean, names_secret, redact_value

MAX_LINES = 10
"""An error is at most twelve lines of output."""

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a section of keys",
}
_LIMITS = (
    ("minimum", "from {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "up to {}"),
    ("exclusiveMaximum", "below {}"),
    ("multipleOf", ", a multiple of {}"),
    ("minLength", ", not empty"),
    ("minItems", ", not empty"),
)


def describe_faults(
    error: ValidationError, model: type[BaseModel], where: str, origins: Mapping[str, str]
) -> list[str]:
    """Return one line for each fault, in the order of the keys.

    where: the file. origins: dotted key -> the flag that set it, for faults of the command line.
    """
    schema = model.model_json_schema()
    known = dict(_leaves(schema, schema))
    lines: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        # A fault inside a list is reported of the list; the members of a union come as further parts and are dropped.
        parts = [str(part) for part in fault["loc"]]
        key = _known_prefix(parts, known, fault["type"])
        lines.setdefault(key, _line(key, fault, known, origins.get(key, f"{where}: {_name(key) if parts else ''}")))
    texts = [clean(line) for line in lines.values()]
    if len(texts) > MAX_LINES:
        texts[MAX_LINES - 1 :] = [f"... and {len(texts) - MAX_LINES + 1} more faults"]
    return texts


def _line(key: str, fault: Any, known: Mapping[str, str], subject: str) -> str:
    if not fault["loc"]:
        return f"{subject}the name of a key is not text in UTF-8"
    if fault["type"] == "extra_forbidden":
        return f"{subject} is not a setting{_nearest(key, known, fault['loc'])}"
    allowed = "text in UTF-8" if fault["type"] == "string_unicode" else known.get(key, "")
    if isinstance(fault["input"], dict) and key in known and not known[key].startswith("a section"):
        return f"{subject} is a section here; allowed is {allowed}"
    verb = "holds" if isinstance(fault["loc"][-1], int) else "is"  # a number: the place in a list
    shown = SHOWN if names_secret(key) and fault["input"] else _shown(fault["input"])
    return f"{subject} {verb} {shown}; allowed is {allowed}"


class _Repr(reprlib.Repr):
    """Shortens lists and texts as reprlib does, after redaction."""

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(redact_value(x), level)


def _shown(value: Any) -> str:
    """Return the value on one short line; aliases can make a list endless, and Python refuses to print huge numbers."""
    if value is None:
        return "empty"
    try:
        if isinstance(value, str):
            return _short(repr(redact_value(value)))
        return _short(_Repr().repr(value) if isinstance(value, (list, dict)) else repr(value))
    except ValueError:
        return "a number of more than 4000 digits"


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _name(key: str) -> str:
    """Return the key as written, or quoted where it is empty or would break the line."""
    section, dot, name = key.partition(".")
    key = f"{section}.{redact_value(name)}" if dot and section.isidentifier() else redact_value(key)
    return _short(key if key.isprintable() and key else repr(key))


def _known_prefix(parts: list[str], known: Mapping[str, str], kind: str) -> str:
    if kind == "extra_forbidden":
        return ".".join(parts)
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in known:
            return ".".join(parts[:end])
    return ".".join(parts)


def _nearest(key: str, known: Mapping[str, str], parts: tuple[str, ...]) -> str:
    """Return the right key for a misspelt one: a sibling first, else the same last name in another section."""
    if key in known and len(parts) == 1:  # right, but written with its dot
        section, _, name = key.rpartition(".")
        return f"; write {name} in the section {section}"
    section, _, name = key.rpartition(".")
    siblings = {full.rpartition(".")[2]: full for full in known if full.rpartition(".")[0] == section}
    close = difflib.get_close_matches(name, siblings, n=1)
    if close:
        return f"; did you mean {siblings[close[0]]}?"
    others = {full.rpartition(".")[2]: full for full in known}
    close = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
    if close:
        return f"; did you mean {others[close[0]]}?"
    return f"; {section or 'the top level'} has {', '.join(siblings)}"


def _leaves(node: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every dotted key with what is allowed there, in words."""
    for name, field in node.get("properties", {}).items():
        resolved = _resolve(field, schema)
        yield f"{prefix}{name}", _allowed(resolved, schema)
        yield from _leaves(resolved, schema, f"{prefix}{name}.")


def _resolve(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in field:
        target: Mapping[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]]
        return target
    return field


def _allowed(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_allowed(_resolve(option, schema), schema) for option in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(map(str, field["enum"]))
    if field.get("type") == "null":
        return "nothing (null)"
    if field.get("format") == "path":
        return "a path"
    words = _KINDS.get(field.get("type", ""), "another value")
    if field.get("type") == "array":
        words = "a list of names"
    limits = [text.format(field[name]) for name, text in _LIMITS if name in field]
    return " ".join([words, *limits]).replace(" ,", ",")
