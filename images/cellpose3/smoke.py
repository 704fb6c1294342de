"""The Cellpose 3 image's own check at its build: networks can be made, flows become masks."""

import numpy as np
from cellpose.dynamics import masks_to_flows, resize_and_compute_masks
from cellpose.models import CellposeModel

assert callable(CellposeModel)
disc = (np.hypot(*np.mgrid[-20:20, -20:20]) < 12).astype(np.int32)
inside = np.where(disc, 5, -5).astype(np.float32)
masks = resize_and_compute_masks(5 * masks_to_flows(disc).astype(np.float32), inside, niter=200)
masks = masks[0] if isinstance(masks, tuple) else masks
assert masks.max() == 1, f"the flows of a disc give {masks.max()} objects"
