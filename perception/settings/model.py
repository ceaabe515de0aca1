"""The settings: typed, validated, every fault listed at once. Precedence: defaults, file, flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from perception.core.errors import SettingsError
from perception.settings.faults import describe_faults
from perception.settings.yaml_file import read_mapping
from perception.system.home import ROOT
from perception.system.plain_file import from_home

COCO_VEHICLES = ("bicycle", "car", "motorcycle", "bus", "truck")


def _from_home(value: Any) -> Any:
    return from_home(value) if isinstance(value, str) and "\0" not in value else value


# YAML has no path and no tuple: both come as plain text and lists.
PathValue = Annotated[Path, Field(strict=False), BeforeValidator(_from_home)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
SomeNames = Annotated[Names, Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]


def _camera_number(value: Any) -> Any:
    """Return a bare 0, the short form of the first USB camera, as text: YAML reads it as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


LayoutName = Literal["raw", "raw_transposed", "yolov5", "end_to_end", "deepstream", "rtdetr", "rtdetr_scores"]
"""The names of core/layouts.py, which a test compares."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class SourceSettings(_Section):
    """The camera, stream or file. Times in seconds."""

    uri: Annotated[str, BeforeValidator(_camera_number)] = Field("csi://0?width=1280&height=720&fps=30", min_length=1)
    wait: bool = False
    open_timeout_s: float = Field(10.0, ge=0.5, le=300)
    stall_s: float = Field(5.0, ge=0.5, le=300)
    repeat_s: float = Field(1.0, ge=0, le=300)


class ModelSettings(_Section):
    """The weights, and the thresholds of a detection."""

    weights: Annotated[str, BeforeValidator(_from_home)] = Field("yolo11n.pt", min_length=1)
    imgsz: int | None = Field(None, ge=32, le=4096, multiple_of=32)
    layout: LayoutName | None = None
    conf: float = Field(0.25, ge=0, lt=1)
    iou: float = Field(0.7, ge=0, le=1)
    names: Names = ()


class EngineSettings(_Section):
    """The folder of built engines (None: engines/ beside pilot.py), if one is required, what to do without one,
    the GPU that runs it, and how the pilot waits for it.
    """

    dir: PathValue | None = None
    require: bool = False
    when_missing: Literal["fallback", "export"] = "fallback"
    device: int = Field(0, ge=0, le=255)
    wait: Literal["auto", "spin", "block"] = "auto"


class CpuSettings(_Section):
    """The share of the processor for inference."""

    threads: int = Field(0, ge=0, le=256)


class LogSettings(_Section):
    """Text log, records and summaries. dir None: logs/ beside pilot.py."""

    dir: PathValue | None = None
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    file: bool = True
    records: bool = True
    max_mib: int = Field(256, ge=1, le=1_048_576)
    summary_s: float = Field(10.0, ge=0.1, le=86_400)
    warmup_frames: int = Field(5, ge=0, le=10_000)


class RecordSettings(_Section):
    """Video of the run, one .mp4 or a folder of segments, and the truth of a synthetic drive."""

    path: PathValue | None = None
    truth: PathValue | None = None
    overwrite: bool = False
    clean: bool = False
    on: Literal["always", "vehicles"] = "always"
    pre_s: float = Field(5.0, ge=0, le=60)
    post_s: float = Field(5.0, ge=0, le=3600)
    segment_s: float = Field(300.0, ge=1, le=86_400)
    max_gib: float = Field(16.0, gt=0, le=1_048_576)


class MqttSettings(_Section):
    """Events to a broker. host None: none; port None: 8883 with TLS, else 1883."""

    host: Text | None = None
    port: int | None = Field(None, ge=1, le=65_535)
    topic: Text = "vehicle-pilot"
    client_id: Text | None = None
    username: Text | None = None
    password_path: PathValue | None = None
    tls: bool = False
    ca_path: PathValue | None = None
    cert_path: PathValue | None = None
    key_path: PathValue | None = None
    keepalive_s: int = Field(30, ge=2, le=3600)
    max_rate_hz: float = Field(5.0, gt=0, le=1000)
    queue: int = Field(1000, ge=1, le=100_000)


class WebSettings(_Section):
    """The live page and /metrics. bind None: none."""

    bind: Text | None = None
    token_path: PathValue | None = None
    hosts: Names = ()
    picture_fps: float = Field(5.0, gt=0, le=30)
    picture_width: int = Field(960, ge=160, le=3840)
    picture_quality: int = Field(75, ge=10, le=95)


class RunSettings(_Section):
    """The limits of a run, and its window."""

    max_frames: int | None = Field(None, ge=1)
    duration_s: float | None = Field(None, gt=0)
    show: bool = False


class Settings(_Section):
    """Everything that can be set; config/pilot.yaml explains each key."""

    source: SourceSettings = SourceSettings()
    model: ModelSettings = ModelSettings()
    classes: SomeNames = COCO_VEHICLES
    int8: bool = True
    fp16: bool = True
    allow_cpu: bool = False
    engine: EngineSettings = EngineSettings()
    cpu: CpuSettings = CpuSettings()
    log: LogSettings = LogSettings()
    record: RecordSettings = RecordSettings()
    mqtt: MqttSettings = MqttSettings()
    web: WebSettings = WebSettings()
    run: RunSettings = RunSettings()

    @property
    def engine_dir(self) -> Path:
        """Folder of built engines."""
        return self.engine.dir or ROOT / "engines"

    @property
    def log_dir(self) -> Path:
        """The folder of logs and records."""
        return self.log.dir or ROOT / "logs"

    @property
    def classes_asked_for(self) -> bool:
        """True where `classes` names other vehicles than the default ones."""
        return self.classes != COCO_VEHICLES


def load(path: Path | None, flags: Mapping[str, tuple[str, Any]] | None = None) -> Settings:
    """Return the settings of the YAML file at `path` (None: the defaults alone), overridden by those of the flags.

    flags: dotted key -> (the flag as typed, value), e.g. {"model.conf": ("--conf", 0.4)}; a None value is left out.
    Raises SettingsError that lists every fault of file and flags, a line each.
    """
    values = _without_empty_sections(read_mapping(path)) if path else {}
    origins = {}
    for key, (flag, value) in (flags or {}).items():
        if value is not None:
            _put(values, key.split("."), value)
            origins[key] = flag
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = describe_faults(error, Settings, str(path) if path else "settings", origins)
    raise SettingsError("\n".join(lines))


def _without_empty_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop sections whose keys are all commented out: they are null to YAML, and mean the defaults."""
    default = Settings()
    return {
        key: value
        for key, value in values.items()
        if value is not None or not isinstance(getattr(default, key, None), _Section)
    }


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set values[a][b] = value; a section that is no mapping in the file is left for the validation to report."""
    section: Any = values
    for key in keys[:-1]:
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            return
    section[keys[-1]] = value
