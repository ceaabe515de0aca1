#!/usr/bin/env python3
"""Measures the pilot on this machine: what a frame, a start and the loop cost, and whether age or memory grow."""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer
from loguru import logger

from detector_service import DetectorService, open_service
from perception.backends.base import request_of
from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.session_backend import SessionBackend
from perception.lab.benchmark import drive_cost, frame_cost, loop_cost, report_cost, start_cost, steady, wait_cost
from perception.lab.benchmark.engine import commands as engine_commands
from perception.lab.benchmark.neighbours import beside, broker_cost, web_cost
from perception.reporting.logs import start_logging
from perception.settings.model import (
    LogSettings,
    ModelSettings,
    RecordSettings,
    RunSettings,
    Settings,
    SourceSettings,
)
from perception.workshop.door import enter
from perception.workshop.figures import percentiles, save, show
from perception.workshop.own_file import check_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
app.add_typer(engine_commands.app, name="engine")
Clip = Annotated[Path, typer.Option(help="video of the road")]
Onnx = Annotated[Path, typer.Option(help="detector in ONNX")]
Weights = Annotated[Optional[Path], typer.Option(help="the same detector as .pt, for ultralytics' predict")]
Rounds = Annotated[int, typer.Option(min=1, help="how often each is measured")]
Detector = Annotated[str, typer.Option(help="detector in ONNX")]
Spans = Annotated[int, typer.Option(min=1, help="spans alone and beside it, in turn")]
Seconds = Annotated[float, typer.Option(min=2, help="length of a span")]
Json = Annotated[Optional[Path], typer.Option("--json", callback=check_json, help="write the figures here, too")]


@app.command()
def frame(
    clip: Clip, onnx: Onnx, weights: Weights = None, rounds: Rounds = 200, threads: int = 0, json: Json = None
) -> None:
    """A frame through ours, the bare session and ultralytics' predict, in turn."""
    images = frame_cost.read_clip(clip, 64)
    session = OnnxRuntimeSession(onnx, None, threads)
    backend = SessionBackend(session)
    with DetectorService(backend, request_of(Settings(), backend.info.class_names)) as service:
        times = frame_cost.measure(service, session, weights, threads, images, rounds)
    rows = {name: percentiles(values) for name, values in times.items()}
    verdicts = [f"ours - bare session.run: {rows['ours - bare']['p50']:.2f} ms median"]
    if "ultralytics predict" in rows:
        ratio = rows["ultralytics predict"]["p50"] / rows["ours"]["p50"]
        verdicts.append(f"ultralytics predict / ours: {ratio:.2f}")
    height, width = images[0].shape[:2]
    show(f"{onnx.name}, {width}x{height}, {rounds} frames, milliseconds", rows, verdicts)
    save(json, {"frame": rows})


@app.command()
def start(clip: Clip, onnx: Onnx, weights: Weights = None, rounds: Rounds = 5, json: Json = None) -> None:
    """From the start of a process to its first vehicle line, and its peak of memory."""
    commands = {"ours": start_cost.pilot_command(ROOT, onnx, clip)}
    if weights:
        commands["ultralytics predict"] = start_cost.predict_command(weights, clip)
    rows: dict[str, dict[str, float]] = {}
    for name, command in commands.items():
        taken = [start_cost.measure(command) for _ in range(rounds)]
        seconds, memory = sorted(one.first_s for one in taken), max(one.resident for one in taken)
        rows[name] = {"median s": seconds[rounds // 2], "max s": seconds[-1], "peak MiB": round(memory, 1)}
    show(f"Start to first vehicle line, {rounds} starts", rows, [])
    save(json, {"start": rows})


@app.command()
def loop(
    clip: Clip,
    onnx: Onnx,
    rounds: Rounds = 300,
    record: Annotated[
        Optional[Path], typer.Option(help="record into this folder, too; the clip then plays at its own rate")
    ] = None,
    json: Json = None,
) -> None:
    """The loop's own cost outside detect."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "stderr", "w") as stderr, redirect_stderr(stderr):
        settings = Settings(
            source=SourceSettings(uri=f"{clip}?loop=1{'&realtime=1' if record else ''}"),
            model=ModelSettings(weights=str(onnx)),
            allow_cpu=True,
            log=LogSettings(dir=Path(folder)),
            record=RecordSettings(path=record),
            run=RunSettings(max_frames=rounds + loop_cost.WARMUP),
        )
        log = start_logging("INFO", Path(folder) / "pilot.log", 2**30)
        with open_service(settings) as service:
            costs = loop_cost.measure(service, service.info, settings, log)
        logger.remove()
    rows = {name: percentiles(values) for name, values in costs.items()}
    show(f"{rounds} frames, two text sinks and records, milliseconds", rows, [])
    save(json, {"loop": rows})


@app.command()
def memory(clip: Clip, onnx: Onnx, count: Annotated[int, typer.Option(min=2000)] = 10_000, json: Json = None) -> None:
    """Resident memory over many frames of a looping clip, against what it was after the first 1,000."""
    settings = Settings(model=ModelSettings(weights=str(onnx)), allow_cpu=True)
    with open_service(settings) as service:
        by_frame = steady.memory_by_frame(service, f"{clip}?loop=1", count, 1000)
    rows = {f"after {number}": {"MiB": round(mib, 1)} for number, mib in by_frame.items()}
    growth = by_frame[max(by_frame)] / by_frame[1000] - 1
    show(f"{count} frames", rows, [f"growth since frame 1,000: {growth:.2%}"])
    save(json, {"memory": rows, "growth": growth})


@app.command()
def drive(rounds: Annotated[int, typer.Option(min=6)] = 100, json: Json = None) -> None:
    """Rendering a 720p frame of the synthetic drive on one core, over six seeds."""
    rows = {}
    for light, rain in (("day", 0.0), ("dusk", 0.0), ("night", 0.0), ("day", 0.7), ("night", 0.7)):
        name = light + (f", rain {rain}" if rain else "")
        rows[name] = percentiles(drive_cost.measure(light, rain, rounds))
    show("1280x720, 6 vehicles, one thread, milliseconds", rows, [])
    save(json, {"drive": rows})


@app.command()
def age(
    source: str,
    fps: Annotated[float, typer.Option(min=0.1)] = 5.0,
    duration: Annotated[float, typer.Option(min=2)] = 60.0,
    json: Json = None,
) -> None:
    """The age of frames that a slow consumer takes from a live source, and what became of every frame."""
    seen = steady.slow_consumer(source, fps, duration)
    half = len(seen.ages_ms) // 2
    rows = {"first half": percentiles(seen.ages_ms[:half]), "second half": percentiles(seen.ages_ms[half:])}
    counts = f"processed {seen.processed} + dropped {seen.dropped} = captured {seen.captured}"
    verdict = "holds" if seen.processed + seen.dropped == seen.captured else "DOES NOT HOLD"
    show(
        f"Age when taken at {fps:g} fps for {duration:g} s, milliseconds",
        rows,
        [f"source period {seen.period_ms:.1f} ms", f"{counts}: {verdict}"],
    )
    save(json, {"age": rows, "processed": seen.processed, "dropped": seen.dropped, "captured": seen.captured})


@app.command()
def report(
    count: Annotated[int, typer.Option(min=1000, help="records")] = 500_000,
    folder: Annotated[Optional[Path], typer.Option(help="where the records go for the time; some 5 GB")] = None,
    json: Json = None,
) -> None:
    """scripts/latency_report.py over the records of days at 30 fps: time and memory."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "frames.jsonl"
        report_cost.write_records(path, count)
        size_gib = path.stat().st_size / 2**30
        row, frames = report_cost.measure(ROOT, path)
    show("latency_report.py", {"report": row}, [f"{frames:,} frames counted, {size_gib:.2f} GiB"])
    save(json, {"report": row, "frames": frames})


@app.command()
def wait(
    onnx: Onnx,
    weights: Weights = None,
    rounds: Rounds = 30,
    busy: Annotated[int, typer.Option(min=1, help="processes that compute without a pause")] = 2,
    json: Json = None,
) -> None:
    """A run on the CPU with threads that spin or block while they wait, on an idle machine and on a busy one."""
    times = wait_cost.measure(ROOT, [path for path in (onnx, weights) if path], rounds, busy)
    rows = {name: {"best": round(min(values), 3), **percentiles(values)} for name, values in times.items()}
    verdicts = [
        f"{name}: {rows[f'{name}, spin']['p50'] / rows[f'{name}, block']['p50']:.2f} times as long where they spin"
        for name in dict.fromkeys(name.rpartition(", ")[0] for name in rows)
    ]
    show(f"{rounds} runs each, in turn, milliseconds", rows, verdicts)
    save(json, {"wait": rows})


@app.command()
def web(
    weights: Detector = "vehicle-n.onnx",
    rounds: Spans = 10,
    seconds: Seconds = 20.0,
    cores: Annotated[tuple[int, int], typer.Option(help="of the pilot, and of the viewers")] = (0, 1),
    json: Json = None,
) -> None:
    """What three viewers of the picture and a scrape of /metrics each second cost detection, on the demo."""
    got = {"bytes": 0, "scrapes": 0}
    with tempfile.TemporaryDirectory() as folder:
        setup = beside.PilotSetup(ROOT, Path(folder), weights, cores[0])
        costs = beside.measure(setup, lambda url: web_cost.viewers(url, cores[1], got), rounds, seconds)
    told = f"the viewers got {got['bytes'] / 2**20:.1f} MiB and {got['scrapes']} scrapes"
    save(json, {"web": _beside(costs, "watched", weights, rounds, seconds, told)})


@app.command()
def broker(
    weights: Detector = "vehicle-n.onnx",
    rounds: Spans = 10,
    seconds: Seconds = 20.0,
    cores: Annotated[tuple[int, int], typer.Option(help="of the pilot, and of the broker")] = (0, 1),
    json: Json = None,
) -> None:
    """What an MQTT broker costs detection that floods the pilot, on the demo."""
    with tempfile.TemporaryDirectory() as folder, broker_cost.HostileBroker(cores[1]) as hostile:
        settings = f"mqtt: {{host: 127.0.0.1, port: {hostile.port}}}\n"
        setup = beside.PilotSetup(ROOT, Path(folder), weights, cores[0], settings)
        costs = beside.measure(setup, hostile.attacks, rounds, seconds)
    told = f"{hostile.attacked} connections were attacked with {hostile.sent / 2**20:.1f} MiB"
    save(json, {"broker": _beside(costs, "attacked", weights, rounds, seconds, told)})


def _beside(costs: beside.Costs, name: str, weights: str, rounds: int, seconds: float, told: str) -> dict[str, object]:
    """Show what a neighbour costs, and return it."""
    rows = {"alone": percentiles(costs.alone_ms), name: percentiles(costs.beside_ms)}
    growth = {part: rows[name][part] / rows["alone"][part] - 1 for part in ("p50", "p99")}
    rate = len(costs.beside_ms) / len(costs.alone_ms) - 1
    verdicts = [
        f"growth: p50 {growth['p50']:+.1%}, p99 {growth['p99']:+.1%}; frame rate {rate:+.1%}",
        f"{len(costs.alone_ms)} frames alone, {len(costs.beside_ms)} {name}; {told}",
    ]
    show(f"total_ms on {weights}, one thread, {rounds} rounds of {seconds:g} s, milliseconds", rows, verdicts)
    return {name: rows, "growth": growth, "frame_rate": rate}


if __name__ == "__main__":
    enter(app)
