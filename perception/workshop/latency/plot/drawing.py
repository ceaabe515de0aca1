"""Draws a report: a PNG, or a self-contained page."""

from __future__ import annotations

import importlib.util
import io
import sys
import warnings
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from perception.core.errors import SettingsError
from perception.workshop.latency.reading import Outcome
from perception.workshop.latency.report import SHOWN, Figures, compared
from perception.workshop.latency.table import happened, headline, verdict, worst_row
from perception.workshop.own_file import check_own, mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
FORMATS = (".png", ".html")
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; padding: 1.5rem;
  max-width: 1200px; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""
_WORST = ("frame", "total", "preprocess", "infer", "postprocess", "age", "dropped", "temperature", "power", "served by")


def check_plot(path: Path) -> None:
    """Raise SettingsError for a name that tells no format, a path that cannot be written, and a lack of matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"--plot {path}: the name must end in .png or .html")
    check_own("--plot", path)
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError(
            "--plot needs the package matplotlib, which is not installed",
            f"{sys.executable} -m pip install matplotlib",
        )


def draw(path: Path, outcomes: list[Outcome], reports: list[Figures]) -> None:
    """Draw one run, or two side by side. Raises OSError where the file cannot be written."""
    from matplotlib import rc_context

    from perception.workshop.latency.plot.panels import one_run, two_runs

    tallies = [outcome.tally for outcome in outcomes]
    # A name is text: $ begins no formula, and where the font lacks a sign a box stands for it.
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = one_run(tallies[0], reports[0]) if len(tallies) == 1 else two_runs(tallies, reports)
        drawn = _png(figure) if path.suffix.lower() == ".png" else _svg(figure)
    if isinstance(drawn, bytes):
        path.write_bytes(drawn)
    else:
        path.write_text(_page(drawn, reports, mark()), encoding="utf-8", errors="backslashreplace")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": mark()})
    return out.getvalue()


def _svg(figure: Figure) -> str:
    """Return the `svg` element alone, without the document type and the metadata, which name other hosts."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    return text[text.index("<svg") :]


def _page(svg: str, reports: Sequence[Figures], generator: str) -> str:
    """Return an HTML document that needs no other host. svg: the plots as an element. generator: the program."""
    letters = ("",) if len(reports) == 1 else ("A: ", "B: ")
    body = [f"<h1>{escape(_title(reports))}</h1>"]
    for letter, report in zip(letters, reports):
        head, *rest = headline(report)
        body.append(_lines([f"{letter}{head}", *rest, *report["warnings"]]))
    body.append(
        f'<figure role="img" aria-label="Latency over time, stages and distribution" style="margin:0">{svg}</figure>'
    )
    if len(reports) == 2:
        body.append(f"<p>{escape(verdict(compared(*reports)))}</p>")
    for letter, report in zip(letters, reports):
        body += [f"<h2>{letter}Milliseconds by stage</h2>", _stages(report), _lines(happened(report))]
        body += [f"<h2>{letter}The worst moments: the slowest frame of a second</h2>", _worst(report)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{escape(generator)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_title(reports))}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _title(reports: Sequence[Figures]) -> str:
    return "Latency of the vehicle pilot" if len(reports) == 1 else "Latency of two runs of the vehicle pilot"


def _lines(lines: Iterable[str]) -> str:
    return "<p>" + "<br>\n".join(map(escape, lines)) + "</p>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def _stages(report: Figures) -> str:
    rows = [
        [name, f"{found['frames']:,}", *(f"{found[label]:.1f}" for label in SHOWN)]
        for name, found in report["times_ms"].items()
        if found
    ]
    return _table(["stage", "frames", *(label.replace("_", ".") for label in SHOWN)], rows)


def _worst(report: Figures) -> str:
    return _table(["when", *_WORST], map(worst_row, report["worst"]))
