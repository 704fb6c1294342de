"""The shells of `cellmill.measurement.shells`, each object looked at by itself.

SciPy's distance transform of a window around it, and numpy's median: what shells of all objects at
once are held against.
"""

import math

import numpy as np
from scipy import ndimage


def shell_medians(labels, others, image, solids, radii, voxel):
    """As `cellmill.measurement.shells.shell_medians`."""
    step = np.array(voxel) / min(voxel[-2:])
    # What is nearer to another object lies no farther from that than from this one.
    margins = np.array([math.floor(2 * radii[1] / each) + 1 for each in step])
    medians = np.full((len(solids), image.shape[-1]), np.nan)
    for row, (label, box) in enumerate(zip(solids.labels, solids.boxes, strict=True)):
        low = np.maximum(box[:3] - margins, 0)
        high = np.minimum(box[3:] + margins, labels.shape)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        around = labels[window]
        distances, places = ndimage.distance_transform_edt(
            around == 0, sampling=step, return_indices=True
        )
        shell = (distances > radii[0]) & (distances <= radii[1]) & (around[tuple(places)] == label)
        for other in others:
            shell &= other[window] == 0
        if shell.any():
            medians[row] = np.median(image[window][shell].astype(np.float64), axis=0)
    return medians
