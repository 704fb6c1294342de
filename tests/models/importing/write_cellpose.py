"""Write files of weights as Cellpose does; its interpreter runs this file, not ours.

`python write_cellpose.py FOLDER`: `nuclei_tiny` and `cyto_tiny`, narrow networks that have seen
noise; what they give for the tiles of `tiles.npy` (N, 2, Y, X) is `<name>.npy`, and what cellpose
makes of images of several sizes with `cyto_tiny` is in `whole.npz`. `cpsam_like` has the tensor by
which Cellpose 4 is known, and `no_net` none of a network's.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from cellpose.core import run_net
from cellpose.resnet_torch import CPnet

folder = Path(sys.argv[1])
rng = np.random.default_rng(1)
tiles = rng.random((3, 2, 224, 224), np.float32) * 2 - 0.5
tiles[:, :, 60:120, 80:140] += 1
np.save(folder / "tiles.npy", tiles)
for seed, name in enumerate(("nuclei_tiny", "cyto_tiny")):
    torch.manual_seed(seed)
    net = CPnet([2, 8, 16, 32, 64], 3, sz=3, diam_mean=17.0 + seed)
    net.train()
    with torch.no_grad():
        for _ in range(5):
            net(torch.rand(2, 2, 64, 64) * 3 - 1)
        net.save_model(folder / name)
        given = torch.from_numpy(tiles)
        if name == "nuclei_tiny":  # cellpose's channels [0, 0]
            given = torch.cat([given[:, :1], torch.zeros_like(given[:, :1])], 1)
        np.save(folder / f"{name}.npy", net.eval()(given)[0].numpy())


class Padded(torch.nn.Module):
    """A network with a style of as many values as cellpose's run_net takes."""

    def __init__(self, narrow):
        super().__init__()
        self.narrow, self.nout, self.device, self.mkldnn = narrow, narrow.nout, narrow.device, False

    def forward(self, given):
        heads, style = self.narrow(given)[:2]
        return heads, torch.nn.functional.pad(style, (0, 256 - style.shape[1]))


whole = {}
for size in ((50, 61), (112, 300), (209, 208), (224, 225), (401, 500)):
    image = rng.random((*size, 2), np.float32) * 2 - 0.5
    whole["image {} {}".format(*size)] = image
    whole["heads {} {}".format(*size)] = run_net(Padded(net), image[np.newaxis])[0][0]
np.savez(folder / "whole.npz", **whole)
own = CPnet([2, 8], 3, sz=3).state_dict()
torch.save({**own, "W2": torch.zeros(3)}, folder / "cpsam_like")
torch.save({"diam_mean": torch.ones(1)}, folder / "no_net")
