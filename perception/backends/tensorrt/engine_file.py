"""Reads the file of a TensorRT engine, and refuses what must not be deserialized. Needs no TensorRT, and no GPU.

An engine is a plan as TensorRT serialized it, alone (trtexec) or behind the header of ultralytics: the length of a JSON
text in 4 bytes, little-endian, and that text (ultralytics/nn/backends/base.py, engine_header).

A plan begins with the tag `ftrt`; bytes 4 to 7 number the kind of serialization, and for kind 0 bytes 24 to 27 are the
version of the TensorRT that built it (NVIDIA/TensorRT, samples/common/sampleEngines.cpp, printPlanVersion). The length
of the whole plan is at byte 16, as seen in plans of 8.6; TensorRT 10.16 still refuses one of another length
("plan.header.size == blobSize").
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from perception.backends.tensorrt.described import read_described
from perception.backends.tensorrt.sidecar import Sidecar, shown, sidecar_path
from perception.core.errors import BackendError
from perception.system.trusted_file import REBUILD, check_trusted, open_plain, reason_of

PLAN_TAG = b"ftrt"
PLAN_HEADER_BYTES = 32
# Lengths that no plan has: a header that gives one is of a kind unknown here.
MAX_PLAN_BYTES = 1 << 40
# ultralytics' header takes some kilobytes.
MAX_HEADER_BYTES = 1 << 24
START_BYTES = 64
_REBUILD = f"Rebuild it: {REBUILD}"
_COPY_AGAIN = f"Copy it again in full, or rebuild it: {REBUILD}"


@dataclass(frozen=True, slots=True, eq=False)
class EngineFile:
    """An engine in memory, its file checked.

    metadata: ultralytics' header, empty for a bare plan. plan: what TensorRT deserializes, aligned as memory of its
    own. plan_version: major.minor.patch of the TensorRT that built the plan, None where unknown. warnings: what could
    not be checked of the file, a sentence each.
    """

    path: Path
    metadata: Mapping[str, Any]
    plan: bytes = field(repr=False)
    plan_version: str | None
    sidecar: Sidecar | None
    warnings: tuple[str, ...]


def open_engine(path: Path, described_by: Path | None = None) -> EngineFile:
    """The engine at `path`, read once: what is checked here is what will be deserialized.

    described_by: its sidecar, where that does not lie beside it. Checked in this order: its kind, its length, who may
    write it, its sha256 against its sidecar. Raises BackendError with the cure for each misfit.
    """
    while True:
        opened = _open(path)
        try:
            sidecar = _fitting_sidecar(path, described_by or sidecar_path(path), opened.data)
        except BackendError:
            if _is_still(path, opened.status):
                raise
            continue  # an export has put another pair in the place of the one that was begun with
        metadata = MappingProxyType(opened.metadata)
        return EngineFile(path, metadata, opened.plan, opened.version, sidecar, opened.warnings)


class _Opened(NamedTuple):
    data: bytes
    status: os.stat_result
    metadata: dict[str, Any]
    plan: bytes
    version: str | None
    warnings: tuple[str, ...]


def _open(path: Path) -> _Opened:
    try:
        with open_plain(path) as file:
            data = _read(path, file)
            metadata, offset = _split(path, data)
            plan = data[offset:]
            version, warnings = _check_plan(path, plan, offset)
            check_trusted(path, file.fileno())
            return _Opened(data, os.fstat(file.fileno()), metadata, plan, version, warnings)
    except FileNotFoundError:
        raise BackendError(f"{path} does not exist", f"Give the path of an engine, or build one: {REBUILD}") from None
    except OSError as error:
        raise BackendError(f"{path} cannot be read: {reason_of(error)}", "Check the disk, and copy it again.") from None
    except MemoryError:
        raise BackendError(f"{path} does not fit into memory", "Check that it is the file you mean.") from None


def _is_still(path: Path, status: os.stat_result) -> bool:
    """Return True if the file of this status still has the name."""
    try:
        return os.path.samestat(path.stat(), status)
    except OSError:
        return True  # it is gone, and no other is there to be read


def _read(path: Path, file: BinaryIO) -> bytes:
    """The whole file; one that is no engine by its first bytes is refused before the rest is read."""
    before = os.fstat(file.fileno())
    _check_start(path, os.pread(file.fileno(), START_BYTES, 0), before.st_size)
    data = file.read()
    after = os.fstat(file.fileno())
    if len(data) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise BackendError(f"{path} is being written right now", "Start again when the copy or the export is done.")
    _check_start(path, data[:START_BYTES], len(data))
    return data


def _check_start(path: Path, start: bytes, size: int) -> None:
    """Refuses what cannot be an engine by its first bytes and its size."""
    if not size:
        raise BackendError(f"{path} is empty", _COPY_AGAIN)
    if start.startswith(PLAN_TAG):
        return
    if PLAN_TAG.startswith(start):
        raise _truncated(path, size, PLAN_HEADER_BYTES)
    if not start[4:].lstrip().startswith(b"{"):
        raise _stranger(path, _guess(start))
    length = int.from_bytes(start[:4], "little")
    if length > MAX_HEADER_BYTES:  # so is a text, JSON too, when its first four characters are read as a number
        raise _stranger(path, _guess(start))
    if length > size - 4:
        raise _truncated(path, size, 4 + length + PLAN_HEADER_BYTES)


def _split(path: Path, data: bytes) -> tuple[dict[str, Any], int]:
    """ultralytics' header, {} for a bare plan, and where the plan begins."""
    if data.startswith(PLAN_TAG):
        return {}, 0
    end = 4 + int.from_bytes(data[:4], "little")
    try:
        metadata = json.loads(data[4:end])
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise _stranger(path, "the header before its plan is not JSON")
    return metadata, end


def _check_plan(path: Path, plan: bytes, offset: int) -> tuple[str | None, tuple[str, ...]]:
    """The version of TensorRT that built a plan, None where it cannot be told, and what could not be checked.

    Raises BackendError for one that is cut off, or longer than its header says.
    """
    start = plan[:PLAN_HEADER_BYTES]
    if len(start) < PLAN_HEADER_BYTES and (not start or start[:4] == PLAN_TAG[: len(start)]):
        raise _truncated(path, offset + len(plan), offset + PLAN_HEADER_BYTES)
    if len(start) < PLAN_HEADER_BYTES:
        raise _stranger(path, f"{len(start)} bytes after its header are no plan")
    tag, kind, length = start[:4], *struct.unpack_from("<I8xQ", start, 4)
    if tag != PLAN_TAG or kind != 0 or not PLAN_HEADER_BYTES <= length <= MAX_PLAN_BYTES:
        return None, (
            f"{path} holds a plan whose header is unknown here ({start[:8].hex(' ')}): whether it is complete, and "
            "which TensorRT built it, could not be checked",
        )
    if length > len(plan):
        raise _truncated(path, offset + len(plan), offset + length)
    if length < len(plan):
        raise BackendError(
            f"{path} holds {offset + len(plan)} bytes, and its plan ends at {offset + length}: it was written over a "
            "longer file, or something was appended",
            _COPY_AGAIN,
        )
    return _version(start), ()


def _version(start: bytes) -> str | None:
    major, minor, patch = start[24:27]
    return f"{major}.{minor}.{patch}" if 8 <= major < 64 else None  # the tag came with TensorRT 8


def _fitting_sidecar(path: Path, place: Path, data: bytes) -> Sidecar | None:
    """Return what the file at `place` tells of the engine, None where there is no such file or it knows nothing more.

    Raises BackendError where it speaks of other engines.
    """
    described = read_described(place)
    if not described:
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    for engine in described:
        if engine.engine_sha256 == sha256:
            return engine.sidecar
    raise BackendError(
        f"{path} is not the file that its sidecar {place} was written for: its sha256 begins {sha256[:12]}, "
        f"there it begins {described[0].engine_sha256[:12]}",
        f"If you replaced it yourself, delete {place}; if not, do not run it. {_REBUILD}",
    )


def _truncated(path: Path, size: int, needed: int) -> BackendError:
    return BackendError(f"{path} is truncated: it holds {size} bytes and should hold at least {needed}", _COPY_AGAIN)


def _stranger(path: Path, what: str) -> BackendError:
    return BackendError(
        f"{path} is not a TensorRT engine: {what}", f"Give the path of an engine, or build one: {REBUILD}"
    )


# The first bytes of what is named in the place of an engine, in the order they are tried.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, whose file was not fetched"),
    (b"PK\x03\x04", "it is a zip archive, as .pt weights are"),
    (b"\x1f\x8b", "it is a gzip archive"),
    (b"\x7fELF", "it is a program or a library"),
    (b"TRT-", "it is a calibration cache"),
)


def _guess(start: bytes) -> str:
    """Return the kind of a file that is no engine, as far as its first bytes tell."""
    for first, what in _STRANGERS:
        if start.startswith(first):
            return what
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return "it is a web page"
    if text.startswith((b"{", b"[")):
        return "it is JSON"
    if not any(start):
        return "it begins with zeros, as after a power cut while it was written"
    # ModelProto of ONNX: field 1, the IR version, a small varint; then another field of it.
    if len(start) > 2 and start[0] == 0x08 and start[1] < 0x20 and start[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A):
        return "it is an ONNX model"
    return f"it begins with {shown(start[:8])}"
