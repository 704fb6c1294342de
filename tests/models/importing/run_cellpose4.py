"""Make a network of Cellpose 4's form; its interpreter runs this file, not ours.

`python run_cellpose4.py FOLDER`: `lessons.npz` there has images `(Y, X, 3)` with labels. Written
are `cpsam`, the weights of a network of the real form, much narrower and shallower, whose blocks
are random and whose last layer is fitted to the flows of the lessons by least squares; `heads.npy`,
what it gives for the tiles `(N, Y, X, 3)` of `tiles.npy`; `whole.npz`, what cellpose makes of
images of several sizes with it; and by name `refused.json`, what cellmill says of weights that are
of no such network.
"""

import contextlib
import functools
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from cellmill.contract.cli import main
from cellmill.models.importing.cellpose4 import import_cellpose

vit = import_cellpose()
from cellpose import transforms  # noqa: E402
from cellpose.core import run_net  # noqa: E402
from cellpose.dynamics import masks_to_flows_gpu  # noqa: E402
from segment_anything.modeling import ImageEncoderViT  # noqa: E402

WIDTH, DEPTH, HEADS, FEATURES = 64, 2, 2, 192
PATCH, SIDE = 8, 256
#: Of the fit, by which the last layer stays small.
RIDGE = 1e-3


def small(_checkpoint=None):
    """Give what cellpose takes its encoder from, as `vit_l` is made, in small."""
    encoder = ImageEncoderViT(
        img_size=1024,
        patch_size=16,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        out_chans=FEATURES,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(1,),
    )
    return SimpleNamespace(image_encoder=encoder)


def random_network():
    """Build cellpose's own module on the small encoder, all weights random."""
    torch.manual_seed(0)
    net = vit.CPSAM()
    with torch.no_grad():
        for name, values in net.encoder.named_parameters():
            if "pos" in name:
                values.copy_(torch.randn(values.shape) * 0.02)
    return net.eval()


def features(net, tiles):
    """Give what the last layer is given, `(tokens, FEATURES)`."""
    seen = []
    hook = net.out.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.no_grad():
        net(torch.from_numpy(tiles))
    hook.remove()
    return torch.cat(seen).permute(0, 2, 3, 1).reshape(-1, FEATURES).double()


def fit(net, images, labels):
    """Fit the last layer to what cellpose trains networks to give for some labels."""
    tiles, wanted = [], []
    for image, truth in zip(images, labels, strict=True):
        flows, _ = masks_to_flows_gpu(truth.astype(np.int64))
        maps = np.stack([*(5 * flows), np.where(truth > 0, 4.0, -4.0)])
        tiles.append(np.moveaxis(transforms.normalize_img(image.copy()), -1, 0))
        tokens = maps.reshape(3, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH)
        wanted.append(tokens.transpose(1, 3, 0, 2, 4).reshape(-1, 3 * PATCH**2))
    given = features(net, np.stack(tiles).astype(np.float32))
    given = torch.cat([given, torch.ones(len(given), 1, dtype=torch.float64)], 1)
    square = given.T @ given + RIDGE * len(given) * torch.eye(FEATURES + 1, dtype=torch.float64)
    found = torch.linalg.solve(square, given.T @ torch.from_numpy(np.concatenate(wanted)))
    with torch.no_grad():
        net.out.weight.copy_(found[:-1].T.reshape(net.out.weight.shape))
        net.out.bias.copy_(found[-1])


def refusal(path, out):
    """What cellmill says of a file that it must not take."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["import_model", "--source", str(path), *out])
    return [code, said.getvalue()]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    vit.sam_model_registry["vit_l"] = small
    network = random_network()
    with np.load(folder / "lessons.npz") as lessons:
        fit(network, lessons["images"], lessons["labels"])
    network.save_model(folder / "cpsam")
    tiles = np.load(folder / "tiles.npy")
    with torch.no_grad():
        np.save(folder / "heads.npy", network(torch.from_numpy(tiles.transpose(0, 3, 1, 2)))[0])
    whole, rng = {}, np.random.default_rng(2)
    for size in ((50, 256), (257, 250)):
        image = rng.random((*size, 3), np.float32)
        whole["image {} {}".format(*size)] = image
        whole["heads {} {}".format(*size)] = run_net(network, image[np.newaxis], bsize=SIDE)[0][0]
    np.savez(folder / "whole.npz", **whole)
    weights = network.state_dict()
    half = {name: values for name, values in weights.items() if ".blocks.1.mlp" not in name}
    others = {"dino": {**weights, "encoder.cls_token": torch.zeros(3)}, "half": half}
    said = {}
    for name, held in others.items():
        torch.save(held, folder / name)
        out = ["--model", str(folder / f"{name}-model"), "--record", str(folder / "record.json")]
        said[name] = refusal(folder / name, out)
    (folder / "refused.json").write_text(json.dumps(said))
