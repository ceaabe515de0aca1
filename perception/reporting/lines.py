"""The lines that people read and grep, that of each frame and the summary, with patterns that read them back."""

from __future__ import annotations

from perception.core.heat import shown_zone
from perception.core.results import BoardSnapshot, Report, Summary
from perception.reporting.vehicles import headline

FRAME = "Vehicle detection: "
SUMMARY = "Latency over "
PAGE = "The live page: "
"""The beginnings of the lines."""
_MS = r"(\d{1,12}(?:\.\d{1,9})?)"
_STAGES = rf"(?: \| (?=pre|infer|post)(?:pre {_MS} ?)?(?:infer {_MS} ?)?(?:post {_MS})?)?"
# Not compiled here: the pilot, which only writes lines, would pay a millisecond of its start for it.
FRAME_PATTERN = (
    rf"{FRAME}\d+ vehicles in {_MS}ms{_STAGES} \| age {_MS}ms"
    r" \| frame (\d{1,16}) dropped (\d{1,16}) \| ([^|\s]{1,64}(?: [^|\s]{1,64})?)"
)
"""Groups: total, pre, infer, post, age in milliseconds, frame id, dropped, backend with precision."""
SUMMARY_PATTERN = rf"{SUMMARY}(\d+) frames: .*\| dropped (\d+) "
"""Groups: frames, dropped."""
PAGE_PATTERN = rf"{PAGE}(http://\S+/)"
"""Group: the URL."""


def frame_line(report: Report) -> str:
    """Return `Vehicle detection: 3 vehicles in 12.4ms | ...`. The text up to `ms` is a contract."""
    result, frame = report.result, report.frame
    stages = (
        ("pre", result.stages.preprocess_ms),
        ("infer", result.stages.infer_ms),
        ("post", result.stages.postprocess_ms),
    )
    known = " ".join(f"{name} {ms:.1f}" for name, ms in stages if ms is not None)
    parts = [
        f"{FRAME}{headline(result)}",
        *([known] if known else []),
        f"age {result.age_ms:.1f}ms",
        f"frame {frame.frame_id} dropped {report.dropped}",
        f"{report.backend.name} {report.backend.precision}",
    ]
    return " | ".join(parts)


def summary_line(summary: Summary, board: BoardSnapshot | None = None) -> str:
    """Return `Latency over 298 frames: p50 12.1 p95 13.4 p99 15.0 max 17.2 ms | 29.8 fps | age p95 41.0 ms | ...`.

    With a board that can be read it ends in `| gpu 61 C 7.2 W`.
    """
    parts = [f"{SUMMARY}{summary.frames} frames: {_percentiles(summary)}"]
    if summary.fps is not None:
        parts.append(f"{summary.fps:.1f} fps")
    if summary.age_p95_ms is not None:
        parts.append(f"age p95 {summary.age_p95_ms:.1f} ms")
    parts.append(f"dropped {summary.dropped} ({summary.dropped_share:.1%})")
    if board and (words := board_words(board, shown_zone(board.temperatures_c))):
        parts.append(" ".join(words))
    return " | ".join(parts)


def board_words(board: BoardSnapshot, zone: str | None) -> list[str]:
    """Return `gpu 61 C` for a thermal zone, where there is one, and `7.2 W`, where the power is known."""
    parts = [f"{zone} {board.temperatures_c[zone]:.0f} C"] if zone else []
    return parts if board.power_w is None else [*parts, f"{board.power_w:.1f} W"]


def _percentiles(summary: Summary) -> str:
    if summary.p50_ms is None:
        return "none came after the warm-up"
    return f"p50 {summary.p50_ms:.1f} p95 {summary.p95_ms:.1f} p99 {summary.p99_ms:.1f} max {summary.max_ms:.1f} ms"
