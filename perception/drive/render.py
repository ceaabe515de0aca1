"""The synthetic drive: a road scene from a seed, any frame of it at any time, with exact boxes."""

from __future__ import annotations

import numpy as np

from perception.core.frame import Image, Truth
from perception.drive.effects import Glows, Rain, Shadows
from perception.drive.hashing import Dice
from perception.drive.layout import make_camera, make_layout
from perception.drive.palette import Floats, make_light
from perception.drive.scenery.ground import Ground, beam_at
from perception.drive.scenery.rails import Rail
from perception.drive.scenery.roadside import Roadside, Thing
from perception.drive.scenery.sky import make_panorama
from perception.drive.settings import DriveSettings
from perception.drive.stamp import draw_stamp
from perception.drive.traffic import Traffic
from perception.drive.truth import Outline, collect
from perception.drive.vehicles.bodies import Fleet, Posed, Vehicle, draw_body

_SHADE_M = 60.0
_WARM_S = 60.0


class Drive:
    """A drive along a road. `render(n)` depends on the settings and n alone.

    An instance keeps buffers between frames: use one from one thread at a time.
    """

    def __init__(self, settings: DriveSettings) -> None:
        self.settings = settings
        self.frame_count = max(1, round(settings.duration * settings.fps))
        dice = Dice(settings.seed)
        self._layout = make_layout(dice.sub(1))
        self._light = make_light(dice.sub(2), settings.light, settings.rain)
        self._camera = make_camera(dice.sub(3), settings.width, settings.height, self._layout.kind)
        self._fleet = Fleet(dice.sub(4), self._light)
        self._traffic = Traffic(dice.sub(5), self._layout, self._fleet, settings.vehicles)
        self._roadside = Roadside(dice.sub(6), self._camera, self._layout, self._light)
        self._ground = Ground(dice.sub(7), self._camera, self._layout, self._light)
        self._panorama = make_panorama(dice.sub(8), self._camera, self._light, self._layout.kind)
        self._rails = [Rail(self._camera, self._light, x, kind) for x, kind in self._layout.rails]
        self._shadows = Shadows(self._camera, self._light)
        self._glows = Glows(self._light)
        self._rain = Rain(dice.sub(9), settings.height, settings.width, settings.rain, self._light)

        # What the drive will meet is made now, so that no frame waits for it.
        self._roadside.prepare()
        for second in range(int(min(settings.duration, _WARM_S)) + 1):
            self._fleet.prepare(self._traffic.at(float(second)))

    def render(self, number: int) -> tuple[Image, Truth]:
        """Frame `number`: its picture (height, width, 3) uint8 BGR, and its vehicles.

        Raises IndexError when there is no such frame.
        """
        if not 0 <= number < self.frame_count:
            raise IndexError(f"frame {number} is not in a drive of {self.frame_count} frames")
        time_s = number / self.settings.fps
        travelled = self._layout.speed * time_s
        vehicles = self._traffic.at(time_s)
        things = sorted(self._roadside.at(travelled), key=lambda thing: (-thing.z, thing.x))
        poses = [self._fleet.pose(vehicle, self._camera) for vehicle in vehicles]
        image = np.empty((self.settings.height, self.settings.width, 3), np.uint8)
        self._backdrop(image, travelled)
        self._cast(vehicles, poses, things)
        self._ground.render(image, travelled, self._shadows.mask)
        self._stand(image, travelled, list(zip(vehicles, poses, strict=True)), things)
        self._rain.draw(image, number)
        truth = collect(self._silhouettes(vehicles, poses, things), self.settings.width, self.settings.height)
        if self.settings.stamp:
            draw_stamp(image, number)
        return image, truth

    def _backdrop(self, image: Image, travelled: float) -> None:
        """The far view, which turns past as the road bends."""
        rows, width = len(self._panorama), self.settings.width
        turned = self._camera.bend * travelled * self._camera.focal
        start = int(turned) % (2 * width)
        image[:rows] = self._panorama[:, start : start + width]

    def _cast(self, vehicles: list[Vehicle], poses: list[Posed], things: list[Thing]) -> None:
        shadows = self._shadows
        shadows.clear()
        round_ones: list[tuple[float, float, float, float]] = []
        for thing in things:
            if thing.z < _SHADE_M and thing.kind not in ("house", "gantry"):
                prop = self._roadside.prop(thing)
                if prop.shade > 0:
                    round_ones.append((thing.x, thing.z, prop.height, prop.shade))
        shadows.below(round_ones)
        for step in range(3):
            for vehicle, posed in zip(vehicles, poses, strict=True):
                if vehicle.z > -6.0:
                    shadows.under(vehicle, posed.mesh, step)

    @staticmethod
    def _ahead(vehicle: Vehicle, posed: Posed) -> bool:
        """Return True if any part of a vehicle is in front of the camera."""
        return vehicle.z + posed.mesh.size[2] / 2 >= 1.0

    def _beyond(self, x: float) -> bool:
        """Return True if a place lies on the far side of a rail."""
        return any(x * rail.x > 0 and abs(x) > abs(rail.x) for rail in self._rails)

    def _stand(
        self, image: Image, travelled: float, vehicles: list[tuple[Vehicle, Posed]], things: list[Thing]
    ) -> None:
        """Draw all that stands on the ground, far to near: what is beyond the rails, the rails, the rest."""
        items: list[tuple[float, int, tuple[Vehicle, Posed] | Thing]] = []
        items += [(-posed.rear_z, i, (vehicle, posed)) for i, (vehicle, posed) in enumerate(vehicles)]
        items += [(-thing.z, len(vehicles) + i, thing) for i, thing in enumerate(things)]
        items.sort(key=lambda item: item[:2])
        for beyond in (True, False):
            for _, _, item in items:
                if self._beyond(item.x if isinstance(item, Thing) else item[0].x) is beyond:
                    self._draw(image, item)
            if beyond:
                for rail in self._rails:
                    rail.draw(image, travelled)

    def _draw(self, image: Image, item: tuple[Vehicle, Posed] | Thing) -> None:
        if isinstance(item, Thing):
            self._roadside.draw(image, item)
            if item.kind == "lamp" and self._light.lamps > 0.5:
                self._lamp(image, item)
            return
        vehicle, posed = item
        if not self._ahead(vehicle, posed):
            return
        draw_body(image, posed, self._tones(vehicle, posed))
        self._glows.vehicle(image, vehicle, posed.mesh, self._camera)

    def _lamp(self, image: Image, thing: Thing) -> None:
        place = self._roadside.prop(thing).lamp
        if place is not None:
            u, v, scale = self._camera.spot(thing.x + place[0], place[1], thing.z)
            self._glows.add(image, "street", (u, v), (1.1 * scale + 2, 1.1 * scale + 2))

    def _tones(self, vehicle: Vehicle, posed: Posed) -> Floats:
        """The colours of a vehicle's faces from where it is: headlights upon it, haze before it."""
        colours = self._fleet.colours(vehicle)
        z = max(posed.rear_z, 1.0)
        if self._light.beam > 0:
            gain = float(beam_at(vehicle.x * 0.7, z)) * self._light.beam
            colours = np.minimum(colours + posed.mesh.albedo * gain, 255).astype(np.float32)
        clear = self._light.clear(z)
        out: Floats = colours * clear + self._light.haze * (1 - clear)
        return out

    def _silhouettes(
        self, vehicles: list[Vehicle], poses: list[Posed], things: list[Thing]
    ) -> list[tuple[int, Outline, list[Floats]]]:
        """Every vehicle ahead with its silhouette and the polygons that lie between it and the camera."""
        order = sorted(range(len(vehicles)), key=lambda i: -poses[i].rear_z)
        shown = [i for i in order if self._ahead(vehicles[i], poses[i])]
        outlines = {i: Outline(poses[i]) for i in shown}
        solid = [(t, self._roadside.bounds(t)) for t in things if t.z < 60 and t.kind not in ("gantry", "house")]
        found = []
        for place, i in enumerate(shown):
            own, hiding = outlines[i], []
            for j in shown[place + 1 :]:
                if own.meets(outlines[j].bounds):
                    hiding.extend(outlines[j].hulls)
            if self._beyond(vehicles[i].x):
                hiding.extend(polygon for rail in self._rails for polygon in rail.hiding(own))
            for thing, bounds in solid:
                if thing.z < poses[i].rear_z and own.meets(bounds):
                    hiding.extend(self._roadside.outlines(thing))
            found.append((vehicles[i].class_id, own, hiding))
        return found
