"""Builds against the fake builder, as TensorRT 8.6, 10 and 11: what is asked of it, and what comes of its failures."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from perception.core.errors import BuildError, ExportMemoryError, SettingsError
from perception.system.trusted_file import sha256_of
from perception.workshop.build.builder import Built, build
from perception.workshop.build.config import Material
from perception.workshop.build.request import BuildRequest
from tests.doubles.emulated_errors import MemoryError
from tests.doubles.emulated_gpu import Device
from tests.doubles.fake_tensorrt import DataType, Severity
from tests.workshop.build import small_network
from tests.workshop.build.fake_builder import TIMED, Generation, MemoryPoolType, Workbench
from tests.workshop.build.fake_network import Int8
from tests.workshop.conftest import Event, said

Bench = Callable[[Generation], Workbench]
NODES = frozenset({*small_network.CONVOLUTIONS, *small_network.HEAD, "/model.0/act/Mul"})
TACTIC = "Tactic Device request: 1000MB Available: 680MB. Device memory is insufficient to use tactic."


def built_by(onnx: Path, images: list[Path], events: list[Event], **asked: Any) -> Built:
    """A build of the small network, its head protected."""
    request = BuildRequest(onnx, onnx.with_suffix(".engine"), **asked)
    outputs = frozenset({small_network.OUTPUT})
    material = Material(sha256_of(onnx), NODES, small_network.HEAD, outputs, tuple(images), "c" * 64)
    return build(request, material, events.append)


def asked_of(bench: Workbench) -> dict[str, tuple[Any, dict[int, Any]]]:
    """By the name of each layer that was asked for a precision or a type: both."""
    assert bench.network is not None
    layers = bench.network.layers
    return {x.name: (x.precision, x.output_types) for x in layers if x.precision is not None or x.output_types}


@pytest.mark.parametrize("generation", ["8.6", "10"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_flags_of_a_precision(
    bench_of: Bench, onnx: Path, images: list[Path], events: list[Event], generation: Generation, precision: str
) -> None:
    bench = bench_of(generation)
    built_by(onnx, images, events, precision=precision)
    assert bench.config is not None
    assert bench.network is not None
    flags = {"fp32": set(), "fp16": {"FP16"}, "int8": {"FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS"}}
    assert bench.config.flags == flags[precision]
    assert bench.network.flags & 1, "explicit batch"
    assert (bench.config.int8_calibrator is not None) == (precision == "int8")


def test_settings_reach_the_builder(bench: Workbench, onnx: Path, images: list[Path], events: list[Event]) -> None:
    built = built_by(onnx, images, events, workspace_mib=512, optimization_level=1, tactic_sources="none")
    config = bench.config
    assert config is not None
    assert config.memory == {MemoryPoolType.WORKSPACE: 512 << 20}
    assert config.builder_optimization_level == 1
    assert config.tactic_sources == 0
    assert built.facts["builder"]["method"] == "calibrator, entropy"
    assert built.facts["builder"]["workspace_mib"] == 512


def test_the_defaults_are_left_to_tensorrt(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    built_by(onnx, images, events, precision="fp16")
    assert bench.config is not None
    assert bench.config.builder_optimization_level == 3
    assert bench.config.tactic_sources is None
    assert bench.config.timing is None
    assert not bench.config.profiles
    assert not bench.config.preview


def test_the_head_is_kept_out_of_int8(bench: Workbench, onnx: Path, images: list[Path], events: list[Event]) -> None:
    built = built_by(onnx, images, events)
    half = DataType.HALF
    assert asked_of(bench) == {
        small_network.OUTPUT: (Int8.INT8, {0: half}),
        "/model.1/Sigmoid": (half, {0: half}),
        "/model.1/Mul": (half, {0: DataType.FLOAT}),  # what is put out is float32, and no copy is asked for
        "/model.1/Reshape": (DataType.FLOAT, {}),
    }
    assert built.facts["convolutions"] == {"int8": 3, "other": [], "unseen": []}
    assert (built.facts["builder"]["protected"], built.facts["builder"]["float_outputs"]) == (3, 1)
    assert built.facts["builder"]["int8_convolutions"] == 1
    assert built.facts["protected_in_int8"] == []


def test_an_output_convolution_may_be_kept_wholly_in_float(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    material = Material("a" * 64, NODES, small_network.HEAD | {small_network.OUTPUT}, images=tuple(images))
    facts = build(BuildRequest(onnx, onnx.with_suffix(".engine")), material, events.append).facts
    assert asked_of(bench)[small_network.OUTPUT] == (DataType.HALF, {0: DataType.HALF})
    assert facts["convolutions"] == {"int8": 2, "other": [small_network.OUTPUT], "unseen": []}
    assert facts["builder"]["int8_convolutions"] == pytest.approx(2 / 3, abs=1e-4)
    assert (facts["builder"]["protected"], facts["builder"]["float_outputs"]) == (4, 0)


@pytest.mark.parametrize("behind", [["/model.1/Reshape"], []], ids=["before the last layer", "the last layer"])
def test_an_output_convolution_that_is_put_out_gives_float32(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event], behind: list[str]
) -> None:
    import onnx as library

    model = library.load(str(onnx))
    nodes = [node for node in model.graph.node if node.name in behind or node.name not in small_network.HEAD]
    (nodes[-1].input if behind else nodes[-1].output)[0] = "c2" if behind else "output0"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    library.save(model, str(onnx))
    material = Material("a" * 64, NODES, frozenset(behind), frozenset({small_network.OUTPUT}), tuple(images))
    build(BuildRequest(onnx, onnx.with_suffix(".engine")), material, events.append)
    asked: dict[str, Any] = {small_network.OUTPUT: (Int8.INT8, {0: DataType.FLOAT} if behind else {})}
    assert asked_of(bench) == asked | dict.fromkeys(behind, (DataType.FLOAT, {}))
    assert bench.config is not None
    assert "PREFER_PRECISION_CONSTRAINTS" in bench.config.flags


def test_without_a_head_all_is_int8(bench: Workbench, onnx: Path, images: list[Path], events: list[Event]) -> None:
    material = Material("a" * 64, NODES, images=tuple(images))
    facts = build(BuildRequest(onnx, onnx.with_suffix(".engine")), material, events.append).facts
    assert bench.config is not None
    assert bench.config.flags == {"FP16", "INT8"}
    assert asked_of(bench) == {}
    assert facts["convolutions"]["int8"] == 3
    assert (facts["builder"]["protected"], facts["builder"]["float_outputs"]) == (0, 0)


def test_a_second_build_reads_the_calibration(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    first = built_by(onnx, images, events).facts["calibration"]
    assert (first["images"], first["cache_was_read"]) == (7, False)
    assert len(bench.calibrated) == 7
    second = built_by(onnx, images, events).facts["calibration"]
    assert second["cache_was_read"]
    assert len(bench.calibrated) == 7, "no image was read again"
    assert "Calibration is read from" in said(events)
    third = built_by(onnx, images, events, recalibrate=True).facts["calibration"]
    assert not third["cache_was_read"]
    assert len(bench.calibrated) == 14


def test_another_algorithm_calibrates_anew(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    built_by(onnx, images, events)
    built = built_by(onnx, images, events, calibrator="minmax")
    assert not built.facts["calibration"]["cache_was_read"]
    assert Path(built.facts["calibration"]["cache"]).read_bytes().splitlines()[1] == b"TRT-MinMax"


@pytest.mark.parametrize(("generation", "calibrated"), [("8.6", 3), ("10", 2)])
def test_an_open_batch_has_profiles(
    bench_of: Bench, tmp_path: Path, images: list[Path], events: list[Event], generation: Generation, calibrated: int
) -> None:
    bench = bench_of(generation)
    onnx = small_network.build(tmp_path / "open.onnx", batch=None)
    built = built_by(onnx, images, events, batch=2, calibration_batch=3)
    config = bench.config
    assert config is not None
    assert [profile.shapes for profile in config.profiles] == [[(1, 3, 64, 64), (2, 3, 64, 64), (2, 3, 64, 64)]]
    assert {tensor.shape[0] for tensor in bench.calibrated} == {calibrated}
    assert (config.calibration_profile is not None) == (generation == "8.6")
    assert config.preview == ({"PROFILE_SHARING_0806"} if generation == "8.6" else set())
    assert built.facts["input_shape"] == [-1, 3, 64, 64]
    assert built.facts["calibration"]["filled"] == -7 % calibrated
    assert f"repeats its last image {-7 % calibrated} times" in said(events)


def test_a_release_without_shared_profiles_builds_an_open_batch(
    bench: Workbench, tensorrt: ModuleType, tmp_path: Path, images: list[Path], events: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tensorrt, "PreviewFeature", enum.IntEnum("PreviewFeature", {"OTHER": 1}))
    built_by(small_network.build(tmp_path / "open.onnx", batch=None), images, events, batch=2, precision="fp16")
    assert bench.config is not None
    assert bench.config.preview == set()


def test_a_fixed_batch_takes_no_other(bench: Workbench, onnx: Path, images: list[Path], events: list[Event]) -> None:
    with pytest.raises(SettingsError, match="fixed batch of 1, and a batch of 4"):
        built_by(onnx, images, events, batch=4)
    with pytest.raises(SettingsError, match="cannot be calibrated with batches of 8"):
        built_by(onnx, images, events, calibration_batch=8)
    assert bench.builds == 0


@pytest.mark.parametrize("generation", ["8.6", "10", "11"])
def test_a_quantized_model_brings_its_ranges(
    bench_of: Bench, tmp_path: Path, events: list[Event], generation: Generation
) -> None:
    bench = bench_of(generation)
    onnx = small_network.build(tmp_path / "qdq.onnx", quantized=True)
    built = built_by(onnx, [], events)
    assert bench.config is not None
    assert bench.network is not None
    assert bench.config.int8_calibrator is None
    assert bench.config.flags == (set() if generation == "11" else {"FP16", "INT8"})
    assert bench.network.flags == {"8.6": 1, "10": 1, "11": 0}[generation]
    assert built.facts["builder"]["method"] == "qdq"
    with pytest.raises(SettingsError, match="is quantized, and fp16 is asked for"):
        built_by(onnx, [], events, precision="fp16")


def test_tensorrt_11_takes_precisions_from_the_model(
    bench_of: Bench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    bench = bench_of("11")
    with pytest.raises(SettingsError, match="no INT8 calibrator"):
        built_by(onnx, images, events)
    with pytest.raises(SettingsError, match="takes precisions from the model"):
        built_by(onnx, images, events, precision="fp16")
    assert built_by(onnx, images, events, precision="fp32").facts["builder"]["method"] == "typed"
    assert bench.builds == 1


def test_a_timing_cache_is_read_and_grows(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event], tmp_path: Path
) -> None:
    path = tmp_path / "caches" / "timing"
    for _ in range(2):
        built_by(onnx, images, events, precision="fp16", timing_cache=path)
    assert path.read_bytes().startswith(TIMED + b" one more")
    assert path.read_bytes().count(b" one more") > 1
    path.write_bytes(b"of another device")
    built_by(onnx, images, events, precision="fp16", timing_cache=path)
    assert "another device" in said(events)
    assert path.read_bytes() == TIMED + b" one more"


def test_a_model_that_the_parser_does_not_know(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    import onnx as library

    model = library.load(str(onnx))
    model.graph.node[1].op_type = "HardSigmoid"
    library.save(model, str(onnx))
    with pytest.raises(BuildError, match="node number 1: No importer registered for op: HardSigmoid"):
        built_by(onnx, images, events)


def test_nms_inside_is_refused(bench: Workbench, tmp_path: Path, images: list[Path], events: list[Event]) -> None:
    with pytest.raises(SettingsError, match="has NMS inside"):
        built_by(small_network.build(tmp_path / "n.onnx", nms=True), images, events)


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([(Severity.ERROR, "Error Code 10: Internal Error (unexpected)")], BuildError),
        ([], BuildError),
        ([(Severity.ERROR, "Error Code 2: OutOfMemory (no further information)")], ExportMemoryError),
        ([(Severity.WARNING, TACTIC)], ExportMemoryError),
        ([(Severity.WARNING, TACTIC), (Severity.ERROR, "Could not find any implementation for x")], ExportMemoryError),
        ([(Severity.WARNING, TACTIC), (Severity.ERROR, "Calibration failure: insufficient custom scales")], BuildError),
    ],
)  # fmt: skip
def test_no_engine_is_told_with_tensorrts_own_reason(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event],
    lines: list[tuple[Severity, str]], kind: type[Exception],
) -> None:  # fmt: skip
    bench.fail, bench.say = True, lines
    with pytest.raises((BuildError, ExportMemoryError), match="TensorRT built no engine") as fault:
        built_by(onnx, images, events, precision="fp16")
    assert type(fault.value) is kind


def test_tactics_without_memory_alone_fail_nothing(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    bench.say = [(Severity.WARNING, TACTIC)] * 30 + [(Severity.WARNING, "Something else")]
    facts = built_by(onnx, images, events).facts
    assert (facts["warnings"], facts["tactics_without_memory"]) == (31, 30)


def test_no_builder_and_no_buffer_are_a_lack_of_memory(
    bench: Workbench, tensorrt: ModuleType, device: Device, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    tensorrt.machine.refuse.add("builder")
    with pytest.raises(ExportMemoryError, match="gives no builder"):
        built_by(onnx, images, events)
    tensorrt.machine.refuse.clear()
    device.fail["mem_alloc"] = MemoryError("cuMemAlloc failed: out of memory")
    with pytest.raises(ExportMemoryError, match="49152 bytes of device memory"):
        built_by(onnx, images, events)
    assert bench.builds == 0


def test_no_device_is_a_build_that_cannot_be(
    bench: Workbench, device: Device, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    with pytest.raises(BuildError, match="CUDA device 3 cannot be used"):
        built_by(onnx, images, events, device=3)


def test_a_fault_in_a_callback_is_raised_after_the_build(
    bench: Workbench, device: Device, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    def stop(event: Event) -> None:
        if event.get("what") == "calibration":
            raise KeyboardInterrupt

    request = BuildRequest(onnx, onnx.with_suffix(".engine"))
    with pytest.raises(KeyboardInterrupt):
        build(request, Material("a" * 64, images=tuple(images)), stop)
    assert not list(onnx.parent.glob("*.calib"))


def test_a_stop_ends_the_build_at_its_next_step(
    bench_of: Bench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    bench = bench_of("10")

    def stop(event: Event) -> None:
        if event.get("what") == "Building Engine" and event["done"] == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(BuildRequest(onnx, onnx.with_suffix(".engine"), precision="fp16"), Material("a" * 64), stop)
    assert bench.cancelled


def test_protected_nodes_that_are_not_there_do_not_pass_unseen(
    bench: Workbench, onnx: Path, images: list[Path], events: list[Event]
) -> None:
    request = BuildRequest(onnx, onnx.with_suffix(".engine"))
    for gone in (
        Material("a" * 64, protected=frozenset({"/model.9/Sigmoid"}), images=tuple(images)),
        Material("a" * 64, NODES, small_network.HEAD, frozenset({"/model.9/Conv"}), tuple(images)),
    ):
        with pytest.raises(BuildError, match="no layer of the nodes to protect"):
            build(request, gone, events.append)


@pytest.mark.parametrize(
    "change",
    [{"precision": "int4"}, {"batch": 0}, {"batch": True}, {"workspace_mib": 0}, {"optimization_level": 6},
     {"calibrator": "best"}, {"imgsz": 16}],
    ids=str,
)  # fmt: skip
def test_a_request_that_cannot_be(change: dict[str, Any]) -> None:
    right = BuildRequest(Path("a.onnx"), Path("a.engine"))
    with pytest.raises(SettingsError, match=next(iter(change))):
        dataclasses.replace(right, **change)
