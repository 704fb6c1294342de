"""Teach a network of Cellpose 3 and segment images; its interpreter runs this file, not ours.

`python run_cellpose_images.py FOLDER`: `lessons.npz` there has images `(Y, X)` and labels, and
`images.npz` images `(Y, X)` and a volume `(Z, Y, X)`, of any sizes. Written are `network`, weights
of a narrow network as cellpose writes them, and `masks.npz`, what its `CellposeModel.eval` finds in
the images by default, each at the network's own scale, in the volume by `do_3D`. `network_size.npy`
is a size model of fixed values, `wide_size.npy` the same as cellpose takes it, and `diameters.npz`
what its `SizeModel.eval` says of each image, and of each of `zoomed.npz`: the diameter, and that by
style alone.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from cellpose import train
from cellpose.models import CellposeModel, SizeModel
from cellpose.resnet_torch import CPnet

WIDTHS, DIAMETER, STYLES = (2, 8, 16, 32, 64), 17.0, 256
STEPS, BATCH, RATE = 50, 2, 0.01

folder = Path(sys.argv[1])
torch.manual_seed(0)
net = CPnet(list(WIDTHS), 3, sz=3, diam_mean=DIAMETER)
with np.load(folder / "lessons.npz") as lessons:
    images, labels = list(lessons["images"]), list(lessons["labels"])
train.train_seg(
    net,
    train_data=images,
    train_labels=labels,
    channels=[0, 0],
    batch_size=BATCH,
    nimg_per_epoch=BATCH,
    n_epochs=STEPS,
    learning_rate=RATE,
    save_path=folder,
    model_name="weights",
)
net.save_model(folder / "network")
own = net.eval().forward


def wide(given):
    """Give a style of as many values as cellpose's run_net takes."""
    heads, style, *others = own(given)
    return heads, torch.nn.functional.pad(style, (0, STYLES - style.shape[1])), *others


net.forward = wide
model = CellposeModel(gpu=False, diam_mean=DIAMETER)
model.net, model.net_ortho, model.pretrained_model = net, None, "network"
model.diam_labels = net.diam_labels.item()
# Seeds of equal strength are sorted in raster order, as ours are.
argsort = torch.Tensor.argsort
torch.Tensor.argsort = lambda self, *how, **named: argsort(self, *how, **named, stable=True)
with np.load(folder / "images.npz") as held:
    found = {}
    for name, image in held.items():
        how = {"z_axis": 0, "do_3D": True} if image.ndim == 3 else {}
        found[name] = model.eval(image, channels=[0, 0], diameter=DIAMETER, **how)[0]
np.savez(folder / "masks.npz", **found)

rng = np.random.default_rng(0)
size = {
    "A": rng.normal(0, 0.6, WIDTHS[-1]),
    "smean": rng.uniform(0, 0.2, WIDTHS[-1]).astype(np.float32),
    "diam_mean": np.float32(DIAMETER),
    "ymean": np.float32(-0.1),
}
np.save(folder / "network_size.npy", size)
room = (0, STYLES - WIDTHS[-1])
np.save(folder / "wide_size.npy", {**size, **{k: np.pad(size[k], room) for k in ("A", "smean")}})
estimate = SizeModel(model, pretrained_size=str(folder / "wide_size.npy"))
said = {}
for file in ("images.npz", "zoomed.npz"):
    with np.load(folder / file) as held:
        images = {name: image for name, image in held.items() if image.ndim == 2}
    for name, image in images.items():
        said[f"{file} {name}"] = estimate.eval(image, channels=[0, 0])
np.savez(folder / "diameters.npz", **said)
