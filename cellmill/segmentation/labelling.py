"""Labels of an image at its own scale, from what a network gave: in memory, or tile by tile.

What the two have in common is decided here once: objects are segmented at the network's scale,
resampled to the image's own, and numbered there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cellmill.arrays.windows import Grid, Windowed, WritableWindowed
from cellmill.arrays.workspace import Workspace
from cellmill.compute.faults import memory_available
from cellmill.compute.threads import threads_within
from cellmill.errors import BadInput
from cellmill.labels.numbering import CanonicalNumbers, canonical_labels
from cellmill.labels.objects import areas_by_id, object_areas
from cellmill.labels.resizing import ResizedLabels, opencv_nearest, resize_labels
from cellmill.labels.tiles import Objects, find_objects, number_objects
from cellmill.segmentation.interface import Numbering, TiledSegmentation
from cellmill.segmentation.methods import (
    Recipe,
    reads_image,
    run_tiled,
    segment_one,
    tiled_form,
    why_whole,
)
from cellmill.segmentation.planes import planes_of, segment_planes, segmented_planes

#: Side of what labels are written in, pixels: whole storage units of a Zarr array.
_UNIT = 2048
#: Bytes that describing and numbering objects takes for each pixel of a tile.
_BYTES_PER_PIXEL = 64
#: Planes of a volume that are written at once.
_MOST_PLANES = 16

Layouts = Mapping[str, tuple[tuple[int, ...], np.dtype, str]]
"""Shape, dtype and axes of each kind's label image."""


@dataclass(frozen=True)
class LabelFacts:
    """What is said of the labels of one kind of object.

    Attributes:
        objects: how many there are.
        vanished: how many were lost at the image's own resolution.
        median_diameter_px: of the disk of equal area, or the ball of equal volume; 0 without
            objects.
    """

    objects: int
    vanished: int
    median_diameter_px: float

    @classmethod
    def of(cls, areas: np.ndarray, before: int, ndim: int = 2) -> LabelFacts:
        """Of the objects' pixels or voxels, and how many there were at the network's scale."""
        diameters = np.cbrt(areas * (6 / np.pi)) if ndim == 3 else np.sqrt(areas * (4 / np.pi))
        diameter = float(np.median(diameters)) if len(areas) else 0.0
        return cls(len(areas), before - len(areas), round(diameter, 2))


Facts = Mapping[str, LabelFacts]
"""By kind of object."""

Create = Callable[
    [Layouts, Facts], contextlib.AbstractContextManager[Mapping[str, WritableWindowed]]
]
"""Gives the arrays that labels are written to, within a block."""


def fits_memory(recipes: Mapping[str, Recipe], shape: tuple[int, ...], memory_mib: int) -> bool:
    """Whether maps of a shape are to be segmented in memory: they fit, or no tiled form is there.

    Args:
        recipes: how each kind of object is found.
        shape: `(Y, X)` or `(Z, Y, X)` of the maps.
        memory_mib: memory to work in.
    """
    most = max(recipe.method.bytes_per_pixel for recipe in recipes.values())
    return not _in_parts(recipes, shape) or math.prod(shape) * most <= memory_mib << 20


def _in_parts(recipes: Mapping[str, Recipe], shape: tuple[int, ...]) -> bool:
    """Whether maps of a shape can be segmented tile by tile, all kinds of object."""
    return all(
        why_whole(recipe) is None and tiled_form(recipe).takes(shape) for recipe in recipes.values()
    )


def label_in_memory(
    heads: Mapping[str, Windowed],
    recipes: Mapping[str, Recipe],
    shape: tuple[int, ...] | None = None,
    *,
    mpp: tuple[float, ...] | None = None,
    model_shape: tuple[int, ...] | None = None,
    numbering: Numbering = "canonical",
    stitch: float = 0.0,
    step: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> tuple[dict[str, np.ndarray], dict[str, LabelFacts]]:
    """Label an image or a volume in memory.

    Args:
        heads: the network's outputs by name, each `(Y', X', C)` or `(Z, Y', X', C)`.
        recipes: how each kind of object is found.
        shape: `(Y, X)` of the image itself; `None` where it has the heads' scale.
        mpp: µm per pixel of the heads, an axis each; `None` where unknown.
        model_shape: of the image at the network's scale; `None` where heads have it.
        numbering: `canonical`, or `reference`: as the method's own reference numbers.
        stitch: of heads of a network that saw each plane by itself: intersection over union from
            which objects of neighbouring planes are one; 0: the method sees the volume.
        step: called with the name of each piece of work, gives what it is done in.

    Returns:
        `(Y, X)` or `(Z, Y, X)` int32 labels by kind of object, 1…n, and what is said of them.

    Raises:
        BadInput: a head is missing or holds NaN or infinity, or a volume does not fit the machine's
            memory.
    """
    whole = {name: each for name, each in recipes.items() if not stitch or reads_image(each)}
    _check_volume_fits(heads, whole)
    with step("segment"):
        small = {
            name: segment_one(heads, recipe, numbering, mpp, model_shape)
            if name in whole
            else segment_planes(heads, recipe, mpp, model_shape, stitch)
            for name, recipe in recipes.items()
        }
    with step("resize"):
        found = _resized(small, shape, numbering)
    facts = {
        name: LabelFacts.of(object_areas(plane), len(object_areas(small[name])), plane.ndim)
        for name, plane in found.items()
    }
    return found, facts


def label_planes(
    heads: Mapping[str, Windowed],
    recipes: Mapping[str, Recipe],
    create: Callable[[Layouts], contextlib.AbstractContextManager[Mapping[str, WritableWindowed]]],
    shape: tuple[int, ...] | None = None,
    *,
    stitch: float,
    mpp: tuple[float, ...] | None = None,
    model_shape: tuple[int, ...] | None = None,
    numbering: Numbering = "canonical",
) -> dict[str, LabelFacts]:
    """Label a volume whose planes a network saw one by one, as `label_in_memory` does.

    Plane by plane: what is held does not grow with the depth, but for a few numbers an object.

    Args:
        heads: the network's outputs by name, each `(Z, Y', X', C)`.
        recipes: how each kind of object is found; none reads the image itself.
        create: gives the arrays `(Z, Y, X)` to write to.
        shape: `(Z, Y, X)` of the volume itself; `None` where it has the heads' scale.
        stitch: intersection over union from which objects of neighbouring planes are one.
        mpp: µm per pixel of the heads (z, y, x); `None` where unknown.
        model_shape: of the volume at the network's scale; `None` where heads have it.
        numbering: `canonical`, or `reference`, which keeps the numbers that objects had before
            they were resampled.

    Returns:
        What is said of each kind's labels.

    Raises:
        BadInput: a head is missing or holds NaN or infinity, or is of another shape.
    """
    depth, *_ = own = _shape_of_planes(heads, recipes, model_shape)
    if shape is not None and len(shape) != len(own):
        raise BadInput("predictions", expected=f"those of an image {shape}", found=f"{own}")
    facts: dict[str, LabelFacts] = {}
    with create({name: (shape or own, np.dtype(np.int32), "ZYX") for name in recipes}) as arrays:
        for name, recipe in recipes.items():
            planes = segmented_planes(heads, recipe, mpp, model_shape, stitch)
            facts[name] = _written(planes, depth, arrays[name], numbering)
    return facts


def _written(
    planes: Iterable[np.ndarray], depth: int, out: WritableWindowed, numbering: Numbering
) -> LabelFacts:
    """Resample the planes of a volume to the shape of `out`, number their objects, write them."""
    shape = out.shape
    kept = opencv_nearest(depth, shape[0], 0, shape[0])
    numbers, before = CanonicalNumbers(), 0
    areas: np.ndarray = np.zeros(1, np.int64)
    for z, plane in enumerate(planes):
        before = max(before, int(plane.max(initial=0)))
        resized = resize_labels(plane, (shape[1], shape[2]))
        for place in np.flatnonzero(kept == z):
            labels = resized if numbering == "reference" else numbers.of(resized)
            found = areas_by_id(labels)
            areas = np.concatenate([areas, np.zeros(max(len(found) - len(areas), 0), np.int64)])
            areas[: len(found)] += found
            out[int(place)] = labels
    return LabelFacts.of(areas[1:][areas[1:] > 0], before, ndim=3)


def _shape_of_planes(
    heads: Mapping[str, Windowed],
    recipes: Mapping[str, Recipe],
    model_shape: tuple[int, ...] | None,
) -> tuple[int, ...]:
    """The shape `(Z, Y, X)` of the labels that planes are found to have."""
    depth = next(iter(heads.values())).shape[0]
    recipe = next(iter(recipes.values()))
    plane = recipe.maps(next(planes_of(heads)), shape=model_shape[1:] if model_shape else None)
    return (depth, *plane.shape)


def _check_volume_fits(heads: Mapping[str, Windowed], recipes: Mapping[str, Recipe]) -> None:
    """Refuse a volume that takes more than the machine has where it is segmented whole."""
    shape = max((head.shape[:-1] for head in heads.values()), key=math.prod, default=())
    if len(shape) != 3 or not recipes:
        return
    needed = math.prod(shape) * max(recipe.method.bytes_per_pixel for recipe in recipes.values())
    available = memory_available()
    if available and needed > available:
        less = ", or less memory_mib, to segment it block by block"
        way = less if _in_parts(recipes, shape) else ""
        raise BadInput(
            f"a volume of {' × '.join(map(str, shape))} voxels",
            expected=f"{needed >> 20} MiB of memory to segment it whole{way}",
            found=f"{available >> 20} MiB",
        )


def label_in_tiles(
    heads: Mapping[str, Windowed],
    recipes: Mapping[str, Recipe],
    workspace: Callable[[str, int], Workspace],
    *,
    memory_mib: int,
    mpp: tuple[float, ...] | None = None,
    model_shape: tuple[int, ...] | None = None,
) -> tuple[dict[str, TiledSegmentation], dict[str, dict[str, int]], int]:
    """Segment an image or a volume tile by tile, in this process, at the network's scale.

    Args:
        heads: the network's outputs by name, each `(Y', X', C)` or `(Z, Y', X', C)`.
        recipes: how each kind of object is found.
        workspace: gives where a kind's work is kept, from its name and the side of its tiles.
        memory_mib: memory to work in.
        mpp: µm per pixel of the heads, an axis each; `None` where unknown.
        model_shape: of the image at the network's scale; `None` where heads have it.

    Returns:
        Each kind's segmentation, settled, for `write_in_tiles`; its counts; and the side of the
        smallest tiles.
    """
    segmented: dict[str, TiledSegmentation] = {}
    counts: dict[str, dict[str, int]] = {}
    sides = []
    for name, recipe in recipes.items():
        form = tiled_form(recipe)
        maps = recipe.maps(heads, mpp, model_shape)
        side = form.side_within(memory_mib, maps.shape, maps)
        threads = threads_within(memory_mib, form.bytes_of(Grid(maps.shape, side), maps))
        segmented[name], counts[name] = run_tiled(
            recipe, maps, side, workspace(name, side), threads
        )
        sides.append(side)
    return segmented, counts, min(sides)


def write_in_tiles(
    segmented: Mapping[str, TiledSegmentation],
    shape: tuple[int, ...] | None,
    create: Create,
    *,
    side: int,
    memory_mib: int,
    numbering: Numbering = "canonical",
    axes: int = 2,
) -> dict[str, LabelFacts]:
    """Resample objects to the image's own scale and number them, tile by tile.

    Args:
        segmented: at the network's scale, settled, by kind of object.
        shape: `(Y, X)` or `(Z, Y, X)` of the image itself; `None` where it has the network's
            scale.
        create: gives the arrays to write to.
        side: of the tiles, pixels.
        memory_mib: memory to work in.
        numbering: `canonical` or `reference`.
        axes: of the image, 2, or of the volume, 3.

    Returns:
        What is said of each kind's labels.
    """
    views: dict[str, Windowed] = {}
    before: dict[str, Objects] = {}
    objects: dict[str, Objects] = {}
    few = threads_within(memory_mib, side**axes * _BYTES_PER_PIXEL)
    wanted: tuple[int, ...] = (0, 0)
    for name, each in segmented.items():
        labels = each.labels(few)
        own = tuple(labels.shape)
        wanted = shape or own
        before[name], views[name] = find_objects(labels, Grid(own, side), few), labels
        objects[name] = before[name]
        if wanted != own:
            views[name] = ResizedLabels(labels, wanted, len(segmented) if axes == 2 else 1)
            objects[name] = find_objects(views[name], Grid(wanted, side), few)
    facts = {
        name: LabelFacts.of(found.areas, len(before[name].ids), axes)
        for name, found in objects.items()
    }
    layouts = {name: (wanted, found.label_dtype, "ZYX"[-axes:]) for name, found in objects.items()}
    # Whole shards are written: of a store's unit no part is written twice.
    grid, whole = _units(wanted, memory_mib)
    with create(layouts, facts) as arrays:
        for name, view in views.items():
            # The reference keeps the numbers that objects had before they were resampled.
            by_id = numbering == "reference"
            named = before[name] if by_id else objects[name]
            number_objects(view, named, arrays[name], grid, by_id=by_id, threads=whole)
    return facts


def _units(shape: tuple[int, ...], memory_mib: int) -> tuple[Grid, int]:
    """What labels are written by, some planes of a volume together, and how many at once."""
    plane = math.prod(min(side, _UNIT) for side in shape[-2:]) * _BYTES_PER_PIXEL
    deep = min(max((memory_mib << 20) // (2 * max(plane, 1)), 1), _MOST_PLANES)
    planes = deep if len(shape) == 3 else 1
    return Grid(shape, _UNIT, deep), threads_within(memory_mib, planes * plane)


def _resized(
    labels: Mapping[str, np.ndarray], shape: tuple[int, ...] | None, numbering: Numbering
) -> dict[str, np.ndarray]:
    """Labels resampled to the image's own shape; canonical ids are those of the result."""
    own = next(iter(labels.values())).shape
    if shape is None or shape == own:
        return dict(labels)
    if len(own) != len(shape):
        raise BadInput("predictions", expected=f"those of an image {shape}", found=f"{own}")
    if len(own) == 3:
        kept = opencv_nearest(own[0], shape[0], 0, shape[0])
        stacks = {
            name: np.stack([resize_labels(stack[z], (shape[1], shape[2])) for z in kept])
            for name, stack in labels.items()
        }
        if numbering == "reference":
            return stacks
        return {name: canonical_labels(stack) for name, stack in stacks.items()}
    resized = resize_labels(np.stack([*labels.values()], axis=-1), (shape[0], shape[1]))
    planes = {name: resized[..., i] for i, name in enumerate(labels)}
    if numbering == "reference":
        return planes
    return {name: canonical_labels(plane) for name, plane in planes.items()}
