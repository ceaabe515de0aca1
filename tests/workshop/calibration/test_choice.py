"""The choice: spread, different, sharp, with vehicles; exactly as many as there are to be had; the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from perception.workshop.calibration.choice import STEPS, Wanted, choose
from perception.workshop.calibration.scanning import SMALL_WH, FrameCandidate


def candidates_of(
    source: int, count: int, fps: float = 5.0, level: int | None = None, sharpness: float = 100.0
) -> list[FrameCandidate]:
    """Frames that all differ; with a level, frames that are all of that grey."""
    dice = np.random.default_rng(source)
    width, height = SMALL_WH
    small = [
        dice.integers(0, 255, (height, width), np.uint8) if level is None else np.full((height, width), level, np.uint8)
        for _ in range(count)
    ]
    return [FrameCandidate(source, frame, frame / fps, small[frame], sharpness, b"") for frame in range(count)]


def frames(candidates: Sequence[FrameCandidate], places: Sequence[int], source: int = 0) -> list[int]:
    return sorted(candidates[place].frame for place in places if candidates[place].source == source)


def test_the_same_seed_gives_the_same_choice_and_another_seed_another() -> None:
    candidates = candidates_of(0, 200) + candidates_of(1, 100)
    assert choose(candidates, Wanted(50, 10, 3)) == choose(candidates, Wanted(50, 10, 3))
    assert choose(candidates, Wanted(50, 10, 3)).chosen != choose(candidates, Wanted(50, 10, 4)).chosen


def test_no_frame_is_chosen_twice_and_none_of_both_parts() -> None:
    candidates = candidates_of(0, 200) + candidates_of(1, 100)
    choice = choose(candidates, Wanted(120, 30, 1))
    assert len({*choice.chosen, *choice.held_out}) == 150


def test_clips_get_equal_shares_and_a_short_one_gives_what_it_has() -> None:
    candidates = candidates_of(0, 300) + candidates_of(1, 300) + candidates_of(2, 10)
    chosen = choose(candidates, Wanted(110, 0, 1)).chosen
    assert [len(frames(candidates, chosen, source)) for source in range(3)] == [50, 50, 10]


@pytest.mark.parametrize("count", [8, 25, 60])
def test_every_beginning_of_the_choice_is_spread_over_time(count: int) -> None:
    candidates = candidates_of(0, 240)
    chosen = choose(candidates, Wanted(60, 0, 5)).chosen[:count]
    quarters = np.bincount([place // 60 for place in chosen], minlength=4)
    assert quarters.min() >= count // 4 - 1


def test_held_out_frames_lie_apart_in_time() -> None:
    candidates = candidates_of(0, 600)
    choice = choose(candidates, Wanted(200, 40, 2))
    chosen = np.array(frames(candidates, choice.chosen))
    distances = [np.abs(chosen - frame).min() for frame in frames(candidates, choice.held_out)]
    assert len(distances) == 40
    assert min(distances) >= 5  # frames, a second


def test_near_duplicates_wait() -> None:
    candidates = candidates_of(0, 50) + candidates_of(1, 50, level=100)
    choice = choose(candidates, Wanted(51, 0, 1))
    assert len(frames(candidates, choice.chosen, source=1)) == 1
    assert choice.by_step == (51, 0, 0, 0, 0)
    assert choice.duplicates == 49


def test_frames_less_sharp_than_their_own_clip_wait() -> None:
    shaken = [replace(candidate, source=0, sharpness=20.0) for candidate in candidates_of(2, 10)]
    candidates = candidates_of(0, 40) + candidates_of(1, 40, sharpness=1.0) + shaken
    choice = choose(candidates, Wanted(60, 0, 1))
    assert all(place < 80 for place in choice.chosen)
    assert choice.blurred == 10
    assert choose(candidates, Wanted(90, 0, 1)).by_step == (80, 0, 10, 0, 0)


def test_empty_frames_wait_and_each_is_asked_about_once() -> None:
    candidates = candidates_of(0, 60)
    asked: list[int] = []

    def empty(candidate: FrameCandidate) -> bool:
        asked.append(candidate.frame)
        return candidate.frame % 2 == 1

    choice = choose(candidates, Wanted(30, 0, 1), empty)
    assert frames(candidates, choice.chosen) == list(range(0, 60, 2))
    assert len(asked) == len(set(asked))
    assert choose(candidates, Wanted(40, 0, 1), empty).by_step == (30, 0, 0, 10, 0)


def test_as_long_as_there_are_frames_the_count_is_exact() -> None:
    alike = candidates_of(0, 30, level=10) + candidates_of(1, 30, level=11)
    choice = choose(alike, Wanted(50, 20, 1), lambda candidate: True)
    assert (len(choice.chosen), len(choice.held_out)) == (50, 10)
    assert sum(choice.by_step) == 50
    assert choice.by_step[-1] >= 48


def test_of_too_few_frames_both_parts_get_their_share() -> None:
    choice = choose(candidates_of(0, 49), Wanted(50, 20, 1))
    assert (len(choice.chosen), len(choice.held_out)) == (35, 14)
    choice = choose(candidates_of(0, 51), Wanted(50, 20, 1))
    assert (len(choice.chosen), len(choice.held_out)) == (50, 1)


def test_images_without_a_time_are_chosen_as_well() -> None:
    candidates = [
        FrameCandidate(0, number, None, candidate.small, 1.0, b"")
        for number, candidate in enumerate(candidates_of(0, 100))
    ]
    choice = choose(candidates, Wanted(60, 20, 1))
    assert (len(choice.chosen), len(choice.held_out)) == (60, 20)


def test_a_stop_ends_the_choice_at_once() -> None:
    taken: list[int] = []

    def took() -> None:
        taken.append(1)
        if len(taken) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        choose(candidates_of(0, 100), Wanted(50, 0, 1), took=took)
    assert len(taken) == 3


def test_each_step_lets_through_what_the_step_before_let_through() -> None:
    for strict, loose in zip(STEPS, STEPS[1:]):
        assert loose.difference <= strict.difference
        assert loose.sharpness <= strict.sharpness
        assert loose.empty >= strict.empty
    assert STEPS[-1].difference == STEPS[-1].sharpness == 0
    assert STEPS[-1].empty
