"""The command line, as a user meets it: exit codes, output, signals, disks and pipes that fail."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import pytest

from perception.system.home import ROOT
from tests.doubles import tiny_model
from tests.doubles.fakes import make_image
from tests.needs import path_of
from tests.small_disk import small_disk

PILOT = ROOT / "pilot.py"
FRAMES = 8

Done = subprocess.CompletedProcess[str]


class Pilot:
    """Runs pilot.py in a folder of the test's own, elsewhere than the checkout, with settings that suit it."""

    def __init__(self, folder: Path, material: Path) -> None:
        self.folder = folder
        self.material = material
        self.logs = folder / "logs"
        self.write_settings()

    def write_settings(self, more: str = "", **keys: str) -> None:
        """Settings for the tiny model on a folder of images; keys by name override a line, `more` adds lines."""
        lines = {
            "source": f"{{uri: 'images://{self.material}/images'}}",
            "model": f"{{weights: '{self.material}/tiny.onnx'}}",
            "allow_cpu": "true",
            "cpu": "{threads: 1}",
            "log": f"{{dir: '{self.logs}', warmup_frames: 1}}",
            **keys,
        }
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        (self.folder / "x.yaml").write_text(text + more)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(PILOT), *arguments, "--config", "x.yaml"]

    def environment(self) -> dict[str, str]:
        hidden = ("JOURNAL_STREAM", "DISPLAY", "WAYLAND_DISPLAY", "COLUMNS")
        return {name: value for name, value in os.environ.items() if name not in hidden}

    def run(self, *arguments: str) -> Done:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def shell(self, line: str) -> Done:
        """Runs a line of bash in which $PILOT is the command."""
        environment = {**self.environment(), "PILOT": " ".join(self.command())}
        return subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.environment(), stderr=subprocess.PIPE, text=True
        )

    def records(self) -> list[int]:
        """The frame ids in frames.jsonl, every line of which must be valid."""
        text = (self.logs / "frames.jsonl").read_text()
        assert text.endswith("\n")
        return [json.loads(line)["frame_id"] for line in text.splitlines()]


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a folder of pictures."""
    folder = tmp_path_factory.mktemp("material")
    tiny_model.build(folder / "tiny.onnx")
    (folder / "images").mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), make_image(number * 20))
    return folder


@pytest.fixture
def pilot(tmp_path: Path, material: Path) -> Pilot:
    return Pilot(tmp_path, material)


@pytest.fixture
def running(pilot: Pilot) -> Iterator[subprocess.Popen[str]]:
    """A pilot amid an endless run."""
    process = pilot.start("--source", f"images://{pilot.material}/images?loop=1")
    assert process.stderr
    try:
        for line in process.stderr:
            if "Vehicle detection" in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def messages(done: Done) -> list[str]:
    """Return the lines logged, without time and level."""
    return [re.sub(r"^\S+ \S+ [A-Z]+ +", "", line) for line in done.stderr.splitlines()]


def short(done: Done) -> bool:
    """Return True for an error as users shall see it: at most 12 lines, no traceback."""
    lines = (done.stdout + done.stderr).splitlines()
    return 1 <= len(lines) <= 12 and "Traceback" not in done.stderr


def end(process: subprocess.Popen[str], numbers: Sequence[signal.Signals]) -> tuple[int, str]:
    """Sends the signals; exit code, and the rest of stderr."""
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.02)
    rest = process.communicate(timeout=30)[1]
    return process.returncode, rest


def test_the_end_of_the_stream_exits_0_after_a_line_and_a_record_for_every_frame(pilot: Pilot) -> None:
    done = pilot.run()
    said = messages(done)
    assert done.returncode == 0, done.stderr
    lines = [line for line in said if line.startswith("Vehicle detection: 2 vehicles in ")]
    assert len(lines) == FRAMES
    assert [re.sub(r"[\d.]+ms|(pre|infer|post) [\d.]+", "#", line) for line in lines] == [
        f"Vehicle detection: 2 vehicles in # | # # # | age # | frame {number} dropped 0 | onnxruntime fp32"
        for number in range(FRAMES)
    ]
    assert said[-1].startswith(f"Latency over {FRAMES - 1} frames: p50 ")
    assert "Loading vehicle detection model: tiny.onnx" in said
    assert pilot.records() == list(range(FRAMES))
    assert (pilot.logs / "pilot.log").read_text() == done.stderr
    assert done.stdout == ""


def test_flags_end_a_run_early_with_exit_0(pilot: Pilot) -> None:
    endless = f"images://{pilot.material}/images?loop=1"
    assert pilot.run("--source", endless, "--max-frames", "3").returncode == 0
    assert pilot.records() == [0, 1, 2]
    started = time.monotonic()
    assert pilot.run("--source", endless, "--duration", "0.3").returncode == 0
    assert time.monotonic() - started < 20


def test_flags_go_before_the_settings_file(pilot: Pilot) -> None:
    pilot.write_settings(model=f"{{weights: '{pilot.material}/tiny.onnx', conf: 0.95}}")
    assert "Vehicle detection: 0 vehicles" in pilot.run("--max-frames", "1").stderr
    assert "Vehicle detection: 3 vehicles" in pilot.run("--max-frames", "1", "--conf", "0.1").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_its_summary_and_exit_0(
    pilot: Pilot, running: subprocess.Popen[str], number: signal.Signals
) -> None:
    code, rest = end(running, [number])
    assert code == 0
    assert "Latency over " in rest.splitlines()[-1]
    assert "Traceback" not in rest
    records = pilot.records()
    assert records == list(range(len(records)))


def test_a_second_ctrl_c_corrupts_nothing(pilot: Pilot, running: subprocess.Popen[str]) -> None:
    code, rest = end(running, [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT])
    assert code == 0
    assert rest.count("Latency over ") == 1
    assert "Traceback" not in rest
    assert pilot.records()


def test_a_source_that_hangs_does_not_hold_up_the_end(pilot: Pilot) -> None:
    os.mkfifo(pilot.folder / "hangs.mp4")
    process = pilot.start("--source", "hangs.mp4")
    assert process.stderr
    for line in process.stderr:
        if "Serving with" in line:
            break
    time.sleep(0.3)
    code, rest = end(process, [signal.SIGTERM])
    assert (code, "Traceback" in rest) == (0, False)


def test_a_camera_that_is_not_there_ends_the_start_or_is_waited_for(pilot: Pilot) -> None:
    nobody = "rtsp://127.0.0.1:9/live"  # the port of discard
    pilot.write_settings(source=f"{{uri: '{nobody}', open_timeout_s: 1, wait: true}}")
    done = pilot.run("--no-wait")
    assert done.returncode == 3
    assert f"{nobody} did not open" in done.stderr
    assert f"{nobody} is not there yet: a run would wait for it" in pilot.run("check").stdout
    pilot.write_settings(source=f"{{uri: '{nobody}', open_timeout_s: 1}}")
    process = pilot.start("--wait")
    assert process.stderr
    assert any("waiting for camera, " in line for line in process.stderr)
    assert end(process, [signal.SIGTERM])[0] == 0


SETTINGS_FAULT = ("--conf", "7")
MODEL_FAULT = ("--model", "none.pt")
SOURCE_FAULT = ("--source", "none.mp4")

FAULTS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "a value out of range": (SETTINGS_FAULT, 2, "--conf is 7.0; allowed is a number from 0 below 1"),
    "a video that cannot be": (("--record", "out.avi"), 2, "--record out.avi: the name must end in .mp4"),
    "a folder of a video that is not there yet": (
        ("--record", "none/out.mp4"),
        3,
        "--record none/out.mp4: the folder none does not exist. Create it, or mount its disk.",
    ),
    "a camera whose scheme was forgotten": (
        ("--source", "admin:S3cret@192.0.2.7/live"),
        3,
        "'***@192.0.2.7/live' has credentials, but no scheme. Write rtsp://USER:PASSWORD@HOST/PATH.",
    ),
    "a window on a machine without a screen": (("--show",), 2, "--show needs a "),
    "a clip that is not there": (SOURCE_FAULT, 3, "none.mp4"),
    "a scheme that does not exist": (("--source", "http://x/y"), 3, "http://"),
    "a folder that is not there": (("--source", "images:///none"), 3, "The folder /none does not exist"),
    "a model that is not there": (MODEL_FAULT, 4, "none.pt was not found"),
    "a model that is none": (("--model", "x.yaml"), 4, "x.yaml is no model that can be run"),
    "no backend allowed": (("--no-allow-cpu",), 4, "Allow the CPU with --allow-cpu"),
    "an engine required": (("--require-engine",), 4, "An engine is required: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_exits_with_its_code_and_a_sentence_and_check_says_the_same(pilot: Pilot, fault: str) -> None:
    arguments, code, said = FAULTS[fault]
    ran, checked = pilot.run(*arguments), pilot.run("check", *arguments)
    for done in (ran, checked):
        assert done.returncode == code
        assert short(done), done.stderr
        assert said in done.stdout + done.stderr
        assert "S3cret" not in done.stdout + done.stderr
    assert "ERROR" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ((SETTINGS_FAULT, MODEL_FAULT, SOURCE_FAULT), 2),
        ((("--record", "out.avi"), MODEL_FAULT, SOURCE_FAULT), 2),
        ((MODEL_FAULT, SOURCE_FAULT), 4),
        ((("--no-allow-cpu",), SOURCE_FAULT), 4),
        ((MODEL_FAULT, ("--source", "http://x/y")), 4),
    ],
)
def test_of_several_faults_settings_go_before_the_model_and_the_model_before_the_source(
    pilot: Pilot, faults: tuple[tuple[str, ...], ...], code: int
) -> None:
    arguments = [argument for fault in faults for argument in fault]
    for done in (pilot.run(*arguments), pilot.run("check", *arguments)):
        assert done.returncode == code
        assert short(done)


def test_a_class_that_the_model_has_not_is_a_fault_of_the_settings(pilot: Pilot) -> None:
    pilot.write_settings(classes="[tram]")
    for done in (pilot.run(), pilot.run("check")):
        assert done.returncode == 2
        assert "classes: the model has no class 'tram'. It has: person, bicycle, car" in done.stdout + done.stderr


def test_all_faults_of_a_settings_file_are_told_at_once(pilot: Pilot) -> None:
    pilot.write_settings("modle: {}\nint8: 7\n" + "".join(f"zzz{number}: 1\n" for number in range(30)))
    done = pilot.run("--iou", "3")
    assert done.returncode == 2
    assert short(done)
    assert "x.yaml: modle is not a setting; did you mean model?" in done.stderr
    assert "x.yaml: int8 is 7; allowed is true or false" in done.stderr
    assert "--iou is 3.0; allowed is a number from 0 up to 1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--modle", "x"), "--modle"),
        (("--conf", "high"), "Invalid value for '--conf'"),
        (("drive",), "'drive' is neither run nor check"),
        (("--max-frames", "1.5"), "Invalid value for '--max-frames'"),
        (("--source",), "requires an argument"),
        (("--config", "none.yaml"), "The settings file none.yaml does not exist"),
        (("--config", "."), ". is a folder, not a settings file"),
    ],
)
def test_a_command_line_that_cannot_be_read_exits_2(pilot: Pilot, arguments: tuple[str, ...], said: str) -> None:
    command = [sys.executable, str(PILOT), *arguments]
    done = subprocess.run(
        command, cwd=pilot.folder, env=pilot.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert short(done)
    assert said in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("action", ["run", "check"])
def test_a_pipe_as_settings_is_refused_and_holds_up_no_signal(
    pilot: Pilot, action: str, number: signal.Signals
) -> None:
    os.mkfifo(pilot.folder / "pipe.yaml")
    command = [sys.executable, str(PILOT), action, "--config", "pipe.yaml"]
    process = subprocess.Popen(command, cwd=pilot.folder, env=pilot.environment(), stderr=subprocess.PIPE, text=True)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in (0, 2, -number)
    done = subprocess.run(
        command, cwd=pilot.folder, env=pilot.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "pipe.yaml is a device, a pipe or a socket, not a settings file" in done.stderr


@pytest.mark.parametrize(
    "keys",
    [
        {"web": "{bind: '127.0.0.1:0', token_path: pipe}"},
        {"mqtt": "{host: 127.0.0.1, tls: true, ca_path: pipe}"},
        {"mqtt": "{host: 127.0.0.1, tls: true, cert_path: pipe}"},
        {"mqtt": "{host: 127.0.0.1, username: u, password_path: pipe}"},
    ],
)
def test_a_pipe_where_a_file_belongs_is_refused(pilot: Pilot, keys: dict[str, str]) -> None:
    os.mkfifo(pilot.folder / "pipe", 0o600)
    pilot.write_settings(**keys)
    for done in (pilot.run(), pilot.run("check")):
        assert done.returncode == 2
        assert "pipe is" in done.stdout + done.stderr


def test_check_ends_as_a_run_where_a_folder_holds_broken_pictures_alone(pilot: Pilot) -> None:
    broken = pilot.folder / "broken"
    broken.mkdir()
    for name in ("a.png", "b.jpg"):
        (broken / name).write_text("no picture")
    for done in (pilot.run("--source", str(broken)), pilot.run("check", "--source", str(broken))):
        assert done.returncode == 3
        assert f"None of 2 files is an image that can be read: {broken}" in done.stdout + done.stderr
    (broken / "c.png").write_bytes((pilot.material / "images" / "0.png").read_bytes())
    assert pilot.run("check", "--source", str(broken)).returncode == 0


def test_check_ends_as_a_run_where_another_pilot_writes_the_records(
    pilot: Pilot, running: subprocess.Popen[str]
) -> None:
    for done in (pilot.run(), pilot.run("check")):
        assert done.returncode == 3
        assert f"is being written by another pilot (process {running.pid})" in done.stdout + done.stderr
    assert end(running, [signal.SIGTERM])[0] == 0


def test_verdicts_that_nobody_can_read_are_a_fault(pilot: Pilot) -> None:
    command = [sys.executable, str(PILOT), "check", "--config", "x.yaml"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            cwd=pilot.folder,
            env=pilot.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert "The verdicts cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_video_that_is_there_is_kept_by_run_and_check(pilot: Pilot) -> None:
    out = pilot.folder / "out.mp4"
    out.write_text("of yesterday")
    for done in (pilot.run("--record", "out.mp4"), pilot.run("check", "--record", "out.mp4")):
        assert done.returncode == 2
        assert "--record out.mp4 is there already, and is kept. Name another file, or add --overwrite." in done.stderr
    assert out.read_text() == "of yesterday"
    assert pilot.run("--record", "out.mp4", "--overwrite").returncode == 0
    assert out.read_bytes()[4:8] == b"ftyp"


def test_a_setting_that_names_a_video_that_is_there_keeps_it_over_a_restart(pilot: Pilot) -> None:
    pilot.write_settings(record="{path: out.mp4}")
    for _ in range(2):
        done = pilot.run()
        assert done.returncode == 0
    assert sorted(path.name for path in pilot.folder.glob("out*")) == ["out-2.mp4", "out.mp4"]
    assert "record.path: out.mp4 is there already and is kept; this run writes out-2.mp4" in done.stderr


def test_home_is_expanded_in_settings_and_flags(pilot: Pilot) -> None:
    home = pilot.folder / "home"
    home.mkdir()
    for name in ("tiny.onnx", "images"):
        (home / name).symlink_to(pilot.material / name)
    pilot.write_settings(model="{weights: ~/tiny.onnx}", log="{dir: ~/logs}", source="{uri: ~/images}")
    (pilot.folder / "x.yaml").rename(home / "x.yaml")
    command = [sys.executable, str(PILOT), "--config=~/x.yaml", "--record=~/out.mp4", "--max-frames=1"]
    for asked in (command, [*command, "--source=images://~/images", "--model=~/tiny.onnx", "--overwrite"]):
        environment = {**pilot.environment(), "HOME": str(home)}
        done = subprocess.run(asked, cwd=pilot.folder, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in home.iterdir()} >= {"logs", "out.mp4"}
    assert not (pilot.folder / "~").exists()


def test_check_prints_a_verdict_a_line_and_runs_nothing(pilot: Pilot) -> None:
    done = pilot.run("check")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["settings", "ok"],
        ["model", "ok"],
        ["backend", "ok"],
        ["source", "ok"],
    ]
    assert str(pilot.logs) in done.stdout
    assert "Vehicle detection:" not in done.stderr
    assert not pilot.logs.exists()


@pytest.mark.parametrize("wait", ["--wait", "--no-wait"])
def test_a_check_that_is_interrupted_while_the_source_opens_does_not_call_it_ok(pilot: Pilot, wait: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        pilot.write_settings(source=f"{{uri: 'rtsp://127.0.0.1:{silent.getsockname()[1]}/road', open_timeout_s: 300}}")
        process = subprocess.Popen(
            pilot.command("check", wait),
            cwd=pilot.folder,
            env=pilot.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        connection, _ = silent.accept()  # the source is being opened
        with connection:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.search(r"source +problem +rtsp://\S+: asked to stop before it was open", said)


def test_check_tells_every_fault_not_only_the_first(pilot: Pilot) -> None:
    done = pilot.run("check", *MODEL_FAULT, *SOURCE_FAULT)
    verdicts = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert verdicts == {"settings": "ok", "model": "problem", "backend": "problem", "source": "problem"}


def test_check_says_where_logs_would_be_lost(pilot: Pilot) -> None:
    (pilot.folder / "file").touch()
    pilot.write_settings(log=f"{{dir: '{pilot.folder}/file/logs'}}")
    done = pilot.run("check")
    assert done.returncode == 0
    assert f"{pilot.folder}/file/logs cannot be written: a run would lose its logs and records" in done.stdout


def test_help_names_every_flag_and_the_exit_codes(pilot: Pilot) -> None:
    done = pilot.run("--help")
    flags = """--config --source --wait --no-wait --model --conf --iou --record --show --max-frames --duration
        --require-engine --allow-cpu --int8 --no-int8 --fp16 --no-fp16"""
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in flags.split())
    assert "0 end of stream or asked to stop, 2 settings, 3 source" in " ".join(done.stdout.split())
    assert "check" in done.stdout


def test_a_full_disk_under_the_logs_costs_them_and_not_the_run(pilot: Pilot) -> None:
    with small_disk(pilot.folder / "disk") as disk:
        disk.fill()
        pilot.write_settings(log=f"{{dir: '{disk.path}', file: false}}")
        done = pilot.run()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Vehicle detection: ") == FRAMES
    assert done.stderr.count("cannot be written (No space left on device): lines are lost until it can") == 1
    assert "Latency over " in done.stderr


def test_a_log_folder_that_cannot_be_made_costs_one_warning_for_each_file(pilot: Pilot) -> None:
    (pilot.folder / "file").touch()
    pilot.write_settings(log=f"{{dir: '{pilot.folder}/file/logs'}}")
    done = pilot.run()
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert len(warned) == 2
    assert done.stderr.count("Vehicle detection: ") == FRAMES


@pytest.mark.parametrize("redirection", ["2>&1 | head -1", "2>/dev/full", "2>&-", ">/dev/full"])
def test_output_that_nobody_takes_does_not_change_how_the_run_ends(pilot: Pilot, redirection: str) -> None:
    done = pilot.shell(f"$PILOT {redirection}; echo ended ${{PIPESTATUS[0]}}")
    assert done.stdout.splitlines()[-1] == "ended 0"
    assert len(pilot.records()) == FRAMES


@pytest.mark.parametrize("redirection", ["2>/dev/null | head -1", ">/dev/full", ">&-"])
def test_verdicts_that_nobody_takes_do_not_change_the_exit_code(pilot: Pilot, redirection: str) -> None:
    done = pilot.shell(f"$PILOT check --source none.mp4 {redirection}; echo ended ${{PIPESTATUS[0]}}")
    assert done.stdout.splitlines()[-1] == "ended 3"
    assert "Traceback" not in done.stderr


def test_the_run_is_recorded_as_a_video(pilot: Pilot) -> None:
    assert pilot.run("--record", "out.mp4").returncode == 0
    capture = cv2.VideoCapture(str(pilot.folder / "out.mp4"))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    assert count == FRAMES


def test_pilot_py_parses_under_python_3_8() -> None:
    tree = ast.parse(PILOT.read_text(encoding="utf-8"), feature_version=(3, 8))
    first = next(node for node in tree.body if isinstance(node, ast.If))
    imported = [
        alias.name
        for node in tree.body[: tree.body.index(first)]
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    ]
    assert "version_info" in ast.dump(first.test)
    assert set(imported) == {
        "annotations",
        "os",
        "sys",
        "time",
        "ExitStack",
    }  # nothing that an old Python lacks, before it is told


@pytest.mark.needs("python3.8")
def test_python_3_8_is_told_what_is_needed() -> None:
    done = subprocess.run([path_of("python3.8"), str(PILOT)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "pilot.py needs Python 3.10 or newer" in done.stderr
    assert short(done)


def test_a_package_that_is_missing_is_named_with_what_to_do(pilot: Pilot) -> None:
    command = [sys.executable, "-S", "-E", str(PILOT)]  # without site-packages
    done = subprocess.run(command, cwd=pilot.folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert short(done)
    assert re.search(r"lacks the package '\w+': see README\.md", done.stderr)


@pytest.mark.parametrize(
    "where", ["argument", "check argument", "no scheme", "settings", "pipeline", "list", "unknown key"]
)
def test_a_password_reaches_no_message(pilot: Pilot, where: str) -> None:
    url = "rtsp://admin:S3cret@cam/1?token=S3cret"
    settings = pilot.folder / "odd.yaml"
    texts = {"settings": f"source: {url}", "list": f"source: {{uri: ['{url}']}}", "unknown key": f"'{url}': 1"}
    texts["pipeline"] = "source: gst:rtspsrc location=x user-pw=S3cret ! appsink"
    settings.write_text(texts.get(where, ""))
    words = {"argument": [url], "check argument": ["check", url], "no scheme": ["admin:S3cret@cam/1?key=S3cret"]}
    arguments = words.get(where, ["--config", str(settings)])
    command = [sys.executable, str(PILOT), *arguments]
    done = subprocess.run(command, cwd=pilot.folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "S3cret" not in done.stdout + done.stderr
    assert short(done)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("libx.so.1: failed to map segment from shared object", 5),
        ("libx.so.1: cannot read file data: Input/output error", 5),
        ("libx.so.1: cannot create shared object descriptor: Cannot allocate memory", 5),
        ("libx.so.1: cannot allocate memory in static TLS block", 2),
        ("numpy.core.multiarray failed to import", 2),
    ],
)
def test_a_package_that_does_not_load_is_tried_again_where_that_may_help(pilot: Pilot, reason: str, code: int) -> None:
    package = pilot.folder / "packages" / "cv2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise ImportError({reason!r})\n")
    done = subprocess.run(
        [sys.executable, str(PILOT)],
        cwd=pilot.folder,
        env={**pilot.environment(), "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code
    assert short(done)
    assert reason in done.stderr


def test_check_writes_into_no_file(pilot: Pilot) -> None:
    kept = pilot.folder / "truth.jsonl"
    kept.write_text("of another run")
    command = [sys.executable, str(PILOT), "check", "--source", "demo://drive", "--truth", str(kept)]
    subprocess.run(command, cwd=pilot.folder, capture_output=True, text=True, timeout=60)
    assert kept.read_text() == "of another run"
