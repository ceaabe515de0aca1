"""From a reader to a video: what kind of source it is decides on the times of its pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perception.camera.capture import Picture
from perception.reporting.recording.recorder import Recorder
from perception.settings.model import RecordSettings
from tests.camera.readers import FINITE, LIVE, MakeReader
from tests.doubles.fakes import FakeCapture, make_image, make_report
from tests.reporting.recording.videos import length_s


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize(("uri", "wanted_s"), [(LIVE, 1.24), (FINITE, 0.08)])
def test_a_live_source_is_recorded_in_its_own_time_and_a_file_frame_by_frame(
    tmp_path: Path, make_reader: MakeReader, uri: str, wanted_s: float
) -> None:
    first = make_reader(FakeCapture([Picture(make_image(20), 5.0)]), uri=uri).read(10)
    assert first
    second = replace(first, image=make_image(90), captured_at=first.captured_at + 1.2)
    sink = Recorder(RecordSettings(path=tmp_path / "out.mp4"))
    for frame in (first, second):
        sink.write(replace(make_report(), frame=frame))
    sink.close()
    assert length_s(tmp_path / "out.mp4") == pytest.approx(wanted_s, abs=0.01)
