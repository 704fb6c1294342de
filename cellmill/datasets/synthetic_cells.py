"""Synthetic images of cells in two channels, nuclei and membranes, with the truth of both.

No microscope took them and no cell was copied: shapes and light are drawn at random. They are for
training and trying what needs two channels, and say nothing about how well real cells are found.

`python -m cellmill.datasets.synthetic_cells --count 24 --seed 1 --prefix training --output DIR`
writes `images/training_000.ome.tif` (uint16, channels `nuclear` and `membrane`) and, of the same
names, `labels/…` (int32, channels `whole_cell` and `nuclear`: a nucleus has its cell's number).
One seed gives the same pixels, with the same NumPy, SciPy and OpenCV.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from scipy import ndimage

from cellmill.datasets.shapes import largest_pieces, opened
from cellmill.errors import BadInput
from cellmill.io.tiff.write import write_label_images
from cellmill.labels.edges import inner_edges
from cellmill.labels.kinds import WELL_KNOWN
from cellmill.labels.numbering import canonical_labels
from cellmill.terminal import say

CHANNELS = ("nuclear", "membrane")
COMPARTMENTS = WELL_KNOWN
MPP = 0.5
"""Microns per pixel that the files say: with it the cells have the size of a mammal's."""

_UUID_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, "cellmill/synthetic-cells")
_LEAST_CELL, _LEAST_NUCLEUS = 60, 20


@dataclass(frozen=True)
class Tissue:
    """What the cells of an image are like.

    Args:
        diameter: typical, in pixels.
        spread: σ of the diameters' logarithm.
        reach: how far a cell spreads where no other stops it, in its own radii.
        distance: between two cells' centres at least, in the sum of their radii.
        elongation: greatest ratio of a cell's length to its width.
        wobble: how far borders are bent, in diameters.
        nucleus: typical diameter of a nucleus, in its cell's.
        covered: part of the image in which cells are, 0 to 1; the rest is bare.
        without_nucleus: part of the cells whose nucleus lies out of the plane.
    """

    diameter: float = 30.0
    spread: float = 0.2
    reach: float = 1.3
    distance: float = 0.85
    elongation: float = 1.6
    wobble: float = 0.06
    nucleus: float = 0.6
    covered: float = 1.0
    without_nucleus: float = 0.03

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Tissue:
        """Any of what `synthetic_cells` makes: sparse to confluent, small to large."""
        return cls(
            diameter=float(np.exp(random.uniform(np.log(18), np.log(52)))),
            spread=random.uniform(0.1, 0.3),
            reach=random.uniform(1.0, 1.7),
            distance=random.uniform(0.75, 1.05),
            elongation=random.uniform(1.1, 2.0),
            wobble=random.uniform(0.02, 0.09),
            nucleus=random.uniform(0.48, 0.72),
            covered=1.0 if random.random() < 0.4 else random.uniform(0.35, 0.9),
            without_nucleus=random.uniform(0, 0.06),
        )


@dataclass(frozen=True)
class Microscopy:
    """How the cells are stained and seen; light is 1 at a typical nucleus, border or cytoplasm.

    Args:
        border: light of the membranes.
        border_width: σ of a membrane's profile, in pixels.
        patchiness: how much a membrane's light varies along it, 0 to 1.
        cytoplasm: light of the cells' inside in the membrane channel.
        bleeding: light of the cytoplasm in the nuclear channel.
        cell_spread: σ of the logarithm of single cells' light.
        haze: light from out of focus, in both channels.
        unevenness: of the background and of the lamp, 0 to 1.
        blur: σ of the point spread function in pixels.
        photons: that a light of 1 gives in a pixel.
        read_noise: σ in photons.
        counts: of the camera's, per photon.
    """

    border: float = 1.0
    border_width: float = 1.2
    patchiness: float = 0.5
    cytoplasm: float = 0.2
    bleeding: float = 0.05
    cell_spread: float = 0.35
    haze: float = 0.1
    unevenness: float = 0.3
    blur: float = 1.0
    photons: float = 150.0
    read_noise: float = 2.0
    counts: float = 20.0

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Microscopy:
        """Any of what `synthetic_cells` makes: bright and dim, sharp and blurred."""
        stains_cytoplasm = random.random() < 0.3
        return cls(
            border=random.uniform(0.3, 0.7) if stains_cytoplasm else random.uniform(0.7, 1.2),
            border_width=random.uniform(0.7, 1.8),
            patchiness=random.uniform(0.2, 0.8),
            cytoplasm=random.uniform(0.35, 0.8) if stains_cytoplasm else random.uniform(0.05, 0.35),
            bleeding=random.uniform(0, 0.15),
            cell_spread=random.uniform(0.15, 0.5),
            haze=random.uniform(0, 0.25),
            unevenness=random.uniform(0, 0.6),
            blur=random.uniform(0.5, 1.7),
            photons=float(np.exp(random.uniform(np.log(25), np.log(600)))),
            read_noise=random.uniform(1, 5),
            counts=float(np.exp(random.uniform(np.log(4), np.log(60)))),
        )


@dataclass(frozen=True)
class SyntheticImage:
    """A synthetic image with its ground truth.

    Args:
        pixels: `(Y, X, 2: nuclear, membrane)` uint16.
        labels: `(Y, X, 2: whole cells, nuclei)` int32; 0 is background, a nucleus has its cell's
            number, and a cell has one nucleus or none.
    """

    pixels: np.ndarray
    labels: np.ndarray


def synthetic_cells(
    seed: int,
    shape: tuple[int, int] = (512, 512),
    tissue: Tissue | None = None,
    microscopy: Microscopy | None = None,
) -> SyntheticImage:
    """Make an image of cells.

    Args:
        seed: one seed, one image.
        shape: `(Y, X)` in pixels.
        tissue: what the cells are like; drawn by the seed if not given.
        microscopy: how they are seen; likewise.

    Raises:
        BadInput: the image is smaller than 64 pixels a side.
    """
    if min(shape) < 64:
        raise BadInput("shape", expected="sides of at least 64 pixels", found=f"{shape}")
    random = np.random.default_rng(seed)
    tissue = tissue or Tissue.drawn(random)
    microscopy = microscopy or Microscopy.drawn(random)
    cells = _cells(shape, tissue, random)
    nuclei = _nuclei(cells, tissue, random)
    light = _light(cells, nuclei, tissue, microscopy, random)
    return SyntheticImage(_seen(light, microscopy, random), np.stack([cells, nuclei], axis=-1))


def _cells(shape: tuple[int, int], tissue: Tissue, random: np.random.Generator) -> np.ndarray:
    """Cells grown from centres until they meet: a Voronoi diagram of bent space and ellipses."""
    # What lies beyond the border is made too, so that cells are cut by it as in a real field.
    margin = int(tissue.diameter)
    wide = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    allowed = np.ones(wide, bool)
    if tissue.covered < 1:
        field = _smooth(wide, tissue.diameter * random.uniform(1.5, 5), random)
        allowed = field <= np.quantile(field, tissue.covered)
    centres, radii = _centres(allowed, tissue, random)
    bend = tissue.wobble * tissue.diameter
    scale = tissue.diameter / 2
    y = np.arange(wide[0], dtype=np.float32)[:, None] + bend * _smooth(wide, scale, random)
    x = np.arange(wide[1], dtype=np.float32) + bend * _smooth(wide, scale, random)
    nearest = np.full(wide, np.inf, np.float32)
    cells = np.zeros(wide, np.int32)
    grain = random.uniform(0, np.pi)
    for label, ((cy, cx), radius) in enumerate(zip(centres, radii, strict=True), start=1):
        ratio = np.sqrt(random.uniform(1, tissue.elongation))
        angle = grain + random.normal(0, 0.6)
        reach = tissue.reach * random.uniform(0.85, 1.1)
        side = int(radius * ratio * reach + 3 * bend) + 2
        window = (
            slice(max(int(cy) - side, 0), int(cy) + side),
            slice(max(int(cx) - side, 0), int(cx) + side),
        )
        dy, dx = y[window] - cy, x[window] - cx
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / (radius * ratio)
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / (radius / ratio)
        far = np.hypot(along, across)
        # By their radii alone, large cells would wrap themselves around small ones.
        weighed = far * np.sqrt(radius)
        won = (far < reach) & (weighed < nearest[window])
        nearest[window][won] = weighed[won]
        cells[window][won] = label
    inner = cells[margin:-margin, margin:-margin]
    return canonical_labels(largest_pieces(opened(inner), _LEAST_CELL))


def _centres(
    allowed: np.ndarray, tissue: Tissue, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres `(n, 2)` and radii `(n,)`: darts that fall too near an earlier one do not count."""
    area = np.pi * (tissue.diameter / 2) ** 2
    darts = int(6 * allowed.size / area)
    places = random.uniform(0, 1, (darts, 2)) * (np.array(allowed.shape) - 1)
    radii = tissue.diameter / 2 * np.exp(random.normal(0, tissue.spread, darts))
    places = places.astype(np.float32)
    kept: list[int] = []
    for i in np.flatnonzero(allowed[tuple(places.astype(int).T)]):
        gaps = np.hypot(*(places[kept] - places[i]).T) if kept else np.zeros(0)
        if (gaps > tissue.distance * (radii[kept] + radii[i])).all():
            kept.append(int(i))
    return places[kept], radii[kept]


def _nuclei(cells: np.ndarray, tissue: Tissue, random: np.random.Generator) -> np.ndarray:
    """A smooth blob in each cell, off its centre, never nearer to its border than a pixel."""
    nuclei = np.zeros_like(cells)
    depths = ndimage.distance_transform_edt((cells > 0) & ~inner_edges(cells))
    for label, box in enumerate(ndimage.find_objects(cells), start=1):
        ratio = tissue.nucleus * np.exp(random.normal(0, 0.12))
        there = random.random() >= tissue.without_nucleus
        inside = cells[box] == label
        depth = np.where(inside, depths[box], 0)
        y, x = np.nonzero(inside)
        # Nearer the middle of the widest part than the centre of mass, and not quite there.
        mass = depth[y, x] ** 2 + 1e-3
        shift = random.normal(0, 0.06, 2) * np.sqrt(len(y))
        cy, cx = np.average(y, weights=mass) + shift[0], np.average(x, weights=mass) + shift[1]
        covariance = np.cov(np.stack([y, x])) + np.eye(2)
        # The nucleus follows its cell's form, less drawn out.
        values, axes = np.linalg.eigh(covariance)
        half = 2 * np.sqrt(values) * ratio
        half = half**0.7 * half.mean() ** 0.3
        dy, dx = np.indices(inside.shape, np.float32) - np.array([cy, cx])[:, None, None]
        u = (dy * axes[0, 0] + dx * axes[1, 0]) / half[0]
        v = (dy * axes[0, 1] + dx * axes[1, 1]) / half[1]
        angle = np.arctan2(v, u)
        rim = np.ones(inside.shape)
        for wave in (2, 3, 4, 5):
            rim += random.normal(0, 0.10 / wave) * np.cos(wave * angle + random.uniform(0, 6.3))
        if there:
            nuclei[box][(np.hypot(u, v) < rim) & (depth > 1.5)] = label
    return largest_pieces(opened(nuclei), _LEAST_NUCLEUS)


def _light(
    cells: np.ndarray,
    nuclei: np.ndarray,
    tissue: Tissue,
    microscopy: Microscopy,
    random: np.random.Generator,
) -> np.ndarray:
    """`(Y, X, 2)` float32: what comes from the stains, before any optics."""
    shape, count = cells.shape, int(cells.max())

    def per_cell(spread: float) -> np.ndarray:
        return np.exp(random.normal(0, spread, count + 1)).astype(np.float32)

    inside = (cells > 0).astype(np.float32)
    # Nuclei: domed, mottled by chromatin, with dark nucleoli.
    depth = ndimage.distance_transform_edt(nuclei > 0)
    dome = 1 - np.exp(-depth / (0.08 * tissue.diameter + 0.5))
    mottle = 1 + 0.25 * _smooth(shape, tissue.diameter / 10, random)
    nucleoli = 1 - 0.5 * (_smooth(shape, tissue.diameter / 8, random) > 1.7)
    nuclear = per_cell(microscopy.cell_spread)[nuclei] * dome * mottle * nucleoli * (nuclei > 0)
    grain = 1 + 0.3 * _smooth(shape, tissue.diameter / 6, random)
    cytoplasm = per_cell(microscopy.cell_spread)[cells] * grain * inside
    nuclear = nuclear + microscopy.bleeding * cytoplasm
    # Membranes: a line along each border, uneven along it, patchy from cell to cell.
    rim = inside * inner_edges(cells)
    edge = ndimage.distance_transform_edt(rim == 0)
    line = np.exp(-0.5 * (edge / microscopy.border_width) ** 2)
    along = _smooth(shape, tissue.diameter / 2, random)
    patches = 1 + microscopy.patchiness * np.clip(along, -1.3, 1.5)
    speckle = 1 + 0.3 * _smooth(shape, 1.5, random)
    # A border's light is its cell's on both sides of it.
    strength = cv2.dilate(per_cell(microscopy.cell_spread)[cells] * rim, np.ones((9, 9), np.uint8))
    membrane = microscopy.border * strength * line * np.clip(patches, 0, None) * speckle
    thin = np.where(nuclei > 0, random.uniform(0.3, 0.9), 1.0)
    membrane = membrane + microscopy.cytoplasm * cytoplasm * thin
    return np.clip(np.stack([nuclear, membrane], axis=-1), 0, None).astype(np.float32)


def _seen(light: np.ndarray, microscopy: Microscopy, random: np.random.Generator) -> np.ndarray:
    """`(Y, X, 2)` uint16: blurred, hazy, unevenly lit, counted photon by photon."""
    shape = light.shape[:2]
    pixels = np.empty(light.shape, np.uint16)
    for channel in range(light.shape[2]):
        plane = cv2.GaussianBlur(light[..., channel], (0, 0), microscopy.blur)
        glow = cv2.GaussianBlur(light[..., channel], (0, 0), random.uniform(8, 25))
        lamp = 1 + microscopy.unevenness * 0.5 * _smooth(shape, max(shape) / 2, random)
        dark = 0.03 + microscopy.unevenness * 0.15 * np.abs(_smooth(shape, max(shape) / 3, random))
        plane = (plane + microscopy.haze * glow * 2) * np.clip(lamp, 0.4, 1.8) + dark
        photons = random.poisson(plane * microscopy.photons).astype(np.float32)
        photons += random.normal(0, microscopy.read_noise, shape)
        offset = random.uniform(90, 400)
        pixels[..., channel] = np.clip(np.rint(photons * microscopy.counts + offset), 0, 65535)
    return pixels


def _smooth(shape: tuple[int, int], scale: float, random: np.random.Generator) -> np.ndarray:
    """A random field of mean 0 and σ about 1 that varies over `scale` pixels, float32."""
    scale = max(scale, 1.0)
    nodes = [int(np.ceil(side / scale)) + 3 for side in shape]
    grid = random.standard_normal(nodes, np.float32)
    size = (int(nodes[1] * scale), int(nodes[0] * scale))
    field = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    # Between the nodes the variance is less.
    return field[: shape[0], : shape[1]] / np.float32(0.75)


def write(made: SyntheticImage, name: str, folder: Path) -> tuple[Path, Path]:
    """Write an image and its truth as OME-TIFF, the same bytes for the same pixels.

    Args:
        made: the image.
        name: without suffix.
        folder: gets `images/<name>.ome.tif` and `labels/<name>.ome.tif`.

    Returns:
        The two paths.
    """
    image, labels = (folder / kind / f"{name}.ome.tif" for kind in ("images", "labels"))
    for path in (image, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    planes = np.ascontiguousarray(np.moveaxis(made.pixels, -1, 0))
    tifffile.imwrite(
        image,
        planes,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata={
            "axes": "CYX",
            "Name": f"{name} (synthetic)",
            "Channel": {"Name": list(CHANNELS)},
            "PhysicalSizeX": MPP,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": MPP,
            "PhysicalSizeYUnit": "µm",
            "UUID": str(uuid.uuid5(_UUID_ROOT, planes.tobytes().hex())),
            "Creator": "cellmill",
        },
    )
    with labels.open("w+b") as file:
        planes = np.moveaxis(made.labels, -1, 0)
        write_label_images(file, list(planes), COMPARTMENTS, image_name=name, mpp=(MPP, MPP))
    return image, labels


def main(arguments: Sequence[str] | None = None) -> int:
    """Write synthetic images of cells with their ground truth into a folder; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cellmill.datasets.synthetic_cells", description=main.__doc__
    )
    parser.add_argument("--count", type=int, default=1, help="how many images [1]")
    parser.add_argument("--seed", type=int, default=0, help="of the first; then one more each [0]")
    parser.add_argument("--side", type=int, default=512, help="in pixels [512]")
    parser.add_argument("--prefix", default="synthetic", help="of their names [synthetic]")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    given = parser.parse_args(arguments)
    try:
        for i in range(given.count):
            made = synthetic_cells(given.seed + i, (given.side, given.side))
            paths = write(made, f"{given.prefix}_{i:03d}", given.output)
    except (BadInput, OSError) as error:
        say(f"error: {error}", to=sys.stderr)
        return 2
    say(f"{given.count} synthetic image(s) with truth: {', '.join(map(str, paths))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
