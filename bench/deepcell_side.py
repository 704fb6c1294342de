"""Time the reference on saved arrays; deepcell's interpreter runs this file, not ours.

`python deepcell_side.py FOLDER`: each `watershed-*.npz` there (`maxima`, `interior`, `parameters`)
and `preprocess-*.npz` (`image`) is computed; beside it `*.result.npy` and `*.seconds` are written.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    with np.load(path) as case:
        arrays = {name: case[name] for name in case.files}
    if path.name.startswith("watershed"):
        from deepcell_toolbox.deep_watershed import deep_watershed

        maps = [arrays[name][np.newaxis, ..., np.newaxis] for name in ("maxima", "interior")]
        parameters = json.loads(str(arrays["parameters"]))
        start = time.perf_counter()
        result = deep_watershed(maps, **parameters)[0, ..., 0]
    else:
        from deepcell.applications.mesmer import mesmer_preprocess

        image = arrays["image"][np.newaxis].astype(np.float32)
        start = time.perf_counter()
        result = mesmer_preprocess(image)[0]
    path.with_suffix(".seconds").write_text(str(time.perf_counter() - start))
    np.save(path.with_suffix(".result.npy"), result)
