"""The reference image's own check at its build: applications load, heads become labels."""

import numpy as np
from deepcell.applications import Mesmer
from deepcell_toolbox.deep_watershed import deep_watershed

assert callable(Mesmer)
disc = np.clip(1 - np.hypot(*np.mgrid[-20:20, -20:20]) / 12, 0, 1)[None, ..., None]
labels = deep_watershed([disc, disc], small_objects_threshold=0)
assert labels.max() == 1, f"a disc gives {labels.max()} objects"
