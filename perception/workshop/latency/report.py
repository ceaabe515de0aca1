"""The figures of a report, as they go into the table, onto the page and out as JSON (docs/latency_report.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from perception.core.histogram import LatencyHistogram
from perception.workshop.latency.columns import NO_TIME, TIMES
from perception.workshop.latency.moments import iso
from perception.workshop.latency.reading import Outcome, Query
from perception.workshop.latency.sequence import FrameSequence
from perception.workshop.latency.tally import BoardTally, LatencyTally
from perception.workshop.latency.worst import Moment

SCHEMA = 1
PERCENTS = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}
HISTOGRAM_ROWS = 18
Figures = dict[str, Any]


def figures(outcome: Outcome, query: Query) -> Figures:
    """Return all figures of one run. Times in ms, moments in UTC."""
    tally, sequence = outcome.tally, outcome.tally.sequence
    counts, known = sequence.counts, sequence.latest_ms != NO_TIME
    return {
        "schema": SCHEMA,
        "logs": outcome.names,
        "warnings": outcome.warnings,
        "frames": tally.frames,
        "skipped_lines": {"broken": tally.broken, "other": tally.other},
        "first": iso(sequence.earliest_ms) if known else None,
        "last": iso(sequence.latest_ms) if known else None,
        "span_s": (sequence.latest_ms - sequence.earliest_ms) / 1000 if known else None,
        "fps": round(counts.intervals / counts.active_ms * 1000, 3) if counts.active_ms else None,
        "times_ms": {name: _percentiles(tally, name) for name in TIMES},
        "dropped": tally.dropped,
        "dropped_share": round(tally.dropped / (tally.frames + tally.dropped), 6),
        "missing": counts.missing,
        "gaps": _gaps(sequence, query),
        "clock_steps": counts.clock_steps,
        "restarts": counts.restarts,
        "changes": counts.changes,
        "events": [
            {"at": _moment(event.at_ms), "kind": event.kind, "before": event.before, "after": event.after}
            for event in sequence.events
        ],
        "served": dict(sequence.served.most_common()),
        "board": _board(tally.board),
        "worst": [_worst(moment) for moment in tally.worst.moments],
        "histogram": _rows(tally.times["total"]),
    }


def _percentiles(tally: LatencyTally, name: str) -> Figures | None:
    histogram = tally.times[name]
    if not histogram.count:
        return None
    return {
        "frames": histogram.count,
        "mean": round(tally.sums_us[name] / histogram.count / 1000, 3),
        **{label: round(histogram.percentile(percent), 3) for label, percent in PERCENTS.items()},
        "max": round(histogram.max_ms, 3),
    }


def _gaps(sequence: FrameSequence, query: Query) -> Figures:
    longest = [
        {"at": _moment(gap.at_ms), "length_s": gap.length_ms / 1000, "restart": gap.restart} for gap in sequence.gaps
    ]
    counts = sequence.counts
    return {
        "longer_than_s": query.gap_ms / 1000,
        "count": counts.gaps,
        "total_s": counts.gap_ms / 1000,
        "longest": longest,
    }


def _board(board: BoardTally) -> Figures | None:
    if not board.readings:
        return None
    return {
        "snapshots": board.readings,
        "hottest_c": board.hottest_c,
        "mean_w": round(board.milliwatts / board.powers / 1000, 3) if board.powers else None,
        "most_w": board.most_w,
        "throttled_snapshots": board.throttled,
        "throttling": dict(board.reasons.most_common()),
    }


def _worst(moment: Moment) -> Figures:
    board = moment.current_board()
    times = {f"{name}_ms": value for name, value in zip(TIMES, moment.times_ms)}
    return {
        "at": _moment(moment.at_ms),
        "frame_id": moment.frame_id,
        **times,
        "dropped": moment.dropped,
        "served": moment.served,
        "temperature_c": board.temperature_c if board else None,
        "power_w": board.power_w if board else None,
        "throttling": list(board.throttled) if board else [],
    }


def _rows(histogram: LatencyHistogram) -> list[Figures]:
    """Return even steps from the fastest frame to beyond the 99.5th percentile; the last row has the rest."""
    middles, counts = histogram.buckets()
    low = float(middles[0])
    step = _round_step(max((histogram.percentile(99.5) - low) / HISTOGRAM_ROWS, low / 100))
    start = np.floor(low / step)
    row = np.minimum(np.floor(middles / step) - start, HISTOGRAM_ROWS).astype(np.int64)
    frames = np.bincount(row, counts).astype(np.int64)
    edges = [round(float((start + place) * step), 6) for place in range(len(frames) + 1)]
    rows: list[Figures] = [
        {"from_ms": edges[place], "to_ms": edges[place + 1], "frames": int(count)} for place, count in enumerate(frames)
    ]
    if len(rows) > HISTOGRAM_ROWS:
        rows[-1]["to_ms"] = None
    return rows


def _round_step(step: float) -> float:
    """Return the next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= step * 0.999999))


def _moment(at_ms: int) -> str | None:
    return None if at_ms == NO_TIME else iso(at_ms)


def compared(one: Figures, two: Figures) -> Figures:
    """Return two runs and their differences, second less first. change_share: of the first, None where that is 0."""
    times = {
        name: {label: _change(one["times_ms"][name][label], two["times_ms"][name][label]) for label in SHOWN}
        for name in TIMES
        if one["times_ms"][name] and two["times_ms"][name]
    }
    others = {name: _change(one[name], two[name]) for name in ("fps", "dropped_share")}
    boards = [report["board"] or {} for report in (one, two)]
    for name in ("hottest_c", "mean_w"):
        others[name] = _change(*(board.get(name) for board in boards))
    return {"schema": SCHEMA, "a": one, "b": two, "differences": {"times_ms": times, **others}}


SHOWN = ("mean", *PERCENTS, "max")


def _change(one: float | None, two: float | None) -> Figures | None:
    if one is None or two is None:
        return None
    return {
        "a": one,
        "b": two,
        "change": round(two - one, 6),
        "change_share": round((two - one) / one, 6) if one else None,
    }
