"""The stage that makes volumes of known truth, as a microscope would see them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cellmill.arrays.batch import Batch
from cellmill.arrays.batch_writer import BatchWriter
from cellmill.arrays.entries import Entry
from cellmill.contract import (
    GroundTruth,
    Images,
    Input,
    Output,
    PointSpread,
    Record,
    for_each_image,
    stage,
)
from cellmill.datasets import phantoms
from cellmill.errors import BadInput
from cellmill.restoration import Camera, blur, expose
from cellmill.stages.shared.psfs import CHANNEL

Kind = Literal["spheres", "beads", "filaments"]


@stage(image="imaging", family="restoration")
def simulate(
    psf: Input[PointSpread],
    images: Output[Images],
    objects: Output[Images],
    truth: Output[GroundTruth],
    record: Output[Record],
    kind: Literal["spheres", "beads", "filaments"] = "spheres",
    count: int = 12,
    depth: int = 32,
    height: int = 96,
    width: int = 96,
    smallest_um: float = 0.9,
    largest_um: float = 1.6,
    photons: float = 300.0,
    background_photons: float = 10.0,
    read_noise: float = 2.0,
    gain: float = 1.0,
    offset: float = 100.0,
    bits: int = 16,
    volumes: int = 1,
    seed: int = 0,
) -> None:
    """Make volumes of known truth, as a microscope would see them: blurred, noisy, digital.

    The same seed gives the same volumes.

    Args:
        psf: Batch of point spread functions of volumes, whose voxel size counts; one a channel.
        images: Batch with array `image` (Z, Y, X, C), what the camera gives.
        objects: Batch with array `image` (Z, Y, X, C) float32, the objects before the blur, in the
            images' unit without background and offset: what restoration should find.
        truth: Batch with array `labels` (Z, Y, X) int32, a number an object.
        record: What was done, with times and versions.
        kind: Of objects: spheres that do not overlap, beads of one voxel, or bent filaments.
        count: How many objects; of spheres fewer where there is no room.
        depth: Voxels along z.
        height: Voxels along y.
        width: Voxels along x.
        smallest_um: Least radius of spheres, and the radius of filaments, µm.
        largest_um: Greatest radius of spheres, µm.
        photons: Of the brightest voxel above the background; 0 is without photon noise.
        background_photons: Everywhere.
        read_noise: σ of what reading adds, electrons.
        gain: Grey levels an electron.
        offset: Grey levels that the camera adds.
        bits: Of the grey levels, 8 to 16; 0 gives float32.
        volumes: How many.
        seed: Of objects and noise.
    """
    if volumes < 1:
        raise BadInput("volumes", expected="1 or more", found=f"{volumes}")
    camera = Camera(photons, background_photons, read_noise, gain, offset, bits)
    phantom = _Phantom(kind, count, (depth, height, width), (smallest_um, largest_um))
    functions = _functions(Batch.open(psf.path))
    names = [kind if volumes == 1 else f"{kind}-{number}" for number in range(1, volumes + 1)]
    with (
        BatchWriter(images.path) as out,
        BatchWriter(objects.path) as objects_out,
        BatchWriter(truth.path) as truth_out,
    ):

        def work(entry: Entry) -> None:
            own = seed + names.index(entry.name)
            with record.step("make objects"):
                light, labels = phantom.make(functions.voxel_um, own)
            seen, bright = [], []
            for channel, function in enumerate(functions.values):
                with record.step("blur and expose"):
                    blurred = blur(light, function)
                    seen.append(expose(blurred, camera, seed=own + 1000 * channel))
                level = (photons or float(blurred.max())) * gain
                bright.append(light * np.float32(level / max(float(blurred.max()), 1e-30)))
            about = {
                "source": "synthetic",
                "simulated": {"kind": kind, "seed": own, "camera": asdict(camera)},
                "background": background_photons * gain + offset,
                "segmentation_channels": [*range(len(seen))],
            }
            common: dict[str, Any] = {
                "mpp": functions.voxel_um,
                "mpp_source": "synthetic",
                "attributes": about,
            }
            channels = functions.channels
            axes = {"image": "ZYXC"}
            with record.step("write"):
                image = {"image": np.stack(seen, axis=-1)}
                out.write(entry.name, image, axes=axes, channels=channels, **common)
                image = {"image": np.stack(bright, axis=-1)}
                objects_out.write(entry.name, image, axes=axes, channels=channels, **common)
                true = {"truth": True, "source": "synthetic", "kind": "labels"}
                common["attributes"] = about | true | {"objects": int(labels.max())}
                truth_out.write(entry.name, {"labels": labels}, axes={"labels": "ZYX"}, **common)

        for_each_image(
            [Entry(name) for name in names],
            work,
            writers=[out, objects_out, truth_out],
            record=record,
            label="volumes",
        )
        found = {entry.name: entry.attributes["objects"] for entry in truth_out.entries}
    record.note(objects=found, camera=asdict(camera))


@dataclass(frozen=True)
class _Phantom:
    kind: Kind
    count: int
    shape: tuple[int, int, int]
    radius_um: tuple[float, float]

    def make(self, voxel_um: tuple[float, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Brightness from 0 to 1, and labels."""
        if self.kind == "spheres":
            return phantoms.spheres(
                self.shape, voxel_um, count=self.count, radius_um=self.radius_um, seed=seed
            )
        if self.kind == "filaments":
            return phantoms.filaments(
                self.shape, voxel_um, count=self.count, radius_um=self.radius_um[0], seed=seed
            )
        light, places = phantoms.beads(self.shape, voxel_um, count=self.count, seed=seed)
        labels = np.zeros(self.shape, np.int32)
        for number, place in enumerate(places, start=1):
            labels[tuple(place)] = number
        return light, labels


@dataclass(frozen=True)
class _Functions:
    values: tuple[np.ndarray, ...]
    channels: tuple[str, ...]
    voxel_um: tuple[float, ...]


def _functions(batch: Batch) -> _Functions:
    """The functions by channel, all of one voxel size."""
    entries = sorted(batch.entries, key=lambda each: each.attribute(CHANNEL, int, -1))
    values = [batch.read(entry, "psf") for entry in entries]
    sizes = {entry.mpp for entry in entries}
    size = next(iter(sizes), None)
    if len(sizes) != 1 or size is None or len(size) != 3 or any(v.ndim != 3 for v in values):
        found = ", ".join(f"'{e.name}' {e.mpp or 'of unknown voxel size'}" for e in entries)
        raise BadInput(
            f"PSFs in '{batch.folder}'",
            expected="functions (Z, Y, X) of one voxel size",
            found=found or "none",
        )
    names = [_channel(entry) for entry in entries]
    return _Functions(tuple(values), tuple(names), size)


def _channel(entry: Entry) -> str:
    """A name for the channel of a function: its wavelength where that is known."""
    microscope = entry.attributes.get("microscope") or {}
    wavelength = microscope.get("emission_nm")
    return f"{wavelength:g} nm" if wavelength else entry.name
