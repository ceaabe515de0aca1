"""The stage that runs one model over a list of pictures, in a process of its own.

`python -m perception.workshop.accuracy.child REQUEST.json RESULT.json`. What an ONNX model found on the CPU is kept in
the folder of the cache, by the hashes of the model, of the pictures and of all that it depends on. What an engine found
never is: it is what is to be judged.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from detector_service import DetectorService
from perception.backends.preprocess import PREPROCESS_VERSION
from perception.camera.images import read_image
from perception.core.detections import Detections
from perception.core.errors import SettingsError
from perception.core.frame import Frame, Image
from perception.system.plain_file import reason_of
from perception.system.trusted_file import sha256_of
from perception.workshop.accuracy.detector import Conditions, open_detector, places_of
from perception.workshop.accuracy.model_run import UNREADABLE, ModelRun, read

Emit = Callable[[Mapping[str, Any]], None]


def request(
    model: Path, images: Sequence[Path], target: Path, how: Conditions, cache: Path | None = None
) -> dict[str, Any]:
    """Return the request, as JSON, to run `model` on `images` and to write the ModelRun to `target`.

    cache: folder that keeps what an ONNX model found; None keeps nothing.
    """
    conditions = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(how).items()}
    return {
        "model": str(model),
        "images": [str(path) for path in images],
        "target": str(target),
        "cache": str(cache) if cache else None,
        "how": conditions,
    }


def run(values: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Write the ModelRun that is asked for. The result has the seconds it took, and if it came from the cache.

    Raises SettingsError where no picture can be read, BackendError or GpuError where the model cannot run.
    """
    model, images, how = Path(values["model"]), [Path(path) for path in values["images"]], _conditions(values["how"])
    kept = _kept_at(values["cache"], model, images, how)
    started = time.monotonic()
    made = _from_cache(kept)
    cached = made is not None
    if made is None:
        made = _run_model(model, images, how, emit)
        _keep(made, kept, emit)
    replace(made, model=model.name).write(Path(values["target"]))
    return {"target": values["target"], "cached": cached, "seconds": round(time.monotonic() - started, 1)}


def _conditions(values: Mapping[str, Any]) -> Conditions:
    return Conditions(
        **{
            **values,
            "classes": tuple(values["classes"]),
            "names": tuple(values["names"]),
            "kernel_dir": Path(values["kernel_dir"]),
        }
    )


def _kept_at(cache: str | None, model: Path, images: Sequence[Path], how: Conditions) -> Path | None:
    """Return the cache file of this model's detections in these pictures; None where they are not kept."""
    if cache is None or model.suffix != ".onnx":
        return None
    import onnxruntime

    try:
        files = [sha256_of(model), *(_sha256_of_picture(path) for path in images)]
    except OSError as error:
        raise SettingsError(f"{error.filename} cannot be read: {reason_of(error)}", "Check the path.") from None
    depends_on = [
        files, how.classes, how.conf, how.iou, how.imgsz, how.names, how.layout, PREPROCESS_VERSION,
        onnxruntime.__version__,
    ]  # fmt: skip
    return Path(cache) / f"{model.stem}.{hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:32]}.npz"


def _sha256_of_picture(path: Path) -> str:
    """Return the hash of a picture, empty for one that cannot be opened: it counts nowhere."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _from_cache(kept: Path | None) -> ModelRun | None:
    """Return the run that is kept there; None where there is none that can be read."""
    try:
        return read(kept) if kept else None
    except (OSError, ValueError):
        return None


def _keep(made: ModelRun, kept: Path | None, emit: Emit) -> None:
    """Keep the run for the next time, where that is possible; where not, it only takes as long again."""
    if kept is None:
        return
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        made.write(kept)
    except (OSError, SettingsError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error.what
        emit({"event": "say", "text": f"What {made.model} finds is not kept for the next time: {reason}"})


def _run_model(model: Path, images: Sequence[Path], how: Conditions, emit: Emit) -> ModelRun:
    """Run the model. A picture that cannot be read has the size UNREADABLE; SettingsError where all are so."""
    detector, precision = open_detector(model, how)
    with detector as service:
        info = service.info
        places = places_of(how.classes, info.class_names)
        sizes = [UNREADABLE] * len(images)
        found = [Detections.empty()] * len(images)
        for numbers, batch in _batches(images, info.batch):
            for number, image, one in zip(numbers, batch, _detect(service, batch)):
                sizes[number] = image.shape[0], image.shape[1]
                found[number] = replace(one, class_id=places[one.class_id])
            emit({"event": "progress", "what": model.name, "done": numbers[-1] + 1, "of": len(images)})
    if all(size == UNREADABLE for size in sizes):
        raise SettingsError(f"Not one of {len(images)} pictures can be read, {images[0]} first", "Mend the paths.")
    known = sorted(set(places[places >= 0].tolist()))
    return ModelRun(
        model=model.name,
        backend=info.name,
        precision=precision,
        classes=how.classes,
        known=tuple(how.classes[place] for place in known),
        class_names=tuple(info.class_names[number] for number in sorted(info.class_names)),
        sizes=tuple(sizes),
        found=tuple(found),
    )


def _detect(service: DetectorService, batch: Sequence[Image]) -> Iterator[Detections]:
    frames = [Frame(image, number, 0.0, "accuracy") for number, image in enumerate(batch)]
    return (result.detections for result in service.detect(frames))


def _batches(images: Sequence[Path], size: int) -> Iterator[tuple[list[int], list[Image]]]:
    """Yield the pictures that can be read, with their places, in batches of the model's size."""
    numbers: list[int] = []
    batch: list[Image] = []
    for number, path in enumerate(images):
        image = read_image(path)
        if image is not None:
            numbers.append(number)
            batch.append(image)
        if numbers and (len(batch) == size or number == len(images) - 1):
            yield numbers, batch
            numbers, batch = [], []


if __name__ == "__main__":
    from perception.workshop.stage import serve

    serve(run)
