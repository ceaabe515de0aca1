"""Settings: the shipped file, precedence, and every kind of fault told with file, key, value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES, Settings, load
from perception.system.home import ROOT

PILOT_YAML = ROOT / "config" / "pilot.yaml"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.yaml"


def fault(path: Path, text: str | bytes, **flags: tuple[str, Any]) -> str:
    """Return the faults of a settings file with this text; flags by key, with __ for the dot."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        load(path, {key.replace("__", "."): flag for key, flag in flags.items()})
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(path), "x.yaml")


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key that holds a value, with its type."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def explained(path: Path) -> dict[str, str]:
    """The comment of each dotted key in a settings file, found by its indentation."""
    comments, section = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"( *)(\w+):(.*)", line)
        if not match:
            continue
        if not match[1]:
            section = ""
        if not match[3]:
            section = f"{match[2]}."
        else:
            comments[section + match[2]] = match[3].partition("  # ")[2]
    return comments


def words(kind: Any) -> str:
    """Return the beginning that the comment of a key of this type must have."""
    if NoneType in get_args(kind):
        inner = next(option for option in get_args(kind) if option is not NoneType)
        return f"{words(inner) or 'text'} or null"
    plain = {bool: "true or false", int: "whole number", float: "number"}
    if kind in plain:
        return plain[kind]
    if "Path" in str(kind):
        return "path"
    if "tuple" in str(kind):
        return "list of names"
    if "Literal" not in str(kind):
        return ""
    *first, last = get_args(kind)
    return f"{', '.join(first)} or {last}"


def test_the_shipped_file_holds_the_defaults() -> None:
    assert load(PILOT_YAML) == Settings()


def test_the_shipped_file_explains_every_key_with_its_type_and_unit() -> None:
    comments = explained(PILOT_YAML)
    assert list(comments) == [key for key, _ in leaves(Settings)]
    for key, kind in leaves(Settings):
        match = re.fullmatch(r"\((.+?)\) \S.*", comments[key])
        assert match, f"{key}: the comment must be (type, unit) and the meaning, it is {comments[key]!r}"
        assert match[1].startswith(words(kind)), f"{key} is {kind}, its comment says {match[1]}"
        for ending, unit in (("_s", ", s"), ("_mib", ", MiB"), ("imgsz", ", px")):
            assert not key.endswith(ending) or match[1].endswith(unit), key


def test_without_a_file_the_defaults_hold() -> None:
    assert load(None) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "model:\nsource:\n", "\ufeffint8: true\n"])
def test_an_empty_file_or_section_means_the_defaults(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    assert load(path) == Settings()


def test_flags_go_before_the_file_and_the_file_before_the_defaults(path: Path) -> None:
    path.write_text("model: {conf: 0.4, iou: 0.5}\nint8: false\n")
    found = load(path, {"model.conf": ("--conf", 0.6), "model.weights": ("--model", None), "fp16": ("--fp16", False)})
    assert (found.model.conf, found.model.iou, found.model.weights) == (0.6, 0.5, Settings().model.weights)
    assert (found.int8, found.fp16) == (False, False)


def test_a_flag_reaches_a_section_that_the_file_leaves_empty_or_out(path: Path) -> None:
    path.write_text("run:\n")
    flags = {"run.max_frames": ("--max-frames", 3), "model.conf": ("--conf", 0.0)}
    assert (load(path, flags).run.max_frames, load(path, flags).model.conf) == (3, 0.0)


def test_values_of_every_type_are_taken(path: Path) -> None:
    path.write_text("classes: [Car, tram]\nlog: {dir: a/b, level: DEBUG, summary_s: 2}\nrun: {duration_s: 1.5}\n")
    found = load(path)
    assert found.classes == ("Car", "tram")
    assert found.classes_asked_for
    assert found.log_dir == Path("a/b")
    assert (found.log.level, found.log.summary_s, found.run.duration_s) == ("DEBUG", 2.0, 1.5)


def test_folders_lie_beside_the_pilot_unless_set(path: Path) -> None:
    assert (Settings().engine_dir, Settings().log_dir) == (ROOT / "engines", ROOT / "logs")
    path.write_text("engine: {dir: /e}\nlog: {dir: /l}\n")
    assert (load(path).engine_dir, load(path).log_dir) == (Path("/e"), Path("/l"))


def test_the_default_classes_do_not_count_as_asked_for() -> None:
    assert not Settings().classes_asked_for
    assert not Settings(classes=COCO_VEHICLES).classes_asked_for


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: {conf: 2}", "model.conf is 2; allowed is a number from 0 below 1"),
        ("model: {conf: '0.3'}", "model.conf is '0.3'; allowed is a number from 0 below 1"),
        ("model: {conf: true}", "model.conf is True; allowed is a number from 0 below 1"),
        ("model: {conf: .nan}", "model.conf is nan; allowed is a number from 0 below 1"),
        (
            "model: {imgsz: 650}",
            "model.imgsz is 650; allowed is a whole number from 32 up to 4096, a multiple of 32 or nothing (null)",
        ),
        (
            "model: {layout: yolo}",
            "model.layout is 'yolo'; allowed is one of raw, raw_transposed, yolov5, end_to_end, "
            "deepstream, rtdetr, rtdetr_scores or nothing (null)",
        ),
        ("cpu: {threads: 1.5}", "cpu.threads is 1.5; allowed is a whole number from 0 up to 256"),
        ("int8: 1", "int8 is 1; allowed is true or false"),
        ("int8:", "int8 is empty; allowed is true or false"),
        ("source: {uri: 0.5}", "source.uri is 0.5; allowed is text, not empty"),
        ("source: {uri: ''}", "source.uri is ''; allowed is text, not empty"),
        ("source: {uri: {}}", "source.uri is a section here; allowed is text, not empty"),
        ("log: {level: loud}", "log.level is 'loud'; allowed is one of DEBUG, INFO, WARNING, ERROR"),
        ("log: {dir: 5}", "log.dir is 5; allowed is a path or nothing (null)"),
        ("run: {max_frames: 0}", "run.max_frames is 0; allowed is a whole number from 1 or nothing (null)"),
        ("run: {duration_s: 0}", "run.duration_s is 0; allowed is a number above 0 or nothing (null)"),
        ("classes: car", "classes is 'car'; allowed is a list of names, not empty"),
        ("classes: []", "classes is []; allowed is a list of names, not empty"),
        ("classes: [car, 1]", "classes holds 1; allowed is a list of names, not empty"),
        ("classes: ['']", "classes holds ''; allowed is a list of names, not empty"),
        ("model: 5", "model is 5; allowed is a section of keys"),
        ("model: {cnof: 1}", "model.cnof is not a setting; did you mean model.conf?"),
        ("modle: {}", "modle is not a setting; did you mean model?"),
        ("conf: 0.3", "conf is not a setting; did you mean model.conf?"),
        ("model: {max_frame: 3}", "model.max_frame is not a setting; did you mean run.max_frames?"),
        ("model.conf: 0.3", "model.conf is not a setting; write conf in the section model"),
        ("cpu: {zzz: 1}", "cpu.zzz is not a setting; cpu has threads"),
    ],
)
def test_a_fault_names_file_key_value_and_what_is_allowed(path: Path, text: str, said: str) -> None:
    assert fault(path, text) == f"x.yaml: {said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int8: true\nint8: false", "x.yaml, line 2: int8 is set twice"),
        ("model:\n  conf: 0.1\n  iou: 0.2\n  conf: 0.3", "x.yaml, line 4: conf is set twice"),
        ("1: 2", "x.yaml, line 1: the key '1' is not a name"),
        ("int8: true\n~: true", "x.yaml, line 2: the key '~' is not a name"),
        ("int8: true\non: true", "x.yaml: on is not a setting"),
        ("? [a]\n: 1", "x.yaml, line 1: the key given here is not a name"),
        ("model: {conf: 0.3", "x.yaml, line 1: while parsing a flow mapping, expected ',' or '}'"),
        ("a\n---\nb", "x.yaml, line 2: expected a single document in the stream, but found another document"),
        ("source:\n\turi: a", "x.yaml, line 2: while scanning for the next token, found character '\\t'"),
        ("x: *y", "x.yaml, line 1: found undefined alias 'y'"),
        ("x: !!python/name:os.system ''", "x.yaml, line 1: could not determine a constructor"),
        ("!!map [a]", "x.yaml, line 1: expected a mapping node"),
        ("x: !!bool maybe", "x.yaml holds a value that YAML cannot read: 'maybe'"),
        ("x: !!timestamp now", "x.yaml holds a value that YAML cannot read"),
        ("x: !!int ''", "x.yaml holds a value that YAML cannot read"),
        ("x: 2024-02-31", "x.yaml holds a value that YAML cannot read: day"),
        ("[" * 1500, "x.yaml is nested too deeply"),
        ("- a", "x.yaml holds a list, not settings. Write `key: value` lines."),
        ("text", "x.yaml holds one single value, not settings. Write `key: value` lines."),
        (b"a: \xff", "x.yaml is not text in UTF-8"),
        ("a: b".encode("utf-16"), "x.yaml is not text in UTF-8"),
        (b"#" * (1 << 20) + b"#", "x.yaml is larger than 1048576 bytes and no settings file"),
    ],
)
def test_what_is_no_settings_file_is_refused_with_its_place(path: Path, text: str | bytes, said: str) -> None:
    found = fault(path, text)
    assert found.startswith(said)
    assert "\n" not in found


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, said in (
        (tmp_path, f"{tmp_path} is a folder, not a settings file"),
        (tmp_path / "none.yaml", f"The settings file {tmp_path}/none.yaml does not exist. Give its path with --config"),
        (tmp_path / "file" / "x.yaml", f"{tmp_path}/file/x.yaml cannot be opened: Not a directory"),
        (tmp_path / ("n" * 300), "File name too long"),
    ):
        with pytest.raises(SettingsError) as caught:
            load(path)
        assert said in str(caught.value)


def test_all_faults_are_told_at_once_in_the_order_of_the_keys(path: Path) -> None:
    found = fault(path, "zzz: 1\nmodel: {conf: 7, iou: x}\nint8: 3\nlog: {max_mib: 0}\n").splitlines()
    assert [line.split()[1] for line in found] == ["model.conf", "model.iou", "int8", "log.max_mib", "zzz"]


def test_many_faults_stay_within_twelve_lines_and_their_number_is_told(path: Path) -> None:
    lines = fault(path, "\n".join(f"zzz{number}: 1" for number in range(40))).splitlines()
    assert len(lines) <= 10  # the program may add a line before and after
    assert lines[-1] == "... and 31 more faults"


def test_ten_faults_are_all_told(path: Path) -> None:
    lines = fault(path, "\n".join(f"zzz{number}: 1" for number in range(10))).splitlines()
    assert [line.split()[1] for line in lines] == [f"zzz{number}" for number in range(10)]


def test_a_fault_of_a_flag_names_the_flag_and_not_the_file(path: Path) -> None:
    said = fault(path, "model: {iou: 3}", model__conf=("--conf", 1.5), source__uri=("--source", "")).splitlines()
    assert said == [
        "--source is ''; allowed is text, not empty",
        "--conf is 1.5; allowed is a number from 0 below 1",
        "x.yaml: model.iou is 3; allowed is a number from 0 up to 1",
    ]


def test_a_flag_does_not_hide_that_its_section_is_wrong_in_the_file(path: Path) -> None:
    assert fault(path, "model: 7", model__conf=("--conf", 0.5)) == "x.yaml: model is 7; allowed is a section of keys"


def test_a_flag_that_is_no_utf8_is_told_in_words(path: Path) -> None:
    said = fault(path, "", source__uri=("--source", "caf\udce9.mp4"))
    assert said == r"--source is 'caf\udce9.mp4'; allowed is text in UTF-8"


@pytest.mark.parametrize(
    "text",
    [
        '"' + "k\\n" * 40 + '": 1',
        "? " + "k" * 9000 + "\n: 1",
        "'" + "k" * 200 + "': 1",
        "'': 1",
        '"\\ud800": 1',
        "log: {level: '" + "x" * 9000 + "'}",
        "cpu: {threads: 0x" + "f" * 9000 + "}",
        "x: !<" + "t" * 900 + "> 1",
    ],
)
def test_a_strange_key_or_value_is_told_on_one_short_line(path: Path, text: str) -> None:
    said = fault(path, text)
    assert said.startswith("x.yaml")
    assert said.isprintable()
    assert len(said) < 400


def test_a_list_made_endless_by_aliases_is_told_at_once(path: Path) -> None:
    levels = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 12))
    said = fault(path, f"x0: &x0 [1]\n{levels}\nclasses: *x11")
    assert len(said) < 2000
    assert "classes holds [" in said


def outcome(path: Path, text: str) -> Settings | SettingsError:
    """The settings, or the fault; any other exception is a bug."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        return load(path)
    except SettingsError as error:
        return error


KEYS = [key for key, _ in leaves(Settings)]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**6),
    st.floats(),
    st.sampled_from(
        ["", "car", "INFO", "yes", "~", "!!bool x", "&a [*a]", "0x10", "1:30", "2024-01-01", "[car]", "{}"]
    ),
    st.text(max_size=8),
)


def _line(key: str, value: object) -> str:
    section, _, name = key.rpartition(".")
    return f"{'  ' if section else ''}{name}: {value}"


LINES = st.builds(_line, st.sampled_from(KEYS), SCALARS)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.one_of(st.text(), st.text(alphabet="ab:-?&*!|>%@[]{},#'\"\\\n\t ~0123.", max_size=40)))
def test_any_text_gives_settings_or_a_settings_error(path: Path, text: str) -> None:
    found = outcome(path, text)
    assert isinstance(found, Settings) or 1 <= len(str(found).splitlines()) <= 12


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(st.one_of(st.sampled_from(["source:", "model:", "log:", "run:"]), LINES), max_size=6))
def test_any_lines_like_settings_give_settings_or_a_settings_error(path: Path, lines: list[str]) -> None:
    found = outcome(path, "\n".join(lines))
    assert isinstance(found, Settings) or 1 <= len(str(found).splitlines()) <= 12


def test_a_bare_camera_number_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("source: {uri: 0}")
    assert load(path).source.uri == "0"
