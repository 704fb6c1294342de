"""True labels of an image, by kind of object, as every stage that compares reads them."""

from __future__ import annotations

from collections.abc import Sequence

from cellmill.arrays.batch import Batch, Entry
from cellmill.arrays.windows import Windowed
from cellmill.labels.kinds import WELL_KNOWN, Compartment, planes_of


def truth_of(
    truths: Batch, entry: Entry, kinds: Sequence[Compartment]
) -> dict[Compartment, Windowed]:
    """The true labels, `(Y, X)` or `(Z, Y, X)`, of some kinds of object.

    Arrays that are named as kinds are those of these kinds. An array `labels` of one plane is
    whatever is asked for; one of two planes is whole cells and nuclei.

    Args:
        truths: the batch of truth.
        entry: of the image in it.
        kinds: what is compared.

    Returns:
        By kind; empty where the image has no truth. Kinds of which there is none are left out.

    Raises:
        BadInput: the planes are neither one nor two, or are of other kinds than all that are asked
            for.
    """
    if not entry.arrays:
        return {}
    named = {kind: truths.array(entry, kind) for kind in kinds if kind in entry.arrays}
    if named:
        return named
    labels = truths.array(entry, "labels")
    axes = entry.arrays["labels"].axes
    if "C" in axes:
        kinds = [kind for kind in kinds if kind in WELL_KNOWN] or kinds
    return planes_of(labels, kinds, f"truth of image '{entry.name}'", "Z" in axes)
