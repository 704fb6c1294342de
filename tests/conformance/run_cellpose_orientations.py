"""Show a network of Cellpose a volume by planes across all axes; its interpreter runs this file.

`python run_cellpose_orientations.py FOLDER`: `volume.npy` there is `(Z, Y, X, 2)`. Beside it is
written `found.npz`: `deeper`, the volume at the depth in `depth.npy` as cellpose resizes it; what
its `run_net` gives for each plane of that across Z, Y and X, `planes_z` and so on; and `combined`,
what its `run_3D` gives. The network is random.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from cellpose.core import run_3D, run_net
from cellpose.resnet_torch import CPnet
from cellpose.transforms import resize_image

folder = Path(sys.argv[1])
volume, depth = np.load(folder / "volume.npy"), int(np.load(folder / "depth.npy"))
torch.manual_seed(0)
torch.set_num_threads(1)
net = CPnet([2, 32, 64, 128, 256], 3, sz=3).eval()
deeper = resize_image(volume.transpose(1, 0, 2, 3), Ly=depth, Lx=volume.shape[2])
deeper = deeper.transpose(1, 0, 2, 3)
planes = {
    f"planes_{name}": np.stack(
        [run_net(net, plane[np.newaxis])[0][0] for plane in np.moveaxis(deeper, axis, 0)]
    )
    for axis, name in enumerate("zyx")
}
np.savez(folder / "found.npz", deeper=deeper, combined=run_3D(net, deeper)[0], **planes)
