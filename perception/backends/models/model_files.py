"""Finds the files of a model, and checks by their first bytes that each is of the kind its name says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from loguru import logger

from perception.core.errors import BackendError

# The official weights that we can name with their hash, from the release page of ultralytics' assets.
RELEASES = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
OFFICIAL_SHA256: Mapping[str, str] = MappingProxyType(
    {
        "yolo11n.pt": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
        "yolov8n.pt": "31e20dde3def09e2cf938c7be6fe23d9150bbbe503982af13345706515f2ef95",
    }
)
WEIGHT_KINDS = (".pt", ".onnx")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model: each path, or None. `named` is the one the user gave, where it exists."""

    stem: str
    named: Path | None
    pt: Path | None
    onnx: Path | None
    engine: Path | None

    @property
    def weights(self) -> tuple[Path, ...]:
        """The weights that can be run, the one that was named first."""
        found = [path for path in (self.onnx, self.pt) if path]
        return tuple(sorted(found, key=lambda path: path != self.named))


def find_model(name: str, root: Path, engine_dir: Path) -> ModelFiles:
    """Finds the files of model `name`: a path, or a name looked for here, in root/models and in root.

    The other kind of weights (.onnx for .pt, .pt for .onnx) is looked for beside each of these; the engine is
    engine_dir/<stem>.engine unless `name` is itself an .engine. Raises BackendError where nothing can be used.
    """
    path = Path(name)
    if path.suffix not in (*WEIGHT_KINDS, ".engine"):
        raise BackendError(f"{name} is no model that can be run", "Give a file that ends in .pt, .onnx or .engine.")
    places = [path] if path.is_absolute() or path.parent != Path() else [path, root / "models" / path, root / path]
    found = {kind: _first_file(place.with_suffix(kind) for place in places) for kind in WEIGHT_KINDS}
    if path.suffix == ".engine":
        engine = _first_file([*places, engine_dir / path.name])
    else:
        engine = _first_file([engine_dir / f"{path.stem}.engine"])
    named = engine if path.suffix == ".engine" else found[path.suffix]
    files = ModelFiles(path.stem, named, found[".pt"], found[".onnx"], engine)
    if not files.engine and not files.weights:
        raise BackendError(f"{name} was not found (looked at {', '.join(map(str, places))})", _how_to_get(path))
    return _without_broken(files)


def _without_broken(files: ModelFiles) -> ModelFiles:
    """The same, less weights that nobody named and that are not what their name says: a warning tells of them.

    Raises BackendError where the named ones are broken, or nothing else is left.
    """
    for weights in files.weights:
        try:
            check_kind(weights)
        except BackendError as fault:
            others = [path for path in (files.engine, *files.weights) if path and path != weights]
            if weights == files.named or not others:
                raise
            logger.warning(f"{fault.what}: passed over")
            files = replace(files, pt=None) if weights == files.pt else replace(files, onnx=None)
    return files


def _first_file(candidates: Iterable[Path]) -> Path | None:
    for path in candidates:
        try:
            if path.is_file():
                return path
        except OSError as error:  # a folder that this user may not look into: the file may well be there
            raise BackendError(f"{path} cannot be looked at: {error.strerror}", "Check the path.") from None
    return None


def _how_to_get(path: Path) -> str:
    official = path.with_suffix(".pt").name
    if official not in OFFICIAL_SHA256:
        return "Give the path of your weights with --model."
    return (
        f"Download it: curl -fL -o {official} {RELEASES}/{official} "
        f"&& echo '{OFFICIAL_SHA256[official]}  {official}' | sha256sum -c (or see a demo without it: make demo)"
    )


def check_kind(path: Path) -> None:
    """Raises BackendError for weights whose first bytes are not of the kind their name says.

    A .pt of PyTorch is a zip archive; an .onnx is a protobuf whose first field is one of ModelProto's.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise BackendError(f"{path} cannot be read: {error.strerror}", f"Allow it: chmod a+r {path}") from None
    if path.suffix == ".pt" and not start.startswith(b"PK\x03\x04"):
        raise BackendError(f"{path} is not PyTorch weights (a zip archive){_guess(start)}", _how_to_get(path))
    if path.suffix == ".onnx" and not _starts_like_onnx(start):
        raise BackendError(f"{path} is not an ONNX model (a protobuf){_guess(start)}", "Export it again from its .pt.")


def _starts_like_onnx(start: bytes) -> bool:
    # ModelProto: ir_version = 1 and model_version = 5 are varints (type 0), the others length-delimited (type 2).
    return len(start) > 8 and (
        start[0] in (0x08, 0x28) or (start[0] & 7 == 2 and start[0] >> 3 in (2, 3, 4, 6, 7, 8, 14))
    )


def _guess(start: bytes) -> str:
    if not start:
        return ": it is empty"
    if start.startswith(b"version https://git-lfs"):
        return ": it is a pointer of Git LFS, whose file was not fetched"
    if start.lstrip()[:1] == b"<":
        return ": it is a web page"
    return ""
