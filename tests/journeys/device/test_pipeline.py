"""The run time on a real GPU: what it computes, in every way it can be asked."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector_service import DetectorService, open_service
from perception.backends.gpu.pipeline import GpuPipeline
from perception.backends.preprocess import Preprocessor
from perception.core.detections import Detections
from perception.core.frame import Frame, Image
from perception.core.nms import nms
from perception.lab.benchmark.frame_cost import read_clip
from perception.settings.model import Settings
from perception.workshop.quantize.agreement import agreement
from tests.doubles.emulation import FEW
from tests.doubles.fakes import infer
from tests.journeys.device.conftest import MakeSettings, copy_of

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]


def frame(image: Image) -> Frame:
    return Frame(image, 0, 0.0, "test")


def same(one: Detections, other: Detections) -> bool:
    return (
        np.array_equal(one.xyxy, other.xyxy)
        and np.array_equal(one.confidence, other.confidence)
        and np.array_equal(one.class_id, other.class_id)
    )


def pipeline(service: DetectorService) -> GpuPipeline:
    backend = service._backend
    assert isinstance(backend, GpuPipeline), "the kernels could not be built"
    return backend


@pytest.mark.parametrize("clip", ["dashcam_a_720p", "dashcam_b_720p", "highway_540p"])
def test_the_same_vehicles_as_on_the_cpu(
    settings_for: MakeSettings, engine: Path, data: Path, reference: DetectorService, clip: str
) -> None:
    images = read_clip(data / "clips" / f"{clip}.mp4", 10_000)
    with open_service(settings_for(engine)) as service:
        found = agreement(
            (reference.detect([frame(image)])[0].detections, service.detect([frame(image)])[0].detections)
            for image in images
        )
    print(f"{clip}: {found}")
    assert found.same_count >= 0.98
    assert found.share_matched >= 0.98
    assert found.share_of_iou(0.97) >= 0.99
    assert found.share_of_confidence(0.02) >= 0.99
    assert found.vehicles > len(images) / 2


def test_the_letterbox_is_that_of_the_cpu(settings_for: MakeSettings, engine: Path) -> None:
    generator = np.random.default_rng(5)
    sizes = [(720, 1280), (1080, 1920), (2160, 3840), (1, 1), (2, 3), (641, 639), (17, 5000), (5000, 17)]
    sizes += [(int(height), int(width)) for height, width in generator.integers(1, 1500, (100, 2))]
    worst = 0.0
    with open_service(settings_for(engine)) as service:
        backend = pipeline(service)
        tensor = backend._engine.input
        on_device = np.empty(tensor.shape, tensor.dtype)
        for size in sizes:
            image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            for is_lent in (False, True):
                service.detect([frame(_lent(service, image) if is_lent else image)])[0]
                backend._gpu.cuda.memcpy_dtoh(on_device, tensor.address)
                expected, _ = Preprocessor(backend.info.input_hw, tensor.dtype)([image])
                worst = max(worst, float(np.abs(on_device[:1].astype(np.float64) - expected).max()))
    print(f"{len(sizes)} sizes: the kernel is within {worst * 255:.6f} / 255 of the CPU")
    assert worst <= 1.001 / 255


def _lent(service: DetectorService, image: Image) -> Image:
    hw = (image.shape[0], image.shape[1])
    if service.lend(hw) is None:  # from the next picture on there are frames of its size
        service.detect([frame(image)])[0]
    target = service.lend(hw)
    assert target is not None
    np.copyto(target, image)
    return target


def test_lent_ordinary_graph_and_eager_give_equal_results(settings_for: MakeSettings, engine: Path, data: Path) -> None:
    images = read_clip(data / "clips" / "dashcam_a_720p.mp4", 40)
    with open_service(settings_for(engine)) as service:
        backend = pipeline(service)
        ordinary = [service.detect([frame(image)])[0].detections for image in images]
        assert backend._graph is not None, "the graph was refused"
        lent = [service.detect([frame(_lent(service, image))])[0].detections for image in images]
        backend._with_graph = False
        backend._forget_launch()
        eager = [service.detect([frame(image)])[0].detections for image in images]
    assert all(map(same, ordinary, lent))
    assert all(map(same, ordinary, eager))
    assert sum(map(len, ordinary)) > len(images) / 2


def test_sizes_may_change_from_frame_to_frame(settings_for: MakeSettings, engine: Path, data: Path) -> None:
    images = read_clip(data / "clips" / "highway_540p.mp4", 6)
    sizes = [(960, 540), (640, 360), (1920, 1080), (333, 777)]
    scaled = [np.asarray(cv2.resize(image, size), np.uint8) for image in images for size in sizes]
    with open_service(settings_for(engine)) as service:
        mixed = [service.detect([frame(image)])[0].detections for image in scaled]
        for number in range(len(sizes)):
            alone = [service.detect([frame(image)])[0].detections for image in scaled[number :: len(sizes)]]
            assert all(map(same, mixed[number :: len(sizes)], alone))


def test_a_threshold_and_classes_may_change(
    settings_for: MakeSettings, engine: Path, data: Path, reference: DetectorService
) -> None:
    image = read_clip(data / "clips" / "highway_540p.mp4", 1)[0]
    settings = settings_for(engine)
    with open_service(settings) as service:
        many = service.detect([frame(image)])[0].detections
        least = float(many.confidence.min())
        service.apply(_with_conf(settings, least + 1e-4))
        assert len(service.detect([frame(image)])[0].detections) < len(many)
        service.apply(settings.model_copy(update={"classes": ("bus",)}))
        buses = {number for number, name in service.info.class_names.items() if name == "bus"}
        assert set(service.detect([frame(image)])[0].detections.class_id.tolist()) <= buses
        service.apply(settings)
        assert same(service.detect([frame(image)])[0].detections, many)


def _with_conf(settings: Settings, conf: float) -> Settings:
    return settings.model_copy(update={"model": settings.model.model_copy(update={"conf": conf})})


@pytest.mark.parametrize("clip", ["dashcam_a_720p", "highway_540p"])
@pytest.mark.parametrize("conf", [0.05, 0.25])
def test_overlaps_are_suppressed_as_on_the_cpu(
    settings_for: MakeSettings, engine: Path, data: Path, clip: str, conf: float
) -> None:
    """To the bit, of the same output of the network: it is asked twice, with and without suppression."""
    images = read_clip(data / "clips" / f"{clip}.mp4", 100)
    dropped = suppressed = 0
    with open_service(settings_for(engine)) as service:
        backend = pipeline(service)
        for iou in (0.45, 0.7):
            without = [infer(backend, [image], conf)[0][0] for image in images]
            left = [infer(backend, [image], conf, iou=iou)[0][0] for image in images]
            for image, before, after in zip(images, without, left):
                assert after.final == (len(before) <= FEW)
                suppressed += after.final
                dropped += len(before) - len(after)
                assert same(nms(after, iou, image.shape[:2]), nms(before, iou, image.shape[:2]))
    print(f"{clip} at {conf}: {suppressed} of {2 * len(images)} pictures, {dropped} boxes")
    assert dropped > 0


def test_a_low_threshold_lets_every_box_through(settings_for: MakeSettings, engine: Path, data: Path) -> None:
    image = read_clip(data / "clips" / "highway_540p.mp4", 1)[0]
    with open_service(settings_for(engine)) as service:
        (found, _) = infer(service._backend, [image], 0.0)[0]
    assert len(found) > 500


def test_cameras_in_one_launch_see_what_each_sees_alone(
    settings_for: MakeSettings, plans: Path, tmp_path: Path, data: Path, reference: DetectorService
) -> None:
    engine = copy_of(plans / "yolov8n_dynamic.plan", tmp_path)
    cameras = [
        read_clip(data / "clips" / f"{clip}.mp4", 20) for clip in ("dashcam_a_720p", "highway_540p", "dashcam_b_720p")
    ]
    pairs = []
    with open_service(settings_for(engine)) as service:
        assert service.info.batch == 4
        for images in zip(*cameras):
            for count in (1, 2, 3):
                together = service.detect([frame(image) for image in images[:count]])
                pairs += [
                    (reference.detect([frame(image)])[0].detections, result.detections)
                    for image, result in zip(images, together)
                ]
        five = service.detect([frame(image) for image in cameras[0][:5]])
    found = agreement(pairs)
    print(f"batches of 1 to 3, float16 tensors: {found}")
    assert found.same_count >= 0.97
    assert found.share_matched >= 0.98
    assert found.share_of_iou(0.95) >= 0.99
    assert found.share_of_confidence(0.02) >= 0.99
    assert len(five) == 5
