"""The stage that builds: an ONNX model becomes an engine with its sidecar, in a process of its own.

`python -m perception.workshop.build.build_stage REQUEST.json RESULT.json`; for the request see BuildRequest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from perception.backends.input_size import input_size
from perception.backends.models.model_facts import facts_of
from perception.backends.preprocess import PREPROCESS_VERSION
from perception.backends.tensorrt.runtime import import_tensorrt
from perception.backends.tensorrt.sidecar import Calibration
from perception.core.errors import BackendError, BuildError, PilotError, SettingsError
from perception.doctor.checks.machine import this_machine
from perception.system.home import ROOT, settings_path
from perception.system.trusted_file import sha256_of, write_whole
from perception.workshop.build import engine_writing
from perception.workshop.build.builder import Built, build
from perception.workshop.build.calibrator import Calibrated, readable
from perception.workshop.build.config import Interrupt, Material
from perception.workshop.build.network import has_precision_flags
from perception.workshop.build.request import BuildRequest, from_json
from perception.workshop.progress import Tell, say
from perception.workshop.quantize import graph
from perception.workshop.quantize.half import write_half

FLOAT16 = 10
"""onnx.TensorProto.FLOAT16."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is read from an ONNX file: its metadata, the names of its nodes, and what stays in float beside INT8.

    protected: names of the nodes to keep out of INT8; outputs: of the convolutions that read INT8 and give float.
    """

    sha256: str
    metadata: Mapping[str, str]
    nodes: frozenset[str]
    protected: frozenset[str]
    outputs: frozenset[str]
    is_quantized: bool
    is_half: bool


def run(values: Mapping[str, Any], tell: Tell, interrupt: Interrupt | None = None) -> dict[str, Any]:
    """Builds, writes engine and sidecar, and gives what is known of them as JSON.

    values: a BuildRequest as JSON. interrupt: see perception/workshop/calibrator.Feed. Raises PilotError.
    """
    request = from_json(values)
    model = read_model(request)
    images, manifest_sha256 = _images_of(request, model, tell)
    usual_hw, _ = input_size(request.onnx, (None, None), facts_of(model.metadata), request.imgsz)
    material = Material(model.sha256, model.nodes, model.protected, model.outputs, images, manifest_sha256, usual_hw)
    try:
        with _typed(request, model) as typed:
            built = build(typed, material, tell, interrupt)
    except Calibrated as done:
        return calibrated(done)
    return _written(request, model, material, built, tell)


@contextmanager
def _typed(request: BuildRequest, model: Model) -> Iterator[BuildRequest]:
    """The request, with a float16 copy of the model where this TensorRT asks for one."""
    if request.precision != "fp16" or model.is_half:
        yield request
        return
    try:
        module = import_tensorrt()
    except BackendError as fault:
        raise BuildError(fault.what, fault.cure) from None
    if not hasattr(module, "BuilderFlag") or has_precision_flags(module):
        yield request
        return
    with TemporaryDirectory() as folder:
        yield replace(request, onnx=write_half(request.onnx, Path(folder) / request.onnx.name))


def calibrated(done: Calibrated) -> dict[str, Any]:
    """The result of a request that wanted a calibration alone."""
    return {"engine": None, "sidecar": None, "facts": {"calibration": dict(done.facts)}}


def read_model(request: BuildRequest) -> Model:
    """Reads the ONNX file once. SettingsError where it is none."""
    model = graph.read(request.onnx)
    is_quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    kept = _kept(request, model, is_quantized)
    return Model(
        sha256=sha256_of(request.onnx),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        nodes=frozenset(node.name for node in model.graph.node),
        protected=frozenset(kept.names),
        outputs=frozenset(kept.outputs),
        is_quantized=is_quantized,
        is_half=any(weights.data_type == FLOAT16 for weights in model.graph.initializer),
    )


def _kept(request: BuildRequest, model: Any, is_quantized: bool) -> graph.Protected:
    if request.precision != "int8" or is_quantized or request.protect == "none":
        return graph.Protected()
    if unnamed := graph.nameless(request.onnx):
        raise SettingsError(
            f"{unnamed} nodes of {request.onnx} have no name of their own, by which TensorRT would be told what stays "
            "in float",
            "Use --method qdq, or export the model with named nodes.",
        )
    if request.protected is not None:
        return graph.Protected(dict.fromkeys(request.protected, "named by the request"))
    return graph.keep(model)


def _images_of(request: BuildRequest, model: Model, tell: Tell) -> tuple[tuple[Path, ...], str]:
    """The images to calibrate on, and what identifies their list; none where none are needed."""
    if request.precision != "int8" or model.is_quantized or request.ranges is not None:
        return (), ""
    if request.images:
        images, sha256 = request.images, request.manifest_sha256 or _sha256_of_all(request.images)
    elif request.data is not None:
        from perception.workshop.calibration.calibration_set import read_set

        found = read_set(request.data)
        images, sha256 = found.images, found.manifest_sha256
    else:
        raise SettingsError("An INT8 engine of this model needs images or ranges", "Give --data.")
    return readable(images, tell), sha256


def _written(request: BuildRequest, model: Model, material: Material, built: Built, tell: Tell) -> dict[str, Any]:
    facts = dict(built.facts)
    largest = facts["largest_input"]
    header = engine_writing.metadata(
        model.metadata, precision=request.precision, batch=largest[0], input_hw=(largest[2], largest[3]),
        dynamic=facts["is_dynamic"],
    )  # fmt: skip
    header["end2end"] = header["end2end"] is True or request.layout == "end_to_end"
    calibration = _calibration_of(request, material, facts)
    sidecar = engine_writing.write(
        request.engine,
        built.plan,
        header,
        {**facts, "layout": request.layout},
        request.weights_sha256,
        calibration,
        _l4t_release(),
    )
    if request.layers is not None:
        request.layers.write_text(built.layers)
    share = facts["builder"]["int8_convolutions"]
    said = f"{request.engine} is built: {request.engine.stat().st_size / 1e6:.1f} MB"
    say(tell, said + (f", {share:.0%} of its convolutions in INT8" if request.precision == "int8" else ""))
    return {"engine": str(request.engine), "sidecar": str(sidecar), "facts": facts}


def _calibration_of(request: BuildRequest, material: Material, facts: Mapping[str, Any]) -> Calibration | None:
    told = request.calibrated
    if told is None and facts["calibration"] is not None:
        told = {"manifest_sha256": material.manifest_sha256, "algorithm": request.calibrator} | facts["calibration"]
    if told is None:
        return None
    return Calibration(told["images"], told["manifest_sha256"], told["algorithm"], PREPROCESS_VERSION)


def _sha256_of_all(paths: Sequence[Path]) -> str:
    """Of a list of files: their names and contents, in order."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(f"{path.name}\0{sha256_of(path)}\n".encode())
        except FileNotFoundError:
            raise SettingsError(f"{path} does not exist", "Give images that are there.") from None
    return digest.hexdigest()


def _l4t_release() -> str | None:
    def start_nothing(*_: object) -> NoReturn:
        raise RuntimeError("reading the release starts no process")

    release = this_machine(ROOT, settings_path(), sys.executable, start_nothing).l4t
    return ".".join(map(str, release)) if release else None


def end_at_once(result: Path) -> Interrupt:
    """Ends this process with what a callback of the calibration raised: TensorRT 8.6 cannot be told to stop.

    result: the file that the parent reads; see perception/workshop/stage.py. Anything but a PilotError, or the end of a
    calibration alone, waits for the end of the build.
    """

    def end(fault: BaseException) -> None:
        if isinstance(fault, Calibrated):
            answer, code = {"result": calibrated(fault)}, 0
        elif isinstance(fault, PilotError):
            told = {"what": fault.what, "cure": fault.cure, "exit_code": fault.exit_code, "kind": type(fault).__name__}
            answer, code = {"error": told}, 3
        else:
            return
        write_whole(result, json.dumps(answer).encode())
        sys.stdout.flush()
        os._exit(code)

    return end


if __name__ == "__main__":
    from perception.workshop.stage import serve

    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")  # less device memory; before 12.2 CUDA does not do so itself
    serve(lambda values, emit: run(values, emit, end_at_once(Path(sys.argv[2]))))
