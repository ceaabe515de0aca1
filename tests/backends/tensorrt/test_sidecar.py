"""Sidecars: written whole, read back equal, and each broken one refused by the name of its key."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.backends.tensorrt.sidecar import MAX_BYTES, read_sidecar, sidecar_path
from perception.core.errors import BackendError
from perception.system import trusted_file
from tests.doubles.engine_files import sidecar, taken_or_refused
from tests.small_disk import small_disk

CURE = f"Rebuild the engine with it: {trusted_file.REBUILD}"
within_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "yolo11n.json"


def values() -> dict[str, Any]:
    found = json.loads(sidecar().to_json())
    assert isinstance(found, dict)
    return found


def refused(path: Path) -> str:
    with pytest.raises(BackendError) as caught:
        read_sidecar(path)
    fault = caught.value
    assert fault.exit_code == 4
    assert str(fault).isprintable()
    assert fault.what.startswith(f"The sidecar {path} ")
    assert fault.cure == CURE
    return fault.what.removeprefix(f"The sidecar {path} ")


def test_what_was_written_is_read_back(path: Path) -> None:
    sidecar().write(path)
    assert read_sidecar(path) == sidecar()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_what_is_unknown_is_written_as_null_and_read_back(path: Path) -> None:
    bare = sidecar(weights_sha256=None, cuda_version=None, l4t_release=None, calibration=None, accuracy=None)
    bare.write(path)
    assert read_sidecar(path) == bare
    assert json.loads(path.read_text())["calibration"] is None


def test_the_file_holds_every_key_of_the_schema() -> None:
    written = values()
    assert written["schema"] == 1
    assert written["class_names"] == {"0": "person", "2": "car"}
    assert set(written["calibration"]) == {"images", "manifest_sha256", "algorithm", "preprocess_version"}
    assert set(written) == {
        *("schema", "created_at", "weights_sha256", "onnx_sha256", "precision", "input_shape", "class_names"),
        *("tensorrt_version", "cuda_version", "gpu_name", "compute_capability", "l4t_release", "builder"),
        *("calibration", "accuracy", "engine_sha256", "layout"),
    }


def test_a_dynamic_engine_has_sizes_of_minus_one(path: Path) -> None:
    dynamic = sidecar(input_shape=(-1, 3, -1, -1))
    dynamic.write(path)
    assert read_sidecar(path) == dynamic


def test_there_may_be_none(path: Path) -> None:
    assert read_sidecar(path) is None


def test_its_place_is_beside_the_engine() -> None:
    assert sidecar_path(Path("engines/yolo11n.engine")) == Path("engines/yolo11n.json")
    assert sidecar_path(Path("v8n.int8.plan")) == Path("v8n.int8.json")


def test_unknown_keys_are_left_out(path: Path) -> None:
    with_more = {**values(), "weather": "rain"}
    with_more["calibration"]["seed"] = 3
    path.write_text(json.dumps(with_more))
    assert read_sidecar(path) == sidecar()


def test_a_byte_order_mark_and_a_z_are_read(path: Path) -> None:
    path.write_text("\ufeff" + json.dumps({**values(), "created_at": "2026-11-22T07:00:00Z"}), encoding="utf-8")
    found = read_sidecar(path)
    assert found and found.created_at == "2026-11-22T07:00:00Z"


def test_what_was_read_cannot_be_changed(path: Path) -> None:
    sidecar().write(path)
    found = read_sidecar(path)
    assert found
    assert isinstance(found.builder, MappingProxyType)
    assert isinstance(found.class_names, MappingProxyType)
    assert isinstance(found.accuracy, MappingProxyType)


# Broken files


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is not JSON: Expecting value at line 1"),
        (b"{", "is not JSON: Expecting property name enclosed in double quotes at line 1"),
        (b"ftrt" + bytes(99), "is not JSON: Expecting value at line 1"),
        (b'{"a": "\xff"}', "is not text in UTF-8"),
        (b"[]", "cannot be used: it does not hold an object"),
        (b"7", "cannot be used: it does not hold an object"),
        (b"{}", "cannot be used: it is of schema None, and this version knows 1"),
        (b'{"schema": 2}', "cannot be used: it is of schema 2, and this version knows 1"),
        (b'{"schema": true}', "cannot be used: it is of schema True, and this version knows 1"),
        (b'{"schema": "1"}', "cannot be used: it is of schema '1', and this version knows 1"),
        (b'{"schema": 1}', "cannot be used: it lacks created_at"),
        (b'{"schema": NaN}', "cannot be used: it holds NaN, which is no number"),
        (b'{"schema": -Infinity}', "cannot be used: it holds -Infinity, which is no number"),
        (b'{"schema": 1e999}', "cannot be used: it holds '1e999', which is too large a number"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"{}" + b" " * MAX_BYTES, f"is larger than {MAX_BYTES} bytes and no sidecar of an engine"),
    ],
)
def test_a_broken_file_is_refused(path: Path, data: bytes, what: str) -> None:
    path.write_bytes(data)
    assert refused(path) == what


def test_a_giant_number_is_refused(path: Path) -> None:
    path.write_text(json.dumps(values()).replace('"images": 500', '"images": -1' + "0" * 9000))
    assert len(refused(path)) < 300


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("schema", 1.0),
        ("created_at", "yesterday"),
        ("created_at", "2026-11-22T07:00:00"),
        ("created_at", "2026-11-22T07:00:00+01:00"),
        ("created_at", 1),
        ("weights_sha256", "A" * 64),
        ("weights_sha256", ["a" * 64]),
        ("onnx_sha256", None),
        ("onnx_sha256", "a" * 63),
        ("precision", "bf16"),
        ("layout", "yolo"),
        ("layout", ["raw"]),
        ("layout", 1),
        ("precision", ["int8"]),
        ("precision", None),
        ("input_shape", [1, 3, 640]),
        ("input_shape", [1, 3, 640, 0]),
        ("input_shape", [1, 3, 640, -2]),
        ("input_shape", [1, 3, 640, True]),
        ("input_shape", [1, 3, 640, 1 << 31]),
        ("input_shape", [1, 3, 640, 640.0]),
        ("input_shape", "1x3x640x640"),
        ("class_names", ["person", "car"]),
        ("class_names", {"0": 7}),
        ("class_names", {"0": "two\nlines"}),
        ("class_names", {"0": "\ud800"}),
        ("class_names", {"-1": "car"}),
        ("class_names", {"00": "car"}),
        ("class_names", {"٣": "car"}),
        ("class_names", {"9999999": "car"}),
        ("tensorrt_version", "10.3"),
        ("tensorrt_version", 10.3),
        ("tensorrt_version", "10.3.0\x1b[31m"),
        ("tensorrt_version", "1" * 5000 + ".0.0"),
        ("cuda_version", 12.6),
        ("gpu_name", ""),
        ("gpu_name", "a\nb"),
        ("gpu_name", None),
        ("compute_capability", "sm_87"),
        ("compute_capability", 8.7),
        ("l4t_release", 36),
        ("builder", None),
        ("builder", []),
        ("calibration", "yes"),
        ("calibration", []),
        ("accuracy", 0.97),
        ("engine_sha256", None),
        ("engine_sha256", "../../etc/passwd"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(path: Path, key: str, wrong: object) -> None:
    path.write_text(json.dumps({**values(), key: wrong}))
    said = refused(path)
    assert said.startswith("cannot be used: ")
    assert key in said
    assert len(said) < 250


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("images", -1), ("images", 5.5), ("images", True), ("manifest_sha256", ""), ("algorithm", 2), ("algorithm", "")],
)
def test_a_wrong_value_of_the_calibration_is_refused_by_its_key(path: Path, key: str, wrong: object) -> None:
    broken = values()
    broken["calibration"][key] = wrong
    path.write_text(json.dumps(broken))
    assert refused(path).startswith(f"cannot be used: calibration.{key} must be ")


@pytest.mark.parametrize("key", sorted(set(values()) - {"layout"}))
def test_a_missing_key_is_named(path: Path, key: str) -> None:
    path.write_text(json.dumps({name: value for name, value in values().items() if name != key}))
    assert refused(path).startswith("cannot be used: ")
    assert key in refused(path)


def test_one_of_a_time_without_layouts_is_read(path: Path) -> None:
    path.write_text(json.dumps({name: value for name, value in values().items() if name != "layout"}))
    assert read_sidecar(path) == sidecar()


def test_what_is_no_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(BackendError, match=r"yolo11n\.json is a folder, not a file"):
        read_sidecar(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(BackendError, match="a device, a pipe or a socket"):
        read_sidecar(path)
    path.unlink()
    path.symlink_to("gone.json")
    with pytest.raises(BackendError, match=r"is a link to gone\.json, which does not exist"):
        read_sidecar(path)


def test_a_sidecar_that_cannot_be_read_is_refused(path: Path) -> None:
    path.symlink_to("/proc/self/mem")  # it opens, and gives nothing at its start, to root as well
    assert refused(path) == "cannot be read: Input/output error"


# Writing


@pytest.mark.parametrize(
    "changes", [{"precision": "int4"}, {"input_shape": [1, 3, 640, 640]}, {"class_names": {"0": "car"}}, {"schema": 2}]
)
def test_a_wrong_value_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(changes))} must be "):
        sidecar(**changes)


def test_a_number_that_json_lacks_cannot_be_written(path: Path) -> None:
    with pytest.raises(ValueError):
        sidecar(accuracy={"recall": float("nan")}).write(path)
    assert not path.exists()


def test_the_old_one_is_replaced_whole(path: Path) -> None:
    sidecar().write(path)
    with path.open() as reader:
        replace(sidecar(), gpu_name="Thor").write(path)
        assert reader.read() == sidecar().to_json()
    found = read_sidecar(path)
    assert found and found.gpu_name == "Thor"


def test_a_folder_that_is_missing_is_named(path: Path) -> None:
    with pytest.raises(BackendError, match=r"cannot be written: No such file or directory\. Make room"):
        sidecar().write(path.parent / "gone" / "m.json")
    path.mkdir()
    with pytest.raises(BackendError, match=r"yolo11n\.json cannot be written: "):
        sidecar().write(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "m.json"
        sidecar().write(path)
        filler = disk.fill()
        with pytest.raises(BackendError, match=r"m\.json cannot be written: No space left on device\. Make room"):
            sidecar(gpu_name="Thor").write(path)
        assert read_sidecar(path) == sidecar()
        assert set(disk.path.iterdir()) == {path, filler}


# Anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(data=st.binary(max_size=200))
@within_tmp_path
def test_any_bytes_are_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    assert taken_or_refused(read_sidecar, tmp_path / "m.json", data) is None


@given(changes=st.dictionaries(st.sampled_from(sorted(values())), json_values, min_size=1, max_size=3))
@within_tmp_path
def test_any_value_is_taken_or_refused_in_a_sentence(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "m.json"
    found = taken_or_refused(read_sidecar, path, json.dumps({**values(), **changes}).encode())
    if found:  # then it is a sidecar like any other
        found.write(path)
        assert read_sidecar(path) == found


@given(place=st.integers(0, 1200), new=st.binary(min_size=1, max_size=6))
@within_tmp_path
def test_a_mutated_sidecar_is_taken_or_refused_in_a_sentence(tmp_path: Path, place: int, new: bytes) -> None:
    data = bytearray(sidecar().to_json().encode())
    data[place : place + len(new)] = new
    found = taken_or_refused(read_sidecar, tmp_path / "m.json", bytes(data))
    assert found is None or found.schema == 1
