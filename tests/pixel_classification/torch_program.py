"""Classify pixels by torch on processors and by kernels, in an environment that has both.

`python torch_program.py`: a JSON object, by case the largest difference of features as a part of
their image's largest value, how many pixels have another class, and whether windows change bits.
"""

import json
import sys

import numpy as np

from cellmill.errors import BadInput
from cellmill.pixel_classification import features as windows_of
from cellmill.pixel_classification.classifier import PixelClassifier, named_classes
from cellmill.pixel_classification.feature_set import KINDS, FeatureSet
from cellmill.pixel_classification.features import extended, image_features
from cellmill.pixel_classification.forest import Forest
from cellmill.pixel_classification.torch_device import TorchPixels


def forest(features, trees, depth, classes, seed):
    """Full trees that look at any feature, at thresholds that part its values."""
    random = np.random.default_rng(seed)
    flat = features.reshape(len(features), -1)
    inner, count = 2**depth - 1, 2 ** (depth + 1) - 1
    chosen = random.integers(len(flat), size=(trees, inner))
    levels = np.sort(flat[:, random.integers(flat.shape[1], size=200)], axis=1)
    parts = {name: [] for name in ("features", "thresholds", "left", "votes", "roots")}
    for tree in range(trees):
        start = tree * count
        places = np.arange(count)
        leaf = places >= inner
        shares = random.dirichlet(np.ones(classes), count)
        look = np.where(leaf, 0, np.pad(chosen[tree], (0, count - inner)))
        at = levels[look, random.integers(60, 140, count)]
        parts["features"].append(look)
        parts["thresholds"].append(np.where(leaf, 0, at))
        parts["left"].append(start + np.where(leaf, places, 2 * places + 1))
        parts["votes"].append(np.where(leaf[:, None], shares, 0))
        parts["roots"].append([start])
    dtypes = {"thresholds": np.float32, "votes": np.float32}
    joined = {name: np.concatenate(each) for name, each in parts.items()}
    return Forest(**{name: a.astype(dtypes.get(name, np.uint32)) for name, a in joined.items()})


def compared(image, wanted):
    """How an image's features and classes by torch differ from those of kernels."""
    mine, its = (image_features(image, wanted, device=each) for each in ("cpu", "torch"))
    trained = PixelClassifier(wanted, forest(mine, 6, 5, 3, 0), named_classes([1, 2, 3]))
    on = TorchPixels("cpu")
    flat = on._torch.from_numpy(mine.reshape(len(mine), -1))
    votes = on._votes(flat, trained.forest).numpy()
    own, other = (trained.probabilities(image, device=each) for each in ("cpu", "torch"))
    near = [max(np.abs(image[..., f.channel]).max(), 1) for f in wanted.features]
    scales = np.repeat(near, [wanted.values_of(f) for f in wanted.features])
    kinds = np.repeat(
        [f.kind for f in wanted.features], [wanted.values_of(f) for f in wanted.features]
    )
    # A structure tensor is of squares.
    scales = np.where(kinds == "structure", scales**2, scales)
    errors = np.abs(mine - its).reshape(len(mine), -1).max(1) / scales
    small = tuple(slice(side // 3, side // 3 + 5) for side in image.shape[:-1])
    part = on.features(extended(image, small, wanted), wanted)
    return {
        "features": float(errors.max()),
        "same_votes": bool(
            (votes == trained.forest.probabilities(mine.reshape(len(mine), -1))).all()
        ),
        "other_classes": float((own.argmax(-1) != other.argmax(-1)).mean()),
        "same_windows": bool((part == its[(slice(None), *small)]).all()),
        "near_windows": float(
            (
                np.abs(part - its[(slice(None), *small)]).max(
                    (1, 2) if wanted.axes == 2 else (1, 2, 3)
                )
                / scales
            ).max()
        ),
    }


def main() -> None:
    """Compare an image of two channels and a volume of flat voxels, cut into several windows."""
    windows_of._WINDOWS.update({2: (50, 64), 3: (8, 20, 32)})
    random = np.random.default_rng(3)
    image = random.normal(100, 30, (90, 77, 2)).astype(np.float32)
    image[20:50, 30:60] += 900
    volume = random.normal(0, 1, (12, 30, 41, 1)).astype(np.float32)
    volume[4:8, 10:20, 15:30] += 5
    found = {
        "image": compared(image, FeatureSet.of(KINDS, (0.7, 1.6, 3.5), 2)),
        "volume": compared(volume, FeatureSet.of(KINDS, (0.7, 1.5), axes=3, z_spacing=2.5)),
    }
    try:
        image_features(image, FeatureSet.of(KINDS, (1.0,), 2), device="cuda")
        found["no_gpu"] = ""
    except BadInput as bad:
        found["no_gpu"] = str(bad)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
