"""The version of the preprocess: what was calibrated on other bytes must not be taken for the same."""

from __future__ import annotations

import hashlib

import numpy as np

from perception.backends.preprocess import PREPROCESS_VERSION, Preprocessor

GOLDEN = {"1": "0ecf4ede4d06c6cb13694807e978897a5aae3cfe36f8e022c8b008e296afbdf4"}
"""By version, the sha256 of three letterboxed pictures, rounded to what no release of OpenCV changes."""


def digest() -> str:
    """Of a picture that is scaled down, one that is scaled up and one that fits, as steps of 1/255."""
    rows, columns = np.mgrid[0:96, 0:160]
    picture = np.stack([(rows * 5) % 256, (columns * 3) % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    digest = hashlib.sha256()
    for image in (picture, picture[:16, :24], picture[:64, :64]):
        tensor, _ = Preprocessor((64, 64))([np.ascontiguousarray(image)])
        digest.update(np.rint(tensor * 255).astype(np.uint8).tobytes())
    return digest.hexdigest()


def test_other_bytes_need_another_version() -> None:
    assert digest() == GOLDEN[PREPROCESS_VERSION], (
        "a picture becomes other bytes than before: raise PREPROCESS_VERSION, so that calibrations are made anew"
    )
