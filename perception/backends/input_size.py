"""The size of a network's input: what its file fixes, what the user asks for, what it was made for."""

from __future__ import annotations

from perception.backends.models.model_facts import Facts

USUAL_PX = 640
"""ultralytics' default for training."""


def input_size(
    path: object, fixed: tuple[int | None, int | None], facts: Facts, imgsz: int | None
) -> tuple[tuple[int, int], str]:
    """Return (height, width) in pixels, and a sentence where `imgsz` is not what the file is made for, else "".

    fixed: the sides of the file's input, None where it leaves one open. imgsz: the side that the user asks for, None
    for the file's own.
    """
    usual = facts.imgsz or (USUAL_PX, USUAL_PX)
    asked = usual if imgsz is None else (imgsz, imgsz)
    height, width = (side if side is not None else other for side, other in zip(fixed, asked))
    if imgsz is None:
        return (height, width), ""
    if (height, width) != (imgsz, imgsz):
        return (height, width), f"{path} takes {width}x{height} alone: imgsz {imgsz} has no effect"
    if None in fixed and facts.imgsz not in (None, (height, width)):
        how = f"{path} was made for {usual[1]}x{usual[0]} and runs at {width}x{height}, as imgsz says: it may find less"
        return (height, width), how
    return (height, width), ""
