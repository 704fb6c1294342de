"""What a network for images says of a volume, from its planes in three orientations.

A network of Cellpose sees planes. Shown a volume's planes across each axis it gives each component
of the flows twice, and the probability three times; they are added up, as cellpose 3.1.1.3 does.
"""

from __future__ import annotations

import numpy as np

from cellmill.errors import BadInput

#: The axis that planes lie across, and the axes of the volume that their rows and columns are.
_ORIENTATIONS = ((0, (1, 2)), (1, (0, 2)), (2, (0, 1)))


def combine_orientations(
    across_z: np.ndarray, across_y: np.ndarray, across_x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add up what a network gave for a volume's planes in three orientations.

    Each argument is a stack of planes: across Z `(Z, Y, X, 3)`, across Y `(Y, Z, X, 3)`, across X
    `(X, Z, Y, 3)`. Its channels are the flow along the planes' rows, along their columns, and the
    logit of the probability.

    Returns:
        Flows `(Z, Y, X, 3)` down in the order of the axes, and the logit `(Z, Y, X)`, float32: the
        sums of two and of three values.

    Raises:
        BadInput: the stacks are not of one volume.
    """
    stacks = (across_z, across_y, across_x)
    shape = across_z.shape[:3]
    for stack, (axis, others) in zip(stacks, _ORIENTATIONS, strict=True):
        wanted = (shape[axis], *(shape[each] for each in others), 3) if len(shape) == 3 else ()
        if stack.shape != wanted:
            raise BadInput(
                f"planes across {'ZYX'[axis]}",
                expected=str(wanted or "(Z, Y, X, 3)"),
                found=f"{stack.shape}",
            )
    flows = np.zeros((*shape, 3), np.float32)
    probability = np.zeros(shape, np.float32)
    for stack, (axis, others) in zip(stacks, _ORIENTATIONS, strict=True):
        turned = np.moveaxis(stack, 0, axis)
        probability += turned[..., 2]
        for channel, other in enumerate(others):
            flows[..., other] += turned[..., channel]
    return flows, probability
