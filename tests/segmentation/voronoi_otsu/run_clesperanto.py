"""Run pyclesperanto on a folder of images; its interpreter runs this file, not ours.

`python run_clesperanto.py FOLDER`: each `N.npz` there holds `image`, `spot_sigma` and
`outline_sigma`; `N.labels.npy` is written beside it.
"""

import sys
from pathlib import Path

import numpy as np
import pyclesperanto

for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    with np.load(path) as case:
        image = case["image"]
        sigmas = {name: float(case[name]) for name in ("spot_sigma", "outline_sigma")}
    labels = np.asarray(pyclesperanto.voronoi_otsu_labeling(image, **sigmas))
    np.save(path.with_suffix(".labels.npy"), labels.reshape(image.shape))
