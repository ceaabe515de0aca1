"""Tables of several models' figures, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from perception.workshop.accuracy.score import Score
from perception.workshop.accuracy.unlabelled import UnlabelledScore

WIDTH = 160
"""Columns where the output is not a terminal."""


def console() -> Console:
    """Return a console for tables: WIDTH columns where the output is not a terminal."""
    usual = Console()
    return usual if usual.is_terminal else Console(width=WIDTH)


def of_scores(scores: Sequence[Score]) -> Table:
    """Return the table with a row for each model; all figures in percent, thresholds as confidences from 0 to 1."""
    first = scores[0]
    table = _table(
        f"{len(first.label_class)} labelled vehicles in {first.images} pictures; AP50-95 and recall by class, %"
    )
    for column in ("mAP50-95", "mAP50", f"recall at {first.conf:g}", "best F1 at"):
        table.add_column(column, justify="right")
    for name in first.classes:
        table.add_column(f"{name} ({int(first.of_class(name).sum())})", justify="right")
    for one in scores:
        figures = [f"{100 * share:.2f}" for share in (one.map50_95, one.map50, one.recall)]
        best = f"{one.curve.best:.2f}" if one.recall_at_all else "-"
        table.add_row(one.title, *figures, best, *(_of_class(one, name) for name in first.classes))
    return table


def _of_class(one: Score, name: str) -> str:
    return f"{100 * one.precisions[name].ap50_95:.1f} / {100 * one.recall_of(name):.1f}"


def differences(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a line for each but the first: its distance from the first, in points."""
    first = scores[0]
    for one in scores[1:]:
        pairs = {
            "mAP50-95": (one.map50_95, first.map50_95),
            "mAP50": (one.map50, first.map50),
            f"recall at {one.conf:g}": (one.recall, first.recall),
            **{f"AP {name}": (one.precisions[name].ap50_95, first.precisions[name].ap50_95) for name in one.classes},
        }
        points = ", ".join(f"{name} {100 * (own - other):+.2f}" for name, (own, other) in pairs.items())
        yield f"{one.title} - {first.title}, points: {points}"


def of_unlabelled(reference: str, found: Sequence[UnlabelledScore]) -> Table:
    """Return the table with a row for each model beside the reference, in pictures without labels."""
    first = found[0]
    names = list(dict.fromkeys(name for one in found for name in one.by_class))
    table = _table(f"Agreement with {reference} in {first.images} pictures at {first.conf:g}; recall / precision, %")
    for column in ("sure", "missed", "its own sure", "new", "confidence differs by", "all", *names):
        table.add_column(column, justify="right")
    for one in found:
        counts = [str(count) for count in (one.sure, one.lost, one.sure_of_candidate, one.invented)]
        shares = [one.whole, *(one.by_class.get(name) for name in names)]
        cells = ["" if row is None else f"{100 * row.recall:.1f} / {100 * row.precision:.1f}" for row in shares]
        moved = "" if one.mean_difference is None else f"{one.mean_difference:.3f}"
        table.add_row(one.title, *counts, moved, *cells)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    return table
