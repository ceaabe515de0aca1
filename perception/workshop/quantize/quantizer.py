"""An ONNX detector with Q/DQ nodes, which say where INT8 begins and ends and how far it reaches.

TensorRT up to 10 builds such a model beside its own calibration, TensorRT 11 knows nothing else, and ONNX Runtime runs
it on any CPU. No GPU is needed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.backends.input_size import input_size
from perception.backends.models.model_facts import facts_of
from perception.core.errors import BuildError, SettingsError
from perception.core.layouts import Preprocessing
from perception.system.reasons import cause_of, cure_of
from perception.system.trusted_file import write_whole
from perception.workshop.build.calibrator import Batches, readable
from perception.workshop.progress import Tell, say, step
from perception.workshop.quantize.graph import DEPTHWISE, Protected, keep, read
from perception.workshop.quantize.histogram import METHODS, MagnitudeHistogram, range_of
from perception.workshop.quantize.placement import CROSSED, Placement, place

METHOD = next(iter(METHODS))
LEAST_OPSET = 13
"""The first with a scale for each channel."""
_IR_VERSION = 8
"""The newest that ONNX Runtime 1.16 and TensorRT 8.6 read."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """What was made. images: that were calibrated on; convolutions: of `of`, that became INT8, the outputs too."""

    target: Path
    method: str
    images: int
    convolutions: int
    of: int
    protected: Protected

    def facts(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "method": self.method,
            "images": self.images,
            "int8_convolutions": self.convolutions,
            "convolutions": self.of,
            "float_outputs": len(self.protected.outputs),
            "protected": self.protected.counts(),
        }


def qdq(
    onnx: Path, images: Sequence[Path], target: Path, method: str = METHOD, progress: Tell = lambda _: None,
    *, imgsz: int | None = None, way: Preprocessing = "letterbox",
) -> Quantized:  # fmt: skip
    """Writes `onnx` with Q/DQ nodes to `target`, whole or not at all.

    images: to calibrate on, through the run time's own preprocess. method: of histogram.METHODS. imgsz: the input's
    side in pixels where the model leaves it open, None for what it was made for. way: as its layout asks. Raises
    SettingsError for a model, a method or images that will not do, BuildError where ONNX Runtime fails.
    """
    if method not in METHODS:
        raise SettingsError(f"There is no method {method!r}", f"Give one of {', '.join(METHODS)}.")
    model = read(onnx)
    shape = _input_shape(model, onnx, imgsz)
    kept = keep(model)
    placement = place(model, kept.names)
    total = sum(node.op_type == "Conv" for node in model.graph.node)
    say(
        progress,
        f"{len(placement.convolutions)} of {total} convolutions become INT8, of which {len(kept.outputs)}, the last of "
        f"the head, give float; in float stay {kept}",
    )
    pictures = readable(images, progress)
    seen = measure(model, placement.sources(), Batches(pictures, shape, way), progress)
    made = insert(model, placement, ranges(placement, seen, method))
    _leave_head(made, model, kept)
    _check(made, shape, onnx)
    write_whole(target, made.SerializeToString())
    return Quantized(target, method, len(pictures), len(placement.convolutions), total, kept)


def _input_shape(model: Any, path: Path, imgsz: int | None) -> tuple[int, int, int, int]:
    """The shape of one batch. SettingsError for a model that cannot be quantised, or was."""
    import onnx as library

    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise SettingsError(f"{path} has Q/DQ nodes already", "Give the float32 model that it was made from.")
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < LEAST_OPSET:
        raise SettingsError(f"{path} has opset {opset}, and Q/DQ needs {LEAST_OPSET}", "Export it with --opset 17.")
    names = {weights.name for weights in model.graph.initializer}
    inputs = [value.type.tensor_type for value in model.graph.input if value.name not in names]
    sides = [side.dim_value for side in inputs[0].shape.dim] if len(inputs) == 1 else []
    if len(sides) != 4 or sides[1] != 3 or inputs[0].elem_type != library.TensorProto.FLOAT:
        raise SettingsError(f"{path} does not take float32 pictures (n, 3, H, W)", "Export a detector in float32.")
    facts = facts_of({entry.key: entry.value for entry in model.metadata_props})
    (height, width), _ = input_size(path, (sides[2] or None, sides[3] or None), facts, imgsz)
    return sides[0] or 1, 3, height, width


def measure(model: Any, tensors: Sequence[str], batches: Batches, progress: Tell) -> dict[str, MagnitudeHistogram]:
    """Histograms of these tensors over all batches; what a batch gives is counted and let go, so memory stays small.

    Raises BuildError where ONNX Runtime cannot run the model, or a value is no number.
    """
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in tensors if name not in inputs]
    session = _session(_with_outputs(model, inner))
    histograms = {name: MagnitudeHistogram() for name in tensors}
    name = session.get_inputs()[0].name
    done = 0
    while (batch := batches.next()) is not None:
        values = dict(zip(inner, _run(session, inner, {name: batch})), **{name: batch})
        for tensor, histogram in histograms.items():
            _count(tensor, histogram, values[tensor][: batches.done - done])  # not what fills up the last batch
        done = batches.done
        step(progress, "calibration", batches.done, len(batches.images))
    return histograms


def _count(tensor: str, histogram: MagnitudeHistogram, values: npt.NDArray[np.float32]) -> None:
    try:
        for picture in values:
            histogram.add(picture)
    except ValueError as error:
        raise BuildError(f"{tensor} holds {error}", "The model is broken: export it again.") from None


def _with_outputs(model: Any, tensors: Sequence[str]) -> Any:
    """A copy of the model that gives these tensors instead of its own outputs."""
    import onnx as library

    copy = library.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in tensors:
        copy.graph.output.append(library.helper.make_tensor_value_info(name, library.TensorProto.FLOAT, None))
    return copy


def ranges(placement: Placement, seen: Mapping[str, MagnitudeHistogram], method: str) -> dict[str, float]:
    """The largest magnitude that INT8 holds, by tensor: what shares a range has the largest of its sources'."""
    return {
        tensor: max(range_of(method, seen[source]) for source in group.sources)
        for group in placement.groups
        for tensor in group.tensors
    }


def insert(model: Any, placement: Placement, found: Mapping[str, float]) -> Any:
    """The model with Q/DQ pairs at these places: activations by tensor, weights by channel, biases in float."""
    import onnx as library
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = library.ModelProto()
    copy.CopyFrom(model)
    limits = {name: TensorData(lowest=np.float32(-most), highest=np.float32(most)) for name, most in found.items()}
    quantizer = QDQQuantizer(
        copy, per_channel=True, reduce_range=False, weight_qType=QuantType.QInt8, activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits), nodes_to_exclude=[],
        nodes_to_quantize=[*placement.convolutions, *placement.crossed],
        op_types_to_quantize=["Conv", *sorted(CROSSED)],
        extra_options={
            "ActivationSymmetric": True, "WeightSymmetric": True,  # TensorRT knows no other
            "AddQDQPairToWeight": True,  # and reads weights in float
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
            "ForceQuantizeNoInputCheck": True,
        },
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    made = quantizer.model.model
    made.ir_version = min(made.ir_version, _IR_VERSION)
    del made.metadata_props[:]  # ONNX Runtime adds a note of its own
    made.metadata_props.extend(model.metadata_props)
    return made


def _leave_head(made: Any, model: Any, kept: Protected) -> None:
    """Lets the head read what it did: a pair that another convolution needs there is none of the decoding's.

    made: the `model` with its pairs, which is changed.
    """
    head = {name for name, why in kept.why.items() if why != DEPTHWISE}
    inputs = {node.name: node.input for node in model.graph.node if node.name in head}
    for node in made.graph.node:
        if node.name in head:
            node.input[:] = inputs[node.name]


def _check(made: Any, shape: tuple[int, int, int, int], path: Path) -> None:
    """Runs the model once, on grey. BuildError where it is no model, or gives what is no number."""
    import onnx as library

    try:
        library.checker.check_model(made)
    except library.checker.ValidationError as error:
        raise BuildError(f"{path} with Q/DQ nodes is no valid model: {error}", "Report this, with the model.") from None
    session = _session(made)
    grey = np.full(shape, 114 / 255, np.float32)
    output = _run(session, None, {session.get_inputs()[0].name: grey})[0]
    if not math.isfinite(float(np.abs(output).max(initial=0))):
        raise BuildError(f"{path} with Q/DQ nodes gives what is no number", "Try --precision fp16.")


def _session(model: Any) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SettingsError(f"onnxruntime cannot be imported: {error}", "pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they reach the user as exceptions, too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the counting in between wants the cores
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of ONNX Runtime's errors are not part of its public API
        raise _failed(error) from None


def _run(session: Any, outputs: Sequence[str] | None, feed: Mapping[str, npt.NDArray[np.float32]]) -> list[Any]:
    try:
        return list(session.run(outputs, feed))
    except Exception as error:  # as above
        raise _failed(error) from None


def _failed(error: Exception) -> BuildError:
    cure = cure_of(error, "Export it again, or use --method calibrator.")
    return BuildError(f"ONNX Runtime cannot run the model: {cause_of(error)}", cure)
