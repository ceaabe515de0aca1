"""The contract of every source that a desk can have."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.app.stream import open_source
from perception.camera.reader import Reader
from perception.camera.uri import redact
from perception.core.errors import EndOfStream
from perception.core.frame import Frame
from perception.settings.model import SourceSettings
from tests.camera.clips import numbered, write_clip
from tests.camera.readers import reader_threads
from tests.camera.servers import StartRtsp

KINDS = [
    *("file", "file-realtime", "file-loop", "images", "images-loop", "demo"),
    pytest.param("rtsp", marks=pytest.mark.needs("rtsp-server")),
]
FINITE = {"file", "images", "file-realtime"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def uri(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A source of this kind, with eight pictures at least."""
    if kind == "rtsp":
        start: StartRtsp = request.getfixturevalue("rtsp")
        return start("--user", "admin:hunter2").with_user("admin:hunter2")
    if kind == "demo":
        return "demo://drive?seed=1&vehicles=2"
    option = {"realtime": "?realtime=1", "loop": "?loop=1"}.get(kind.partition("-")[2], "")
    if kind.startswith("file"):
        return f"file://{write_clip(tmp_path / 'clip.mp4', 8)}{option}"
    for number in range(8):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), numbered(number))
    return f"images://{tmp_path}{option}"


def read_some(reader: Reader, limit: int = 8) -> list[tuple[Frame, float]]:
    """Frames with the moment of their receipt."""
    frames: list[tuple[Frame, float]] = []
    deadline = time.monotonic() + 20
    while len(frames) < limit and time.monotonic() < deadline:
        try:
            frame = reader.read(1)
        except EndOfStream:
            break
        if frame is not None:
            frames.append((frame, time.monotonic()))
    return frames


def test_every_source_delivers_frames_as_the_contract_says(uri: str, kind: str) -> None:
    started = time.monotonic()
    with open_source(SourceSettings(uri=uri)) as reader:
        received = read_some(reader)
        frames = [frame for frame, _ in received]
        assert len(frames) >= (1 if reader.uri.live else 8)
        ids = [frame.frame_id for frame in frames]
        assert ids == sorted(set(ids))
        if not reader.uri.live:
            assert ids == list(range(8))
        assert ids[0] >= 0
        assert ids[-1] < reader.captured
        for frame in frames:
            assert frame.image.ndim == 3
            assert frame.image.shape[2] == 3
            assert frame.image.dtype == np.uint8
            assert frame.source == redact(uri)
            assert "hunter2" not in frame.source
        stamps = [frame.captured_at for frame in frames]
        assert stamps == sorted(stamps)
        assert started <= stamps[0]
        assert all(frame.captured_at <= now for frame, now in received)


def test_every_source_closes_twice_and_leaves_no_thread(uri: str) -> None:
    threads = threading.active_count()
    reader = open_source(SourceSettings(uri=uri))
    assert reader.is_open(20)
    assert reader.close()
    assert reader.close()
    assert reader_threads() == []
    assert threading.active_count() == threads


def test_a_source_may_be_closed_before_it_is_open(uri: str) -> None:
    reader = open_source(SourceSettings(uri=uri, open_timeout_s=2.0))
    closed = reader.close()
    if not closed:  # still negotiating; it ends with the negotiation
        deadline = time.monotonic() + 10
        while reader_threads() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert reader_threads() == []


def test_every_finite_source_ends_and_stays_at_its_end(uri: str, kind: str) -> None:
    if kind not in FINITE:
        with open_source(SourceSettings(uri=uri)) as reader:
            assert len(read_some(reader, limit=12)) == 12, "it does not end"
        return
    with open_source(SourceSettings(uri=uri)) as reader:
        assert read_some(reader, limit=100)[-1][0].frame_id == 7
        for _ in range(2):
            with pytest.raises(EndOfStream):
                reader.read(1)


def test_frames_do_not_share_their_pictures(uri: str, kind: str) -> None:
    copies: list[tuple[Frame, bytes]] = []
    with open_source(SourceSettings(uri=uri)) as reader:
        for frame, _ in read_some(reader, limit=4):
            copies.append((frame, frame.image.tobytes()))
    assert all(frame.image.tobytes() == content for frame, content in copies)
    assert len(copies) >= 1
