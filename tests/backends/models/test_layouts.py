"""Every layout of output: found out or asked for, through an .onnx and through an .engine, on pictures of any shape."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from detector_service import open_service
from perception.backends.gpu import kernels
from perception.backends.models import choice, decision
from perception.core.detections import Detections
from perception.core.errors import BackendError
from perception.core.frame import Frame
from perception.core.layouts import LAYOUTS
from perception.settings.model import EngineSettings, LayoutName, ModelSettings, Settings
from tests.doubles.emulated_gpu import BINARY, Device
from tests.doubles.engine_files import sidecar, with_header
from tests.doubles.fake_tensorrt import make_plan
from tests.doubles.output_layouts import BOXES, INPUT_HW, ONCE, table, write

TWO = {0: "car", 1: "truck"}
COUNTS = (1, 2, 5, 80)
PICTURES = ((320, 512), (720, 1280), (600, 300))
"""Height and width of a picture that is the input, of one as wide as a camera's, of a tall one."""

Opener = Callable[..., Settings]


def names_of(count: int) -> dict[int, str]:
    return {number: name for number, name in enumerate(("car", "truck", *(f"thing {n}" for n in range(2, count))))
            if number < count}  # fmt: skip


def settings(path: Path, **model: Any) -> Settings:
    return Settings(
        model=ModelSettings(weights=str(path), **model),
        engine=EngineSettings(dir=path.parent, require=path.suffix == ".engine"),
        allow_cpu=True,
    )


@pytest.fixture(params=[".onnx", pytest.param(".engine", marks=pytest.mark.needs("g++"))])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Writes a model of a constant output and gives the settings that open it, as the file or as an engine of it."""
    kind = request.param
    if kind == ".engine":
        request.getfixturevalue("device")
        request.getfixturevalue("tensorrt")
        request.getfixturevalue("monkeypatch").setattr(kernels, "_build", lambda architecture: BINARY)
    tmp_path.chmod(0o755)

    def make(output: npt.NDArray[Any], names: Any = None, *, said: dict[str, Any] | None = None, hw: Any = INPUT_HW,
             **metadata: Any) -> Settings:  # fmt: skip
        onnx = write(tmp_path / "m.onnx", output, names, hw, **metadata)
        if kind == ".onnx":
            return settings(onnx, **(said or {}))
        header = {**({} if names is None else {"names": {str(key): name for key, name in names.items()}}), **metadata}
        path = onnx.with_suffix(".engine")
        path.write_bytes(with_header(header, make_plan(onnx)))
        return settings(path, **(said or {}))

    return make


def found_by(wanted: Settings, hw: tuple[int, int]) -> tuple[str, Detections]:
    with open_service(wanted) as service:
        return service.info.layout, service.detect([Frame(np.zeros((*hw, 3), np.uint8), 0, 0.0, "test")])[0].detections


def expected(layout: str, hw: tuple[int, int]) -> Any:
    """The vehicles in a picture of that size, best first: placed by hand, not by the code under test."""
    boxes = BOXES[list(ONCE)]
    if LAYOUTS[layout].preprocessing == "stretch":
        return boxes * np.array([hw[1] / INPUT_HW[1], hw[0] / INPUT_HW[0]] * 2)
    ratio = min(INPUT_HW[0] / hw[0], INPUT_HW[1] / hw[1])
    scaled = [round(side * ratio) for side in hw]
    top, left = (round((whole - side) / 2 - 0.1) for whole, side in zip(INPUT_HW, scaled))
    placed = (boxes - np.array([left, top] * 2)) / np.array([scaled[1] / hw[1], scaled[0] / hw[0]] * 2)
    return np.clip(placed, 0, np.array([hw[1], hw[0]] * 2))


@pytest.mark.parametrize("hw", PICTURES, ids=["as the input", "wide", "tall"])
@pytest.mark.parametrize("classes", COUNTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_found_out_and_its_vehicles_lie_where_they_are(
    opener: Opener, layout: str, classes: int, hw: tuple[int, int]
) -> None:
    chosen, vehicles = found_by(opener(table(layout, classes), names_of(classes)), hw)
    assert chosen == layout
    np.testing.assert_allclose(vehicles.xyxy, expected(layout, hw), atol=0.1)
    assert vehicles.class_id.tolist() == [0, min(classes - 1, 1)]
    factor = 0.99 if layout == "yolov5" else 1
    np.testing.assert_allclose(vehicles.confidence, [0.9 * factor, 0.7 * factor], atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_is_asked_for_is_taken(opener: Opener, layout: str, logged: list[str]) -> None:
    chosen, vehicles = found_by(opener(table(layout, 2), TWO, said={"layout": layout}), (720, 1280))
    assert chosen == layout
    np.testing.assert_allclose(vehicles.xyxy, expected(layout, (720, 1280)), atol=0.1)
    assert any(f"layout {layout}" in line for line in logged if "Serving with" in line)


def test_the_setting_knows_each_layout() -> None:
    assert get_args(LayoutName) == tuple(LAYOUTS)


@pytest.mark.parametrize("layout", ["raw_transposed", "yolov5", "deepstream", "rtdetr", "rtdetr_scores"])
def test_what_the_kernels_do_not_decode_is_decoded_on_the_cpu_and_said(
    device: Device, tensorrt: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str],
    layout: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(kernels, "_build", lambda architecture: BINARY)
    tmp_path.chmod(0o755)
    onnx = write(tmp_path / "m.onnx", table(layout, 5))
    path = onnx.with_suffix(".engine")
    path.write_bytes(with_header({"names": {str(key): name for key, name in names_of(5).items()}}, make_plan(onnx)))
    assert len(found_by(settings(path), (64, 64))[1]) == 2
    (start,) = (line for line in logged if "Serving with" in line)
    assert f"layout {layout}, preprocess and decode on the CPU" in start
    assert any(f"the kernels do not decode {layout}" in line for line in logged if line.startswith("WARNING"))


# What the metadata says


@pytest.mark.parametrize("told", [{"end2end": "True"}, {"args": "{'nms': True, 'batch': 1}"}])
def test_what_a_file_says_to_be_suppressed_is_left_alone_though_it_overlaps(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    """A network that was trained to give each vehicle once may give two that overlap: they are two."""
    chosen, vehicles = found_by(settings(write(tmp_path / "m.onnx", table("deepstream", 2), TWO, **told)), (320, 512))
    assert (chosen, len(vehicles)) == ("end_to_end", 3)


@pytest.mark.parametrize("layout", ["rtdetr", "rtdetr_scores"])
@pytest.mark.parametrize("told", [{"head": "RTDETRDecoder", "end2end": "False"}, {"head": "RTDETRDecoder"}, {}])
def test_the_head_that_a_file_names_counts(tmp_path: Path, layout: str, told: dict[str, Any]) -> None:
    assert found_by(settings(write(tmp_path / "m.onnx", table(layout, 2), TWO, **told)), (99, 70))[0] == layout


def test_metadata_that_the_values_contradict_is_told_and_does_not_count(tmp_path: Path, logged: list[str]) -> None:
    path = write(tmp_path / "m.onnx", table("raw_transposed", 2), TWO, end2end="True")
    assert found_by(settings(path), (320, 512))[0] == "raw_transposed"
    assert any("says that it suppresses overlaps itself, and its values do not" in line for line in logged)


def test_rows_as_many_as_a_raw_head_has_numbers_are_rows(opener: Opener) -> None:
    for layout in ("end_to_end", "deepstream", "rtdetr"):
        wanted = opener(table(layout, 46, rows=50), names_of(46))
        assert found_by(wanted, (320, 512))[0] == layout


# Ids as the file numbers them


@pytest.mark.parametrize(
    "names", [{1: "car", 2: "truck"}, {3: "car", 7: "truck"}, {0: "car", 4: "truck"}]
)  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_class_ids_are_those_of_the_file(opener: Opener, layout: str, names: dict[int, str]) -> None:
    wanted, ids = opener(table(layout, 2), names), list(names)
    with open_service(wanted) as service:
        found = service.detect([Frame(np.zeros((320, 512, 3), np.uint8), 0, 0.0, "test")])[0].detections
        assert found.class_id.tolist() == ids
        assert [service.info.class_names[number] for number in ids] == ["car", "truck"]
        service.apply(wanted.model_copy(update={"classes": ("truck",)}))
        again = service.detect([Frame(np.zeros((320, 512, 3), np.uint8), 1, 0.0, "test")])[0].detections
        assert again.class_id.tolist() == ids[1:]


def by_id(layout: str, names: dict[int, str]) -> npt.NDArray[Any]:
    """An output that has a place for each id up to the largest."""
    first, second = names
    made = table(layout, 2)
    if LAYOUTS[layout].tail == "label":
        made[0, made[0, :, 4] > 0, 5] = np.where(made[0, made[0, :, 4] > 0, 5] == 0, first, second)
        return made
    tall = made if layout != "raw" else made.transpose(0, 2, 1)
    start = 5 if layout == "yolov5" else 4
    wide = np.zeros((*tall.shape[:2], start + max(names) + 1), np.float32)
    wide[..., :start] = tall[..., :start]
    wide[..., start + first], wide[..., start + second] = tall[..., start], tall[..., start + 1]
    return np.ascontiguousarray(wide.transpose(0, 2, 1)) if layout == "raw" else wide


@pytest.mark.parametrize("names", [{1: "car", 2: "truck"}, {3: "car", 7: "truck"}])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_output_that_counts_by_ids_is_known_by_its_shape_or_its_labels(
    opener: Opener, layout: str, names: dict[int, str]
) -> None:
    chosen, vehicles = found_by(opener(by_id(layout, names), names), (320, 512))
    assert (chosen, vehicles.class_id.tolist()) == (layout, list(names))


def test_labels_that_could_be_either_are_asked_for(opener: Opener) -> None:
    made = table("end_to_end", 2)
    made[0, :, 5] = (made[0, :, 4] > 0) * 1
    with pytest.raises(BackendError, match=r"numbers its classes not from 0 on.*model\.names") as caught:
        found_by(opener(made, {1: "car", 2: "truck"}), (320, 512))
    assert caught.value.exit_code == 4


def test_names_of_the_settings_go_before_ids_that_do_not_begin_at_0(opener: Opener) -> None:
    made = table("end_to_end", 2)
    made[0, :, 5] = (made[0, :, 4] > 0) * 1
    wanted = opener(made, {1: "car", 2: "truck"}, said={"names": ("car", "truck")})
    _, vehicles = found_by(wanted, (320, 512))
    assert vehicles.class_id.tolist() == [1, 1]


# What does not show is asked for, and what is no detector is refused


def refusal(path: Path, **model: Any) -> str:
    with pytest.raises(BackendError) as caught:
        found_by(settings(path, **model), (320, 512))
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert text.isprintable()
    assert len(text) < 2000
    return text


def test_an_output_that_shows_nothing_is_not_guessed(tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "m.onnx", np.zeros((1, 100, 6)), TWO))
    assert "model.layout" in said
    for layout in ("raw_transposed", "end_to_end", "deepstream", "rtdetr", "rtdetr_scores"):
        assert f"{layout}: " in said


def test_a_layout_that_does_not_fit_the_shape_is_refused_with_those_that_do(tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "m.onnx", table("raw", 5), names_of(5)), layout="yolov5")
    assert "The layout yolov5 (model.layout) of 5 classes has shape (batch, n, 10)" in said
    assert "one that fits (raw)" in said


def test_a_layout_that_the_values_contradict_is_taken_and_told(tmp_path: Path, logged: list[str]) -> None:
    path = write(tmp_path / "m.onnx", table("deepstream", 2), TWO)
    found_by(settings(path, layout="rtdetr"), (320, 512))
    assert any("no shares of the input (rtdetr, as model.layout says" in line for line in logged)


def undecoded() -> npt.NDArray[np.float32]:
    """As YOLOX gives it: offsets in a cell, logarithms of sizes, objectness, scores."""
    made = np.random.default_rng(0).normal(0, 1, (1, 100, 7)).astype(np.float32)
    made[..., 4:] = 1 / (1 + np.exp(-made[..., 4:]))
    return made


def yolox() -> npt.NDArray[np.float32]:
    """YOLOX with its boxes decoded: one box for each cell of three levels."""
    return table("yolov5", 2, rows=sum((320 // stride) * (512 // stride) for stride in (8, 16, 32)))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (undecoded(), "is not decoded, as YOLOX"),

        (table("raw", 2) * np.array([1, 1, 1, 1, -9, -9]).reshape(1, 6, 1), "is not decoded"),
        (table("raw", 2) / np.array([512, 320, 512, 320, 1, 1]).reshape(1, 6, 1), "no raw: .* no pixels"),
        (np.full((1, 6, 100), np.nan), "NaN"),
        (np.full((1, 6, 100), np.inf), "NaN or infinity"),
        (np.zeros((1, 1, 1000)), r"the output has shape \(1, 1, 1000\)"),
        (np.zeros((1, 84, 8400)), r"the output has shape \(1, 84, 8400\); a detector of 2 classes"),
    ],
    ids=["YOLOX", "logits", "shares", "NaN", "infinity", "a classifier", "other classes"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, output: npt.NDArray[Any], said: str) -> None:
    assert re.search(said, refusal(write(tmp_path / "m.onnx", output, TWO)))


def test_yolox_with_its_boxes_decoded_is_refused_by_name_unless_the_user_knows_better(tmp_path: Path) -> None:
    """It writes no metadata; what a YOLOv5 gives looks the same, and comes with names."""
    path = write(tmp_path / "m.onnx", yolox())
    assert "is YOLOX by its output (1, 3360, 7)" in refusal(path, names=("car", "truck"))
    assert found_by(settings(path, names=("car", "truck"), layout="yolov5"), (320, 512))[0] == "yolov5"
    assert found_by(settings(write(tmp_path / "v5.onnx", yolox(), TWO)), (320, 512))[0] == "yolov5"


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_a_model_for_another_task_is_refused(opener: Opener, task: str) -> None:
    with pytest.raises(BackendError, match=f"is a model for '{task}', not for detection"):
        found_by(opener(table("raw", 2), TWO, task=task), (320, 512))


def test_feature_maps_in_the_place_of_boxes_are_refused_and_beside_them_passed_over(tmp_path: Path) -> None:
    maps = [(1, 3, 40, 64, 7), (1, 3, 20, 32, 7), (1, 3, 10, 16, 7)]
    said = refusal(write(tmp_path / "m.onnx", np.zeros(maps[0]), TWO, outputs=maps[1:]))
    assert "has 3 outputs (output0 [1, 3, 40, 64, 7], " in said
    assert "its head is not decoded" in said
    path = write(tmp_path / "old.onnx", table("yolov5", 2), TWO, outputs=maps)
    assert found_by(settings(path), (320, 512))[0] == "yolov5"
    said = refusal(write(tmp_path / "nms.onnx", np.zeros((1, 100, 4)), TWO, outputs=[(1, 100), (1, 100)]))
    assert "has 3 outputs" in said


@pytest.mark.parametrize(
    "names",
    ["{-1: 'car'}", "{1e999: 'car'}", "{0: '" + "c" * 90_000 + "'}", "{0: 'car\\n'}", "{0.5: 'car'}", "7", "{0: ''}",
     "(" * 5000 + "0" + ")" * 5000, "{100000: 'car'}", "{'x': 'car'}", "{0: 'car', '0': 'truck'}"],
    ids=["-1", "1e999", "90000", "a line break", "a half", "a number", "nothing", "brackets", "100000", "x", "twice"],
)  # fmt: skip
def test_names_that_cannot_be_used_are_refused_in_a_sentence(tmp_path: Path, names: str) -> None:
    path = write(tmp_path / "m.onnx", table("raw", 1), names)
    assert "does not name its classes" in refusal(path)
    _, vehicles = found_by(settings(path, names=("car",)), (320, 512))
    assert len(vehicles) == 2


@pytest.mark.parametrize("hw", [(2**40, 512), (65536, 512), (0, 512), (-5, 512), (320, 0), (320, 2**40)])
def test_sides_that_no_detector_has_are_refused(tmp_path: Path, hw: tuple[int, int]) -> None:
    refusal(write(tmp_path / "m.onnx", table("raw", 2), TWO, hw))


@pytest.mark.parametrize("batch", [2**40, 0, -5])
def test_batches_that_no_detector_has_are_refused(tmp_path: Path, batch: int) -> None:
    refusal(write(tmp_path / "m.onnx", table("raw", 2), TWO, batch=batch))


# What was found is kept


def test_probes_run_once_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    decided: list[object] = []

    def counted(*args: Any) -> decision.Decided:
        decided.append(args)
        return decision.decide(*args)

    monkeypatch.setattr(choice, "decide", counted)
    tmp_path.chmod(0o755)
    path = write(tmp_path / "m.onnx", table("deepstream", 2), TWO)
    for _ in range(3):
        assert found_by(settings(path), (320, 512))[0] == "deepstream"
    assert len(decided) == 1
    (kept,) = tmp_path.glob("layout-*.json")
    path.rename(tmp_path / "other.onnx")
    found_by(settings(tmp_path / "other.onnx"), (320, 512))
    assert len(decided) == 1, "it is known by its hash, not by its name"
    write(path, table("raw_transposed", 2), TWO)
    assert found_by(settings(path), (320, 512))[0] == "raw_transposed"
    assert len(decided) == 2
    for broken in (b"", b"[]", b'{"layout": "raw", "ids": [0, 1], "notes": []}', b'{"layout": "no"}', b"[" * 9999):
        kept.write_bytes(broken)
        found_by(settings(tmp_path / "other.onnx"), (320, 512))
        assert any("The layout is looked for again" in line for line in logged)
        logged.clear()
    assert len(decided) == 7


def test_a_folder_that_keeps_nothing_is_told_and_the_model_serves(tmp_path: Path, logged: list[str]) -> None:
    path = write(tmp_path / "m.onnx", table("raw", 2), TWO)
    (tmp_path / "file").write_text("")
    wanted = settings(path).model_copy(update={"engine": EngineSettings(dir=tmp_path / "file" / "engines")})
    assert found_by(wanted, (320, 512))[0] == "raw"
    assert any("cannot be written, so each start looks for the layout" in line for line in logged)


def test_the_sidecar_says_it_and_the_setting_goes_before_it(
    device: Device, tensorrt: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(kernels, "_build", lambda architecture: BINARY)
    tmp_path.chmod(0o755)
    onnx = write(tmp_path / "m.onnx", np.zeros((1, 100, 6), np.float32))
    path = onnx.with_suffix(".engine")
    path.write_bytes(make_plan(onnx))
    told = {"precision": "fp32", "input_shape": (1, 3, *INPUT_HW), "class_names": TWO, "layout": "deepstream"}
    sidecar(path.read_bytes(), **told).write(path.with_suffix(".json"))
    assert found_by(settings(path), (320, 512))[0] == "deepstream"
    assert found_by(settings(path, layout="end_to_end"), (320, 512))[0] == "end_to_end"
    assert any("model.layout is end_to_end, and the sidecar" in line for line in logged)
