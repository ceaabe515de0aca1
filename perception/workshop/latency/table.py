"""A report in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from perception.workshop.latency.columns import STAGES, TIMES
from perception.workshop.latency.report import SHOWN, Figures
from perception.workshop.latency.wrapped_table import WrappedTable

PIPED_WIDTH, LEAST_WIDTH = 120, 40
BAR = 40
MOST_EVENTS = 10
GAPS = 3


def console() -> Console:
    """Return a console as wide as the terminal, or of 120 columns where the output goes elsewhere."""
    plain = Console(highlight=False)
    return Console(highlight=False, width=max(plain.width, LEAST_WIDTH) if plain.is_terminal else PIPED_WIDTH)


def shown(report: Figures, out: Console) -> Group:
    """Return the whole report, as wide as `out`."""
    width = out.width
    parts: list[RenderableType] = [Text("\n".join(headline(report)))]
    parts += _stages(report).tables(width)
    parts.append(Text("\n".join(happened(report))))
    if report["events"]:
        parts += _events(report).tables(width)
    parts += [*_worst(report).tables(width), _histogram(report, out)]
    return Group(*(part for one in parts for part in (one, Text())))


def headline(report: Figures) -> list[str]:
    """Return the head of a report: frames, span and rate, the backends, and the lines that were skipped."""
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


def _stages(report: Figures) -> WrappedTable:
    """Return the percentiles by stage."""
    known = [(name, report["times_ms"][name]) for name in TIMES if report["times_ms"][name]]
    rows = [[name, f"{found['frames']:,}", *(f"{found[label]:.1f}" for label in SHOWN)] for name, found in known]
    return WrappedTable(
        "Milliseconds; every frame counts, also the first ones after a start",
        ["", "frames", *(label.replace("_", ".") for label in SHOWN)],
        rows,
        sections=[number for number, (name, _) in enumerate(known) if name == "postprocess"],
    )


def happened(report: Figures) -> list[str]:
    """Return drops, gaps, restarts and the board in words."""
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


def _events(report: Figures) -> WrappedTable:
    rows = [
        [clock(event["at"]), event["kind"], event["before"] if event["kind"] == "change" else "", event["after"]]
        for event in report["events"][:MOST_EVENTS]
    ]
    more = report["restarts"] + report["changes"] - min(len(report["events"]), MOST_EVENTS)
    caption = f"and {more:,} more: --json has the first {len(report['events'])}" if more else None
    return WrappedTable("Restarts and changes", ["when", "what", "from", "to"], rows, left=range(4), caption=caption)


def _worst(report: Figures) -> WrappedTable:
    head = ("when", "frame", "total", "pre", "infer", "post", "age", "dropped", "board", "power", "served by")
    rows = [worst_row(row, "%m-%d %H:%M:%S") for row in report["worst"]]
    return WrappedTable("The worst moments: the slowest frame of a second", head, rows, left=(0, len(head) - 1))


def worst_row(row: Figures, form: str = "%Y-%m-%d %H:%M:%S") -> list[str]:
    """Return a worst moment as cells: when, frame, total, stages, age, dropped, board and backend."""
    return [
        clock(row["at"], form),
        str(row["frame_id"]),
        *(number(row[f"{name}_ms"]) for name in ("total", *STAGES, "age")),
        str(row["dropped"]),
        number(row["temperature_c"], " C"),
        number(row["power_w"], " W"),
        row["served"] + (" (throttled)" if row["throttling"] else ""),
    ]


def _histogram(report: Figures, out: Console) -> Table:
    rows = [
        (
            f"{row['from_ms']:g} and more" if row["to_ms"] is None else f"{row['from_ms']:g} to {row['to_ms']:g}",
            f"{row['frames']:,}",
            row["frames"],
        )
        for row in report["histogram"]
    ]
    most = max(row[2] for row in rows)
    labels = max(len(row[0]) for row in rows) + max(len("frames"), *(len(row[1]) for row in rows))
    room = out.width - labels - 3 * 2  # two blanks a column
    bar = _bar if out.encoding.startswith("utf") else _plain_bar
    table = Table(title="Total, milliseconds", title_justify="left", box=None)
    for name, justify in (("", "right"), ("frames", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("", no_wrap=True)
    for label, frames, count in rows:
        table.add_row(label, frames, bar(count / most, min(BAR, max(room, 1))))
    return table


def _bar(share: float, width: int) -> str:
    """Return a bar whose length is true to an eighth of a column, never empty for a share above 0."""
    eighths = max(round(share * width * 8), int(share > 0))
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def _plain_bar(share: float, width: int) -> str:
    """Return the same for an output without block characters."""
    return "#" * max(round(share * width), int(share > 0))


def shown_side_by_side(both: Figures, out: Console) -> Group:
    """Return two runs, their figures and their differences."""
    one, two = both["a"], both["b"]
    rows, sections = [], []
    for name, labels in both["differences"]["times_ms"].items():
        rows += [
            [name if label == SHOWN[0] else "", label.replace("_", "."), *_cells(change)]
            for label, change in labels.items()
        ]
        sections.append(len(rows) - 1)
    for name, words in (("fps", "fps"), ("hottest_c", "hottest, C"), ("mean_w", "mean power, W")):
        if change := both["differences"][name]:
            rows.append([words, "", *_cells(change)])
    head = ("", "", "A", "B", "difference", "")
    sheet = WrappedTable("Milliseconds; a difference is B less A", head, rows, 2, (0,), sections)
    heads = [
        Text("\n".join([f"{letter}: {line}" if not place else f"   {line}" for place, line in enumerate(lines)]))
        for letter, lines in (("A", [*headline(one), *happened(one)]), ("B", [*headline(two), *happened(two)]))
    ]
    return Group(*heads, Text(), *sheet.tables(out.width), Text(verdict(both)))


def _cells(change: Figures) -> tuple[str, str, str, str]:
    share = change["change_share"]
    return (
        f"{change['a']:.1f}",
        f"{change['b']:.1f}",
        _signed(change["change"], ""),
        "" if share is None else _signed(share * 100, "%"),
    )


def _signed(value: float, unit: str) -> str:
    """Return the value with its sign, but without one where it rounds to 0."""
    text = f"{value:+.1f}"
    return f"{text[1:] if float(text) == 0 else text}{unit}"


def verdict(both: Figures) -> str:
    """Return the change of the median in a sentence."""
    change = both["differences"]["times_ms"]["total"]["p50"]
    one, two = change["a"], change["b"]
    if not one or not two or f"{one:.1f}" == f"{two:.1f}":
        return "Both have the same median total."
    faster, slower = ("A", "B") if one < two else ("B", "A")
    return f"{faster} is faster: the median total of {slower} is {max(one, two) / min(one, two):.2f} times as long."


def clock(stamp: str | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a moment of the report on this machine's clock."""
    return datetime.fromisoformat(stamp).astimezone().strftime(form) if stamp else "unknown"


def duration(seconds: float) -> str:
    """Return seconds in the two largest units that fit."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, big, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part} {small}"
    return f"{whole} s"


def number(value: float | None, unit: str = "") -> str:
    """Return the value with one decimal, or a dash for None."""
    return "-" if value is None else f"{value:.1f}{unit}"
