"""Engine files: what is taken, and each misfit with its sentence and its cure."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.backends.tensorrt.described import read_described
from perception.backends.tensorrt.engine_file import MAX_HEADER_BYTES, open_engine
from perception.core.errors import BackendError
from perception.system import trusted_file
from tests.doubles.engine_files import ULTRALYTICS, install, plan, sidecar, taken_or_refused, with_header

REBUILD = trusted_file.REBUILD
within_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return tmp_path / "yolo11n.engine"


def refused(path: Path) -> BackendError:
    with pytest.raises(BackendError) as caught:
        open_engine(path)
    fault = caught.value
    assert fault.exit_code == 4
    assert fault.cure
    assert "\n" not in str(fault)
    return fault


# What is taken


def test_a_bare_plan_is_taken_with_its_version(engine: Path) -> None:
    engine.write_bytes(plan(version=(8, 6, 0)))
    file = open_engine(engine)
    assert (file.path, file.plan, dict(file.metadata)) == (engine, plan(version=(8, 6, 0)), {})
    assert (file.plan_version, file.sidecar, file.warnings) == ("8.6.0", None, ())


@pytest.mark.parametrize("padding", range(0, 512, 7))
def test_an_engine_of_ultralytics_is_taken_whatever_the_length_of_its_header(engine: Path, padding: int) -> None:
    metadata = {**ULTRALYTICS, "description": "x" * padding}
    engine.write_bytes(with_header(metadata, plan()))
    file = open_engine(engine)
    assert (dict(file.metadata), file.plan, file.plan_version) == (metadata, plan(), "10.3.0")
    assert file.warnings == ()


def test_a_header_whose_length_begins_with_a_brace_is_one(engine: Path) -> None:
    text = b'{"a": "' + b"x" * (0x27B - 9) + b'"}'
    assert len(text).to_bytes(4, "little").startswith(b"{")
    engine.write_bytes(with_header(text, plan()))
    assert "a" in open_engine(engine).metadata


def test_an_engine_with_its_sidecar_is_taken(engine: Path) -> None:
    data = with_header(ULTRALYTICS, plan())
    file = open_engine(install(engine, data))
    assert file.sidecar == sidecar(data)


def test_a_plan_of_another_kind_behind_a_header_is_taken_with_a_warning(engine: Path) -> None:
    engine.write_bytes(with_header(ULTRALYTICS, b"xyzw" + bytes(60)))
    file = open_engine(engine)
    assert (file.plan, file.plan_version) == (b"xyzw" + bytes(60), None)
    assert len(file.warnings) == 1
    assert "whether it is complete, and which TensorRT built it, could not be checked" in file.warnings[0]


@pytest.mark.parametrize("data", [plan(kind=1), plan(length=0), plan(length=31), plan(length=(1 << 40) + 1)])
def test_a_plan_whose_header_is_unknown_is_taken_with_a_warning(engine: Path, data: bytes) -> None:
    engine.write_bytes(data)
    file = open_engine(engine)
    assert file.plan_version is None
    assert len(file.warnings) == 1


@pytest.mark.parametrize("version", [(0, 0, 0), (7, 2, 3), (64, 0, 0), (255, 1, 1)])
def test_a_version_that_cannot_be_is_none(engine: Path, version: tuple[int, int, int]) -> None:
    engine.write_bytes(plan(version=version))
    assert open_engine(engine).plan_version is None


def test_links_are_followed_and_the_sidecar_of_either_end_is_found(engine: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    target = install(built / "2026-11-22.engine", plan())
    engine.symlink_to(target)
    assert open_engine(engine).sidecar == sidecar(plan())
    sidecar(plan(), gpu_name="beside the link").write(engine.with_suffix(".json"))
    beside = open_engine(engine).sidecar
    assert beside and beside.gpu_name == "beside the link"


def test_real_plans_are_taken(data: Path) -> None:
    for name in ("yolov8n_fp16.plan", "yolov8n_int8.plan"):
        path = data.parent / "gpu" / "plans" / name
        file = open_engine(path)
        assert (len(file.plan), file.plan_version, file.warnings) == (path.stat().st_size, "8.6.0", ())


# What is not a file, or not an engine


def test_a_missing_engine_is_named(engine: Path) -> None:
    assert str(refused(engine)) == f"{engine} does not exist. Give the path of an engine, or build one: {REBUILD}"


def test_a_link_to_nowhere_is_told_from_a_missing_file(engine: Path) -> None:
    engine.symlink_to("gone.engine")
    assert refused(engine).what == f"{engine} is a link to gone.engine, which does not exist"


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    assert refused(tmp_path).what == f"{tmp_path} is a folder, not a file"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refused(pipe).what.endswith("is a device, a pipe or a socket, not a file")
    assert refused(Path("/dev/zero")).what.endswith("is a device, a pipe or a socket, not a file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "s cannot be opened: " in refused(tmp_path / "s").what


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "yolo11n.engine/below"])
def test_a_name_that_cannot_be_opened_is_refused(engine: Path, name: str) -> None:
    engine.write_bytes(plan())
    assert "cannot be opened" in refused(engine.parent / name).what


def test_a_circle_of_links_is_refused(engine: Path) -> None:
    engine.symlink_to(engine)
    assert "Too many levels of symbolic links" in refused(engine).what


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"\xef\xbb\xbf\n<html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(60), "it is a zip archive, as .pt weights are"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "it is an ONNX model"),
        (b'{"schema": 1, "precision": "int8"}', "it is JSON"),
        (b'{"a{": {"b": 1}}', "it is JSON"),
        (b"[1, 2, 3]", "it is JSON"),
        (b"\x1f\x8b\x08\x00" + bytes(60), "it is a gzip archive"),
        (b"\x7fELF\x02\x01\x01", "it is a program or a library"),
        (b"TRT-8600-EntropyCalibration2\nimages: 3bf80000\n", "it is a calibration cache"),
        (bytes(4096), "it begins with zeros, as after a power cut"),
        (b"RIFF\x00\x00\x00\x00AVI \x1b[31m", "it begins with b'RIFF\\x00"),
        (b"\xff\xff\xff\xff{" + bytes(99), "it begins with b'\\xff\\xff\\xff\\xff{"),
        (with_header(b'{"stride": 32', plan()), "the header before its plan is not JSON"),
        (with_header(b'{"a": "\xff"}', plan()), "the header before its plan is not JSON"),
        (with_header(b'{"a": ' * 3000, plan()), "the header before its plan is not JSON"),
        (with_header(b"{} 7", plan()), "the header before its plan is not JSON"),
        (bytes(4) + b"{}" + plan(), "the header before its plan is not JSON"),
        (with_header({}, b"short"), "5 bytes after its header are no plan"),
    ],
)
def test_a_stranger_is_not_a_tensorrt_engine(engine: Path, data: bytes, what: str) -> None:
    engine.write_bytes(data)
    fault = refused(engine)
    assert fault.what.startswith(f"{engine} is not a TensorRT engine: {what}")
    assert fault.cure == f"Give the path of an engine, or build one: {REBUILD}"


# Cut off


def test_an_empty_file_is_called_empty(engine: Path) -> None:
    engine.touch()
    assert str(refused(engine)) == f"{engine} is empty. Copy it again in full, or rebuild it: {REBUILD}"


@pytest.mark.parametrize("data", [plan(), with_header(ULTRALYTICS, plan())])
def test_a_cut_file_is_called_truncated_wherever_it_was_cut(engine: Path, data: bytes) -> None:
    for size in [*range(5, len(data), 11), len(data) - 1]:
        engine.write_bytes(data[:size])
        assert refused(engine).what.startswith(f"{engine} is truncated: it holds {size} bytes and should hold at least")


def test_a_cut_file_is_told_with_both_lengths(engine: Path) -> None:
    engine.write_bytes(plan(1000)[:-1])
    assert str(refused(engine)) == (
        f"{engine} is truncated: it holds 999 bytes and should hold at least 1000. "
        f"Copy it again in full, or rebuild it: {REBUILD}"
    )


def test_a_cut_file_is_truncated_also_where_its_sidecar_disagrees(engine: Path) -> None:
    install(engine, plan())
    engine.write_bytes(plan()[:150])
    assert "is truncated" in refused(engine).what


@pytest.mark.parametrize("header", [b"", with_header({}, b"")])
def test_a_file_that_is_longer_than_its_plan_is_refused(engine: Path, header: bytes) -> None:
    engine.write_bytes(header + plan(200) + bytes(7))
    end = len(header) + 200
    assert refused(engine).what.startswith(f"{engine} holds {end + 7} bytes, and its plan ends at {end}: it was")


# Tampered


def test_a_changed_engine_is_refused_by_its_sidecar(engine: Path) -> None:
    data = install(engine, plan()).read_bytes()
    engine.write_bytes(data[:-1] + b"!")
    fault = refused(engine)
    assert fault.what.startswith(f"{engine} is not the file that its sidecar {engine.with_suffix('.json')} was written")
    assert f"delete {engine.with_suffix('.json')}; if not, do not run it. Rebuild it: {REBUILD}" in fault.cure


def test_a_broken_sidecar_is_refused(engine: Path) -> None:
    engine.write_bytes(plan())
    engine.with_suffix(".json").write_text("{")
    assert f"The sidecar {engine.with_suffix('.json')} is not JSON" in refused(engine).what


def test_a_file_that_changes_while_it_is_read_is_refused(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.write_bytes(plan())
    look = os.pread

    def look_and_change(descriptor: int, size: int, offset: int) -> bytes:
        start = look(descriptor, size, offset)
        with engine.open("ab") as file:
            file.write(b"more")
        return start

    monkeypatch.setattr(os, "pread", look_and_change)
    assert refused(engine).what == f"{engine} is being written right now"


# Memory


def peak_of(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("start", [b"", b"\xff\xff\xff\xff{", (MAX_HEADER_BYTES + 1).to_bytes(4, "little") + b"{"])
def test_a_giant_that_is_no_engine_is_refused_unread(engine: Path, start: bytes) -> None:
    with engine.open("wb") as file:
        file.write(start)
        file.truncate(1 << 36)
    assert peak_of(lambda: refused(engine)) < 1 << 20


@pytest.mark.parametrize("length", [1 << 20, MAX_HEADER_BYTES, 0x7FFFFFFF, 0xFFFFFFFF])
def test_the_length_of_a_header_allocates_nothing(engine: Path, length: int) -> None:
    engine.write_bytes(length.to_bytes(4, "little") + b'{"stride": 32}')
    assert peak_of(lambda: refused(engine)) < 1 << 20


def test_an_engine_larger_than_memory_is_refused(engine: Path) -> None:
    with engine.open("wb") as file:
        file.write(plan(length=1 << 32))
        file.truncate(1 << 32)
    script = (
        "import resource, sys, pathlib\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from perception.backends.tensorrt.engine_file import open_engine\n"
        "from perception.core.errors import BackendError\n"
        "try: open_engine(pathlib.Path(sys.argv[1]))\n"
        "except BackendError as fault: print(fault)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(engine)], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"{engine} does not fit into memory. "), done.stderr


def test_it_needs_the_standard_library_alone(engine: Path) -> None:
    install(engine, plan())
    root = Path(__file__).parents[3]
    needed = {
        ".": ["__init__"],
        "core": ["__init__", "errors", "layouts", "redact"],
        "system": ["__init__", "own_files", "plain_file", "trusted_file"],
        "backends": ["__init__"],
        "backends/tensorrt": ["__init__", "engine_file", "described", "sidecar", "identity"],
    }
    for room, names in needed.items():
        (engine.parent / "perception" / room).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(root / f"perception/{room}/{name}.py", engine.parent / f"perception/{room}")
    script = (
        "import sys, pathlib\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import perception.backends.tensorrt.identity as i, perception.backends.tensorrt.engine_file as e\n"
        "print(i.precision_of(e.open_engine(pathlib.Path(sys.argv[2]))))\n"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(engine.parent), str(engine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "int8\n", done.stderr


# Anything at all


@given(data=st.binary(max_size=300))
@within_tmp_path
def test_any_bytes_are_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    file = taken_or_refused(open_engine, tmp_path / "x.engine", data)
    assert file is None or data.startswith(b"ftrt")


@given(data=st.binary(max_size=300))
@within_tmp_path
def test_any_plan_with_the_tag_is_taken_whole_or_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    file = taken_or_refused(open_engine, tmp_path / "x.engine", b"ftrt" + data)
    assert file is None or file.plan == b"ftrt" + data


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=8), values, max_size=4),
    max_leaves=12,
)


@given(metadata=st.dictionaries(st.text(max_size=8), json_values, max_size=5))
@within_tmp_path
def test_any_header_in_json_is_taken(tmp_path: Path, metadata: dict[str, object]) -> None:
    file = taken_or_refused(open_engine, tmp_path / "x.engine", with_header(metadata, plan()))
    assert file is not None
    assert file.plan == plan()
    assert repr(dict(file.metadata)) == repr(metadata)


@given(
    base=st.sampled_from([plan(64), with_header(ULTRALYTICS, plan(64)), with_header({}, plan(64))]),
    changes=st.lists(st.tuples(st.integers(0, 99), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
    cut=st.integers(0, 400),
)
@within_tmp_path
def test_a_mutated_engine_is_taken_or_refused_in_a_sentence(
    tmp_path: Path, base: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(base)
    for place, new in changes:
        data[place : place + len(new)] = new
    data = data[: cut or None]
    file = taken_or_refused(open_engine, tmp_path / "x.engine", bytes(data))
    assert file is None or data.endswith(file.plan)


@given(place=st.integers(0, 199), bit=st.integers(0, 7))
@within_tmp_path
def test_no_single_bit_can_change_under_a_sidecar(tmp_path: Path, place: int, bit: int) -> None:
    path = install(tmp_path / "x.engine", plan(200))
    data = bytearray(plan(200))
    data[place] ^= 1 << bit
    assert taken_or_refused(open_engine, path, bytes(data)) is None


def test_an_engine_that_is_replaced_while_it_is_read_is_read_again(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exports in a row: the sidecar knows the engine before it, but not the one before that."""
    install(engine, plan(300))
    newer = install(tmp_path / "newer.engine", plan(500))

    def replace_and_read(place: Path) -> object:
        if newer.exists():
            newer.replace(engine)
            newer.with_suffix(".json").replace(place)
        return read_described(place)

    monkeypatch.setattr("perception.backends.tensorrt.engine_file.read_described", replace_and_read)
    assert len(open_engine(engine).plan) == 500


def test_an_engine_that_goes_while_it_is_read_is_refused(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(engine, plan(300))
    sidecar(plan(400)).write(engine.with_suffix(".json"))

    def remove_and_read(place: Path) -> object:
        engine.unlink()
        return read_described(place)

    monkeypatch.setattr("perception.backends.tensorrt.engine_file.read_described", remove_and_read)
    assert "is not the file that its sidecar" in str(refused(engine))
