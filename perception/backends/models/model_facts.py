"""Metadata of a model file: its classes, its task, its head, the size that it was made for."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from perception.core.errors import BackendError

MOST_NAME_CHARACTERS = 200
MOST_METADATA_CHARACTERS = 1 << 20
"""LVIS, of 1203 classes, takes 30 kB."""
MOST_CLASS_ID = 99_999
MOST_SIDE_PX = 8192
MOST_BATCH = 1024
STRIDE = 32
"""A network halves its input five times."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The metadata; None for what the file does not tell.

    names: by id, as the file numbers them. fault: why its names cannot be used, "" where they can or there are none.
    head: the class of its last module, as ultralytics calls it. suppressed: whether overlaps are suppressed inside,
    by training (end2end) or by NMS. imgsz: (height, width) in pixels that it was trained or exported for.
    """

    names: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    fault: str = ""
    task: str | None = None
    head: str | None = None
    suppressed: bool = False
    imgsz: tuple[int, int] | None = None

    def class_names(self, settings_names: Sequence[str], path: object) -> dict[int, str]:
        """Return the classes by id: the file's own, else those of the settings key model.names.

        The settings go before a file whose ids are not 0, 1, 2 and so on, or cannot be used. Raises BackendError where
        neither names any.
        """
        if settings_names and list(self.names) != list(range(len(self.names))):
            return dict(enumerate(settings_names))
        if self.names:
            return dict(self.names)
        if settings_names:
            return dict(enumerate(settings_names))
        why = f" in a way that can be used: {self.fault}" if self.fault else ""
        raise BackendError(
            f"{path} does not name its classes{why}",
            "List them, in the model's order, in the settings key model.names.",
        )


def facts_of(metadata: Mapping[str, Any]) -> Facts:
    """Return what a file's metadata says, in ultralytics' keys: texts of Python literals (ONNX) or values (engines)."""
    told = {key: _value(value) for key, value in metadata.items()}
    try:
        names, fault = _names(told.get("names")), ""
    except ValueError as error:
        names, fault = {}, str(error)
    args = told.get("args")
    nms = args.get("nms") if isinstance(args, Mapping) else None
    return Facts(
        names=MappingProxyType(names),
        fault=fault,
        task=_text(told.get("task")),
        head=_text(told.get("head")),
        suppressed=told.get("end2end") is True or told.get("nms") is True or nms is True,
        imgsz=size_of(told.get("imgsz")),
    )


def size_of(value: object) -> tuple[int, int] | None:
    """Return (height, width) in pixels, each a multiple of STRIDE, of a number or of two; None for what is no size."""
    sides: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2 or any(type(side) is not int or not 1 <= side <= MOST_SIDE_PX for side in sides):
        return None
    height, width = (-(-side // STRIDE) * STRIDE for side in sides)
    return height, width


def check_size(path: object, shape: tuple[int, ...]) -> None:
    """Raises BackendError for an input (n, 3, H, W) of sizes that no detector has."""
    batch, _, height, width = shape
    if not (1 <= batch <= MOST_BATCH and 1 <= height <= MOST_SIDE_PX and 1 <= width <= MOST_SIDE_PX):
        raise BackendError(
            f"{path} takes {batch} pictures of {width}x{height} at once, and 1 to {MOST_BATCH} with sides of 1 to "
            f"{MOST_SIDE_PX} px can be served",
            "Export the model for the size that it was trained at.",
        )


def _value(value: Any) -> Any:
    if not isinstance(value, str) or len(value) > MOST_METADATA_CHARACTERS:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value and value.isprintable() else None


def _names(told: object) -> dict[int, str]:
    """The classes by id, rising. Raises ValueError, with the reason, for what cannot be used."""
    if told is None or told in ({}, [], ""):
        return {}
    if isinstance(told, (list, tuple)):
        told = dict(enumerate(told))
    if not isinstance(told, Mapping):
        raise ValueError("they are no dictionary of names by id")
    found = {_class_id(key): _name(name) for key, name in told.items()}
    if len(found) != len(told):
        raise ValueError("an id stands there twice")
    return dict(sorted(found.items()))


def _class_id(key: object) -> int:
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) <= 6:
        key = int(key)
    if type(key) is not int or not 0 <= key <= MOST_CLASS_ID:
        raise ValueError(f"{_shown(key)} is no id of a class")
    return key


def _name(name: object) -> str:
    text = name if isinstance(name, str) else str(name) if type(name) in (int, float) else ""
    if not text or not text.isprintable():
        raise ValueError(f"{_shown(name)} is no name")
    if len(text) > MOST_NAME_CHARACTERS:
        raise ValueError(f"a name has {len(text)} characters, and {MOST_NAME_CHARACTERS} are the most")
    return text


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
