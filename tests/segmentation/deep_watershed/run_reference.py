"""Run deepcell_toolbox on a folder of maps; its interpreter runs this file, not ours.

`python run_reference.py FOLDER`: each `N.npz` there holds `maxima`, `interior` and `parameters`
(JSON); `N.labels.npy` is written beside it.
"""

import json
import sys
from pathlib import Path

import numpy as np
from deepcell_toolbox.deep_watershed import deep_watershed

for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    with np.load(path) as case:
        maps = [case[name][np.newaxis, ..., np.newaxis] for name in ("maxima", "interior")]
        parameters = json.loads(str(case["parameters"]))
    np.save(path.with_suffix(".labels.npy"), deep_watershed(maps, **parameters)[0, ..., 0])
