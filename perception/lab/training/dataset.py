"""The training set as files: completed photographs, the drive, and the list with repeats."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from perception.camera.images import read_image
from perception.core.errors import SourceError
from perception.lab.training.completion import complete, rule_for
from perception.lab.training.drive_pictures import write_drive
from perception.lab.training.teacher import teacher_detections
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.labels import read_labels, write_labels

# Real photographs are few and are what counts on a road, so each is seen four times for once of the others.
REPEATS = {"india": 4, "openimages": 4}


def prepare(data: Path, folder: Path, teachers: Sequence[Path], frames: int, pictures: int | None, device: str) -> Path:
    """Write the whole training set under `folder` and return the .yaml that describes it. Files that exist are kept.

    data: holds images/{train,val} and labels/{train,val}. frames: of the drive. pictures: at most so many of each
    split, None for all. Raises SourceError where `data` holds no pictures.
    """
    complete_photos(data, folder, teachers, pictures, device)
    if frames:
        write_drive(folder / "drive", frames)
    for split in ("train", "val"):
        listed = _list_of(folder, split)
        (folder / f"{split}.txt").write_text("".join(f"./{path.relative_to(folder)}\n" for path in listed))
    names = dict(enumerate(COCO_VEHICLES))
    described = folder / "vehicle-n.yaml"
    described.write_text(
        yaml.safe_dump({"path": str(folder.resolve()), "train": "train.txt", "val": "val.txt", "names": names})
    )
    return described


def complete_photos(data: Path, folder: Path, teachers: Sequence[Path], pictures: int | None, device: str) -> None:
    """Copy the pictures of `data`; training labels completed by the teachers, validation labels as they are."""
    for split in ("train", "val"):
        sources = list_images(data / "images" / split)[:pictures]
        target = folder / "photos" / split
        missing = [path for path in sources if not (target / "labels" / f"{path.stem}.txt").exists()]
        for name in ("images", "labels"):
            (target / name).mkdir(parents=True, exist_ok=True)
        asked = teachers if split == "train" and missing else ()
        seen = [
            teacher_detections(weights, missing, folder / "teachers" / f"{weights.stem}.json", device)
            for weights in asked
        ]
        for path in missing:
            image = read_image(path)
            if image is None:
                raise SourceError(f"{path} cannot be read as a picture")
            size = (image.shape[0], image.shape[1])
            labels = read_labels(data / "labels" / split / f"{path.stem}.txt", size)
            found = [notes[path.name] for notes in seen]
            full = complete(labels, found, rule_for(path.name), size) if found else labels
            shutil.copyfile(path, target / "images" / path.name)
            write_labels(target / "labels" / f"{path.stem}.txt", full, size)


def list_images(folder: Path) -> list[Path]:
    """Return the pictures of a folder by name. Raises SourceError where there are none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise SourceError(f"{folder} holds no pictures", "Give a data set with images/train and images/val.")
    return found


def _list_of(folder: Path, split: str) -> list[Path]:
    photos = list_images(folder / "photos" / split / "images")
    if split == "val":
        return photos
    listed = [path for path in photos for _ in range(REPEATS.get(path.name.split("_")[0], 1))]
    return listed + sorted((folder / "drive" / "images").glob("*.jpg"))


def digest(paths: Iterable[Path], root: Path) -> str:
    """Return one sha256 over the names (relative to `root`) and the contents of files, whatever order they come in."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(f"{path.relative_to(root).as_posix()}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def digests(folder: Path) -> Mapping[str, Mapping[str, object]]:
    """Return for each part of a training set its pictures, its vehicles by class, and the digest of both."""
    parts = {}
    for name in ("photos/train", "photos/val", "drive"):
        images = sorted((folder / name / "images").glob("*"))
        labels = sorted((folder / name / "labels").glob("*.txt"))
        if images:
            parts[name] = {
                "images": len(images),
                "vehicles": _count(labels),
                "images_sha256": digest(images, folder),
                "labels_sha256": digest(labels, folder),
            }
    return parts


def _count(labels: Iterable[Path]) -> dict[str, int]:
    counts = dict.fromkeys(COCO_VEHICLES, 0)
    for path in labels:
        for line in path.read_text().splitlines():
            counts[COCO_VEHICLES[int(line.split()[0])]] += 1
    return counts
