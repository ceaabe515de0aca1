"""A report in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from perception.workshop.latency.columns import TIMES
from perception.workshop.latency.report import SHOWN, Figures

PIPED_WIDTH = 120
BAR = 40
MOST_EVENTS = 10
GAPS = 3


def console() -> Console:
    """A terminal, or 120 columns where the output goes elsewhere."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def shown(report: Figures) -> Group:
    """The whole report."""
    parts: list[RenderableType] = [Text("\n".join(headline(report)))]
    parts.append(stages(report))
    parts.append(Text("\n".join(happened(report))))
    if report["events"]:
        parts.append(_events(report))
    parts += [_worst(report), _histogram(report)]
    return Group(*(part for one in parts for part in (one, Text())))


def headline(report: Figures) -> list[str]:
    """What was read: frames, span and rate, who served, what was skipped."""
    logs = report["logs"]
    names = ", ".join(logs[:3]) + (f" and {len(logs) - 3} more" if len(logs) > 3 else "")
    lines = [f"Latency of {report['frames']:,} frames: {names}"]
    if report["first"]:
        span = f"{clock(report['first'])} to {clock(report['last'])}, {duration(report['span_s'])}"
        gaps = " outside the gaps" if report["gaps"]["count"] else ""
        lines.append(span + (f", {report['fps']:.1f} fps{gaps}" if report["fps"] else ""))
    else:
        lines.append("The log tells no times: no span, no fps")
    served = report["served"].items()
    lines.append("Served by " + ", ".join(f"{name} ({count / report['frames']:.1%})" for name, count in served))
    skipped = report["skipped_lines"]
    if skipped["broken"]:
        lines.append(f"{skipped['broken']:,} broken lines were skipped")
    return lines


def stages(report: Figures) -> Table:
    """Percentiles by stage."""
    table = Table(title="Milliseconds; every frame counts, also the first ones after a start", title_justify="left")
    table.add_column("")
    for name in ("frames", *SHOWN):
        table.add_column(name.replace("_", "."), justify="right")
    for name in TIMES:
        figures = report["times_ms"][name]
        if figures:
            table.add_row(
                name,
                f"{figures['frames']:,}",
                *(f"{figures[label]:.1f}" for label in SHOWN),
                end_section=name == "postprocess",
            )
    return table


def happened(report: Figures) -> list[str]:
    """Drops, gaps, restarts and the board in words."""
    gaps = report["gaps"]
    lines = [f"Dropped {report['dropped']:,} ({report['dropped_share']:.2%}) for a newer picture"]
    if report["missing"]:
        lines.append(f"Missing {report['missing']:,}: frame ids that were neither logged nor counted as dropped")
    if gaps["count"]:
        longest = "; ".join(
            f"{duration(gap['length_s'])} from {clock(gap['at'])}{' (restart)' if gap['restart'] else ''}"
            for gap in gaps["longest"][:GAPS]
        )
        lines.append(f"Gaps over {gaps['longer_than_s']:g} s: {gaps['count']:,}, {duration(gaps['total_s'])} in all")
        lines.append(f"  the longest: {longest}")
    else:
        lines.append(f"No gap over {gaps['longer_than_s']:g} s")
    lines.append(f"Restarts {report['restarts']:,}, changes of backend or precision {report['changes']:,}")
    if report["clock_steps"]:
        lines.append(f"The clock was set back {report['clock_steps']:,} times")
    return [*lines, *_board(report["board"])]


def _board(board: Figures | None) -> Iterable[str]:
    if not board:
        return
    parts = []
    if board["hottest_c"] is not None:
        parts.append(f"{board['hottest_c']:.1f} C at most")
    if board["mean_w"] is not None:
        parts.append(f"{board['mean_w']:.1f} W on average, {board['most_w']:.1f} W at most")
    if board["throttled_snapshots"]:
        reasons = ", ".join(board["throttling"])
        parts.append(f"throttled in {board['throttled_snapshots']:,} of {board['snapshots']:,} snapshots ({reasons})")
    else:
        parts.append("no throttling")
    yield "Board: " + "; ".join(parts)


def _events(report: Figures) -> Table:
    table = Table(title="Restarts and changes", title_justify="left")
    for name in ("when", "what", "from", "to"):
        table.add_column(name)
    for event in report["events"][:MOST_EVENTS]:
        sides = (event["before"], event["after"]) if event["kind"] == "change" else ("", event["after"])
        table.add_row(clock(event["at"]), event["kind"], *map(Text, sides))
    more = report["restarts"] + report["changes"] - min(len(report["events"]), MOST_EVENTS)
    if more:
        table.caption = f"and {more:,} more: --json has the first {len(report['events'])}"
    return table


def _worst(report: Figures) -> Table:
    table = Table(title="The worst moments: the slowest frame of a second", title_justify="left")
    table.add_column("when", no_wrap=True)
    columns = ("frame", "total", "pre", "infer", "post", "age", "dropped", "board", "power")
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column("served by")
    for row in report["worst"]:
        times = (number(row[f"{name}_ms"]) for name in ("total", "preprocess", "infer", "postprocess", "age"))
        board = (number(row["temperature_c"], " C"), number(row["power_w"], " W"))
        note = " (throttled)" if row["throttling"] else ""
        when = clock(row["at"], "%m-%d %H:%M:%S")
        table.add_row(when, str(row["frame_id"]), *times, str(row["dropped"]), *board, Text(row["served"] + note))
    return table


def _histogram(report: Figures) -> Table:
    table = Table(title="Total, milliseconds", title_justify="left", box=None)
    table.add_column("", justify="right")
    table.add_column("frames", justify="right")
    table.add_column("")
    most = max(row["frames"] for row in report["histogram"])
    for row in report["histogram"]:
        label = f"{row['from_ms']:g} and more" if row["to_ms"] is None else f"{row['from_ms']:g} to {row['to_ms']:g}"
        table.add_row(label, f"{row['frames']:,}", _bar(row["frames"] / most))
    return table


def _bar(share: float) -> str:
    """A bar whose length is true to an eighth of a column; whatever is there can be seen."""
    eighths = max(round(share * BAR * 8), int(share > 0))
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def shown_side_by_side(both: Figures) -> Group:
    """Two runs, their figures and their differences."""
    one, two = both["a"], both["b"]
    table = Table(title="Milliseconds; a difference is B less A", title_justify="left")
    for name in ("", "", "A", "B", "difference", ""):
        table.add_column(name, justify="right" if name or table.columns[1:] else "left")
    for name, labels in both["differences"]["times_ms"].items():
        for label, change in labels.items():
            last = label == SHOWN[-1]
            row = (name if label == SHOWN[0] else "", label.replace("_", "."), *_cells(change))
            table.add_row(*row, end_section=last)
    for name, words in (("fps", "fps"), ("hottest_c", "hottest, C"), ("mean_w", "mean power, W")):
        if change := both["differences"][name]:
            table.add_row(words, "", *_cells(change))
    heads = [
        Text("\n".join([f"{letter}: {line}" if not place else f"   {line}" for place, line in enumerate(lines)]))
        for letter, lines in (("A", [*headline(one), *happened(one)]), ("B", [*headline(two), *happened(two)]))
    ]
    return Group(*heads, Text(), table, Text(verdict(both)))


def _cells(change: Figures) -> tuple[str, str, str, str]:
    share = change["change_share"]
    return (
        f"{change['a']:.1f}",
        f"{change['b']:.1f}",
        _signed(change["change"], ""),
        "" if share is None else _signed(share * 100, "%"),
    )


def _signed(value: float, unit: str) -> str:
    """Without a sign where nothing is left of it after rounding."""
    text = f"{value:+.1f}"
    return f"{text[1:] if float(text) == 0 else text}{unit}"


def verdict(both: Figures) -> str:
    """The change of the median in a sentence."""
    change = both["differences"]["times_ms"]["total"]["p50"]
    one, two = change["a"], change["b"]
    if not one or not two or f"{one:.1f}" == f"{two:.1f}":
        return "Both have the same median total."
    faster, slower = ("A", "B") if one < two else ("B", "A")
    return f"{faster} is faster: the median total of {slower} is {max(one, two) / min(one, two):.2f} times as long."


def clock(stamp: str | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment of the report on this machine's clock."""
    return datetime.fromisoformat(stamp).astimezone().strftime(form) if stamp else "unknown"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, big, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part} {small}"
    return f"{whole} s"


def number(value: float | None, unit: str = "") -> str:
    """With one decimal; a dash where there is none."""
    return "-" if value is None else f"{value:.1f}{unit}"
