"""Plots: their size and contents, and a page that needs nothing from another host."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from perception.core.errors import SettingsError
from perception.workshop.latency.plot.drawing import check_plot, draw
from perception.workshop.latency.plot.panels import ORANGE, PURPLE, one_run, two_runs
from perception.workshop.latency.reading import Query
from perception.workshop.latency.report import figures
from tests.workshop.latency.runs import COOL, FP16, HOT, NOW, Step, outcome_of, steady, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a change, a restart after a gap, drops and a hot stretch."""
    steps = [replace(step, backend=FP16) for step in steady(300, total_ms=30)]
    steps += steady(300, first=300, at_s=10) + steady(600, at_s=40)
    boards = {n: HOT if 800 <= n < 1000 else COOL for n in range(0, 1200, 30)}
    steps = [replace(step, board=boards.get(n), dropped=2 * (n % 97 == 0)) for n, step in enumerate(steps)]
    return write(tmp_path / "frames.jsonl", steps)


def drawn(path: Path) -> Figure:
    outcome = outcome_of(path)
    return one_run(outcome.tally, figures(outcome, Query(NOW)))


def test_a_picture_has_every_panel_with_title_and_unit(run: Path) -> None:
    axes = drawn(run).axes
    titles = [axis.get_title(loc="left") for axis in axes if axis.get_title(loc="left")]
    assert [title.split(" (")[0].split(":")[0] for title in titles] == [
        "Latency over time",
        "Frames dropped for a newer picture",
        "Where the time goes",
        "The board",
        "Distribution",
    ]
    assert [axis.get_ylabel() for axis in axes] == ["total, ms", "dropped", "mean, ms", "C", "% of frames (log)", "W"]
    legend = axes[0].get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} >= {"p50", "p95", "restart", "change", "throttled"}


def test_the_marks_lie_where_things_happened(run: Path) -> None:
    axis = drawn(run).axes[0]
    first = min(float(np.nanmin(line.get_xdata())) for line in axis.lines if len(np.atleast_1d(line.get_xdata())) > 2)
    lines = [line for line in axis.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    seconds = {
        str(line.get_label()): (float(np.asarray(line.get_xdata())[0]) - first) * 86400
        for line in lines
        if line.get_linestyle() in (":", "--")
    }
    assert seconds["change"] == pytest.approx(10, abs=1.1)
    assert seconds["restart"] == pytest.approx(40, abs=1.1)
    changes = [line for line in lines if line.get_color() == PURPLE]
    assert len(changes) == 1
    spans = [
        patch
        for patch in axis.patches
        if patch.get_facecolor()[:3] == pytest.approx(np.asarray([0.902, 0.624, 0]), abs=0.01)
    ]
    assert ORANGE == "#E69F00"
    assert len(spans) == 1
    box = spans[0].get_path().get_extents(spans[0].get_patch_transform())
    assert (box.x0 - first) * 86400 == pytest.approx(47, abs=1.5)
    assert box.width * 86400 == pytest.approx(6.5, abs=1.5)


def test_a_png_is_1200_px_wide(tmp_path: Path, run: Path) -> None:
    outcome = outcome_of(run)
    draw(tmp_path / "report.png", [outcome], [figures(outcome, Query(NOW))])
    image = cv2.imread(str(tmp_path / "report.png"))
    assert image is not None
    assert image.shape[1] == 1200
    assert image.std() > 10


class Elements(HTMLParser):
    """Notes the attributes of every element, and that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("both", [False, True])
def test_a_page_is_whole_and_has_all_in_itself(tmp_path: Path, run: Path, both: bool) -> None:
    odd = run.with_name("<b>&.jsonl")
    run.rename(odd)
    outcomes = [outcome_of(odd)] * (2 if both else 1)
    draw(tmp_path / "report.html", outcomes, [figures(outcome, Query(NOW)) for outcome in outcomes])
    text = (tmp_path / "report.html").read_text()
    page = Elements()
    page.feed(text)
    assert page.open == []
    assert page.tags.count("svg") == 1
    assert "script" not in page.tags
    assert "link" not in page.tags
    named = [value for name, value in page.attributes if not name.startswith("xmlns") and "//" in value]
    assert named == []
    assert not re.search(r"url\((?!#)|@import", text)
    assert "&lt;b&gt;&amp;.jsonl" in text
    assert "Latency of 1,200 frames" in text


def test_a_log_without_times_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "cat"
    path.write_text("".join(step.line() + "\n" for step in steady(50)))
    (axis,) = drawn(path).axes
    assert axis.get_title(loc="left") == "Distribution"
    outcome = outcome_of(path)
    both = two_runs([outcome.tally, outcome.tally], [figures(outcome, Query(NOW))] * 2)
    assert "its log tells no times" in str([text.get_text() for text in both.axes[0].get_legend().get_texts()])  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_short_run_can_be_drawn(tmp_path: Path, count: int) -> None:
    outcome = outcome_of(write(tmp_path / "frames.jsonl", [Step(n, n / 30, preprocess_ms=None) for n in range(count)]))
    draw(tmp_path / "a.png", [outcome], [figures(outcome, Query(NOW))])
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_without_matplotlib_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs the package matplotlib.* -m pip install matplotlib"):
        check_plot(tmp_path / "a.png")
