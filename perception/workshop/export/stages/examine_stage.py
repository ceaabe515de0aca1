"""The stage that looks at an ONNX model before anything is made of it: is it a detector, and of which layout."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perception.backends.models.choice import Wish
from perception.backends.models.model_facts import facts_of
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.session_backend import SessionBackend
from perception.core.errors import BackendError, SettingsError
from perception.workshop.progress import say
from perception.workshop.quantize import graph

Emit = Callable[[Mapping[str, Any]], None]
HALVES = ("fp16", "bf16")


def run(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Return the layout of the model, None where it cannot be told here: then the engine itself will be asked.

    request: onnx, folder (paths), imgsz (pixels), layout (as the user says), precision (of the engine). Raises
    SettingsError for what is no detector, or cannot be made what is asked for.
    """
    emit({"event": "stage", "name": "looking at the model"})
    onnx = Path(request["onnx"])
    try:
        return {"layout": _layout(onnx, request, emit)}
    except BackendError as fault:
        raise SettingsError(fault.what, fault.cure) from None


def _layout(onnx: Path, request: Mapping[str, Any], emit: Emit) -> str | None:
    facts = facts_of({entry.key: entry.value for entry in graph.read(onnx).metadata_props})
    if facts.task not in (None, "detect"):
        raise BackendError(f"{onnx} is a model for {facts.task!r}, not for detection", "Give a detection model.")
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    session = OnnxRuntimeSession(onnx, request.get("imgsz"), 0)
    if session.precision in HALVES and request["precision"] == "int8":
        raise BackendError(
            f"{onnx} computes in half precision ({session.precision}), and INT8 is made from float32",
            "Export it again without half=True, or build it as it is: --precision fp16.",
        )
    if not session.facts.names:
        say(emit, f"{onnx} does not name its classes, so that its layout is not looked at")
        return None
    wish = Wish(request.get("layout"), Path(request["folder"]))
    with SessionBackend(session, (), wish) as backend:
        say(emit, f"Layout of its output: {backend.info.layout}")
        return backend.info.layout


if __name__ == "__main__":
    from perception.workshop.stage import serve

    serve(run)
