"""Built engines: trusted, complete, and made for this machine and these weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from perception.backends.tensorrt.engine_file import EngineFile, open_engine
from perception.backends.tensorrt.identity import Machine as Target
from perception.backends.tensorrt.identity import check_identity, precision_of, version_of_number
from perception.core.errors import BackendError
from perception.doctor.checks.machine import Machine
from perception.doctor.finding import Finding, ok, problem, unknown, warning
from perception.system.trusted_file import REBUILD


def engines(machine: Machine) -> Iterator[Finding]:
    """Judge every engine of the folder, and look for the one that the settings ask for."""
    folder = machine.folder("engine_dir", "engines")
    try:
        paths = sorted(folder.glob("*.engine"))
    except OSError as fault:
        yield unknown(f"{folder}: {fault.strerror or fault}")
        return
    for path in paths:
        yield from _judge(machine, path)
    yield from _wanted(machine, folder, paths)


def _wanted(machine: Machine, folder: Path, paths: list[Path]) -> Iterator[Finding]:
    settings = machine.settings()
    weights = Path(settings.text("weights"))
    path = folder / f"{weights.stem}.engine"
    if not weights.stem or weights.suffix == ".engine" or path in paths:
        if not paths:
            yield ok(f"none in {folder}")
    elif settings.facts.get("require_engine") is True:
        yield problem("engine-required", f"{path} is not there, and engine.require is true", REBUILD)
    elif machine.is_jetson:
        yield warning("engine-missing", f"{path} is not there: {weights.name} is served without TensorRT", REBUILD)
    elif not paths:
        yield ok(f"none in {folder}")


def _judge(machine: Machine, path: Path) -> Iterator[Finding]:
    try:
        engine = open_engine(path)
    except BackendError as fault:
        yield problem("engine-unusable", fault.what, fault.cure)
        return
    target = _target(machine)
    if target is None:
        yield unknown(f"{path.name} is whole; what it fits needs TensorRT and a GPU to tell", "See the lines on both")
        return
    try:
        doubts = (*engine.warnings, *check_identity(engine, target))
    except BackendError as fault:
        yield problem("engine-stale", fault.what, fault.cure)
        return
    built_from_others = _other_weights(machine, engine)
    for doubt in doubts:
        yield warning("engine-unchecked", doubt, REBUILD)
    if built_from_others:
        yield warning("engine-other-weights", built_from_others, REBUILD)
    if not doubts and not built_from_others:
        yield ok(f"{path.name}: {precision_of(engine)}, TensorRT {target.tensorrt_version}, {target.gpu_name}")


def _target(machine: Machine) -> Target | None:
    """Return what an engine must match on this machine; None where TensorRT or the GPU does not tell."""
    tensorrt, cuda = machine.probe("tensorrt"), machine.probe("cuda")
    number = tensorrt.number("library_number")
    version = version_of_number(number) if number and 0 < number < 1_000_000 else tensorrt.text("version")
    name, capability = cuda.text("name"), cuda.text("compute_capability")
    return Target(version, name, capability) if version and name and capability else None


def _other_weights(machine: Machine, engine: EngineFile) -> str:
    """Return a sentence where the weights beside the engine are not those it was built from; else an empty text."""
    if engine.sidecar is None:
        return ""
    built_from = {".pt": engine.sidecar.weights_sha256, ".onnx": engine.sidecar.onnx_sha256}
    for suffix, expected in built_from.items():
        for folder in (machine.project / "models", machine.project):
            weights = folder / f"{engine.path.stem}{suffix}"
            actual = _sha256(weights)
            # An intermediate ONNX file of an export is not the one beside the weights.
            if actual and expected and actual != expected and (suffix == ".pt" or not engine.sidecar.weights_sha256):
                return f"{engine.path.name} was built from other weights than {weights}"
    return ""


def _sha256(path: Path) -> str:
    """Return the digest of a file; empty where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
