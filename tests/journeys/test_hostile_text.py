"""Credentials and control characters that a user, a file or a neighbour puts into a text reach nothing written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import pytest

from perception.system.home import ROOT
from tests.doubles import tiny_model
from tests.doubles.fakes import make_image

SECRET = "S3cr3tZq"
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "

CREDENTIALS = {
    "URL": "rtsp://admin:S3cr3tZq@127.0.0.1:9/live",
    "URL with signs": "rtsp://admin:S3c @:/#?S3cr3tZq@127.0.0.1:9/live",
    "URL without @": "rtsp://admin:S3cr3tZq",
    "URL without slashes": "rtsp:admin:S3cr3tZq@h",
    "query": "rtsp://127.0.0.1:9/live?channel=1&x=S3cr3tZq",
    "query with @": "rtsp://127.0.0.1:9/live?x=a@S3cr3tZq",
    "other scheme": "rtmp://h/app/S3cr3tZq",
    "web": "https://admin:S3cr3tZq@h/x?token=S3cr3tZq",
    "no scheme": "admin:S3cr3tZq@h",
    "no colon": "rtsp//admin:S3cr3tZq@h",
    "pipeline": "gst:rtspsrc location=rtsp://h user-pw=S3cr3tZq ! fakesink",
    "capitals": "GST:srtsrc streamid=S3cr3tZq ! fakesink",
    "misspelt": 'gts:souphttpsrc extra-headers="a,Authorization=(string)S3cr3tZq" ! appsink',
    "property": "secret-key=S3cr3tZq",
    "header": "Authorization: Basic S3cr3tZq0=",
}
FLAGS = ("--source", "--model", "--record", "--web", "--truth", "--config", "--conf", "")
YAML = (
    "{}: 1", "source: {{{}: 1}}", "source: {{uri: [{}]}}", "model: {{conf: {}}}", "model: {{weights: {}}}",
    "mqtt: {{host: {}}}", "mqtt: {{host: h, port: {}}}", "web: {{bind: {}}}", "classes: [{}]",
)  # fmt: skip
PLAIN = (
    "source: !{} x", "a: &{} 1", "a: *{}", "mqtt: {{host: admin:S3cr3tZq}}", "mqtt: {{host: 'admin:S3cr3tZq@h'}}",
    "mqtt: {{host: h, username: u, password_path: S3cr3tZq}}", "web: {{bind: '0.0.0.0:0', token_path: S3cr3tZq}}",
    "web: {{bind: 'admin:S3cr3tZq'}}", "mqtt: {{password: S3cr3tZq}}", "mqtt: {{password_path: [S3cr3tZq]}}",
    "web: {{token_path: {{a: S3cr3tZq}}}}",
)  # fmt: skip


def make_folder(path: Path, more: str = "", source: str = "images", weights: str = "tiny.onnx") -> None:
    path.mkdir()
    for name in ("tiny.onnx", "images"):
        (path / name).symlink_to(path.parent / name)
    base = f"allow_cpu: true\ncpu: {{threads: 1}}\nrun: {{max_frames: 2}}\nlog: {{dir: '{path}/logs'}}\n"
    keys = more.partition(":")[0]
    lines = {"source": f"{{uri: '{source}'}}", "model": f"{{weights: '{weights}'}}"}
    base += "".join(f"{key}: {value}\n" for key, value in lines.items() if key != keys)
    (path / "pilot.yaml").write_text(base + more + "\n", encoding="utf-8", newline="")


def run_all(base: Path, cases: Mapping[str, Sequence[str]]) -> None:
    """Runs a pilot in each folder of `base` with these arguments."""
    listed = [(str(base / name), list(arguments)) for name, arguments in cases.items()]
    (base / "cases.json").write_text(json.dumps(listed))
    command = [sys.executable, "-m", "tests.forked_pilots", str(base / "cases.json")]
    environment = {key: value for key, value in os.environ.items() if key != "PILOT_WEB_TOKEN"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_model.build(tmp_path / "tiny.onnx")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), make_image(7))
    return tmp_path


def written_by(folder: Path) -> dict[str, str]:
    """Everything that a pilot wrote, by name; its inputs and the names that it was told to make are none of it."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    found = {str(path.relative_to(folder)): path.read_text(errors="replace") for path in files}
    return {name: text for name, text in found.items() if name not in ("pilot.yaml", "status")}


def cases_of(base: Path, value: str) -> dict[str, Sequence[str]]:
    """A run with the value in each flag, and in every other place of the settings, by the name of its folder."""
    cases: dict[str, Sequence[str]] = {}
    for place in FLAGS:
        make_folder(base / (case := f"{len(cases)}"))
        cases[case] = ["--config", "pilot.yaml", *([place] if place else []), value]
    for line in YAML[len(value) % 2 :: 2]:
        make_folder(base / (case := f"{len(cases)}"), line.format(json.dumps(value)))
        cases[case] = ["--config", "pilot.yaml"]
    return cases


def leaks(base: Path, cases: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """What shows the secret: the arguments, the settings, the name of the file, its text."""
    return [
        (*cases[case], (base / case / "pilot.yaml").read_text().splitlines()[-1], name, text)
        for case in cases
        for name, text in written_by(base / case).items()
        if SECRET in text
    ]


@pytest.mark.slow  # with those of the next test more than 150 runs
@pytest.mark.parametrize("form", CREDENTIALS)
def test_no_form_of_credentials_is_in_anything_that_a_run_writes(base: Path, form: str) -> None:
    cases = cases_of(base, CREDENTIALS[form])
    run_all(base, cases)
    assert leaks(base, cases) == []
    statuses = [(base / case / "status").read_text() for case in cases]
    assert set(statuses) <= {"0", "2", "3", "4"}
    assert statuses.count("0") < 3


def test_no_credential_in_an_odd_place_of_the_settings_is_in_anything_that_a_run_writes(base: Path) -> None:
    cases: dict[str, Sequence[str]] = {}
    for line in PLAIN:
        make_folder(base / (case := f"{len(cases)}"), line.format("admin:S3cr3tZq@h"))
        cases[case] = ["--config", "pilot.yaml"]
    run_all(base, cases)
    assert leaks(base, cases) == []
    assert "0" not in {(base / case / "status").read_text() for case in cases}


BAD = "a\x1b[2Jb\r\nFORGED 2026-11-30 10:00:00.000 INFO    all is well\x9b\u2028\u202e"


def test_no_name_puts_a_line_or_a_command_for_the_terminal_into_what_is_written(base: Path) -> None:
    tiny_model.build(
        base / "named.onnx",
        names={0: BAD, 1: "bicycle", 2: "car", 3: f"car\n{BAD}", 4: "x", 5: "bus", 6: "y", 7: "truck"},
    )
    picture = (base / "images" / "1.png").read_bytes()
    for suffix, content in ((".png", picture), (".jpg", picture[:99])):
        (base / "images" / f"{BAD}{suffix}").write_bytes(content)
    cases: dict[str, Sequence[str]] = {}
    for place in FLAGS:
        make_folder(base / (case := f"{len(cases)}"))
        cases[case] = ["--config", "pilot.yaml", place, BAD] if place else [BAD]
    quoted = json.dumps(BAD)
    for line in (*(one.format(quoted) for one in YAML), f"? {quoted}\n: 1", "source: !a%1B%0Ab x"):
        make_folder(base / (case := f"{len(cases)}"), line)
        cases[case] = ["--config", "pilot.yaml"]
    for weights, action in (("../named.onnx", "run"), ("../named.onnx", "check"), (f"{BAD}.onnx", "run")):
        make_folder(base / (case := f"{len(cases)}"), weights="x")
        cases[case] = [action, "--config", "pilot.yaml", "--model", weights]
    for source in (f"images/{BAD}.png", f"images/{BAD}.jpg", BAD):
        for action in ("run", "check"):
            make_folder(base / (case := f"{len(cases)}"))
            cases[case] = [action, "--config", "pilot.yaml", "--source", source]
    run_all(base, cases)
    for case, arguments in cases.items():
        for name, text in written_by(base / case).items():
            odd = {one for one in text if not one.isprintable() and one != "\n"}
            assert odd == set(), (arguments, name, text)
            assert not re.search(r"(?m)^(FORGED|\s*2026-11-30 10:00)", text), (arguments, name, text)
            if name == "logs/pilot.log":
                assert all(re.match(STAMP, line) for line in text.splitlines()), text
    assert {(base / case / "status").read_text() for case in cases} <= {"0", "2", "3", "4"}
