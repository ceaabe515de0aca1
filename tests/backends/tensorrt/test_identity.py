"""Identity: an engine of another TensorRT, GPU or model is refused with both sides named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.backends.tensorrt.engine_file import EngineFile, open_engine
from perception.backends.tensorrt.identity import (
    Machine,
    check_identity,
    check_input,
    class_names,
    precision_of,
    version_of_number,
)
from perception.core.errors import BackendError
from perception.system import trusted_file
from tests.doubles.engine_files import ULTRALYTICS, install, plan, with_header

ORIN = Machine("10.3.0", "Orin", "8.7", "12.6")
REBUILD = f"Rebuild it: {trusted_file.REBUILD}"
within_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "yolo11n.engine"


def ours(path: Path, **changes: Any) -> EngineFile:
    """An engine with its sidecar."""
    return open_engine(install(path, with_header(ULTRALYTICS, plan()), **changes))


def theirs(path: Path, **changes: Any) -> EngineFile:
    """An engine of ultralytics, without a sidecar."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.write_bytes(with_header({**ULTRALYTICS, **changes}, plan()))
    return open_engine(path)


def bare(path: Path, data: bytes | None = None) -> EngineFile:
    """A plan of trtexec, without a sidecar."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.write_bytes(plan() if data is None else data)
    return open_engine(path)


def refused(engine: EngineFile, machine: Machine) -> str:
    with pytest.raises(BackendError) as caught:
        check_identity(engine, machine)
    assert caught.value.exit_code == 4
    assert caught.value.cure == REBUILD
    return caught.value.what


# TensorRT


def test_an_engine_of_this_machine_is_taken_in_silence(path: Path) -> None:
    assert check_identity(ours(path), ORIN) == ()


def test_another_version_of_tensorrt_is_refused_with_both_named(path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        check_identity(ours(path), Machine("10.7.0", "Orin", "8.7"))
    assert str(caught.value) == f"{path} was built by TensorRT 10.3.0, this device has 10.7.0. {REBUILD}"


@pytest.mark.parametrize("version", ["10.3.0", "10.3.0.26", "10.3.0.30", "10.3.0.post1", "10.3.0+cuda12.6", "10.3"])
def test_the_build_number_does_not_count(path: Path, version: str) -> None:
    assert check_identity(ours(path), Machine(version, "Orin", "8.7")) == ()


@pytest.mark.parametrize("version", ["10.3.1", "10.2.0", "10.30.0", "8.6.2", "11.3.0", "1.0.3"])
def test_major_minor_and_patch_count(path: Path, version: str) -> None:
    assert refused(ours(path), Machine(version, "Orin", "8.7")).endswith(f"this device has {version}")


@pytest.mark.parametrize("make", [bare, theirs])
def test_without_a_sidecar_the_plan_tells_its_version(path: Path, make: Any) -> None:
    engine = make(path)
    assert refused(engine, Machine("8.6.2", "Orin", "8.7")) == (
        f"{path} was built by TensorRT 10.3.0, this device has 8.6.2"
    )
    assert len(check_identity(engine, ORIN)) == 1


def test_a_version_that_cannot_be_compared_is_a_fault_of_the_machine(path: Path) -> None:
    with pytest.raises(BackendError, match=r"TensorRT 'unknown' is no version that can be compared\. Reinstall"):
        check_identity(ours(path), Machine("unknown", "Orin", "8.7"))


@pytest.mark.parametrize(
    ("built", "here", "runs"),
    [
        ("8.6.0", "8.6.1", True),
        ("8.6.1", "10.16.1", True),
        ("8.6.1", "10.0.0", True),
        ("10.3.0", "10.16.2", True),
        ("10.16.2", "11.4.1", True),
        ("11.0.0", "11.4.0", True),
        ("8.6.1", "11.4.0", False),
        ("8.5.3", "8.6.1", False),
        ("8.5.3", "10.3.0", False),
        ("8.6.1", "9.1.0", False),
        ("9.1.0", "10.3.0", False),
        ("10.7.0", "10.3.0", False),
        ("10.3.0", "8.6.1", False),
        ("11.0.0", "10.16.1", False),
        ("11.0.0", "12.0.0", False),
    ],
)
def test_a_version_compatible_engine_runs_as_far_as_the_matrix_says(
    path: Path, built: str, here: str, runs: bool
) -> None:
    machine = Machine(here, "Orin", "8.7")
    engine = ours(path, tensorrt_version=built, builder={"version_compatible": True})
    if runs:
        assert check_identity(engine, machine) == ()
    else:
        said = f"{path} was built by TensorRT {built}, this device has {here}, and a version-compatible engine"
        assert refused(engine, machine).startswith(said)
    refused(ours(path, tensorrt_version=built), machine)


@pytest.mark.parametrize("value", [False, None, "yes", 1, "true"])
def test_only_true_makes_an_engine_version_compatible(path: Path, value: object) -> None:
    refused(ours(path, builder={"version_compatible": value}), Machine("10.7.0", "Orin", "8.7"))


@pytest.mark.parametrize(
    ("number", "version"),
    [(8600, "8.6.0"), (8601, "8.6.1"), (8502, "8.5.2"), (9100, "9.1.0"), (100300, "10.3.0"), (101601, "10.16.1")],
)
def test_the_number_of_the_library_is_read(number: int, version: str) -> None:
    assert version_of_number(number) == version


# GPU and CUDA


@pytest.mark.parametrize(
    ("gpu_name", "capability"), [("Orin", "8.6"), ("NVIDIA Thor", "11.0"), ("NVIDIA A30", "8.7"), ("Orin", "")]
)
def test_another_gpu_is_refused_with_both_named(path: Path, gpu_name: str, capability: str) -> None:
    assert refused(ours(path), Machine("10.3.0", gpu_name, capability)) == (
        f"{path} was built for the GPU Orin (compute capability 8.7), this device has {gpu_name} ({capability})"
    )


@pytest.mark.parametrize("name", ["Orin", "NVIDIA Orin", "nvidia orin", " Orin "])
def test_the_name_of_the_maker_does_not_count(path: Path, name: str) -> None:
    assert check_identity(ours(path), Machine("10.3.0", name, "8.7")) == ()


@pytest.mark.parametrize(
    ("level", "built", "machine", "runs"),
    [
        ("ampere_plus", "8.7", ("NVIDIA H200", "9.0"), True),
        ("AMPERE_PLUS", "9.0", ("NVIDIA Thor", "11.0"), True),
        ("ampere_plus", "8.7", ("NVIDIA T4", "7.5"), False),
        ("ampere_plus", "7.5", ("NVIDIA H200", "9.0"), False),
        ("same_compute_capability", "8.7", ("Orin NX", "8.7"), True),
        ("same_compute_capability", "8.7", ("NVIDIA A2", "8.6"), False),
        ("none", "8.7", ("NVIDIA H200", "9.0"), False),
        (True, "8.7", ("NVIDIA H200", "9.0"), False),
        (None, "8.7", ("NVIDIA H200", "9.0"), False),
    ],
)
def test_a_hardware_compatible_engine_runs_as_far_as_its_level_says(
    path: Path, level: object, built: str, machine: tuple[str, str], runs: bool
) -> None:
    engine = ours(path, builder={"hardware_compatibility": level}, compute_capability=built)
    if runs:
        assert check_identity(engine, Machine("10.3.0", *machine)) == ()
    else:
        assert f"this device has {machine[0]} ({machine[1]})" in refused(engine, Machine("10.3.0", *machine))


def test_another_cuda_is_told_and_no_refusal(path: Path) -> None:
    engine = ours(path)
    assert check_identity(engine, Machine("10.3.0", "Orin", "8.7", "12.2")) == ()
    assert check_identity(engine, Machine("10.3.0", "Orin", "8.7", None)) == ()
    told = check_identity(engine, Machine("10.3.0", "Orin", "8.7", "13.0"))
    assert len(told) == 1
    assert told[0].startswith(f"{path} was built with CUDA 12.6, this device has 13.0: rebuild it if it fails")


# Without a sidecar


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (theirs, "and whether the file was changed could not be checked"),
        (lambda path: theirs(path, args={}), "whether the file was changed and its precision could not be checked"),
        (bare, "whether the file was changed and its precision could not be checked"),
        (lambda path: bare(path, plan(kind=1)), "its precision and which TensorRT built it could not be checked"),
    ],
)
def test_without_a_sidecar_one_warning_says_what_could_not_be_checked(path: Path, make: Any, told: str) -> None:
    warnings = check_identity(make(path), ORIN)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{path} has no sidecar: which GPU it was built for, which weights it was built from")
    assert warnings[0].endswith(told)


# The input


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(1, 3, 640, 640), (-1, 3, 640, 640), (-1, 3, -1, -1), (-1, -1, -1, -1)])
def test_the_input_that_was_built_is_taken(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    for engine in (ours(path), theirs(path), bare(path)):
        check_input(engine, shape, dtype)


def why_not(engine: EngineFile, shape: tuple[int, ...], dtype: str = "float32") -> str:
    with pytest.raises(BackendError) as caught:
        check_input(engine, shape, dtype)
    assert caught.value.cure
    return caught.value.what


@pytest.mark.parametrize("shape", [(1, 3, 320, 640), (1, 3, 640, 320), (4, 3, 640, 640)])
def test_another_input_than_the_sidecar_says_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    taken = " x ".join(map(str, shape))
    assert why_not(ours(path), shape) == f"{path} takes an input of {taken}, its sidecar says 1 x 3 x 640 x 640"


def test_another_input_than_the_header_says_is_refused(path: Path) -> None:
    engine = theirs(path, imgsz=[384, 640])
    check_input(engine, (1, 3, 384, 640), "float32")
    assert why_not(engine, (1, 3, 640, 384)) == (
        f"{path} takes an input of 1 x 3 x 640 x 384, its header says 1 x 3 x 384 x 640"
    )
    assert "its header says 1 x 3 x 320 x 320" in why_not(theirs(path, imgsz=320), (1, 3, 640, 640))
    assert "its header says 8 x 3 x 640 x 640" in why_not(theirs(path, batch=8), (1, 3, 640, 640))


@pytest.mark.parametrize("imgsz", ["640", [640], ["a", "x"], None, True, -640, [], {}, [0, 0]])
def test_a_size_in_a_header_that_is_none_says_nothing(path: Path, imgsz: object) -> None:
    check_input(theirs(path, imgsz=imgsz), (1, 3, 320, 320), "float32")


@pytest.mark.parametrize(
    "shape", [(), (3, 640, 640), (1, 3, 640, 640, 1), (1, 1, 640, 640), (1, 640, 640, 3), (1, 3, 0, 640), (1, 3, -2, 9)]
)
def test_an_input_that_takes_no_images_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    assert "not images (n x 3 x height x width)" in why_not(bare(path), shape)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float64", "bfloat16", ""])
def test_an_input_of_another_type_is_refused(path: Path, dtype: str) -> None:
    assert why_not(bare(path), (1, 3, 640, 640), dtype) == (
        f"{path} takes an input of {dtype}, not one of float32, float16"
    )


# Names and precision


def test_the_names_of_the_sidecar_come_first(path: Path) -> None:
    assert class_names(ours(path, class_names={0: "van"}), ["tram"]) == {0: "van"}
    assert class_names(ours(path, class_names={}), ["tram"]) == {0: "person", 2: "car"}


def test_then_the_names_of_the_header(path: Path) -> None:
    assert class_names(theirs(path), ["tram"]) == {0: "person", 2: "car"}
    assert class_names(theirs(path, names=["van", "tram"]), []) == {0: "van", 1: "tram"}
    assert list(class_names(theirs(path, names={"10": "b", "9": "a"}), [])) == [9, 10]


@pytest.mark.parametrize(
    "names", [None, {}, [], "car", {"a": "car"}, {"0": 7}, {"0": ""}, [3], {"0": "a\nb"}, {"-1": "x"}, {"²": "x"}]
)
def test_then_the_names_of_the_settings(path: Path, names: object) -> None:
    assert class_names(theirs(path, names=names), ["van", "tram"]) == {0: "van", 1: "tram"}


def test_names_that_mean_the_same_class_are_not_used(path: Path) -> None:
    assert class_names(theirs(path, names={"0": "car", "00": "bus"}), ["van"]) == {0: "van"}


def test_without_names_the_key_to_set_is_told(path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        class_names(bare(path), [])
    assert str(caught.value) == (
        f"{path} does not name its classes. List them, in the model's order, in the settings key model.names."
    )


@pytest.mark.parametrize(
    ("args", "precision"),
    [
        ({"half": False, "int8": True}, "int8"),
        ({"half": True, "int8": True}, "int8"),
        ({"half": True, "int8": False}, "fp16"),
        ({"half": False, "int8": False}, "fp32"),
        ({"half": False}, "fp32"),
        ({"quantize": 8}, "int8"),
        ({"quantize": 16}, "fp16"),
        ({"quantize": 32}, "fp32"),
        ({"quantize": None}, "fp32"),
        ({"quantize": "w8a16"}, "unknown"),
        ({"quantize": True}, "unknown"),
        ({"quantize": [8]}, "unknown"),
        ({"dynamic": True}, "unknown"),
        ({}, "unknown"),
        ("half", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_precision_of_a_header(path: Path, args: object, precision: str) -> None:
    assert precision_of(theirs(path, args=args)) == precision


def test_the_precision_of_a_sidecar_comes_first_and_a_bare_plan_has_none(path: Path) -> None:
    assert precision_of(bare(path)) == "unknown"
    assert precision_of(ours(path, precision="fp16")) == "fp16"


# Anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=8), values, max_size=4),
    max_leaves=12,
)


@given(
    metadata=st.dictionaries(st.sampled_from(["names", "imgsz", "batch", "channels", "args"]), json_values),
    args=st.dictionaries(st.sampled_from(["half", "int8", "quantize"]), json_values),
)
@within_tmp_path
def test_any_header_gives_an_answer_or_a_sentence(tmp_path: Path, metadata: dict[str, Any], args: Any) -> None:
    engine = theirs(tmp_path / "x.engine", **{"args": args, **metadata})
    assert len(check_identity(engine, ORIN)) == 1
    assert precision_of(engine) in ("int8", "fp16", "fp32", "unknown")
    names = class_names(engine, ["car"])
    assert names
    assert all(isinstance(name, str) and name for name in names.values())
    said = "its header says"
    try:
        check_input(engine, (1, 3, 640, 640), "float32")
    except BackendError as fault:
        said = str(fault)
    assert said.isprintable()
    assert "its header says" in said


@given(
    tensorrt=st.text(max_size=12) | st.from_regex(r"\d+\.\d+\.\d+", fullmatch=True),
    gpu_name=st.text(max_size=8),
    capability=st.text(max_size=5),
    cuda=st.none() | st.text(max_size=6),
)
@within_tmp_path
def test_any_machine_gives_an_answer_or_a_sentence(
    tmp_path: Path, tensorrt: str, gpu_name: str, capability: str, cuda: str | None
) -> None:
    engine = ours(tmp_path / "x.engine", builder={"hardware_compatibility": "ampere_plus"})
    machine = Machine(tensorrt, gpu_name, capability, cuda)
    try:
        warnings = check_identity(engine, machine)
    except BackendError:
        return
    assert len(warnings) <= 1
