"""The commands of the encoders, as text."""

from __future__ import annotations

from pathlib import Path

from perception.reporting.recording.commands import Stream, ffmpeg_command, hardware_pipeline, software_pipeline

SEGMENT = Stream(Path("/videos/a b.mp4"), 30.0, (1280, 720), fragmented=True)
WHOLE = SEGMENT._replace(fragmented=False, fps=29.97)


def test_ffmpeg_takes_raw_pictures_and_writes_fragments() -> None:
    assert " ".join(ffmpeg_command("/opt/bin/ffmpeg", SEGMENT)) == (
        "/opt/bin/ffmpeg -v error -nostdin -y -f rawvideo -pix_fmt bgr24 -s 1280x720 -r 30 -i - "
        "-pix_fmt yuv420p -c:v libx264 -preset veryfast -crf 23 -threads 2 -g 60 "
        "-movflags +frag_keyframe+empty_moov+default_base_moof -flush_packets 1 /videos/a b.mp4"
    )


def test_ffmpeg_writes_one_file_with_its_index_first() -> None:
    command = ffmpeg_command("ffmpeg", WHOLE)
    assert command[command.index("-movflags") + 1] == "+faststart"
    assert command[command.index("-r") + 1] == "29.97"


def test_the_pipeline_of_a_jetson() -> None:
    words = hardware_pipeline(SEGMENT)
    assert words[-1] == "location=/videos/a b.mp4"
    assert " ".join(words[:-1]) == (
        "fdsrc fd=0 blocksize=2764800 ! rawvideoparse format=bgr width=1280 height=720 framerate=30/1 ! videoconvert ! "
        "video/x-raw,format=BGRx ! nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc bitrate=4147200 "
        "iframeinterval=60 idrinterval=60 insert-sps-pps=true maxperf-enable=true ! h264parse ! "
        "mp4mux fragment-duration=2000 ! filesink"
    )


def test_the_pipeline_without_hardware() -> None:
    text = " ".join(software_pipeline(WHOLE))
    assert "framerate=2997/100 !" in text
    assert "! video/x-raw,format=I420 ! x264enc speed-preset=veryfast key-int-max=60 threads=2 ! h264parse !" in text
    assert "! mp4mux ! filesink location=/videos/a b.mp4" in text
