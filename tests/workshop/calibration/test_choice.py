"""The choice: spread, different, sharp, with vehicles; exactly as many as there are to be had; the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from perception.workshop.calibration.choice import STEPS, choose
from perception.workshop.calibration.looking import SMALL_WH, Look


def looks_of(
    source: int, count: int, fps: float = 5.0, level: int | None = None, sharpness: float = 100.0
) -> list[Look]:
    """Frames that all differ; with a level, frames that are all of that grey."""
    dice = np.random.default_rng(source)
    width, height = SMALL_WH
    small = [
        dice.integers(0, 255, (height, width), np.uint8) if level is None else np.full((height, width), level, np.uint8)
        for _ in range(count)
    ]
    return [Look(source, frame, frame / fps, small[frame], sharpness, b"") for frame in range(count)]


def frames(looks: Sequence[Look], places: Sequence[int], source: int = 0) -> list[int]:
    return sorted(looks[place].frame for place in places if looks[place].source == source)


def test_the_same_seed_gives_the_same_choice_and_another_seed_another() -> None:
    looks = looks_of(0, 200) + looks_of(1, 100)
    assert choose(looks, 50, 10, seed=3) == choose(looks, 50, 10, seed=3)
    assert choose(looks, 50, 10, seed=3).chosen != choose(looks, 50, 10, seed=4).chosen


def test_no_frame_is_chosen_twice_and_none_of_both_parts() -> None:
    looks = looks_of(0, 200) + looks_of(1, 100)
    choice = choose(looks, 120, 30, seed=1)
    assert len({*choice.chosen, *choice.held_out}) == 150


def test_clips_get_equal_shares_and_a_short_one_gives_what_it_has() -> None:
    looks = looks_of(0, 300) + looks_of(1, 300) + looks_of(2, 10)
    chosen = choose(looks, 110, 0, seed=1).chosen
    assert [len(frames(looks, chosen, source)) for source in range(3)] == [50, 50, 10]


@pytest.mark.parametrize("count", [8, 25, 60])
def test_every_beginning_of_the_choice_is_spread_over_time(count: int) -> None:
    looks = looks_of(0, 240)
    chosen = choose(looks, 60, 0, seed=5).chosen[:count]
    quarters = np.bincount([place // 60 for place in chosen], minlength=4)
    assert quarters.min() >= count // 4 - 1


def test_held_out_frames_lie_apart_in_time() -> None:
    looks = looks_of(0, 600)
    choice = choose(looks, 200, 40, seed=2)
    chosen = np.array(frames(looks, choice.chosen))
    distances = [np.abs(chosen - frame).min() for frame in frames(looks, choice.held_out)]
    assert len(distances) == 40
    assert min(distances) >= 5  # frames, a second


def test_near_duplicates_wait() -> None:
    looks = looks_of(0, 50) + looks_of(1, 50, level=100)
    choice = choose(looks, 51, 0, seed=1)
    assert len(frames(looks, choice.chosen, source=1)) == 1
    assert choice.by_step == (51, 0, 0, 0, 0)
    assert choice.duplicates == 49


def test_frames_less_sharp_than_their_own_clip_wait() -> None:
    shaken = [replace(look, source=0, sharpness=20.0) for look in looks_of(2, 10)]
    looks = looks_of(0, 40) + looks_of(1, 40, sharpness=1.0) + shaken
    choice = choose(looks, 60, 0, seed=1)
    assert all(place < 80 for place in choice.chosen)
    assert choice.blurred == 10
    assert choose(looks, 90, 0, seed=1).by_step == (80, 0, 10, 0, 0)


def test_empty_frames_wait_and_each_is_asked_about_once() -> None:
    looks = looks_of(0, 60)
    asked: list[int] = []

    def empty(look: Look) -> bool:
        asked.append(look.frame)
        return look.frame % 2 == 1

    choice = choose(looks, 30, 0, 1, empty)
    assert frames(looks, choice.chosen) == list(range(0, 60, 2))
    assert len(asked) == len(set(asked))
    assert choose(looks, 40, 0, 1, empty).by_step == (30, 0, 0, 10, 0)


def test_as_long_as_there_are_frames_the_count_is_exact() -> None:
    alike = looks_of(0, 30, level=10) + looks_of(1, 30, level=11)
    choice = choose(alike, 50, 20, 1, lambda look: True)
    assert (len(choice.chosen), len(choice.held_out)) == (50, 10)
    assert sum(choice.by_step) == 50
    assert choice.by_step[-1] >= 48


def test_of_too_few_frames_both_parts_get_their_share() -> None:
    choice = choose(looks_of(0, 49), 50, 20, seed=1)
    assert (len(choice.chosen), len(choice.held_out)) == (35, 14)
    choice = choose(looks_of(0, 51), 50, 20, seed=1)
    assert (len(choice.chosen), len(choice.held_out)) == (50, 1)


def test_images_without_a_time_are_chosen_as_well() -> None:
    looks = [Look(0, number, None, look.small, 1.0, b"") for number, look in enumerate(looks_of(0, 100))]
    choice = choose(looks, 60, 20, seed=1)
    assert (len(choice.chosen), len(choice.held_out)) == (60, 20)


def test_a_stop_ends_the_choice_at_once() -> None:
    taken: list[int] = []

    def took() -> None:
        taken.append(1)
        if len(taken) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        choose(looks_of(0, 100), 50, 0, 1, took=took)
    assert len(taken) == 3


def test_each_step_lets_through_what_the_step_before_let_through() -> None:
    for strict, loose in zip(STEPS, STEPS[1:]):
        assert loose.difference <= strict.difference
        assert loose.sharpness <= strict.sharpness
        assert loose.empty >= strict.empty
    assert STEPS[-1].difference == STEPS[-1].sharpness == 0
    assert STEPS[-1].empty
