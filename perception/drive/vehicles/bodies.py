"""The drive's fleet: designs of every class, made when first met and kept, and how to draw one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from perception.core.frame import Image
from perception.drive.camera import FIXED_BITS, NEAREST_Z, Camera, fixed
from perception.drive.hashing import Dice
from perception.drive.mesh import Mesh
from perception.drive.palette import Floats, Light
from perception.drive.settings import BICYCLE, BUS, CAR, MOTORCYCLE, TRUCK
from perception.drive.vehicles.bicycles import PEDAL_PHASES, make_bicycle
from perception.drive.vehicles.buses import make_bus
from perception.drive.vehicles.cars import make_car
from perception.drive.vehicles.riders import make_motorcycle
from perception.drive.vehicles.trucks import make_truck

DESIGNS = {BICYCLE: 6, CAR: 24, MOTORCYCLE: 10, BUS: 8, TRUCK: 10}
_MAKERS = {CAR: make_car, MOTORCYCLE: make_motorcycle, BUS: make_bus, TRUCK: make_truck}
# Pixels to a metre from which marks of the second and the third level are worth drawing.
_FINE_PX, _FINEST_PX = 15.0, 42.0


@dataclass(frozen=True)
class Vehicle:
    """A vehicle at one moment: the middle of its body on the road at (x, z) metres, heading +1 ahead or -1 towards.

    `drift` is dx/dz of its path, `phase` the turn of its pedals.
    """

    class_id: int
    design: int
    x: float
    z: float
    heading: int
    drift: float = 0.0
    phase: int = 0


@dataclass(frozen=True, eq=False)
class Posed:
    """A body as the camera sees it: `points` (V, 2) pixels, the faces to draw far to near, and its rear's place (m)."""

    mesh: Mesh
    points: Floats
    visible: npt.NDArray[np.int64]
    rear_z: float


class Fleet:
    """Designs by class and number; each is a pure function of the seed, so that making them late changes nothing."""

    def __init__(self, dice: Dice, light: Light) -> None:
        self._dice, self._light = dice, light
        self._meshes: dict[tuple[int, int, int], Mesh] = {}
        self._colours: dict[tuple[int, int, int, int], Floats] = {}

    def mesh(self, class_id: int, design: int, phase: int = 0) -> Mesh:
        """The body of a design."""
        key = (class_id, design, phase)
        if key not in self._meshes:
            dice = self._dice.sub(class_id, design)
            self._meshes[key] = make_bicycle(dice, phase) if class_id == BICYCLE else _MAKERS[class_id](dice)
        return self._meshes[key]

    def length(self, class_id: int, design: int) -> float:
        """The length of a design in metres."""
        return self.mesh(class_id, design).size[2]

    def colours(self, vehicle: Vehicle) -> Floats:
        """The lit colours of the faces of a vehicle, before haze."""
        key = (vehicle.class_id, vehicle.design, vehicle.phase, vehicle.heading)
        if key not in self._colours:
            self._colours[key] = self.mesh(*key[:3]).shade(self._light, vehicle.heading)
        return self._colours[key]

    def prepare(self, vehicles: list[Vehicle]) -> None:
        """Make the bodies of some vehicles ahead of need, pedalling ones at every turn."""
        for vehicle in vehicles:
            phases = range(PEDAL_PHASES) if vehicle.class_id == BICYCLE else range(1)
            for phase in phases:
                self.colours(replace(vehicle, phase=phase))

    def pose(self, vehicle: Vehicle, camera: Camera) -> Posed:
        """Return the places of the vehicle's faces in the picture."""
        mesh = self.mesh(vehicle.class_id, vehicle.design, vehicle.phase % PEDAL_PHASES)
        return pose_mesh(mesh, (vehicle.x, vehicle.z), vehicle.heading, vehicle.drift, camera)


def pose_mesh(mesh: Mesh, at: tuple[float, float], heading: int, drift: float, camera: Camera) -> Posed:
    """Return the places of the visible faces of a body with its middle at (x, z) in the picture."""
    x, z = at
    turn = np.array([heading, 1, heading], np.float32)
    world = mesh.vertices * turn
    world[:, 0] += x + drift * world[:, 2]
    world[:, 2] += z
    centres = mesh.centres * turn
    centres[:, 2] = np.maximum(centres[:, 2] + z, NEAREST_Z)
    # Faces are judged where the bent road carries them, with the yaw that the bend gives.
    yaw = camera.bend * z + drift
    centres[:, 0] += x + camera.shift_at(centres[:, 2])
    centres[:, 1] -= camera.height
    normals = mesh.normals * turn
    side = normals[:, 0] - yaw * normals[:, 2]
    ahead = normals[:, 2] + yaw * normals[:, 0]
    facing = centres[:, 0] * side + centres[:, 1] * normals[:, 1] + centres[:, 2] * ahead < 0
    rear_z = z - mesh.size[2] / 2
    scale = camera.focal / max(rear_z, 2.0)
    shown = facing & (mesh.level <= int(scale > _FINE_PX) + int(scale > _FINEST_PX))
    order = mesh.order[0] if heading > 0 else mesh.order[1]
    return Posed(mesh, camera.project(world), order[shown[order]], rear_z)


def draw_body(image: Image, posed: Posed, colours: Floats) -> None:
    """Draw a posed vehicle with the given (F, 3) colours of its faces."""
    points = fixed(posed.points)
    starts = posed.mesh.starts
    tones = colours.tolist()
    for face in posed.visible.tolist():
        corners = points[starts[face] : starts[face + 1]]
        cv2.fillConvexPoly(image, corners, tones[face], cv2.LINE_AA, FIXED_BITS)
