"""The plots of a report, drawn by matplotlib without its global state.

Colours are those of Okabe and Ito, which people tell apart whatever colours they see; marks differ in their form, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from perception.workshop.latency.columns import NO_TIME, STAGES, Floats
from perception.workshop.latency.plot.time_axis import Times, local_days
from perception.workshop.latency.report import Figures
from perception.workshop.latency.sequence import Event
from perception.workshop.latency.table import headline
from perception.workshop.latency.tally import LatencyTally

BLUE, SKY, ORANGE, VERMILION, GREEN, PURPLE, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#777777",
)  # fmt: skip
WIDTH_IN = 12.0
POINTS = 300
FRAMES_EACH = 8
MOST_LINES = 40
MOST_LABELS = 6
MOST_BARS = 160
RUNS = ((BLUE, "-"), (VERMILION, "--"))


def one_run(tally: LatencyTally, report: Figures) -> Figure:
    """Draw one run 1200 px wide at 100 dpi: latency, drops, stages and the board over time, and the distribution."""
    bins = tally.timeline.bins(POINTS, FRAMES_EACH)
    board = bins is not None and bool(report["board"])
    heights = [4.2, 0.9, 3.0, *([1.5] if board else []), 3.2] if bins else [3.2]
    figure = Figure(figsize=(WIDTH_IN, sum(heights) * 1.12 + 1.1), layout="constrained")
    figure.suptitle("\n".join(headline(report)[:3]), x=0.01, ha="left", fontsize=12)
    axes = list(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
    if bins:
        for axis in axes[1 : len(heights) - 1]:
            axis.sharex(axes[0])
        times = Times(bins, report["gaps"]["longer_than_s"])
        _latency(axes[0], times, tally.sequence.events)
        _drops(axes[1], times)
        _stages(axes[2], times)
        if board:
            _board(axes[3], times)
        for axis in axes[:-1]:
            times.label(axis, last=axis is axes[-2])
    _distribution(axes[-1], [tally], [report], [""])
    return figure


def _latency(axis: Axes, times: Times, events: Sequence[Event]) -> None:
    bins = times.bins
    p50, p95, p99, top = (times.of(values) for values in (bins.p50_ms, bins.p95_ms, bins.p99_ms, bins.max_ms))
    axis.fill_between(times.at, p50, p99, color=SKY, alpha=0.35, linewidth=0, label="p50 to p99")
    axis.plot(times.at, p95, color=SKY, linewidth=1, linestyle="--", label="p95")
    axis.plot(times.at, p50, color=BLUE, linewidth=1.8, label="p50")
    limit = _limit(p99, top)
    inside = top <= limit
    axis.plot(times.at[inside], top[inside], ".", color=GREY, markersize=3, label="slowest frame")
    if (top > limit).any():
        label = f"slower than shown, up to {np.nanmax(top):.0f} ms"
        height = np.full(int((top > limit).sum()), limit * 0.985)
        axis.plot(times.at[top > limit], height, "^", color=VERMILION, markersize=5, label=label, clip_on=False)
    axis.set_ylim(0, limit)
    for first, last in times.throttled():
        axis.axvspan(first, last, color=ORANGE, alpha=0.25, linewidth=0)
    _mark(axis, events)
    handles, _ = axis.get_legend_handles_labels()
    if times.throttled():
        handles.append(Patch(color=ORANGE, alpha=0.25, label="throttled"))
    axis.legend(handles=handles, loc="lower left", ncol=len(handles), frameon=False, bbox_to_anchor=(0, 0.99))
    _title(axis, f"Latency over time (in steps of {times.step()})", "total, ms", pad=26)


def _title(axis: Axes, title: str, unit: str, pad: float | None = None) -> None:
    axis.set_title(title, loc="left", pad=pad)
    axis.set_ylabel(unit)
    axis.grid(alpha=0.3)


def _limit(p99: Floats, top: Floats) -> float:
    """Return the top of the axis: above the slowest frame, unless that is an outlier."""
    return float(min(np.nanmax(top) * 1.08, max(np.nanpercentile(p99, 98) * 1.8, np.nanpercentile(top, 90) * 1.2)))


def _mark(axis: Axes, events: Sequence[Event]) -> None:
    """Draw a line for each change (dashed, with the new backend) and each restart (dotted)."""
    timed = [event for event in events if event.at_ms != NO_TIME]
    for kind, style, colour in (("restart", ":", "black"), ("change", "--", PURPLE)):
        found = [event for event in timed if event.kind == kind][:MOST_LINES]
        for place, event in enumerate(found):
            moment = float(local_days(np.asarray([event.at_ms]))[0])
            axis.axvline(moment, color=colour, linestyle=style, linewidth=1.3, label=kind if not place else None)
            if kind == "change" and place < MOST_LABELS:
                axis.annotate(
                    f" {event.after}",
                    (moment, 0.96 - 0.07 * (place % 3)),
                    xycoords=("data", "axes fraction"),
                    color=PURPLE,
                    fontsize=9,
                    va="top",
                )


def _drops(axis: Axes, times: Times) -> None:
    bins = times.bins
    axis.bar(local_days(bins.start_ms), bins.dropped, times.width, align="edge", color=VERMILION, linewidth=0)
    axis.set_ylim(0, max(int(bins.dropped.max()) * 1.2, 1))
    _title(axis, f"Frames dropped for a newer picture: {int(bins.dropped.sum()):,}", "dropped")


def _stages(axis: Axes, times: Times) -> None:
    means = {name: times.of(times.bins.stage_ms[name]) for name in STAGES}
    total = times.of(times.bins.stage_ms["total"])
    nothing = 0 * total  # NaN in the breaks
    known = {name: np.nan_to_num(values) + nothing for name, values in means.items() if not np.isnan(values).all()}
    rest = np.maximum(total - sum(known.values()), 0) if known else total
    colours = [{"preprocess": SKY, "infer": BLUE, "postprocess": GREEN}[name] for name in known]
    axis.stackplot(
        times.at, *known.values(), rest, labels=[*known, "other" if known else "total"], colors=[*colours, "#BBBBBB"]
    )
    axis.legend(loc="lower left", ncol=len(known) + 1, frameon=False, bbox_to_anchor=(0, 0.99))
    axis.set_ylim(0, float(np.nanmax(total)) * 1.05)
    _title(axis, "Where the time goes", "mean, ms", pad=26)


def _board(axis: Axes, times: Times) -> None:
    told = ~np.isnan(times.bins.temperature_c)
    at = local_days(times.bins.start_ms) + times.width / 2
    axis.plot(at[told], times.bins.temperature_c[told], color=VERMILION, label="temperature")
    _title(axis, "The board: temperature (solid) and power (dashed)", "C")
    axis.yaxis.label.set_color(VERMILION)
    told = ~np.isnan(times.bins.power_w)
    if told.any():
        power = axis.twinx()
        power.plot(at[told], times.bins.power_w[told], color=BLUE, linestyle="--", label="power")
        power.set_ylabel("W", color=BLUE)
        power.set_ylim(0, float(np.nanmax(times.bins.power_w)) * 1.2)


def _distribution(
    axis: Axes, tallies: Sequence[LatencyTally], reports: Sequence[Figures], names: Sequence[str]
) -> None:
    """Draw the share of frames by total, on a logarithmic scale, so that the tail shows."""
    low, high = np.inf, 0.0
    for tally in tallies:
        middles, _ = tally.times["total"].buckets()
        low, high = min(low, float(middles[0])), max(high, tally.times["total"].percentile(99.99), float(middles[0]))
    bars = min(MOST_BARS, 20 + min(tally.frames for tally in tallies) // 10)
    edges = np.linspace(low * 0.95, high * 1.05, bars + 1)
    for place, (tally, report, name) in enumerate(zip(tallies, reports, names)):
        middles, counts = tally.times["total"].buckets()
        shares = np.histogram(np.minimum(middles, edges[-1]), edges, weights=counts)[0] / counts.sum() * 100
        colour, style = RUNS[place]
        axis.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
        axis.stairs(shares, edges, color=colour, linestyle=style, label=name or None)
        _percentiles(axis, report, name, place, edges)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlim(edges[0], edges[-1])
    axis.set_xlabel("total, ms (the last bar has what is beyond)")
    _title(axis, "Distribution", "% of frames (log)")
    if any(names):
        axis.legend(loc="upper right", frameon=False)


def _percentiles(axis: Axes, report: Figures, name: str, place: int, edges: Floats) -> None:
    """Draw a line with its label for each percentile; `place` 1 lies below place 0."""
    colour, style = RUNS[place]
    found = report["times_ms"]["total"]
    for row, label in enumerate(("p50", "p95", "p99", "p99_9")):
        value = found[label]
        left = value > edges[0] + 0.85 * (edges[-1] - edges[0])
        axis.axvline(value, color=colour, linestyle=style, linewidth=1)
        axis.annotate(
            f"{name} {label.replace('_', '.')} {value:.1f}".strip(),
            (value, 0.95 - 0.07 * (row + 4 * place)),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            ha="right" if left else "left",
            va="top",
            color=colour,
            fontsize=9,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
        )


def two_runs(tallies: Sequence[LatencyTally], reports: Sequence[Figures]) -> Figure:
    """Draw two runs 1200 px wide at 100 dpi: latency from their starts, their distributions and their stages."""
    figure = Figure(figsize=(WIDTH_IN, 12.5), layout="constrained")
    heads = [f"{letter}: {headline(report)[0]}, {', '.join(report['served'])}" for letter, report in zip("AB", reports)]
    figure.suptitle("\n".join(heads), x=0.01, ha="left", fontsize=12)
    over_time, spread, stages = figure.subplots(3, 1, gridspec_kw={"height_ratios": [3.5, 3.5, 1.8]})
    _both_over_time(over_time, tallies)
    _distribution(spread, tallies, reports, ["A", "B"])
    _both_stages(stages, reports)
    return figure


def _both_over_time(axis: Axes, tallies: Sequence[LatencyTally]) -> None:
    for tally, letter, (colour, style) in zip(tallies, "AB", RUNS):
        bins = tally.timeline.bins(POINTS, FRAMES_EACH)
        if bins is None:
            axis.plot([], [], color=colour, label=f"{letter}: its log tells no times")
            continue
        used = bins.frames > 0
        minutes = (bins.start_ms[used] - bins.start_ms[0] + bins.width_ms / 2) / 60000
        axis.fill_between(minutes, bins.p50_ms[used], bins.p99_ms[used], color=colour, alpha=0.2, linewidth=0)
        axis.plot(minutes, bins.p50_ms[used], color=colour, linestyle=style, label=f"{letter}: p50, and up to p99")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("minutes since the first frame")
    _title(axis, "Latency over time", "total, ms")
    axis.legend(frameon=False)


def _both_stages(axis: Axes, reports: Sequence[Figures]) -> None:
    left = np.zeros(2)
    hatches = dict(zip((*STAGES, "other"), ("", "", "//", "..")))
    means = {name: [(report["times_ms"][name] or {"mean": 0.0})["mean"] for report in reports] for name in STAGES}
    totals = np.asarray([report["times_ms"]["total"]["mean"] for report in reports])
    means["other"] = np.maximum(totals - np.sum(list(means.values()), axis=0), 0).tolist()
    for (name, values), colour in zip(means.items(), (SKY, BLUE, GREEN, "#BBBBBB")):
        axis.barh(["A", "B"], values, left=left, color=colour, label=name, hatch=hatches[name], edgecolor="white")
        left = left + np.asarray(values)
    for row, total in enumerate(totals.tolist()):
        axis.text(total, row, f" {total:.1f}", va="center")
    axis.invert_yaxis()
    axis.set_xlim(0, float(totals.max()) * 1.08)
    axis.set_xlabel("mean, ms")
    axis.set_title("Where the time goes", loc="left", pad=26)
    axis.legend(ncol=4, frameon=False, loc="lower left", bbox_to_anchor=(0, 0.99))
