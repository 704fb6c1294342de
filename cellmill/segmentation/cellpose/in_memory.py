"""From flows and probability to masks, in memory: of images, of volumes, of stacks of planes.

The steps are Cellpose's (Stringer et al., Nature Methods 18, 2021), written from a description of
what cellpose 3.1.1.3 computes on a CPU. With `rule="reference"` masks equal its own, where seeds of
equal strength are taken in raster order; with `rule="cellpose4"` those of cellpose 4.2.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cellmill.arrays.finite import require_finite
from cellmill.arrays.windows import Box
from cellmill.compute.kernels import kernel
from cellmill.compute.threads import bands, in_threads
from cellmill.errors import BadInput
from cellmill.labels.enclosed import enclosing, fill_enclosed
from cellmill.labels.holes import outlines
from cellmill.labels.numbering import canonical_labels, renumber
from cellmill.labels.objects import areas_by_id, extents
from cellmill.labels.resizing import resize_labels
from cellmill.labels.stitching import stitch_planes
from cellmill.segmentation.cellpose.heat import flow_errors
from cellmill.segmentation.cellpose.parameters import CellposeParameters
from cellmill.segmentation.cellpose.seeds import count_ends, find_seeds, grow
from cellmill.segmentation.cellpose.selection import too_large, too_small
from cellmill.segmentation.cellpose.shared_heat import heat_type, rounds_of, shared_flow_errors
from cellmill.segmentation.cellpose.volume_walks import follow_volume
from cellmill.segmentation.cellpose.walks import Field, field_of, follow, follow_pixels

_INT32_PIXELS = 2**31 - 1


def segment_flows(
    flows: np.ndarray, probability: np.ndarray, parameters: CellposeParameters | None = None
) -> np.ndarray:
    """Segment one image or volume from what a network of Cellpose gave.

    In order: follow the flows from each pixel of a cell; take the peaks of where that ends for
    objects; drop what is too large; drop objects of an image whose own flows are not the network's;
    drop small ones, fill what they enclose, drop small ones again; number.

    A volume whose flows have two components is a stack of planes: each is segmented by itself, and
    objects of neighbouring planes are joined by `stitch_threshold`.

    Args:
        flows: `(Y, X, 2)`, down and right, five times unit vectors where the network is sure; of a
            volume `(Z, Y, X, 3)`, in the order of its axes, or `(Z, Y, X, 2)` within its planes.
        probability: `(Y, X)` or `(Z, Y, X)`, a logit, high in cells.
        parameters: thresholds; none are the reference's.

    Returns:
        int32 labels of the probability's shape, 1…n in raster order of first pixels.

    Raises:
        BadInput: the maps are not of one image, no real numbers, or hold NaN or infinity; or they
            are of planes, and `stitch_threshold` is 0.
    """
    parameters = parameters or CellposeParameters()
    shape = _checked(flows, probability)
    planes = len(shape) == 3 and flows.shape[-1] == 2
    if planes and not parameters.stitch_threshold:
        raise BadInput(
            "stitch_threshold", expected="more than 0 to join the objects of planes", found="0"
        )
    if not probability.size:
        return np.zeros(shape, np.int32)
    if planes:
        return _stitched(flows, probability, parameters)
    if len(shape) == 3:
        threshold = parameters.cellprob_threshold
        ends = follow_volume(flows, probability, threshold, parameters.steps, parameters.joins)
        labels, highest = _assigned(ends)
        return _finished(labels, highest, None, parameters)
    whole = Box(0, shape[0], 0, shape[1])
    threshold, rule = parameters.cellprob_threshold, parameters.rule
    field = field_of(flows, probability, threshold, whole, (shape[0], shape[1]), rule)
    labels, highest = _assigned(_walked(field, parameters))
    return _finished(labels, highest, field, parameters)


def segment_coarsely(
    flows: np.ndarray, probability: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Segment an image as cellpose 3.1.1.3 does where it only looks at how large objects are.

    Walks go by the flow of the pixel that they are in; objects are brought to the image's own scale
    before what they enclose is filled and small ones are dropped. The rule is the reference's.

    Args:
        flows: `(Y', X', 2)`, as `segment_flows` takes them.
        probability: `(Y', X')`, a logit.
        shape: `(Y, X)` of the image.

    Returns:
        int32 labels of that shape, 1…n.
    """
    parameters = CellposeParameters(rule="reference")
    own = _checked(flows, probability)
    whole = Box(0, own[0], 0, own[1])
    field = field_of(flows, probability, parameters.cellprob_threshold, whole, (own[0], own[1]))
    ends = np.empty(field.shape, np.int32 if field.cells.size <= _INT32_PIXELS else np.int64)
    follow_pixels(field, parameters.steps, ends)
    labels, highest = _assigned(ends)
    objects = _Objects.of(labels, highest)
    objects = objects.without(too_large(objects.areas, labels.size, parameters))
    errors = flow_errors(labels, objects.ids, objects.boxes, field.steps)
    kept = errors <= parameters.flow_threshold
    numbers = np.zeros(highest + 1, np.int32)
    # Those that are dropped leave gaps.
    numbers[objects.ids[kept]] = 1 + np.flatnonzero(kept)
    renumber(labels, numbers)
    labels = np.ascontiguousarray(resize_labels(labels, shape))
    areas, _, boxes, _ = outlines(labels)
    ids = 1 + np.flatnonzero(areas[1:])
    ids = ids[~too_small(areas[ids], ids, labels.size, parameters)]
    _keep(labels, ids, len(areas) - 1)
    return _filled(labels, boxes[ids], parameters)


def _stitched(
    flows: np.ndarray, probability: np.ndarray, parameters: CellposeParameters
) -> np.ndarray:
    """Segment each plane, join their objects, and clean those of the volume."""
    alone = replace(parameters, min_size=-1)
    found = (segment_flows(*plane, alone) for plane in zip(flows, probability, strict=True))
    labels = stitch_planes(found, parameters.stitch_threshold, parameters.joins)
    objects = _Objects.of(labels, int(labels.max()))
    numbers = np.arange(1, len(objects) + 1)
    objects = objects.without(too_small(objects.areas, numbers, labels.size, parameters))
    _keep(labels, objects.ids, len(numbers))
    return _filled(labels, objects.boxes, parameters)


def _finished(
    labels: np.ndarray, highest: int, field: Field | None, parameters: CellposeParameters
) -> np.ndarray:
    """Drop and fill objects; without a field none are dropped for their flows."""
    objects = _Objects.of(labels, highest)
    objects = objects.without(too_large(objects.areas, labels.size, parameters))
    numbers: np.ndarray = np.arange(1, len(objects) + 1)
    if field is not None and parameters.flow_threshold:
        told = (labels, objects.ids, objects.boxes, field.steps)
        if parameters.rule == "cellpose4":
            rounds, dtype = rounds_of(objects.boxes), heat_type(labels.shape)
            errors = shared_flow_errors(*told, rounds, dtype)
        else:
            errors = flow_errors(*told)
        kept = errors <= parameters.flow_threshold
        objects, numbers = objects.without(~kept), numbers[kept]
    objects = objects.without(too_small(objects.areas, numbers, labels.size, parameters))
    _keep(labels, objects.ids, highest)
    return _filled(labels, objects.boxes, parameters)


@dataclass(frozen=True)
class _Objects:
    """The objects of a label image in raster order of their first pixels."""

    ids: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, highest: int) -> _Objects:
        if labels.ndim == 3:
            areas, first, boxes = extents(labels, highest)
        else:
            areas, first, boxes, _ = outlines(labels, highest)
        ids = 1 + np.flatnonzero(areas[1:])
        ids = ids[np.argsort(first[ids])]
        return cls(ids, areas[ids], boxes[ids])

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, dropped: np.ndarray) -> _Objects:
        kept = ~dropped
        return _Objects(self.ids[kept], self.areas[kept], self.boxes[kept])


def _walked(field: Field, parameters: CellposeParameters) -> np.ndarray:
    """Where each pixel's walk ends."""
    dtype = np.int32 if field.cells.size <= _INT32_PIXELS else np.int64
    ends = np.empty(field.shape, dtype)
    follow(field, field.window, parameters.steps, ends)
    return ends


def _assigned(ends: np.ndarray) -> tuple[np.ndarray, int]:
    """The object of each pixel, by that of the pixel its walk ends in; and the highest id."""
    counts = np.zeros(ends.shape, np.int32)
    count_ends(ends, counts)
    seeds = find_seeds(counts)
    owners = grow(counts, seeds, np.arange(1, len(seeds) + 1, dtype=np.int32)).reshape(-1)
    in_threads(lambda band: _assign(ends[slice(*band)], owners), bands(len(ends)))
    return ends.astype(np.int32, copy=False), len(seeds)


def _filled(labels: np.ndarray, boxes: np.ndarray, parameters: CellposeParameters) -> np.ndarray:
    """Fill objects numbered 1…n, with these boxes, drop those that are small then, and number."""
    ids = np.arange(1, len(boxes) + 1)
    holed = enclosing(labels, ids, boxes)
    fill_enclosed(labels, ids[holed], boxes[holed])
    if parameters.rule == "right" and not holed.any():
        return labels
    areas = areas_by_id(labels)[1:]
    numbers = 1 + np.flatnonzero(areas)
    dropped = too_small(areas[numbers - 1], numbers, labels.size, parameters)
    _keep(labels, numbers[~dropped], len(ids))
    return canonical_labels(labels)


def _keep(labels: np.ndarray, ids: np.ndarray, highest: int) -> None:
    """Number some objects 1…n in their order, in place; others become background."""
    numbers = np.zeros(highest + 1, np.int32)
    numbers[ids] = np.arange(1, len(ids) + 1)
    renumber(labels, numbers)


def _checked(flows: np.ndarray, probability: np.ndarray) -> tuple[int, ...]:
    """The shape of the image or volume."""
    for name, array in (("flows map", flows), ("probability map", probability)):
        if array.dtype.kind not in "fiub":
            raise BadInput(name, expected="real numbers", found=str(array.dtype))
    components = {2: (2,), 3: (2, 3)}.get(probability.ndim, ())
    if flows.shape not in [(*probability.shape, each) for each in components]:
        raise BadInput(
            "flows and probability maps",
            expected="(Y, X, 2) and (Y, X), or (Z, Y, X, 3) and (Z, Y, X)",
            found=f"{flows.shape} and {probability.shape}",
        )
    require_finite(flows, "flows map")
    require_finite(probability, "probability map")
    return probability.shape


@kernel
def _assign(ends, owners):  # type: ignore[no-untyped-def]
    """Ends become owners' ids, in place."""
    flat = ends.reshape(-1)
    for i in range(len(flat)):
        flat[i] = owners[flat[i]] if flat[i] >= 0 else 0
