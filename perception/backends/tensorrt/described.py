"""The engines that the file of a sidecar speaks of: the one it was written for and, maybe, the one of before or after.

An engine and its sidecar are two files, which no system call exchanges at once. So the file that comes first describes
both engines, the old and the new one, and whichever of them lies beside it fits.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.sidecar import Sidecar, from_values, read_as, shown

ALSO_FITS = "also_fits"


@dataclass(frozen=True, slots=True)
class Described:
    """An engine: the sha256 of its whole file, and its sidecar, None where nothing more is known of it."""

    engine_sha256: str
    sidecar: Sidecar | None


def read_described(path: Path) -> tuple[Described, ...]:
    """The engines that the file at `path` speaks of, the one it was written for first; none where there is no file.

    Raises BackendError, naming the key, for a file that cannot be used.
    """
    return read_as(path, _described) or ()


def text_of(first: Described, other: Described | None = None) -> str | None:
    """The file for an engine that lies, or will lie, where now and then the `other` one does.

    None: nothing is known of either, and there is to be no file. One of them at least is described in full, and that
    one stands first, where also a reader that knows of no second one looks.
    """
    if other is not None and other.engine_sha256 == first.engine_sha256:
        other = None
    if first.sidecar is None:
        return None if other is None or other.sidecar is None else text_of(other, first)
    values = first.sidecar.to_values()
    if other is not None:
        known = other.sidecar.to_values() if other.sidecar else None
        values[ALSO_FITS] = {"engine_sha256": other.engine_sha256, "sidecar": known}
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _described(values: dict[str, Any]) -> tuple[Described, ...]:
    sidecar = from_values(values)
    first = Described(sidecar.engine_sha256, sidecar)
    also = values.get(ALSO_FITS)
    return (first,) if also is None else (first, _other(also))


def _other(also: object) -> Described:
    if not isinstance(also, dict):
        raise ValueError(f"{ALSO_FITS} must be an object, not {shown(also)}")
    sha256, known = also.get("engine_sha256"), also.get("sidecar")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{ALSO_FITS}.engine_sha256 must be a sha256 of 64 hexadecimal digits, not {shown(sha256)}")
    if known is not None and not isinstance(known, dict):
        raise ValueError(f"{ALSO_FITS}.sidecar must be an object or null, not {shown(known)}")
    sidecar = from_values(known) if known is not None else None
    if sidecar is not None and sidecar.engine_sha256 != sha256:
        raise ValueError(f"{ALSO_FITS} holds the sidecar of another engine")
    return Described(sha256, sidecar)
