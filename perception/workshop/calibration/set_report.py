"""The report on a new calibration set, for people and for the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perception.workshop.calibration.choice import STEPS, Choice
from perception.workshop.calibration.reading import Source
from perception.workshop.calibration.scanning import FrameCandidate, SourceScan
from perception.workshop.calibration.vehicles import Judge


@dataclass(frozen=True, slots=True)
class SetReport:
    """candidates, choice: what there was to choose from, and what was chosen."""

    sources: Sequence[Source]
    seen: Sequence[SourceScan]
    candidates: Sequence[FrameCandidate]
    choice: Choice
    seed: int
    judge: Judge

    def by_source(self) -> list[dict[str, Any]]:
        """Return for each source its name and how many frames it has, were scanned and chosen."""
        images, held_out = (
            Counter(self.candidates[place].source for place in places)
            for places in (self.choice.chosen, self.choice.held_out)
        )
        return [
            {
                "name": source.name,
                "frames": seen.frames,
                "looked_at": len(seen.candidates),
                "unreadable": len(seen.unreadable),
                "images": images[number],
                "held_out": held_out[number],
            }
            for number, (source, seen) in enumerate(zip(self.sources, self.seen))
        ]

    def facts(self) -> dict[str, Any]:
        """Return how the choice was made, for the manifest."""
        steps = [{"filters": str(step), "images": count} for step, count in zip(STEPS, self.choice.by_step)]
        return {"empty_by": self.judge.words if self.judge.empty else None, "steps": steps}

    def lines(self) -> list[str]:
        """Return the report for a terminal."""
        frames = sum(seen.frames for seen in self.seen)
        choice = self.choice
        lines = [
            f"Calibration set: {len(choice.chosen)} images of {frames:,} frames, {len(choice.held_out)} held out, "
            f"seed {self.seed}"
        ]
        for one in self.by_source():
            lines.append(f"  {one['images']:4} + {one['held_out']:<3} of {one['frames']:6,}  {one['name']}")
        empty = f", {choice.empty} empty (by {self.judge.words})" if self.judge.empty else ""
        lines.append(f"Passed over: {choice.duplicates} near-duplicates, {choice.blurred} blurred{empty}")
        if self.judge.empty is None:
            lines.append(f"Empty frames are not told from others: {self.judge.words}. Name a model with --model.")
        return [*lines, *self._relaxed()]

    def _relaxed(self) -> list[str]:
        """Return how far the filters were relaxed, as lines."""
        count, strict = len(self.choice.chosen), self.choice.by_step[0]
        if strict == count:
            return [f"Filters: all {count} pass ({STEPS[0]})"]
        lines = [f"Filters: {strict} of {count} pass ({STEPS[0]}); for the others they were relaxed:"]
        for step, images in list(zip(STEPS, self.choice.by_step))[1:]:
            if images:
                lines.append(f"  {images:4} at {step}")
        return [*lines, "More of them pass with more clips, of other places and hours."]
