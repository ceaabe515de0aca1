"""Finding a model's files, and refusing those that are not of the kind their name says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from perception.backends.models.model_files import OFFICIAL_SHA256, ModelFiles, check_kind, find_model
from perception.core.errors import BackendError
from tests.doubles import tiny_model

PT = b"PK\x03\x04 and so on"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's root with models/ and engines/, and a current directory elsewhere."""
    for folder in ("root/models", "root/engines", "here"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "root"


def find(root: Path, name: str) -> ModelFiles:
    return find_model(name, root, root / "engines")


def pt(path: Path) -> Path:
    path.write_bytes(PT)
    return path


def test_a_name_is_looked_for_here_then_in_models_then_beside_the_pilot(root: Path) -> None:
    beside = pt(root / "m.pt")
    assert find(root, "m.pt").pt == beside
    in_models = pt(root / "models" / "m.pt")
    assert find(root, "m.pt").pt == in_models
    pt(Path("m.pt"))
    assert find(root, "m.pt").pt == Path("m.pt")


def test_a_path_is_looked_for_where_it_says_alone(root: Path, tmp_path: Path) -> None:
    pt(root / "m.pt")
    with pytest.raises(BackendError, match=r"sub/m\.pt was not found \(looked at sub/m\.pt\)"):
        find(root, "sub/m.pt")
    with pytest.raises(BackendError, match="was not found"):
        find(root, str(tmp_path / "m.pt"))
    assert find(root, str(root / "m.pt")).pt == root / "m.pt"


def test_the_other_kind_of_weights_is_found_beside_it(root: Path) -> None:
    onnx = tiny_model.build(root / "models" / "m.onnx")
    files = find(root, "m.pt")
    assert (files.pt, files.onnx, files.named, files.weights) == (None, onnx, None, (onnx,))
    weights = pt(root / "m2.pt")
    assert find(root, "m2.onnx").weights == (weights,)


def test_the_weights_that_were_named_come_first(root: Path) -> None:
    weights, onnx = pt(root / "m.pt"), tiny_model.build(root / "m.onnx")
    assert find(root, "m.pt").weights == (weights, onnx)
    assert find(root, "m.onnx").weights == (onnx, weights)


def test_the_engine_of_the_same_stem_is_found(root: Path) -> None:
    engine = root / "engines" / "m.engine"
    engine.touch()
    files = find(root, "m.pt")
    assert (files.engine, files.stem, files.weights) == (engine, "m", ())


def test_an_engine_that_is_named_is_the_one(root: Path, tmp_path: Path) -> None:
    (root / "engines" / "m.engine").touch()
    other = tmp_path / "here" / "m.engine"
    other.touch()
    assert find(root, str(other)).engine == other
    assert find(root, "m.engine").engine == Path("m.engine")
    other.unlink()
    assert find(root, "m.engine").named == root / "engines" / "m.engine"


def test_an_engine_keeps_its_weights_to_fall_back_on(root: Path) -> None:
    (root / "engines" / "m.engine").touch()
    weights = pt(root / "models" / "m.pt")
    assert find(root, "m.engine").weights == (weights,)


@pytest.mark.parametrize("name", ["yolo11n", "clip.mp4", "m.tflite", "", ".", "m.ONNX"])
def test_a_name_of_another_kind_is_refused_with_what_is_allowed(root: Path, name: str) -> None:
    with pytest.raises(BackendError, match=r"ends in \.pt, \.onnx or \.engine"):
        find(root, name)


@pytest.mark.parametrize("name", ["yolo11n.pt", "yolo11n.onnx", "sub/yolov8n.pt"])
def test_missing_official_weights_come_with_the_command_that_gets_and_checks_them(root: Path, name: str) -> None:
    with pytest.raises(BackendError) as caught:
        find(root, name)
    official = Path(name).with_suffix(".pt").name
    assert str(caught.value).startswith(f"{name} was not found (looked at ")
    assert re.search(
        rf"curl -fL -o {official} https://github\.com/ultralytics/assets/\S+/{official} ", str(caught.value)
    )
    assert f"echo '{OFFICIAL_SHA256[official]}  {official}' | sha256sum -c" in caught.value.cure
    assert "\n" not in str(caught.value)


def test_missing_weights_of_ones_own_come_without_a_download(root: Path) -> None:
    with pytest.raises(BackendError) as caught:
        find(root, "mine.pt")
    looked = f"mine.pt, {root}/models/mine.pt, {root}/mine.pt"
    assert (
        str(caught.value) == f"mine.pt was not found (looked at {looked}). Give the path of your weights with --model."
    )


def test_the_official_hash_is_that_of_the_real_file(data: Path) -> None:
    weights = data / "weights" / "yolov8n.pt"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == OFFICIAL_SHA256["yolov8n.pt"]


def test_a_folder_is_no_model(root: Path) -> None:
    (root / "m.pt").mkdir()
    with pytest.raises(BackendError, match="was not found"):
        find(root, "m.pt")


def test_a_path_that_cannot_be_looked_at_is_named(root: Path) -> None:
    with pytest.raises(BackendError, match="cannot be looked at: File name too long"):
        find(root, "m" * 300 + ".pt")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.pt", b"", "m.pt is not PyTorch weights (a zip archive): it is empty"),
        ("m.pt", LFS, "m.pt is not PyTorch weights (a zip archive): it is a pointer of Git LFS, whose file was not"),
        ("m.pt", b"\n <!DOCTYPE html>", "m.pt is not PyTorch weights (a zip archive): it is a web page"),
        ("m.pt", b"\x08\x08 an onnx", "m.pt is not PyTorch weights (a zip archive). Give the path"),
        ("yolo11n.pt", b"", "yolo11n.pt is not PyTorch weights (a zip archive): it is empty. Download it: curl"),
        ("m.onnx", b"", "m.onnx is not an ONNX model (a protobuf): it is empty. Export it again from its .pt."),
        ("m.onnx", PT, "m.onnx is not an ONNX model (a protobuf). Export"),
        ("m.onnx", LFS, "m.onnx is not an ONNX model (a protobuf): it is a pointer of Git LFS"),
        ("m.onnx", b"<html>" * 9, "m.onnx is not an ONNX model (a protobuf): it is a web page"),
        ("m.onnx", b"ftrt" + b"\0" * 40, "m.onnx is not an ONNX model (a protobuf)"),
        ("m.onnx", b"\x08", "m.onnx is not an ONNX model (a protobuf)"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(root: Path, name: str, content: bytes, said: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(BackendError) as caught:
        find(root, name)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 4


def test_broken_weights_that_nobody_named_are_passed_over_with_a_warning(root: Path, logged: list[str]) -> None:
    onnx = tiny_model.build(root / "m.onnx")
    (root / "m.pt").write_bytes(LFS)
    files = find(root, "m.onnx")
    assert (files.pt, files.onnx) == (None, onnx)
    assert len(logged) == 1
    assert logged[0].startswith(f"WARNING {root}/m.pt is not PyTorch weights")
    assert logged[0].endswith(": passed over")


def test_broken_weights_are_refused_where_nothing_else_is_left(root: Path) -> None:
    (root / "m.pt").write_bytes(LFS)
    with pytest.raises(BackendError, match="pointer of Git LFS"):
        find(root, "m.onnx")


def test_real_weights_of_both_kinds_are_taken(data: Path) -> None:
    for name in ("yolov8n.pt", "yolov8n.onnx", "yolo11n_rebuilt.pt"):
        assert find_model(str(data / "weights" / name), data, data).named == data / "weights" / name


def test_models_whose_producer_writes_its_fields_in_another_order_are_taken(tmp_path: Path) -> None:
    import onnx

    whole = onnx.load(tiny_model.build(tmp_path / "m.onnx"))
    for field in ("ir_version", "producer_name", "graph", "opset_import"):
        part = onnx.ModelProto()
        part.producer_name, part.ir_version = "someone", 9
        kept = {"ir_version": whole.ir_version, "producer_name": "someone"}
        first = onnx.ModelProto(**{field: kept.get(field, getattr(whole, field))})
        path = tmp_path / f"{field}.onnx"
        path.write_bytes(first.SerializeToString() + whole.SerializeToString())
        check_kind(path)
        assert onnx.load(path).graph.node


def test_weights_that_cannot_be_read_are_named_with_the_cure(tmp_path: Path) -> None:
    weights = tmp_path / "m.pt"
    weights.symlink_to("/proc/self/mem")  # it opens, and gives nothing at its start, to root as well
    with pytest.raises(BackendError, match=rf"{weights} cannot be read: .*chmod a\+r {weights}"):
        check_kind(weights)
