"""The sidecar of an engine: what it was built from, by what and for what, in JSON beside it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from perception.core.errors import BackendError
from perception.core.layouts import LAYOUTS
from perception.system.trusted_file import REBUILD, open_plain, reason_of, write_whole

SCHEMA = 1
PRECISIONS = ("fp32", "fp16", "int8")
# A sidecar takes some kilobytes; anything far larger was named by mistake.
MAX_BYTES = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration of an INT8 engine: how many images, the hash of their list, how they were prepared."""

    images: int
    manifest_sha256: str
    algorithm: str
    preprocess_version: str

    def __post_init__(self) -> None:
        _check(self, _CALIBRATION, "calibration.")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The facts of an engine. Raises ValueError, naming the field, for a value that cannot be.

    created_at: UTC in ISO 8601. input_shape: of the input tensor, (n, 3, H, W), -1 where it is dynamic. class_names:
    by id. tensorrt_version: of the library that built it. builder: the settings of the build; of these
    `version_compatible` (a bool) and `hardware_compatibility` ("ampere_plus", "same_compute_capability") say where
    else it runs. engine_sha256: of the whole file, header included. layout: of its output, see layouts.py. None:
    not known, or not done.
    """

    created_at: str
    weights_sha256: str | None
    onnx_sha256: str
    precision: str
    input_shape: tuple[int, ...]
    class_names: Mapping[int, str]
    tensorrt_version: str
    cuda_version: str | None
    gpu_name: str
    compute_capability: str
    l4t_release: str | None
    builder: Mapping[str, Any]
    calibration: Calibration | None
    accuracy: Mapping[str, Any] | None
    engine_sha256: str
    layout: str | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _check(self, _SIDECAR, "")

    def to_json(self) -> str:
        """The text of the file. Raises ValueError for a number that JSON does not have (NaN, infinity)."""
        return json.dumps(self.to_values(), indent=2, allow_nan=False) + "\n"

    def to_values(self) -> dict[str, Any]:
        """Return the content of the file, as the JSON module takes it."""
        values: dict[str, Any] = {"schema": self.schema}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = dict(value) if isinstance(value, Mapping) else value
        if self.calibration is not None:
            values["calibration"] = {field.name: getattr(self.calibration, field.name) for field in fields(Calibration)}
        return values

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all, readable by all (mode 0644). Raises BackendError where it cannot."""
        text = self.to_json()
        try:
            write_whole(path, text.encode())
        except OSError as error:
            raise BackendError(
                f"{path} cannot be written: {reason_of(error)}", "Make room, or make its folder writable."
            ) from None


def sidecar_path(engine: Path) -> Path:
    """Return the path of an engine's sidecar: beside it or, where there is none and it is a link, beside its target."""
    beside = engine.with_suffix(".json")
    if os.path.lexists(beside) or not engine.is_symlink():
        return beside
    return Path(os.path.realpath(engine)).with_suffix(".json")


def read_sidecar(path: Path) -> Sidecar | None:
    """The sidecar at `path`; None where there is none. Keys it does not know are left out.

    Raises BackendError, naming the key, for one that cannot be used.
    """
    return read_as(path, from_values)


def read_as(path: Path, make: Callable[[dict[str, Any]], T]) -> T | None:
    """Return `make` of the JSON object in the file at `path`; None where there is no file.

    Raises BackendError where there is no such object, or where `make` raises ValueError: then with its words.
    """
    try:
        with open_plain(path) as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {reason_of(error)}") from None
    if len(data) > MAX_BYTES:
        raise _unusable(path, f"is larger than {MAX_BYTES} bytes and no sidecar of an engine")
    try:
        return make(_object_of(data))
    except RecursionError:
        raise _unusable(path, "is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _unusable(path, f"is not JSON: {error.msg} at line {error.lineno}") from None
    except UnicodeDecodeError:
        raise _unusable(path, "is not text in UTF-8") from None
    except ValueError as error:
        raise _unusable(path, f"cannot be used: {error}") from None


def shown(value: object) -> str:
    """A value from a file, short enough for a message and on one line."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unusable(path: Path, what: str) -> BackendError:
    return BackendError(f"The sidecar {path} {what}", f"Rebuild the engine with it: {REBUILD}")


def _object_of(data: bytes) -> dict[str, Any]:
    values = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_number, parse_float=_finite)
    if not isinstance(values, dict):
        raise ValueError("it does not hold an object")
    return values


def from_values(values: dict[str, Any]) -> Sidecar:
    """The sidecar that a JSON object tells. Raises ValueError, naming the key, for one that cannot be."""
    if values.get("schema") != SCHEMA or isinstance(values["schema"], bool):
        raise ValueError(f"it is of schema {shown(values.get('schema'))}, and this version knows {SCHEMA}")
    values = _known(values, Sidecar, "")
    if isinstance(values["input_shape"], list):
        values["input_shape"] = tuple(values["input_shape"])
    if isinstance(values["calibration"], dict):
        values["calibration"] = Calibration(**_known(values["calibration"], Calibration, "calibration."))
    if isinstance(values["class_names"], dict):
        values["class_names"] = {_class_id(key): name for key, name in values["class_names"].items()}
    for key in ("class_names", "builder", "accuracy"):
        if isinstance(values[key], dict):
            values[key] = MappingProxyType(values[key])
    return Sidecar(**values)


def _known(values: Mapping[str, Any], noun: type[Sidecar] | type[Calibration], prefix: str) -> dict[str, Any]:
    known = fields(noun)
    if missing := [field.name for field in known if field.default is MISSING and field.name not in values]:
        raise ValueError(f"it lacks {prefix}{missing[0]}")
    return {field.name: values[field.name] for field in known if field.name in values}


def _class_id(key: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,5}", key):
        raise ValueError(f"class_names has the key {shown(key)}, which is no id of a class")
    return int(key)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {shown(text)}, which is too large a number")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:  # Python 3.10 does not read the Z
        return datetime.fromisoformat(re.sub("Z$", "+00:00", value)).utcoffset() == timedelta()
    except ValueError:
        return False


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 4
        and all((_is_count(size) and 0 < size < 1 << 31) or (type(size) is int and size == -1) for size in value)
    )


def _is_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_count(key) and _is_text(name) for key, name in value.items())


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _or_none(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


_Rules = Mapping[str, tuple[Callable[[Any], bool], str]]
_SHA256 = "a sha256 of 64 hexadecimal digits"
_VERSION = r"\d{1,4}\.\d{1,4}\.\d{1,4}(\.\d{1,6})?[\w.+-]{0,40}"
_SIDECAR: _Rules = MappingProxyType(
    {
        "schema": (lambda value: value == SCHEMA and type(value) is int, f"{SCHEMA}"),
        "created_at": (_is_moment, "a moment in UTC, such as 2026-11-22T07:00:00+00:00"),
        "weights_sha256": (_or_none(_is_sha256), f"{_SHA256}, or null"),
        "onnx_sha256": (_is_sha256, _SHA256),
        "precision": (lambda value: value in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        "input_shape": (_is_shape, "four sizes, -1 for a dynamic one"),
        "class_names": (_is_names, "names by the ids of classes"),
        "tensorrt_version": (_matches(_VERSION), "a version such as 10.3.0"),
        "cuda_version": (_or_none(_matches(r"\d{1,4}\.\d{1,4}[\w.+-]{0,40}")), "a version such as 12.6, or null"),
        "gpu_name": (_is_text, "the name of a GPU"),
        "compute_capability": (_matches(r"\d{1,2}\.\d"), "a compute capability such as 8.7"),
        "l4t_release": (_or_none(_is_text), "a release such as 36.4.3, or null"),
        "builder": (_is_mapping, "an object"),
        "calibration": (lambda value: value is None or isinstance(value, Calibration), "an object or null"),
        "accuracy": (_or_none(_is_mapping), "an object or null"),
        "engine_sha256": (_is_sha256, _SHA256),
        "layout": (
            _or_none(lambda value: isinstance(value, str) and value in LAYOUTS),
            f"one of {', '.join(LAYOUTS)}, or null",
        ),
    }
)
_CALIBRATION: _Rules = MappingProxyType(
    {
        "images": (_is_count, "a number of images"),
        "manifest_sha256": (_is_sha256, _SHA256),
        "algorithm": (_is_text, "a name"),
        "preprocess_version": (_is_text, "a text"),
    }
)


def _check(noun: object, rules: _Rules, prefix: str) -> None:
    for name, (is_right, expected) in rules.items():
        value = getattr(noun, name)
        if not is_right(value):
            raise ValueError(f"{prefix}{name} must be {expected}, not {shown(value)}")
