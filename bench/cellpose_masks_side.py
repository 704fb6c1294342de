"""Time Cellpose's own masks step on saved maps; its interpreter runs this file, not ours.

`python cellpose_masks_side.py FOLDER REPEATS`: `flows.npy` (2, Y, X) and `probability.npy` are
segmented with the defaults after a warming run on a corner; `masks.npy` and `reference.json` are
written there: processor and wall seconds of the fastest run, and the memory above that of the maps.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from cellpose.dynamics import compute_masks


def memory(what: str) -> int:
    """Bytes that the process holds (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) * 1024


folder, repeats = Path(sys.argv[1]), int(sys.argv[2])
flows, probability = np.load(folder / "flows.npy"), np.load(folder / "probability.npy")
compute_masks(flows[:, :256, :256].copy(), probability[:256, :256].copy(), min_size=15)
before, times = memory("VmRSS"), []
for _ in range(repeats):
    begun = time.process_time(), time.perf_counter()
    masks = compute_masks(flows, probability, min_size=15)
    times.append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
found = {"cpu": min(times)[0], "wall": min(times)[1], "bytes": memory("VmHWM") - before}
np.save(folder / "masks.npy", masks)
(folder / "reference.json").write_text(json.dumps(found))
