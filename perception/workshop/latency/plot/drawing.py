"""Draws a report: a PNG, or a self-contained page."""

from __future__ import annotations

import importlib.util
import io
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from perception.core.errors import SettingsError
from perception.workshop.latency.plot.page import page
from perception.workshop.latency.reading import Outcome
from perception.workshop.latency.report import Figures
from perception.workshop.own_file import check_own, mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
FORMATS = (".png", ".html")


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
        path.write_text(page(drawn, reports, mark()), encoding="utf-8", errors="backslashreplace")


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
